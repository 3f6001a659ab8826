//! Registrations, and what they may not do to each other.

use futures_util::future::join_all;

use super::desk::{Desk, LIFETIME, MAX_FAILED_ATTEMPTS, MAX_SESSIONS, MILLISECOND, number, sent, tried};
use crate::{
    model::{Purpose, SecurityCode, Verdict},
    store::{Begun, NewCode, NewVerification},
};

pub async fn a_second_registration_shares_the_code_and_its_end(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    desk.clock.advance(LIFETIME / 2);
    let second = desk.register(&number(1)).await;
    assert_ne!(first.id, second.id);
    assert!(first.code == second.code && first.expires_at == second.expires_at);
    assert_eq!(desk.check(&second, &second.code).await, Verdict::Valid);
}

pub async fn a_code_is_shared_by_those_of_the_same_purpose_alone(desk: &Desk) {
    let purpose = |binding: &str| Purpose {
        name: Some("payout".into()),
        binding: Some(binding.into()),
    };
    let plain = desk.register(&number(1)).await;
    let mut payouts = Vec::new();
    for binding in ["EUR 250", "EUR 9000"] {
        let (code, fresh) = desk.fresh();
        let new = NewVerification {
            purpose: purpose(binding),
            ..desk.new_verification(&number(1), fresh)
        };
        let id = new.id;
        let begun = desk.store.begin_verification(new).await.unwrap();
        assert!(matches!(begun, Begun::Yes { .. }), "{begun:?}");
        payouts.push((id, code, purpose(binding)));
    }
    let check = async |id, code: &SecurityCode, said: &Purpose| {
        let mut rules = desk.rules();
        rules.terms.bound = desk.keyring.bounds(said)[0];
        let checked = desk.store.check_code(id, code.clone(), rules, None);
        checked.await.unwrap()
    };
    for (id, code, purpose) in &payouts {
        let others = payouts.iter().map(|(_, _, other)| other.clone());
        for other in others
            .chain([Purpose::default()])
            .filter(|other| other != purpose)
        {
            assert_eq!(check(*id, code, &other).await, Verdict::SessionTokenInvalid);
        }
        assert_eq!(check(*id, code, purpose).await, Verdict::Valid);
    }
    let again = desk.register(&number(1)).await;
    assert!(
        again.code == plain.code,
        "what is for no purpose shares its code as ever"
    );
    assert_eq!(desk.check(&plain, &plain.code).await, Verdict::Valid);
}

pub async fn registering_again_forgives_no_failure(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    for _ in 0..3 {
        desk.check_wrong(&first).await;
    }
    let second = desk.register(&number(1)).await;
    for _ in 3..MAX_FAILED_ATTEMPTS {
        assert_eq!(desk.check_wrong(&second).await, Verdict::Invalid);
    }
    assert_eq!(desk.check(&second, &second.code).await, Verdict::TooManyAttempts);
}

pub async fn what_others_fail_costs_the_first_session_nothing(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    let stranger = desk.register(&number(1)).await;
    for _ in 0..2 * MAX_FAILED_ATTEMPTS {
        desk.check_wrong(&stranger).await;
    }
    assert_eq!(
        desk.check(&stranger, &stranger.code).await,
        Verdict::TooManyAttempts
    );
    assert_eq!(desk.check(&first, &first.code).await, Verdict::Valid);
}

pub async fn sessions_opened_ahead_of_a_failure_add_one_attempt_each(desk: &Desk) {
    let mut sessions = Vec::new();
    for _ in 0..MAX_SESSIONS {
        sessions.push(desk.register(&number(1)).await);
    }
    let (first, joined) = sessions.split_first().unwrap();
    let mut compared = Vec::new();
    for session in joined.iter().chain([first]) {
        let verdicts = join_all((0..64).map(|_| desk.check_wrong(session))).await;
        compared.push(
            verdicts
                .iter()
                .filter(|verdict| **verdict == Verdict::Invalid)
                .count(),
        );
    }
    let max = MAX_FAILED_ATTEMPTS as usize;
    assert_eq!(compared, [max, 1, max]);
    for session in &sessions {
        assert_eq!(desk.check(session, &session.code).await, Verdict::TooManyAttempts);
    }
}

