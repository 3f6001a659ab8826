//! Who has authority over codes: makes them, words the SMS that carry them, and judges what comes back. The host does
//! all of that itself, unless the backend that is responsible for a number wants to. The fleet of backends is behind
//! this trait, so that the verifier knows none.
//!
//! Invariant: who has authority over a code sends nothing. It is asked before a message is durable, and when a code has
//! come back.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value};

use super::CheckRequest;
use crate::model::{Locale, PhoneNumber, SecurityCode, SendFailure, Verdict};

/// A call of an authority: what it answers, or why it does not.
pub type AuthorityCall<'a, T> = BoxFuture<'a, Result<T, SendFailure>>;

/// Makes, words and judges codes. A method that answers `None` at once leaves it to the host, and costs nothing. What an
/// authority does not say otherwise is left to the host.
pub trait CodeAuthority: Send + Sync {
    /// A code for a number; `None`: the host makes it.
    fn generate<'a>(
        self: Arc<Self>,
        _number: &'a PhoneNumber,
        _locale: &'a Locale,
    ) -> Option<AuthorityCall<'a, SecurityCode>> {
        None
    }

    /// The text of the SMS; `None`, at once or in the end: the template is wanted.
    fn compose<'a>(
        self: Arc<Self>,
        _number: &'a PhoneNumber,
        _code: &'a SecurityCode,
        _locale: &'a Locale,
        _context: &'a Map<String, Value>,
    ) -> Option<AuthorityCall<'a, Option<String>>> {
        None
    }

    /// Whether [`CodeAuthority::validate`] is to be asked about codes of this number. Otherwise the host judges them.
    fn validates(&self, _number: &PhoneNumber) -> bool {
        false
    }

    /// A verdict on an attempt that is counted already; `base` answers with the host's own.
    fn validate(
        self: Arc<Self>,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> AuthorityCall<'_, Verdict> {
        async move { base.validate(&check.code).await }.boxed()
    }

    /// Whether a further SMS may carry the code that is pending for this number. Otherwise each carries one of its own.
    fn shares_codes(&self, _number: &PhoneNumber) -> bool {
        true
    }

    /// Whether messages to this number leave the host. Those that do not cost nothing, and say nothing about fraud.
    fn reaches(&self, _number: &PhoneNumber) -> bool {
        true
    }
}

/// The host's own comparison, bound to one attempt.
#[async_trait]
pub trait BaseValidate: Send + Sync {
    /// Compares a code with the one that was sent.
    async fn validate(&self, code: &SecurityCode) -> Result<Verdict, SendFailure>;
}
