//! Texts that are no verifications.

use std::time::Duration;

use super::{OutboxMessage, RequestKey};
use crate::{
    clock::UnixMillis,
    model::{LimitReached, Message, MessageId, VerificationId},
};

/// How long a text is of use if the process that had it dies. After that it is settled as unknown.
pub const TEXT_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A text that is to begin.
pub struct NewText {
    /// The message, as it goes out. Its verification is [`in_place_of_verification`] of its id.
    pub message: OutboxMessage,
    /// The current time.
    pub now: UnixMillis,
    /// What the request is known again by.
    pub request: Option<RequestKey>,
}

/// What a text, which belongs to no verification, has in the place of one: its own id.
pub fn in_place_of_verification(MessageId(id): MessageId) -> VerificationId {
    VerificationId(id)
}

/// What became of a [`NewText`].
#[derive(Debug)]
pub enum TextBegun {
    /// It is durable, and leased to the caller.
    Yes,
    /// Nothing was stored: the same request was made before, and began this one.
    Before(MessageId),
    /// Nothing was stored or counted: a counter of the message has no room.
    LimitReached(LimitReached),
}

/// A text that was found by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundText {
    /// When it began.
    pub created_at: UnixMillis,
    /// What became of it.
    pub message: Message,
}
