//! The server's keys are rotated: what was made under an older key stays good as long as that is kept.

use std::time::Duration;

use super::{CheckError, RateLimits, RegisterError, RegisterRequest, Registered, ResendError};
use crate::{
    fake_service::{LIFETIME, Service, code_in, number},
    model::{Limit, Locale, Purpose, SecurityCode, Status, Verdict},
    store::{MasterKey, RequestKey},
};

const MAX: u64 = 4;

fn keys() -> [MasterKey; 2] {
    ["1", "2"].map(|digit| MasterKey::parse(&digit.repeat(64)).unwrap())
}

fn limits() -> RateLimits {
    let limit = Limit::new("number_per_day", MAX, Duration::from_secs(24 * 60 * 60));
    RateLimits {
        number: [limit].into(),
        ..RateLimits::default()
    }
}

fn latest_code(service: &Service) -> String {
    code_in(&service.network.inbox().last().unwrap().1)
}

async fn check_by_id(service: &Service, registered: &Registered, code: &str) -> Verdict {
    let (token, code) = (registered.session_token.clone(), SecurityCode::new(code).unwrap());
    let judged = service
        .verifier
        .check_by_id(registered.id, None, token, code, Purpose::default())
        .await;
    judged.unwrap().unwrap().verdict
}

#[tokio::test]
async fn a_purpose_is_known_as_long_as_the_key_of_its_verification() {
    let [old, new] = keys();
    let payout = || Purpose {
        name: Some("payout".into()),
        binding: Some("EUR 250".into()),
    };
    let register = async |service: &Service| {
        let request = RegisterRequest {
            purpose: payout(),
            ..RegisterRequest::of(number(1), Locale::default())
        };
        service.verifier.register(request).await.unwrap()
    };
    let before = Service::keyed(std::slice::from_ref(&old), limits());
    register(&before).await;
    let code = latest_code(&before);
    let both = before.with_keys(&[new.clone(), old]);
    let joined = register(&both).await;
    assert_eq!(latest_code(&both), code, "found under the key of before");
    let check = async |service: &Service, session: &Registered, purpose| {
        let (token, code) = (session.session_token.clone(), SecurityCode::new(&code).unwrap());
        let judged = service
            .verifier
            .check_by_id(session.id, None, token, code, purpose);
        judged.await
    };
    assert!(matches!(
        check(&both, &joined, Purpose::default()).await,
        Err(CheckError::OtherPurpose)
    ));
    let judged = check(&both, &joined, payout()).await.unwrap().unwrap();
    assert_eq!(judged.verdict, Verdict::Valid);

    let own = register(&both).await;
    let after = both.with_keys(&[new]);
    let (token, code) = (own.session_token.clone(), latest_code(&both));
    let shared = register(&after).await;
    assert_eq!(latest_code(&after), code, "the key before is taken out");
    assert_ne!(shared.id, own.id);
    let code = SecurityCode::new(&code).unwrap();
    let judged = after
        .verifier
        .check_by_id(own.id, None, token, code, payout())
        .await;
    assert_eq!(judged.unwrap().unwrap().verdict, Verdict::Valid);
}

#[tokio::test]
async fn what_was_begun_under_an_older_key_goes_on_under_a_newer_one() {
    let [old, new] = keys();
    let before = Service::keyed(std::slice::from_ref(&old), limits());
    let request = || RegisterRequest {
        client_ref: Some("order 7".into()),
        ..RegisterRequest::of(number(1), Locale::default())
    };
    let once = |service: &Service| {
        service.verifier.once(Some(RequestKey {
            key: "key".into(),
            body: b"body".to_vec(),
        }))
    };
    let first = once(&before).register(request()).await.unwrap();
    let other = before.register(&number(2)).await.unwrap();
    let [code, other_code] = [0, 1].map(|at| code_in(&before.network.inbox()[at].1));

    let after = before.with_keys(&[new, old]);
    // The same request, to one session; the same code again, and to a second session under the new key.
    assert_eq!(once(&after).register(request()).await.unwrap().id, first.id);
    after
        .verifier
        .resend(first.id, None, &Locale::default())
        .await
        .unwrap();
    assert_eq!(latest_code(&after), code);
    let second = after.register(&number(1)).await.unwrap();
    assert_eq!(latest_code(&after), code);
    assert_eq!(second.expires_at, first.expires_at);
    let (found, client_ref) = after.verifier.find(first.id).await.unwrap().unwrap();
    assert_eq!(
        (found.status, client_ref.as_deref()),
        (Status::Pending, Some("order 7"))
    );
    // Wrong codes stay counted, and right ones are right, at either door and in a session of either key.
    for session in [&first, &second] {
        let verdict = after.check(&number(1), &session.session_token, "wrong").await;
        assert_eq!(verdict.unwrap(), Verdict::Invalid);
    }
    assert_eq!(check_by_id(&after, &second, &code).await, Verdict::Valid);
    assert_eq!(check_by_id(&after, &first, &code).await, Verdict::AlreadyVerified);
    let verdict = after.check(&number(2), &other.session_token, &other_code).await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
    // Three SMS are counted under either key: a fourth has room, and a fifth has none.
    after.register(&number(1)).await.unwrap();
    for service in [&before, &after] {
        let refused = service.register(&number(1)).await;
        assert!(
            matches!(refused, Err(RegisterError::LimitReached { .. })),
            "{refused:?}"
        );
    }
    // To forget a number is to forget what is stored under either.
    assert_eq!(after.forget(&number(1)).await.unwrap(), 3);
    assert!(after.verifier.find(first.id).await.unwrap().is_none());
}

#[tokio::test]
async fn what_was_begun_under_a_key_that_is_gone_is_over_and_in_nobodys_way() {
    let [old, new] = keys();
    let before = Service::keyed(std::slice::from_ref(&old), limits());
    let first = before.register(&number(1)).await.unwrap();
    let code = latest_code(&before);
    drop(before.with_keys(&[new.clone(), old]));
    let after = before.with_keys(&[new]);
    let verdict = after.check(&number(1), &first.session_token, &code).await;
    assert_eq!(verdict.unwrap(), Verdict::SessionTokenInvalid);
    assert_eq!(
        check_by_id(&after, &first, &code).await,
        Verdict::SessionTokenInvalid
    );
    let over = after.verifier.resend(first.id, None, &Locale::default()).await;
    assert!(matches!(over, Err(ResendError::Over(_))), "{over:?}");
    // The number gets a code of its own, and the sweeps go on.
    let own = after.register(&number(1)).await.unwrap();
    assert_eq!(
        check_by_id(&after, &own, &latest_code(&after)).await,
        Verdict::Valid
    );
    after.clock.advance(LIFETIME * 2);
    after.store.expire_codes(after.clock.now()).await.unwrap();
    assert_eq!(after.verifier.cleanup(LIFETIME, false).await.unwrap(), 2);
}
