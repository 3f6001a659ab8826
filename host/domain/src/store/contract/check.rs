//! Checks of codes: counted before they are compared, and right once.

use std::sync::Arc;

use futures_util::future::join_all;

use super::desk::{Desk, LIFETIME, MAX_FAILED_ATTEMPTS, MAX_SESSIONS, MILLISECOND, number, wrong};
use crate::{
    model::{Verdict, VerificationId},
    rules::attempt::{TakenAttempt, Terms},
    store::{Begun, CheckRules, StoreError},
};

const OWN: TakenAttempt = TakenAttempt { is_own: true };

fn with(desk: &Desk, only_once: bool) -> CheckRules {
    let rules = desk.rules();
    CheckRules {
        terms: Terms {
            only_once,
            ..rules.terms
        },
        ..rules
    }
}

pub async fn a_code_is_good_once(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    assert_eq!(desk.check_wrong(&session).await, Verdict::Invalid);
    assert_eq!(desk.check(&session, &session.code).await, Verdict::Valid);
    assert_eq!(
        desk.check(&session, &session.code).await,
        Verdict::AlreadyVerified
    );
}

pub async fn of_64_right_codes_at_once_exactly_one_is_valid(desk: &Desk) {
    for n in 0..10 {
        let session = desk.register(&number(n)).await;
        let verdicts = join_all((0..64).map(|_| desk.check(&session, &session.code))).await;
        let valid = verdicts
            .iter()
            .filter(|verdict| **verdict == Verdict::Valid)
            .count();
        assert_eq!(valid, 1, "{verdicts:?}");
    }
}

pub async fn of_64_wrong_codes_at_once_no_more_are_compared_than_allowed(desk: &Desk) {
    for n in 0..10 {
        let session = desk.register(&number(n)).await;
        let verdicts = join_all((0..64).map(|_| desk.check_wrong(&session))).await;
        let compared = verdicts
            .iter()
            .filter(|verdict| **verdict == Verdict::Invalid)
            .count();
        assert_eq!(compared, MAX_FAILED_ATTEMPTS as usize, "{verdicts:?}");
        assert!(
            verdicts
                .iter()
                .all(|verdict| matches!(verdict, Verdict::Invalid | Verdict::TooManyAttempts))
        );
    }
}

pub async fn of_64_codes_at_once_in_all_sessions_of_a_code_one_is_valid_and_few_are_compared(desk: &Desk) {
    // What the first has, what those that joined share, and one of each of them.
    let most = 2 * MAX_FAILED_ATTEMPTS + MAX_SESSIONS - 2;
    for n in 0..10 {
        let mut sessions = Vec::new();
        for _ in 0..MAX_SESSIONS {
            sessions.push(desk.register(&number(n)).await);
        }
        let wrong = (0..64).map(|turn| desk.check_wrong(&sessions[turn % sessions.len()]));
        let verdicts = join_all(wrong).await;
        let compared = verdicts.iter().filter(|verdict| **verdict == Verdict::Invalid);
        let compared = compared.count();
        assert!(compared <= most as usize, "{compared} of {verdicts:?}");

        sessions.clear();
        for _ in 0..MAX_SESSIONS {
            sessions.push(desk.register(&number(100 + n)).await);
        }
        let right = (0..64).map(|turn| {
            let session = &sessions[turn % sessions.len()];
            desk.check(session, &session.code)
        });
        let verdicts = join_all(right).await;
        let valid = verdicts.iter().filter(|verdict| **verdict == Verdict::Valid);
        assert_eq!(valid.count(), 1, "{verdicts:?}");
    }
}

pub async fn two_processes_judge_a_code_as_one(desk: &Desk) {
    let second = desk.second();
    let process = |turn| if turn % 2 == 0 { desk } else { &second };
    let count =
        |verdicts: &[Verdict], one: Verdict| verdicts.iter().filter(|verdict| **verdict == one).count();
    for n in 0..10 {
        let [right, wrong] = [
            desk.register(&number(n)).await,
            desk.register(&number(100 + n)).await,
        ];
        let checks = (0..64).map(|turn| process(turn).check(&right, &right.code));
        assert_eq!(count(&join_all(checks).await, Verdict::Valid), 1);
        let checks = (0..64).map(|turn| process(turn).check_wrong(&wrong));
        let compared = count(&join_all(checks).await, Verdict::Invalid);
        assert_eq!(compared, MAX_FAILED_ATTEMPTS as usize);
    }
}

