//! `plugin check`: what is good passes every check, and for each check there is somebody who fails it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use phone_verify_tests::artifacts;
use serde_json::Value;

use super::{plugin, text};

/// The score card, and the exit code.
fn checked(library: &Path, arguments: &[&str]) -> (Value, Option<i32>) {
    let mut all = vec!["check", library.to_str().unwrap(), "--json"];
    all.extend(arguments);
    let checked = plugin(&artifacts::workspace(), &all);
    let card = serde_json::from_slice(&checked.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&checked.stdout), text(&checked.stderr)));
    (card, checked.status.code())
}

fn checks(card: &Value) -> &[Value] {
    card["checks"].as_array().unwrap()
}

/// The ids of the checks that came to this verdict.
fn ids<'a>(card: &'a Value, verdict: &str) -> BTreeSet<&'a str> {
    checks(card)
        .iter()
        .filter(|check| check["verdict"] == verdict)
        .map(|check| check["id"].as_str().unwrap())
        .collect()
}

fn assert_clean(library: &Path, arguments: &[&str]) -> Value {
    let (card, code) = checked(library, arguments);
    let failed: Vec<_> = checks(&card)
        .iter()
        .filter(|check| check["verdict"] == "failed")
        .collect();
    assert!(failed.is_empty() && code == Some(0), "{code:?} {failed:#?}");
    card
}

#[test]
fn the_bundled_backends_pass() {
    for (name, tape) in [
        ("console", None),
        ("http", Some("http")),
        ("nexmo", Some("nexmo")),
        ("plivo", Some("plivo")),
        ("twilio", Some("twilio")),
    ] {
        let card = assert_clean(&artifacts::library(name), &[]);
        assert_eq!(
            card["tape"].is_string(),
            tape.is_some(),
            "{name}: {}",
            card["tape"]
        );
        // Whoever asks a provider is held to all that a provider can do.
        if tape.is_some() {
            assert!(ids(&card, "passed").len() >= 50, "{name}: {}", card["passed"]);
        }
    }
}

#[test]
fn the_example_passes() {
    let tape = artifacts::workspace().join("examples/custom-backend/acme.tape.toml");
    let card = assert_clean(crate::custom_backend::acme(), &["--tape", tape.to_str().unwrap()]);
    let skipped = ids(&card, "skipped");
    let passed = ids(&card, "passed");
    let never: Vec<_> = skipped.difference(&passed).collect();
    assert!(
        never.is_empty(),
        "the template shows nobody how to pass {never:?}"
    );
}

#[test]
#[cfg(unix)]
fn the_example_in_c_passes() {
    let folder = tempfile::tempdir().unwrap();
    let tape = artifacts::workspace().join("examples/c-backend/acme.tape.toml");
    let library = crate::custom_backend::acme_in_c(folder.path());
    let card = assert_clean(&library, &["--tape", tape.to_str().unwrap()]);
    assert!(ids(&card, "passed").len() >= 50, "{}", card["passed"]);
}

/// The villain's tape, and options that choose a vice.
fn vicious(vice: &str, arguments: &[&str]) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let options = folder.path().join("options.toml");
    fs::write(&options, format!("vice = {vice:?}\n")).unwrap();
    let tape = artifacts::workspace().join("tests/villain/vicious.tape.toml");
    let mut all = vec![
        "--options",
        options.to_str().unwrap(),
        "--tape",
        tape.to_str().unwrap(),
        "--backend",
        "ViciousBackend",
    ];
    all.extend(arguments);
    checked(&artifacts::library("villain"), &all)
}

