//! The limits of the real daemon with its default settings, and what a client is told of one on a clock that the test
//! moves. `host/src/verifier/limit_stories.rs` has their edges.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Request, Response},
};
use phone_verify::{model::Limit, settings::Settings, verifier::RateLimits};
use phone_verify_tests::{
    daemon::{Answer, Daemon},
    service::{Rules, Service},
    site::Site,
};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";

/// An installation with the limits of the defaults.
fn limited() -> Site {
    let mut site = Site::new();
    site.with_defaults_of("limits");
    site
}

fn retry_after(answer: &Answer) -> u64 {
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

async fn register_through(daemon: &Daemon, forwarded_for: &str, number: &str) -> Answer {
    let request = daemon
        .request("POST", "/api/phone/register")
        .header("x-forwarded-for", forwarded_for)
        .json(&json!({ "phone_number": number }));
    daemon.send(request).await
}

#[tokio::test]
async fn a_second_sms_must_be_waited_for_also_after_a_restart_and_by_another_process() {
    let site = limited();
    let daemon = site.serve();
    let registered = daemon.register(NUMBER).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let refused = daemon.register(NUMBER).await;
    assert_eq!((refused.status, refused.code()), (429, "resend_cooldown"));
    assert!((1..=60).contains(&retry_after(&refused)), "{refused:?}");
    assert_eq!(
        refused.body["detail"],
        "A limit has been reached. Please wait before trying again."
    );
    // A command is another process on the database.
    let ran = site.run(&["register", NUMBER]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("the limit resend_cooldown is reached"),
        "{ran:?}"
    );
    let code = daemon.code_on_console();
    drop(daemon); // kills it
    let daemon = site.serve();
    assert_eq!(daemon.register(NUMBER).await.code(), "resend_cooldown");
    // The code that is pending is as good as ever.
    let verified = daemon.verify(NUMBER, registered.session_token(), &code).await;
    assert_eq!(verified.status, 200, "{verified:?}");
}

#[tokio::test]
async fn an_address_has_ten_an_hour_and_cannot_invent_another() {
    let site = limited();
    let daemon = site.serve();
    for n in 0..10 {
        let answer = register_through(
            &daemon,
            &format!("192.0.2.{n}"),
            &format!("+1347837{:04}", 1000 + n),
        )
        .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let refused = register_through(&daemon, "192.0.2.99", "+13478372000").await;
    assert_eq!((refused.status, refused.code()), (429, "address_per_hour"));
    assert!((3500..=3600).contains(&retry_after(&refused)), "{refused:?}");
}

#[tokio::test]
async fn a_trusted_proxy_says_whose_request_it_is() {
    let mut site = limited();
    site.set("server", "trusted_proxies", vec!["127.0.0.0/8"]);
    site.set("limits", "address_per_hour", 1);
    let daemon = site.serve();
    for (forwarded_for, number, status) in [
        ("192.0.2.1", "+13478371001", 200),
        ("192.0.2.1", "+13478371002", 429),
        // What stands before it was written by the client.
        ("198.51.100.1, 192.0.2.1", "+13478371003", 429),
        ("192.0.2.2", "+13478371004", 200),
        ("2001:db8:1:2::1", "+13478371005", 200),
        ("2001:db8:1:2:ffff::9", "+13478371006", 429),
    ] {
        let answer = register_through(&daemon, forwarded_for, number).await;
        assert_eq!(answer.status, status, "{forwarded_for}: {answer:?}");
    }
}

/// The default of that limit alone, with room for one SMS or one wrong code.
fn only(code: &str) -> RateLimits {
    let defaults = Settings::defaults().limits;
    let pick = |limits: &Arc<[Limit]>, max: u64| -> Arc<[Limit]> {
        let limit = limits.iter().find(|limit| limit.code == code);
        limit.map(|limit| Limit { max, ..*limit }).into_iter().collect()
    };
    RateLimits {
        number: pick(&defaults.number, 1),
        failed_checks: pick(&defaults.failed_checks, 1),
        address: Arc::default(),
        country: pick(&defaults.country, 1),
        service: pick(&defaults.service, 1),
        spend: pick(&defaults.spend, defaults.prices.default),
        prices: defaults.prices,
    }
}

async fn post(service: &Service, path: &str, body: &Value) -> Response<Vec<u8>> {
    let request = Request::post(path).header("content-type", "application/json");
    service
        .answer(request.body(Body::from(body.to_string())).unwrap())
        .await
}

/// The limit's name and its wait in seconds, as both doors tell it.
async fn told(service: &Service) -> (String, u64) {
    let body = json!({ "phone_number": NUMBER });
    let mut told = Vec::new();
    for path in ["/api/phone/register", "/v1/verifications"] {
        let refused = post(service, path, &body).await;
        assert_eq!(refused.status(), 429, "{path}");
        let wait = refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let body: Value = serde_json::from_slice(refused.body()).unwrap();
        told.push((body["code"].as_str().unwrap().to_owned(), wait));
    }
    assert_eq!(told[0], told[1]);
    told.remove(0)
}

#[tokio::test]
async fn a_limit_is_told_by_name_with_its_wait_to_the_second_at_both_doors() {
    const MILLISECOND: Duration = Duration::from_millis(1);
    for (code, window) in [
        ("resend_cooldown", 60),
        ("number_per_10_minutes", 600),
        ("number_per_hour", 3600),
        ("number_per_day", 86_400),
        ("failed_checks_per_hour", 3600),
        ("failed_checks_per_day", 86_400),
        ("country_per_hour", 3600),
        ("country_per_day", 86_400),
        ("service_per_hour", 3600),
        ("service_per_day", 86_400),
        ("spend_per_hour", 3600),
        ("spend_per_day", 86_400),
    ] {
        let service = Service::start(&Rules {
            limits: only(code),
            ..Rules::default()
        });
        let body = json!({ "phone_number": NUMBER });
        let begun = post(&service, "/v1/verifications", &body).await;
        assert_eq!(begun.status(), 201, "{code}");
        let begun: Value = serde_json::from_slice(begun.body()).unwrap();
        let this = format!("/v1/verifications/{}", begun["id"].as_str().unwrap());
        let is_of_checks = code.starts_with("failed_checks");
        if is_of_checks {
            let wrong = json!({ "session_token": begun["session_token"], "security_code": "wrong" });
            assert_eq!(
                post(&service, &format!("{this}/check"), &wrong).await.status(),
                400
            );
        }
        assert_eq!(told(&service).await, (code.to_owned(), window));
        // A wrong code keeps nobody from having the same code sent again.
        let again = post(&service, &format!("{this}/resend"), &json!({})).await;
        assert_eq!(again.status(), if is_of_checks { 200 } else { 429 }, "{code}");
        // Rounded up to whole seconds, so that whoever waits as long as it is told is let in.
        let window = Duration::from_secs(window);
        let mut left = window;
        for (next, seconds) in [
            (window.saturating_sub(MILLISECOND), window.as_secs()),
            (Duration::from_millis(1001), 2),
            (Duration::from_secs(1), 1),
            (MILLISECOND, 1),
        ] {
            service.clock.advance(left.saturating_sub(next));
            left = next;
            assert_eq!(told(&service).await, (code.to_owned(), seconds));
        }
        service.clock.advance(left);
        let begun = post(&service, "/api/phone/register", &body).await;
        assert_eq!(begun.status(), 200, "{code}");
    }
}

#[tokio::test]
async fn a_faulty_limit_is_told_with_its_line() {
    let mut site = limited();
    site.set("limits", "spend_per_day", "much");
    site.set("limits", "number_per_hour", -1);
    let prices: toml::Table = "XX = 1.0\nUS = 0.0000001".parse().unwrap();
    site.set("limits", "prices", prices);
    site.set("server", "trusted_proxies", vec!["10.0.0.0/33"]);
    let ran = site.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for needed in [
        "[limits] spend_per_day must be an amount from 0 to 1000000000, such as 0.05, not a text",
        "[limits] number_per_hour must be from 0 to 1000000000, not -1",
        "[limits] prices.XX is not an ISO 3166 country code",
        "[limits] prices.US must be an amount",
        "[server] trusted_proxies must be a list of addresses and networks such as 10.0.0.0/8, not 10.0.0.0/33",
    ] {
        assert!(ran.stderr.contains(needed), "{needed} is not in {}", ran.stderr);
    }
}
