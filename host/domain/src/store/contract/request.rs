//! Requests that may come twice: each is done once.

use std::time::Duration;

use super::desk::{Desk, MILLISECOND, failed, number, sent, tried, wrong};
use crate::{
    model::{FailureClass, Outcome, PhoneNumber, Verdict},
    store::{Answer, AuditEntry, Begun, MessageBegun, OutboxMessage, RequestKey, Seen, StoreError},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn key(key: &str, body: &str) -> RequestKey {
    RequestKey {
        key: key.into(),
        body: body.into(),
    }
}

impl Desk {
    /// Registers under a key.
    async fn try_request(
        &self,
        number: &PhoneNumber,
        chosen: &str,
        body: &str,
    ) -> Result<(Begun, OutboxMessage), StoreError> {
        let (_, code) = self.fresh();
        let mut new = self.new_verification(number, code);
        let message = new.message.clone();
        new.request = Some(key(chosen, body));
        Ok((self.store.begin_verification(new).await?, message))
    }

    async fn request(&self, number: &PhoneNumber, key: &str, body: &str) -> (Begun, OutboxMessage) {
        self.try_request(number, key, body).await.unwrap()
    }

    async fn is_begun(&self, number: &PhoneNumber, key: &str, body: &str) -> OutboxMessage {
        let (begun, message) = self.request(number, key, body).await;
        assert!(matches!(begun, Begun::Yes { .. }), "{begun:?}");
        message
    }

    async fn is_known(&self, number: &PhoneNumber, first: &OutboxMessage, key: &str, body: &str) {
        let (begun, _) = self.request(number, key, body).await;
        assert!(
            matches!(begun, Begun::Before(id) if id == first.verification),
            "{begun:?}"
        );
    }

    async fn settle_as(&self, message: &OutboxMessage, outcome: Outcome) {
        let tried = tried(outcome);
        self.store
            .settle_message(message, &tried, self.clock.now())
            .await
            .unwrap();
    }
}

pub async fn a_request_is_known_again_for_a_day(desk: &Desk) {
    let first = desk.is_begun(&number(1), "key", "body").await;
    desk.settle_as(&first, sent()).await;
    desk.is_known(&number(1), &first, "key", "body").await;
    let reused = desk.try_request(&number(1), "key", "another body").await;
    assert!(matches!(reused, Err(StoreError::KeyReused)), "{reused:?}");
    desk.is_begun(&number(2), "another key", "body").await;
    desk.clock.advance(DAY.saturating_sub(MILLISECOND));
    desk.is_known(&number(1), &first, "key", "body").await;
    desk.clock.advance(MILLISECOND);
    let next = desk.is_begun(&number(1), "key", "another body").await;
    desk.is_known(&number(1), &next, "key", "another body").await;
}

pub async fn the_first_answer_to_a_request_is_kept_with_it(desk: &Desk) {
    let first = desk.is_begun(&number(1), "key", "body").await;
    desk.settle_as(&first, sent()).await;
    let seen = async |key| desk.store.seen(&key, desk.clock.now()).await;
    assert_eq!(seen(key("key", "body")).await.unwrap(), Seen::Unanswered);
    assert_eq!(seen(key("another", "body")).await.unwrap(), Seen::Never);
    let answer = |text: &str| Answer(text.to_owned().into());
    let keep = async |chosen, text| {
        let (key, answer) = (key(chosen, "body"), answer(text));
        desk.store.keep_answer(&key, &answer).await.unwrap();
    };
    for text in ["the first answer", "another"] {
        keep("key", text).await;
        let first = Seen::Answered(answer("the first answer"));
        assert_eq!(seen(key("key", "body")).await.unwrap(), first);
    }
    let reused = seen(key("key", "another body")).await;
    assert!(matches!(reused, Err(StoreError::KeyReused)), "{reused:?}");
    // What did nothing is not remembered.
    keep("nothing", "nothing").await;
    assert_eq!(seen(key("nothing", "body")).await.unwrap(), Seen::Never);
    for (_, bytes) in desk.engine.stored() {
        assert!(!bytes.windows(16).any(|window| window == b"the first answer"));
    }
}

pub async fn a_request_is_forgotten_if_certainly_nothing_was_sent(desk: &Desk) {
    let refused = desk.is_begun(&number(1), "key", "body").await;
    desk.settle_as(&refused, failed(FailureClass::InvalidNumber))
        .await;
    let unknown = desk.is_begun(&number(1), "key", "body").await;
    desk.settle_as(&unknown, failed(FailureClass::OutcomeUnknown))
        .await;
    desk.is_known(&number(1), &unknown, "key", "body").await;
}

pub async fn a_request_is_forgotten_with_its_verification(desk: &Desk) {
    desk.is_begun(&number(1), "key", "body").await;
    let entry = AuditEntry {
        at: desk.clock.now(),
        actor: "uid:0".to_owned(),
        action: "forget".to_owned(),
        subject: String::new(),
    };
    desk.store.forget(&number(1), Some(entry)).await.unwrap();
    desk.is_begun(&number(1), "key", "body").await;
    desk.clock.advance(MILLISECOND);
    desk.store.delete_before(desk.clock.now(), false).await.unwrap();
    desk.is_begun(&number(1), "key", "another body").await;
}

pub async fn of_many_of_the_same_request_at_once_one_is_done(desk: &Desk) {
    let second = desk.second();
    let number = number(1);
    let requests = (0..32).map(|turn| {
        let process = if turn % 2 == 0 { desk } else { &second };
        process.request(&number, "key", "body")
    });
    let all = futures_util::future::join_all(requests).await;
    let begun = |begun: &Begun| matches!(begun, Begun::Yes { .. });
    let before = |begun: &Begun| matches!(begun, Begun::Before(_));
    assert_eq!(all.iter().filter(|(answer, _)| begun(answer)).count(), 1);
    assert_eq!(all.iter().filter(|(answer, _)| before(answer)).count(), 31);
}

pub async fn the_same_check_has_the_same_verdict(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    let check = async |code, chosen: &str, body: &str| {
        let request = key(chosen, body);
        let verdict = desk
            .store
            .check_code(session.id, code, desk.rules(), Some(&request));
        verdict.await
    };
    for _ in 0..9 {
        let verdict = check(wrong(&session.code), "wrong", "wrong").await;
        assert_eq!(verdict.unwrap(), Verdict::Invalid, "one attempt");
    }
    let reused = check(session.code.clone(), "wrong", "right").await;
    assert!(matches!(reused, Err(StoreError::KeyReused)), "{reused:?}");
    for _ in 0..9 {
        let verdict = check(session.code.clone(), "right", "right").await;
        assert_eq!(verdict.unwrap(), Verdict::Valid);
    }
    assert_eq!(
        desk.check(&session, &session.code).await,
        Verdict::AlreadyVerified
    );
}

pub async fn the_same_further_message_is_begun_once(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.settle(&session, sent()).await;
    let begin = async || {
        let mut message = session.message.clone();
        message.id = desk.new_message_id();
        let request = key("again", "");
        let begun = desk
            .store
            .begin_message(message.clone(), None, desk.clock.now(), Some(&request));
        (begun.await.unwrap(), message)
    };
    let (first, message) = begin().await;
    assert!(matches!(first, MessageBegun::Yes(_)), "{first:?}");
    assert!(matches!(begin().await.0, MessageBegun::Before));
    // What certainly was not sent may be asked for again.
    desk.settle_as(&message, failed(FailureClass::Transient)).await;
    assert!(matches!(begin().await.0, MessageBegun::Yes(_)));
}

pub async fn the_same_end_is_put_once(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    let request = key("end", "");
    assert!(desk.cancel(session.id, Some(&request)).await);
    assert!(!desk.cancel(session.id, Some(&request)).await);
    let seen = desk.store.seen(&key("end", "another"), desk.clock.now()).await;
    assert!(matches!(seen, Err(StoreError::KeyReused)), "{seen:?}");
}
