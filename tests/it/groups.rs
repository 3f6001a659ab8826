//! Groups that may write the daemon's files: that of a user alone is that user, and one with another member is not.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    process::Command,
};

use phone_verify_tests::site::{Ran, Site, ran};
use serde_json::json;

use crate::files::{as_user, installed};

/// The user of the daemon, and the group of the same number.
const VERIFY: u32 = 23_456;
const MALLORY: u32 = 12_345;

/// Runs `check` as the user of the daemon, on a system with these users and groups; `None` where that cannot be tried.
fn checked_on_a_system_with(site: &Site, passwd: &str, group: &str) -> Option<Ran> {
    site.write("passwd", format!("root:x:0:0::/root:/bin/sh\n{passwd}"));
    site.write("group", format!("root:x:0:\n{group}"));
    let as_verify = as_user(site, &site.path("bin/phone-verify"), VERIFY, "", &["check"])?;
    let may = Command::new("unshare").args(["-m", "true"]).output();
    if !may.is_ok_and(|tried| tried.status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c"])
        .arg("mount --bind passwd /etc/passwd && mount --bind group /etc/group && exec \"$0\" \"$@\"")
        .arg(as_verify.get_program())
        .args(as_verify.get_args())
        .current_dir(site.folder());
    Some(ran(&mut command))
}

#[test]
fn a_group_of_the_users_own_number_is_private_only_as_long_as_nobody_else_is_in_it() {
    let site = Site::with_backend("noop.NoopBackend", &json!({}));
    installed(&site);
    let data = site.path("data");
    fs::create_dir(&data).unwrap();
    let mut site = site;
    site.set("store", "url", "sqlite:data/phone-verify.db");
    site.set("plugins", "staging_directory", "data/staged");
    if !rustix::process::geteuid().is_root() {
        return;
    }
    fs::set_permissions(site.folder(), Permissions::from_mode(0o755)).unwrap();
    chown(&data, Some(VERIFY), Some(VERIFY)).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o775)).unwrap();

    let verify = format!("verify:x:{VERIFY}:{VERIFY}::/:/bin/sh\n");
    let mallory = |group| format!("{verify}mallory:x:{MALLORY}:{group}::/:/bin/sh\n");
    let private = format!("verify:x:{VERIFY}:\n");
    let refused = format!("data can be written by group {VERIFY} (mode 0775)");
    for (passwd, group, is_fine) in [
        (verify.clone(), private.clone(), true),
        (verify.clone(), format!("verify:x:{VERIFY}:verify,root\n"), true),
        (verify.clone(), String::new(), true),
        (mallory(MALLORY), private.clone(), true),
        (mallory(MALLORY), format!("verify:x:{VERIFY}:mallory\n"), false),
        (mallory(VERIFY), private, false),
    ] {
        let Some(checked) = checked_on_a_system_with(&site, &passwd, &group) else {
            return;
        };
        let told = format!("{passwd}{group}{checked:#?}");
        assert_eq!(checked.code, Some(if is_fine { 0 } else { 2 }), "{told}");
        assert_eq!(checked.stderr.contains(&refused), !is_fine, "{told}");
    }
}
