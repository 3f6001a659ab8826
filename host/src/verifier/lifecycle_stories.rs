//! What a caller of the native API lives through, on a fake network.

use crate::{
    fake_network::{FakeNetwork, failure},
    fake_service::{LIFETIME, MAX_FAILED_ATTEMPTS, Service, code_in, number},
    model::{FailureClass, Locale, Purpose, SecurityCode, SessionToken, Status, Verdict, VerificationId},
    store::{RequestKey, StoreError},
    verifier::{Judged, Policy, RegisterError, RegisterRequest, Registered, ResendError, ResendPolicy},
};

fn code(text: &str) -> SecurityCode {
    SecurityCode::new(text).unwrap()
}

async fn status(service: &Service, id: VerificationId) -> Status {
    service.verifier.find(id).await.unwrap().unwrap().0.status
}

async fn check(service: &Service, registered: &Registered, text: &str) -> Judged {
    let token = registered.session_token.clone();
    let judged = service
        .verifier
        .check_by_id(registered.id, None, token, code(text), Purpose::default());
    judged.await.unwrap().unwrap()
}

/// Registers under a key.
async fn register(service: &Service, n: u32, key: &str, body: &str) -> Result<Registered, RegisterError> {
    let key = RequestKey {
        key: key.into(),
        body: body.into(),
    };
    let request = RegisterRequest::of(number(n), Locale::default());
    service.verifier.once(Some(key)).register(request).await
}

#[tokio::test]
async fn a_verification_is_followed_to_its_end() {
    let service = Service::start(FakeNetwork::default());
    let registered = service.register(&number(1)).await.unwrap();
    let (verification, _) = service.verifier.find(registered.id).await.unwrap().unwrap();
    assert_eq!(verification.status, Status::Pending);
    assert_eq!(verification.attempts_remaining, MAX_FAILED_ATTEMPTS);
    let judged = check(&service, &registered, "wrong").await;
    assert_eq!(
        (judged.verdict, judged.attempts_remaining),
        (Verdict::Invalid, MAX_FAILED_ATTEMPTS - 1)
    );
    let right = code_in(&service.network.inbox()[0].1);
    assert_eq!(check(&service, &registered, &right).await.verdict, Verdict::Valid);
    let (verification, _) = service.verifier.find(registered.id).await.unwrap().unwrap();
    assert_eq!(verification.status, Status::Verified);
    assert_eq!(verification.verified_at, Some(service.clock.now()));
    assert_eq!(
        check(&service, &registered, &right).await.verdict,
        Verdict::AlreadyVerified
    );
}

#[tokio::test]
async fn the_right_code_is_nothing_without_the_right_token() {
    let service = Service::start(FakeNetwork::default());
    let registered = service.register(&number(1)).await.unwrap();
    let other = service.register(&number(2)).await.unwrap();
    let right = code_in(&service.network.inbox()[0].1);
    for token in [other.session_token, SessionToken::from_client("no token")] {
        let judged = service
            .verifier
            .check_by_id(registered.id, None, token, code(&right), Purpose::default())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(judged.verdict, Verdict::SessionTokenInvalid);
        // Who has no token takes no attempts from who has.
        assert_eq!(judged.attempts_remaining, MAX_FAILED_ATTEMPTS);
    }
}

#[tokio::test]
async fn used_up_attempts_and_time_end_a_verification() {
    let service = Service::start(FakeNetwork::default());
    let registered = service.register(&number(1)).await.unwrap();
    for left in (0..MAX_FAILED_ATTEMPTS).rev() {
        assert_eq!(
            check(&service, &registered, "wrong").await.attempts_remaining,
            left
        );
    }
    assert_eq!(status(&service, registered.id).await, Status::Failed);
    let late = service.register(&number(2)).await.unwrap();
    service.clock.advance(LIFETIME);
    assert_eq!(status(&service, late.id).await, Status::Pending);
    service.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(status(&service, late.id).await, Status::Expired);
}

#[tokio::test]
async fn the_code_is_sent_again_and_stays_what_it_was() {
    let service = Service::start(FakeNetwork::default());
    let registered = service.register(&number(1)).await.unwrap();
    check(&service, &registered, "wrong").await;
    let again = service
        .verifier
        .resend(registered.id, None, &Locale("es".into()))
        .await
        .unwrap();
    assert_eq!(again.expires_at, registered.expires_at);
    assert_eq!(again.attempts_remaining, MAX_FAILED_ATTEMPTS - 1);
    let inbox = service.network.inbox();
    let right = code_in(&inbox[0].1);
    assert_eq!(inbox[1], (number(1), format!("Tu código de Acme: {right}")));
    assert_eq!(check(&service, &registered, &right).await.verdict, Verdict::Valid);
    let over = service
        .verifier
        .resend(registered.id, None, &Locale::default())
        .await;
    assert!(
        matches!(over, Err(ResendError::Over(Status::Verified))),
        "{over:?}"
    );
}

