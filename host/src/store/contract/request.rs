//! Requests that may come twice: each is done once.

use std::time::Duration;

use super::desk::{Desk, MILLISECOND, failed, number, sent};
use crate::{
    model::{FailureClass, Outcome, PhoneNumber},
    store::{Answer, Begun, OutboxMessage, RequestKey},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Desk {
    /// Registers under a key.
    async fn request(&self, number: &PhoneNumber, key: &str, body: &str) -> (Begun, OutboxMessage) {
        let (_, code) = self.fresh();
        let mut new = self.new_verification(number, code);
        let message = new.message.clone();
        new.request = Some(RequestKey {
            key: key.into(),
            body: body.into(),
        });
        (self.store.begin_verification(new).await.unwrap(), message)
    }

    async fn is_begun(&self, number: &PhoneNumber, key: &str, body: &str) -> OutboxMessage {
        let (begun, message) = self.request(number, key, body).await;
        assert!(matches!(begun, Begun::Yes { .. }), "{begun:?}");
        message
    }

    async fn is_known(&self, number: &PhoneNumber, first: &OutboxMessage, key: &str, body: &str) {
        let (begun, _) = self.request(number, key, body).await;
        assert!(
            matches!(begun, Begun::Before { id, .. } if id == first.id),
            "{begun:?}"
        );
    }

    async fn settle_as(&self, message: &OutboxMessage, outcome: Outcome) {
        self.store.settle_message(message, &outcome).await.unwrap();
    }
}

pub(super) async fn a_request_is_known_again_for_a_day(desk: &Desk) {
    let first = desk.is_begun(&number(1), "key", "body").await;
    desk.settle_as(&first, sent()).await;
    desk.is_known(&number(1), &first, "key", "body").await;
    let (reused, _) = desk.request(&number(1), "key", "another body").await;
    assert!(matches!(reused, Begun::KeyReused), "{reused:?}");
    desk.is_begun(&number(2), "another key", "body").await;
    desk.clock.advance(DAY.saturating_sub(MILLISECOND));
    desk.is_known(&number(1), &first, "key", "body").await;
    desk.clock.advance(MILLISECOND);
    let next = desk.is_begun(&number(1), "key", "another body").await;
    desk.is_known(&number(1), &next, "key", "another body").await;
}

pub(super) async fn the_first_answer_to_a_request_is_kept_with_it(desk: &Desk) {
    let first = desk.is_begun(&number(1), "key", "body").await;
    desk.settle_as(&first, sent()).await;
    let kept = async || match desk.request(&number(1), "key", "body").await {
        (Begun::Before { answer, .. }, _) => answer.map(|answer| answer.0.to_string()),
        (other, _) => panic!("{other:?}"),
    };
    assert_eq!(kept().await, None);
    for answer in ["the first answer", "another"] {
        let answer = Answer(answer.to_owned().into());
        desk.store.keep_answer(first.id, answer).await.unwrap();
        assert_eq!(kept().await.as_deref(), Some("the first answer"));
    }
    for file in std::fs::read_dir(desk.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| window == b"the first answer"));
    }
}

pub(super) async fn a_request_is_forgotten_if_certainly_nothing_was_sent(desk: &Desk) {
    let refused = desk.is_begun(&number(1), "key", "body").await;
    desk.settle_as(&refused, failed(FailureClass::InvalidNumber))
        .await;
    let unknown = desk.is_begun(&number(1), "key", "body").await;
    desk.settle_as(&unknown, failed(FailureClass::OutcomeUnknown))
        .await;
    desk.is_known(&number(1), &unknown, "key", "body").await;
}

pub(super) async fn a_request_is_forgotten_with_its_verification(desk: &Desk) {
    desk.is_begun(&number(1), "key", "body").await;
    desk.store.forget(&number(1), false).await.unwrap();
    desk.is_begun(&number(1), "key", "body").await;
    desk.clock.advance(MILLISECOND);
    desk.store.delete_before(desk.clock.now(), false).await.unwrap();
    desk.is_begun(&number(1), "key", "another body").await;
}

pub(super) async fn of_many_of_the_same_request_at_once_one_is_done(desk: &Desk) {
    let second = desk.second();
    let number = number(1);
    let requests = (0..32).map(|turn| {
        let process = if turn % 2 == 0 { desk } else { &second };
        process.request(&number, "key", "body")
    });
    let all = futures_util::future::join_all(requests).await;
    let begun = |begun: &Begun| matches!(begun, Begun::Yes { .. });
    let before = |begun: &Begun| matches!(begun, Begun::Before { .. });
    assert_eq!(all.iter().filter(|(answer, _)| begun(answer)).count(), 1);
    assert_eq!(all.iter().filter(|(answer, _)| before(answer)).count(), 31);
}
