//! `GET /v1/verifications`: whoever knows a number or the caller's own name finds the latest verifications.

use phone_verify_tests::{daemon::Daemon, site::Site};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
const PATH: &str = "/v1/verifications";

async fn begin(daemon: &Daemon, body: Value) -> String {
    let begun = daemon.post(PATH, &body).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    begun.body["id"].as_str().unwrap().to_owned()
}

/// The ids, and where to go on.
async fn list(daemon: &Daemon, query: &str) -> (Vec<String>, Option<String>) {
    let answer = daemon.get(&format!("{PATH}?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    let listed = answer.body["verifications"].as_array().unwrap();
    let ids = listed.iter().map(|one| one["id"].as_str().unwrap().to_owned());
    (
        ids.collect(),
        answer.body["next_cursor"].as_str().map(str::to_owned),
    )
}

#[tokio::test]
async fn the_latest_verifications_of_a_number_come_first() {
    let daemon = Site::new().serve();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, begin(&daemon, json!({ "phone_number": NUMBER })).await);
    }
    begin(&daemon, json!({ "phone_number": "+13478379635" })).await;
    let of_number = format!("phone_number={}", NUMBER.replace('+', "%2B"));
    assert_eq!(list(&daemon, &of_number).await, (ids.clone(), None));
    // As many write it.
    assert_eq!(list(&daemon, &format!("phone_number={NUMBER}")).await.0, ids);
    assert_eq!(list(&daemon, "phone_number=%2B1%20(347)%20837-9634").await.0, ids);
    let mut pages = Vec::new();
    let mut query = format!("{of_number}&limit=2");
    loop {
        let (page, next) = list(&daemon, &query).await;
        assert!(page.len() <= 2);
        pages.extend(page);
        let Some(next) = next else { break };
        query = format!("{of_number}&limit=2&cursor={next}");
    }
    assert_eq!(pages, ids, "each once, over all pages");
    // The console backend prints the numbers of SMS, but of this one there was none.
    assert_eq!(list(&daemon, "phone_number=%2B13478379697").await, (vec![], None));
    assert!(!daemon.log().contains("3478379697"), "the query is never logged");
}

#[tokio::test]
async fn a_caller_finds_its_own_name_again() {
    let daemon = Site::new().serve();
    let first = begin(
        &daemon,
        json!({ "phone_number": NUMBER, "client_ref": "order 7" }),
    )
    .await;
    begin(
        &daemon,
        json!({ "phone_number": NUMBER, "client_ref": "order 8" }),
    )
    .await;
    let second = begin(
        &daemon,
        json!({ "phone_number": "+447400123456", "client_ref": "order 7" }),
    )
    .await;
    assert_eq!(list(&daemon, "client_ref=order+7").await.0, [second, first]);
    let listed = daemon.get(&format!("{PATH}?client_ref=order%208")).await.body;
    let one = &listed["verifications"][0];
    assert_eq!(
        (&one["client_ref"], &one["status"]),
        (&json!("order 8"), &json!("pending"))
    );
    assert!(one.get("session_token").is_none(), "{one}");
    assert!(!listed.to_string().contains("3478379634"));
}

#[tokio::test]
async fn a_query_that_cannot_be_used_is_told() {
    let daemon = Site::new().serve();
    let cursor = "0".repeat(32);
    for (query, field) in [
        ("", ""),
        ("limit=2", ""),
        ("phone_number=%2B13478379634&client_ref=x", ""),
        ("client_ref=x&client_ref=x", ""),
        ("number=%2B13478379634", ""),
        ("phone_number=x", "phone_number"),
        ("client_ref=x&limit=0", "limit"),
        ("client_ref=x&limit=101", "limit"),
        ("client_ref=x&limit=x", "limit"),
        ("client_ref=x&cursor=x", "cursor"),
        (&format!("client_ref={}", "x".repeat(129)), "client_ref"),
    ] {
        let answer = daemon.get(&format!("{PATH}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        if field.is_empty() {
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("phone_number or client_ref"), "{query}: {detail}");
        } else {
            assert!(answer.body["errors"][field].is_array(), "{query}: {answer:?}");
        }
    }
    assert_eq!(
        list(&daemon, &format!("client_ref=x&limit=100&cursor={cursor}"))
            .await
            .0
            .len(),
        0
    );
}