/// Who fails which checks.
const VICES: [(&str, &[&str]); 51] = [
    ("refuses", &["PV010"]),
    ("needs-extra", &["PV011"]),
    ("picky", &["PV016"]),
    ("tells-secret", &["PV017"]),
    ("slow-constructor", &["PV018"]),
    ("wrong-id", &["PV020"]),
    (
        "all-transient",
        &[
            "PV021", "PV030", "PV034", "PV035", "PV036", "PV037", "PV038", "PV041", "PV042", "PV043",
            "PV044", "PV045", "PV046",
        ],
    ),
    (
        "all-internal",
        &["PV021", "PV033", "PV037", "PV038", "PV039", "PV041", "PV043"],
    ),
    ("twice", &["PV022"]),
    ("retries", &["PV033", "PV037", "PV038"]),
    ("elsewhere", &["PV023"]),
    ("secret-in-url", &["PV024"]),
    ("secret-in-error", &["PV025"]),
    ("secret-in-log", &["PV026"]),
    ("chatty", &["PV027"]),
    ("cut-numbers", &["PV022", "PV028", "PV060"]),
    ("no-wait", &["PV031"]),
    ("wait-panics", &["PV032"]),
    (
        "all-sent",
        &["PV030", "PV033", "PV036", "PV042", "PV045", "PV048"],
    ),
    ("impatient", &["PV040"]),
    ("recursive", &["PV046"]),
    ("sulks", &["PV047"]),
    ("ascii", &["PV050", "PV051", "PV052", "PV053"]),
    ("cut-texts", &["PV052", "PV054"]),
    ("raw-form", &["PV055"]),
    ("locks", &["PV060", "PV061", "PV062", "PV083", "PV098"]),
    ("block", &["PV063"]),
    ("leaks-itself", &["PV064"]),
    ("leak", &["PV065"]),
    ("print", &["PV070"]),
    ("thread", &["PV071"]),
    ("file", &["PV071", "PV072"]),
    ("environment", &["PV073"]),
    ("thread-joined", &["PV075"]),
    ("file-closed", &["PV075"]),
    ("child", &["PV075"]),
    ("counts", &["PV074"]),
    ("reports-twice", &["PV080"]),
    ("gives-up", &["PV081"]),
    ("tires", &["PV082"]),
    ("fixed-code", &["PV091"]),
    ("codeless", &["PV092"]),
    ("context-panics", &["PV093"]),
    ("never-valid", &["PV094"]),
    ("always-valid", &["PV095", "PV096", "PV097"]),
    ("loses-reports", &["PV100"]),
    ("believes-all", &["PV101"]),
    ("invents-reports", &["PV102"]),
    ("poor", &["PV103"]),
    ("abort", &["PV020"]),
    ("exit", &["PV020"]),
];

/// Who fails what the vices do not: careless options, and manifests that lie.
const OTHERS: [&str; 12] = [
    "PV001", "PV002", "PV003", "PV004", "PV005", "PV006", "PV007", "PV008", "PV012", "PV014", "PV015",
    "PV090",
];

#[test]
fn without_a_vice_the_villain_passes() {
    let (card, code) = vicious("none", &[]);
    let failed: Vec<_> = checks(&card)
        .iter()
        .filter(|check| check["verdict"] == "failed")
        .collect();
    assert!(failed.is_empty() && code == Some(0), "{failed:#?}");
    let all: BTreeSet<&str> = checks(&card)
        .iter()
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    assert!(all.len() >= 40, "{} checks", all.len());
    let failing: BTreeSet<&str> = VICES
        .iter()
        .flat_map(|(_, ids)| ids.iter().copied())
        .chain(OTHERS)
        .collect();
    assert_eq!(all, failing, "a check that nobody fails is no check");
}

#[test]
fn each_vice_is_found_out() {
    for (vice, expected) in VICES {
        let (card, code) = vicious(vice, &["--only", &expected.join(",")]);
        let failed = ids(&card, "failed");
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(failed, expected, "{vice}: {:#?}", checks(&card));
        assert_eq!(code, Some(1));
    }
}

#[test]
fn the_end_of_a_process_is_a_failed_check_that_says_how_it_ended() {
    for (vice, limit, expected) in [
        ("abort", "60", "it ended the process by SIGABRT (abort)"),
        ("exit", "60", "it ended the process: exit status: 3"),
        (
            "spin",
            "1",
            "it was not over after 1 s, which is --time-limit, so nothing is known of the library",
        ),
        (
            "flood-for-ever",
            "60",
            "it ended the process by SIGXFSZ (writing to a file)",
        ),
    ] {
        let (card, _) = vicious(vice, &["--only", "PV020", "--time-limit", limit]);
        let why = checks(&card)[0]["why"].as_str().unwrap();
        assert!(why.starts_with(expected), "{vice}: {why}");
    }
}

