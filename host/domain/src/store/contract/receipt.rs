//! Reports of providers: each finds its message, whichever process takes it and whenever it comes.

use std::time::Duration;

use super::desk::{Desk, MILLISECOND, Session, number, tried};
use crate::{
    model::{
        Cost, Delivery, DeliveryReport, FailureClass, ProviderMessageId, Receipt, ReportedMessage,
        ReportedState, Verdict,
    },
    rules::receipt::{EARLY_REPORT_MILLIS, MAX_EARLY_REPORTS},
    store::ReportOutcome,
};

/// The name in the settings and the backend of [`tried`].
const MEMBER: &str = "default";
const BACKEND: &str = "test.TestBackend";

fn report(id: &str, state: ReportedState) -> DeliveryReport {
    DeliveryReport::new(ProviderMessageId::new(id).unwrap(), state)
}

impl Desk {
    /// The provider accepts the message of a session under this id.
    async fn accepted(&self, session: &Session, id: &str) {
        let receipt = Receipt {
            message_id: Some("shown".into()),
            exact_id: Some(id.into()),
            ..Receipt::default()
        };
        let dispatched = tried(Ok(receipt));
        let settled = self
            .store
            .settle_message(&session.message, &dispatched, self.clock.now());
        settled.await.unwrap();
    }

    async fn reported(&self, backend: &str, report: DeliveryReport) -> ReportOutcome {
        let now = self.clock.now();
        let outcomes = self
            .store
            .apply_reports(MEMBER, backend, vec![report], now)
            .await
            .unwrap();
        let [outcome] = &outcomes[..] else {
            panic!("one outcome for one report, not {outcomes:?}")
        };
        outcome.clone()
    }

    async fn recorded(&self, report: DeliveryReport) -> ReportedMessage {
        match self.reported(BACKEND, report).await {
            ReportOutcome::Recorded(message) => *message,
            outcome => panic!("{outcome:?}"),
        }
    }

    async fn delivery(&self, session: &Session) -> Delivery {
        let found = self.store.find_verification(session.id, self.rules(), [].into());
        found.await.unwrap().unwrap().verification.delivery()
    }
}

pub async fn a_report_finds_its_message_by_backend_and_id_alone(desk: &Desk) {
    let sessions = [desk.register(&number(1)).await, desk.register(&number(2)).await];
    desk.accepted(&sessions[0], "A").await;
    desk.accepted(&sessions[1], "B").await;
    let mut delivered = report("B", ReportedState::Delivered).with_code("000");
    delivered.cost = Cost::parse("0.05", "EUR");
    delivered.segments = Some(2);
    let reported = desk.recorded(delivered.clone()).await;
    assert_eq!(
        (reported.verification, reported.id),
        (sessions[1].id, sessions[1].message.id)
    );
    assert_eq!(
        (reported.backend.as_str(), reported.delivery),
        (BACKEND, Delivery::Delivered)
    );
    assert_eq!(reported.country, number(2).country());
    assert!(reported.is_new_state);
    assert_eq!(desk.delivery(&sessions[1]).await, Delivery::Delivered);
    assert_eq!(desk.delivery(&sessions[0]).await, Delivery::Sent);
    let found = desk
        .store
        .find_verification(sessions[1].id, desk.rules(), [].into());
    let messages = found.await.unwrap().unwrap().verification.messages;
    let known = messages[0].reported.as_ref().unwrap();
    assert_eq!((known.cost, known.segments), (delivered.cost, Some(2)));
    assert_eq!(known.code.as_deref(), Some("000"));
    assert_eq!(known.received_at, desk.clock.now());
    // The id of one backend is nobody's at another.
    let other = desk.reported("test.OtherBackend", report("A", ReportedState::Undelivered));
    assert_eq!(other.await, ReportOutcome::Early);
    assert_eq!(desk.delivery(&sessions[0]).await, Delivery::Sent);
}

pub async fn a_report_that_comes_again_changes_nothing(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.accepted(&session, "A").await;
    let mut undelivered = report("A", ReportedState::Undelivered);
    undelivered.class = Some(FailureClass::UnreachableNumber);
    desk.recorded(undelivered.clone()).await;
    desk.clock.advance(MILLISECOND);
    for late in [undelivered, report("A", ReportedState::Sent)] {
        assert_eq!(desk.reported(BACKEND, late).await, ReportOutcome::NothingNew);
    }
    assert_eq!(desk.delivery(&session).await, Delivery::Undelivered);
    // All in one request, in whichever order.
    let again = [
        ReportedState::Delivered,
        ReportedState::Sent,
        ReportedState::Delivered,
    ];
    let again = again.map(|state| report("A", state)).to_vec();
    let outcomes = desk
        .store
        .apply_reports(MEMBER, BACKEND, again, desk.clock.now())
        .await
        .unwrap();
    assert!(
        matches!(&outcomes[0], ReportOutcome::Recorded(message) if message.delivery == Delivery::Delivered)
    );
    assert_eq!(
        outcomes[1..],
        [ReportOutcome::NothingNew, ReportOutcome::NothingNew]
    );
}

