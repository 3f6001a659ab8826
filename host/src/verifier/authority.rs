//! Who has authority over codes: makes them, words the SMS that carry them, and judges what comes back. The host does
//! all of that itself, unless the backend that is responsible for a number wants to. The fleet of backends is behind
//! these traits, so that the verifier knows none.
//!
//! Invariants: who has authority over a code sends nothing. It is asked before a message is durable, and when a code has
//! come back. A code that a backend judges is judged by no other, whatever becomes of the fleet: its owner is recorded
//! with it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value};

use super::CheckRequest;
use crate::{
    model::{Locale, PhoneNumber, SecurityCode, SendFailure, Verdict},
    store::Destination,
};

/// A call of an authority: what it answers, or why it does not.
pub type AuthorityCall<'a, T> = BoxFuture<'a, Result<T, SendFailure>>;

/// Says who is responsible for a code.
pub trait Authorities: Send + Sync {
    /// For a new code of a number.
    fn of_new(&self, number: &PhoneNumber, locale: &Locale) -> Responsible;

    /// For a code that the backend of this name owns; `None`: it is in use no more, or judges no codes any more.
    fn of_owner(&self, owner: &str, number: &PhoneNumber) -> Option<Arc<dyn CodeAuthority>>;

    /// Whether a further SMS may carry the code that is pending for this number. Otherwise each carries one of its own.
    fn shares_codes(&self, number: &PhoneNumber) -> bool;

    /// Whether messages to this number leave the host. Those that do not cost nothing, and say nothing about fraud.
    fn reaches(&self, number: &PhoneNumber) -> bool;

    /// What one segment of an SMS costs with the backend that a message goes to first, in millionths of the operator's
    /// currency. `None`: what the limits say.
    fn price_per_segment(&self, to: Destination<'_>) -> Option<u64>;
}

/// Who is responsible for a code.
#[derive(Clone)]
pub struct Responsible {
    /// Is asked first.
    pub authority: Arc<dyn CodeAuthority>,
    /// The backend that alone judges the code, by its name in the settings; `None`: the host does.
    pub owner: Option<Arc<str>>,
}

impl Responsible {
    /// The host, for all of it.
    pub fn host() -> Self {
        Self {
            authority: Arc::new(Host),
            owner: None,
        }
    }
}

/// Leaves everything to the host.
struct Host;

impl CodeAuthority for Host {}

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

    /// Whether [`CodeAuthority::validate`] is to be asked about its codes. Otherwise the host judges them.
    fn validates(&self) -> bool {
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
}

/// The host's own comparison, bound to one attempt.
#[async_trait]
pub trait BaseValidate: Send + Sync {
    /// Compares a code with the one that was sent.
    async fn validate(&self, code: &SecurityCode) -> Result<Verdict, SendFailure>;
}
