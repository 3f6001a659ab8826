//! What is to be sent, and what became of it.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use super::{Counter, Guarded, keyring::Digest};
use crate::{
    clock::UnixMillis,
    model::{Locale, MessageId, Outcome, PhoneNumber, ReportedMessage, Try, VerificationId},
    rules::admission::Charge,
};

/// A message that this process alone may send, as long as it lives.
#[derive(Clone)]
pub struct OutboxMessage {
    /// Names it, also to a provider that drops duplicates.
    pub id: MessageId,
    /// The verification that it belongs to.
    pub verification: VerificationId,
    /// Where it goes.
    pub number: PhoneNumber,
    /// What the caller's languages were.
    pub locale: Locale,
    /// The text, with the code in it.
    pub text: Zeroizing<String>,
    /// Whether there is a code in it; else it is a text that is no verification.
    pub carries_code: bool,
    /// What it is counted in.
    pub counters: Arc<[Counter]>,
    /// When it is counted.
    pub counted_at: UnixMillis,
    /// The same for the pumping guard.
    pub guard: Option<Arc<Guarded>>,
    /// What comes back if this certainly was not sent.
    pub replaced: Option<Arc<ReplacedCode>>,
    /// The backend that alone judges the code in it, by its name in the settings, and so alone may send it; `None`: the
    /// code is the host's, and any backend may.
    pub owner: Option<Arc<str>>,
    /// The backend that the message before it went through, by its name in the settings; `None`: there was none, or it is
    /// not known.
    pub after: Option<Arc<str>>,
}

/// Where a message goes, as far as the choice of a backend depends on it.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The recipient.
    pub number: &'a PhoneNumber,
    /// What the caller's languages were.
    pub locale: &'a Locale,
    /// The backend that owns the code in it, which alone may send it, by its name in the settings.
    pub owner: Option<&'a str>,
    /// The backend that the message before went through, by its name in the settings: others are tried before it.
    pub after: Option<&'a str>,
}

impl<'a> Destination<'a> {
    /// Of a first message to a number, whose code no backend owns.
    pub fn new(number: &'a PhoneNumber, locale: &'a Locale) -> Self {
        Self {
            number,
            locale,
            owner: None,
            after: None,
        }
    }
}

impl<'a> From<&'a OutboxMessage> for Destination<'a> {
    fn from(message: &'a OutboxMessage) -> Self {
        Self {
            number: &message.number,
            locale: &message.locale,
            owner: message.owner.as_deref(),
            after: message.after.as_deref(),
        }
    }
}

impl OutboxMessage {
    /// What it is counted in.
    pub fn charge(&self) -> Charge<'_> {
        Charge {
            counters: &self.counters,
            guard: self.guard.as_deref(),
        }
    }
}

/// A verification's code that gave way to another, as an engine puts it back. Nothing in it can be read.
pub struct ReplacedCode {
    /// The digest of the one that took its place.
    pub by: Digest,
    /// Its own digest.
    pub code: Option<Vec<u8>>,
    /// It and its number, sealed.
    pub sealed: Option<Vec<u8>>,
}

impl fmt::Debug for ReplacedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplacedCode").finish_non_exhaustive()
    }
}

/// A message is named, never shown.
impl fmt::Debug for OutboxMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxMessage")
            .field("id", &self.id)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// What became of a message, after all tries.
#[derive(Clone, Debug)]
pub struct Dispatched {
    /// The backend that was asked last, or that would have been.
    pub backend: Arc<str>,
    /// What it said, or why none was asked.
    pub outcome: Outcome,
    /// Each time that a backend was asked; empty: none was.
    pub tries: Vec<Try>,
}

/// What became of a provider's report about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportOutcome {
    /// It changed the record of a message.
    Recorded(Box<ReportedMessage>),
    /// It said nothing that was not known.
    NothingNew,
    /// No message has its id yet. It is kept for a while.
    Early,
    /// No message has its id, and it is not kept any longer, or as many as may be are kept.
    Unknown,
}

/// What became of reports that were kept because their message was not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlyReports {
    /// Those that changed the record of a message.
    pub recorded: Vec<ReportedMessage>,
    /// Those whose message was never known: they are not kept any longer.
    pub unknown: u64,
    /// Those that are still kept.
    pub waiting: u64,
}
