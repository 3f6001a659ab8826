//! What leaves and what stays when records get old, or somebody is to be forgotten, on a clock that the test moves.

use std::time::Duration;

use tokio::join;

use crate::{
    fake_network::FakeNetwork,
    fake_service::{LIFETIME, RETENTION, Service, number},
    model::Limit,
    verifier::{RateLimits, RegisterError},
};

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test]
async fn old_records_leave_by_themselves_and_the_audit_log_says_so() {
    let service = Service::start(FakeNetwork::default());
    for n in 0..3 {
        service.register(&number(n)).await.unwrap();
    }
    service.clock.advance(RETENTION);
    let kept = service.register(&number(9)).await.unwrap();
    assert_eq!(service.verifier.delete_old_records().await.unwrap(), 0);
    assert_eq!(service.store.latest_audit_entries(9).await.unwrap(), []);

    service.clock.advance(MILLISECOND);
    assert_eq!(service.verifier.delete_old_records().await.unwrap(), 3);
    let entries = service.store.latest_audit_entries(9).await.unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.actor.as_str(), entry.action.as_str()))
        .collect();
    assert_eq!(told, [("daemon", "cleanup")]);
    assert_eq!(entries[0].subject, "older than 30 days");

    assert_eq!(service.verifier.delete_old_records().await.unwrap(), 0);
    assert!(service.verifier.find(kept.id).await.unwrap().is_some());
    assert_eq!(service.store.latest_audit_entries(9).await.unwrap().len(), 1);
}

/// More than a step each, and registrations in between.
#[tokio::test]
async fn two_processes_delete_at_once_while_numbers_are_registered() {
    let service = Service::start(FakeNetwork::default());
    let numbers: Vec<_> = (0..2500).map(number).collect();
    let job = service.keyring.job_id(&numbers, "text", "");
    let now = service.clock.now();
    service
        .store
        .begin_bulk(job, numbers, "text".to_owned(), now)
        .await
        .unwrap();
    for n in 0..20 {
        service.register(&number(n)).await.unwrap();
    }
    service.clock.advance(RETENTION + MILLISECOND);
    let second = service.second(FakeNetwork::default());
    let registering = async {
        for n in 100..120 {
            service.register(&number(n)).await.unwrap();
        }
    };
    let (one, other, ()) = join!(
        service.verifier.delete_old_records(),
        second.verifier.delete_old_records(),
        registering
    );
    assert_eq!(one.unwrap() + other.unwrap(), 21);
    assert_eq!(service.store.bulk_progress(job).await.unwrap().total, 0);
    assert_eq!(service.verifier.cleanup(Duration::ZERO, true).await.unwrap(), 0);
    service.clock.advance(MILLISECOND);
    assert_eq!(service.verifier.cleanup(Duration::ZERO, true).await.unwrap(), 20);
}

/// Else whoever may ask to be forgotten would be free of limits.
#[tokio::test]
async fn whoever_is_forgotten_is_limited_as_before() {
    let window = LIFETIME;
    let limit = Limit::new("number_per_hour", 2, window);
    let limits = RateLimits {
        number: [limit].into(),
        ..RateLimits::default()
    };
    let service = Service::with_limits(FakeNetwork::default(), limits);
    let ada = number(1);
    for _ in 0..2 {
        service.register(&ada).await.unwrap();
        assert_eq!(service.forget(&ada).await.unwrap(), 1);
    }
    let refused = service.register(&ada).await.unwrap_err();
    assert!(
        matches!(
            refused,
            RegisterError::LimitReached {
                code: "number_per_hour",
                ..
            }
        ),
        "{refused}"
    );
    service.clock.advance(window);
    service.register(&ada).await.unwrap();
}
