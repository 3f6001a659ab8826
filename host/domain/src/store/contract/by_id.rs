//! A verification that is named by its id: found, ended, and sent again.

use std::sync::Arc;

use super::desk::{
    Desk, LIFETIME, MAX_FAILED_ATTEMPTS, MAX_SESSIONS, MILLISECOND, Session, failed, number, sent, tried,
};
use crate::{
    model::{Delivery, FailureClass, Status, Verdict, VerificationId},
    store::{AuditEntry, Begun, Found, Lookup, MessageBegun, OutboxMessage, RequestKey},
};

const NOBODY: VerificationId = VerificationId([7; 16]);

impl Desk {
    async fn found(&self, session: &Session) -> Found {
        let found = self
            .store
            .find_verification(session.id, self.rules(), Arc::default())
            .await;
        found.unwrap().expect("it was registered")
    }

    /// Begins a further message of a session.
    async fn resend(&self, session: &Session) -> (MessageBegun, OutboxMessage) {
        let mut message = session.message.clone();
        message.id = self.new_message_id();
        let begun = self
            .store
            .begin_message(message.clone(), None, self.clock.now(), None)
            .await;
        (begun.unwrap(), message)
    }

    pub async fn cancel(&self, id: VerificationId, request: Option<&RequestKey>) -> bool {
        let entry = AuditEntry {
            at: self.clock.now(),
            actor: "api:test".to_owned(),
            action: "cancel".to_owned(),
            subject: id.to_string(),
        };
        let ended = self.store.cancel_verification(id, entry, request);
        ended.await.unwrap()
    }
}

pub async fn a_verification_is_found_as_it_stands(desk: &Desk) {
    let begun_at = desk.clock.now();
    let session = desk.register(&number(1)).await;
    let found = desk.found(&session).await;
    assert_eq!(found.verification.status, Status::Pending);
    assert_eq!(found.verification.attempts_remaining, MAX_FAILED_ATTEMPTS);
    assert_eq!(found.verification.created_at, begun_at);
    assert_eq!(found.verification.expires_at, session.expires_at);
    assert_eq!(found.verification.delivery(), Delivery::Pending);
    assert!(found.code == Some((session.code.clone(), number(1))));

    desk.settle(&session, sent()).await;
    desk.check_wrong(&session).await;
    let found = desk.found(&session).await;
    assert_eq!(found.verification.delivery(), Delivery::Sent);
    let [message] = &*found.verification.messages else {
        panic!("one message: {found:?}")
    };
    assert_eq!(message.id, session.message.id);
    assert_eq!(message.provider_id.as_deref(), Some("SM1"));
    assert_eq!(message.backend.as_deref(), Some("test.TestBackend"));
    assert_eq!(message.tries, tried(sent()).tries);
    assert_eq!(found.verification.attempts_remaining, MAX_FAILED_ATTEMPTS - 1);

    desk.clock.advance(MILLISECOND);
    assert_eq!(desk.check(&session, &session.code).await, Verdict::Valid);
    let found = desk.found(&session).await;
    assert_eq!(found.verification.status, Status::Verified);
    assert_eq!(found.verification.verified_at, Some(desk.clock.now()));
    assert!(found.code.is_none(), "what was used is not sent again");
}

pub async fn a_verification_that_has_no_attempts_or_no_time_left_says_so(desk: &Desk) {
    let [failed, late] = [desk.register(&number(1)).await, desk.register(&number(2)).await];
    for _ in 0..MAX_FAILED_ATTEMPTS {
        desk.check_wrong(&failed).await;
    }
    assert_eq!(desk.found(&failed).await.verification.status, Status::Failed);
    desk.clock.advance(LIFETIME);
    assert_eq!(desk.found(&late).await.verification.status, Status::Pending);
    desk.clock.advance(MILLISECOND);
    let found = desk.found(&late).await;
    assert_eq!(found.verification.status, Status::Expired);
    assert_eq!(found.verification.attempts_remaining, 0);
    assert!(found.code.is_none());
}

impl Desk {
    async fn latest(
        &self,
        lookup: Lookup,
        before: Option<VerificationId>,
        limit: u32,
    ) -> Vec<VerificationId> {
        let latest = self
            .store
            .latest_verifications(lookup, before, limit, self.rules(), Arc::default());
        let latest = latest.await.unwrap().into_iter();
        latest.map(|found| found.verification.id).collect()
    }
}

pub async fn the_latest_of_a_number_are_found_and_of_no_other(desk: &Desk) {
    let mut ids = Vec::new();
    for _ in 0..MAX_SESSIONS {
        ids.insert(0, desk.register(&number(1)).await.id);
        desk.register(&number(2)).await;
        desk.clock.advance(MILLISECOND);
    }
    let of_number = || Lookup::Number(number(1));
    assert_eq!(desk.latest(of_number(), None, 10).await, ids);
    assert_eq!(desk.latest(of_number(), None, 2).await, ids[..2]);
    assert_eq!(desk.latest(of_number(), Some(ids[1]), 10).await, ids[2..]);
    assert_eq!(desk.latest(Lookup::Number(number(3)), None, 10).await, []);
}

