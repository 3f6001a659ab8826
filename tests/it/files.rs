//! The files that the daemon depends on: who can have written them, and what they are. Judged before anything is read
//! of them, by every command.
#![cfg(unix)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use phone_verify_tests::{
    artifacts,
    daemon::Daemon,
    site::{Ran, Site, ran},
};
use serde_json::json;

/// The user of the daemon where root is another, and a stranger to both.
const DAEMON: u32 = 23_456;
const STRANGER: u32 = 12_345;
/// A group that only a process is in, as Kubernetes gives it.
const VOLUME: u32 = 34_567;

/// An installation with each of its files in a folder of its own.
fn apart() -> Site {
    let mut site = Site::with_backend("noop.NoopBackend", &json!({}));
    site.set("store", "url", "sqlite:data/phone-verify.db");
    site.set("store", "key_file", "keys/key");
    site.set("plugins", "lock_file", "lock/plugins.lock");
    site.set("plugins", "staging_directory", "copies/staged");
    site.set("phone_verification", "APP_NAME", "${file:secrets/name}");
    for folder in ["data", "keys", "lock", "copies", "secrets"] {
        fs::create_dir(site.path(folder)).unwrap();
        mode(&site.path(folder), 0o755);
    }
    site.write("secrets/name", "Acme\n");
    site
}

/// The same, used once.
fn used() -> Site {
    let site = apart();
    let first = register(&site);
    assert_eq!(first.code, Some(0), "{first:#?}");
    site
}

fn register(site: &Site) -> Ran {
    site.run(&["register", "+13478379634"])
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Can give files to others.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Each file, and the folder that it lies in.
const FILES: [(&str, &str); 6] = [
    ("data/phone-verify.db", "data"),
    ("keys/key", "keys"),
    ("lock/plugins.lock", "lock"),
    ("copies/staged", "copies"),
    ("secrets/name", "secrets"),
    ("plugins/libnoop.so", "plugins"),
];

/// Those that refuse to go on. A start goes on with the private copy of a library that is refused.
fn commands(file: &Path) -> Vec<&'static [&'static str]> {
    let is_library = file.to_string_lossy().contains("plugins/") || file.ends_with("plugins");
    if is_library {
        vec![&["check"]]
    } else {
        vec![&["check"], &["serve"]]
    }
}

#[test]
fn a_folder_that_others_can_write_is_told_by_check_and_by_the_start() {
    let site = used();
    for (_, folder) in FILES {
        let folder = site.path(folder);
        let before = fs::metadata(&folder).unwrap().mode() & 0o7777;
        mode(&folder, 0o777);
        for arguments in commands(&folder) {
            let refused = site.run(arguments);
            assert_eq!(refused.code, Some(2), "{folder:?} {arguments:?} {refused:#?}");
            assert!(
                refused
                    .stderr
                    .contains(&format!("{} can be written by ", folder.display())),
                "{refused:#?}"
            );
        }
        mode(&folder, before);
    }
    assert_eq!(register(&site).code, Some(0), "it was nothing else");
}

#[test]
fn a_file_of_somebody_else_is_told_by_check_and_by_the_start() {
    if !is_root() {
        return;
    }
    let site = used();
    // It is the built file under another name.
    let library = site.install("noop");
    let bytes = fs::read(&library).unwrap();
    fs::remove_file(&library).unwrap();
    fs::write(&library, bytes).unwrap();
    for (file, _) in FILES {
        let file = site.path(file);
        chown(&file, Some(STRANGER), None).unwrap();
        for arguments in commands(&file) {
            let refused = site.run(arguments);
            assert_eq!(refused.code, Some(2), "{file:?} {arguments:?} {refused:#?}");
            assert!(
                refused
                    .stderr
                    .contains(&format!("{} belongs to user {STRANGER}", file.display())),
                "{refused:#?}"
            );
        }
        chown(&file, Some(0), None).unwrap();
    }
    assert_eq!(register(&site).code, Some(0), "it was nothing else");
}

