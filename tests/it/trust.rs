//! Which libraries are used at all: who can have written them, and whether they are the ones that were trusted.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use phone_verify_tests::site::{Ran, Site};
use serde_json::json;
use sha2::{Digest, Sha256};

fn site() -> Site {
    Site::with_backend("noop.NoopBackend", &json!({}))
}

fn sha256(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    data_encoding::HEXLOWER.encode(&digest)
}

/// Uses the backend once.
fn register(site: &Site) -> Ran {
    site.run(&["register", "+13478379634"])
}

fn lock(site: &Site) -> toml::Table {
    fs::read_to_string(site.path("plugins.lock"))
        .unwrap()
        .parse()
        .unwrap()
}

/// Where the library runs, as `check` says.
fn isolation(site: &Site) -> serde_json::Value {
    site.run(&["check", "--json"]).json()["isolation"].clone()
}

/// The settings are all right; the argument is not.
#[test]
fn a_name_that_no_library_has_is_a_wrong_argument() {
    for rule in ["tofu", "pinned"] {
        let mut site = site();
        site.set("plugins", "trust", rule);
        for tool in ["trust", "rollback"] {
            for (name, told) in [
                (
                    "nop",
                    "only noop; did you mean noop?; put libnop.so there, or name one that is there",
                ),
                (
                    "twilio",
                    "only noop; put libtwilio.so there, or name one that is there",
                ),
                ("noop.NoopBackend", "this is a backend; name its library: noop"),
                (
                    "libnoop.so",
                    "this is a file; name the library as settings do, without folder and ending: noop",
                ),
            ] {
                let refused = site.run(&["plugin", tool, name]);
                assert_eq!(refused.code, Some(2), "{tool} {name}: {refused:?}");
                assert!(
                    refused.stderr.contains(told) && !refused.stderr.contains("BACKEND"),
                    "{tool} {name}: {refused:?}"
                );
            }
        }
    }
    // The tools that take a file say so of a name, and of the number of a crash.
    let site = site();
    for (arguments, told) in [
        (
            &["inspect", "nexom"][..],
            "nexom does not exist; name the file of the library, such as plugins/libnexom.so",
        ),
        (
            &["check", "nexom"],
            "nexom does not exist; name the file of the library, such as plugins/libnexom.so",
        ),
        (
            &["sign", "nexom", "--secret-key", "gone"],
            "nexom does not exist; name the file of the library, such as plugins/libnexom.so",
        ),
        (
            &[
                "verify",
                "nexom",
                "--public-key",
                "RWQBsXeZNVnIQQtXhlPjzjqM7OI5H6+p42MTbODrxDlNbAb7KHqS3O8q",
            ],
            "nexom does not exist; name the file of the library, such as plugins/libnexom.so",
        ),
        (
            &["crashes", "nexom"],
            "a crash has a number; list them with: phone-verify plugin crashes",
        ),
    ] {
        let refused = site.run(&[&["plugin"], arguments].concat());
        assert_eq!(refused.code, Some(2), "{arguments:?} {refused:?}");
        assert!(refused.stderr.contains(told), "{arguments:?} {refused:?}");
    }
}

#[test]
fn a_library_is_recorded_on_first_use_and_another_version_needs_a_word() {
    let site = site();
    let first = sha256(&site.plugins().join("libnoop.so"));
    assert_eq!(site.run(&["check"]).code, Some(0));
    assert!(!site.path("plugins.lock").exists(), "a look records nothing");
    assert_eq!(register(&site).code, Some(0));
    let locked = lock(&site)["libraries"]["noop"]["current"].clone();
    assert_eq!(locked["sha256"].as_str(), Some(&*first));
    assert_eq!(locked["abi"].as_str(), Some("1.1"));

    let file = site.install_variant("noop", "second");
    let second = sha256(&file);
    let refused = site.run(&["check"]);
    let (version, file) = (env!("CARGO_PKG_VERSION"), file.display());
    assert_eq!(
        refused.stderr.trim(),
        format!(
            "error: P401: {file} has changed: version {version} with the sha256 {second} lies there, and version {version} \
             with {first} is trusted; if the change is yours, run: phone-verify plugin trust noop; until then a start goes on \
             with version {version} with the sha256 {first}, which served before"
        )
    );
    assert_eq!(refused.code, Some(2));

    // Its name, where `plugin check` takes the file.
    for tool in ["trust", "rollback"] {
        let refused = site.run(&["plugin", tool, "plugins/libnoop.so"]);
        assert_eq!(refused.code, Some(2));
        assert!(
            refused.stderr.contains("without folder and ending: noop"),
            "{refused:?}"
        );
    }
    let trusted = site.run(&["plugin", "trust", "noop"]);
    assert_eq!(trusted.code, Some(0), "{trusted:?}");
    assert!(trusted.stdout.contains(&second), "{trusted:?}");
    assert_eq!(register(&site).code, Some(0));
    let locked = &lock(&site)["libraries"]["noop"];
    assert_eq!(locked["current"]["sha256"].as_str(), Some(&*second));
    assert_eq!(locked["previous"]["sha256"].as_str(), Some(&*first));
}

