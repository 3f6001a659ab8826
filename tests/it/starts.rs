//! What keeps the daemon from starting: that `check` says it before, whether it may pass by itself, and what is to be
//! done.
#![cfg(unix)]

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use phone_verify_tests::site::{Ran, Site, ran};
use serde_json::json;

const NUMBER: &str = "+13478379634";

fn noop() -> Site {
    Site::with_backend("noop.NoopBackend", &json!({}))
}

/// What a person sees in a folder.
fn listed(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

/// `check` and the start say the same, and end the same.
fn both(site: &Site, code: i32, told: &str) {
    let checked = site.run(&["check"]);
    let started = site.run(&["serve"]);
    for ended in [&checked, &started] {
        assert_eq!(ended.code, Some(code), "{told}: {ended:#?}");
        assert!(ended.stderr.contains(told), "{told}: {ended:#?}");
    }
}

/// Runs a command on a system that cannot do something.
pub(crate) fn on_a_system_that(fails: &str, site: &Site, arguments: &[&str]) -> Ran {
    ran(site
        .command(arguments)
        .env("LD_PRELOAD", shim(site))
        .env("FAILS", fails))
}

/// The library that makes a system fail, built once in a folder.
fn shim(site: &Site) -> PathBuf {
    let shim = site.path("shim.so");
    if !shim.exists() {
        let source = site.write("shim.c", SHIM);
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&shim)
            .arg(source)
            .arg("-ldl")
            .status()
            .expect("a C compiler is installed");
        assert!(compiled.success());
    }
    shim
}

/// Stands before the system's C library.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static int fails(const char *what) { const char *set = getenv("FAILS"); return set && !strcmp(set, what); }
static int is_file(int fd) { struct stat found; return !fstat(fd, &found) && S_ISREG(found.st_mode); }
#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))
#define FULL(fd) if (fails("room") && is_file(fd)) { errno = ENOSPC; return -1; }
ssize_t write(int fd, const void *bytes, size_t length) {
    FULL(fd) return REAL(ssize_t (*)(int, const void *, size_t), "write")(fd, bytes, length);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    FULL(fd) return REAL(ssize_t (*)(int, const void *, size_t, off_t), "pwrite")(fd, bytes, length, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    FULL(fd) return REAL(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(fd, bytes, length, at);
}
int flock(int fd, int operation) {
    if (fails("lock")) { errno = ENOLCK; return -1; }
    return REAL(int (*)(int, int), "flock")(fd, operation);
}
static int control(const char *name, int fd, int command, void *argument) {
    if (fails("lock") && (command == F_SETLK || command == F_SETLKW)) { errno = ENOLCK; return -1; }
    return REAL(int (*)(int, int, void *), name)(fd, command, argument);
}
static int is_unread(const char *path) {
    const char *name = getenv("UNREAD"); size_t length = strlen(path), end = name ? strlen(name) : 0;
    return fails("read") && length >= end && !strcmp(path + length - end, name);
}
ssize_t read(int fd, void *bytes, size_t length) {
    char link[64], path[4096]; snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t found = fails("read") ? readlink(link, path, sizeof path - 1) : -1;
    if (found > 0) { path[found] = 0; if (is_unread(path)) { errno = EIO; return -1; } }
    return REAL(ssize_t (*)(int, void *, size_t), "read")(fd, bytes, length);
}
DIR *opendir(const char *path) {
    if (is_unread(path)) { errno = EMFILE; return NULL; }
    return REAL(DIR *(*)(const char *), "opendir")(path);
}
int fcntl(int fd, int command, ...) {
    va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list);
    return control("fcntl", fd, command, argument);
}
int fcntl64(int fd, int command, ...) {
    va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list);
    return control("fcntl64", fd, command, argument);
}
"#;

/// A failing disk, a file server that restarts, no descriptors at that moment: the next start may succeed.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_read_now_may_be_read_at_the_next_start() {
    let mut site = noop();
    site.set("phone_verification", "APP_NAME", "${file:name}");
    site.write("name", "Acme");
    assert_eq!(site.run(&["register", NUMBER]).code, Some(0));
    for (file, told) in [
        (
            "phone-verify.toml",
            "the settings file cannot be read: Input/output error",
        ),
        ("name", "which cannot be read: Input/output error"),
        (
            "phone-verify.db.key",
            "phone-verify.db.key cannot be read: Input/output error",
        ),
        ("plugins.lock", "plugins.lock cannot be read: Input/output error"),
        ("plugins", "plugins cannot be read: Too many open files"),
    ] {
        for arguments in [&["check"][..], &["serve"]] {
            let ended = ran(site
                .command(arguments)
                .env("LD_PRELOAD", shim(&site))
                .env("FAILS", "read")
                .env("UNREAD", format!("/{file}")));
            assert!(ended.stderr.contains(told), "{file}: {ended:#?}");
            assert_eq!(ended.code, Some(1), "{file}: {ended:#?}");
        }
    }
}