pub async fn used_up_attempts_are_refused_until_the_code_expires(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    for _ in 0..MAX_FAILED_ATTEMPTS {
        desk.check_wrong(&first).await;
    }
    let refused = desk.try_register(&number(1)).await.unwrap_err();
    assert!(
        matches!(refused, Begun::AttemptsUsedUp { until } if until == first.expires_at.plus(MILLISECOND))
    );
    desk.clock.advance(LIFETIME);
    let refused = desk.try_register(&number(1)).await.unwrap_err();
    assert!(matches!(refused, Begun::AttemptsUsedUp { .. }), "{refused:?}");
    desk.clock.advance(MILLISECOND);
    let next = desk.register(&number(1)).await;
    assert_eq!(desk.check(&next, &next.code).await, Verdict::Valid);
}

pub async fn at_most_so_many_sessions_share_a_code(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    for _ in 1..MAX_SESSIONS {
        desk.register(&number(1)).await;
    }
    let refused = desk.try_register(&number(1)).await.unwrap_err();
    assert!(
        matches!(refused, Begun::TooManySessions { until } if until == first.expires_at.plus(MILLISECOND))
    );
    desk.register(&number(2)).await;
}

pub async fn an_expired_code_makes_room_for_a_fresh_one(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    desk.clock.advance(LIFETIME);
    assert_eq!(desk.register(&number(1)).await.expires_at, first.expires_at);
    desk.clock.advance(MILLISECOND);
    let next = desk.register(&number(1)).await;
    assert_eq!(next.expires_at, desk.clock.now().plus(LIFETIME));
    assert_eq!(desk.check(&next, &next.code).await, Verdict::Valid);
}

pub async fn a_used_code_makes_room_for_a_fresh_one(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    assert_eq!(desk.check(&first, &first.code).await, Verdict::Valid);
    desk.clock.advance(MILLISECOND);
    let next = desk.register(&number(1)).await;
    assert!(next.expires_at > first.expires_at);
    assert_eq!(desk.check(&next, &next.code).await, Verdict::Valid);
}

pub async fn all_who_register_a_number_at_once_share_one_code(desk: &Desk) {
    let number = number(1);
    let all = join_all((0..32).map(|_| desk.try_register(&number))).await;
    let sessions: Vec<_> = all.into_iter().filter_map(Result::ok).collect();
    assert_eq!(sessions.len(), MAX_SESSIONS as usize);
    assert!(sessions.iter().all(|session| session.code == sessions[0].code));
}

pub async fn a_code_that_went_while_the_message_was_worded_is_not_shared(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    let pending = desk.pending(&number(1)).await.unwrap();
    assert_eq!(desk.check(&first, &first.code).await, Verdict::Valid);
    let (begun, _) = desk.begin(&number(1), NewCode::Shared(pending.clone())).await;
    assert!(matches!(begun, Begun::CodeIsGone), "{begun:?}");
    // Another one is pending by now: that one it is.
    desk.register(&number(1)).await;
    let (begun, _) = desk.begin(&number(1), NewCode::Shared(pending)).await;
    assert!(matches!(begun, Begun::CodeIsPending(_)), "{begun:?}");
}

/// So that a further message can go another way.
pub async fn a_pending_code_tells_who_sent_it_last(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    assert_eq!(desk.pending(&number(1)).await.unwrap().sent_by, None);
    let mut dispatched = tried(sent());
    for made in &mut dispatched.tries {
        "acme".clone_into(&mut made.member);
    }
    let settled = desk
        .store
        .settle_message(&session.message, &dispatched, desk.clock.now())
        .await;
    settled.unwrap();
    let pending = desk.pending(&number(1)).await.unwrap();
    assert_eq!(pending.sent_by.as_deref(), Some("acme"));
}
