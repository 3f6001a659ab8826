//! Listens at a path in the file system, with a Unix socket.
//!
//! Invariants: a file that is not a socket is never deleted, and neither is a socket at which another process listens.
//! A user whom the permissions exclude can never connect, not even before they are set.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixListener as StdListener,
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use phone_verify_plugin_host::files::may_pass;
use rustix::{
    fs::{Access, FlockOperation, Mode, OFlags, fchmod, flock},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketType},
};
use tokio::net::{UnixListener, UnixStream};

use super::Unbound;
use crate::model::{Listen, NamedBy};

/// How many connections the system may hold until they are accepted. The system may hold fewer.
const BACKLOG: i32 = 1024;

/// The longest path of a socket in bytes: what `sockaddr_un` holds, without its terminating zero.
const MAX_PATH_BYTES: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};

/// A listening socket at a path. Dropping it removes its file, if this process made the file.
pub(super) struct Socket {
    listener: UnixListener,
    /// The path, or `@` and the name for an abstract socket of Linux, which has no file.
    path: PathBuf,
    mode: u32,
    /// Device and inode of the file that this process made. Another process may since have put its own file there,
    /// which must not be removed.
    file: Option<(u64, u64)>,
}

impl Socket {
    /// Binds a socket at this path. A socket file without a listener, such as one left by a killed process, is
    /// replaced.
    pub(super) fn bind(path: &Path, mode: u32, named_by: NamedBy) -> Result<Self, Unbound> {
        has_room(path, named_by)?;
        let _lock = lock_folder(path);
        if was_left(path, named_by)? {
            fs::remove_file(path).map_err(|cause| {
                unbound(
                    path,
                    &format!(
                        "nobody listens at the socket there, but it cannot be removed: {cause}; remove it"
                    ),
                )
            })?;
        }
        let broken = |cause: io::Error| explain(path, &cause, named_by);
        let listener = listen(path, mode).map_err(broken)?;
        let file = fs::symlink_metadata(path).map_err(broken)?;
        listener.set_nonblocking(true).map_err(broken)?;
        Ok(Self {
            listener: UnixListener::from_std(listener).map_err(broken)?,
            path: path.to_owned(),
            mode,
            file: Some((file.dev(), file.ino())),
        })
    }

    /// A socket that a service manager bound, and whose file belongs to it.
    #[cfg(target_os = "linux")]
    pub(super) fn passed(listener: StdListener) -> io::Result<Self> {
        use std::os::linux::net::SocketAddrExt;

        let address = listener.local_addr()?;
        let path = address.as_pathname().map(Path::to_owned);
        let mode = path.as_ref().and_then(|path| fs::metadata(path).ok());
        let name = address.as_abstract_name().unwrap_or_default();
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: path.unwrap_or_else(|| format!("@{}", String::from_utf8_lossy(name)).into()),
            // If the permissions cannot be read, assume that they exclude no user.
            mode: mode.map_or(0o666, |file| file.permissions().mode()),
            file: None,
        })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the permissions let other users connect.
    pub(super) fn is_open_to_all(&self) -> bool {
        self.mode & 0o006 != 0
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unix:{}", self.path.display())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A successor may have bound its own socket here already; its file must stay.
        let is_ours = |file: fs::Metadata| Some((file.dev(), file.ino())) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks the folder of a socket while one is bound, so that two daemons which start at once do not take each other's
/// new socket for an abandoned one. If the folder cannot be locked, or another process keeps the lock, binding goes on:
/// only this protection is missing.
fn lock_folder(path: &Path) -> Option<OwnedFd> {
    let folder = rustix::fs::open(
        folder(path),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    for _ in 0..40 {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(25)),
            _ => break,
        }
    }
    Some(folder)
}

/// Finds out why [`Socket::bind`] would fail, without making or removing anything.
pub(super) fn look(path: &Path, named_by: NamedBy) -> Result<(), Unbound> {
    has_room(path, named_by)?;
    was_left(path, named_by)?;
    let folder = folder(path);
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|cause| explain(path, &cause.into(), named_by))
}

/// Checks that the path is short enough for the system.
fn has_room(path: &Path, named_by: NamedBy) -> Result<(), Unbound> {
    let length = path.as_os_str().as_bytes().len();
    if length <= MAX_PATH_BYTES {
        return Ok(());
    }
    let problem = format!(
        "the path is {length} bytes long, and that of a Unix socket may have {MAX_PATH_BYTES} at most; choose a shorter one \
         {}",
        named_by.elsewhere()
    );
    Err(unbound(path, &problem))
}