pub async fn a_code_may_be_good_for_longer_than_once(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    let rules = with(desk, false);
    for _ in 0..2 * MAX_FAILED_ATTEMPTS {
        let verdict = desk
            .store
            .check_code(session.id, session.code.clone(), rules, None)
            .await;
        assert_eq!(verdict.unwrap(), Verdict::Valid);
    }
    assert_eq!(
        desk.check(&session, &session.code).await,
        Verdict::AlreadyVerified
    );
}

pub async fn a_code_is_good_to_the_last_millisecond(desk: &Desk) {
    let [in_time, late] = [desk.register(&number(1)).await, desk.register(&number(2)).await];
    desk.clock.advance(LIFETIME);
    assert_eq!(desk.check(&in_time, &in_time.code).await, Verdict::Valid);
    desk.clock.advance(MILLISECOND);
    assert_eq!(desk.check_wrong(&late).await, Verdict::Invalid);
    for _ in 1..MAX_FAILED_ATTEMPTS {
        assert_eq!(desk.check(&late, &late.code).await, Verdict::Expired);
    }
    assert_eq!(desk.check(&late, &late.code).await, Verdict::TooManyAttempts);
}

pub async fn a_locked_session_takes_no_code(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    for _ in 0..MAX_FAILED_ATTEMPTS {
        assert_eq!(desk.check_wrong(&session).await, Verdict::Invalid);
    }
    assert_eq!(
        desk.check(&session, &session.code).await,
        Verdict::TooManyAttempts
    );
    desk.clock.advance(LIFETIME * 2);
    assert_eq!(
        desk.check(&session, &session.code).await,
        Verdict::TooManyAttempts
    );
}

/// Else a right code would buy as many guesses again.
pub async fn a_success_gives_no_attempt_back(desk: &Desk) {
    for only_once in [true, false] {
        let session = desk.register(&number(u32::from(only_once))).await;
        let rules = with(desk, only_once);
        let check = async |code| {
            let verdict = desk.store.check_code(session.id, code, rules, None);
            verdict.await.unwrap()
        };
        for _ in 1..MAX_FAILED_ATTEMPTS {
            assert_eq!(check(wrong(&session.code)).await, Verdict::Invalid);
        }
        assert_eq!(check(session.code.clone()).await, Verdict::Valid);
        assert_eq!(check(wrong(&session.code)).await, Verdict::Invalid);
        let none_left = if only_once {
            Verdict::AlreadyVerified
        } else {
            Verdict::TooManyAttempts
        };
        for code in [wrong(&session.code), session.code.clone()] {
            assert_eq!(check(code).await, none_left, "nothing is compared any more");
        }
    }
}

pub async fn a_verified_session_is_told_so_for_good(desk: &Desk) {
    let [first, joined] = [desk.register(&number(1)).await, desk.register(&number(1)).await];
    assert_eq!(desk.check(&joined, &joined.code).await, Verdict::Valid);
    for _ in 0..4 * MAX_FAILED_ATTEMPTS {
        assert_eq!(desk.check(&joined, &joined.code).await, Verdict::AlreadyVerified);
    }
    for _ in 0..MAX_FAILED_ATTEMPTS {
        desk.check(&first, &first.code).await;
    }
    // Which another session verified, not this one.
    assert_eq!(desk.check(&first, &first.code).await, Verdict::TooManyAttempts);
}

/// A session that joined has one attempt of its own, and else takes from what all share.
pub async fn an_attempt_is_given_back_to_where_it_was_taken_from(desk: &Desk) {
    let [_first, joined] = [desk.register(&number(1)).await, desk.register(&number(1)).await];
    desk.check_wrong(&joined).await;
    let (store, rules) = (&desk.store, desk.rules());
    for _ in 0..3 {
        let taken = store.take_attempt(joined.id, rules, None).await.unwrap().unwrap();
        assert!(!taken.is_own);
        store
            .settle_attempt(joined.id, taken, None, rules, None)
            .await
            .unwrap();
    }
    let mut compared = 1;
    while desk.check_wrong(&joined).await == Verdict::Invalid {
        compared += 1;
    }
    assert_eq!(compared, MAX_FAILED_ATTEMPTS);
}

pub async fn an_unknown_session_is_told_so(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    let nobody = VerificationId([7; 16]);
    let (store, rules) = (&desk.store, desk.rules());
    let unknown = Verdict::SessionTokenInvalid;
    assert_eq!(
        store
            .check_code(nobody, session.code.clone(), rules, None)
            .await
            .unwrap(),
        unknown
    );
    assert_eq!(
        store
            .compare_code(nobody, session.code.clone(), rules)
            .await
            .unwrap(),
        unknown
    );
    assert_eq!(
        store.take_attempt(nobody, rules, None).await.unwrap(),
        Err(unknown)
    );
    assert_eq!(
        store
            .settle_attempt(nobody, OWN, Some(Verdict::Valid), rules, None)
            .await
            .unwrap(),
        Some(unknown)
    );
}

