//! What users live through, on a fake network.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    fake_network::{Behaviour, FakeNetwork, Judge, failure},
    fake_service::{LIFETIME, MAX_FAILED_ATTEMPTS, QUEUE_LENGTH, Service, code_in, number},
    model::{FailureClass, Verdict},
    verifier::{CheckError, RegisterError},
};

/// A code is good to its last millisecond.
const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test]
async fn somebody_registers_reads_the_sms_and_is_verified() {
    let service = Service::start(FakeNetwork::default());
    let registered = service.register(&number(1)).await.unwrap();
    let inbox = service.network.inbox();
    assert_eq!(inbox.len(), 1);
    assert_eq!(inbox[0].0, number(1));
    let code = code_in(&inbox[0].1);
    assert_eq!(inbox[0].1, format!("Your Acme code: {code}"));
    assert_eq!(registered.expires_at, service.clock.now().plus(LIFETIME));
    let token = &registered.session_token;
    assert_eq!(
        service.check(&number(1), token, &code).await.unwrap(),
        Verdict::Valid
    );
    assert_eq!(
        service.check(&number(1), token, &code).await.unwrap(),
        Verdict::AlreadyVerified
    );
}

#[tokio::test]
async fn a_token_is_good_for_the_number_that_it_was_made_for() {
    let service = Service::start(FakeNetwork::default());
    let registered = service.register(&number(1)).await.unwrap();
    let code = code_in(&service.network.inbox()[0].1);
    let verdict = service
        .check(&number(2), &registered.session_token, &code)
        .await
        .unwrap();
    assert_eq!(verdict, Verdict::SessionTokenInvalid);
    let verdict = service
        .check(&number(1), &registered.session_token, &code)
        .await
        .unwrap();
    assert_eq!(verdict, Verdict::Valid);
}

#[tokio::test]
async fn a_registration_is_finished_though_the_client_went_away() {
    let service = Service::start(FakeNetwork::default());
    let number = number(1);
    // The request is begun, and dropped at its first wait.
    let begun = futures_util::future::poll_immediate(service.register(&number)).await;
    assert!(begun.is_none(), "nothing is durable at once");
    service.network.arrived(1).await;
    assert!(service.drain().await);
    assert_eq!(service.network.inbox().len(), 1);
}

#[tokio::test]
async fn a_second_registration_sends_the_same_code_and_forgives_nothing() {
    let service = Service::start(FakeNetwork::default());
    let first = service.register(&number(1)).await.unwrap();
    for _ in 0..MAX_FAILED_ATTEMPTS {
        service
            .check(&number(1), &first.session_token, "wrong")
            .await
            .unwrap();
    }
    let refused = service.register(&number(1)).await.unwrap_err();
    assert!(
        matches!(refused, RegisterError::AttemptsUsedUp { retry_after } if retry_after == LIFETIME + MILLISECOND)
    );

    let first = service.register(&number(2)).await.unwrap();
    service.clock.advance(LIFETIME / 3);
    let second = service.register(&number(2)).await.unwrap();
    assert_eq!(first.expires_at, second.expires_at);
    let inbox = service.network.inbox();
    assert_eq!(inbox[1], inbox[2]);
    for _ in 0..3 {
        service.register(&number(2)).await.unwrap();
    }
    let refused = service.register(&number(2)).await.unwrap_err();
    let left = LIFETIME * 2 / 3 + MILLISECOND;
    assert!(matches!(refused, RegisterError::TooManySessions { retry_after } if retry_after == left));
}

#[tokio::test]
async fn a_refused_sms_is_no_registration() {
    let service = Service::start(FakeNetwork::default());
    for class in [
        FailureClass::InvalidNumber,
        FailureClass::OptedOut,
        FailureClass::SenderRejected,
    ] {
        service.network.next([Err(failure(class))]);
        let error = service.register(&number(1)).await.unwrap_err();
        assert!(matches!(error, RegisterError::NotSent(failure) if failure.class == class));
    }
    // Nothing of it is left: each of these was one SMS with a code of its own.
    let registered = service.register(&number(1)).await.unwrap();
    let inbox = service.network.inbox();
    assert_eq!(inbox.len(), 4);
    let code = code_in(&inbox[3].1);
    let verdict = service
        .check(&number(1), &registered.session_token, &code)
        .await
        .unwrap();
    assert_eq!(verdict, Verdict::Valid);
}