pub async fn a_report_about_another_processs_message_is_recorded(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.accepted(&session, "A").await;
    let other = desk.second();
    other.recorded(report("A", ReportedState::Delivered)).await;
    assert_eq!(desk.delivery(&session).await, Delivery::Delivered);
}

pub async fn a_report_before_its_message_is_settled_is_kept_and_recorded(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    let early = desk.clock.now();
    let delivered = report("A", ReportedState::Delivered).with_code("7");
    assert_eq!(desk.reported(BACKEND, delivered).await, ReportOutcome::Early);
    let nothing_yet = desk.store.apply_early_reports(desk.clock.now()).await.unwrap();
    assert_eq!((nothing_yet.recorded.len(), nothing_yet.waiting), (0, 1));
    assert_eq!(desk.delivery(&session).await, Delivery::Pending);
    desk.clock.advance(Duration::from_secs(30));
    desk.accepted(&session, "A").await;
    let applied = desk.store.apply_early_reports(desk.clock.now()).await.unwrap();
    let [message] = &applied.recorded[..] else {
        panic!("{applied:?}")
    };
    assert_eq!(
        (message.verification, message.delivery),
        (session.id, Delivery::Delivered)
    );
    // When it came, and not when it was recorded.
    assert_eq!(message.reported.received_at, early);
    assert_eq!(message.reported.code.as_deref(), Some("7"));
    assert_eq!((applied.unknown, applied.waiting), (0, 0));
    assert_eq!(desk.delivery(&session).await, Delivery::Delivered);
}

pub async fn a_report_about_no_message_is_given_up(desk: &Desk) {
    desk.reported(BACKEND, report("nobody's", ReportedState::Delivered))
        .await;
    desk.clock.advance(Duration::from_millis(EARLY_REPORT_MILLIS));
    let kept = desk.store.apply_early_reports(desk.clock.now()).await.unwrap();
    assert_eq!((kept.unknown, kept.waiting), (0, 1));
    desk.clock.advance(MILLISECOND);
    let given_up = desk.store.apply_early_reports(desk.clock.now()).await.unwrap();
    assert_eq!((given_up.unknown, given_up.waiting), (1, 0));
}

pub async fn no_more_than_so_many_unknown_reports_are_kept(desk: &Desk) {
    let mut kept = 0;
    for n in 0..=MAX_EARLY_REPORTS / 100 {
        let flood = (0..100).map(|m| report(&format!("{n}-{m}"), ReportedState::Delivered));
        let outcomes = desk
            .store
            .apply_reports(MEMBER, BACKEND, flood.collect(), desk.clock.now());
        let outcomes = outcomes.await.unwrap();
        kept += outcomes
            .iter()
            .filter(|outcome| **outcome == ReportOutcome::Early)
            .count();
    }
    assert_eq!(kept, MAX_EARLY_REPORTS as usize);
    let more = desk
        .reported(BACKEND, report("more", ReportedState::Delivered))
        .await;
    assert_eq!(more, ReportOutcome::Unknown);
    // A message that is known is found all the same.
    let session = desk.register(&number(1)).await;
    desk.accepted(&session, "A").await;
    desk.recorded(report("A", ReportedState::Delivered)).await;
}

pub async fn an_acknowledged_report_survives_a_crash(desk: &Desk) {
    let sessions = [desk.register(&number(1)).await, desk.register(&number(2)).await];
    desk.accepted(&sessions[0], "A").await;
    desk.recorded(report("A", ReportedState::Undelivered)).await;
    desk.reported(BACKEND, report("B", ReportedState::Delivered))
        .await;
    let next = desk.after_a_crash();
    assert_eq!(next.delivery(&sessions[0]).await, Delivery::Undelivered);
    // The process that had the second one died before it recorded the provider's answer; it is sent again.
    let taken = next.taken_over().await;
    assert_eq!(taken.len(), 1);
    next.accepted(&sessions[1], "B").await;
    let applied = next.store.apply_early_reports(next.clock.now()).await.unwrap();
    assert_eq!(applied.recorded.len(), 1);
    assert_eq!(next.delivery(&sessions[1]).await, Delivery::Delivered);
}

pub async fn a_report_ends_no_verification(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.accepted(&session, "A").await;
    desk.recorded(report("A", ReportedState::Undelivered)).await;
    // The code may have come all the same: reports are not always true.
    assert_eq!(desk.check(&session, &session.code).await, Verdict::Valid);
    desk.recorded(report("A", ReportedState::Delivered)).await;
}

pub async fn a_provider_that_gives_an_id_again_means_the_latest_message(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    desk.accepted(&first, "A").await;
    desk.clock.advance(MILLISECOND);
    let second = desk.register(&number(2)).await;
    desk.accepted(&second, "A").await;
    let reported = desk.recorded(report("A", ReportedState::Delivered)).await;
    assert_eq!(reported.verification, second.id);
    assert_eq!(desk.delivery(&first).await, Delivery::Sent);
}