pub async fn a_code_that_was_used_in_one_session_is_used_in_all(desk: &Desk) {
    let [first, second] = [desk.register(&number(1)).await, desk.register(&number(1)).await];
    assert_eq!(desk.check(&second, &second.code).await, Verdict::Valid);
    assert_eq!(desk.check(&first, &first.code).await, Verdict::AlreadyVerified);
}

pub async fn an_attempt_is_taken_before_the_backend_is_asked(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    let taken = join_all((0..64).map(|_| desk.store.take_attempt(session.id, desk.rules(), None))).await;
    let taken = taken.into_iter().filter(|taken| matches!(taken, Ok(Ok(_))));
    let taken = taken.count();
    assert_eq!(taken, MAX_FAILED_ATTEMPTS as usize);
    assert_eq!(
        desk.check(&session, &session.code).await,
        Verdict::TooManyAttempts
    );
}

pub async fn an_attempt_without_a_verdict_is_given_back(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    for _ in 0..3 * MAX_FAILED_ATTEMPTS {
        assert_eq!(
            desk.store
                .take_attempt(session.id, desk.rules(), None)
                .await
                .unwrap(),
            Ok(OWN)
        );
        assert_eq!(
            desk.store
                .settle_attempt(session.id, OWN, None, desk.rules(), None)
                .await
                .unwrap(),
            None
        );
    }
    // Given back once more than it was taken, it is no more than at the beginning.
    desk.store
        .settle_attempt(session.id, OWN, None, desk.rules(), None)
        .await
        .unwrap();
    for _ in 0..MAX_FAILED_ATTEMPTS {
        assert_eq!(desk.check_wrong(&session).await, Verdict::Invalid);
    }
    assert_eq!(desk.check_wrong(&session).await, Verdict::TooManyAttempts);
}

pub async fn two_verdicts_of_a_backend_use_a_code_once(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    let (store, rules) = (&desk.store, desk.rules());
    for right in [&session.code, &wrong(&session.code)] {
        assert_eq!(
            store.take_attempt(session.id, rules, None).await.unwrap(),
            Ok(OWN)
        );
        let verdict = store
            .compare_code(session.id, right.clone(), rules)
            .await
            .unwrap();
        assert_eq!(verdict == Verdict::Valid, *right == session.code);
    }
    let first = store.settle_attempt(session.id, OWN, Some(Verdict::Valid), rules, None);
    let second = store.settle_attempt(session.id, OWN, Some(Verdict::Valid), rules, None);
    let verdicts = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(verdicts, [Some(Verdict::Valid), Some(Verdict::AlreadyVerified)]);
}

/// The digest that the host has of it may be of no code at all.
pub async fn a_code_of_a_backend_is_judged_by_nobody_else(desk: &Desk) {
    let (code, fresh) = desk.fresh();
    let mut new = desk.new_verification(&number(1), fresh);
    new.message.owner = Some("acme".into());
    let id = new.id;
    assert!(matches!(
        desk.store.begin_verification(new).await,
        Ok(Begun::Yes { .. })
    ));
    for store in [&desk.store, &desk.second().store] {
        for _ in 0..2 * MAX_FAILED_ATTEMPTS {
            let refused = store.check_code(id, code.clone(), desk.rules(), None).await;
            assert!(
                matches!(&refused, Err(StoreError::OwnedByBackend(owner)) if owner == "acme"),
                "{refused:?}"
            );
        }
    }
    let pending = desk.pending(&number(1)).await.unwrap();
    assert_eq!(pending.owner.as_deref(), Some("acme"));
    let found = desk.store.find_verification(id, desk.rules(), Arc::default());
    let found = found.await.unwrap().unwrap();
    assert_eq!(found.owner.as_deref(), Some("acme"));
    assert_eq!(found.verification.attempts_remaining, MAX_FAILED_ATTEMPTS);
    let left = desk.after_a_crash().taken_over().await;
    assert!(left.iter().all(|message| message.carries_code));
    assert_eq!(left[0].owner.as_deref(), Some("acme"));
    // The backend's own verdict is what counts.
    let taken = desk.store.take_attempt(id, desk.rules(), None).await.unwrap();
    let settled = desk
        .store
        .settle_attempt(id, taken.unwrap(), Some(Verdict::Valid), desk.rules(), None);
    assert_eq!(settled.await.unwrap(), Some(Verdict::Valid));
}
