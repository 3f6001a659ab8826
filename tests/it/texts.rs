//! What the SMS says: codes of letters, and texts by language.

use phone_verify_tests::{
    gateways::{Gateway, Nexmo},
    site::Site,
};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";

/// An installation that sends through Nexmo.
async fn site() -> (Gateway<Nexmo>, Site) {
    let gateway = Gateway::<Nexmo>::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    (gateway, site)
}

#[tokio::test]
async fn a_code_of_letters_may_be_typed_in_lower_case() {
    let (gateway, mut site) = site().await;
    site.set("phone_verification", "SECURITY_CODE_ALPHABET", "letters")
        .set("phone_verification", "TOKEN_LENGTH", 8)
        .set("phone_verification", "MESSAGE", "{security_code}");
    let daemon = site.serve();
    let registered = daemon.register(NUMBER).await;
    let code = gateway.sms_to(NUMBER).await.text;
    assert!(
        code.len() == 8
            && code
                .bytes()
                .all(|letter| b"BCDFGHJKLMNPQRSTVWXZ".contains(&letter)),
        "{code}"
    );
    let session = registered.session_token();
    let wrong = if code == "BBBBBBBB" {
        "CCCCCCCC"
    } else {
        "BBBBBBBB"
    };
    assert_eq!(daemon.verify(NUMBER, session, wrong).await.status, 400);
    let verified = daemon.verify(NUMBER, session, &code.to_lowercase()).await;
    assert_eq!(verified.status, 200, "{verified:?}");
}

#[tokio::test]
async fn each_caller_gets_a_text_in_a_language_that_they_read() {
    let (gateway, mut site) = site().await;
    let texts = [
        ("es", "Código: {security_code}"),
        ("pt_BR", "Código em português: {security_code}"),
    ];
    let texts = texts.map(|(language, text)| (language.to_owned(), text.into()));
    site.set("phone_verification", "MESSAGE", "Code: {security_code}")
        .set("phone_verification", "MESSAGES", toml::Table::from_iter(texts));
    let daemon = site.serve();
    // In the body it goes before the header; the header may be there several times.
    for (n, locale, headers, expected) in [
        (0, None, &["fr, es-419;q=0.5"][..], "Código: "),
        (
            1,
            None,
            &["fr;q=0.9", "pt-br;q=0.8, es;q=0.1"],
            "Código em português: ",
        ),
        (2, Some("pt_BR"), &["es"], "Código em português: "),
        (3, Some("pt"), &["es"], "Código em português: "),
        (4, None, &[], "Code: "),
        (5, None, &["\u{e9}", "es"], "Código: "),
        // The text that is sent anyway is in a language too.
        (6, None, &["en-US,en;q=0.9,es;q=0.8"], "Code: "),
        (7, Some("en-GB, es;q=0.5"), &["es"], "Code: "),
        (8, None, &["de, es;q=0.5, en;q=0"], "Código: "),
        (9, None, &["es;q=0, *;q=0.5"], "Code: "),
    ] {
        let number = format!("+1347837963{n}");
        let mut body = json!({ "phone_number": number });
        if let Some(locale) = locale {
            body["locale"] = locale.into();
        }
        let mut request = daemon.request("POST", "/v1/verifications").json(&body);
        for header in headers {
            request = request.header("accept-language", *header);
        }
        let answer = daemon.send(request).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let sms = gateway.sms_to(&number).await;
        assert!(sms.text.starts_with(expected), "{headers:?}: {}", sms.text);
        // And when it is sent again, whatever language it was in.
        let resend = format!("/v1/verifications/{}/resend", answer.body["id"].as_str().unwrap());
        let again = daemon.post(&resend, &json!({ "locale": "es-419" })).await;
        assert_eq!(again.status, 200, "{again:?}");
        assert!(gateway.sms_to(&number).await.text.starts_with("Código: "));
    }
}

#[tokio::test]
async fn the_settings_say_which_language_the_text_is_in_that_is_sent_anyway() {
    let (gateway, mut site) = site().await;
    let english = toml::Table::from_iter([("en".to_owned(), "Code: {security_code}".into())]);
    site.set("phone_verification", "MESSAGE", "Code: {security_code}")
        .set("phone_verification", "MESSAGES", english);
    let warning = "MESSAGES en is in the language that MESSAGE is in by LANGUAGE, en";
    let checked = site.run(&["check", "--json"]).json();
    assert_eq!(checked["language"], "en");
    assert!(checked["warnings"].to_string().contains(warning), "{checked}");

    site.set("phone_verification", "MESSAGE", "驗證碼：{security_code}")
        .set("phone_verification", "LANGUAGE", "zh-Hant");
    let checked = site.run(&["check"]);
    assert!(checked.stdout.contains("in zh-Hant by LANGUAGE"), "{checked:?}");
    assert!(!checked.stderr.contains(warning), "{checked:?}");
    let daemon = site.serve();
    for (number, languages, expected) in [
        ("+13478379630", "zh-TW,zh;q=0.9,en;q=0.8", "驗證碼："),
        ("+13478379631", "en-US,zh-TW;q=0.5", "Code: "),
        ("+13478379632", "fr", "驗證碼："),
    ] {
        let body = json!({ "phone_number": number });
        let request = daemon.request("POST", "/api/phone/register").json(&body);
        let answer = daemon.send(request.header("accept-language", languages)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = gateway.sms_to(number).await.text;
        assert!(text.starts_with(expected), "{languages}: {text}");
    }
}

#[tokio::test]
async fn a_phone_knows_whose_code_it_is_and_the_operator_what_it_costs() {
    let (gateway, mut site) = site().await;
    site.set("phone_verification", "ORIGIN_HOST", "Example.com")
        .set("phone_verification", "ANDROID_APP_HASH", "FA+9qCX9VSu")
        .set("phone_verification", "MESSAGE", "Your code is {security_code}.")
        .set(
            "phone_verification",
            "MESSAGES",
            toml::Table::from_iter([(
                "ru".to_owned(),
                "Ваш код для входа в приложение: {security_code}".into(),
            )]),
        );
    let checked = site.run(&["check", "--json"]);
    assert_eq!(
        checked.json()["texts"],
        json!([
            { "language": null, "segments": 1, "encoding": "GSM-7", "characters": 53 },
            { "language": "ru", "segments": 2, "encoding": "UCS-2", "characters": 71 },
        ]),
    );
    let warning = "MESSAGES ru is sent in 2 segments";
    let text = site.run(&["check"]);
    assert!(
        text.stdout
            .contains("text      MESSAGE: 1 segment, GSM-7, 53 characters"),
        "{text:?}"
    );
    assert!(text.stderr.contains(warning), "{text:?}");
    assert!(site.run(&["settings"]).stderr.contains(warning));

    let daemon = site.serve();
    daemon.wait_for_log(warning);
    daemon.register(NUMBER).await;
    let sms = gateway.sms_to(NUMBER).await;
    let code = &sms.text["Your code is ".len()..][..6];
    assert_eq!(
        sms.text,
        format!("Your code is {code}.\n@example.com #{code} FA+9qCX9VSu")
    );
}
