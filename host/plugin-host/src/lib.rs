//! From a file in a directory to a backend that can be called.
//!
//! A backend is exported by a shared library that somebody else compiled against `phone-verify-plugin-api`, in Rust, or
//! against its C header. The way of a library: `discover` (which file is meant) → `preflight` (read it, run nothing) →
//! `trust` (may these bytes be used) → `options` (do the settings fit) → `stage` (a private copy) → `load` (open it,
//! check the ABI) → `instance` (construct) → [`Backend`] (call). `isolation` says whether it runs in this process or in
//! one of its own ([`worker`]). `services` is what the library gets from the host. [`Loader`] puts it all together.
//!
//! [`files`] judges who may have written a file, and [`own_process`] is what this program is and needs of the system;
//! the program uses both for what is its own, too.
//!
//! # Use
//!
//! `examples/load.rs` is a whole program. What this crate needs of one:
//!
//! - `main` begins with [`own_process::image::remember`], and hands over to [`worker::main()`] if the first argument is
//!   [`worker::COMMAND`]: a worker process is the running program itself.
//! - Calls are made inside of a tokio runtime with time and I/O enabled; [`Loader`]'s own methods block.
//! - Events go to `tracing`. What cannot go on, such as a library without randomness, is a panic followed by an abort.
//!
//! # Invariants
//!
//! Nothing of a library runs before its file was judged. A library that panics, hangs or answers nonsense costs that
//! call. Nothing that a library says is shown unmasked. Only `load`, the start of a worker process on Windows and
//! `own_process::windows` have unsafe code.
#![deny(unsafe_code)]

mod backend;
mod bounded;
mod convert;
mod discover;
mod file_name;
pub mod files;
mod instance;
mod isolation;
mod load;
mod name;
mod options;
pub mod own_process;
mod preflight;
mod raw;
mod refusal;
mod registry;
mod scrub;
mod services;
mod stage;
#[cfg(test)]
mod testing;
mod trust;
pub mod worker;

use std::{borrow::Cow, sync::Arc, time::Duration};

use phone_verify_domain::{
    clock, entropy,
    model::{self, Receipt, SecurityCode, SendFailure, Verdict},
    trace,
};
use serde::{Deserialize, Serialize};

pub use self::{
    backend::{AccountBalance, Backend},
    file_name::FileNaming,
    isolation::{Isolation, IsolationMode, IsolationRules, LibraryIsolation},
    name::BackendName,
    preflight::OptionInfo,
    refusal::{Refusal, code},
    registry::{
        BackendReport, Choice, LibraryAbout, LibraryReport, Loader, LoaderConfig, Next, RolledBack, Running,
        Seen, VersionReport,
    },
    services::http::{ClientCertificate, Outbound, Played, Proxies, Proxy, SentRequest, StandIn},
    trust::{LibraryTrust, Signable, Signer, Signers, Trust, TrustRules, path_beside},
    worker::{Bundle, Numbered, WorkerCounts, WorkerMetrics, crashes},
};

/// A longer line that a library prints is cut.
const MAX_PRINTED_CHARACTERS: usize = 2000;

/// What an override can call instead of its own code, bound to the verification that the call is about.
#[async_trait::async_trait]
pub trait BaseCalls: Send + Sync {
    /// As the settings say: `TOKEN_LENGTH` characters of an alphabet.
    fn security_code(&self) -> Result<SecurityCode, SendFailure>;
    /// The `MESSAGE` template with this code.
    fn message(&self, code: &SecurityCode) -> String;
    /// The host's own comparison, for the attempt that is already counted; `None` outside of
    /// `validate_security_code`.
    async fn validate(&self, code: &SecurityCode) -> Option<Result<Verdict, SendFailure>>;
}

/// A line that a library in this process printed, as it may be shown: nothing tells what it is about, so every word
/// that may be a code is masked.
pub fn clean_printed(line: &str) -> String {
    scrub::mask_any_code(&scrub::Scrubber::default().clean(line, &[], MAX_PRINTED_CHARACTERS))
}

/// What travels with each call.
#[derive(Clone)]
pub struct Call {
    /// The call is given up after this.
    pub time_limit: Duration,
    /// Names the call in the log.
    pub request_id: String,
    /// The same for every try of one message; empty: none.
    pub idempotency_key: String,
    /// A BCP 47 language tag; empty: none asked for.
    pub locale: String,
    /// What it is about.
    pub facts: CallFacts,
    /// What an override can call.
    pub base: Arc<dyn BaseCalls>,
}

/// What a call tells its library of its message, beside number and text. What is empty is not known, or there is none.
///
/// It has no `Debug`, for it may hold a security code.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct CallFacts {
    /// The country of the number by ISO 3166, such as `DE`.
    pub region: String,
    /// How the message goes: `sms`.
    pub channel: Cow<'static, str>,
    /// What it is for: [`CallFacts::VERIFICATION`] or [`CallFacts::MESSAGE`].
    pub purpose: Cow<'static, str>,
    /// The name of the template that the message is made of.
    pub template: String,
    /// What the template is filled in with: a JSON object of texts.
    pub params_json: String,
    /// The security code in the message, masked in all that the library says.
    pub security_code: String,
    /// The provider's id of the message that began the verification.
    pub message_id: String,
}

impl CallFacts {
    /// The purpose of a message with a security code.
    pub const VERIFICATION: &str = "verification";
    /// The purpose of a message without one.
    pub const MESSAGE: &str = "message";
}

/// Hears what became of each number of a bulk send, by its index.
pub type Settled = Arc<dyn Fn(usize, Result<Receipt, SendFailure>) + Send + Sync>;
