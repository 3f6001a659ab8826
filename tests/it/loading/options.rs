//! Options are checked before the backend is constructed, by name and all at once; and its constructor has the last
//! word.

use phone_verify_plugin_host::code;
use serde_json::json;

use super::shelf::Shelf;

#[test]
fn every_faulty_option_is_told_before_any_code_runs() {
    let shelf = Shelf::with(&["villain"]);
    let refusals = shelf
        .load(
            "villain.VillainBackend",
            &json!({"SECERT": "s3cret-value", "constructor": " ", "code": "1", "CODE": "2"}),
        )
        .unwrap_err();
    let codes: Vec<&str> = refusals.iter().map(|refusal| refusal.code).collect();
    assert_eq!(
        codes,
        [code::OPTION_UNKNOWN, code::OPTION_TWICE, code::OPTION_TYPE],
        "{refusals:?}"
    );
    assert!(!format!("{refusals:?}").contains("s3cret-value"));
    assert_eq!(super::shelf::count(&shelf.staged()), 0);
}

#[test]
fn a_constructor_that_refuses_or_panics_is_told_without_the_secret() {
    let shelf = Shelf::with(&["villain"]);
    let construct = |how: &str| {
        let options = json!({"CONSTRUCTOR": how, "SECRET": "s3cret-value"});
        let refusals = shelf.load("villain.VillainBackend", &options).unwrap_err();
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].code, code::NOT_CONSTRUCTED);
        refusals[0].sentence.clone()
    };
    assert_eq!(
        construct("refuse"),
        "villain.VillainBackend could not be constructed: *** is not a key"
    );
    let sentence = construct("panic");
    assert!(
        sentence.starts_with(
            "villain.VillainBackend could not be constructed: panicked at tests/villain/src/lib.rs:"
        ),
        "{sentence}"
    );
    assert!(sentence.ends_with(": in the constructor"), "{sentence}");
}

#[test]
fn a_backend_that_the_library_lacks_is_refused_with_those_it_has() {
    assert_eq!(
        Shelf::with(&["noop"]).refusal("noop.NopBackend"),
        (
            code::UNKNOWN_BACKEND,
            "libnoop.so has no backend NopBackend, only NoopBackend, FixedCodeBackend and LowerCaseCodeBackend; did you mean \
             NoopBackend?; correct BACKEND"
                .to_owned()
        )
    );
}