/// What makes a folder for a backend, or for its checks, is not called wrong for a full disk either.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_no_wrong_argument_of_a_command_for_authors() {
    let site = noop();
    let library = site.install("noop").display().to_string();
    for arguments in [&["plugin", "new", "acme"][..], &["plugin", "check", &library]] {
        let ended = on_a_system_that("room", &site, arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?} {ended:#?}");
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(told.contains("No space left on device"), "{arguments:?} {told}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_a_file_system_without_locks_are_told_as_what_they_are() {
    let site = noop();
    for (fails, told) in [("room", "make room on its disk"), ("lock", "cannot lock files")] {
        for arguments in [&["check"][..], &["serve"], &["register", NUMBER]] {
            let ended = on_a_system_that(fails, &site, arguments);
            assert_eq!(ended.code, Some(1), "{fails} {arguments:?} {ended:#?}");
            assert!(ended.stderr.contains(told), "{fails} {arguments:?} {ended:#?}");
            for wrong in ["must exist", "writable for", "rebuild"] {
                assert!(!ended.stderr.contains(wrong), "{fails} {arguments:?} {ended:#?}");
            }
        }
    }
    assert_eq!(
        site.run(&["register", NUMBER]).code,
        Some(0),
        "nothing is left of it"
    );
    let ended = on_a_system_that("room", &site, &["register", NUMBER]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
}

#[test]
fn a_port_that_another_process_has_is_told_before_the_start() {
    let mut site = noop();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    site.set("server", "listen", address.clone());
    both(
        &site,
        1,
        &format!("cannot listen on {address}: Address already in use"),
    );
    drop(other);
    assert_eq!(site.run(&["check"]).code, Some(0));
    assert!(!site.path("phone-verify.db").exists(), "a look makes nothing");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_port_of_the_running_daemon_is_no_reason_against_a_reload() {
    let mut site = noop();
    let daemon = site.serve();
    site.set("server", "listen", daemon.address().to_string());
    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert_eq!(checked.json()["running"], true);
    let told = site.run(&["check"]).stdout;
    assert!(told.contains("a daemon on this database listens there"), "{told}");
    // Another installation cannot have it.
    let mut other = noop();
    other.set("server", "listen", daemon.address().to_string());
    both(&other, 1, "Address already in use");
    let _ = daemon.stop();
    assert_eq!(site.run(&["check", "--json"]).json()["running"], false);
}

/// Whoever changed `listen` must not believe that the running daemon has it already.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn where_the_running_daemon_listens_is_told_and_not_where_the_next_one_will() {
    let mut site = noop();
    let daemon = site.serve();
    let address = daemon.address();
    let here = address.to_string();
    let another = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for listen in [
        // Another port, all addresses with the same one, a further place, and a socket.
        toml::Value::from(another.to_string()),
        format!("0.0.0.0:{}", address.port()).into(),
        vec![here.clone(), another.to_string()].into(),
        "unix:http.sock".into(),
    ] {
        site.set("server", "listen", listen.clone());
        let checked = site.run(&["check", "--json"]);
        assert_eq!(checked.code, Some(0), "{listen}: {checked:#?}");
        let json = checked.json();
        assert_eq!(json["running"], true, "{listen}: {json}");
        assert_eq!(json["running_at"], json!([here]), "{listen}: {json}");
        let told = site.run(&["check"]).stdout;
        assert!(
            told.contains(&format!(
                "\n  running   a daemon on this database listens at {here}: it can be reloaded, but where it listens changes \
                 only with a restart"
            )) && !told.contains("listens there"),
            "{listen}: {told}"
        );
    }
    // The same port at another address, which somebody else has, is not the daemon's.
    if let Ok(other) = TcpListener::bind(("127.0.0.2", address.port())) {
        let other = other.local_addr().unwrap().to_string();
        site.set("server", "listen", other.clone());
        let refused = site.run(&["check"]);
        assert_eq!(refused.code, Some(1), "{refused:#?}");
        assert!(
            refused.stderr.contains(&format!("cannot listen on {other}: ")),
            "{refused:#?}"
        );
    }
    let _ = daemon.stop();
    site.set("server", "listen", here);
    let json = site.run(&["check", "--json"]).json();
    assert_eq!(
        (&json["running"], &json["running_at"]),
        (&json!(false), &json!([]))
    );
}

#[test]
fn a_folder_that_is_missing_or_cannot_be_written_is_told_before_the_start() {
    let mut site = noop();
    site.set("plugins", "staging_directory", "");
    site.set("store", "url", "sqlite:gone/phone-verify.db");
    both(&site, 2, "there is no folder");
    let long = format!("sqlite:{}/phone-verify.db", "n".repeat(300));
    site.set("store", "url", long);
    both(&site, 2, "choose a shorter one");
    site.set("store", "url", "sqlite:phone-verify.toml/phone-verify.db");
    both(&site, 2, "Not a directory");
    for (key, told) in [("lock_file", "P406: "), ("staging_directory", "P405: ")] {
        let mut site = noop();
        site.set("plugins", key, format!("{}/x", "n".repeat(300)));
        both(&site, 2, told);
        both(&site, 2, "choose a shorter one");
    }
}

#[test]
fn a_look_leaves_nothing_behind() {
    let mut site = noop();
    site.set("plugins", "staging_directory", "");
    let before = listed(site.folder());
    let checked = site.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert_eq!(listed(site.folder()), before);
    site.set("phone_verification", "BACKEND", "noop.NoSuchBackend");
    assert_eq!(site.run(&["check"]).code, Some(2));
    assert_eq!(listed(site.folder()), before);
}

#[test]
fn a_look_needs_no_temporary_folder_of_the_system() {
    let site = noop();
    let checked = ran(site.command(&["check"]).env("TMPDIR", "/nowhere"));
    assert_eq!(checked.code, Some(0), "{checked:#?}");
}

#[test]
fn what_may_pass_by_itself_ends_with_1_and_what_must_be_changed_with_2() {
    // The process of the library dies while it is constructed.
    let dying = Site::with_backend("villain.VillainBackend", &json!({ "CONSTRUCTOR": "abort" }));
    both(&dying, 1, "P704: ");
    let refusing = Site::with_backend("villain.VillainBackend", &json!({ "CONSTRUCTOR": "refuse" }));
    both(&refusing, 2, "P506: ");

    let locked = noop();
    assert_eq!(locked.run(&["register", NUMBER]).code, Some(0));
    let database = rusqlite::Connection::open(locked.path("phone-verify.db")).unwrap();
    database
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    let commands = [
        &["check"][..],
        &["serve"],
        &["register", NUMBER],
        &["audit"],
        &["decisions"],
        &["cleanup"],
        &["forget", NUMBER],
        &["export", NUMBER],
        &["send", "--message", "Hello", NUMBER],
    ];
    // At once, for each waits a while for the database.
    std::thread::scope(|scope| {
        for arguments in commands {
            let locked = &locked;
            scope.spawn(move || {
                let ended = locked.run(arguments);
                assert_eq!(ended.code, Some(1), "{arguments:?} {ended:#?}");
                assert!(ended.stderr.contains("locked"), "{arguments:?} {ended:#?}");
            });
        }
    });
    drop(database);

    let site = noop();
    for (arguments, code) in [
        (&["check", "--no-such-option"][..], 2),
        (&["no-such-command"], 2),
        (&["register", "no number"], 2),
        (&["check", "--settings", "gone.toml"], 2),
        (&["plugin", "trust", "gone"], 2),
        (&["plugin", "rollback", "gone"], 2),
        (&["plugin", "inspect", "gone.so"], 2),
        (&["send", "--message", "Hello", "--numbers-file", "gone"], 2),
        (
            &["verify", NUMBER, "--session-token", "none", "--code", "123456"],
            1,
        ),
        (&["check"], 0),
    ] {
        let ended = site.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?} {ended:#?}");
    }
    site.write("phone-verify.toml", "what is this?");
    for arguments in [
        &["check"][..],
        &["serve"],
        &["settings", "--print"],
        &["backends"],
        &["register", NUMBER],
        &["cleanup"],
        &["audit"],
        &["plugin", "trust", "noop"],
    ] {
        assert_eq!(site.run(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_settings_file_that_is_there_and_cannot_be_read_is_not_called_missing() {
    let site = noop();
    let file = site.path("phone-verify.toml");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("gone.toml", &file).unwrap();
    let ended = site.run(&["check"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .stderr
            .contains("the settings file cannot be read: No such file"),
        "{ended:#?}"
    );
    if rustix::process::geteuid().is_root() {
        // Root reads everything.
        return;
    }
    fs::remove_file(&file).unwrap();
    site.write("phone-verify.toml", "");
    fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    let ended = site.run(&["check"]);
    assert!(
        ended
            .stderr
            .contains("the settings file cannot be read: Permission denied"),
        "{ended:#?}"
    );
}

#[test]
fn a_file_is_named_by_a_variable_and_told_as_it_is_written() {
    let mut site = noop();
    fs::create_dir(site.path("credentials")).unwrap();
    site.write("credentials/name", "Acme\n");
    site.set(
        "phone_verification",
        "APP_NAME",
        "${file:${env:CREDENTIALS}/name}",
    );
    let shown = |value: &str| ran(site.command(&["check"]).env("CREDENTIALS", value));
    let good = shown("credentials");
    assert_eq!(good.code, Some(0), "{good:#?}");
    let missing = shown("s3cret-folder");
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.contains(
            "APP_NAME refers to the file ${env:CREDENTIALS}/name, which cannot be read: No such file"
        ) && !missing.stderr.contains("s3cret"),
        "{missing:#?}"
    );
    let unset = site.run(&["check"]);
    assert!(
        unset
            .stderr
            .contains("APP_NAME refers to the environment variable CREDENTIALS, which is not set"),
        "{unset:#?}"
    );
    site.set("phone_verification", "APP_NAME", "${env:${env:A}}");
    let nested = site.run(&["check"]);
    assert!(
        nested
            .stderr
            .contains("refers to the environment variable ${env:A}, and only the path of ${file:PATH} may hold references"),
        "{nested:#?}"
    );
    site.set("phone_verification", "APP_NAME", "${env:A");
    let open = site.run(&["check"]);
    assert!(
        open.stderr
            .contains("APP_NAME has ${env:A, which lacks its closing brace"),
        "{open:#?}"
    );
}

#[test]
fn a_library_that_another_one_hides_is_told() {
    let mut site = noop();
    fs::create_dir(site.path("more")).unwrap();
    fs::copy(site.plugins().join("libnoop.so"), site.path("more/libnoop.so")).unwrap();
    site.set("plugins", "directories", vec!["plugins", "more"]);
    let folder = site.folder().display();
    let told = &format!(
        "P111: {folder}/more/libnoop.so is not used, for {folder}/plugins/libnoop.so has the same name"
    );
    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert!(
        checked.json()["warnings"].to_string().contains(told),
        "{checked:#?}"
    );
    let listed = site.run(&["backends"]);
    assert!(listed.stdout.contains(told), "{listed:#?}");
    let daemon = site.serve();
    daemon.wait_for_log(told);
}

#[test]
fn a_plugin_directory_that_is_passed_over_is_told() {
    let mut site = noop();
    let plugins = site.plugins().display().to_string();
    let first = site.path("first");
    let told = |words: &str| format!("P107: the plugin directory {} {words}", first.display());
    site.set(
        "plugins",
        "directories",
        vec![first.display().to_string(), plugins.clone()],
    );
    let both = |site: &Site, words: &str, is_told: bool| {
        let checked = site.run(&["check"]);
        assert_eq!(checked.code, Some(0), "{checked:#?}");
        let (_, log) = site.serve().stop();
        for said in [checked.stderr, log] {
            assert_eq!(said.contains(words), is_told, "{words} {said}");
        }
    };
    both(&site, &told("does not exist; make it"), true);
    fs::write(&first, "").unwrap();
    both(&site, &told("is not a directory; put one there"), true);
    // What comes after the library that is used could not have been meant.
    site.set(
        "plugins",
        "directories",
        vec![plugins, first.display().to_string()],
    );
    both(&site, "P107", false);
}

#[test]
fn a_sender_that_the_provider_would_refuse_is_told_before_the_first_sms() {
    for (backend, options) in [
        (
            "nexmo.NexmoBackend",
            json!({ "KEY": "a1b2c3d4", "SECRET": "s3cret-of-nexmo" }),
        ),
        (
            "twilio.TwilioBackend",
            json!({ "SID": "AC1", "SECRET": "s3cret-of-twilio" }),
        ),
    ] {
        let check = |from: &str| {
            let mut options = options.clone();
            options["FROM"] = from.into();
            Site::with_backend(backend, &options).run(&["check"])
        };
        assert_eq!(check("Acme").code, Some(0), "{backend}");
        let refused = check("Acme Verification Service");
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(
            refused.stderr.contains("option FROM must be a number"),
            "{refused:#?}"
        );
    }
}
