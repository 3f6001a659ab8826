//! Several backends behind one daemon: routes, failover, and what an operator sees of it.

use phone_verify_tests::{
    gateways::{Behaviour, Gateway, Nexmo, Twilio},
    site::Site,
};
use serde_json::{Value, json};

const AMERICAN: &str = "+13478379634";
const GERMAN: &str = "+4915123456789";

/// An installation with two providers: German numbers go through nexmo and then twilio, all others the other way round.
struct Two {
    site: Site,
    nexmo: Gateway<Nexmo>,
    twilio: Gateway<Twilio>,
}

impl Two {
    async fn start() -> Self {
        let (nexmo, twilio) = (Gateway::<Nexmo>::start().await, Gateway::<Twilio>::start().await);
        let mut site = Site::new();
        for library in ["nexmo", "twilio"] {
            site.install(library);
        }
        site.remove("phone_verification", "BACKEND");
        site.remove("phone_verification", "OPTIONS");
        site.set(
            "backends",
            "first",
            member("nexmo.NexmoBackend", &nexmo.options()),
        );
        site.set(
            "backends",
            "second",
            member("twilio.TwilioBackend", &twilio.options()),
        );
        let routes = json!([
            { "countries": ["DE"], "send": ["first", "second"] },
            { "send": ["second", "first"] },
        ]);
        site.set_list("routes", &routes);
        Self { site, nexmo, twilio }
    }
}

fn member(backend: &str, options: &serde_json::Map<String, Value>) -> toml::Value {
    let member = json!({ "use": backend, "OPTIONS": options });
    toml::Value::try_from(member).unwrap()
}

fn code_in(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_goes_through_the_backends_of_its_route_and_is_verified_whichever_sent_it() {
    let two = Two::start().await;
    let checked = two.site.run(&["check", "--json"]).json();
    let members: Vec<_> = checked["backends"].as_array().unwrap().iter().collect();
    assert_eq!(members.len(), 2, "{checked}");
    assert_eq!(
        checked["routes"],
        json!([["first", "second"], ["second", "first"]])
    );
    let daemon = two.site.serve();

    let registered = daemon.register(GERMAN).await;
    let code = code_in(&two.nexmo.sms_to(GERMAN).await.text);
    let verified = daemon.verify(GERMAN, registered.session_token(), &code).await;
    assert_eq!(verified.status, 200, "{verified:?}");

    // Error 20003 of Twilio: the credentials are refused.
    two.twilio.next(Behaviour::Refuse(20003));
    let begun = daemon
        .post("/v1/verifications", &json!({ "phone_number": AMERICAN }))
        .await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let id = begun.body["id"].as_str().unwrap();
    let code = code_in(&two.nexmo.sms_to(AMERICAN).await.text);
    let tries = begun.body["delivery"]["tries"].clone();
    let tries = if tries.as_array().is_some_and(|tries| tries.len() == 2) {
        tries
    } else {
        daemon.get(&format!("/v1/verifications/{id}")).await.body["delivery"]["tries"].clone()
    };
    assert_eq!(
        [&tries[0]["member"], &tries[0]["class"], &tries[1]["member"]],
        ["second", "auth_failed", "first"],
        "{tries}"
    );
    let check = json!({ "session_token": begun.session_token(), "security_code": code });
    let checked = daemon
        .post(&format!("/v1/verifications/{id}/check"), &check)
        .await;
    assert_eq!(checked.status, 200, "{checked:?}");
    daemon.wait_for_log("given to the next backend");

    let backends = daemon.get("/v1/backends").await.body;
    let told: Vec<_> = backends["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| {
            (
                &backend["member"],
                &backend["messages"]["sent"],
                &backend["messages"]["failed"],
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (&json!("first"), &json!(2), &json!(0)),
            (&json!("second"), &json!(0), &json!(1))
        ]
    );
    let ready = daemon.get("/readyz").await.body;
    assert_eq!(ready["backends"][1]["member"], "second", "{ready}");
}

#[test]
fn the_choice_is_explained_without_sending() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let two = runtime.block_on(Two::start());
    let explained = two.site.run(&["routes", AMERICAN, "--why", "--json"]);
    let told = explained.json();
    assert_eq!(told["route"], 2, "{explained:?}");
    assert_eq!(told["backends"][0]["member"], "second");
    assert_eq!(
        told["why"][0],
        json!({ "route": 1, "taken": false, "fails": "countries" })
    );
    assert!(!explained.stdout.contains(AMERICAN), "{explained:?}");
    let explained = two.site.run(&["routes", GERMAN]);
    assert!(
        explained.stdout.contains(
            "route 1 takes it\n  1. first (nexmo.NexmoBackend)\n  2. second (twilio.TwilioBackend)"
        ),
        "{explained:?}"
    );
    assert_eq!((two.nexmo.requests(), two.twilio.requests()), (0, 0));
}

