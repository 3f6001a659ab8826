//! As root, a command acts as the user whose installation it is about: so nothing that this user wrote is run or
//! believed by root, and what a command makes belongs to the daemon, which can go on with it.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use super::{folder_of, standing::ROOT};

/// Becomes the owner of a settings file, if this is root and its folder is that user's as well. Whoever cannot become
/// another user goes on as root, and is told what is wrong with the files.
pub fn act_as_owner(settings: &Path) {
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid()));
    if let (Ok((user, group)), Ok((folder, _))) = (owner(settings), owner(folder_of(settings)))
        && user == folder
    {
        let _ = become_user(user, group);
    }
}

/// Becomes the owner of the folder of a database, if this is root: whoever runs the daemon must be able to write there.
pub fn act_as_owner_of_folder(database: &Path) {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let real = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let Ok(folder) = fs::metadata(folder_of(&real)) else {
        return;
    };
    let is_shared = folder.permissions().mode() & WRITABLE_BY_OTHERS != 0;
    let owner = if folder.uid() == ROOT && is_shared {
        fs::metadata(&real).unwrap_or(folder)
    } else {
        folder
    };
    let _ = become_user(owner.uid(), owner.gid());
}

#[cfg(target_os = "linux")]
fn become_user(user: u32, group: u32) -> io::Result<()> {
    use nix::unistd::{Gid, Uid, User, initgroups, setgid, setgroups, setuid};

    if user == ROOT || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (user, mut group) = (Uid::from_raw(user), Gid::from_raw(group));
    match User::from_uid(user)? {
        Some(known) => {
            group = known.gid;
            let name = std::ffi::CString::new(known.name).map_err(io::Error::other)?;
            initgroups(&name, group)?;
        }
        None => setgroups(&[group])?,
    }
    setgid(group)?;
    setuid(user)?;
    Ok(())
}

/// Elsewhere, root goes on as root.
#[cfg(not(target_os = "linux"))]
fn become_user(_user: u32, _group: u32) -> io::Result<()> {
    Ok(())
}
