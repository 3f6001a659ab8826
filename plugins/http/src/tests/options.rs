//! Wrong options are found when the backend is constructed, all at once, each by its name and with what to do.

use phone_verify_plugin_api::{
    ErrorKind, Options,
    serde_json::{Value, json},
};

use super::{refusal, set_up};
use crate::{HttpOptions, rules::classes, values::Name};

/// Each of these changes is refused with a sentence that has these words.
fn assert_refused(cases: &[(Value, &str)]) {
    for (changes, said) in cases {
        let error = refusal(changes);
        assert_eq!((error.kind(), error.code()), (ErrorKind::Config, "options"));
        assert!(
            error.message().contains(said),
            "{said:?} is not in: {}",
            error.message()
        );
    }
}

#[test]
fn a_wrong_part_of_the_request_is_told_by_name_with_what_to_do() {
    assert_refused(&[
        (json!({ "URL": null }), "option URL is missing"),
        (json!({ "URL": "api.example" }), "option URL must be an address"),
        (
            json!({ "URL": "https://{key}/" }),
            "option URL has a placeholder in its host",
        ),
        (
            json!({ "URL": "https://x.example/?token=abc" }),
            "option URL has the value of token in plain",
        ),
        (json!({ "METHOD": "PSOT" }), "did you mean POST?"),
        (
            json!({ "METHOD": "GET" }),
            "option METHOD is GET, which has no body",
        ),
        (json!({ "JSON": { "a": 1 } }), "options FORM, JSON are all set"),
        (
            json!({ "FORM": { "to": "{number}", "text": "{mesage}" } }),
            "option FORM.text has an unknown placeholder {mesage}",
        ),
        (
            json!({ "FORM": { "to": "{number}", "text": "{mesage}" } }),
            "did you mean message?",
        ),
        (
            json!({ "FORM": { "to": "{number}", "text": ["{message}"] } }),
            "option FORM.text must be a text",
        ),
        (json!({ "FORM": { "to": "{number}" } }), "no option has {message}"),
        (
            json!({ "FORM": { "text": "{message}" } }),
            "no option has {number} or {number_digits}",
        ),
        (
            json!({ "FORM": null, "JSON": { "a": { "b": ["{numbr}"] } } }),
            "option JSON.a.b has an unknown placeholder {numbr}",
        ),
        (
            json!({ "FORM": null, "JSON": { "a": "{message:number}" } }),
            "option JSON.a has a placeholder that cannot be",
        ),
        (
            json!({ "FORM": null, "XML": "<a>{number}" }),
            "option XML is not well-formed XML",
        ),
    ]);
}

#[test]
fn wrong_headers_and_credentials_are_told_by_name_with_what_to_do() {
    assert_refused(&[
        (
            json!({ "SENDER": null, "QUERY": { "from": "{sender}" } }),
            "option SENDER is missing, which QUERY.from has",
        ),
        (
            json!({ "KEY": null, "HEADERS": { "X-Key": "{key}" } }),
            "option KEY is missing, which HEADERS.X-Key has",
        ),
        (
            json!({ "HEADERS": { "X-Text": "{message}" } }),
            "option HEADERS.X-Text has {message}, but a header",
        ),
        (
            json!({ "HEADERS": { "Authorization": "Bearer abc" } }),
            "option HEADERS.Authorization has the value of",
        ),
        (
            json!({ "HEADERS": { "X-Api-Key": "abc" } }),
            "option HEADERS.X-Api-Key has the value of X-Api-Key in plain",
        ),
        (
            json!({ "HEADERS": { "a b": "c" } }),
            "option HEADERS has a name that no header can have",
        ),
        (
            json!({ "HEADERS": { "a": "b\r\nc: d" } }),
            "option HEADERS.a has a character that no header can carry",
        ),
        (
            json!({ "HEADERS": { "Host": "x" } }),
            "option HEADERS.Host is what the HTTP client sets itself",
        ),
        (
            json!({ "HEADERS": { "X-A": "1", "x-a": "2" } }),
            "is set twice, with different capitalisation",
        ),
        (
            json!({ "KEY": "é", "HEADERS": { "X-Key": "{key}" } }),
            "option KEY has a character that no header can carry",
        ),
        (
            json!({ "QUERY": { "password": "abc" } }),
            "option QUERY.password has the value of password in plain",
        ),
        (
            json!({ "BASIC_AUTH": "me:mine" }),
            "option BASIC_AUTH has no placeholder",
        ),
        (
            json!({ "BASIC_AUTH": "{user}:{password}", "HEADERS": { "authorization": "{key}" } }),
            "options BASIC_AUTH and HEADERS.Authorization are both set",
        ),
        (
            json!({ "HEADERS": { "a": "{access_token}" } }),
            "option TOKEN_URL is missing, whose token HEADERS.a has",
        ),
        (
            json!({ "TOKEN_FORM": { "scope": "sms" } }),
            "option TOKEN_URL is missing, to which",
        ),
        (
            json!({ "TOKEN_URL": "https://x.example/{key}" }),
            "option TOKEN_URL has a placeholder",
        ),
        (
            json!({ "TOKEN_URL": "https://x.example/", "TOKEN_FORM": { "a": "{number}" } }),
            "options TOKEN_FORM and TOKEN_BASIC_AUTH can have {user}",
        ),
    ]);
}

