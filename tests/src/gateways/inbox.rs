//! The phones behind a gateway: every SMS that it took, and a way to wait for the next one without sleeping.

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
    /// The sender, as it was given.
    pub from: String,
    /// The text; what the chosen encoding cannot carry has become `?`.
    pub text: String,
    /// Whether it travelled as UCS-2.
    pub unicode: bool,
    /// Of how many parts it is put together.
    pub parts: usize,
    /// The provider's message id, as the receipt names it.
    pub message_id: String,
}

#[derive(Default)]
pub(super) struct Inbox {
    /// Each SMS, and whether somebody has read it.
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
                // Listens before it looks: what arrives in between is not missed.
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
