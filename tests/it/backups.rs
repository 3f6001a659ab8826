//! Backups, as an operator has them: made while the daemon runs, restored, and refused if they are not whole.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use phone_verify_tests::{
    daemon::Daemon,
    site::{Ran, Site},
};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::json;

const FIRST: &str = "+13478379634";
const SECOND: &str = "+13478379635";
const CODE: &str = "123456";
const DATABASE: &str = "phone-verify.db";
const KEY_FILE: &str = "phone-verify.db.key";

/// Every code is [`CODE`].
fn site() -> Site {
    Site::with_backend("noop.FixedCodeBackend", &json!({}))
}

/// The session token of a registration.
async fn registers(daemon: &Daemon, number: &str) -> String {
    daemon.register(number).await.session_token().to_owned()
}

async fn verifies(daemon: &Daemon, number: &str, token: &str) -> bool {
    daemon.verify(number, token, CODE).await.status == 200
}

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran
}

/// Each file in the folder of an installation, and what is in it.
fn files(site: &Site) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(site.folder()).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn make_private(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// An installation that was used, its daemon ended, and a backup of it.
fn backed_up() -> Site {
    let site = site();
    done(site.run(&["register", FIRST]));
    done(site.run(&["backup", "backup.db"]));
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_daemon_goes_back_and_so_does_what_it_replaced() {
    let site = site();
    let daemon = site.serve();
    let first = registers(&daemon, FIRST).await;
    let made = done(site.run(&["backup", "backup.db", "--json"])).json();
    assert_eq!(made["verifications"], 1);
    assert_eq!(made["keys"], "backup.db.key");
    for file in ["backup.db", "backup.db.key"] {
        assert_eq!(mode_of(&site.path(file)), 0o600, "{file}");
    }
    let second = registers(&daemon, SECOND).await;
    let _ = daemon.stop();

    let restored = done(site.run(&["restore", "backup.db", "--json"])).json();
    assert_eq!(restored["verifications"], 1);
    let before = restored["before"].as_str().unwrap().to_owned();
    let daemon = site.serve();
    assert!(!verifies(&daemon, SECOND, &second).await);
    assert!(verifies(&daemon, FIRST, &first).await);
    let _ = daemon.stop();
    let audit = site.run(&["audit"]).stdout;
    assert!(
        audit.contains("restore  from backup.db") && !audit.contains("to backup.db"),
        "{audit}"
    );

    done(site.run(&["restore", &before]));
    let daemon = site.serve();
    assert!(verifies(&daemon, SECOND, &second).await);
    let audit = site.run(&["audit"]).stdout;
    assert!(audit.contains("backup  to backup.db"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_all_that_was_acknowledged_before_while_more_comes_in() {
    let site = site();
    let daemon = site.serve();
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let number = format!("+134783710{number:02}");
        let token = registers(&daemon, &number).await;
        acknowledged.push((number, token));
    }
    let backup = async { tokio::task::block_in_place(|| site.run(&["backup", "backup.db"])) };
    let traffic = async {
        for number in 0..60 {
            let registered = daemon.register(&format!("+134783711{number:02}")).await;
            assert_eq!(registered.status, 200, "{registered:?}");
        }
    };
    let (made, ()) = tokio::join!(backup, traffic);
    done(made);
    let _ = daemon.stop();
    done(site.run(&["restore", "backup.db"]));
    let daemon = site.serve();
    for (number, token) in acknowledged {
        assert!(verifies(&daemon, &number, &token).await, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_database_that_the_settings_may_name() {
    let mut site = site();
    let daemon = site.serve();
    let token = registers(&daemon, FIRST).await;
    done(site.run(&["backup", "backup.db"]));
    let _ = daemon.stop();
    site.set("store", "url", "sqlite:backup.db");
    let daemon = site.serve();
    assert!(verifies(&daemon, FIRST, &token).await);
    let (_, log) = daemon.stop();
    assert!(!log.contains("copied while it was in use"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_restored_under_a_running_daemon() {
    let site = backed_up();
    let daemon = site.serve();
    let token = registers(&daemon, SECOND).await;
    let refused = site.run(&["restore", "backup.db"]);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(
        refused.stderr.contains("is in use; stop the daemon first"),
        "{refused:#?}"
    );
    assert!(verifies(&daemon, SECOND, &token).await);
    let left: Vec<String> = files(&site)
        .into_keys()
        .filter(|name| name.contains("before"))
        .collect();
    assert_eq!(left, [""; 0]);
    let _ = daemon.stop();
    done(site.run(&["restore", "backup.db"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_left_in_its_log_is_kept_before_it_is_replaced() {
    let site = backed_up();
    let daemon = site.serve();
    let token = registers(&daemon, SECOND).await;
    daemon.signal(Signal::KILL);
    let _ = daemon.wait();
    let restored = done(site.run(&["restore", "backup.db", "--json"])).json();
    done(site.run(&["restore", restored["before"].as_str().unwrap()]));
    let daemon = site.serve();
    assert!(verifies(&daemon, SECOND, &token).await);
}

/// What an operator may have instead of a backup, and what it is called.
fn spoil(site: &Site, how: &str) -> &'static str {
    let (backup, keys) = (site.path("backup.db"), site.path("backup.db.key"));
    match how {
        "truncated" => {
            let whole = fs::read(&backup).unwrap();
            fs::write(&backup, &whole[..whole.len() / 2]).unwrap();
            "it is damaged"
        }
        "a page overwritten" => {
            let mut bytes = fs::read(&backup).unwrap();
            bytes[4096..8192].fill(0xa5);
            fs::write(&backup, bytes).unwrap();
            "it is damaged"
        }
        "text" => {
            fs::write(&backup, "phone numbers:\n".repeat(1000)).unwrap();
            "it is no database"
        }
        "empty" => {
            fs::write(&backup, "").unwrap();
            "it holds nothing"
        }
        "another program's" => {
            fs::remove_file(&backup).unwrap();
            let theirs = Connection::open(&backup).unwrap();
            theirs.execute_batch("CREATE TABLE account (id)").unwrap();
            make_private(&backup);
            "it was made by another program"
        }
        "of a newer version" => {
            let newer = Connection::open(&backup).unwrap();
            newer.pragma_update(None, "user_version", 99).unwrap();
            "it has schema version 99, and this program knows up to"
        }
        "copied without its log" => {
            let copied = Connection::open(&backup).unwrap();
            copied.pragma_update(None, "journal_mode", "WAL").unwrap();
            drop(copied);
            "it was copied while it was in use"
        }
        "gone" => {
            fs::remove_file(&backup).unwrap();
            "it is not there"
        }
        "gone with its keys" => {
            fs::remove_file(&backup).unwrap();
            fs::remove_file(&keys).unwrap();
            "there is no backup"
        }
        "with an empty file of keys" => {
            fs::write(&keys, "").unwrap();
            "is empty; put the one there that was written with it"
        }
        "without its keys" => {
            fs::remove_file(&keys).unwrap();
            "the file of its keys"
        }
        "with the keys of another" => {
            fs::write(&keys, "a".repeat(64)).unwrap();
            "it was written with keys that are not among those given"
        }
        "with no keys at all" => {
            fs::write(&keys, "nonsense").unwrap();
            "is not a key"
        }
        "with keys that others can read" => {
            fs::set_permissions(&keys, Permissions::from_mode(0o644)).unwrap();
            "chmod 600"
        }
        "that others can write" => {
            fs::set_permissions(&backup, Permissions::from_mode(0o666)).unwrap();
            "can be written by everybody"
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_no_whole_backup_with_its_keys_is_refused_and_changes_nothing() {
    for how in [
        "truncated",
        "a page overwritten",
        "text",
        "empty",
        "another program's",
        "of a newer version",
        "copied without its log",
        "gone",
        "gone with its keys",
        "with an empty file of keys",
        "without its keys",
        "with the keys of another",
        "with no keys at all",
        "with keys that others can read",
        "that others can write",
    ] {
        let site = backed_up();
        let told = spoil(&site, how);
        let before = files(&site);
        let refused = site.run(&["restore", "backup.db", "--json"]);
        assert_eq!(refused.code, Some(2), "{how}: {refused:#?}");
        let problems = refused.json()["problems"].as_array().unwrap().clone();
        let [problem] = &problems[..] else {
            panic!("{how}: {refused:#?}")
        };
        let problem = problem.as_str().unwrap();
        assert!(
            problem.contains(told) && problem.contains("backup.db"),
            "{how}: {problem}"
        );
        assert!(files(&site) == before, "{how}: something was changed");
    }
    let site = backed_up();
    let itself = site.run(&["restore", DATABASE]);
    assert_eq!(itself.code, Some(2), "{itself:#?}");
    assert!(itself.stderr.contains("is the database itself"), "{itself:#?}");
}

#[test]
fn a_backup_overwrites_nothing_and_goes_only_where_its_keys_are_safe() {
    let site = backed_up();
    fs::create_dir(site.path("open")).unwrap();
    fs::set_permissions(site.path("open"), Permissions::from_mode(0o777)).unwrap();
    site.write("other.db.key", "precious");
    let before = files(&site);
    for (file, told) in [
        ("backup.db", "backup.db is there already"),
        (DATABASE, "phone-verify.db is there already"),
        ("other.db", "other.db.key is there already"),
        ("no/such/folder/backup.db", "its folder must exist"),
        ("open/backup.db", "can be written by everybody"),
    ] {
        let refused = site.run(&["backup", file]);
        assert_eq!(refused.code, Some(2), "{file}: {refused:#?}");
        assert!(refused.stderr.contains(told), "{file}: {refused:#?}");
    }
    assert!(files(&site) == before);
    assert_eq!(fs::read_dir(site.path("open")).unwrap().count(), 0);
}

#[test]
fn without_a_database_or_its_keys_there_is_no_backup() {
    let site = site();
    let refused = site.run(&["backup", "backup.db"]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("there is no database"), "{refused:#?}");
    assert!(!site.path(DATABASE).exists() && !site.path(KEY_FILE).exists());

    done(site.run(&["register", FIRST]));
    let keys = fs::read(site.path(KEY_FILE)).unwrap();
    for (keys, told) in [
        (None, KEY_FILE),
        (
            Some("b".repeat(64)),
            "phone-verify.db cannot be used: it was written with keys that are not among those given; put those that belong \
             to it where the settings say",
        ),
    ] {
        let _ = fs::remove_file(site.path(KEY_FILE));
        if let Some(keys) = keys {
            make_private(&site.write(KEY_FILE, keys));
        }
        let refused = site.run(&["backup", "backup.db"]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains(told), "{refused:#?}");
        // Nobody knows the file that the copy is made in.
        assert!(!refused.stderr.contains(".phone-verify-backup-"), "{refused:#?}");
        assert!(!site.path("backup.db").exists() && !site.path("backup.db.key").exists());
    }
    make_private(&site.write(KEY_FILE, keys));
    done(site.run(&["backup", "backup.db"]));
}

#[test]
fn what_is_counted_is_one_or_many() {
    let site = site();
    for (number, told) in [
        (FIRST, ", 1 verification, checked\n"),
        (SECOND, ", 2 verifications, checked\n"),
    ] {
        done(site.run(&["register", number]));
        let _ = fs::remove_file(site.path("backup.db"));
        let _ = fs::remove_file(site.path("backup.db.key"));
        let made = site.run(&["backup", "backup.db"]);
        assert!(made.stdout.contains(told), "{made:#?}");
    }
    for (days, told) in [
        ("1", "deleted 0 records older than 1 day\n"),
        ("2", " older than 2 days\n"),
    ] {
        let deleted = site.run(&["cleanup", "--days", days]);
        assert!(deleted.stdout.contains(told), "{deleted:#?}");
    }
    let forgot = site.run(&["forget", FIRST]);
    assert!(forgot.stdout.starts_with("forgot 1 record of "), "{forgot:#?}");
}

/// A copy of it would be of no use, and the fault is the database's.
#[test]
fn a_damaged_database_is_named_and_not_the_file_that_its_copy_is_made_in() {
    let site = site();
    done(site.run(&["register", FIRST]));
    let database = site.path(DATABASE);
    let mut bytes = fs::read(&database).unwrap();
    // All pages but the first, which has the schema.
    for byte in &mut bytes[4096..] {
        *byte ^= 0x5a;
    }
    fs::write(&database, bytes).unwrap();
    let refused = site.run(&["backup", "backup.db"]);
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert!(
        refused.stderr.contains(&database.display().to_string())
            && !refused.stderr.contains(".phone-verify-backup-"),
        "{refused:#?}"
    );
    assert!(!site.path("backup.db").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_neither_leaves_anything_and_the_database_is_as_it_was() {
    use crate::starts::on_a_system_that;

    let site = backed_up();
    // The shim is built beside what is looked at.
    let _ = on_a_system_that("room", &site, &["settings"]);
    let before = files(&site);
    for arguments in [&["backup", "another.db"][..], &["restore", "backup.db"]] {
        let full = on_a_system_that("room", &site, arguments);
        assert_eq!(full.code, Some(1), "{arguments:?}: {full:#?}");
        assert!(
            full.stderr.contains("make room") && !full.stderr.contains(".phone-verify-backup-"),
            "{arguments:?}: {full:#?}"
        );
        assert!(files(&site) == before, "{arguments:?}: something was changed");
    }
    let folders = fs::read_dir(site.folder()).unwrap().flatten();
    let left = folders.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .contains("phone-verify-backup")
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn keys_in_the_settings_are_in_no_backup() {
    let mut site = site();
    site.set("store", "keys", vec!["7".repeat(64)]);
    done(site.run(&["register", FIRST]));
    let made = done(site.run(&["backup", "backup.db"]));
    assert!(made.stdout.contains("[store] keys of the settings"), "{made:#?}");
    assert!(!site.path("backup.db.key").exists());
    done(site.run(&["restore", "backup.db"]));

    site.set("store", "keys", vec!["8".repeat(64)]);
    let refused = site.run(&["restore", "backup.db"]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(
        refused
            .stderr
            .contains("written with keys that are not among those given"),
        "{refused:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_backup_come_back_with_it_after_they_were_exchanged() {
    let site = backed_up();
    let old = fs::read_to_string(site.path(KEY_FILE)).unwrap();
    // As after an exchange of which the old key was taken out.
    site.write(KEY_FILE, format!("{}\n{old}", "c".repeat(64)));
    done(site.run(&["register", SECOND]));
    site.write(KEY_FILE, format!("{}\n", "c".repeat(64)));
    let restored = done(site.run(&["restore", "backup.db", "--json"])).json();
    assert_eq!(fs::read_to_string(site.path(KEY_FILE)).unwrap(), old);
    let before = restored["before"].as_str().unwrap();
    assert_eq!(
        fs::read_to_string(format!("{before}.key")).unwrap(),
        format!("{}\n", "c".repeat(64))
    );
    let daemon = site.serve();
    assert_eq!(daemon.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_gone_or_damaged_is_replaced() {
    for damage in ["gone", "text"] {
        let site = site();
        let daemon = site.serve();
        let token = registers(&daemon, FIRST).await;
        done(site.run(&["backup", "backup.db"]));
        let _ = daemon.stop();
        let is_there = damage == "text";
        if is_there {
            site.write(DATABASE, "no database at all ".repeat(500));
        } else {
            fs::remove_file(site.path(DATABASE)).unwrap();
            fs::remove_file(site.path(KEY_FILE)).unwrap();
        }
        let restored = done(site.run(&["restore", "backup.db", "--json"])).json();
        assert_eq!(restored["before"].is_string(), is_there, "{damage}: {restored}");
        assert_eq!(mode_of(&site.path(DATABASE)), 0o600);
        let daemon = site.serve();
        assert!(verifies(&daemon, FIRST, &token).await, "{damage}");
    }
}

#[test]
fn the_database_of_another_program_is_never_replaced() {
    let site = backed_up();
    fs::remove_file(site.path(DATABASE)).unwrap();
    let theirs = Connection::open(site.path(DATABASE)).unwrap();
    theirs.execute_batch("CREATE TABLE account (id)").unwrap();
    drop(theirs);
    let before = files(&site);
    let refused = site.run(&["restore", "backup.db"]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(
        refused.stderr.contains("was made by another program"),
        "{refused:#?}"
    );
    assert!(files(&site) == before);
}
