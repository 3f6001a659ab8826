//! The pumping guard of the real daemon. `host/src/verifier/guard_stories.rs` has its edges.

use std::time::Duration;

use axum::{body::Body, http::Request};
use phone_verify::{
    settings::Settings,
    verifier::{Guard, GuardMode},
};
use phone_verify_tests::{
    service::{Rules, Service},
    site::Site,
};
use serde_json::{Value, json};

const AMERICAN: &str = "+13478379634";
const LONDON: &str = "+4420794600";

/// A daemon that sends to no American number, and in London asks for codes to come back.
fn guarded(mode: &str) -> Site {
    let mut site = Site::new();
    site.set("guard", "mode", mode)
        .set("guard", "blocked_countries", vec!["US"]);
    site
}

#[tokio::test]
async fn whoever_pumps_is_refused_and_the_operator_reads_why() {
    let site = guarded("enforce");
    let daemon = site.serve();
    let refused = daemon.register(AMERICAN).await;
    assert_eq!((refused.status, refused.code()), (400, "country_blocked"));
    assert_eq!(
        refused.body["phone_number"],
        json!(["Text messages cannot be sent to this phone number."])
    );
    for n in 10..20 {
        let registered = daemon.register(&format!("{LONDON}{n}")).await;
        assert_eq!(registered.status, 200, "{registered:?}");
    }
    let refused = daemon.register(&format!("{LONDON}20")).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    let native = daemon
        .post("/v1/verifications", &json!({ "phone_number": AMERICAN }))
        .await;
    assert_eq!((native.status, native.code()), (400, "country_blocked"));
    assert_eq!(native.headers["content-type"], "application/problem+json");

    let told = daemon.get("/v1/decisions").await;
    let told = told.body["decisions"].as_array().unwrap();
    let [again, london, american] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (&again["number"], &again["action"]),
        (&json!("+13****34"), &json!("blocked"))
    );
    assert_eq!(american["reasons"], json!(["country_blocked"]));
    assert_eq!(
        (&london["country"], &london["number"]),
        (&json!("GB"), &json!("+44****20"))
    );
    assert_eq!(
        london["reasons"],
        json!(["prefix_unverified", "country_unverified"])
    );
    let newest = daemon.get("/v1/decisions?last=1").await;
    assert_eq!(newest.body["decisions"], json!([again]));
    let faulty = daemon.get("/v1/decisions?last=all").await;
    assert_eq!(
        (faulty.status, faulty.code()),
        (400, "fields_invalid"),
        "{faulty:?}"
    );

    // The command says the same, beside the daemon.
    let ran = site.run(&["decisions", "--json"]);
    assert_eq!(ran.json()["decisions"].as_array().unwrap(), told);
    let ran = site.run(&["decisions", "--last", "2"]);
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:?}");
    assert!(
        ran.stdout
            .contains("+44****20  GB   prefix_unverified country_unverified  blocked"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn whoever_verifies_a_number_of_their_own_again_and_again_may_pump_no_more_for_it() {
    let mut site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    site.set("guard", "mode", "enforce")
        .set("guard", "prefix_unverified_per_hour", 0)
        .set("guard", "prefix_unverified_per_day", 0)
        .set("guard", "country_unverified_per_hour", 0)
        .set("guard", "country_unverified_per_day", 1);
    let daemon = site.serve();
    for _ in 0..20 {
        let own = format!("{LONDON}99");
        let registered = daemon.register(&own).await;
        let verified = daemon.verify(&own, registered.session_token(), "123456").await;
        assert_eq!(verified.status, 200, "{verified:?}");
    }
    assert_eq!(daemon.register(&format!("{LONDON}10")).await.status, 200);
    let refused = daemon.register(&format!("{LONDON}11")).await;
    assert_eq!(
        (refused.status, refused.code()),
        (429, "country_unverified"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_guard_that_only_records_refuses_nothing_until_the_settings_are_reloaded() {
    let mut site = guarded("record_only");
    let daemon = site.serve();
    assert_eq!(daemon.register(AMERICAN).await.status, 200);
    let told = daemon.get("/v1/decisions").await;
    assert_eq!(told.body["decisions"][0]["action"], "allowed", "{told:?}");
    let warned = "blocked_countries refuses nothing while mode is not";
    assert!(site.run(&["check"]).stderr.contains(warned));

    site.set("guard", "mode", "enforce");
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    assert_eq!(daemon.register(AMERICAN).await.code(), "country_blocked");
}

#[tokio::test]
async fn whoever_watches_the_service_is_told_that_codes_do_not_come_back() {
    for (mode, is_alarmed) in [
        (GuardMode::RecordOnly, true),
        (GuardMode::Enforce, true),
        (GuardMode::Off, false),
    ] {
        let rules = Rules {
            guard: Guard {
                mode,
                conversion_alarm_codes: 2,
                ..Settings::defaults().guard
            },
            ..Rules::default()
        };
        let service = Service::start(&rules);
        for number in [AMERICAN, "+13478379635"] {
            let request = Request::post("/api/phone/register").header("content-type", "application/json");
            let body = json!({ "phone_number": number }).to_string();
            let answer = service.answer(request.body(Body::from(body)).unwrap()).await;
            assert_eq!(answer.status(), 200);
        }
        service.clock.advance(rules.expiration + Duration::from_millis(1));
        let answer = service
            .answer(Request::get("/readyz").body(Body::empty()).unwrap())
            .await;
        assert_eq!(answer.status(), 200, "an alarm stops nothing");
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        let alarm =
            "only 0 % of 2 numbers whose codes ended within an hour sent one back: somebody may be pumping";
        let told = if is_alarmed { json!([alarm]) } else { json!([]) };
        assert_eq!(body["warnings"], told, "{mode:?}");
    }
}
