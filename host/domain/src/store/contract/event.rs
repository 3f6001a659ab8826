//! Events: recorded with what makes them happen, in its order.

use std::{sync::Arc, time::Duration};

use super::desk::{Desk, MAX_FAILED_ATTEMPTS, MILLISECOND, failed, number, sent};
use crate::{
    model::{
        DeliveryReport, Event, EventKind as Kind, FailureClass, ProviderMessageId, ReportedState, Verdict,
    },
    store::{AuditEntry, WhichEvents},
};

const ALL: WhichEvents = WhichEvents::Latest(1000);

impl Desk {
    fn records_events(&self) {
        self.store.record_events(true);
    }

    async fn events(&self, which: WhichEvents) -> Vec<Event> {
        self.store.events(which).await.unwrap()
    }

    async fn kinds(&self) -> Vec<Kind> {
        self.events(ALL).await.iter().map(|event| event.kind).collect()
    }

    async fn is_reported(&self, state: ReportedState) {
        let report = DeliveryReport::new(ProviderMessageId::new("SM1").unwrap(), state);
        let reported =
            self.store
                .apply_reports("default", "test.TestBackend", vec![report], self.clock.now());
        reported.await.unwrap();
    }
}

pub async fn nothing_is_recorded_unless_it_is_asked_for(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.settle(&session, sent()).await;
    assert_eq!(desk.kinds().await, []);
    desk.records_events();
    desk.register(&number(2)).await;
    assert_eq!(
        desk.kinds().await,
        [Kind::VerificationStarted, Kind::MessageQueued]
    );
    desk.store.record_events(false);
    desk.register(&number(3)).await;
    assert_eq!(desk.kinds().await.len(), 2);
}

pub async fn a_verification_is_told_from_its_begin_to_its_end(desk: &Desk) {
    desk.records_events();
    let verified = desk.register(&number(1)).await;
    desk.settle(&verified, sent()).await;
    desk.clock.advance(MILLISECOND);
    assert_eq!(desk.check_wrong(&verified).await, Verdict::Invalid);
    assert_eq!(desk.check(&verified, &verified.code).await, Verdict::Valid);
    desk.check(&verified, &verified.code).await;
    let events = desk.events(ALL).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let expected = [
        Kind::VerificationStarted,
        Kind::MessageQueued,
        Kind::MessageSent,
        Kind::VerificationVerified,
    ];
    assert_eq!(kinds, expected);
    assert!(events.iter().all(|event| event.verification == Some(verified.id)));
    assert!(events.iter().all(|event| event.number == Some(number(1))));
    let of_message: Vec<_> = events.iter().map(|event| event.message.is_some()).collect();
    assert_eq!(of_message, [false, true, true, false]);
    assert_eq!(events[3].at, desk.clock.now());
    assert!(events.is_sorted_by_key(|event| event.place));

    let guessed = desk.register(&number(2)).await;
    for _ in 0..=MAX_FAILED_ATTEMPTS {
        desk.check_wrong(&guessed).await;
    }
    assert_eq!(desk.kinds().await[6..], [Kind::VerificationFailed]);
    let cancelled = desk.register(&number(3)).await;
    for _ in 0..2 {
        desk.cancel(cancelled.id, None).await;
    }
    assert_eq!(desk.kinds().await[9..], [Kind::VerificationCancelled]);
}

pub async fn a_message_is_told_as_what_became_of_it(desk: &Desk) {
    desk.records_events();
    for (class, kind) in [
        (FailureClass::NoCredit, Kind::MessageFailed),
        (FailureClass::OutcomeUnknown, Kind::MessageUnknown),
    ] {
        let session = desk.register(&number(1)).await;
        desk.settle(&session, failed(class)).await;
        let events = desk.events(ALL).await;
        let last = events.last().unwrap();
        assert_eq!((last.kind, last.details.class), (kind, Some(class)));
        assert_eq!(last.details.backend.as_deref(), Some("test.TestBackend"));
        assert_eq!(last.details.code.as_deref(), Some("test"));
        // Once.
        desk.settle(&session, failed(class)).await;
        assert_eq!(desk.events(ALL).await.len(), events.len());
    }
    let session = desk.register(&number(2)).await;
    desk.settle(&session, sent()).await;
    let before = desk.kinds().await.len();
    for state in [
        ReportedState::Sent,
        ReportedState::Undelivered,
        ReportedState::Sent,
        ReportedState::Undelivered,
        ReportedState::Delivered,
        ReportedState::Undelivered,
    ] {
        desk.is_reported(state).await;
    }
    let told = desk.events(ALL).await.split_off(before);
    let kinds: Vec<_> = told.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::MessageUndelivered, Kind::MessageDelivered]);
    assert!(told.iter().all(|event| event.number == Some(number(2))));
}

