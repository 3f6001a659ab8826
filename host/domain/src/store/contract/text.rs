//! Texts that are no verifications.

use std::{sync::Arc, time::Duration};

use super::desk::{Desk, MILLISECOND, failed, number, sent, tried};
use crate::{
    model::{
        Delivery, DeliveryReport, FailureClass, Limit, Locale, Outcome, PhoneNumber, ProviderMessageId,
        ReportedState,
    },
    store::{
        AuditEntry, Counted, Counter, FoundText, NewText, OutboxMessage, RequestKey, StoreError, TextBegun,
        text::{TEXT_LIFETIME, in_place_of_verification},
    },
};

fn request(key: &str, body: &str) -> RequestKey {
    RequestKey {
        key: key.into(),
        body: body.into(),
    }
}

impl Desk {
    fn text(&self, number: &PhoneNumber) -> OutboxMessage {
        let id = self.new_message_id();
        OutboxMessage {
            id,
            verification: in_place_of_verification(id),
            number: number.clone(),
            locale: Locale::default(),
            text: "Your order is on its way".to_owned().into(),
            carries_code: false,
            counters: Arc::clone(&self.counters),
            counted_at: self.clock.now(),
            guard: None,
            replaced: None,
            owner: None,
            after: None,
        }
    }

    async fn try_text(
        &self,
        message: &OutboxMessage,
        request: Option<RequestKey>,
    ) -> Result<TextBegun, StoreError> {
        let new = NewText {
            message: message.clone(),
            now: self.clock.now(),
            request,
        };
        self.store.begin_text(new).await
    }

    pub(super) async fn begun_text(&self, number: &PhoneNumber) -> OutboxMessage {
        let message = self.text(number);
        let begun = self.try_text(&message, None).await.unwrap();
        assert!(matches!(begun, TextBegun::Yes), "{begun:?}");
        message
    }

    pub(super) async fn settle_text(&self, message: &OutboxMessage, outcome: Outcome) {
        let dispatched = tried(outcome);
        self.store
            .settle_message(message, &dispatched, self.clock.now())
            .await
            .unwrap();
    }

    async fn found_text(&self, message: &OutboxMessage) -> Option<FoundText> {
        self.store.find_text(message.id).await.unwrap()
    }
}

pub async fn a_text_is_found_as_it_stands(desk: &Desk) {
    let message = desk.begun_text(&number(1)).await;
    let found = desk.found_text(&message).await.unwrap();
    assert_eq!(
        (found.created_at, found.message.id),
        (desk.clock.now(), message.id)
    );
    assert_eq!(found.message.delivery, Delivery::Pending);
    desk.settle_text(&message, sent()).await;
    let found = desk.found_text(&message).await.unwrap().message;
    assert_eq!((found.delivery, found.tries.len()), (Delivery::Sent, 1));
    let refused = desk.begun_text(&number(1)).await;
    desk.settle_text(&refused, failed(FailureClass::NoCredit)).await;
    let found = desk.found_text(&refused).await.unwrap().message;
    assert_eq!(found.delivery, Delivery::Failed(FailureClass::NoCredit));
    let never_begun = desk.text(&number(1));
    assert_eq!(desk.found_text(&never_begun).await, None);
    // A verification is none.
    let session = desk.register(&number(2)).await;
    assert_eq!(desk.found_text(&session.message).await, None);
}

pub async fn a_text_that_a_dead_process_left_is_sent_once_more_within_its_time(desk: &Desk) {
    let message = desk.begun_text(&number(1)).await;
    let next = desk.after_a_crash();
    next.clock.advance(TEXT_LIFETIME);
    let taken = next.taken_over().await;
    assert_eq!(taken.len(), 1);
    assert!(taken[0].id == message.id && taken[0].text == message.text);
    assert!(!taken[0].carries_code, "it is still known to be no verification");
    let late = desk.begun_text(&number(1)).await;
    let next = desk.after_a_crash();
    next.clock.advance(TEXT_LIFETIME + MILLISECOND);
    assert!(next.taken_over().await.is_empty());
    let found = next.found_text(&late).await.unwrap().message;
    assert_eq!(found.delivery, Delivery::Failed(FailureClass::OutcomeUnknown));
}

