//! Whatever a number, a text or an option holds, a parser of the request's format finds exactly that, or nothing is
//! sent.

use phone_verify_plugin_api::{
    ErrorKind,
    serde_json::{self, Value, json},
    testing::{Answer, SentRequest},
};
use proptest::prelude::*;
use roxmltree::Document;

use super::{ALICE, TEXT, only_request, set_up};

/// Texts of all kinds, and those that mean something in the formats of requests.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\"",
        "\\",
        "'",
        "<",
        ">",
        "&",
        "&amp;",
        "]]>",
        "<!--",
        "-->",
        "<x>",
        "{",
        "}",
        "{{",
        "{number}",
        "{key}",
        "%",
        "%00",
        "%2e",
        "+",
        " ",
        "=",
        ";",
        "?",
        "#",
        "/",
        "//",
        "..",
        ".",
        "\r\n",
        "\n",
        "\t",
        "\u{0}",
        "\u{7f}",
        "\u{2028}",
        "\u{fffe}",
        "Content-Length: 0\r\n\r\nGET / HTTP/1.1",
        "\", \"to\": \"+1",
        "&to=+1",
        "é",
        "😀",
        "\u{202e}",
        "</text><to>1</to>",
    ]);
    prop_oneof![
        ".*",
        prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat()),
    ]
}

/// What a place of a request holds, decoded by a parser of its format.
type Found = fn(&SentRequest) -> (String, String);

