//! Files that hold secrets: who may read them, whichever setting names them.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use phone_verify_tests::site::{Site, ran};
use serde_json::json;

use crate::files::{as_user, installed};

const NUMBER: &str = "+13478379634";
const DAEMON: u32 = 23_456;
const STRANGER: u32 = 12_345;
/// A group that root is not in.
const OTHERS: u32 = 34_567;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn what_is_refused_as_a_key_file_is_refused_as_a_reference_in_the_keys() {
    let mut by_file = Site::with_backend("noop.NoopBackend", &json!({}));
    by_file.set("store", "key_file", "master");
    let mut by_reference = Site::with_backend("noop.NoopBackend", &json!({}));
    by_reference.set("store", "keys", vec!["${file:master}"]);
    for site in [by_file, by_reference] {
        let file = site.write("master", "ab".repeat(32));
        if is_root() {
            chown(&file, None, Some(OTHERS)).unwrap();
        }
        for (bits, is_fine) in [
            (0o600, true),
            (0o400, true),
            (0o640, !is_root()),
            (0o604, false),
            (0o644, false),
        ] {
            mode(&file, bits);
            for arguments in [&["check"][..], &["register", NUMBER]] {
                let ended = site.run(arguments);
                let told = format!("{bits:o} {arguments:?} {ended:#?}");
                if is_fine {
                    assert_eq!(ended.code, Some(0), "{told}");
                    continue;
                }
                assert_eq!(ended.code, Some(2), "{told}");
                let path = file.display();
                for words in [
                    format!("{path} has mode {bits:04o}, so others can read it"),
                    format!("run: chmod 600 {path}"),
                ] {
                    assert!(ended.stderr.contains(&words), "{told}");
                }
            }
        }
    }
}

#[test]
fn a_secret_that_others_can_read_is_told_by_check_and_by_the_start() {
    let secret = "not-for-others";
    let literal = Site::with_backend("villain.VillainBackend", &json!({ "SECRET": secret }));
    let referred = Site::with_backend("villain.VillainBackend", &json!({ "SECRET": "${file:secret}" }));
    for (site, name) in [(literal, "phone-verify.toml"), (referred, "secret")] {
        site.write("secret", secret);
        let file = site.path(name);
        for (of_folder, of_file, is_told) in [
            (0o755, 0o644, true),
            (0o755, 0o604, true),
            (0o755, 0o600, false),
            // Nobody else gets to it.
            (0o700, 0o644, false),
        ] {
            mode(site.folder(), of_folder);
            mode(&file, of_file);
            let words = format!(
                "SECRET may be a secret, and the file {path} has mode {of_file:04o}, so others can read it; run: chmod 600 \
                 {path}",
                path = file.display()
            );
            let checked = site.run(&["check"]);
            assert_eq!(checked.code, Some(0), "{checked:#?}");
            assert_eq!(
                checked.stderr.contains(&words),
                is_told,
                "{of_folder:o} {of_file:o} {checked:#?}"
            );
            let (_, log) = site.serve().stop();
            assert_eq!(log.contains(&words), is_told, "{of_folder:o} {of_file:o} {log}");
            assert!(!log.contains(secret), "{log}");
        }
    }
}

/// As systemd hands over a credential: a file of root, with an access control list for the user of the service.
#[test]
fn a_key_that_a_list_gives_to_the_daemon_alone_is_nobody_elses() {
    let mut site = Site::with_backend("noop.NoopBackend", &json!({}));
    if !is_root() {
        return;
    }
    let program = installed(&site);
    mode(site.folder(), 0o755);
    for (folder, owner) in [("credentials", 0), ("data", DAEMON)] {
        fs::create_dir(site.path(folder)).unwrap();
        mode(&site.path(folder), 0o755);
        chown(site.path(folder), Some(owner), None).unwrap();
    }
    let key = site.write("credentials/key", "ab".repeat(32));
    site.set("store", "url", "sqlite:data/phone-verify.db");
    site.set("store", "key_file", "credentials/key");
    site.set("plugins", "staging_directory", "");
    for (reader, is_fine) in [(DAEMON, true), (STRANGER, false)] {
        mode(&key, 0o400);
        // A version, and entries of tag, bits and number: the owner, a user, the group, the mask and all.
        let none = u32::MAX;
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, number) in [
            (0x01_u16, 4_u16, none),
            (0x02, 4, reader),
            (0x04, 0, none),
            (0x10, 4, none),
            (0x20, 0, none),
        ] {
            list.extend(tag.to_le_bytes());
            list.extend(bits.to_le_bytes());
            list.extend(number.to_le_bytes());
        }
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(&key, "system.posix_acl_access", &list, flags).is_err() {
            return;
        }
        let Some(mut command) = as_user(&site, &program, DAEMON, "", &["register", NUMBER]) else {
            return;
        };
        let ended = ran(&mut command);
        assert_eq!(
            ended.code,
            Some(if is_fine { 0 } else { 2 }),
            "{reader} {ended:#?}"
        );
    }
}
