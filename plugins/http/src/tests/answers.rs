//! What the backend makes of a provider's answers.

use std::time::Duration;

use phone_verify_plugin_api::{
    Error, ErrorKind,
    serde_json::{Value, json},
    testing::Answer,
};

use super::{ALICE, TEXT, set_up};

/// The message id, or the failure, that an answer means by these options.
fn judged(changes: &Value, answer: Answer) -> Result<String, Error> {
    let (host, backend) = set_up(changes);
    host.answer(answer);
    backend
        .send_sms(ALICE, TEXT)
        .map(|receipt| receipt.message_id().to_owned())
}

#[test]
fn the_message_id_is_where_the_options_say() {
    let json_body =
        r#"{"a": [{"id": 7}, {"id": "x/1"}], "m": {"79255070602": {"sms_id": "s-1"}}, "n/m": "n", "e": ""}"#;
    let xml_body =
        "<?xml version=\"1.0\"?><r xmlns='urn:a'><m><id>1</id></m><m s='ok'><id> 2&amp;3 </id></m></r>";
    let text_body = "OK: \"m-1\", balance=12.5\r\n second line \n";
    for (place, body, id) in [
        ("/a/0/id", json_body, Some("7")),
        ("/a/1/id", json_body, Some("x/1")),
        ("/a/*/id", json_body, Some("7")),
        ("/m/*/sms_id", json_body, Some("s-1")),
        ("/n~1m", json_body, Some("n")),
        ("/missing /a/0/id", json_body, Some("7")),
        ("/e", json_body, None),
        ("/a/9/id", json_body, None),
        ("/r/m/id", xml_body, Some("1")),
        ("/r/m/1/id", xml_body, Some("2&3")),
        ("/r/m/1/@s", xml_body, Some("ok")),
        ("/r/*/id", xml_body, Some("1")),
        ("/r/x", xml_body, None),
        ("/r/m", "<r><m>1</r>", None),
        ("word:2", text_body, Some("m-1")),
        ("word:4", text_body, Some("12.5")),
        ("line:2", text_body, Some("second line")),
        ("line:3", text_body, None),
        ("text", " m-7\n", Some("m-7")),
        ("header:X-Message-Id", "", Some("h-1")),
        ("header:X-Other", "", None),
    ] {
        let answer = Answer::new(200).header("x-message-id", "h-1").body(body);
        match (judged(&json!({ "MESSAGE_ID": place }), answer), id) {
            (Ok(found), Some(id)) => assert_eq!(found, id, "{place}"),
            // The provider took the request, so the SMS may have been sent.
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{place}"),
            (found, _) => panic!("{place} in {body}: {found:?}"),
        }
    }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let options = json!({
        "ANSWERS": [
            { "status": [200, "202-204"], "fields": { "/status": "OK" }, "class": "accepted" },
            { "fields": { "/error/code": [10, 11] }, "class": "invalid_number" },
            { "fields": { "/error/text": "*credit*", "/error/code": "*" }, "class": "no_credit" },
            { "status": "400-499", "fields": { "text": "*spam*" }, "class": "content_rejected" },
            { "status": 418, "class": "opted_out" },
        ],
        "ERROR_CODE": "/error/code", "ERROR_TEXT": "/error/text",
    });
    for (status, body, kind, code) in [
        (200, r#"{"status": "OK"}"#, None, ""),
        (203, r#"{"status": "ok"}"#, None, ""),
        // A success by its status alone is none.
        (
            200,
            r#"{"status": "queued"}"#,
            Some(ErrorKind::OutcomeUnknown),
            "provider_http_200",
        ),
        (
            201,
            r#"{"status": "OK"}"#,
            Some(ErrorKind::OutcomeUnknown),
            "provider_http_201",
        ),
        (
            200,
            r#"{"error": {"code": 11}}"#,
            Some(ErrorKind::InvalidNumber),
            "provider_11",
        ),
        (
            400,
            r#"{"error": {"code": "10"}}"#,
            Some(ErrorKind::InvalidNumber),
            "provider_10",
        ),
        (
            400,
            r#"{"error": {"code": 1, "text": "No Credit left"}}"#,
            Some(ErrorKind::NoCredit),
            "provider_1",
        ),
        (
            400,
            r#"{"error": {"text": "No Credit left"}}"#,
            Some(ErrorKind::Internal),
            "provider_http_400",
        ),
        (
            422,
            "This looks like SPAM",
            Some(ErrorKind::ContentRejected),
            "provider_http_422",
        ),
        (
            500,
            "This looks like SPAM",
            Some(ErrorKind::OutcomeUnknown),
            "provider_http_500",
        ),
        (418, "", Some(ErrorKind::OptedOut), "provider_http_418"),
        (401, "", Some(ErrorKind::AuthFailed), "provider_http_401"),
        (503, "", Some(ErrorKind::Transient), "provider_http_503"),
        (302, "", Some(ErrorKind::Config), "provider_http_302"),
    ] {
        let found = judged(&options, Answer::new(status).body(body));
        match (found, kind) {
            (Ok(_), None) => {}
            (Err(error), Some(kind)) => {
                assert_eq!((error.kind(), error.code()), (kind, code), "{status} {body}");
                assert_eq!(error.http_status(), Some(status));
            }
            (found, _) => panic!("{status} {body}: {found:?}"),
        }
    }
}

#[test]
fn an_error_has_the_providers_words_but_not_more_of_them_than_a_line() {
    let options = json!({ "ERROR_TEXT": "/text", "ERROR_CODE": "/code" });
    let body = json!({ "text": "No such\u{7} route".to_owned() + &"x".repeat(500), "code": "E 1\n" });
    let error = judged(&options, Answer::new(400).json(&body)).unwrap_err();
    assert_eq!(error.code(), "provider_E1");
    assert!(
        error.message().contains("with code E1 (HTTP 400): No such"),
        "{error}"
    );
    assert!(error.message().len() < 300, "{error}");
}

#[test]
fn the_throttle_says_how_long_to_wait() {
    let rule = json!([{ "status": 200, "class": "accepted" }, { "status": 420, "class": "throttled" }]);
    let options = json!({ "ANSWERS": rule, "RETRY_AFTER": "/wait header:x-wait" });
    for (answer, wait) in [
        (Answer::new(420).body(r#"{"wait": 1.5}"#), Some(1500)),
        (Answer::new(420).header("x-wait", "3"), Some(3000)),
        (Answer::new(420).retry_after(Duration::from_secs(4)), Some(4000)),
        (Answer::new(429).retry_after(Duration::from_secs(4)), Some(4000)),
        (Answer::new(420).body(r#"{"wait": "soon"}"#), None),
        (Answer::new(420).body(r#"{"wait": -1}"#), None),
        (Answer::new(420).body(r#"{"wait": 1e300}"#), None),
    ] {
        let error = judged(&options, answer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(error.retry_after(), wait.map(Duration::from_millis));
    }
    for (status, kind, is_told) in [
        (503, ErrorKind::Transient, true),
        (401, ErrorKind::AuthFailed, false),
    ] {
        let wait = Duration::from_secs(4);
        let error = judged(&options, Answer::new(status).retry_after(wait)).unwrap_err();
        let told = (error.kind(), error.retry_after());
        assert_eq!(told, (kind, is_told.then_some(wait)));
    }
}

#[test]
fn an_answer_that_does_not_come_is_what_the_host_says_of_it() {
    for (answer, kind) in [
        (Answer::no_connection(), ErrorKind::Transient),
        (Answer::no_answer_in_time(), ErrorKind::OutcomeUnknown),
        (Answer::connection_reset(), ErrorKind::OutcomeUnknown),
    ] {
        assert_eq!(judged(&json!({}), answer).unwrap_err().kind(), kind);
    }
}
