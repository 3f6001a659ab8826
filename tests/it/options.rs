//! Options of a wrong type: whatever TOML can hold for whatever a library asks for is taken, or refused with one code,
//! by the option's name, before any code of the library runs.
#![cfg(unix)]

use std::process::Command;

use phone_verify_tests::{artifacts::workspace, site::Site};

/// A backend in C with an option of each type, which takes all that it is given.
const SOURCE: &str = r#"
#include "phone_verify_plugin.h"
#include <string.h>
PV_MANIFEST({"schema": 1, "library": "picky", "version": "1.0.0", "abi": {"major": 1, "minor": 0},
    "backends": [{"name": "PickyBackend", "options": [
        {"name": "STRING", "type": "string"}, {"name": "INTEGER", "type": "integer"}, {"name": "BOOL", "type": "bool"},
        {"name": "SECONDS", "type": "seconds"}, {"name": "LIST", "type": "list"}, {"name": "TABLE", "type": "table"},
        {"name": "LATER", "type": "of a later version"}]}]});
static int nothing;
static pv_backend *create(pv_text name, const pv_host *host, const pv_pair *options, size_t count) {
    (void)name;
    for (size_t at = 0; at < count; at++) {
        if (options[at].value.length == 5 && memcmp(options[at].value.data, "70000", 5) == 0) {
            pv_error error = {.size = sizeof error, .kind = PV_KIND_CONFIG, .code = PV_TEXT("options"),
                              .message = PV_TEXT("option INTEGER must be a whole number from 0 to 65_535")};
            host->refuse(host, &error);
            return NULL;
        }
    }
    return (pv_backend *)&nothing;
}
static void destroy(pv_backend *backend) { (void)backend; }
static void send_sms(pv_backend *backend, const pv_call *call, const pv_sms *sms) { (void)backend; (void)call; (void)sms; }
const pv_plugin_entry pv_plugin_entry_v1 = {.size = sizeof(pv_plugin_entry), .abi_major = PV_ABI_MAJOR,
    .create = create, .destroy = destroy, .send_sms = send_sms};
"#;

const ALL: [&str; 7] = ["STRING", "INTEGER", "BOOL", "SECONDS", "LIST", "TABLE", "LATER"];

/// What a value is called, and which options take it.
const VALUES: [(&str, &str, &[&str]); 29] = [
    ("\"a text\"", "another text", &["STRING", "LATER"]),
    ("\"\"", "an empty text", &["LATER"]),
    ("\" \"", "an empty text", &["LATER"]),
    ("'''\na\nb'''", "another text", &["STRING", "LATER"]),
    (
        "\"5\"",
        "another text",
        &["STRING", "INTEGER", "SECONDS", "LATER"],
    ),
    ("\"-5\"", "another text", &["STRING", "INTEGER", "LATER"]),
    ("\"1.5\"", "another text", &["STRING", "LATER"]),
    ("\"true\"", "another text", &["STRING", "BOOL", "LATER"]),
    ("\"2027-01-31\"", "another text", &["STRING", "LATER"]),
    ("5", "a whole number", &["STRING", "INTEGER", "SECONDS", "LATER"]),
    ("0", "a whole number", &["STRING", "INTEGER", "SECONDS", "LATER"]),
    ("-5", "a whole number", &["STRING", "INTEGER", "LATER"]),
    (
        "0xff",
        "a whole number",
        &["STRING", "INTEGER", "SECONDS", "LATER"],
    ),
    ("4_294_967_296", "a whole number", &["STRING", "INTEGER", "LATER"]),
    ("1.5", "a number with a point", &["LATER"]),
    ("5.0", "a number with a point", &["LATER"]),
    ("1e3", "a number with a point", &["LATER"]),
    ("true", "true or false", &["BOOL", "LATER"]),
    ("[]", "a list", &["LIST", "LATER"]),
    ("[\"a\", 1]", "a list", &["LIST", "LATER"]),
    ("{}", "a table", &["TABLE", "LATER"]),
    ("{ a = 1 }", "a table", &["TABLE", "LATER"]),
    ("inf", NONE, &[]),
    ("nan", NONE, &[]),
    ("2027-01-31", NONE, &[]),
    ("2027-01-31T12:00:00Z", NONE, &[]),
    ("2027-01-31T12:00:00", NONE, &[]),
    ("12:00:00", NONE, &[]),
    ("[2027-01-31]", NONE, &[]),
];
const NONE: &str = "a date, a time, or a number that is too large or none";

fn picky() -> Site {
    let site = Site::new();
    let source = site.write("picky.c", SOURCE);
    let compiled = Command::new("cc")
        .args(["-std=c99", "-shared", "-fPIC", "-I"])
        .arg(workspace().join("plugin-api/include"))
        .arg("-o")
        .arg(site.plugins().join("libpicky.so"))
        .arg(source)
        .status()
        .expect("a C compiler is installed");
    assert!(compiled.success());
    site
}

fn settings(options: &str) -> String {
    format!(
        "[phone_verification]\nBACKEND = \"picky.PickyBackend\"\nTOKEN_LENGTH = 6\nMESSAGE = \"{{security_code}}\"\n\
         APP_NAME = \"Acme\"\nSECURITY_CODE_EXPIRATION_SECONDS = 600\nVERIFY_SECURITY_CODE_ONLY_ONCE = true\n\
         [server]\nlisten = \"127.0.0.1:0\"\n[plugins]\ndirectories = [\"plugins\"]\n[phone_verification.OPTIONS]\n{options}"
    )
}

#[test]
fn every_type_of_toml_for_every_type_of_option() {
    let site = picky();
    for (value, found, takers) in VALUES {
        let lines: String = ALL.map(|option| format!("{option} = {value}\n")).concat();
        site.write("phone-verify.toml", settings(&lines));
        let result = site.run(&["check", "--json"]).json();
        let problems: Vec<&str> = result["problems"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|told| told.as_str().unwrap())
            .collect();
        let refused: Vec<&str> = ALL
            .into_iter()
            .filter(|option| !takers.contains(option))
            .collect();
        assert_eq!(problems.len(), refused.len(), "{value}: {problems:#?}");
        for (problem, option) in problems.into_iter().zip(refused) {
            assert!(
                problem.starts_with(&format!(
                    "P602: the option {option} of picky.PickyBackend must be "
                )) && problem.ends_with("; correct it in OPTIONS"),
                "{value}: {problem}"
            );
            let (_, not) = problem.rsplit_once(", not ").unwrap();
            assert!(
                not.contains(found) || not.starts_with("another one"),
                "{value}: {problem}"
            );
        }
    }
}

/// The range of a number and the items of a list are known to the library alone, which refuses them with the same code,
/// as the author's crate does by itself.
#[test]
fn what_a_library_has_against_its_options_has_the_same_code() {
    let site = picky();
    site.write("phone-verify.toml", settings("INTEGER = 70000\n"));
    let told = site.run(&["check"]).stderr;
    assert!(
        told.contains(
            "error: P602: picky.PickyBackend does not take its options: option INTEGER must be a whole number from 0 to \
             65_535; correct OPTIONS\n"
        ),
        "{told}"
    );
}
