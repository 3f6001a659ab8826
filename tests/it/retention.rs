//! Records that get old while the daemon runs, or before it does. `host/src/verifier/retention_stories.rs` moves the
//! clock.

use std::{sync::Arc, time::Duration};

use phone_verify::{
    clock::{Clock, UnixMillis},
    entropy::Entropy,
    model::PhoneNumber,
    store::{Store, key_file, sqlite},
};
use phone_verify_tests::site::Site;

const NUMBER: &str = "+13478379634";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Sends to a number so many days ago, and to another one now.
async fn installation_with_a_record_from(days_ago: u32) -> Site {
    let site = Site::new();
    assert_eq!(site.run(&["register", NUMBER]).code, Some(0));
    let keyring = Arc::new(key_file::open(&site.path("phone-verify.db.key"), Entropy::system()).unwrap());
    let store = sqlite::open(&site.path("phone-verify.db"), Arc::clone(&keyring), Arc::new(())).unwrap();
    let numbers = vec![PhoneNumber::parse("+13478379635", None).unwrap()];
    let job = keyring.job_id(&numbers, "text", "");
    let now = Clock::system().now().0;
    let then = UnixMillis(now - u64::try_from((DAY * days_ago).as_millis()).unwrap());
    store
        .begin_bulk(job, numbers, "text".to_owned(), then)
        .await
        .unwrap();
    site
}

/// How many records there are.
fn records(site: &Site) -> u64 {
    let ran = site.run(&["cleanup", "--days", "0", "--dry-run", "--json"]);
    ran.json()["records"].as_u64().unwrap()
}

#[tokio::test]
async fn a_running_daemon_deletes_what_is_older_than_is_kept_and_says_so() {
    let mut site = installation_with_a_record_from(5).await;
    assert_eq!(records(&site), 2);
    site.set("phone_verification", "RECORD_RETENTION_DAYS", 4);
    let daemon = site.serve();
    daemon.wait_for_log("old records are deleted");
    assert_eq!(records(&site), 1);
    let audit = site.run(&["audit", "--json"]).json();
    let [entry] = audit["entries"].as_array().unwrap().as_slice() else {
        panic!("{audit:#}")
    };
    assert_eq!(
        (&entry["actor"], &entry["action"], &entry["subject"]),
        (&"daemon".into(), &"cleanup".into(), &"older than 4 days".into())
    );
}

#[tokio::test]
async fn what_is_not_old_or_left_to_the_command_stays() {
    for (days, hours) in [(6, 1), (4, 0)] {
        let mut site = installation_with_a_record_from(5).await;
        site.set("phone_verification", "RECORD_RETENTION_DAYS", days).set(
            "store",
            "cleanup_interval_hours",
            hours,
        );
        let daemon = site.serve();
        // What would be deleted is deleted while it starts.
        assert_eq!(daemon.register(NUMBER).await.status, 200);
        let (status, log) = daemon.stop();
        assert!(status.success() && !log.contains("old records"), "{log}");
        assert_eq!(records(&site), 3);
    }
}