#[test]
fn trust_by_hash_lets_a_library_into_the_daemons_process() {
    let site = site();
    assert_eq!(isolation(&site), "worker");
    site.run(&["plugin", "trust", "noop"]);
    assert_eq!(isolation(&site), "worker", "trusted to run, but apart");
    site.run(&["plugin", "trust", "noop", "--inline"]);
    assert_eq!(isolation(&site), "inline");
    site.install_variant("noop", "second");
    site.run(&["plugin", "trust", "noop"]);
    assert_eq!(isolation(&site), "worker", "these are other bytes");
}

/// Two versions that are trusted one after the other before either is loaded: of the first there are no bytes any more.
#[test]
fn a_version_that_never_ran_is_none_to_go_back_to() {
    let site = site();
    let trusted = |site: &Site| {
        let trusted = site.run(&["plugin", "trust", "noop"]);
        assert_eq!(trusted.code, Some(0), "{trusted:?}");
        sha256(&site.plugins().join("libnoop.so"))
    };
    let first = trusted(&site);
    site.install_variant("noop", "second");
    let second = trusted(&site);
    let refused = |kept: &str| {
        let refused = site.run(&["plugin", "rollback", "noop"]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let told =
            format!("P408: no copy is kept of the version of noop before, {VERSION} (sha256 {first}, ");
        assert!(
            refused.stderr.contains(&told) && refused.stderr.contains(kept),
            "{kept}: {refused:?}"
        );
        let locked = &lock(&site)["libraries"]["noop"];
        assert_eq!(locked["current"]["sha256"].as_str(), Some(&*second), "as it was");
        assert_eq!(locked["previous"]["sha256"].as_str(), Some(&*first), "as it was");
    };
    refused("; no version of it is kept; put the version that you want");
    assert_eq!(register(&site).code, Some(0));
    refused(&format!("; kept is {VERSION} (sha256 {second}, "));
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn pinned_libraries_are_those_of_the_settings_alone() {
    let mut site = site();
    site.set("plugins", "trust", "pinned");
    let refused = site.run(&["check"]);
    assert_eq!(refused.code, Some(2));
    let hash = sha256(&site.plugins().join("libnoop.so"));
    assert!(
        refused
            .stderr
            .contains("P402: the settings do not say which noop is trusted")
            && refused
                .stderr
                .contains(&format!("set sha256 = \"{hash}\" in [plugins.libraries.noop]")),
        "{refused:?}"
    );
    let pin = |site: &mut Site, hash: &str| {
        let pins: toml::Table = format!("[noop]\nsha256 = \"{hash}\"").parse().unwrap();
        site.set("plugins", "libraries", pins);
    };
    pin(&mut site, &hash);
    assert_eq!(site.run(&["check"]).code, Some(0));
    pin(&mut site, &"0".repeat(64));
    let refused = site.run(&["check"]);
    assert!(refused.stderr.contains("P401: "), "{refused:?}");
    assert!(refused.stderr.contains("the settings trust 000"), "{refused:?}");
    let refused = site.run(&["plugin", "trust", "noop"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("P402: [plugins] trust is \"pinned\""),
        "{refused:?}"
    );
}

#[test]
fn a_library_that_others_can_write_is_refused_unless_each_is_trusted() {
    let mut site = site();
    let folder = site.plugins();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let told = format!(
        "P105: {} can be written by everybody (mode 0777)",
        folder.display()
    );
    for arguments in [&["check"][..], &["plugin", "trust", "noop"]] {
        let refused = site.run(arguments);
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains(&told), "{refused:?}");
    }
    let listed = site.run(&["backends"]);
    assert!(listed.stdout.contains(&told), "{listed:?}");
    site.set("plugins", "trust", "any");
    assert_eq!(site.run(&["check"]).code, Some(0));
}

#[test]
fn a_lock_file_that_cannot_be_read_or_written_is_told() {
    let mut site = site();
    site.write("plugins.lock", "what is this?");
    let refused = site.run(&["check"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("P406: "), "{refused:?}");
    assert!(refused.stderr.contains("plugins.lock"), "{refused:?}");
    site.set("plugins", "lock_file", "gone/plugins.lock");
    let refused = register(&site);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("P406: ") && refused.stderr.contains("cannot be written"),
        "{refused:?}"
    );
}

#[test]
fn what_came_with_the_program_needs_no_word_after_an_upgrade() {
    // An installation: the program and its libraries in one folder.
    let mut site = site();
    let program = site.path("phone-verify");
    fs::copy(phone_verify_tests::artifacts::program(), &program).unwrap();
    let library = site.path("libnoop.so");
    fs::copy(site.plugins().join("libnoop.so"), &library).unwrap();
    site.set("plugins", "directories", vec!["."]);
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&program);
        phone_verify_tests::site::ran(command.args(arguments).current_dir(site.folder()))
    };
    assert_eq!(run(&["register", "+13478379634"]).code, Some(0));
    fs::rename(site.install_variant("noop", "second"), &library).unwrap();
    let upgraded = run(&["register", "+13478379634"]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    let locked = lock(&site)["libraries"]["noop"]["current"].clone();
    assert_eq!(locked["sha256"].as_str(), Some(&*sha256(&library)));
}