pub async fn the_latest_of_a_callers_name_are_found_under_any_key(desk: &Desk) {
    let mut ids = Vec::new();
    for (n, name) in [(1, "order 7"), (2, "order 7"), (3, "order 8")] {
        let (_, code) = desk.fresh();
        let mut new = desk.new_verification(&number(n), code);
        new.client_ref = Some(name.into());
        ids.insert(0, new.id);
        assert!(matches!(
            desk.store.begin_verification(new).await.unwrap(),
            Begun::Yes { .. }
        ));
        desk.clock.advance(MILLISECOND);
    }
    desk.register(&number(4)).await;
    let of_name = |name: &str| Lookup::ClientRef(name.into());
    assert_eq!(desk.latest(of_name("order 7"), None, 10).await, ids[1..]);
    assert_eq!(desk.latest(of_name("order 7"), Some(ids[1]), 10).await, ids[2..]);
    assert_eq!(desk.latest(of_name("Order 7"), None, 10).await, []);
    assert_eq!(desk.latest(of_name(""), None, 10).await, []);
}

pub async fn of_what_is_not_there_nothing_is_found_ended_or_sent(desk: &Desk) {
    let found = desk
        .store
        .find_verification(NOBODY, desk.rules(), Arc::default())
        .await;
    assert!(found.unwrap().is_none());
    assert!(!desk.cancel(NOBODY, None).await);
    let mut session = desk.register(&number(1)).await;
    session.message.verification = NOBODY;
    let (begun, _) = desk.resend(&session).await;
    assert!(matches!(begun, MessageBegun::CodeIsGone), "{begun:?}");
}

pub async fn a_cancelled_session_takes_no_code_and_keeps_its_place(desk: &Desk) {
    let mut sessions = Vec::new();
    for _ in 0..MAX_SESSIONS {
        sessions.push(desk.register(&number(1)).await);
    }
    let [cancelled, .., other] = &*sessions else {
        panic!("several share a code")
    };
    assert!(desk.cancel(cancelled.id, None).await);
    assert_eq!(desk.found(cancelled).await.verification.status, Status::Cancelled);
    assert_eq!(
        desk.check(cancelled, &cancelled.code).await,
        Verdict::TooManyAttempts
    );
    let refused = desk.try_register(&number(1)).await.unwrap_err();
    assert!(matches!(refused, Begun::TooManySessions { .. }), "{refused:?}");
    assert_eq!(desk.check(other, &other.code).await, Verdict::Valid);
    // What is over stays as it ended.
    assert!(!desk.cancel(other.id, None).await);
    assert_eq!(desk.found(other).await.verification.status, Status::Verified);
}

pub async fn a_further_message_is_begun_as_long_as_its_code_is_good(desk: &Desk) {
    let [used, cancelled, late] = [
        desk.register(&number(1)).await,
        desk.register(&number(2)).await,
        desk.register(&number(3)).await,
    ];
    for session in [&used, &cancelled, &late] {
        desk.settle(session, sent()).await;
    }
    desk.check(&used, &used.code).await;
    assert!(desk.cancel(cancelled.id, None).await);
    desk.clock.advance(LIFETIME);
    let (begun, message) = desk.resend(&late).await;
    assert!(matches!(begun, MessageBegun::Yes(None)), "{begun:?}");
    assert_eq!(desk.found(&late).await.verification.delivery(), Delivery::Pending);
    let taken = desk.after_a_crash().taken_over().await;
    let taken: Vec<_> = taken.into_iter().map(|message| message.id).collect();
    assert_eq!(taken, [message.id], "it is taken over as the first one is");
    desk.clock.advance(MILLISECOND);
    for session in [used, cancelled, late] {
        let (begun, _) = desk.resend(&session).await;
        assert!(matches!(begun, MessageBegun::CodeIsGone), "{begun:?}");
    }
}

pub async fn a_further_message_that_was_not_sent_ends_nothing(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.settle(&session, sent()).await;
    let (_, message) = desk.resend(&session).await;
    let refused = tried(failed(FailureClass::NoCredit));
    desk.store
        .settle_message(&message, &refused, desk.clock.now())
        .await
        .unwrap();
    let found = desk.found(&session).await;
    assert_eq!(found.verification.status, Status::Pending);
    assert_eq!(
        found.verification.delivery(),
        Delivery::Failed(FailureClass::NoCredit)
    );
    assert_eq!(found.verification.first_delivery(), Delivery::Sent);
    assert_eq!(desk.check(&session, &session.code).await, Verdict::Valid);
}
