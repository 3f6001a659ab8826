//! `plugin serve-tape`: a real registration goes through a real daemon to what the tape says.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use phone_verify_tests::{artifacts, site::Site};
use serde_json::json;

use super::{plugin, text};
use crate::custom_backend::acme;

/// A provider that plays a tape until the test is over.
struct Played {
    process: Child,
    shown: BufReader<ChildStdout>,
    url: String,
}

impl Played {
    fn from(file: &Path, backend: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(artifacts::program())
            .args(["plugin", "serve-tape", file.to_str().unwrap()])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut played = Self {
            shown: BufReader::new(process.stdout.take().unwrap()),
            process,
            url: String::new(),
        };
        let shown = played.line_with("BACKEND = ");
        assert_eq!(shown.trim(), format!("BACKEND = {backend:?}"));
        let setting = played.line_with("BASE_URL = ");
        setting.split('"').nth(1).unwrap().clone_into(&mut played.url);
        played
    }

    /// The next line that has this in it.
    fn line_with(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.shown.read_line(&mut line).unwrap(),
                0,
                "it ended before {part}"
            );
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The tape of the example, and an installation that uses what it shows.
fn of_the_example(arguments: &[&str]) -> (Played, Site) {
    let tape = artifacts::workspace().join("examples/custom-backend/acme.tape.toml");
    let provider = Played::from(&tape, "acme.AcmeBackend", arguments);
    let mut site = Site::new();
    let options = json!({ "KEY": "k", "FROM": "Acme", "BASE_URL": provider.url });
    fs::copy(acme(), site.plugins().join("libacme.so")).unwrap();
    site.set("phone_verification", "BACKEND", "acme.AcmeBackend");
    site.set(
        "phone_verification",
        "OPTIONS",
        toml::Table::try_from(options).unwrap(),
    );
    (provider, site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_goes_through_to_the_tape_and_nothing_of_it_is_shown() {
    let (mut provider, site) = of_the_example(&[]);
    let daemon = site.serve();
    let registered = daemon.register("+13478379634").await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let shown = provider.line_with("→");
    assert_eq!(shown.trim(), "POST /messages → 202 (success)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_tape_is_what_the_caller_is_told() {
    let (mut provider, site) = of_the_example(&["--refusal", "a number that cannot be texted"]);
    let daemon = site.serve();
    let registered = daemon.register("+13478379634").await;
    assert_eq!(registered.status, 400, "{registered:?}");
    assert!(
        provider
            .line_with("→")
            .contains("422 (refusal: a number that cannot be texted)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_carries_its_tape_is_played_without_a_file() {
    let mut provider = Played::from(&artifacts::library("nexmo"), "nexmo.NexmoBackend", &[]);
    let options = json!({ "KEY": "k", "SECRET": "s", "FROM": "Acme", "BASE_URL": provider.url });
    let site = Site::with_backend("nexmo.NexmoBackend", &options);
    let registered = site.run(&["register", "+13478379634"]);
    assert_eq!(registered.code, Some(0), "{registered:?}");
    assert!(provider.line_with("→").contains("→ 200 (success)"));
}

#[test]
fn what_is_no_tape_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("acme.tape.toml"), "[success]\nstatus = 202\n").unwrap();
    for (arguments, expected) in [
        (
            &["serve-tape", "gone.tape.toml"][..],
            "gone.tape.toml cannot be read",
        ),
        (
            &["serve-tape", "acme.tape.toml", "--refusal", "x"],
            "the tape has no refusal \"x\"; it has none",
        ),
    ] {
        let refused = plugin(folder.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&refused.stderr).contains(expected),
            "{}",
            text(&refused.stderr)
        );
    }
}
