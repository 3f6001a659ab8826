//! What people type and paste: digits of their own script, groups, and marks that nobody sees. It means the same at
//! every entrance, and a code that was typed rightly costs no attempt.

use phone_verify_tests::{daemon::Daemon, gateways::NexmoGateway, site::Site};
use serde_json::{Value, json};

/// `123456` as people type and paste it.
const CODES: [&str; 12] = [
    "123456",
    "١٢٣٤٥٦",
    "۱۲۳۴۵۶",
    "१२३४५६",
    "１２３４５６",
    "123 456",
    "123\u{a0}456",
    "123-456",
    "123\u{2011}456",
    "\u{200e}123456\u{feff}",
    "1\u{200b}2\u{2060}3456",
    "\u{202a}123456\u{202c}.",
];

/// `+13478379634` the same.
const NUMBERS: [&str; 8] = [
    "+13478379634",
    "\u{202d}+1 (347) 837-9634\u{202c}",
    "\u{2068}+1 347 837 9634\u{2069}",
    "\u{200e}+1\u{a0}347\u{202f}837\u{2011}9634",
    "+١٣٤٧٨٣٧٩٦٣٤",
    "＋１３４７８３７９６３４",
    "\u{feff}+13478379634",
    "+1 347\u{200b} 837 9634",
];

const NUMBER: &str = "+13478379634";

async fn begin(daemon: &Daemon, number: &str) -> (String, Value) {
    let begun = daemon
        .post("/v1/verifications", &json!({ "phone_number": number }))
        .await;
    assert_eq!(begun.status, 201, "{number:?}: {begun:?}");
    (
        format!("/v1/verifications/{}", begun.body["id"].as_str().unwrap()),
        begun.body,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_and_a_number_are_read_as_they_are_meant_in_both_apis() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let daemon = site.serve();
    for number in NUMBERS {
        let registered = daemon.register(number).await;
        assert_eq!(registered.status, 200, "{number:?}: {registered:?}");
        let verified = daemon.verify(number, registered.session_token(), CODES[0]).await;
        assert_eq!(verified.status, 200, "{number:?}: {verified:?}");
        begin(&daemon, number).await;
    }
    for code in CODES {
        let registered = daemon.register(NUMBER).await;
        let verified = daemon.verify(NUMBER, registered.session_token(), code).await;
        assert_eq!(verified.status, 200, "{code:?}: {verified:?}");

        let (path, begun) = begin(&daemon, NUMBER).await;
        let check = json!({ "session_token": begun["session_token"], "security_code": code });
        let checked = daemon.post(&format!("{path}/check"), &check).await;
        assert_eq!(checked.status, 200, "{code:?}: {checked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_another_code_or_no_number_is_refused() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let daemon = site.serve();
    let wrong = ["123457", "12345", "1234567", "\u{200b}", "-", "①②③④⑤⑥", "l23456"];
    for (code, n) in wrong.into_iter().zip(9600..) {
        let number = format!("+1347837{n}");
        let registered = daemon.register(&number).await;
        let refused = daemon.verify(&number, registered.session_token(), code).await;
        assert_eq!(refused.code(), "security_code_invalid", "{code:?}: {refused:?}");
    }
    for number in [
        "tel:+13478379634",
        "+1 347 837 9634 ext. 5",
        "+1 347 TESTING",
        "+1 347 837 963④",
        "\u{200e}",
    ] {
        let refused = daemon.register(number).await;
        assert_eq!(refused.status, 400, "{number:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_a_backend_made_is_right_however_it_is_typed_also_after_a_resend() {
    for policy in ["same", "new"] {
        let mut site = Site::with_backend("noop.LowerCaseCodeBackend", &json!({}));
        site.set("phone_verification", "RESEND_POLICY", policy);
        let daemon = site.serve();
        for code in ["kx7-trm", "KX7TRM", "Kx7 Trm", "ｋｘ７ｔｒｍ", "\u{200e}kx٧trm"] {
            let (path, begun) = begin(&daemon, NUMBER).await;
            let resent = daemon.post(&format!("{path}/resend"), &json!({})).await;
            assert_eq!(resent.status, 200, "{policy} {resent:?}");
            let check = json!({ "session_token": begun["session_token"], "security_code": code });
            let checked = daemon.post(&format!("{path}/check"), &check).await;
            assert_eq!(checked.status, 200, "{policy} {code:?}: {checked:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_hold_codes_and_numbers_as_their_writer_typed_them() {
    let options = json!({ "KEY": "a1b2c3d4", "SECRET": "s", "FROM": "Acme", "SANDBOX_TOKEN": "٤٢٤ ٢٤٢" });
    let mut site = Site::with_backend("nexmo.NexmoSandboxBackend", &options);
    let numbers: toml::Table =
        "\"\u{202d}+1 347 837-9635\u{202c}\" = { code = \"٨٣٧-٢٦١\", until = 9999-12-31 }"
            .parse()
            .unwrap();
    site.set("phone_verification", "TEST_NUMBERS", numbers);
    let spared = vec!["\u{200e}+1 347".to_owned()];
    site.set("guard", "allow_numbers", spared);
    let daemon = site.serve();
    for (number, code) in [(NUMBER, "424242"), ("+13478379635", "837 261")] {
        let registered = daemon.register(number).await;
        let verified = daemon.verify(number, registered.session_token(), code).await;
        assert_eq!(verified.status, 200, "{number}: {verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_read_numbers_and_codes_like_the_apis() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    for (number, code) in NUMBERS.into_iter().zip(CODES) {
        let registered = site.run(&["register", number, "--json"]);
        assert_eq!(registered.code, Some(0), "{registered:#?}");
        let registered = registered.json();
        let token = registered["session_token"].as_str().unwrap();
        let verified = site.run(&["verify", number, "--session-token", token, "--code", code]);
        assert_eq!(verified.code, Some(0), "{code:?}: {verified:#?}");
    }
    let exported = site.run(&["export", NUMBERS[1], "--json"]).json();
    assert_eq!(exported["phone_number"], NUMBER);
    assert_eq!(exported["verifications"].as_array().unwrap().len(), NUMBERS.len());
    let forgot = site.run(&["forget", NUMBERS[2], "--json"]).json();
    assert_eq!(forgot["records"], NUMBERS.len(), "{forgot}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_numbers_may_come_from_a_spreadsheet() {
    let gateway = NexmoGateway::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    let lines = [
        "\u{feff}# customers",
        NUMBERS[1],
        "\u{200e}",
        "  ",
        NUMBERS[4],
        "\u{200f}+1 347 837 9635",
    ];
    site.write("numbers.txt", lines.join("\r\n"));
    let sent = site.run(&[
        "send",
        "--message",
        "We moved.",
        "--numbers-file",
        "numbers.txt",
        "--json",
    ]);
    assert_eq!(sent.code, Some(0), "{sent:#?}");
    assert_eq!(sent.json()["progress"]["sent"], 2);
    assert_eq!(gateway.inbox().len(), 2);
}
