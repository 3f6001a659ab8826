//! Clients that were generated from `/openapi.json` compile and verify a number. They need the tools that
//! `tests/clients/README.md` tells how to put into `target/client-tools`; where those are not, a story says so and is
//! over.

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
use serde_json::{Value, json};

const OPENAPI_GENERATOR: &str = "generator/bin/openapi-generator-cli";
const NUMBERS: [&str; 2] = ["+13478379634", "+491711234567"];

/// Where the tools are, if they are.
fn tools(needed: &str) -> Option<PathBuf> {
    let folder = artifacts::workspace().join("target").join("client-tools");
    if folder.join(needed).exists() {
        return Some(folder);
    }
    eprintln!("NOTE: not tried, for {needed} is not there: tests/clients/README.md");
    None
}

/// Whether the system has a program of that name.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if !has {
        eprintln!("NOTE: not tried, for {program} is not installed");
    }
    has
}

/// Has openapi-generator make a client of the description in the folder.
fn generate(tools: &Path, folder: &Path, language: &str, properties: &str) {
    succeeded(
        Command::new(tools.join(OPENAPI_GENERATOR))
            .current_dir(folder)
            .args(["generate", "--input-spec", "openapi.json", "--output", "client"])
            .args([
                "--generator-name",
                language,
                "--additional-properties",
                properties,
            ]),
    );
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

/// Has the program of an application verify the numbers.
fn verifies(daemon: &Daemon, application: &mut Command) {
    let url = format!("http://{}", daemon.address());
    assert_eq!(succeeded(application.arg(url).args(NUMBERS)).stdout, "verified\n");
}

/// Every `type` in the description, with where it stands.
fn types(at: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            // A field that is called so is an object.
            if let Some(kind) = fields.get("type").filter(|kind| !kind.is_object()) {
                found.push((at.to_owned(), kind.clone()));
            }
            for (name, field) in fields {
                types(&format!("{at}/{name}"), field, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| types(at, item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn nothing_in_the_description_is_of_several_types() {
    let folder = tempfile::tempdir().unwrap();
    let (_site, daemon) = described(folder.path()).await;
    let mut found = Vec::new();
    types("", &daemon.get("/openapi.json").await.body, &mut found);
    assert!(!found.is_empty());
    // openapi-generator makes a class of them that holds nothing, in Kotlin and in Swift; null alone may be the second.
    found.retain(|(_, kind)| {
        kind.as_array()
            .is_some_and(|kinds| kinds.iter().filter(|kind| *kind != "null").count() > 1)
    });
    assert_eq!(found, []);
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
    verifies(
        &daemon,
        Command::new(programs.join("python"))
            .current_dir(folder.path())
            .env("PYTHONPATH", folder.path())
            .arg(client("python.py")),
    );
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
    verifies(
        &daemon,
        Command::new("node").current_dir(folder.path()).arg("verify.js"),
    );
}

#[tokio::test]
async fn a_client_in_kotlin_verifies_a_number() {
    let Some(tools) = tools("kotlin/jars/gson.jar") else {
        return;
    };
    if !has("java") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_site, daemon) = described(folder.path()).await;
    generate(
        &tools,
        folder.path(),
        "kotlin",
        "packageName=phone_verify_client,library=jvm-okhttp4,serializationLibrary=gson",
    );
    let compiler = tools.join("kotlin").join("node_modules").join("kotlin-compiler");
    let jars = fs::read_dir(tools.join("kotlin").join("jars")).unwrap();
    let mut classes: Vec<PathBuf> = jars.map(|jar| jar.unwrap().path()).collect();
    succeeded(
        Command::new(compiler.join("bin").join("kotlinc"))
            .current_dir(folder.path())
            .args(["-d", "verify.jar", "-classpath"])
            .arg(std::env::join_paths(&classes).unwrap())
            .arg("client/src/main/kotlin")
            .arg(client("kotlin.kt")),
    );
    classes.extend([
        folder.path().join("verify.jar"),
        compiler.join("lib").join("kotlin-stdlib.jar"),
    ]);
    verifies(
        &daemon,
        Command::new("java")
            .arg("-classpath")
            .arg(std::env::join_paths(&classes).unwrap())
            .arg("KotlinKt"),
    );
}

#[tokio::test]
async fn a_client_in_swift_verifies_a_number() {
    let Some(tools) = tools(OPENAPI_GENERATOR) else {
        return;
    };
    if !has("java") || !has("swift") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_site, daemon) = described(folder.path()).await;
    generate(
        &tools,
        folder.path(),
        "swift6",
        "projectName=PhoneVerifyClient,responseAs=AsyncAwait",
    );
    let package = folder.path().join("verify");
    fs::create_dir(&package).unwrap();
    for file in ["Package.swift", "main.swift"] {
        fs::copy(client("swift").join(file), package.join(file)).unwrap();
    }
    verifies(
        &daemon,
        Command::new("swift")
            .current_dir(&package)
            .args(["run", "--quiet", "verify"]),
    );
}