#[test]
fn what_is_wrong_with_a_fleet_is_told_at_once_and_what_is_odd_is_warned_of() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Two { mut site, nexmo, .. } = runtime.block_on(Two::start());
    let mut options = nexmo.options();
    options.remove("KEY");
    site.set("backends", "first", member("nexmo.NexmoBackend", &options));
    site.set(
        "backends",
        "second",
        member("nowhere.NoBackend", &serde_json::Map::new()),
    );
    let refused = site.run(&["check"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for told in ["[backends.first] ", "[backends.second] "] {
        assert!(refused.stderr.contains(told), "{refused:?}");
    }

    let mut sandbox = nexmo.options();
    sandbox.insert("SANDBOX_TOKEN".into(), json!("123456"));
    site.set(
        "backends",
        "first",
        member("nexmo.NexmoBackend", &nexmo.options()),
    );
    site.set(
        "backends",
        "second",
        member("nexmo.NexmoSandboxBackend", &sandbox),
    );
    let refused = site.run(&["check"]);
    assert!(
        refused
            .stderr
            .contains("[[routes]] 1 send has second, which makes or judges its codes itself"),
        "{refused:?}"
    );
    site.set_list("routes", &json!([{ "countries": ["DE"], "send": ["frist"] }]));
    let refused = site.run(&["check"]);
    assert!(
        refused
            .stderr
            .contains("send names frist, which is no backend of the settings; there are first, second"),
        "{refused:?}"
    );
    site.set_list(
        "routes",
        &json!([{ "countries": ["DE"], "send": "first" }, { "countries": ["DE"], "prefixes": ["+49"], "send": "first" }]),
    );
    let warned = site.run(&["check"]);
    assert_eq!(warned.code, Some(0), "{warned:?}");
    for told in [
        "[[routes]] 2 is taken by no message, since route 1 takes all of its own",
        "a message for which no route's conditions hold is refused",
        "the backend second is in no route",
    ] {
        assert!(warned.stderr.contains(told), "{told} in {warned:?}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_exchanges_the_fleet_and_leaves_alone_what_stays_the_same() {
    let Two {
        mut site,
        nexmo,
        twilio,
    } = Two::start().await;
    let daemon = site.serve();
    daemon.register(AMERICAN).await;
    assert_eq!(twilio.requests(), 1);
    let mut first = member("nexmo.NexmoBackend", &nexmo.options());
    first
        .as_table_mut()
        .unwrap()
        .insert("concurrency".into(), 3.into());
    site.set("backends", "first", first);
    site.set_list("routes", &json!([{ "send": "first" }]));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    daemon.register("+13478379635").await;
    assert_eq!((nexmo.requests(), twilio.requests()), (1, 1));
    let exchanged = daemon.log();
    let exchanged: Vec<_> = exchanged
        .lines()
        .filter(|line| line.contains("the backend is exchanged"))
        .collect();
    assert_eq!(exchanged.len(), 1, "{exchanged:?}");
    assert!(
        exchanged[0].contains("first (nexmo.NexmoBackend)"),
        "{exchanged:?}"
    );
    // What it counted goes on.
    let backends = daemon.get("/v1/backends").await.body;
    assert_eq!(backends["backends"][1]["messages"]["sent"], 1, "{backends}");
}