#[tokio::test]
async fn a_session_outlives_a_second_sms_that_was_not_sent() {
    let service = Service::start(FakeNetwork::default());
    let registered = service.register(&number(1)).await.unwrap();
    let right = code_in(&service.network.inbox()[0].1);
    service.network.next([Err(failure(FailureClass::NoCredit))]);
    let failed = service
        .verifier
        .resend(registered.id, None, &Locale::default())
        .await;
    assert!(matches!(failed, Err(ResendError::NotSent(failure)) if failure.class == FailureClass::NoCredit));
    assert_eq!(status(&service, registered.id).await, Status::Pending);
    assert_eq!(check(&service, &registered, &right).await.verdict, Verdict::Valid);
}

#[tokio::test]
async fn a_cancelled_verification_takes_no_code_and_frees_no_attempts() {
    let service = Service::start(FakeNetwork::default());
    let registered = service.register(&number(1)).await.unwrap();
    let right = code_in(&service.network.inbox()[0].1);
    check(&service, &registered, "wrong").await;
    service
        .verifier
        .cancel(registered.id, "test".into())
        .await
        .unwrap();
    assert_eq!(status(&service, registered.id).await, Status::Cancelled);
    assert_eq!(
        check(&service, &registered, &right).await.verdict,
        Verdict::TooManyAttempts
    );
    let again = service.register(&number(1)).await.unwrap();
    assert_eq!(
        code_in(&service.network.inbox()[1].1),
        right,
        "the code is pending still"
    );
    // Its own attempt and what the code has left.
    for _ in 0..MAX_FAILED_ATTEMPTS {
        check(&service, &again, "wrong").await;
    }
    assert_eq!(
        check(&service, &again, &right).await.verdict,
        Verdict::TooManyAttempts
    );
}

#[tokio::test]
async fn the_same_request_is_done_once() {
    let service = Service::start(FakeNetwork::default());
    let first = register(&service, 1, "key", "body").await.unwrap();
    let again = register(&service, 1, "key", "body").await.unwrap();
    assert_eq!((first.id, first.expires_at), (again.id, again.expires_at));
    assert!(first.session_token == again.session_token);
    assert_eq!(service.network.inbox().len(), 1);
    let other = register(&service, 2, "key", "other body").await;
    assert!(
        matches!(other, Err(RegisterError::Store(StoreError::KeyReused))),
        "{other:?}"
    );
    // A day later the key is as good as new.
    service
        .clock
        .advance(std::time::Duration::from_secs(24 * 60 * 60));
    let later = register(&service, 2, "key", "other body").await.unwrap();
    assert_ne!(later.id, first.id);
}

#[tokio::test]
async fn a_request_is_answered_as_before_whatever_became_of_a_further_sms() {
    let service = Service::start(FakeNetwork::default());
    let first = register(&service, 1, "key", "body").await.unwrap();
    service.network.next([Err(failure(FailureClass::NoCredit))]);
    let failed = service.verifier.resend(first.id, None, &Locale::default()).await;
    assert!(matches!(failed, Err(ResendError::NotSent(_))), "{failed:?}");
    let again = register(&service, 1, "key", "body").await.unwrap();
    assert_eq!(again.id, first.id);
}

#[tokio::test]
async fn a_request_that_sent_nothing_may_be_made_again() {
    let service = Service::start(FakeNetwork::default());
    service.network.next([Err(failure(FailureClass::NoCredit))]);
    let refused = register(&service, 1, "key", "body").await;
    assert!(matches!(refused, Err(RegisterError::NotSent(_))), "{refused:?}");
    register(&service, 1, "key", "body").await.unwrap();
}

#[tokio::test]
async fn a_request_with_an_unknown_outcome_is_not_done_again() {
    let service = Service::start(FakeNetwork::default());
    service.network.next([Err(failure(FailureClass::OutcomeUnknown))]);
    for _ in 0..2 {
        let unknown = register(&service, 1, "key", "body").await;
        assert!(
            matches!(&unknown, Err(RegisterError::NotSent(failure)) if failure.class == FailureClass::OutcomeUnknown),
            "{unknown:?}"
        );
    }
    assert_eq!(service.network.inbox().len(), 1);
}

/// The service where each SMS carries a code of its own.
fn with_new_codes() -> Service {
    let mut service = Service::start(FakeNetwork::default());
    service.verifier = service.verifier.under(Policy {
        resend: ResendPolicy::New,
        ..service.verifier.policy.clone()
    });
    service
}