pub async fn a_text_is_told_as_one(desk: &Desk) {
    desk.records_events();
    let text = desk.begun_text(&number(1)).await;
    desk.settle_text(&text, sent()).await;
    desk.is_reported(ReportedState::Delivered).await;
    let events = desk.events(ALL).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [Kind::MessageQueued, Kind::MessageSent, Kind::MessageDelivered]
    );
    for event in events {
        assert_eq!((event.verification, event.message), (None, Some(text.id)));
        assert_eq!(event.number, Some(number(1)));
    }
}

pub async fn an_event_is_as_durable_as_what_it_tells(desk: &Desk) {
    desk.records_events();
    let session = desk.register(&number(1)).await;
    desk.check(&session, &session.code).await;
    let next = desk.after_a_crash();
    let told = [
        Kind::VerificationStarted,
        Kind::MessageQueued,
        Kind::VerificationVerified,
    ];
    assert_eq!(next.kinds().await, told);
    // What the dead process may have sent is told by the next one.
    next.records_events();
    next.taken_over().await;
    assert_eq!(next.kinds().await[3..], [Kind::MessageUnknown]);
}

pub async fn events_are_read_on_from_a_place(desk: &Desk) {
    desk.records_events();
    for n in 1..=3 {
        desk.register(&number(n)).await;
    }
    let all = desk.events(ALL).await;
    assert_eq!(desk.events(WhichEvents::Latest(2)).await, all[4..]);
    let after = |place, limit| WhichEvents::After { place, limit };
    assert_eq!(desk.events(after(0, 4)).await, all[..4]);
    assert_eq!(desk.events(after(all[3].place, 4)).await, all[4..]);
    assert_eq!(desk.events(after(all[5].place, 4)).await, []);
}

pub async fn events_leave_with_their_number_and_in_their_time(desk: &Desk) {
    desk.records_events();
    desk.register(&number(1)).await;
    desk.begun_text(&number(1)).await;
    desk.register(&number(2)).await;
    let entry = AuditEntry {
        at: desk.clock.now(),
        actor: "uid:0".to_owned(),
        action: "forget".to_owned(),
        subject: number(1).masked(),
    };
    desk.store.forget(&number(1), Some(entry)).await.unwrap();
    let left = desk.events(ALL).await;
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|event| event.number == Some(number(2))));
    let begun = desk.clock.now();
    desk.clock.advance(Duration::from_secs(60));
    desk.register(&number(3)).await;
    assert_eq!(desk.store.delete_events_before(begun).await.unwrap(), 0);
    assert_eq!(
        desk.store
            .delete_events_before(begun.plus(MILLISECOND))
            .await
            .unwrap(),
        2
    );
    assert_eq!(desk.events(ALL).await.len(), 2);
    // The places of what left are not given again.
    assert!(desk.events(ALL).await[0].place > left[1].place);
}

pub async fn no_number_or_code_of_an_event_can_be_read_in_the_database(desk: &Desk) {
    desk.records_events();
    let session = desk.register(&number(1)).await;
    desk.settle(&session, sent()).await;
    desk.check(&session, &session.code).await;
    let engine = Arc::clone(&desk.engine);
    for (name, bytes) in engine.stored() {
        for secret in [number(1).e164().as_bytes(), session.code.expose().as_bytes()] {
            let is_in = bytes.windows(secret.len()).any(|part| part == secret);
            assert!(!is_in, "{name}");
        }
    }
}
