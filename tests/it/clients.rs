//! Clients that were generated from `/openapi.json` compile and verify a number. They need the tools that
//! `tests/clients/install` puts into `target/client-tools`; where those are not, a story says so and is over.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use phone_verify_tests::{
    artifacts,
    daemon::Daemon,
    site::{Ran, Site, ran},
};
use serde_json::json;

const NUMBERS: [&str; 2] = ["+13478379634", "+491711234567"];

/// Where the tools are, if they are.
fn tools(needed: &str) -> Option<PathBuf> {
    let folder = artifacts::workspace().join("target").join("client-tools");
    if folder.join(needed).exists() {
        return Some(folder);
    }
    eprintln!(
        "NOTE: not tried, for {needed} is not there: tests/clients/install {}",
        folder.display()
    );
    None
}

/// A daemon whose codes are all 123456, and the description that it gives of itself, in the folder.
async fn described(folder: &Path) -> (Site, Daemon) {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let daemon = site.serve();
    let openapi = daemon.get("/openapi.json").await.body;
    fs::write(folder.join("openapi.json"), openapi.to_string()).unwrap();
    (site, daemon)
}

fn client(name: &str) -> PathBuf {
    artifacts::workspace().join("tests").join("clients").join(name)
}

fn succeeded(command: &mut Command) -> Ran {
    let ran = ran(command);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran
}

#[tokio::test]
async fn a_client_in_python_verifies_a_number() {
    let Some(tools) = tools("python/bin/openapi-python-client") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (_site, daemon) = described(folder.path()).await;
    // It calls its formatter, which lies beside it.
    let programs = tools.join("python").join("bin");
    let path = std::env::join_paths(
        std::iter::once(programs.clone()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    succeeded(
        Command::new(programs.join("openapi-python-client"))
            .current_dir(folder.path())
            .env("PATH", path.unwrap())
            .args(["generate", "--path", "openapi.json", "--meta", "none"])
            .args(["--output-path", "phone_verify_client", "--fail-on-warning"]),
    );
    let verified = succeeded(
        Command::new(programs.join("python"))
            .current_dir(folder.path())
            .env("PYTHONPATH", folder.path())
            .arg(client("python.py"))
            .arg(format!("http://{}", daemon.address()))
            .args(NUMBERS),
    );
    assert_eq!(verified.stdout, "verified\n");
}

#[tokio::test]
async fn a_client_in_typescript_verifies_a_number() {
    let Some(tools) = tools("node_modules/.bin/openapi-typescript") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (_site, daemon) = described(folder.path()).await;
    let programs = tools.join("node_modules").join(".bin");
    // Node finds what is imported in the folder of the program.
    std::os::unix::fs::symlink(tools.join("node_modules"), folder.path().join("node_modules")).unwrap();
    fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    fs::copy(client("typescript.ts"), folder.path().join("verify.ts")).unwrap();
    let here = |program: &str| {
        let mut command = Command::new(programs.join(program));
        command.current_dir(folder.path());
        command
    };
    succeeded(here("openapi-typescript").args(["openapi.json", "--output", "schema.d.ts"]));
    succeeded(here("tsc").args([
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--noUncheckedIndexedAccess",
        "verify.ts",
    ]));
    let verified = succeeded(
        Command::new("node")
            .current_dir(folder.path())
            .arg("verify.js")
            .arg(format!("http://{}", daemon.address()))
            .args(NUMBERS),
    );
    assert_eq!(verified.stdout, "verified\n");
}
