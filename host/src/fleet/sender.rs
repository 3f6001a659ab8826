//! Who sends: the least that a backend must do to carry messages.
//!
//! Invariant: a sender knows one backend. Which backend has a message, in which order several are tried, and whether
//! one is left alone for a while is decided elsewhere; and it never sees a code but as a part of a text.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::model::{
    FailureClass, IncomingRequest, Locale, Outcome, PhoneNumber, ReceiptAnswer, SendFailure, TakesReceipts,
};

/// One text to one number.
pub struct Sms<'a> {
    /// Where it goes.
    pub number: &'a PhoneNumber,
    /// What the phone shows.
    pub text: &'a str,
    /// What the caller's languages were.
    pub locale: &'a Locale,
    /// Names it to a provider that drops duplicates: the same in each try.
    pub key: String,
    /// What the text is.
    pub content: Content,
}

/// What an SMS carries. Some providers have routes, prices and senders of their own for codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A security code.
    Code,
    /// A text without one.
    Text,
}

/// Sends through one backend.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Sends one text. Returns within `time_limit`, with a failure if need be.
    async fn send(&self, sms: Sms<'_>, time_limit: Duration) -> Outcome;

    /// Whether the backend has a way of its own to send one text to several numbers.
    fn sends_bulk(&self) -> bool;

    /// Sends one text to several numbers in the backend's own way; `settled` hears each outcome as it comes. Returns
    /// within `time_limit`.
    async fn send_bulk(&self, numbers: &[PhoneNumber], text: &str, time_limit: Duration, settled: Settled);

    /// How the backend takes what its provider reports about messages; `None`: it takes no reports.
    fn takes_receipts(&self) -> Option<TakesReceipts> {
        None
    }

    /// Hands over a request that the provider made to report about messages. Returns within `time_limit`, with an
    /// answer that is within its bounds; a request with a wrong signature is an answer too.
    async fn receive(
        &self,
        _request: IncomingRequest,
        _time_limit: Duration,
    ) -> Result<ReceiptAnswer, SendFailure> {
        Err(SendFailure::new(
            FailureClass::Unsupported,
            "no_receipts",
            "the backend takes no delivery reports",
        ))
    }

    /// Why no message can reach the backend now, in one sentence for an operator; `None`: one can.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Hears the outcome for one number of a bulk call, by its place among the numbers.
pub type Settled = Arc<dyn Fn(usize, Outcome) + Send + Sync>;
