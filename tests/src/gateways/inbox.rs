//! The phones behind a gateway: every accepted SMS, and a way to wait for the next one without sleeping.

use std::{sync::Mutex, time::Duration};

use tokio::{sync::Notify, time::timeout};

use super::behaviour::unpoisoned;

/// How long [`Inbox::next_to`] waits before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// An SMS as the phone shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sms {
    /// E.164 with its plus sign, whatever form the provider wants.
    pub to: String,
    /// The sender, as the request gave it.
    pub from: String,
    /// The text. Characters that the chosen encoding lacks have become `?`.
    pub text: String,
    /// Whether it was sent as UCS-2.
    pub unicode: bool,
    /// How many parts it was sent in.
    pub parts: usize,
    /// The provider's message id, as its answer gave it.
    pub message_id: String,
}

/// The received SMS.
#[derive(Default)]
pub(super) struct Inbox {
    /// Each SMS, and whether a test has read it.
    received: Mutex<Vec<(Sms, bool)>>,
    arrived: Notify,
}

impl Inbox {
    pub(super) fn put(&self, sms: Sms) {
        unpoisoned(&self.received).push((sms, false));
        self.arrived.notify_waiters();
    }

    pub(super) fn all(&self) -> Vec<Sms> {
        unpoisoned(&self.received)
            .iter()
            .map(|(sms, _)| sms.clone())
            .collect()
    }

    /// The oldest unread SMS to this number, now or within [`PATIENCE`].
    pub(super) async fn next_to(&self, number: &str) -> Sms {
        let waiting = async {
            loop {
                // Subscribes before it looks, so that an SMS that arrives in between is not missed.
                let mut arrival = std::pin::pin!(self.arrived.notified());
                arrival.as_mut().enable();
                if let Some(sms) = self.read(number) {
                    return sms;
                }
                arrival.await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| {
            panic!(
                "no SMS came to {number} within {PATIENCE:?}; the inbox holds {:?}",
                self.all()
            )
        })
    }

    fn read(&self, number: &str) -> Option<Sms> {
        let mut received = unpoisoned(&self.received);
        let (sms, read) = received
            .iter_mut()
            .find(|(sms, read)| !*read && sms.to == number)?;
        *read = true;
        Some(sms.clone())
    }
}
