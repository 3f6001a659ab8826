//! Sends a text that is no verification.
//!
//! Invariant: it takes the same way as a code does, through the outbox: it is durable before it can leave, sent once, and
//! counted in the limits of its number, of its country and of the whole service.

use zeroize::Zeroizing;

use super::{
    RegisterError, Verifier,
    register::{as_before, sent},
    to_its_end,
};
use crate::{
    model::{Delivery, LimitReached, Locale, MessageId, PhoneNumber},
    store::{
        Counted, Destination, FoundText, NewText, OutboxMessage, StoreError, TextBegun,
        text::in_place_of_verification,
    },
};

impl Verifier {
    /// Sends a text to a number. Returns its id when the provider has taken it; goes on when nobody waits any more. The
    /// errors are those of a registration; the guard has none, since it judges by codes that come back.
    pub async fn send_text(&self, number: PhoneNumber, text: String) -> Result<MessageId, RegisterError> {
        let (verifier, text) = (self.clone(), Zeroizing::new(text));
        let sent = to_its_end(async move { verifier.begin_text(number, text).await }).await;
        if let Err(RegisterError::LimitReached { code, .. }) = &sent {
            self.metrics.limited(code);
        }
        sent
    }

    async fn begin_text(
        &self,
        number: PhoneNumber,
        text: Zeroizing<String>,
    ) -> Result<MessageId, RegisterError> {
        // What cannot be sent is not begun.
        let locale = Locale::default();
        let to = Destination::new(&number, &locale);
        let place = self.place(to)?;
        let (now, since) = (self.clock.now(), self.clock.elapsed());
        let id = MessageId::generate(&self.clock, &self.entropy)?;
        let keys = self.keyring.counter_keys(&number, None);
        let paid = self.paid(to, &text);
        let counters = self.policy.limits.counters(&number, paid, &keys);
        // Wrong codes for the number have nothing to do with it.
        let counters = counters
            .iter()
            .filter(|counter| counter.counted != Counted::FailedChecks);
        let message = OutboxMessage {
            id,
            verification: in_place_of_verification(id),
            counters: counters.cloned().collect(),
            counted_at: now,
            guard: None,
            replaced: None,
            owner: None,
            after: None,
            locale,
            number,
            text,
            carries_code: false,
        };
        let new = NewText {
            message: message.clone(),
            now,
            request: self.request.clone(),
        };
        match self.store.begin_text(new).await? {
            TextBegun::Yes => {
                sent(place, message, since)
                    .await
                    .map_err(RegisterError::NotSent)?;
                Ok(id)
            }
            TextBegun::Before(id) => self.sent_before(id).await,
            TextBegun::LimitReached(LimitReached { code, until }) => Err(RegisterError::LimitReached {
                code,
                retry_after: now.until(until),
            }),
        }
    }

    /// The answer to a request that was made before, as it was or would have been then.
    async fn sent_before(&self, id: MessageId) -> Result<MessageId, RegisterError> {
        let found = self.find_text(id).await?.ok_or(RegisterError::UnderWay)?;
        match found.message.delivery {
            Delivery::Pending => Err(RegisterError::UnderWay),
            Delivery::Failed(class) => Err(RegisterError::NotSent(as_before(class))),
            Delivery::Sent | Delivery::Unconfirmed | Delivery::Undelivered | Delivery::Delivered => Ok(id),
        }
    }

    /// How a text stands.
    pub async fn find_text(&self, id: MessageId) -> Result<Option<FoundText>, StoreError> {
        self.store.find_text(id).await
    }
}
