//! The program that this process runs, for child processes that must run the very same one.
//!
//! A path is no such thing: a package upgrade replaces, renames or removes the file at it while this process goes on.
//! On Linux the kernel keeps the running file reachable as `/proc/self/exe`, whatever lies at its path. Where there is
//! no such link (no `/proc`, another system), the file is opened at start and its path is used as long as it still
//! leads to that file; afterwards a private copy is made of what is open.
//!
//! Invariant: a child is never another program than this one.

#[cfg(unix)]
use std::fs;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tempfile::TempPath;

/// What the kernel knows the running program by.
#[cfg(target_os = "linux")]
const KERNELS_LINK: &str = "/proc/self/exe";

static IMAGE: OnceLock<Image> = OnceLock::new();

struct Image {
    /// Where it lay at the start.
    path: Option<PathBuf>,
    folder: Option<PathBuf>,
    /// What lay there, where there is no better link to it.
    file: Option<File>,
}

/// This very program, to be run. Kept until the child runs.
pub struct Program {
    path: PathBuf,
    /// A private copy, deleted with this.
    _copy: Option<TempPath>,
}

impl Program {
    /// A command that runs it.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl From<PathBuf> for Program {
    /// Another one, whatever lies there.
    fn from(path: PathBuf) -> Self {
        Self { path, _copy: None }
    }
}

/// Remembers which program this is. Called first of all, while its file is certainly where it was started from; without
/// that call the first use remembers it.
pub fn remember() {
    image();
}

/// The folder where the program lay when this process began, without links: what belongs to the program is found from
/// there, also after its file was moved or replaced. `None`: the system does not tell.
pub fn folder() -> Option<&'static Path> {
    image().folder.as_deref()
}

/// This very program.
///
/// # Errors
/// When the system offers no way to it: its file is gone and cannot be copied either.
pub fn program() -> io::Result<Program> {
    image().program()
}

fn image() -> &'static Image {
    IMAGE.get_or_init(|| {
        let path = path_now();
        let file = if has_kernels_link() {
            None
        } else {
            path.as_ref().and_then(|path| File::open(path).ok())
        };
        let resolved = path.as_ref().and_then(|path| path.canonicalize().ok());
        let folder = resolved.and_then(|path| path.parent().map(Path::to_owned));
        Image { path, folder, file }
    })
}

impl Image {
    fn program(&self) -> io::Result<Program> {
        #[cfg(target_os = "linux")]
        if has_kernels_link() {
            return Ok(PathBuf::from(KERNELS_LINK).into());
        }
        let unknown = || io::Error::other("the system does not tell which program this process runs");
        let path = self.path.as_ref().ok_or_else(unknown)?;
        match &self.file {
            Some(file) if !is_same(path, file) => copy_of(file),
            // `None`: its file can be run but not read.
            _ => Ok(path.clone().into()),
        }
    }
}

#[cfg(target_os = "linux")]
fn has_kernels_link() -> bool {
    fs::read_link(KERNELS_LINK).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn has_kernels_link() -> bool {
    false
}

fn path_now() -> Option<PathBuf> {
    let path = std::env::current_exe().ok();
    #[cfg(target_os = "linux")]
    // What the kernel was asked to run; enough where `/proc` is not mounted.
    let path = path.or_else(|| {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

        let told = Path::new(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()));
        std::path::absolute(told).ok().filter(|path| path.exists())
    });
    path
}

#[cfg(unix)]
fn is_same(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;

    // The open file keeps its number: no other file can have it meanwhile.
    let known = |metadata: fs::Metadata| (metadata.dev(), metadata.ino(), metadata.size());
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(open)) => known(there) == known(open),
        _ => false,
    }
}

/// Here the file of a running program can be neither written nor deleted, and an open one not renamed over.
#[cfg(not(unix))]
fn is_same(path: &Path, _file: &File) -> bool {
    path.exists()
}

/// A copy that only this user can run.
fn copy_of(file: &File) -> io::Result<Program> {
    let mut file = file.try_clone()?;
    let mut copy = tempfile::Builder::new().prefix("phone-verify-").tempfile()?;
    io::Seek::rewind(&mut file)?;
    io::copy(&mut file, copy.as_file_mut())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        copy.as_file()
            .set_permissions(fs::Permissions::from_mode(0o500))?;
    }
    let copy = copy.into_temp_path();
    Ok(Program {
        path: copy.to_path_buf(),
        _copy: Some(copy),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done where there is no link of the kernel's.
    #[test]
    #[cfg(unix)]
    fn once_its_path_leads_elsewhere_the_open_file_is_run_from_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let [path, aside] = ["program", "aside"].map(|name| folder.path().join(name));
        fs::write(&path, "first").unwrap();
        let file = File::open(&path).unwrap();
        assert!(is_same(&path, &file));

        fs::write(&aside, "other").unwrap();
        fs::rename(&aside, &path).unwrap();
        assert!(!is_same(&path, &file));
        fs::remove_file(&path).unwrap();
        assert!(!is_same(&path, &file));

        for _ in 0..2 {
            let copy = copy_of(&file).unwrap();
            assert_eq!(fs::read_to_string(&copy.path).unwrap(), "first");
            let copied = copy.path.clone();
            drop(copy);
            assert!(!copied.exists());
        }
    }

    #[test]
    fn this_program_is_known_and_can_be_run() {
        assert!(folder().is_some_and(Path::is_absolute));
        assert!(program().is_ok());
    }
}
