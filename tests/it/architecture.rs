//! The invariants of `ARCHITECTURE.md` that can be read off the sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

use phone_verify_tests::artifacts::workspace;

/// The sources below a folder, by their path from the workspace's.
pub(crate) fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(workspace()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// What runs, without comments and without tests.
pub(crate) fn code(source: &str) -> String {
    let shipped = source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    shipped
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Modules that are compiled for tests only, and may reach where the code that ships may not.
const TEST_MODULES: [&str; 4] = [
    "stories.rs",
    "/testing.rs",
    "/fake_service.rs",
    "/preflight/tests.rs",
];

/// Files of a folder that say one of these words and may not.
fn offenders(folder: &str, words: &[&str], may: &[&str]) -> Vec<String> {
    sources(folder)
        .into_iter()
        .filter(|(name, _)| !may.iter().any(|may| name.starts_with(may)))
        .filter(|(name, _)| !TEST_MODULES.iter().any(|module| name.contains(module)))
        .filter(|(_, source)| words.iter().any(|word| code(source).contains(word)))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_module_says_what_it_is_for() {
    for folder in [
        "host/src",
        "host/domain/src",
        "host/plugin-host",
        "host/store-sqlite/src",
        "plugin-api",
        "plugins",
        "examples/custom-backend/src",
        "tests/src",
        "tests/it",
    ] {
        for (name, source) in sources(folder) {
            assert!(
                source.starts_with("//!"),
                "{name} does not begin with its purpose"
            );
        }
    }
}

#[test]
fn only_the_engine_depends_on_the_database_driver() {
    let all: toml::Table = fs::read_to_string(workspace().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let depends = |folder: &&str| dependencies(folder).contains(&"rusqlite".to_owned());
    let members = all["workspace"]["members"].as_array().unwrap().iter();
    let shipped = members
        .map(|member| member.as_str().unwrap())
        .filter(|member| !member.starts_with("tests"));
    assert_eq!(shipped.filter(depends).collect::<Vec<_>>(), ["host/store-sqlite"]);
}

/// Where foreign code is met: that of libraries, and the system's where no safe crate offers what is needed.
const UNSAFE: [&str; 3] = [
    "host/plugin-host/src/load/",
    "host/plugin-host/src/worker/process/windows.rs",
    "host/plugin-host/src/own_process/windows.rs",
];

#[test]
fn only_the_loader_and_the_glue_are_unsafe() {
    for root in [
        "host/src/lib.rs",
        "host/src/main.rs",
        "host/domain/src/lib.rs",
        "host/store-sqlite/src/lib.rs",
    ] {
        let source = fs::read_to_string(workspace().join(root)).unwrap();
        assert!(
            source.contains("#![forbid(unsafe_code)]"),
            "{root} does not have the compiler refuse unsafe code"
        );
    }
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    assert_eq!(offenders("host/plugin-host", &words, &UNSAFE), [""; 0]);
    assert_eq!(
        offenders("plugin-api/src", &words, &["plugin-api/src/hidden"]),
        [""; 0]
    );
    assert_eq!(offenders("plugins", &words, &[]), [""; 0]);
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for (name, source) in [sources("host/plugin-host/src"), sources("plugin-api/src")].concat() {
        let lines: Vec<&str> = source.lines().collect();
        for (at, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains("unsafe {"))
        {
            let before = &lines[at.saturating_sub(6)..at];
            assert!(
                before.iter().any(|line| line.contains("SAFETY:")),
                "{name}:{}: {line}",
                at + 1
            );
        }
    }
}

#[test]
fn the_domain_knows_no_shell_and_no_engine() {
    let shells = ["crate::http", "crate::cli", "crate::daemon", "crate::settings"];
    for folder in [
        "host/src/verifier",
        "host/src/store",
        "host/src/dispatch",
        "host/src/fleet",
    ] {
        assert_eq!(offenders(folder, &shells, &[]), [""; 0], "{folder}");
    }
    let others = [
        "phone_verify_plugin_host",
        "crate::dispatch",
        "store::sqlite",
        "phone_verify_store_sqlite",
    ];
    assert_eq!(
        offenders("host/src/verifier", &others, &[]),
        [""; 0],
        "the verifier never sends"
    );
    assert_eq!(
        offenders(
            "host/src/dispatch",
            &["phone_verify_plugin_host", "crate::verifier", "SecurityCode"],
            &[]
        ),
        [""; 0],
        "dispatch never judges a code"
    );
}

/// The names of all dependencies in a crate's manifest, but those that only its tests have.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = fs::read_to_string(workspace().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let of_targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = of_targets.into_iter().flatten().map(|(_, target)| target);
    let tables = of_targets.filter_map(|target| target.get("dependencies"));
    // An optional one is asked for by tests alone: the domain's is the runtime of the contract.
    let is_optional = |value: &toml::Value| value.get("optional").is_some();
    tables
        .chain(manifest.get("dependencies"))
        .flat_map(|table| table.as_table().unwrap())
        .filter(|(_, value)| !is_optional(value))
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn the_commands_reach_the_store_through_the_services_alone() {
    let past_them = [
        ".store\n",
        "service.store",
        "open_store",
        "open_existing_store",
        "AuditEntry {",
    ];
    assert_eq!(offenders("host/src/cli", &past_them, &[]), [""; 0]);
    let others = ["host/src/verifier/administration.rs"];
    assert_eq!(
        offenders("host/src", &["AuditEntry {", "record_audit_entry("], &others),
        [""; 0],
        "the audit log is written in one place"
    );
}

/// So the compiler holds the words and the rules to it that they know no database, no HTTP and no runtime.
#[test]
fn the_domain_depends_on_no_other_crate_of_ours_and_on_none_that_does_io() {
    for name in dependencies("host/domain") {
        assert!(!name.starts_with("phone-verify"), "{name}");
        for does_io in ["tokio", "rusqlite", "axum", "hyper", "reqwest", "tracing"] {
            assert_ne!(name, does_io);
        }
    }
}

/// So that what loads libraries can be read, tested and used without the rest of the program.
#[test]
fn the_plugin_host_knows_the_domain_the_abi_and_the_digests_that_it_offers_alone() {
    let mut ours = dependencies("host/plugin-host");
    ours.retain(|name| name.starts_with("phone-verify"));
    assert_eq!(
        ours,
        [
            "phone-verify-domain",
            "phone-verify-plugin-abi",
            "phone-verify-plugin-crypto"
        ]
    );
}

#[test]
fn backends_are_written_against_the_authors_crate_alone() {
    for (name, others) in [
        ("console", &[][..]),
        // A parser for providers that answer in XML.
        ("http", &["roxmltree"]),
        ("nexmo", &[]),
        ("plivo", &[]),
        ("twilio", &[]),
    ] {
        let mut dependencies = dependencies(&format!("plugins/{name}"));
        dependencies.retain(|dependency| !others.contains(&dependency.as_str()));
        assert_eq!(dependencies, ["phone-verify-plugin-api"], "{name}");
    }
}

/// Cargo builds a dependency once for all crates, with the features that any of them asks for. With this one of
/// `serde_json` every backend library is 24 KB larger.
#[test]
fn the_hosts_dependencies_make_no_backend_larger() {
    let features = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--offline",
            "--edges",
            "features",
            "--invert",
            "serde_json",
        ])
        .current_dir(workspace())
        .output()
        .unwrap();
    let features = String::from_utf8(features.stdout).unwrap();
    assert!(features.contains("serde_json feature \"std\""), "{features}");
    assert!(!features.contains("raw_value"), "{features}");
}

#[test]
fn what_the_architecture_names_is_there() {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let named = text.split('`').skip(1).step_by(2);
    for path in named.filter(|word| word.contains('/') && !word.contains(' ') && !word.contains('*')) {
        let path = path.trim_end_matches('/');
        let places = [
            "",
            "host/src",
            "host/domain/src",
            "host/plugin-host/src",
            "host/store-sqlite/src",
        ]
        .map(|folder| Path::new(folder).join(path));
        let exists = |place: &PathBuf| {
            let place = workspace().join(place);
            place.exists() || place.with_extension("rs").exists()
        };
        assert!(
            path.starts_with('/') || places.iter().any(exists),
            "{path} is not there"
        );
    }
}
