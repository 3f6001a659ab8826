//! Who can have written a library: nobody but root and the user that runs this program, by owner and mode of the file and of
//! every folder above it.
//!
//! Invariant: both the path as it is written and the one that symbolic links lead to are looked at, so that nobody else can
//! exchange the file, a folder, or a link on the way.

use std::path::Path;

use crate::backends::refusal::Refusal;

/// Refuses a file that somebody else can have written or exchanged.
#[cfg(unix)]
pub(super) fn check(path: &Path) -> Result<(), Refusal> {
    use crate::backends::refusal::code;

    let unreadable = |error: std::io::Error| {
        Refusal::new(
            code::UNREADABLE_FILE,
            format!(
                "{} cannot be read: {error}; make it readable for the user that runs phone-verify",
                path.display()
            ),
        )
    };
    let written = std::path::absolute(path).map_err(unreadable)?;
    let meant = path.canonicalize().map_err(unreadable)?;
    for path in written.ancestors().chain(meant.ancestors()) {
        unix::judge(path, &std::fs::metadata(path).map_err(unreadable)?)?;
    }
    Ok(())
}

/// Refuses a file that somebody else can write to, wherever it lies.
#[cfg(unix)]
pub(super) fn check_alone(path: &Path, metadata: &std::fs::Metadata) -> Result<(), Refusal> {
    unix::judge(path, metadata)
}

/// Other systems have other ideas of ownership.
#[cfg(not(unix))]
pub(super) fn check(_path: &Path) -> Result<(), Refusal> {
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn check_alone(_path: &Path, _metadata: &std::fs::Metadata) -> Result<(), Refusal> {
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::{fs::Metadata, os::unix::fs::MetadataExt, path::Path};

    use crate::backends::refusal::{Refusal, code};

    const ROOT: u32 = 0;
    const WRITABLE_BY_GROUP: u32 = 0o020;
    const WRITABLE_BY_ALL: u32 = 0o002;
    const STICKY: u32 = 0o1000;

    /// What owner and mode say.
    #[derive(Clone, Copy)]
    pub(super) struct Standing {
        pub(super) owner: u32,
        pub(super) group: u32,
        pub(super) mode: u32,
        pub(super) is_folder: bool,
    }

    #[derive(Debug, PartialEq, Eq)]
    pub(super) enum Problem {
        Owner,
        Group,
        All,
    }

    pub(super) fn judge(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
        let own = rustix::process::geteuid().as_raw();
        let standing = Standing {
            owner: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode(),
            is_folder: metadata.is_dir(),
        };
        let Some(problem) = standing.problem(own) else {
            return Ok(());
        };
        let shown = path.display();
        let (code, found, needed, cure) = match problem {
            Problem::Owner => {
                let user = if own == ROOT {
                    "root".to_owned()
                } else {
                    format!("root or to user {own}, who runs phone-verify")
                };
                (
                    code::WRONG_OWNER,
                    format!("belongs to user {}", standing.owner),
                    format!("a library and the folders above it must belong to {user}"),
                    format!("chown {own} {shown}"),
                )
            }
            Problem::Group => (
                code::WRITABLE_BY_OTHERS,
                format!("can be written by group {}", standing.group),
                "a library and the folders above it must be writable by their owner alone".to_owned(),
                format!("chmod g-w {shown}"),
            ),
            Problem::All => (
                code::WRITABLE_BY_OTHERS,
                "can be written by everybody".to_owned(),
                "a library and the folders above it must be writable by their owner alone".to_owned(),
                format!("chmod go-w {shown}"),
            ),
        };
        Err(Refusal::new(
            code,
            format!(
                "{shown} {found} (mode {:04o}), and {needed}; run: {cure}",
                standing.mode & 0o7777
            ),
        ))
    }

    impl Standing {
        pub(super) fn problem(self, own: u32) -> Option<Problem> {
            if self.owner != ROOT && self.owner != own {
                return Some(Problem::Owner);
            }
            // In a sticky folder everybody can add files, but only the owner of one can exchange it.
            if self.is_folder && self.mode & STICKY != 0 {
                return None;
            }
            if self.mode & WRITABLE_BY_ALL != 0 {
                return Some(Problem::All);
            }
            // Where each user has a group of his own, with the same number, its members are that user: pam_umask(8).
            let is_private_group = self.group == self.owner && self.owner != ROOT;
            (self.mode & WRITABLE_BY_GROUP != 0 && !is_private_group).then_some(Problem::Group)
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::{
        unix::{Problem, Standing},
        *,
    };
    use crate::backends::refusal::code;

    fn problem(owner: u32, group: u32, mode: u32, is_folder: bool) -> Option<Problem> {
        let standing = Standing {
            owner,
            group,
            mode,
            is_folder,
        };
        standing.problem(1000)
    }

    #[test]
    fn only_root_and_the_own_user_may_have_written_it() {
        assert_eq!(problem(0, 0, 0o755, false), None);
        assert_eq!(problem(1000, 100, 0o755, false), None);
        assert_eq!(problem(1001, 1000, 0o755, false), Some(Problem::Owner));
        assert_eq!(problem(1001, 1001, 0o1777, true), Some(Problem::Owner));
        assert_eq!(problem(1000, 100, 0o775, false), Some(Problem::Group));
        assert_eq!(problem(0, 0, 0o775, true), Some(Problem::Group));
        assert_eq!(problem(0, 0, 0o777, true), Some(Problem::All));
        assert_eq!(problem(0, 0, 0o1777, true), None, "as /tmp");
        assert_eq!(problem(0, 0, 0o1777, false), Some(Problem::All), "no folder");
        assert_eq!(problem(1000, 1000, 0o775, true), None, "a group of his own");
        assert_eq!(problem(1000, 1000, 0o757, true), Some(Problem::All));
    }

    #[test]
    fn the_file_and_each_folder_above_it_are_looked_at() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("plugins");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("libacme.so");
        fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        mode(&file, 0o644);
        mode(&folder, 0o755);
        check(&file).unwrap();

        mode(&folder, 0o757);
        let refusal = check(&file).unwrap_err();
        assert_eq!(refusal.code, code::WRITABLE_BY_OTHERS);
        let shown = folder.display();
        assert_eq!(
            refusal.sentence,
            format!(
                "{shown} can be written by everybody (mode 0757), and a library and the folders above it must be writable \
                 by their owner alone; run: chmod go-w {shown}"
            )
        );

        mode(&folder, 0o755);
        mode(&file, 0o666);
        assert!(
            check(&file)
                .unwrap_err()
                .sentence
                .starts_with(&file.display().to_string())
        );
    }

    #[test]
    fn a_link_is_followed_and_its_own_folder_looked_at_too() {
        let home = tempfile::tempdir().unwrap();
        let (open, shut) = (home.path().join("open"), home.path().join("shut"));
        for folder in [&open, &shut] {
            fs::create_dir(folder).unwrap();
        }
        let file = shut.join("libacme.so");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let link = open.join("libacme.so");
        symlink(&file, &link).unwrap();
        check(&link).unwrap();
        for folder in [&open, &shut] {
            let before = fs::metadata(folder).unwrap().mode();
            fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
            let refusal = check(&link).unwrap_err();
            assert!(
                refusal.sentence.contains(&folder.display().to_string()),
                "{refusal}"
            );
            fs::set_permissions(folder, Permissions::from_mode(before)).unwrap();
        }
    }
}
