//! What there is to say of a backend in use, computed in one place: `/readyz`, `/v1/backends`, `/metrics`, the log and
//! the command line show the same.

use std::sync::Arc;

use phone_verify_plugin_host::{Backend, IsolationMode, Refusal};

use super::{BreakerState, Counts, DEFAULT};
use crate::model::Region;

/// What does not change while a backend serves.
#[derive(Clone, Debug)]
pub struct BackendFacts {
    /// `nexmo.NexmoBackend`.
    pub backend: Arc<str>,
    /// The version of its library.
    pub version: String,
    /// The version of the ABI that its library was built against: `1.0`.
    pub abi: String,
    /// The hash of its library, in lower-case hex.
    pub sha256: String,
    /// Who signed its library, by the name in the settings, where signatures count.
    pub signed_by: Option<String>,
    /// Where its library runs.
    pub isolation: IsolationMode,
    /// Whether it is for tests and tutorials.
    pub is_sandbox: bool,
    /// Whether it makes or judges codes itself.
    pub owns_codes: bool,
    /// What the sandbox of its worker process cannot keep it from on this system, in one sentence.
    pub weakness: Option<String>,
    /// What it means that its library was built for a newer version of the ABI, in one sentence; `None`: it was not.
    pub newer_abi: Option<String>,
}

impl BackendFacts {
    /// Of a constructed backend.
    pub fn of(backend: &Backend) -> Self {
        Self {
            backend: Arc::from(backend.name()),
            version: backend.library_version().to_owned(),
            abi: backend.library_abi().to_owned(),
            sha256: backend.library_sha256().to_owned(),
            signed_by: backend.library_signer().map(str::to_owned),
            isolation: backend.isolation(),
            is_sandbox: backend.is_sandbox(),
            owns_codes: backend.overrides_generate_security_code()
                || backend.overrides_validate_security_code(),
            weakness: backend.weakness(),
            newer_abi: backend.newer_abi().map(str::to_owned),
        }
    }

    /// Of a backend that is a part of the program, such as one that a test plays: it is in no library.
    pub fn part_of_program(backend: &str) -> Self {
        Self {
            backend: Arc::from(backend),
            version: "0.0.0".to_owned(),
            abi: "1.0".to_owned(),
            sha256: "0".repeat(64),
            signed_by: None,
            isolation: IsolationMode::Inline,
            is_sandbox: false,
            owns_codes: false,
            weakness: None,
            newer_abi: None,
        }
    }

    /// The library that the backend is in: `nexmo`.
    pub fn library(&self) -> &str {
        self.backend.split('.').next().unwrap_or_default()
    }

    /// What should be known for as long as it serves.
    pub fn warnings(&self) -> Vec<String> {
        let sandbox = self
            .is_sandbox
            .then(|| format!("{} is a sandbox backend: it is not for production", self.backend));
        sandbox.into_iter().chain(self.weakness.clone()).collect()
    }
}

/// A member of the fleet at one moment.
#[derive(Clone, Debug)]
pub struct BackendStatus {
    /// By the settings; `default` where they name one backend only.
    pub name: Arc<str>,
    /// What serves.
    pub facts: Arc<BackendFacts>,
    /// Why it is not the file in the plugin directory; empty: it is.
    pub refusals: Arc<[Refusal]>,
    /// Whether its provider is left alone.
    pub breaker: BreakerState,
    /// The countries that its messages are refused to, while the rest goes on.
    pub refused_countries: Vec<Option<Region>>,
    /// How often the breaker opened since the process began.
    pub breaker_opened: u64,
    /// Messages of verifications, since it serves.
    pub messages: Counts,
    /// How many messages wait for it, and how many may.
    pub waiting: (usize, usize),
    /// Why no message can reach it, in one sentence.
    pub trouble: Option<String>,
}

impl BackendStatus {
    /// Why messages that are meant for it are refused now.
    pub fn degradations(&self) -> Vec<String> {
        let provider = (self.breaker != BreakerState::Closed).then(|| {
            format!(
                "the provider behind {} failed several times in a row: messages are refused, but for one now and then that \
                 shows whether it is back; codes that were sent can be checked",
                self.title()
            )
        });
        let countries: Vec<String> = self.countries();
        let countries = (!countries.is_empty() && self.breaker == BreakerState::Closed).then(|| {
            format!(
                "the provider behind {} failed several times in a row for numbers of {}: messages there are refused, but for \
                 one now and then that shows whether it is back",
                self.title(),
                countries.join(", ")
            )
        });
        provider
            .into_iter()
            .chain(countries)
            .chain(self.trouble.clone())
            .collect()
    }

    /// The codes of the countries that its messages are refused to; `unknown` where a number is of none.
    pub fn countries(&self) -> Vec<String> {
        let countries = self.refused_countries.iter();
        let code = |country: &Option<Region>| country.map_or_else(|| "unknown".to_owned(), Region::code);
        countries.map(code).collect()
    }

    /// As messages to an operator name it: `nexmo.NexmoBackend`, and with its name in the settings where it has one there.
    pub fn title(&self) -> String {
        title(&self.name, &self.facts.backend)
    }

    /// What should be looked at although it serves.
    pub fn note(&self) -> Option<String> {
        let codes: Vec<&str> = self.refusals.iter().map(|refusal| refusal.code).collect();
        let (backend, version) = (self.title(), &self.facts.version);
        (!codes.is_empty()).then(|| {
            let codes = codes.join(", ");
            format!(
                "{backend}: the library in the plugin directory is not used ({codes}), and version {version} goes on \
                 serving; see the log"
            )
        })
    }
}

/// A backend as messages to an operator name it.
pub(super) fn title(name: &str, backend: &str) -> String {
    if name == DEFAULT {
        backend.to_owned()
    } else {
        format!("{name} ({backend})")
    }
}
