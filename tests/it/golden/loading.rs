//! P5: opening a library and constructing a backend, in this process.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};

use super::Told;
use crate::loading::{
    in_c,
    shelf::{Shelf, Shelves, built},
    versions::generation::Generation,
};

const MANIFEST: &str = r#"
__attribute__((section(".pv_plugin"), visibility("default")))
const char PHONE_VERIFY_MANIFEST[] = "{\"schema\":1,\"version\":\"1.0.0\",\"abi\":{\"major\":1,\"minor\":0},"
    "\"plugin_api\":\"\",\"backends\":[{\"name\":\"XBackend\"}]}";
"#;

fn of(told: &mut Told, shelf: &Shelf, name: &str, options: &Value) {
    let refusals = shelf.load(name, options).unwrap_err();
    told.refusals(shelf.folder(), refusals);
}

/// A library in C with a manifest, and this.
fn in_c_with(told: &mut Told, source: &str) {
    let shelf = Shelf::empty();
    shelf.compile("x", &format!("{MANIFEST}{source}"), &["-shared", "-fPIC"]);
    of(told, &shelf, "x.XBackend", &json!({}));
}

/// As `sstrip` leaves a file of 64 bits.
fn without_section_headers(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    bytes
}

/// A generation of the ABI that is none.
fn of_generation(told: &mut Told, name: &str, generation: Generation) {
    let shelf = Shelf::empty();
    shelf.put(name, &generation.build());
    let options = json!({ "BASE_URL": "https://acme.example" });
    of(told, &shelf, &format!("{name}.AncestorBackend"), &options);
}

#[test]
fn opening() {
    let mut told = Told::nothing();
    in_c_with(
        &mut told,
        "void nobody_has_this(void);\nvoid (*needed)(void) = nobody_has_this;\nconst char pv_plugin_entry_v1[128];",
    );
    in_c_with(&mut told, "");
    in_c_with(
        &mut told,
        "const char _1as_0lib_1header_0root_bmodule_bloader[512];",
    );
    of_generation(
        &mut told,
        "golden_layout",
        Generation::released("golden_layout").abi("    pub status: u16,\n", "    pub status: u32,\n"),
    );
    of_generation(
        &mut told,
        "golden_root",
        Generation::released("golden_root").backend(
            "fn root() -> RootRef {\n",
            "fn root() -> RootRef {\n    assert!(std::env::args().count() > 1000, \"not today\");\n",
        ),
    );
    in_c_with(
        &mut told,
        "__attribute__((tls_model(\"initial-exec\"))) __thread char kept[1 << 20];\nchar *get(void) { return kept; }\n\
         const char pv_plugin_entry_v1[128];",
    );
    let shelf = Shelf::empty();
    shelf.put("noop", &without_section_headers(built("noop")));
    of(&mut told, &shelf, "noop.NoopBackend", &json!({}));
    // What would be done to the whole process.
    let shelf = Shelf::empty();
    let source = format!("{MANIFEST}const char pv_plugin_entry_v1[128];");
    shelf.compile("x", &source, &["-shared", "-fPIC", "-Wl,-z,execstack"]);
    of(&mut told, &shelf, "x.XBackend", &json!({}));
    let shelf = Shelf::with(&["noop"]);
    let _serves = shelf.load("noop.NoopBackend", &json!({})).unwrap();
    let source = source.replace("XBackend", "NoopBackend")
        + "\nint counter = 1;\n__asm__(\".type counter, @gnu_unique_object\");";
    std::fs::remove_file(shelf.path("noop")).unwrap();
    shelf.compile("noop", &source, &["-shared", "-fPIC"]);
    of(&mut told, &shelf, "noop.NoopBackend", &json!({}));
    for lacking in ["-DSEND=NULL", "-DBULK=NULL"] {
        let shelf = Shelf::empty();
        in_c::compile(&shelf, &[lacking]);
        of(&mut told, &shelf, "rogue.RogueBackend", &json!({}));
    }
    let shelf = Shelf::empty();
    let owner = MANIFEST.replace(
        r#"{\"name\":\"XBackend\""#,
        r#"{\"owns_code\":true,\"name\":\"XBackend\""#,
    );
    let source = format!("{owner}const char pv_plugin_entry_v1[128];");
    shelf.compile("x", &source, &["-shared", "-fPIC"]);
    of(&mut told, &shelf, "x.XBackend", &json!({}));
    insta::assert_snapshot!(told.text());
}

/// Told the same wherever it runs. One that blocks has a thread lost in this process, or its own process killed.
fn constructing<const IN_WORKERS: bool>() {
    let mut told = Told::nothing();
    let shelf = Shelves::<IN_WORKERS>::with(&["villain"]);
    for how in ["refuse", "block"] {
        let options = json!({ "CONSTRUCTOR": how, "SECRET": "s3cret-value" });
        let refusals = shelf.load("villain.VillainBackend", &options).unwrap_err();
        told.refusals(shelf.folder(), refusals);
    }
    insta::assert_snapshot!("constructing", told.text());
}

#[test]
fn constructing_here() {
    constructing::<false>();
}

#[test]
fn constructing_in_a_worker() {
    constructing::<true>();
}
