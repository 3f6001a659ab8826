//! Options, from the table of the settings to the author's struct.

use std::time::Duration;

use phone_verify_plugin_api::{__private::OptionReader, Error, ErrorKind, Options, Secret};

/// One option of each kind.
#[derive(Debug, Options)]
struct Everything {
    /// The account's
    /// API key.
    key: Secret,
    #[option(name = "FROM", alias = "sender", example = "+1232328372987")]
    origin: String,
    #[option(default = "https://acme.example/\"x\"")]
    base_url: String,
    #[option(default = 1_000)]
    max_parts: u16,
    #[option(default = -5)]
    offset: i32,
    #[option(default = true)]
    unicode: bool,
    #[option(default = 10, help = "How long to wait.")]
    patience: Duration,
    routes: Option<Vec<String>>,
    #[option(secret)]
    sandbox_token: Option<String>,
}

fn read(json: &str) -> Result<Everything, Error> {
    Everything::read(OptionReader::new(json, Everything::FIELDS))
}

fn problems(json: &str) -> Vec<String> {
    let error = read(json).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.message().split("; ").map(str::to_owned).collect()
}

#[test]
fn what_is_left_out_has_its_default() {
    let options = read(r#"{"key": "k3y", "from": "Acme"}"#).unwrap();
    assert_eq!((options.key.expose(), options.origin.as_str()), ("k3y", "Acme"));
    assert_eq!(options.base_url, "https://acme.example/\"x\"");
    assert_eq!((options.max_parts, options.offset), (1000, -5));
    assert!(options.unicode);
    assert_eq!(options.patience, Duration::from_secs(10));
    assert_eq!((options.routes, options.sandbox_token), (None, None));
}

#[test]
fn keys_are_matched_without_regard_to_case_and_by_alias() {
    let options = read(
        r#"{"KEY": "k3y", "Sender": "Acme", "base-url": "https://b.example", "MAX_PARTS": "2", "unicode": "False",
            "Routes": ["a", "b"]}"#,
    )
    .unwrap();
    assert_eq!(options.origin, "Acme");
    assert_eq!(options.base_url, "https://b.example");
    assert_eq!(options.max_parts, 2);
    assert!(!options.unicode);
    assert_eq!(options.routes.unwrap(), ["a", "b"]);
}

#[test]
fn a_sender_of_digits_needs_no_quotes() {
    assert_eq!(read(r#"{"key": "k", "from": 12345}"#).unwrap().origin, "12345");
}

#[test]
fn every_fault_is_told_at_once_by_name() {
    assert_eq!(
        problems(
            r#"{"max_parts": 70000, "offset": "far", "patience": "soon", "unicode": 1, "routes": "a", "kee": "k3y"}"#
        ),
        [
            "option KEY is missing",
            "option FROM is missing",
            "option MAX_PARTS must be a whole number from 0 to 65_535",
            "option OFFSET must be a whole number from -2_147_483_648 to 2_147_483_647",
            "option UNICODE must be true or false",
            "option PATIENCE must be a whole number of seconds",
            "option ROUTES must be a list",
            "option KEE is unknown (there are KEY, FROM, BASE_URL, MAX_PARTS, OFFSET, UNICODE, PATIENCE, ROUTES, \
             SANDBOX_TOKEN)",
        ]
    );
}

#[test]
fn a_key_without_letters_belongs_to_no_option() {
    let faults = problems(r#"{"key": "k", "from": "a", "": "x"}"#);
    assert!(faults[0].starts_with("option  is unknown"), "{}", faults[0]);
}

#[test]
fn where_there_are_no_options_each_is_unknown() {
    let error = <()>::read(OptionReader::new(r#"{"key": "k"}"#, <()>::FIELDS)).unwrap_err();
    assert_eq!(error.message(), "option KEY is unknown (there are none)");
}

#[test]
fn two_spellings_of_one_option_are_refused() {
    assert_eq!(
        problems(r#"{"key": "k", "from": "a", "sender": "b"}"#),
        ["option FROM is given more than once"]
    );
}

#[test]
fn an_empty_text_is_no_value() {
    assert_eq!(
        problems(r#"{"key": " ", "from": "a"}"#),
        ["option KEY must be a text that is not empty"]
    );
}

#[test]
fn options_that_are_no_table_are_refused() {
    assert_eq!(problems("[1]")[0], "the options are not a table");
}

#[test]
fn no_secret_is_repeated_or_shown() {
    let faults = problems(r#"{"key": ["hush-hush"], "from": "a"}"#);
    assert_eq!(faults, ["option KEY must be a text"]);
    let options = read(r#"{"key": "hush-hush", "from": "a"}"#).unwrap();
    assert!(!format!("{options:?}").contains("hush"));
}

#[test]
fn the_manifest_describes_each_option() {
    let [key, from, base_url, .., routes, sandbox_token] = Everything::FIELDS else {
        panic!("there are nine options");
    };
    assert_eq!((key.name, key.help), ("KEY", "The account's API key."));
    assert!(key.required && key.secret && sandbox_token.secret && !from.secret);
    assert_eq!((from.name, from.alias), ("FROM", "sender"));
    assert!(!base_url.required && !routes.required);
    assert_eq!(base_url.default, r#""https://acme.example/\"x\"""#);
    assert_eq!((base_url.value_type, routes.value_type), ("string", "list"));
}