/// Less time than the check itself takes: nobody knows what the library would have done.
#[test]
fn a_time_limit_that_is_too_short_is_no_fault_of_the_library() {
    let (card, code) = vicious("spin", &["--only", "PV020", "--time-limit", "1"]);
    assert_eq!(
        (&card["unfinished"], &card["failed"], &card["ok"], code),
        (&1.into(), &0.into(), &false.into(), Some(1)),
        "{card:#}"
    );
    assert_eq!(checks(&card)[0]["verdict"], "unfinished");
    let why = checks(&card)[0]["why"].as_str().unwrap();
    assert!(
        why.ends_with("give it more: without --time-limit it has 60 s"),
        "{why}"
    );
}

#[test]
fn careless_options_are_found_out() {
    let (card, _) = checked(
        &artifacts::library("villain"),
        &["--backend", "CarelessBackend", "--only", "PV012,PV014,PV015"],
    );
    assert_eq!(
        ids(&card, "failed"),
        BTreeSet::from(["PV012", "PV014", "PV015"]),
        "{card:#}"
    );
}

/// The villain's library with a part of its manifest overwritten.
fn forged(folder: &Path, after: &str, from: &str, to: &str) -> PathBuf {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(artifacts::library("villain")).unwrap();
    let find = |bytes: &[u8], what: &str| {
        bytes
            .windows(what.len())
            .position(|window| window == what.as_bytes())
            .unwrap()
    };
    let manifest = find(&bytes, "{\"schema\":");
    let place = manifest + find(&bytes[manifest..], after);
    let place = place + find(&bytes[place..], from);
    bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    let file = folder.join("libvillain.so");
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
#[cfg(target_os = "linux")]
fn a_manifest_that_lies_is_found_out() {
    let vicious = "\"name\":\"ViciousBackend\"";
    for (id, after, from, to) in [
        ("PV002", "{", "MIT OR Apache-2.0", "                 "),
        ("PV007", "{", "\"library\":\"villain\"", "\"library\":\"billain\""),
        ("PV003", "{", "ViciousBackend", "villainBackend"),
        ("PV004", vicious, "The vice.", "         "),
        ("PV005", vicious, "api.vicious.example", "https://x.example/*"),
        ("PV090", vicious, "\"overrides\":95", "\"overrides\":91"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = forged(folder.path(), after, from, to);
        let tape = artifacts::workspace().join("tests/villain/vicious.tape.toml");
        let arguments = ["--only", id, "--tape", tape.to_str().unwrap()];
        let (card, code) = checked(&file, &arguments);
        assert_eq!(
            (ids(&card, "failed"), code),
            (BTreeSet::from([id]), Some(1)),
            "{card:#}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_misspelt_key_of_a_manifest_is_a_warning_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = forged(folder.path(), "{", "\"license\":", "\"lisence\":");
    let (card, code) = checked(&file, &["--only", "PV008"]);
    assert_eq!((&card["warned"], code), (&1.into(), Some(0)), "{card:#}");
    let expected =
        "the key \"lisence\" of the manifest is none that this program knows; did you mean license?";
    let why = checks(&card)[0]["why"].as_str().unwrap();
    assert!(why.contains(expected), "{why}");
    let inspected = plugin(folder.path(), &["inspect", file.to_str().unwrap()]);
    assert!(text(&inspected.stdout).contains(&format!("warning     {expected}")));
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_for_a_later_minor_version_is_taken_with_a_word_about_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = forged(folder.path(), "{", "\"minor\":1", "\"minor\":9");
    let expected = "the library is built for version 1.9 of the backend ABI, and this phone-verify speaks 1.1: it runs, \
                    without what the later versions added";
    let (card, code) = checked(&file, &["--only", "PV001"]);
    assert_eq!((&card["warned"], code), (&1.into(), Some(0)), "{card:#}");
    assert_eq!(checks(&card)[0]["why"], expected);
    let inspected = plugin(folder.path(), &["inspect", file.to_str().unwrap()]);
    assert_eq!(inspected.status.code(), Some(0));
    assert!(text(&inspected.stdout).contains(&format!("warning     {expected}")));
}

/// The kit judges a copy of the file, whose place is no business of the author.
#[test]
#[cfg(unix)]
fn a_refusal_names_the_file_as_its_author_does() {
    let folder = tempfile::tempdir().unwrap();
    for (definition, code) in [
        ("-DMAJOR=2", "P303"),
        ("-DSEND=NULL", "P508"),
        ("-DBULK=NULL", "P508"),
        ("-DOVERRIDES=\"all\"", "P302"),
    ] {
        let file = rogue(folder.path(), &[definition]);
        let (card, _) = checked(&file, &["--only", "PV001,PV010"]);
        let whys: Vec<&str> = checks(&card)
            .iter()
            .filter_map(|check| check["why"].as_str())
            .collect();
        assert!(!whys.is_empty(), "{card:#}");
        for why in whys {
            assert!(
                why.contains(code)
                    && why.contains(file.to_str().unwrap())
                    && !why.contains("phone-verify-check-"),
                "{definition}: {why}"
            );
        }
    }
}

/// The whys of these verdicts.
fn whys<'a>(card: &'a Value, verdict: &str) -> Vec<&'a str> {
    let of_verdict = checks(card).iter().filter(|check| check["verdict"] == verdict);
    of_verdict.filter_map(|check| check["why"].as_str()).collect()
}

/// What is found when it is opened is one fault and not forty.
#[test]
#[cfg(target_os = "linux")]
fn a_library_that_is_not_loaded_fails_one_check_and_the_rest_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let beside = folder.path().join("libgone.so");
    fs::write(folder.path().join("gone.c"), "int gone(void) { return 0; }\n").unwrap();
    let cc = |arguments: &[&str]| {
        let built = std::process::Command::new("cc")
            .args(["-shared", "-fPIC"])
            .args(arguments)
            .current_dir(folder.path())
            .status();
        assert!(built.unwrap().success());
    };
    cc(&["-Wl,-soname,libgone.so", "-o", "libgone.so", "gone.c"]);
    let needs = format!("-Wl,--no-as-needed,{}", beside.display());
    for (definitions, code) in [
        (vec!["-DSEND=NULL"], "P508"),
        (vec!["-Wl,-soname,librogue.so", needs.as_str()], "P205"),
        (vec!["-DMAJOR=2"], "P303"),
    ] {
        let file = rogue(folder.path(), &definitions);
        let hidden = folder.path().join("hidden");
        fs::rename(&beside, &hidden).unwrap();
        let (card, exit) = checked(&file, &[]);
        fs::rename(&hidden, &beside).unwrap();
        // What the manifest lacks is read off the file, and is another matter.
        let of_manifest = BTreeSet::from(["PV002", "PV004"]);
        let failed: Vec<_> = ids(&card, "failed").difference(&of_manifest).copied().collect();
        assert_eq!((failed.as_slice(), exit), (&["PV001"][..], Some(1)), "{card:#}");
        assert!(whys(&card, "failed")[0].starts_with(code), "{card:#}");
        for skipped in checks(&card).iter().filter(|check| check["backend"] != "") {
            assert!(
                skipped["why"]
                    .as_str()
                    .unwrap()
                    .starts_with(&format!("not loaded: {code}: ")),
                "{skipped:#}"
            );
        }
        // Whatever is asked for, that is said.
        if code != "P205" {
            let (card, exit) = checked(&file, &["--only", "PV020"]);
            assert_eq!(
                (ids(&card, "failed"), exit),
                (BTreeSet::from(["PV001"]), Some(1)),
                "{card:#}"
            );
        }
    }
}

/// The kit and the daemon agree, since both open it in the same place.
#[test]
#[cfg(target_os = "linux")]
fn what_only_the_daemons_own_process_refuses_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = rogue(folder.path(), &["-Wl,-z,execstack"]);
    let (card, exit) = checked(&file, &["--only", "PV001,PV010,PV018"]);
    assert_eq!(
        (ids(&card, "failed"), exit),
        (BTreeSet::new(), Some(0)),
        "{card:#}"
    );
    let warned = whys(&card, "warned");
    assert!(
        warned.len() == 1 && warned[0].starts_with("in the daemon's own process it would be refused: P211: "),
        "{card:#}"
    );
    let mut site = phone_verify_tests::site::Site::with_backend("noop.NoopBackend", &serde_json::json!({}));
    fs::copy(&file, site.plugins().join("librogue.so")).unwrap();
    site.set("phone_verification", "BACKEND", "rogue.RogueBackend");
    let agreed = site.run(&["check"]);
    assert_eq!(agreed.code, Some(0), "{agreed:#?}");
}

