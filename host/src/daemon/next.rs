//! What serves next, made of what is in use now and of the settings. A start is a reload of nothing: both go through
//! here, from the choice of a library to what is said of it.
//!
//! Invariant: nothing here changes what is in use; so what cannot be made costs nothing.

use std::sync::Arc;

use phone_verify_plugin_host::{Choice, Loader, Next, Refusal, Running};

use super::{Problem, backend_name, demo::Shown, loader_config, mixed_routes, problem_of};
use crate::{
    clock::Clock,
    entropy::Entropy,
    fleet::{Base, Entry, ForTests, Library, Member, Members, Route},
    http::{DemoPhone, Generation},
    settings::{BackendSettings, RouteSettings, Settings},
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

/// What is in use.
pub(super) struct Now<'a> {
    pub(super) members: &'a Members,
    /// The settings that they were made by.
    pub(super) settings: &'a Settings,
}

impl Now<'_> {
    /// Whether a member is under other settings what it is now.
    fn is_same(&self, settings: &Settings, backend: &BackendSettings) -> bool {
        let mut before = self.settings.backends.iter();
        before.any(|before| before.is_same_as(backend)) && self.settings.construct_as(settings)
    }
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

    /// The fleet that the settings describe. A member of `now` that need not be renewed is in it again, with its breaker
    /// and its calls. Of settings that were in effect before, one that cannot be renewed goes on. The error holds every
    /// problem of every backend. Opens and constructs, which may take seconds: not for a thread that others wait for.
    pub(super) fn members(
        &self,
        settings: &Settings,
        loader: &Loader,
        now: Option<&Now<'_>>,
    ) -> Result<Members, Vec<Problem>> {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for backend in &settings.backends {
            match self.entry(settings, backend, loader, now) {
                Ok(entry) => entries.push(entry),
                Err(refusals) => {
                    problems.extend(refusals.into_iter().map(|refusal| problem_of(backend, refusal)));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.fleet_of(settings, entries)
    }

    /// The fleet of now with the numbers for tests of these settings.
    pub(super) fn kept(&self, settings: &Settings, now: &Members) -> Option<Members> {
        self.fleet_of(settings, now.entries().to_vec()).ok()
    }

    fn fleet_of(&self, settings: &Settings, entries: Vec<Entry>) -> Result<Members, Vec<Problem>> {
        let numbers = Arc::clone(&settings.phone_verification.test_numbers);
        let for_tests = ForTests::new(numbers, self.clock.clone());
        let mixed = mixed_routes(settings, |name| {
            let mut entries = entries.iter().filter(|entry| **entry.member.name() == *name);
            entries.any(|entry| entry.member.facts().owns_codes)
        });
        if !mixed.is_empty() {
            return Err(mixed);
        }
        let place_of = |name: &String| entries.iter().position(|entry| **entry.member.name() == **name);
        let route = |route: &RouteSettings| Route {
            conditions: route.conditions.clone(),
            send: route.send.iter().filter_map(place_of).collect(),
            destination_failover: route.destination_failover,
        };
        let routes = settings.routes.iter().map(route).collect();
        let nobody = || {
            vec![Problem::lasting(
                "the settings name no backend; set BACKEND, or one in [backends]",
            )]
        };
        Members::of(entries, routes, for_tests).ok_or_else(nobody)
    }

    fn entry(
        &self,
        settings: &Settings,
        backend: &BackendSettings,
        loader: &Loader,
        now: Option<&Now<'_>>,
    ) -> Result<Entry, Vec<Refusal>> {
        let before = now.and_then(|now| now.members.named(&backend.name));
        let stays_the_same = now.is_some_and(|now| now.is_same(settings, backend));
        let running = before.map(|entry| Running {
            sha256: &entry.member.facts().sha256,
            place: entry.member.facts().isolation,
            renews: !stays_the_same,
        });
        let chosen = backend_name(backend).and_then(|name| loader.choose(&name, &backend.options, running));
        let Choice { next, refusals } = match (chosen, before) {
            (Ok(choice), _) => choice,
            // It goes on, and is known to be another than the file in the directory.
            (Err(refusals), Some(_)) if stays_the_same => Choice {
                next: Next::Keep,
                refusals,
            },
            (Err(refusals), _) => return Err(refusals),
        };
        let member = match (next, before) {
            (Next::Take(taken), before) => {
                let bounds = backend.bounds(self.at_start.dispatch.bounds);
                let mut parts = Library::parts(*taken, self.base(settings), bounds.send_timeout);
                if let Some(demo) = &self.demo {
                    parts.sender = Shown::on(parts.sender, Arc::clone(demo));
                }
                let before = before.map(|entry| &*entry.member);
                let member = Member::new(&backend.name, parts, bounds, before, &self.clock);
                Arc::new(member.at_prices(backend.prices.clone()))
            }
            (Next::Keep, Some(before)) => Arc::clone(&before.member),
            // Of what does not serve, a loader keeps nothing.
            (Next::Keep, None) => return Err(refusals),
        };
        Ok(Entry {
            member,
            refusals: refusals.into(),
        })
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
        let backend = member.title();
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
