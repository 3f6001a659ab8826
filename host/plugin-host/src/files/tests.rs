//! What is judged on the way to a file, and what is opened.
#![allow(
    clippy::unwrap_used,
    reason = "all of it is tests, also what is not marked as one"
)]

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    path::Path,
};

use super::*;

/// Somebody else.
const STRANGER: u32 = 12_345;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder with a file in it, for its owner alone.
fn home() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().canonicalize().unwrap().join("folder");
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o755);
    let file = folder.join("file");
    fs::write(&file, "content").unwrap();
    mode(&file, 0o644);
    (home, file)
}

fn refusal(path: &Path) -> String {
    read(path, Subject::Settings).unwrap_err().to_string()
}

#[test]
fn the_file_and_each_folder_above_it_are_looked_at() {
    let (_home, file) = home();
    let folder = file.parent().unwrap();
    assert_eq!(read(&file, Subject::Library).unwrap(), b"content");
    mode(folder, 0o757);
    let shown = folder.display();
    assert_eq!(
        read(&file, Subject::Library).unwrap_err().to_string(),
        format!(
            "{shown} can be written by everybody (mode 0757), and a library and the folders above it must be writable by \
             their owner alone; run: chmod go-w {shown}"
        )
    );
    assert_eq!(read(&file, Subject::AnyLibrary).unwrap(), b"content");
    mode(folder, 0o1777);
    read(&file, Subject::Library).expect("nobody else can exchange it in a sticky folder");
    mode(&file, 0o666);
    assert!(refusal(&file).starts_with(&format!("{} can be written by everybody", file.display())));
}

#[test]
fn a_link_is_followed_and_the_folders_on_both_ways_are_looked_at() {
    let (home, file) = home();
    let shut = file.parent().unwrap();
    let open = shut.parent().unwrap().join("open");
    fs::create_dir(&open).unwrap();
    mode(&open, 0o755);
    // As a mounted secret of Kubernetes: file -> ..data/file, ..data -> ..2026.
    symlink(shut, open.join("..data")).unwrap();
    let link = open.join("link");
    symlink("..data/file", &link).unwrap();
    for path in [&link, &open.join("../open/./link")] {
        assert_eq!(read(path, Subject::Settings).unwrap(), b"content");
    }
    for folder in [open.as_path(), shut] {
        mode(folder, 0o777);
        let refusal = refusal(&link);
        assert!(
            refusal.starts_with(&format!("{} can be written", folder.display())),
            "{refusal}"
        );
        mode(folder, 0o755);
    }
    let around = home.path().join("around");
    symlink(&around, &around).unwrap();
    assert!(read(&around, Subject::Settings).unwrap_err().io().is_some());
}

#[test]
fn a_file_a_folder_and_a_link_of_somebody_else_are_refused() {
    if !is_root() {
        // Nobody else can give a file away.
        return;
    }
    let (_home, file) = home();
    let folder = file.parent().unwrap();
    let link = folder.join("link");
    symlink("file", &link).unwrap();
    assert!(read(&link, Subject::KeyFile).unwrap_err().is_judgement(), "0644");
    mode(&file, 0o600);
    read(&link, Subject::KeyFile).unwrap();
    for path in [&file, folder] {
        chown(path, Some(STRANGER), None).unwrap();
        for subject in [
            Subject::KeyFile,
            Subject::Settings,
            Subject::Reference,
            Subject::LockFile,
        ] {
            let fault = read(&link, subject).unwrap_err();
            assert!(fault.is_owner(), "{fault}");
            assert!(fault.to_string().contains("belongs to user 12345"), "{fault}");
        }
        chown(path, Some(0), None).unwrap();
    }
    std::os::unix::fs::lchown(&link, Some(STRANGER), None).unwrap();
    let fault = read(&link, Subject::Settings).unwrap_err();
    assert!(
        fault.to_string().starts_with(&link.display().to_string()),
        "{fault}"
    );
}