/// Its runtime must be there before the library is, and no worker process can have it.
#[test]
#[cfg(target_os = "linux")]
fn a_library_that_is_built_with_a_sanitizer_fails_nothing_for_it() {
    let printed = std::process::Command::new("cc")
        .arg("-print-file-name=libasan.so")
        .output()
        .unwrap();
    let runtime = text(&printed.stdout).trim().to_owned();
    if !Path::new(&runtime).is_absolute() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = rogue(folder.path(), &["-fsanitize=address"]);
    let ran = std::process::Command::new(artifacts::program())
        .args(["plugin", "check", file.to_str().unwrap(), "--json"])
        .args(["--only", "PV001,PV010,PV075"])
        .env("LD_PRELOAD", runtime)
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .output()
        .unwrap();
    let card: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:#?}"));
    assert_eq!(
        (ids(&card, "failed"), ids(&card, "skipped")),
        (BTreeSet::new(), BTreeSet::from(["PV075"])),
        "{card:#}"
    );
    let why = whys(&card, "skipped")[0];
    assert!(
        why.contains("AddressSanitizer") && why.contains("as you deliver it"),
        "{why}"
    );
}

/// A compiler puts the text of `PV_MANIFEST` into one line, which its author never saw.
#[test]
#[cfg(unix)]
fn json_that_is_broken_is_shown_where_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let file = rogue(folder.path(), &["-DOVERRIDES=}"]);
    let (card, _) = checked(&file, &["--only", "PV001"]);
    let why = whys(&card, "failed")[0].to_owned();
    assert!(
        why.contains("P302") && why.contains("\"overrides\": }`") && !why.contains("column"),
        "{why}"
    );
}