#[test]
fn wrong_rules_for_answers_are_told_by_name_with_what_to_do() {
    let accepted = json!({ "status": 200, "class": "accepted" });
    assert_refused(&[
        (
            json!({ "UNICODE": { "no": "0", "yess": "1" } }),
            "option UNICODE has yess",
        ),
        (json!({ "ANSWERS": null }), "option ANSWERS is missing"),
        (
            json!({ "ANSWERS": ["x"] }),
            "option ANSWERS must be a list of tables",
        ),
        (
            json!({ "ANSWERS": [] }),
            "option ANSWERS has no rule with class = \"accepted\"",
        ),
        (
            json!({ "ANSWERS": [accepted, { "status": 400 }] }),
            "option ANSWERS, rule 2 of 2, has no class",
        ),
        (
            json!({ "ANSWERS": [accepted, { "clas": "internal" }] }),
            "did you mean class?",
        ),
        (
            json!({ "ANSWERS": [accepted, { "class": "nocredit" }] }),
            "did you mean no_credit?",
        ),
        (
            json!({ "ANSWERS": [{ "status": "2xx", "class": "accepted" }] }),
            "must have an HTTP status such as 200",
        ),
        (
            json!({ "ANSWERS": [{ "status": "299-200", "class": "accepted" }] }),
            "must have an HTTP status such as 200",
        ),
        (
            json!({ "ANSWERS": [{ "fields": "x", "class": "accepted" }] }),
            "must have a table as fields",
        ),
        (
            json!({ "ANSWERS": [{ "fields": { "status": "0" }, "class": "accepted" }] }),
            "field status must say where",
        ),
        (
            json!({ "ANSWERS": [{ "fields": { "/s": {} }, "class": "accepted" }] }),
            "field /s must be compared with",
        ),
        (
            json!({ "MESSAGE_ID": "id" }),
            "option MESSAGE_ID must say where to look",
        ),
        (
            json!({ "MESSAGE_ID": "line:0" }),
            "option MESSAGE_ID must say where",
        ),
        (json!({ "MESSAGE_ID": "lien:1" }), "did you mean line?"),
        (json!({ "RETRY_AFTER": "headers:x" }), "did you mean header?"),
    ]);
}

#[test]
fn the_readme_has_every_option_placeholder_and_class() {
    let readme = include_str!("../../README.md");
    let options = HttpOptions::FIELDS.iter().map(|field| field.name.to_owned());
    let placeholders = Name::all().map(|name| format!("{{{name}}}"));
    let classes = classes().map(str::to_owned);
    for word in options.chain(placeholders).chain(classes) {
        assert!(readme.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let error = refusal(&json!({
        "URL": "x", "METHOD": "SEND", "FORM": { "a": "{b}" }, "ANSWERS": [{}], "ERROR_CODE": "code",
    }));
    for option in ["URL", "METHOD", "FORM.a", "ANSWERS", "ERROR_CODE"] {
        assert!(error.message().contains(&format!("option {option}")), "{error}");
    }
}

#[test]
fn no_refusal_repeats_a_secret() {
    for changes in [
        json!({ "HEADERS": { "Authorization": "Bearer hunter2-hunter2" } }),
        json!({ "BASIC_AUTH": "me:hunter2-hunter2" }),
        json!({ "FORM": { "key": "{hunter2-hunter2}" } }),
        json!({ "URL": "https://x.example/?apikey=hunter2-hunter2" }),
        json!({ "URL": "https://me:hunter2-hunter2@x.example/" }),
        json!({ "KEY": "hunter2-hunter2\n", "HEADERS": { "X": "{key}" } }),
    ] {
        let error = refusal(&changes).to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn keys_of_rules_may_be_written_in_any_case() {
    let rules: Value = json!([{ "STATUS": 200, "Class": "accepted" }]);
    set_up(&json!({ "ANSWERS": rules, "UNICODE": { "NO": "0", "Yes": "1" } }));
}