#[test]
fn nothing_but_a_file_is_opened_and_nobody_is_waited_for() {
    let (_home, file) = home();
    let folder = file.parent().unwrap();
    let pipe = folder.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let socket = folder.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let what = |path: &Path| {
        let told = read(path, Subject::Numbers).unwrap_err().to_string();
        assert_eq!(
            judge(path, Subject::Numbers).unwrap_err().to_string(),
            told,
            "one judgement"
        );
        told
    };
    for (path, kind) in [
        (pipe.as_path(), "a named pipe"),
        (&socket, "a socket"),
        (folder, "a folder"),
        (Path::new("/dev/null"), "a device"),
        (Path::new("/"), "a folder"),
    ] {
        assert_eq!(
            what(path),
            format!(
                "{} is {kind}, and the file of numbers must be a regular file; put one there",
                path.display()
            )
        );
    }
}

#[test]
fn no_more_is_read_than_there_may_be() {
    let (_home, file) = home();
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len((1 << 20) + 1)
        .unwrap();
    assert!(refusal(&file).contains("has 1048577 bytes, and the settings file may have 1048576"));
}

#[test]
fn a_private_folder_is_made_with_those_above_it_and_nothing_else_is_closed() {
    let (_home, file) = home();
    let folder = file.parent().unwrap();
    let deep = folder.join("a/b/private");
    assert_eq!(private_folder(&deep, Subject::PrivateCopies).unwrap(), deep);
    let mode_of = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode_of(&deep), mode_of(folder)), (0o700, 0o755));
    mode(folder, 0o777);
    let fault = private_folder(&deep, Subject::PrivateCopies).unwrap_err();
    assert!(fault.is_judgement(), "{fault}");
}

#[test]
fn a_private_folder_that_is_a_link_of_somebody_else_is_not_followed() {
    if !is_root() {
        return;
    }
    let (_home, file) = home();
    let folder = file.parent().unwrap();
    let theirs = folder.join("theirs");
    fs::create_dir(&theirs).unwrap();
    mode(&theirs, 0o755);
    let link = folder.join("private");
    symlink(&theirs, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(STRANGER), None).unwrap();
    assert!(
        private_folder(&link, Subject::PrivateCopies)
            .unwrap_err()
            .is_owner()
    );
    std::os::unix::fs::lchown(&link, Some(0), None).unwrap();
    chown(&theirs, Some(STRANGER), None).unwrap();
    assert!(
        private_folder(&link, Subject::PrivateCopies)
            .unwrap_err()
            .is_owner()
    );
    assert_eq!(
        fs::metadata(&theirs).unwrap().mode() & 0o777,
        0o755,
        "left as it is"
    );
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
}

#[test]
fn what_the_system_says_is_told_with_its_cure() {
    let error = |number: rustix::io::Errno| io::Error::from(number);
    let shown = |number| told(&error(number), "do it");
    assert!(shown(rustix::io::Errno::NOSPC).contains("make room on its disk"));
    assert!(shown(rustix::io::Errno::NAMETOOLONG).contains("choose a shorter one"));
    assert!(shown(rustix::io::Errno::NOLCK).contains("cannot lock files"));
    assert!(shown(rustix::io::Errno::ROFS).contains("can be written"));
    assert!(shown(rustix::io::Errno::MFILE).contains("limit on open files"));
    assert!(shown(rustix::io::Errno::ACCESS).ends_with("; do it"));
    for number in [
        rustix::io::Errno::NOSPC,
        rustix::io::Errno::DQUOT,
        rustix::io::Errno::IO,
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NOMEM,
        rustix::io::Errno::ADDRINUSE,
    ] {
        assert!(may_pass(&error(number)), "{number}");
    }
    for number in [
        rustix::io::Errno::NOENT,
        rustix::io::Errno::ACCESS,
        rustix::io::Errno::NOTDIR,
        rustix::io::Errno::ISDIR,
        rustix::io::Errno::NAMETOOLONG,
        rustix::io::Errno::LOOP,
        rustix::io::Errno::ROFS,
    ] {
        assert!(!may_pass(&error(number)), "{number}");
    }
}