pub async fn the_same_request_begins_one_text(desk: &Desk) {
    let first = desk.text(&number(1));
    let same = || Some(request("key", "body"));
    assert!(matches!(
        desk.try_text(&first, same()).await.unwrap(),
        TextBegun::Yes
    ));
    let again = desk.text(&number(1));
    let before = desk.try_text(&again, same()).await.unwrap();
    assert!(
        matches!(before, TextBegun::Before(id) if id == first.id),
        "{before:?}"
    );
    assert_eq!(desk.found_text(&again).await, None);
    let other = desk.try_text(&again, Some(request("key", "other body"))).await;
    assert!(matches!(other, Err(StoreError::KeyReused)));
    // If certainly nothing was sent, it may be made again.
    desk.settle_text(&first, failed(FailureClass::Transient)).await;
    assert!(matches!(
        desk.try_text(&again, same()).await.unwrap(),
        TextBegun::Yes
    ));
}

pub async fn a_text_is_counted_and_taken_back_if_it_was_not_sent(desk: &mut Desk) {
    let limit = Limit {
        code: "service_per_hour",
        max: 1,
        reserved_percent: 0,
        window: Duration::from_secs(3600),
    };
    desk.counters = [Counter {
        counted: Counted::Service,
        key: Counted::Service.in_public(""),
        amount: 1,
        limits: [limit].into(),
    }]
    .into();
    let first = desk.begun_text(&number(1)).await;
    let refused = desk.try_text(&desk.text(&number(2)), None).await.unwrap();
    assert!(matches!(refused, TextBegun::LimitReached(reached) if reached.code == "service_per_hour"));
    desk.settle_text(&first, failed(FailureClass::Throttled)).await;
    desk.begun_text(&number(2)).await;
}

pub async fn a_text_is_reported_on(desk: &Desk) {
    let message = desk.begun_text(&number(1)).await;
    desk.settle_text(&message, sent()).await;
    let id = ProviderMessageId::new("SM1").unwrap();
    let delivered = DeliveryReport::new(id, ReportedState::Delivered);
    let reported = desk
        .store
        .apply_reports("default", "test.TestBackend", vec![delivered], desk.clock.now());
    reported.await.unwrap();
    let found = desk.found_text(&message).await.unwrap().message;
    assert_eq!(found.delivery, Delivery::Delivered);
}

pub async fn a_text_is_shown_and_forgotten_with_its_number(desk: &Desk) {
    let message = desk.begun_text(&number(1)).await;
    let other = desk.begun_text(&number(2)).await;
    let records = desk.store.records_of(&number(1), desk.rules()).await.unwrap();
    assert_eq!(records.texts.len(), 1);
    assert_eq!(records.texts[0].message.id, message.id);
    let entry = AuditEntry {
        at: desk.clock.now(),
        actor: "uid:0".to_owned(),
        action: "forget".to_owned(),
        subject: number(1).masked(),
    };
    assert_eq!(desk.store.forget(&number(1), Some(entry)).await.unwrap(), 1);
    assert_eq!(desk.found_text(&message).await, None);
    assert!(desk.found_text(&other).await.is_some());
    let left = desk.store.records_of(&number(1), desk.rules()).await.unwrap();
    assert!(left.texts.is_empty());
}

pub async fn an_old_text_is_deleted(desk: &Desk) {
    let old = desk.begun_text(&number(1)).await;
    desk.settle_text(&old, sent()).await;
    desk.clock.advance(Duration::from_secs(60));
    let young = desk.begun_text(&number(1)).await;
    let before = desk.clock.now();
    assert_eq!(desk.store.delete_before(before, true).await.unwrap(), 1);
    assert_eq!(desk.store.delete_before(before, false).await.unwrap(), 1);
    assert_eq!(desk.found_text(&old).await, None);
    assert!(desk.found_text(&young).await.is_some());
}
