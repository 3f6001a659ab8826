//! Many requests at once, over HTTP and on two daemons that share a database: one success, and no more tries and SMS
//! than are allowed.

use std::sync::Arc;

use phone_verify_tests::{
    daemon::{Answer, Daemon},
    site::Site,
};
use serde_json::json;
use tokio::task::JoinSet;

const AT_ONCE: usize = 64;
const MAX_FAILED_ATTEMPTS: usize = 5;
const CODE: &str = "123456";
const WRONG_CODE: &str = "654321";

/// Two daemons in one folder.
fn daemons(site: &Site) -> [Arc<Daemon>; 2] {
    [Arc::new(site.serve()), Arc::new(site.serve())]
}

fn site() -> Site {
    Site::with_backend("noop.FixedCodeBackend", &json!({}))
}

/// Sends the same check many times at once, to the daemons in turn.
async fn check_at_once(daemons: &[Arc<Daemon>; 2], path: &str, body: serde_json::Value) -> Vec<Answer> {
    let mut checks = JoinSet::new();
    for turn in 0..AT_ONCE {
        let (daemon, path, body) = (Arc::clone(&daemons[turn % 2]), path.to_owned(), body.clone());
        checks.spawn(async move { daemon.post(&path, &body).await });
    }
    checks.join_all().await
}

fn count(answers: &[Answer], code: &str) -> usize {
    answers.iter().filter(|answer| answer.code() == code).count()
}

/// Checks a code in a new session through each of the two doors.
async fn through_both_doors(code: &str, judge: impl Fn(&[Answer])) {
    let site = site();
    let daemons = daemons(&site);
    for n in 0..5 {
        let number = format!("+1347837{:04}", 1000 + n);
        let registered = daemons[0].register(&number).await;
        let body = json!({
            "phone_number": number, "session_token": registered.session_token(), "security_code": code,
        });
        judge(&check_at_once(&daemons, "/api/phone/verify", body).await);

        let number = format!("+1347837{:04}", 2000 + n);
        let begun = daemons[1]
            .post("/v1/verifications", &json!({ "phone_number": number }))
            .await;
        let path = format!("/v1/verifications/{}/check", begun.body["id"].as_str().unwrap());
        let body = json!({ "session_token": begun.session_token(), "security_code": code });
        judge(&check_at_once(&daemons, &path, body).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_right_codes_at_once_exactly_one_is_good() {
    through_both_doors(CODE, |answers| {
        let good = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(good, 1, "{answers:?}");
        let refused = count(answers, "security_code_already_verified") + count(answers, "too_many_attempts");
        assert_eq!(refused, AT_ONCE - 1, "{answers:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_wrong_codes_at_once_no_more_are_judged_than_allowed() {
    through_both_doors(WRONG_CODE, |answers| {
        assert_eq!(
            count(answers, "security_code_invalid"),
            MAX_FAILED_ATTEMPTS,
            "{answers:?}"
        );
        assert_eq!(
            count(answers, "too_many_attempts"),
            AT_ONCE - MAX_FAILED_ATTEMPTS,
            "{answers:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_registrations_at_once_no_more_are_sent_than_a_limit_allows() {
    let mut site = site();
    for (limit, max) in [("address_per_hour", 10_u8), ("number_per_hour", 3)] {
        site.with_defaults_of("limits");
        for other in [
            "resend_cooldown_seconds",
            "number_per_10_minutes",
            "address_per_hour",
        ] {
            site.set("limits", other, 0);
        }
        site.set("limits", limit, i64::from(max));
        let daemons = daemons(&site);
        let mut registrations = JoinSet::new();
        for turn in 0..AT_ONCE {
            let daemon = Arc::clone(&daemons[turn % 2]);
            // Each another number, or all the same.
            let differs = if limit == "address_per_hour" { turn } else { 99 };
            let number = format!("+1347837{:04}", 3000 + differs);
            registrations.spawn(async move { daemon.register(&number).await });
        }
        let answers = registrations.join_all().await;
        let sent = answers.iter().filter(|answer| answer.status == 200).count();
        let max = usize::from(max);
        assert_eq!(
            (sent, count(&answers, limit)),
            (max, AT_ONCE - max),
            "{limit}: {answers:?}"
        );
    }
}