fn codes(service: &Service) -> Vec<String> {
    let inbox = service.network.inbox();
    inbox.iter().map(|(_, text)| code_in(text)).collect()
}

#[tokio::test]
async fn where_each_sms_has_a_new_code_the_one_before_stays_good_where_it_was_asked_for() {
    let service = with_new_codes();
    let holder = service.register(&number(1)).await.unwrap();
    let stranger = service.register(&number(1)).await.unwrap();
    assert_eq!(stranger.expires_at, holder.expires_at);
    let [first, second] = &codes(&service)[..] else {
        panic!("two SMS were sent")
    };
    assert_ne!(first, second);
    assert_eq!(check(&service, &stranger, first).await.verdict, Verdict::Invalid);
    assert_eq!(check(&service, &holder, second).await.verdict, Verdict::Invalid);
    assert_eq!(check(&service, &holder, first).await.verdict, Verdict::Valid);
    // The number is verified: what was sent for it beside is of no use any more.
    let late = check(&service, &stranger, second).await.verdict;
    assert_eq!(late, Verdict::AlreadyVerified);
}

#[tokio::test]
async fn new_codes_bring_no_new_attempts() {
    let service = with_new_codes();
    let holder = service.register(&number(1)).await.unwrap();
    for _ in 0..MAX_FAILED_ATTEMPTS {
        assert_eq!(check(&service, &holder, "wrong").await.verdict, Verdict::Invalid);
    }
    let right = &codes(&service)[0];
    assert_eq!(
        check(&service, &holder, right).await.verdict,
        Verdict::TooManyAttempts
    );
    let again = service.register(&number(1)).await;
    assert!(
        matches!(again, Err(RegisterError::AttemptsUsedUp { .. })),
        "{again:?}"
    );
    let again = service.verifier.resend(holder.id, None, &Locale::default()).await;
    assert!(
        matches!(again, Err(ResendError::Over(Status::Failed))),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_new_code_by_id_takes_the_place_of_the_one_before_once_it_is_sent() {
    let service = with_new_codes();
    let first = service.register(&number(1)).await.unwrap();
    let joined = service.register(&number(1)).await.unwrap();
    for session in [&first, &joined] {
        let before = codes(&service).len() - if session.id == first.id { 2 } else { 3 };
        let resend = async || {
            let locale = Locale::default();
            service.verifier.resend(session.id, None, &locale).await
        };
        service.network.next([Err(failure(FailureClass::NoCredit))]);
        assert!(matches!(resend().await, Err(ResendError::NotSent(_))));
        let lost = codes(&service).pop().unwrap();
        assert_eq!(check(&service, session, &lost).await.verdict, Verdict::Invalid);

        resend().await.unwrap();
        let all = codes(&service);
        let verdict = check(&service, session, &all[before]).await.verdict;
        assert_eq!(verdict, Verdict::Invalid, "{before}");
    }
    let newest = codes(&service).pop().unwrap();
    assert_eq!(check(&service, &joined, &newest).await.verdict, Verdict::Valid);
}

#[tokio::test]
async fn a_code_is_good_again_when_the_one_in_its_place_was_not_sent() {
    let service = with_new_codes();
    let registered = service.register(&number(1)).await.unwrap();
    service.network.next([Err(failure(FailureClass::NoCredit))]);
    let locale = Locale::default();
    let failed = service.verifier.resend(registered.id, None, &locale).await;
    assert!(matches!(failed, Err(ResendError::NotSent(_))));
    let first = &codes(&service)[0];
    assert_eq!(check(&service, &registered, first).await.verdict, Verdict::Valid);
}

#[tokio::test]
async fn codes_that_were_sent_before_the_settings_changed_stay_good() {
    let mut service = with_new_codes();
    service.register(&number(1)).await.unwrap();
    let beside = service.register(&number(1)).await.unwrap();
    service.verifier = service.verifier.under(Policy {
        resend: ResendPolicy::Same,
        ..service.verifier.policy.clone()
    });
    let sharing = service.register(&number(1)).await.unwrap();
    let all = codes(&service);
    assert_eq!(all[2], all[0]);
    // What was sent beside is nowhere to be read, so that a new one is sent.
    let locale = Locale::default();
    service.verifier.resend(beside.id, None, &locale).await.unwrap();
    let newest = codes(&service).pop().unwrap();
    assert!(!all.contains(&newest));
    assert_eq!(check(&service, &beside, &all[1]).await.verdict, Verdict::Invalid);
    assert_eq!(check(&service, &sharing, &all[0]).await.verdict, Verdict::Valid);
}