#[test]
#[cfg(unix)]
fn an_author_in_c_is_told_of_functions_of_c() {
    let folder = tempfile::tempdir().unwrap();
    let file = rogue(folder.path(), &["-DALWAYS=\"blocks\""]);
    let (card, _) = checked(&file, &["--only", "PV063"]);
    let why = whys(&card, "failed").join("\n");
    assert!(why.contains("host->sleep") && !why.contains("::"), "{card:#}");
}

/// The library in C that does what the header forbids, whatever it is sent.
#[cfg(unix)]
fn rogue(folder: &Path, definitions: &[&str]) -> PathBuf {
    let root = artifacts::workspace();
    let file = folder.join("librogue.so");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-Wno-unused-function", "-I"])
        .arg(root.join("plugin-api/include"))
        .args(definitions)
        .arg("-o")
        .arg(&file)
        .arg(root.join("tests/rogue/rogue.c"))
        .status();
    assert!(built.unwrap().success());
    file
}

#[test]
#[cfg(unix)]
fn a_call_that_is_completed_twice_or_never_was_is_found_out() {
    for message in ["again", "nobody's"] {
        let folder = tempfile::tempdir().unwrap();
        let file = rogue(folder.path(), &[&format!("-DALWAYS=\"{message}\"")]);
        let (card, code) = checked(&file, &["--only", "PV020"]);
        let why = checks(&card)[0]["why"].as_str().unwrap_or_default();
        assert_eq!(code, Some(1), "{message}: {card:#}");
        assert!(
            why.starts_with("it completes a call twice, or one that never was"),
            "{why}"
        );
    }
}

#[test]
#[cfg(unix)]
fn of_a_backend_that_does_not_complete_its_calls_one_check_says_so_and_the_rest_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let in_c = rogue(folder.path(), &["-DALWAYS=\"never\""]);
    let (of_c, _) = checked(&in_c, &["--only", "PV020,PV030,PV060,PV065,PV080"]);
    let (of_rust, _) = vicious("hangs", &["--only", "PV020,PV030,PV060,PV065,PV080"]);
    for card in [of_c, of_rust] {
        let failed = ids(&card, "failed");
        assert!(failed.contains("PV020") && failed.len() <= 2, "{card:#}");
        let why = checks(&card)[0]["why"].as_str().unwrap();
        assert!(why.contains("the call was not completed within 10 s"), "{why}");
    }
}