#[test]
fn copies_that_somebody_else_linked_elsewhere_are_neither_made_nor_closed_there() {
    if !is_root() {
        return;
    }
    let site = apart();
    let theirs = site.path("theirs");
    fs::create_dir(&theirs).unwrap();
    mode(&theirs, 0o755);
    // Everybody may add to such a folder, as to /tmp.
    mode(&site.path("copies"), 0o1777);
    symlink(&theirs, site.path("copies/staged")).unwrap();
    lchown(site.path("copies/staged"), Some(STRANGER), None).unwrap();
    let refused = register(&site);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(
        refused.stderr.contains("P405: ") && refused.stderr.contains("copies/staged belongs to user 12345"),
        "{refused:#?}"
    );
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
    assert_eq!(fs::metadata(&theirs).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn a_named_pipe_in_the_place_of_a_file_stops_nothing() {
    let pipe = |path: &Path| {
        let _ = fs::remove_file(path);
        let made = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    };
    for (file, _) in FILES.into_iter().filter(|(file, _)| *file != "copies/staged") {
        let site = apart();
        pipe(&site.path(file));
        for arguments in [&["check"][..], &["serve"]] {
            let refused = site.run(arguments);
            assert_eq!(refused.code, Some(2), "{file} {arguments:?} {refused:#?}");
            let told = refused.stderr.contains(&format!("{file} is a named pipe"))
                || refused.stderr.contains(&format!("{file} is not a file"));
            assert!(told, "{file} {arguments:?} {refused:#?}");
        }
    }
    let site = apart();
    pipe(&site.path("numbers"));
    let refused = site.run(&["send", "--message", "Hello", "--numbers-file", "numbers"]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("numbers is a named pipe"), "{refused:#?}");
    pipe(&site.path("phone-verify.toml"));
    let refused = site.run(&["check"]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("is a named pipe"), "{refused:#?}");
    // Named as the files of processes are, which are looked for beside the database.
    let site = used();
    for process in ["0".to_owned(), "ab".repeat(16)] {
        pipe(
            &site
                .path("data")
                .join(format!("phone-verify.db-process-{process}")),
        );
    }
    let done = register(&site);
    assert_eq!(done.code, Some(0), "{done:#?}");
}

#[test]
fn a_lock_file_says_in_which_form_it_is_written() {
    let site = used();
    let path = site.path("lock/plugins.lock");
    let lock = fs::read_to_string(&path).unwrap();
    let table: toml::Table = lock.parse().unwrap();
    assert_eq!(table["version"].as_integer(), Some(1));
    let refused = |text: &str, told: &str| {
        fs::write(&path, text).unwrap();
        for arguments in [&["check"][..], &["serve"]] {
            let refused = site.run(arguments);
            assert_eq!(refused.code, Some(2), "{text:?} {refused:#?}");
            assert!(
                refused.stderr.contains("P406: ") && refused.stderr.contains(told),
                "{text:?} {refused:#?}"
            );
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "left as it is");
    };
    refused("", "it is empty");
    refused("# nothing but a comment\n", "it is empty");
    // Cut off: what is missing would be trusted anew.
    let last = lock.rfind("size_bytes").unwrap() + "size_bytes = 1".len();
    for (length, told) in [
        (
            lock.find("last_line").unwrap(),
            "it is cut off, for it does not list any libraries",
        ),
        (
            lock.find("[libraries").unwrap(),
            "it is cut off, for it does not list any libraries",
        ),
        (last, "cannot be read: "),
        (
            lock.len() - 2,
            "it is cut off, for its last line is not \"# End of plugins.lock\"",
        ),
    ] {
        refused(&lock[..length], told);
    }
    refused(
        &lock.replace("version = 1\n", "version = 2\n"),
        "a later phone-verify wrote it, in version 2 of its form, and this one knows 1",
    );
    refused(
        &lock.replace("version = 1\n", "version = \"1\"\n"),
        "its version is none",
    );
    refused(
        &lock.replace("version = 1\n", "version = 0\n"),
        "its version is none",
    );
    // As it was written before it had versions.
    fs::write(&path, lock.replace("version = 1\n", "")).unwrap();
    assert_eq!(register(&site).code, Some(0));
}

#[test]
fn what_a_later_version_adds_to_a_lock_file_stays_in_it_and_trusts_nothing() {
    let site = used();
    let path = site.path("lock/plugins.lock");
    let lock = fs::read_to_string(&path).unwrap();
    let lock = lock.replace("version = 1\n", "version = 1\nsigned_by = \"somebody\"\n");
    fs::write(&path, &lock).unwrap();
    assert_eq!(register(&site).code, Some(0));
    site.install_variant("noop", "second");
    let refused = site.run(&["check"]);
    assert!(refused.stderr.contains("P401: "), "{refused:#?}");
    assert_eq!(site.run(&["plugin", "trust", "noop"]).code, Some(0));
    let after: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    assert_eq!(after["signed_by"].as_str(), Some("somebody"));
}

/// The program as another user, in that user's groups alone; `None` where this user cannot become another.
pub(crate) fn as_user(
    site: &Site,
    program: &Path,
    user: u32,
    groups: &str,
    arguments: &[&str],
) -> Option<Command> {
    if !is_root() || !Path::new("/usr/bin/setpriv").exists() {
        return None;
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .arg(format!("--reuid={user}"))
        .arg(format!("--regid={user}"))
        .arg(if groups.is_empty() {
            "--clear-groups".to_owned()
        } else {
            format!("--groups={groups}")
        })
        .arg(program)
        .args(arguments)
        .current_dir(site.folder());
    for variable in ["PHONE_VERIFY_SETTINGS", "RUST_LOG", "RUST_BACKTRACE", "NO_COLOR"] {
        command.env_remove(variable);
    }
    Some(command)
}

/// The program where every user can run it.
pub(crate) fn installed(site: &Site) -> PathBuf {
    let folder = site.path("bin");
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o755);
    let program = folder.join("phone-verify");
    if fs::hard_link(artifacts::program(), &program).is_err() {
        fs::copy(artifacts::program(), &program).unwrap();
    }
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn root_acts_beside_a_daemon_of_another_user_as_that_user() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let program = installed(&site);
    let Some(mut serve) = as_user(&site, &program, DAEMON, "", &["serve"]) else {
        return;
    };
    mode(site.folder(), 0o755);
    // The settings and the libraries are root's, the rest is the daemon's.
    fs::create_dir(site.path("data")).unwrap();
    chown(site.path("data"), Some(DAEMON), Some(DAEMON)).unwrap();
    let mut site = site;
    site.set("store", "url", "sqlite:data/phone-verify.db");
    site.set("plugins", "staging_directory", "");
    // Root begins: what it makes is the daemon's.
    assert_eq!(register(&site).code, Some(0));
    let daemon = Daemon::start(&mut serve);
    for arguments in [
        &["check"][..],
        &["backends"],
        &["register", "+13478379634"],
        &["decisions"],
        &["audit"],
        &["cleanup"],
        &["export", "+13478379634"],
    ] {
        let done = site.run(arguments);
        let is_only_taken = arguments == ["check"] && done.stderr.contains("in use");
        assert!(done.code == Some(0) || is_only_taken, "{arguments:?} {done:#?}");
    }
    site.install_variant("noop", "second");
    assert_eq!(site.run(&["plugin", "trust", "noop"]).code, Some(0));
    daemon.wait_for_log("the backend is exchanged");
    let back = site.run(&["plugin", "rollback", "noop"]);
    assert_eq!(back.code, Some(0), "{back:#?}");
    daemon.wait_for_logs("the backend is exchanged", 2);
    let mut left = vec![site.path("data")];
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!(found.uid(), DAEMON, "{path:?}");
        if found.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert_eq!(daemon.register("+13478379634").await.status, 200);
    let audit = site.run(&["audit", "--json"]);
    assert!(audit.stdout.contains("uid:0"), "who began it: {audit:#?}");
}

/// No file keeps root from reading it, so root would not see what the daemon meets.
#[test]
fn check_by_root_finds_what_the_user_of_the_daemon_cannot_read() {
    if !is_root() {
        return;
    }
    let site = Site::with_backend("noop.NoopBackend", &json!({}));
    let program = installed(&site);
    mode(site.folder(), 0o755);
    fs::create_dir(site.path("data")).unwrap();
    chown(site.path("data"), Some(DAEMON), Some(DAEMON)).unwrap();
    let mut site = site;
    site.set("store", "url", "sqlite:data/phone-verify.db");
    site.set("plugins", "staging_directory", "");
    site.set("store", "keys", vec!["${file:secret}"]);
    site.set("phone_verification", "APP_NAME", "${file:name}");
    site.write("secret", "ab".repeat(32));
    site.write("name", "Acme");
    let secrets = ["phone-verify.toml", "secret", "name"].map(|name| site.path(name));
    // As a package installs them: root's, for the group of the daemon.
    for secret in &secrets {
        chown(secret, None, Some(DAEMON)).unwrap();
        mode(secret, 0o640);
    }
    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert_eq!(checked.json()["warnings"], json!([]), "{checked:#?}");
    for secret in &secrets {
        mode(secret, 0o600);
        let refused = site.run(&["check"]);
        assert_eq!(refused.code, Some(2), "{secret:?}: {refused:#?}");
        let name = secret.file_name().unwrap().to_str().unwrap();
        for told in [
            "cannot be read: Permission denied",
            name,
            &format!("this is what user {DAEMON} meets"),
        ] {
            assert!(refused.stderr.contains(told), "{secret:?}: {told}: {refused:#?}");
        }
        // As the daemon meets it.
        let Some(mut daemon) = as_user(&site, &program, DAEMON, "", &["serve"]) else {
            return;
        };
        let refused = ran(&mut daemon);
        assert_eq!(refused.code, Some(2), "{secret:?}: {refused:#?}");
        assert!(refused.stderr.contains("Permission denied"), "{refused:#?}");
        mode(secret, 0o640);
    }
}

#[test]
fn check_by_root_says_that_it_tried_all_as_root() {
    if !is_root() {
        return;
    }
    let site = used();
    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let warnings = checked.json()["warnings"].to_string();
    assert!(
        warnings.contains(&format!(
            "this was tried as root, to whom the folder {} belongs",
            site.path("data").display()
        )),
        "{checked:#?}"
    );
}

#[test]
fn a_pod_with_mounted_secrets_and_a_volume_of_its_group_works() {
    let site = Site::with_backend("noop.NoopBackend", &json!({}));
    let program = installed(&site);
    mode(site.folder(), 0o755);
    // A mounted secret: root's, for the group of the pod, through links that an update exchanges.
    let secret = site.path("secret");
    let version = secret.join("..2026_11_27");
    fs::create_dir_all(&version).unwrap();
    if !is_root() {
        return;
    }
    mode(&secret, 0o3777);
    mode(&version, 0o2755);
    fs::write(version.join("key"), format!("{}\n", "ab".repeat(32))).unwrap();
    symlink("..2026_11_27", secret.join("..data")).unwrap();
    symlink("..data/key", secret.join("key")).unwrap();
    // A volume: root's, writable for the group of the pod.
    let volume = site.path("volume");
    fs::create_dir(&volume).unwrap();
    for path in [&secret, &version, &version.join("key"), &volume] {
        chown(path, Some(0), Some(VOLUME)).unwrap();
    }
    mode(&volume, 0o2775);
    let mut site = site;
    site.set("store", "url", "sqlite:volume/phone-verify.db");
    site.set("store", "key_file", "secret/key");
    site.set("plugins", "staging_directory", "");
    let groups = VOLUME.to_string();
    let run = |groups: &str| {
        let command = as_user(&site, &program, DAEMON, groups, &["register", "+13478379634"]);
        command.map(|mut command| ran(&mut command))
    };
    for key in [0o440, 0o640] {
        mode(&version.join("key"), key);
        let Some(done) = run(&groups) else { return };
        assert_eq!(done.code, Some(0), "{done:#?}");
    }
    // A volume that is mounted again is opened for the group, with all that is in it.
    mode(&volume.join("phone-verify.db"), 0o660);
    let done = run(&groups).unwrap();
    assert_eq!(done.code, Some(0), "{done:#?}");
    mode(&version.join("key"), 0o444);
    let refused = run(&groups).unwrap();
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(
        refused.stderr.contains("has mode 0444, so others can read it"),
        "{refused:#?}"
    );
}

#[test]
fn settings_of_a_config_map_are_taken_from_a_projected_volume() {
    let site = Site::with_backend("noop.NoopBackend", &json!({}));
    // A link to a link to the folder of this version, as Kubernetes exchanges them.
    let mounted = site.path("etc");
    let version = mounted.join("..2026_11_27");
    fs::create_dir_all(&version).unwrap();
    mode(&version, 0o755);
    fs::copy(site.path("phone-verify.toml"), version.join("phone-verify.toml")).unwrap();
    symlink("..2026_11_27", mounted.join("..data")).unwrap();
    symlink("..data/phone-verify.toml", mounted.join("phone-verify.toml")).unwrap();
    let check = || site.run(&["check", "--settings", "etc/phone-verify.toml"]);
    mode(&mounted, 0o1777);
    let taken = check();
    assert!(!taken.stderr.contains("can be written"), "{taken:#?}");
    // A volume of type configMap: who runs this can close no such folder.
    mode(&mounted, 0o777);
    let refused = check();
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(
        refused
            .stderr
            .contains("mount the ConfigMap in a volume of type projected"),
        "{refused:#?}"
    );
    assert!(!refused.stderr.contains("chmod"), "{refused:#?}");
}