/// Whether an abandoned socket is at the path. Any other file there is an error.
fn was_left(path: &Path, named_by: NamedBy) -> Result<bool, Unbound> {
    let Ok(found) = fs::symlink_metadata(path) else {
        // Nothing is there, or it cannot be examined. In the second case, binding reports why.
        return Ok(false);
    };
    if !found.file_type().is_socket() {
        let elsewhere = named_by.elsewhere();
        let problem =
            format!("there is a file that is no socket; move it away, or name another path {elsewhere}");
        return Err(unbound(path, &problem));
    }
    match connect(path) {
        Err(Errno::CONNREFUSED) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        // A full queue means that a process listens there.
        Ok(()) | Err(Errno::WOULDBLOCK) => Err(in_use(path, named_by)),
        Err(cause) => Err(unbound(
            path,
            &format!(
                "whether somebody listens at the socket there cannot be seen: {cause}; remove it if nobody does"
            ),
        )),
    }
}

/// Connects without waiting, since the process that listens there may be stopped.
fn connect(path: &Path) -> rustix::io::Result<()> {
    let socket = new_socket()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

fn new_socket() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// A problem that only the operator can solve.
fn unbound(path: &Path, problem: &str) -> Unbound {
    Unbound {
        sentence: format!("cannot listen on unix:{}: {problem}", path.display()),
        may_pass: false,
        taken: None,
    }
}

/// The problem that another process listens at the path. It may pass: the process may be a predecessor that is
/// stopping.
fn in_use(path: &Path, named_by: NamedBy) -> Unbound {
    let elsewhere = named_by.elsewhere();
    Unbound {
        may_pass: true,
        taken: Some(Listen::Unix(path.to_owned())),
        ..unbound(
            path,
            &format!("another process listens there; end it, or name another path {elsewhere}"),
        )
    }
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Makes a listening socket with these permissions.
fn listen(path: &Path, mode: u32) -> io::Result<StdListener> {
    let socket = new_socket()?;
    // On Linux, the file gets at most the permissions of the socket. On other systems, the folder must keep other users
    // out until the permissions are set.
    let _ = fchmod(&socket, Mode::from_raw_mode(0o600));
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let listened = fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .and_then(|()| Ok(rustix::net::listen(&socket, BACKLOG)?));
    if let Err(cause) = listened {
        let _ = fs::remove_file(path);
        return Err(cause);
    }
    Ok(socket.into())
}

/// The problem for an error of the system, with what to do about it.
fn explain(path: &Path, cause: &io::Error, named_by: NamedBy) -> Unbound {
    let (folder, elsewhere) = (folder(path).display(), named_by.elsewhere());
    let problem = match cause.kind() {
        io::ErrorKind::AddrInUse => return in_use(path, named_by),
        io::ErrorKind::NotFound => {
            format!("there is no folder {folder}; make it, or name another path {elsewhere}")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{cause}; let the daemon's user write to the folder {folder}, or name another path {elsewhere}"
            )
        }
        _ => format!("{cause}; name another path {elsewhere}"),
    };
    Unbound {
        may_pass: may_pass(cause),
        ..unbound(path, &problem)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = Socket::bind(&path, 0o660, NamedBy::Settings).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let refused = Socket::bind(&path, 0o600, NamedBy::Settings)
            .err()
            .unwrap()
            .sentence;
        assert!(refused.contains("another process listens there"), "{refused}");
        StdStream::connect(&path).unwrap();
        drop(first);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_not_ours_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        for in_the_way in ["file", "folder", "link"] {
            match in_the_way {
                "file" => fs::write(&path, "precious").unwrap(),
                "folder" => fs::create_dir(&path).unwrap(),
                _ => std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap(),
            }
            let refused = Socket::bind(&path, 0o600, NamedBy::Settings)
                .err()
                .unwrap()
                .sentence;
            assert!(
                refused.contains("no socket; move it away"),
                "{in_the_way}: {refused}"
            );
            assert!(fs::symlink_metadata(&path).is_ok(), "{in_the_way}");
            if in_the_way == "folder" {
                fs::remove_dir(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
        }
        let socket = Socket::bind(&path, 0o600, NamedBy::Settings).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = StdListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists(), "the socket of a successor was removed");
        drop(successor);
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_had_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        let told = Socket::bind(&long, 0o600, NamedBy::Settings)
            .err()
            .unwrap()
            .sentence;
        assert!(
            told.contains("bytes long") && told.contains("choose a shorter one"),
            "{told}"
        );
        let told = Socket::bind(&folder.path().join("gone/http.sock"), 0o600, NamedBy::Settings)
            .err()
            .unwrap()
            .sentence;
        assert!(
            told.contains("there is no folder") && told.contains("gone"),
            "{told}"
        );
    }
}