#[test]
#[cfg(unix)]
fn an_author_in_c_is_not_told_of_attributes_of_rust() {
    let folder = tempfile::tempdir().unwrap();
    let file = rogue(folder.path(), &[]);
    let (card, _) = checked(&file, &["--only", "PV002,PV004"]);
    let whys: Vec<&str> = checks(&card)
        .iter()
        .map(|check| check["why"].as_str().unwrap())
        .collect();
    assert_eq!(
        whys,
        [
            "it names no licence: add \"license\": \"…\" to PV_MANIFEST",
            "the option BASE_URL of rogue.RogueBackend does not say what it is for: add \"help\": \"…\" to its row in \
             PV_MANIFEST",
        ]
    );
}

#[test]
fn one_request_for_many_numbers_is_refused_as_often_as_the_number_is_in_it() {
    let bulk = &["--only", "PV080,PV081,PV082,PV083"];
    let (card, code) = vicious("native-bulk", bulk);
    assert_eq!((ids(&card, "failed").len(), code), (0, Some(0)), "{card:#}");

    // The same provider, which does not say which number it was.
    let folder = tempfile::tempdir().unwrap();
    let tape = folder.path().join("whole.tape.toml");
    let whole = fs::read_to_string(artifacts::workspace().join("tests/villain/vicious.tape.toml")).unwrap();
    let whole: Vec<&str> = whole
        .lines()
        .filter(|line| !line.starts_with("refused"))
        .collect();
    fs::write(&tape, whole.join("\n")).unwrap();
    let options = folder.path().join("options.toml");
    fs::write(&options, "vice = \"native-bulk\"\n").unwrap();
    let mut arguments = vec![
        "--options",
        options.to_str().unwrap(),
        "--tape",
        tape.to_str().unwrap(),
    ];
    arguments.extend(["--backend", "ViciousBackend"]);
    arguments.extend(bulk);
    let (card, code) = checked(&artifacts::library("villain"), &arguments);
    assert_eq!((ids(&card, "failed").len(), code), (0, Some(0)), "{card:#}");
}

#[test]
fn what_the_tape_says_of_a_status_goes_before_what_a_status_usually_means() {
    let folder = tempfile::tempdir().unwrap();
    let tape = folder.path().join("geo.tape.toml");
    let mut text =
        fs::read_to_string(artifacts::workspace().join("tests/villain/vicious.tape.toml")).unwrap();
    for (status, class) in [
        (401, "throttled"),
        (403, "throttled"),
        (404, "transient"),
        (429, "no_credit"),
    ] {
        text.push_str(&format!(
            "\n[[refusal]]\nname = \"{status}\"\nstatus = {status}\nclass = \"{class}\"\n"
        ));
    }
    fs::write(&tape, text).unwrap();
    let options = folder.path().join("options.toml");
    fs::write(&options, "vice = \"documented\"\n").unwrap();
    let (card, _) = checked(
        &artifacts::library("villain"),
        &[
            "--options",
            options.to_str().unwrap(),
            "--tape",
            tape.to_str().unwrap(),
            "--backend",
            "ViciousBackend",
            "--only",
            "PV021,PV030,PV031,PV032,PV035,PV036",
        ],
    );
    assert!(ids(&card, "failed").is_empty(), "{card:#}");
}

#[test]
fn the_number_that_is_refused_among_others_is_refused_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let tape = folder.path().join("key.tape.toml");
    let text = fs::read_to_string(artifacts::workspace().join("tests/villain/vicious.tape.toml")).unwrap();
    // What the provider says of the account comes first in this tape.
    let key = "[[refusal]]\nname = \"a wrong key\"\nstatus = 401\nclass = \"auth_failed\"\n\n[[refusal]]";
    fs::write(&tape, text.replacen("[[refusal]]", key, 1)).unwrap();
    let options = folder.path().join("options.toml");
    fs::write(&options, "vice = \"heeds\"\n").unwrap();
    let (card, _) = checked(
        &artifacts::library("villain"),
        &[
            "--options",
            options.to_str().unwrap(),
            "--tape",
            tape.to_str().unwrap(),
            "--backend",
            "ViciousBackend",
            "--only",
            "PV080,PV081,PV082",
        ],
    );
    assert!(ids(&card, "failed").is_empty(), "{card:#}");
    let passed = BTreeSet::from(["PV080", "PV081", "PV082"]);
    assert_eq!(ids(&card, "passed"), passed, "{card:#}");
}

