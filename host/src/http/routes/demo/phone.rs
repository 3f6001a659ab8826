//! The phone of the demo: the SMS that the daemon sent, in the order in which it sent them.
//!
//! Invariant: the phone holds at most [`MAX_MESSAGES`], and prints none of them, since they contain codes and full
//! numbers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::PhoneNumber;

/// The most SMS that are kept. A newer one replaces the oldest.
const MAX_MESSAGES: usize = 20;

/// The SMS to all numbers since the start, except those that were replaced.
pub struct DemoPhone {
    messages: Mutex<VecDeque<Arc<Sms>>>,
    /// How many SMS arrived.
    arrived: watch::Sender<u64>,
    /// Cancelled when the daemon stops. It ends the streams of all open pages, which would otherwise delay the
    /// shutdown.
    stop: CancellationToken,
}

/// One SMS.
pub(super) struct Sms {
    /// Its number in the order of arrival, counted from 1.
    place: u64,
    number: PhoneNumber,
    text: String,
}

impl Sms {
    /// `{"number": "+13478379634", "text": "…"}`.
    pub(super) fn to_json(&self) -> String {
        json!({ "number": self.number.e164(), "text": self.text }).to_string()
    }
}

impl DemoPhone {
    /// A phone without SMS. `stop` ends the streams of `follow`, so that the daemon can end.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            messages: Mutex::default(),
            arrived: watch::Sender::new(0),
            stop,
        }
    }

    /// Adds an SMS.
    pub fn receive(&self, number: &PhoneNumber, text: &str) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let place = *self.arrived.borrow() + 1;
        messages.push_back(Arc::new(Sms {
            place,
            number: number.clone(),
            text: text.to_owned(),
        }));
        if messages.len() > MAX_MESSAGES {
            messages.pop_front();
        }
        // Sent while the lock is held, so that the numbers rise in the order of the queue.
        self.arrived.send_replace(place);
    }

    /// The SMS on the phone, then each new one as it arrives, until the daemon stops.
    pub(super) fn follow(self: Arc<Self>) -> impl Stream<Item = Arc<Sms>> {
        let arrivals = self.arrived.subscribe();
        stream::unfold((self, arrivals, 0), |(phone, mut arrivals, seen)| async move {
            loop {
                arrivals.mark_unchanged();
                if let Some(sms) = phone.after(seen) {
                    let seen = sms.place;
                    return Some((sms, (phone, arrivals, seen)));
                }
                tokio::select! {
                    () = phone.stop.cancelled() => return None,
                    changed = arrivals.changed() => changed.ok()?,
                }
            }
        })
    }

    /// The first kept SMS that arrived after this one.
    fn after(&self, seen: u64) -> Option<Arc<Sms>> {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.iter().find(|sms| sms.place > seen).cloned()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn number() -> PhoneNumber {
        PhoneNumber::parse("+13478379634", None).unwrap()
    }

    #[tokio::test]
    async fn a_page_sees_what_was_there_and_what_comes_until_the_daemon_stops() {
        let stop = CancellationToken::new();
        let phone = Arc::new(DemoPhone::new(stop.clone()));
        phone.receive(&number(), "first");
        let mut page = Box::pin(Arc::clone(&phone).follow());
        assert_eq!(page.next().await.unwrap().text, "first");
        let (next, ()) = tokio::join!(page.next(), async { phone.receive(&number(), "second") });
        assert_eq!(
            next.unwrap().to_json(),
            r#"{"number":"+13478379634","text":"second"}"#
        );
        stop.cancel();
        assert!(page.next().await.is_none());
    }

    #[tokio::test]
    async fn a_page_that_comes_late_sees_the_latest_ones() {
        let phone = Arc::new(DemoPhone::new(CancellationToken::new()));
        for place in 1..=MAX_MESSAGES + 5 {
            phone.receive(&number(), &place.to_string());
        }
        let page = Arc::clone(&phone).follow().take(MAX_MESSAGES);
        let texts: Vec<String> = page.map(|sms| sms.text.clone()).collect().await;
        let expected: Vec<String> = (6..=MAX_MESSAGES + 5).map(|place| place.to_string()).collect();
        assert_eq!(texts, expected);
    }
}
