//! Mistakes that must not compile: each one must give a compile error whose message says what to change.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

const BACKEND: &str = r"
    #![forbid(unsafe_code)]
    use phone_verify_plugin_api::*;

    pub struct Acme;

    #[backend]
    impl Backend for Acme {
        type Options = AcmeOptions;
        fn new(_options: AcmeOptions, _host: Host) -> Result<Self, Error> { Ok(Self) }
        async fn send_sms(&self, _: &PhoneNumber, _: &str, _: &Call) -> Result<Receipt, Error> {
            Ok(Receipt::without_id())
        }
    }

    export_backends!(Acme);

    #[derive(Options)]
    pub struct AcmeOptions { pub key: String }
";

/// The compiled library of this crate that the tests link to. Of several builds, the newest.
fn author_crate(dependencies: &Path) -> PathBuf {
    let files = dependencies.read_dir().expect("cargo has built the dependencies");
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libphone_verify_plugin_api-") && name.ends_with(".rlib")
        })
        .max_by_key(|path| path.metadata().and_then(|file| file.modified()).ok())
        .expect("this crate has been built")
}

/// The compiler's messages. `None`: the source compiles.
fn complaint(name: &str, source: &str, options: &[&str]) -> Option<String> {
    let program = std::env::current_exe().expect("a test is a file");
    let dependencies = program.parent().expect("a file is in a folder");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
    let file = folder.join("lib.rs");
    std::fs::write(&file, source).expect("the folder of temporary files can be written");

    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let mut search = OsString::from("dependency=");
    search.push(dependencies);
    let mut this_crate = OsString::from("phone_verify_plugin_api=");
    this_crate.push(author_crate(dependencies));
    let output = Command::new(compiler)
        .args([
            "--edition=2024",
            "--crate-type=cdylib",
            "--crate-name=acme",
            "--emit=metadata",
        ])
        .args(options)
        .arg("-L")
        .arg(search)
        .arg("--extern")
        .arg(this_crate)
        .arg("--out-dir")
        .arg(&folder)
        .arg(&file)
        .envs([("CARGO_CRATE_NAME", "acme"), ("CARGO_PKG_VERSION", "0.1.0")])
        .envs([("CARGO_PKG_LICENSE", ""), ("CARGO_PKG_REPOSITORY", "")])
        .output()
        .expect("there is a compiler");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn assert_refused(name: &str, source: &str, options: &[&str], sentence: &str) {
    let complaint = complaint(name, source, options).expect("the mistake is found");
    assert!(complaint.contains(sentence), "{complaint}");
}

#[test]
fn a_sound_backend_compiles() {
    assert_eq!(complaint("sound", BACKEND, &[]), None);
}

#[test]
fn a_library_that_aborts_when_it_panics() {
    assert_refused(
        "panic_abort",
        BACKEND,
        &["-Cpanic=abort"],
        "a phone-verify backend cannot be built with panic = \"abort\"",
    );
}

#[test]
fn a_backend_without_the_attribute() {
    assert_refused(
        "no_attribute",
        &BACKEND.replace("#[backend]", ""),
        &[],
        "put the attribute `#[backend]` on its `impl Backend` block",
    );
}

#[test]
fn two_options_of_one_name() {
    assert_refused(
        "two_names",
        &BACKEND.replace(
            "pub key: String",
            "pub key: String, #[option(alias = \"Key\")] pub secret: Secret",
        ),
        &[],
        "two options are named Key",
    );
}

#[test]
fn a_default_of_another_type() {
    assert_refused(
        "wrong_default",
        &BACKEND.replace("pub key: String", "#[option(default = 5)] pub key: String"),
        &[],
        "the default of an option is not of the option's type",
    );
}

#[test]
fn a_default_that_is_empty() {
    assert_refused(
        "empty_default",
        &BACKEND.replace("pub key: String", "#[option(default = \"\")] pub key: String"),
        &[],
        "make the field an `Option<String>`",
    );
}

#[test]
fn an_option_of_no_known_type() {
    assert_refused(
        "unknown_type",
        &BACKEND.replace("pub key: String", "pub key: std::net::IpAddr"),
        &[],
        "is not a type that an option can have",
    );
}

/// A backend whose attribute and methods are these.
fn with(attribute: &str, method: &str) -> String {
    let methods = format!("{method}\n        async fn send_sms");
    BACKEND
        .replace("#[backend]", attribute)
        .replacen("async fn send_sms", &methods, 1)
}

const RECEIVE: &str = "async fn receive(&self, _: &Webhook, _: &Call) -> Result<Received, Error> {
    Ok(Received::new(200))
}";
const CANCEL: &str = "async fn cancel(&self, _: &str, _: &Call) -> Result<(), Error> { Ok(()) }";

#[test]
fn reports_that_nobody_checks() {
    assert_refused(
        "unchecked_reports",
        &with("#[backend]", RECEIVE),
        &[],
        "say who checks that a request is the provider's: `webhook = \"signed\"`",
    );
}

#[test]
fn a_webhook_that_nothing_reads() {
    assert_refused(
        "unread_webhook",
        &with("#[backend(webhook = \"signed\")]", ""),
        &[],
        "`webhook` needs the method `receive`",
    );
}

#[test]
fn a_webhook_of_another_kind() {
    assert_refused(
        "unknown_webhook",
        &with("#[backend(webhook = \"open\")]", RECEIVE),
        &[],
        "expected \"signed\" or \"secret\"",
    );
}

#[test]
fn a_cancel_of_what_the_host_began() {
    assert_refused(
        "cancel_without_code",
        &with("#[backend]", CANCEL),
        &[],
        "`cancel` is for a backend with `owns_code`",
    );
}

#[test]
fn codes_that_nobody_judges() {
    assert_refused(
        "owned_code",
        &with("#[backend(owns_code)]", CANCEL),
        &[],
        "`owns_code` needs the method `validate_security_code`",
    );
}