#[test]
fn a_file_that_is_no_library_or_too_big_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libnotes.so");
    fs::write(&file, "notes").unwrap();
    let (card, code) = checked(&file, &[]);
    assert_eq!(
        (ids(&card, "failed"), code),
        (BTreeSet::from(["PV001"]), Some(1)),
        "{card:#}"
    );

    let mut bytes = fs::read(artifacts::library("noop")).unwrap();
    bytes.resize(33 << 20, 0);
    let file = folder.path().join("libnoop.so");
    fs::write(&file, bytes).unwrap();
    let (card, _) = checked(&file, &["--only", "PV001,PV006"]);
    assert_eq!(ids(&card, "failed"), BTreeSet::from(["PV006"]), "{card:#}");
}

#[test]
fn without_a_tape_one_check_says_so_and_no_other_fails() {
    let library = artifacts::library("villain");
    let (card, code) = checked(&library, &["--backend", "ViciousBackend"]);
    assert_eq!(
        (ids(&card, "failed"), code),
        (BTreeSet::from(["PV020"]), Some(1)),
        "{card:#}"
    );
    let missing = checks(&card).iter().find(|check| check["id"] == "PV020").unwrap();
    let why = missing["why"].as_str().unwrap();
    assert!(
        why.contains("write villain.tape.toml beside Cargo.toml or the library, or name it with --tape"),
        "{why}"
    );
}

#[test]
fn a_library_carries_its_tape_wherever_it_is_put() {
    for name in ["http", "nexmo", "plivo", "twilio"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(artifacts::library(name).file_name().unwrap());
        fs::copy(artifacts::library(name), &file).unwrap();
        let (card, code) = checked(&file, &["--only", "PV020,PV021"]);
        assert_eq!(
            (&card["tape"], code),
            (&"carried by the library".into(), Some(0)),
            "{card:#}"
        );
        assert!(ids(&card, "failed").is_empty(), "{card:#}");
    }
}

#[test]
fn the_score_card_can_be_read() {
    let library = artifacts::library("console");
    let arguments = ["check", library.to_str().unwrap(), "--only", "PV001,PV010,PV080"];
    let card = plugin(&artifacts::workspace(), &arguments);
    let stdout = text(&card.stdout);
    let shown = stdout.split_once('\n').unwrap().1;
    assert_eq!(
        shown,
        "
the library
  ok      PV001  a host can load the file

ConsoleBackend
  ok      PV010  it is constructed from its options
  -       PV080  each number of a bulk send is reported once
                 it leaves bulk sends to the host

2 passed, 0 failed, 1 does not apply
"
    );
}

#[test]
fn wrong_arguments_end_with_2() {
    let library = artifacts::library("console");
    let library = library.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.toml"), "[").unwrap();
    fs::write(folder.path().join("other.toml"), "[OPTIONS]\nKEY = \"k\"\n").unwrap();
    fs::write(folder.path().join("x.tape.toml"), "[success]\n").unwrap();
    for (arguments, expected) in [
        (&["check", "libgone.so"][..], "libgone.so does not exist"),
        (&["check", library, "--only", "PV999"], "there is no check PV999"),
        (
            &["check", library, "--backend", "Nobody"],
            "has no backend Nobody, only ConsoleBackend",
        ),
        (
            &["check", library, "--options", "bad.toml"],
            "bad.toml cannot be read",
        ),
        (
            &["check", library, "--options", "other.toml"],
            "the options have OPTIONS, which no backend of ",
        ),
        (
            &["check", library, "--tape", "x.tape.toml"],
            "the tape x.tape.toml cannot be read",
        ),
        (&["check", library, "--format", "junit"], "invalid value"),
    ] {
        let refused = plugin(folder.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&refused.stderr).contains(expected),
            "{arguments:?}: {}",
            text(&refused.stderr)
        );
    }
}