#[tokio::test]
async fn the_sms_is_in_the_language_that_was_asked_for() {
    let service = Service::start(FakeNetwork::default());
    service
        .register_in(&number(1), "fr, es-MX;q=0.8, en;q=0.1")
        .await
        .unwrap();
    assert!(service.network.inbox()[0].1.starts_with("Tu código de Acme: "));
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_before_it_is_begun() {
    let service = Service::start(FakeNetwork::default());
    let numbers: Vec<_> = (0..20).map(number).collect();
    // On one thread all ask for a place before any is served.
    let all = join_all(numbers.iter().map(|number| service.register(number))).await;
    let (served, refused) = all.split_at(QUEUE_LENGTH);
    assert!(served.iter().all(Result::is_ok));
    assert!(
        refused
            .iter()
            .all(|refused| matches!(refused, Err(RegisterError::Busy)))
    );
    assert_eq!(service.network.inbox().len(), QUEUE_LENGTH);
    service.clock.advance(LIFETIME);
    assert_eq!(
        service.verifier.cleanup(LIFETIME / 2, true).await.unwrap(),
        QUEUE_LENGTH as u64
    );
}

#[tokio::test]
async fn a_sandbox_opens_no_session_that_was_not_registered_and_lifts_no_limit() {
    let sandbox = || {
        FakeNetwork::new(Behaviour {
            judge: Judge::Sandbox,
            fixed_code: Some("000000"),
            wording: Some("Hello "),
            ..Behaviour::default()
        })
    };
    let (service, stranger) = (Service::start(sandbox()), Service::start(sandbox()));
    let registered = service.register(&number(1)).await.unwrap();
    assert_eq!(service.network.inbox()[0].1, "Hello Ada 000000");
    let token = &registered.session_token;
    for _ in 0..MAX_FAILED_ATTEMPTS {
        assert_eq!(
            service.check(&number(1), token, "111111").await.unwrap(),
            Verdict::Invalid
        );
    }
    assert_eq!(
        service.check(&number(1), token, "000000").await.unwrap(),
        Verdict::TooManyAttempts
    );

    let registered = service.register(&number(2)).await.unwrap();
    let token = &registered.session_token;
    assert_eq!(
        stranger.check(&number(2), token, "000000").await.unwrap(),
        Verdict::SessionTokenInvalid
    );
    assert_eq!(
        service.check(&number(3), token, "000000").await.unwrap(),
        Verdict::SessionTokenInvalid
    );
    assert_eq!(
        service.check(&number(2), token, "000000").await.unwrap(),
        Verdict::Valid
    );
    assert_eq!(
        service.check(&number(2), token, "000000").await.unwrap(),
        Verdict::AlreadyVerified
    );
}

#[tokio::test]
async fn a_backend_that_gives_no_verdict_costs_no_attempt() {
    let broken = FakeNetwork::new(Behaviour {
        judge: Judge::Broken,
        ..Behaviour::default()
    });
    let service = Service::start(broken);
    let registered = service.register(&number(1)).await.unwrap();
    for _ in 0..2 * MAX_FAILED_ATTEMPTS {
        let error = service
            .check(&number(1), &registered.session_token, "1")
            .await
            .unwrap_err();
        assert!(matches!(error, CheckError::Backend(_)), "{error}");
    }
}

#[tokio::test]
async fn old_records_are_cleaned_up_by_age() {
    let service = Service::start(FakeNetwork::default());
    service.register(&number(1)).await.unwrap();
    service.clock.advance(LIFETIME);
    service.register(&number(2)).await.unwrap();
    assert_eq!(service.verifier.cleanup(LIFETIME, false).await.unwrap(), 0);
    assert_eq!(service.verifier.cleanup(LIFETIME / 2, true).await.unwrap(), 1);
    assert_eq!(service.verifier.cleanup(LIFETIME / 2, false).await.unwrap(), 1);
}