/// Each place with the options that put number and text there, and its parser.
fn places() -> Vec<(&'static str, Value, Found)> {
    vec![
        (
            "FORM",
            json!({ "FORM": { "a": "1", "to": "{number}", "text": "{message}", "z": "1" } }),
            |request| {
                let fields: Vec<(String, String)> =
                    form_urlencoded::parse(request.body()).into_owned().collect();
                assert_eq!(
                    fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                    ["a", "text", "to", "z"]
                );
                (fields[2].1.clone(), fields[1].1.clone())
            },
        ),
        (
            "QUERY",
            json!({ "FORM": null, "QUERY": { "to": "{number}", "text": "{message}" } }),
            |request| {
                let url = url::Url::parse(request.url()).unwrap();
                assert_eq!(
                    (url.host_str(), url.path(), url.fragment()),
                    (Some("api.provider.example"), "/sms", None)
                );
                let fields: Vec<(String, String)> = url.query_pairs().into_owned().collect();
                assert_eq!(fields.len(), 2);
                (fields[1].1.clone(), fields[0].1.clone())
            },
        ),
        (
            "URL",
            json!({ "FORM": null, "URL": "https://api.provider.example/v1/{number}/a/{message}/b?to={number}&text={message}" }),
            |request| {
                let url = url::Url::parse(request.url()).unwrap();
                assert_eq!(
                    (url.host_str(), url.fragment()),
                    (Some("api.provider.example"), None)
                );
                let fields: Vec<(String, String)> = url.query_pairs().into_owned().collect();
                let steps: Vec<String> = url
                    .path_segments()
                    .unwrap()
                    .map(|step| {
                        percent_encoding::percent_decode_str(step)
                            .decode_utf8()
                            .unwrap()
                            .into_owned()
                    })
                    .collect();
                assert_eq!((steps.len(), fields.len()), (5, 2), "{request:?}");
                assert_eq!([&steps[0], &steps[2], &steps[4]], ["v1", "a", "b"]);
                assert_eq!((&steps[1], &steps[3]), (&fields[0].1, &fields[1].1));
                (steps[1].clone(), steps[3].clone())
            },
        ),
        (
            "JSON",
            json!({ "FORM": null, "JSON": { "messages": [{ "to": ["{number}"], "text": "{message}", "n": 1 }] } }),
            |request| {
                let body: Value = serde_json::from_slice(request.body()).unwrap();
                let message = &body["messages"][0];
                assert_eq!(
                    (message.as_object().unwrap().len(), &message["n"]),
                    (3, &json!(1))
                );
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(&message["to"][0]), text(&message["text"]))
            },
        ),
        (
            "XML",
            json!({ "FORM": null, "XML": "<sms to=\"{number}\"><text>{message}</text></sms>" }),
            |request| {
                let body = std::str::from_utf8(request.body()).unwrap();
                let document = Document::parse(body).unwrap();
                let sms = document.root_element();
                assert_eq!(
                    document.descendants().filter(roxmltree::Node::is_element).count(),
                    2
                );
                let text = sms.first_element_child().unwrap().text().unwrap_or_default();
                (sms.attribute("to").unwrap().to_owned(), text.to_owned())
            },
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_is_found_as_it_was_in_every_place(number in texts(), text in texts()) {
        for (place, options, found) in places() {
            let (host, backend) = set_up(&options);
            host.answer(Answer::new(200));
            match backend.send_sms(&number, &text) {
                Ok(_) => {
                    let request = only_request(&host);
                    prop_assert_eq!(found(&request), (number.clone(), text.clone()), "{}", place);
                }
                // What a format cannot carry at all is not sent.
                Err(error) => {
                    prop_assert!(["URL", "XML"].contains(&place), "{place}: {error}");
                    prop_assert_eq!(error.kind(), ErrorKind::ContentRejected);
                    prop_assert!(host.requests().is_empty());
                }
            }
        }
    }

    #[test]
    fn no_value_breaks_out_of_a_header(number in texts()) {
        let (host, backend) = set_up(&json!({ "HEADERS": { "X-To": "<{number}>" } }));
        host.answer(Answer::new(200));
        match backend.send_sms(&number, TEXT) {
            Ok(_) => {
                let expected = format!("<{number}>");
                let request = only_request(&host);
                prop_assert_eq!(request.header("x-to"), Some(expected.as_str()));
                prop_assert!(number.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
            Err(_) => prop_assert!(host.requests().is_empty()),
        }
    }
}

#[test]
fn what_a_format_cannot_carry_is_refused_for_its_content() {
    let xml = json!({ "FORM": null, "XML": "<s to='{number}'>{message}</s>" });
    let path = json!({ "FORM": null, "URL": "https://api.provider.example/{number}/{message}/send" });
    for (options, text) in [(&xml, "a\u{0}b"), (&path, ".."), (&path, ".")] {
        let (host, backend) = set_up(options);
        let error = backend.send_sms(ALICE, text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ContentRejected, "{text:?}");
        assert!(host.requests().is_empty());
    }
}

#[test]
fn a_number_is_written_as_the_provider_wants_it() {
    let (host, backend) = set_up(&json!({ "FORM": null, "JSON": {
        "e164": "{number}", "digits": "{number_digits}", "msisdn": "{number_digits:number}",
        "country": "{country_code}", "national": "0{national}", "text": "{message}", "braces": "{{}}",
    } }));
    host.answer(Answer::new(200));
    backend.send_sms("+639171234567", TEXT).unwrap();
    assert_eq!(
        only_request(&host).json(),
        json!({
            "e164": "+639171234567", "digits": "639171234567", "msisdn": 639_171_234_567_u64, "country": "63",
            "national": "09171234567", "text": TEXT, "braces": "{}",
        })
    );
}

#[test]
fn a_provider_is_told_of_unicode_in_its_own_words() {
    let form = json!({ "to": "{number}", "text": "{message}", "type": "{unicode}" });
    for (table, plain, unicode) in [
        (Value::Null, "false", "true"),
        (json!({ "no": "TEXT", "yes": "UNICODE" }), "TEXT", "UNICODE"),
        (json!({ "no": 0, "yes": 2 }), "0", "2"),
    ] {
        let (host, backend) = set_up(&json!({ "FORM": form, "UNICODE": table }));
        for (text, expected) in [("Código: ñ", "true"), ("Cena 5€ {1}", "false"), ("Код 1", "true")] {
            host.answer(Answer::new(200));
            backend.send_sms(ALICE, text).unwrap();
            let expected = if expected == "true" { unicode } else { plain };
            assert_eq!(
                only_request(&host).form("type").as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }
}

#[test]
fn the_method_follows_the_body_unless_it_is_set() {
    for (changes, method, media_type) in [
        (json!({}), "POST", Some("application/x-www-form-urlencoded")),
        (
            json!({ "METHOD": "put" }),
            "PUT",
            Some("application/x-www-form-urlencoded"),
        ),
        (
            json!({ "FORM": null, "QUERY": { "a": "{number}{message}" } }),
            "GET",
            None,
        ),
        (
            json!({ "FORM": null, "METHOD": "POST", "QUERY": { "a": "{number}{message}" } }),
            "POST",
            None,
        ),
        (
            json!({ "FORM": null, "JSON": { "a": "{number}{message}" } }),
            "POST",
            Some("application/json"),
        ),
        (
            json!({ "FORM": null, "XML": "<a>{number}{message}</a>" }),
            "POST",
            Some("application/xml; charset=utf-8"),
        ),
        (
            json!({ "FORM": null, "XML": "<a>{number}{message}</a>", "HEADERS": { "Content-Type": "text/xml" } }),
            "POST",
            Some("text/xml"),
        ),
    ] {
        let (host, backend) = set_up(&changes);
        host.answer(Answer::new(200));
        backend.send_sms(ALICE, TEXT).unwrap();
        let request = only_request(&host);
        assert_eq!(
            (request.method(), request.header("content-type")),
            (method, media_type)
        );
    }
}

#[test]
fn credentials_go_where_the_options_put_them() {
    for (changes, header, value) in [
        (
            json!({ "BASIC_AUTH": "{user}:{password}" }),
            "authorization",
            "Basic dGhlLXVzZXI6dGhlLXBhc3N3b3Jk",
        ),
        (
            json!({ "HEADERS": { "Authorization": "Bearer {key}" } }),
            "authorization",
            "Bearer a-secret-key",
        ),
        (
            json!({ "HEADERS": { "X-API-Key": "{key}" } }),
            "x-api-key",
            "a-secret-key",
        ),
    ] {
        let (host, backend) = set_up(&changes);
        host.answer(Answer::new(200));
        backend.send_sms(ALICE, TEXT).unwrap();
        assert_eq!(only_request(&host).header(header), Some(value));
    }
    let (host, backend) =
        set_up(&json!({ "URL": "https://api.provider.example/sms?v=1", "QUERY": { "k": "{key}" } }));
    host.answer(Answer::new(200));
    backend.send_sms(ALICE, TEXT).unwrap();
    assert_eq!(
        only_request(&host).url(),
        "https://api.provider.example/sms?v=1&k=a-secret-key"
    );
}

#[test]
fn each_attempt_of_one_sms_has_the_same_key() {
    let (host, backend) =
        set_up(&json!({ "HEADERS": { "Idempotency-Key": "{message_key}", "X-Nonce": "{nonce}" } }));
    host.answer(Answer::new(200)).answer(Answer::new(200));
    backend.send_sms(ALICE, TEXT).unwrap();
    backend.send_sms(ALICE, TEXT).unwrap();
    let requests = host.requests();
    assert_eq!(
        requests[0].header("idempotency-key"),
        requests[1].header("idempotency-key")
    );
    assert_ne!(requests[0].header("x-nonce"), requests[1].header("x-nonce"));
}
