//! Loads backends out of shared libraries, and calls them.
//!
//! The way of a library: `discover` (which file is meant) → `preflight` (read it, run nothing) → `trust` (may these
//! bytes be used) → `options` (do the
//! settings fit) → `stage` (a private copy) → `load` (open it, check the ABI) → `instance` (construct) → [`Backend`]
//! (call). `isolation` says whether it runs in this process or in one of its own (`worker`). `services` is what the library gets from the host; [`Loader`] puts it all together.
//!
//! Invariants: only `load`, and the start of a worker process on Windows, have unsafe code; nothing of a library runs before its file was judged; a library that
//! panics, hangs or answers nonsense costs that call; and nothing that a library says is shown unmasked.

mod backend;
mod bounded;
mod convert;
mod discover;
mod file_name;
mod instance;
mod isolation;
mod load;
mod name;
mod options;
mod preflight;
mod refusal;
mod registry;
mod scrub;
mod services;
mod stage;
#[cfg(test)]
mod testing;
mod trust;
pub(crate) mod worker;

use std::{sync::Arc, time::Duration};

pub(crate) use self::file_name::FileNaming;
pub use self::worker::{Bundle, Numbered, crashes};
pub use self::{
    backend::Backend,
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
};
use crate::model::{Receipt, SecurityCode, SendFailure, Verdict};

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

/// A line that a library in this process printed, as it may be shown: nothing tells what it is about, so every word that
/// may be a code is masked.
pub(crate) fn clean_printed(line: &str) -> String {
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
    /// What an override can call.
    pub base: Arc<dyn BaseCalls>,
}

/// Hears what became of each number of a bulk send, by its index.
pub type Settled = Arc<dyn Fn(usize, Result<Receipt, SendFailure>) + Send + Sync>;
