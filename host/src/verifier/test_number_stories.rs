//! Numbers for tests: a fixed code and no backend, and else what holds for every number.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::UnixMillis,
    fake_network::{Behaviour, FakeNetwork, Judge},
    fake_service::{LIFETIME, MAX_FAILED_ATTEMPTS, Service, code_in, number},
    model::{Limit, Locale, SecurityCode, TestNumber, TestNumbers, Verdict, guard::Budgets},
    verifier::{Guard, GuardMode, Prices, RateLimits, RegisterError, Registered, ResendError},
};

const CODE: &str = "837261";
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `number(1)`, for a day.
fn test_numbers() -> TestNumbers {
    TestNumbers(vec![TestNumber {
        number: number(1),
        code: SecurityCode::new(CODE).unwrap(),
        ends_at: UnixMillis(1_700_000_000_000).plus(DAY),
    }])
}

/// `number(1)` is for tests for a day. The backend would make codes, word texts and judge codes itself, if it were
/// asked.
fn service(limits: RateLimits) -> Service {
    let network = FakeNetwork::new(Behaviour {
        judge: Judge::Sandbox,
        wording: Some("worded by the backend: "),
        fixed_code: Some("000000"),
        ..Behaviour::default()
    });
    let service = Service::with_limits(network, limits);
    service.has_for_tests(test_numbers());
    service
}

fn limit(max: u64) -> Arc<[Limit]> {
    let code = "limit";
    [Limit::new(code, max, DAY)].into()
}

#[tokio::test]
async fn a_number_for_tests_has_its_code_and_asks_no_backend() {
    let service = service(RateLimits::default());
    let registered = service.register(&number(1)).await.unwrap();
    // Others are none of its business.
    service.register(&number(2)).await.unwrap();
    let again = service
        .verifier
        .resend(registered.id, None, &Locale::default())
        .await;
    again.unwrap();
    assert_eq!(
        service.network.inbox(),
        [(number(2), "worded by the backend: Ada 000000".to_owned())]
    );
    let check = async |code| {
        service
            .check(&number(1), &registered.session_token, code)
            .await
            .unwrap()
    };
    // What this backend accepts from everybody.
    assert_eq!(check("000000").await, Verdict::Invalid);
    assert_eq!(check(CODE).await, Verdict::Valid);
    assert_eq!(check(CODE).await, Verdict::AlreadyVerified);
}

#[tokio::test]
async fn a_number_for_tests_is_guessed_at_no_more_often_than_any_other() {
    let service = service(RateLimits::default());
    let registered = service.register(&number(1)).await.unwrap();
    let check = async |code| {
        service
            .check(&number(1), &registered.session_token, code)
            .await
            .unwrap()
    };
    for _ in 0..MAX_FAILED_ATTEMPTS {
        assert_eq!(check("wrong").await, Verdict::Invalid);
    }
    assert_eq!(check(CODE).await, Verdict::TooManyAttempts);
}

