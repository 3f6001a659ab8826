//! What serves next, made of what is in use now and of the settings. A start is a reload of nothing: both go through
//! here, from the choice of a library to what is said of it.
//!
//! Invariant: nothing here changes what is in use; so what cannot be made costs nothing.

use std::sync::Arc;

use phone_verify_plugin_host::{Choice, Loader, Next, Refusal, Running};

use super::{backend_name, demo::Shown, loader_config};
use crate::{
    clock::Clock,
    entropy::Entropy,
    fleet::{Base, DEFAULT, Entry, ForTests, Library, Member, Members},
    http::{DemoPhone, Generation},
    settings::Settings,
    telemetry,
    verifier::{Policy, Verifier},
};

/// What all generations of the fleet have in common.
pub(super) struct Maker {
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    /// The settings of which some are read at the start alone.
    pub(super) at_start: Arc<Settings>,
    /// Shown each SMS that a backend took.
    pub(super) demo: Option<Arc<DemoPhone>>,
}

/// Which libraries a reload touches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Those that changed.
    Changed,
    /// All: the settings are others.
    All,
}

impl Maker {
    /// The loader that these settings describe.
    pub(super) fn loader(&self, settings: &Settings) -> Loader {
        Loader::new(loader_config(
            settings,
            &self.at_start,
            &self.clock,
            &self.entropy,
        ))
    }

    /// The same, after `now`, whose open libraries it knows.
    pub(super) fn loader_after(&self, now: &Loader, settings: &Settings) -> Loader {
        now.reconfigured(loader_config(
            settings,
            &self.at_start,
            &self.clock,
            &self.entropy,
        ))
    }

    /// The fleet that the settings describe. A member of `now` whose library need not be renewed is in it again, with
    /// its breaker and its calls. Opens and constructs, which may take seconds: not for a thread that others wait for.
    pub(super) fn members(
        &self,
        settings: &Settings,
        loader: &Loader,
        now: Option<&Members>,
        renewal: Renewal,
    ) -> Result<Members, Vec<Refusal>> {
        let before = now.and_then(|now| now.named(DEFAULT));
        let running = before.map(|entry| Running {
            sha256: &entry.member.facts().sha256,
            place: entry.member.facts().isolation,
            renews: renewal == Renewal::All,
        });
        let options = &settings.phone_verification.options;
        let Choice { next, refusals } = loader.choose(&backend_name(settings)?, options, running)?;
        let member = match (next, before) {
            (Next::Take(backend), before) => {
                let bounds = self.at_start.dispatch.bounds;
                let mut parts = Library::parts(*backend, self.base(settings), bounds.send_timeout);
                if let Some(demo) = &self.demo {
                    parts.sender = Shown::on(parts.sender, Arc::clone(demo));
                }
                let before = before.map(|entry| &*entry.member);
                Arc::new(Member::new(DEFAULT, parts, bounds, before, &self.clock))
            }
            (Next::Keep, Some(before)) => Arc::clone(&before.member),
            // Of what does not serve, a loader keeps nothing.
            (Next::Keep, None) => return Err(refusals),
        };
        Ok(self.of(settings, member, refusals))
    }

    /// The fleet of now, of which a library cannot be renewed: it goes on, and is known to be another than the file in
    /// the directory.
    pub(super) fn kept(&self, settings: &Settings, now: &Members, refusals: Vec<Refusal>) -> Members {
        let member = Arc::clone(&now.entries()[0].member);
        self.of(settings, member, refusals)
    }

    fn of(&self, settings: &Settings, member: Arc<Member>, refusals: Vec<Refusal>) -> Members {
        let numbers = Arc::clone(&settings.phone_verification.test_numbers);
        let entry = Entry {
            member,
            refusals: refusals.into(),
        };
        Members::one(entry, ForTests::new(numbers, self.clock.clone()))
    }

    /// What the overrides of a backend can fall back on.
    fn base(&self, settings: &Settings) -> Base {
        let phone_verification = &settings.phone_verification;
        Base {
            code_format: phone_verification.code_format,
            messages: Arc::clone(&phone_verification.messages),
            entropy: self.entropy.clone(),
        }
    }
}

/// Logs what is new of a fleet: the backends that were not in the one before, and libraries that are not used.
pub(super) fn tell(now: Option<&Members>, next: &Members) {
    for Entry { member, refusals } in next.entries() {
        let facts = member.facts();
        let backend = &*facts.backend;
        let before = now.and_then(|now| now.named(member.name()));
        let was_there = before.is_some_and(|before| Arc::ptr_eq(&before.member, member));
        if !was_there || before.is_some_and(|before| before.refusals != *refusals) {
            for refusal in &**refusals {
                tracing::error!(
                    backend,
                    version = facts.version,
                    sha256 = facts.sha256,
                    "the library in the plugin directory is not used, and the version that was goes on serving: {refusal}"
                );
            }
        }
        if was_there {
            continue;
        }
        if let Some(newer_abi) = &facts.newer_abi {
            tracing::warn!(backend, "{newer_abi}");
        }
        if facts.is_sandbox {
            tracing::warn!(backend, "a sandbox backend is in use: it is not for production");
        }
    }
    // The console shows each SMS; a backend for production shows nothing that is worth a secret.
    let is_sandbox = |entry: &Entry| entry.member.facts().is_sandbox;
    telemetry::show_as_printed(next.entries().iter().all(is_sandbox));
}

/// What requests are answered by under these settings. `notes`: what should be looked at although all is served.
pub(super) fn generation(verifier: &Verifier, settings: &Settings, notes: Vec<String>) -> Generation {
    Generation {
        verifier: verifier.under(policy(settings)),
        notes,
        default_region: settings.phone_verification.default_region,
        context_allows_urls: settings.phone_verification.context_allows_urls,
        keys: settings.api.keys.clone(),
    }
}

/// The rules that the settings give.
pub(super) fn policy(settings: &Settings) -> Policy {
    let phone_verification = &settings.phone_verification;
    Policy {
        code_format: phone_verification.code_format,
        expiration: phone_verification.expiration,
        only_once: phone_verification.only_once,
        resend: phone_verification.resend,
        max_failed_attempts: phone_verification.max_failed_attempts,
        messages: Arc::clone(&phone_verification.messages),
        limits: settings.limits.clone(),
        guard: settings.guard.clone(),
        record_retention: phone_verification.record_retention,
        audit_retention: settings.store.audit_retention,
    }
}