#[tokio::test]
async fn a_number_for_tests_keeps_the_limits_and_costs_nothing() {
    let price = Prices {
        default: 10,
        ..Prices::default()
    };
    let service = service(RateLimits {
        number: limit(1),
        spend: limit(10),
        prices: price,
        ..RateLimits::default()
    });
    let registered = service.register(&number(1)).await.unwrap();
    let refused = service.register(&number(1)).await.map(drop);
    assert!(
        matches!(refused, Err(RegisterError::LimitReached { .. })),
        "{refused:?}"
    );
    let refused = service
        .verifier
        .resend(registered.id, None, &Locale::default())
        .await;
    assert!(
        matches!(refused, Err(ResendError::LimitReached { .. })),
        "{refused:?}"
    );
    // All that may be spent is there for others.
    service.register(&number(2)).await.unwrap();
    let refused = service.register(&number(3)).await.map(drop);
    assert!(
        matches!(refused, Err(RegisterError::LimitReached { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn after_its_last_day_it_is_a_number_like_any_other() {
    let service = service(RateLimits::default());
    assert!(service.fleet.test_numbers_warning().is_some());
    service.clock.advance(DAY);
    assert_eq!(service.fleet.test_numbers_warning(), None);
    let registered = service.register(&number(1)).await.unwrap();
    assert_eq!(
        service.network.inbox(),
        [(number(1), "worded by the backend: Ada 000000".to_owned())]
    );
    let verdict = service.check(&number(1), &registered.session_token, CODE).await;
    assert_eq!(verdict.unwrap(), Verdict::Invalid);
}

#[tokio::test]
async fn a_bulk_job_passes_over_it() {
    for whole_batches in [false, true] {
        let service = Service::start(FakeNetwork::new(Behaviour {
            whole_batches,
            ..Behaviour::default()
        }));
        service.has_for_tests(test_numbers());
        let numbers = vec![number(1), number(2)];
        let job = service.keyring.job_id(&numbers, "hello", "");
        let now = service.clock.now();
        service
            .store
            .begin_bulk(job, numbers, "hello".into(), now)
            .await
            .unwrap();
        let ran = service.bulk().run(job, &CancellationToken::new(), |_| {}).await;
        assert_eq!(ran.unwrap().sent, 2);
        assert_eq!(service.network.inbox(), [(number(2), "hello".to_owned())]);
    }
}

#[tokio::test]
async fn what_a_dead_process_left_for_it_is_not_sent_either() {
    let dead = Service::start(FakeNetwork::default());
    dead.network.hold();
    let (one, two) = (number(1), number(2));
    tokio::select! {
        _ = async { tokio::join!(dead.register(&one), dead.register(&two)) } => unreachable!("the network holds them"),
        _ = dead.network.arrived(2) => {}
    }
    dead.is_killed();
    let next = dead.second(FakeNetwork::default());
    next.has_for_tests(test_numbers());
    next.network.arrived(1).await;
    while next.waiting() > 0 {
        next.store.ready().await.unwrap();
    }
    let sent = next.network.inbox();
    assert_eq!(sent.iter().map(|sms| &sms.0).collect::<Vec<_>>(), [&two]);
}

#[tokio::test]
async fn a_number_that_becomes_one_for_tests_or_ceases_to_be_shares_no_code() {
    let service = Service::start(FakeNetwork::default());
    let before = service.register(&number(1)).await.unwrap();
    service.has_for_tests(test_numbers());
    let during = service.register(&number(1)).await.unwrap();
    let check = async |service: &Service, registered: &Registered, code: &str| {
        let verdict = service.check(&number(1), &registered.session_token, code).await;
        verdict.unwrap()
    };
    assert_eq!(check(&service, &before, CODE).await, Verdict::Invalid);
    assert_eq!(check(&service, &during, CODE).await, Verdict::Valid);

    service.clock.advance(DAY.saturating_sub(Duration::from_secs(1)));
    service.register(&number(1)).await.unwrap();
    service.clock.advance(Duration::from_secs(1));
    let after = service.register(&number(1)).await.unwrap();
    let sent = code_in(&service.network.inbox().last().unwrap().1);
    assert_ne!(sent, CODE);
    assert_eq!(check(&service, &after, CODE).await, Verdict::Invalid);
    assert_eq!(check(&service, &after, &sent).await, Verdict::Valid);
}

#[tokio::test]
async fn the_guard_does_not_look_at_a_number_for_tests() {
    let guard = Guard {
        mode: GuardMode::Enforce,
        budgets: Budgets {
            prefix_per_hour: 1,
            ..Budgets::default()
        },
        conversion_alarm_percent: 100,
        conversion_alarm_codes: 1,
        ..Guard::default()
    };
    let service = Service::with_guard(FakeNetwork::default(), guard);
    service.has_for_tests(test_numbers());
    for _ in 0..3 {
        service.register(&number(1)).await.unwrap();
    }
    // What comes back of its codes says nothing.
    service.clock.advance(LIFETIME + HOUR);
    assert_eq!(service.verifier.conversion_alarm().await.unwrap(), None);
    // Its neighbour has all of the budget.
    service.register(&number(2)).await.unwrap();
    assert!(service.register(&number(3)).await.is_err());
}
