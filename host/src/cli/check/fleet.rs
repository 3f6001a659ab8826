//! The part of a check that is about backends and their routes.

use phone_verify_plugin_host::{Backend, Loader, Refusal};
use serde_json::{Value, json};

use super::{BACKEND, LIBRARY, Stages, THE_BACKEND};
use crate::{
    daemon::{self, Problem},
    fleet::{BackendFacts, DEFAULT},
    settings::{BackendSettings, Settings},
};

/// The backends that could be loaded.
pub(super) struct Checked<'a>(Vec<(&'a str, BackendFacts)>);

impl<'a> Checked<'a> {
    /// Loads those of the settings, in their order, and says what is wrong with them and with their routes. None is loaded
    /// where the options are not known.
    pub(super) fn of(settings: &'a Settings, loader: &Loader, stages: &mut Stages) -> (Self, Vec<Problem>) {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        let backends = if stages.can(THE_BACKEND, LIBRARY) {
            &*settings.backends
        } else {
            &[]
        };
        for named in backends {
            match backend(named, loader, stages) {
                Ok(backend) => {
                    found.extend(backend.map(|backend| (&*named.name, BackendFacts::of(&backend))));
                }
                Err(refusals) => {
                    let told = refusals.into_iter();
                    problems.extend(told.map(|refusal| daemon::problem_of(named, refusal)));
                }
            }
        }
        let checked = Self(found);
        problems.extend(daemon::mixed_routes(settings, |name| {
            let facts = checked.0.iter().find(|(known, _)| *known == name);
            facts.is_some_and(|(_, facts)| facts.owns_codes)
        }));
        (checked, problems)
    }

    /// The one that has all messages where there are no routes.
    pub(super) fn first(&self) -> Option<&BackendFacts> {
        self.0.first().map(|(_, facts)| facts)
    }

    /// What should be known of them. What no start would log is logged.
    pub(super) fn warnings(&self) -> Vec<String> {
        let all = || self.0.iter().map(|(_, facts)| facts);
        let newer = all().filter_map(|facts| facts.newer_abi.clone());
        let newer = newer.inspect(|newer_abi| tracing::warn!("{newer_abi}"));
        let weak = all().filter_map(|facts| facts.weakness.clone());
        weak.chain(newer).collect()
    }

    /// A member of the result for each.
    pub(super) fn as_json(&self) -> Vec<Value> {
        let shown = |(name, facts): &(&str, BackendFacts)| {
            json!({
                "member": name,
                "backend": &*facts.backend,
                "sandbox": facts.is_sandbox,
                "isolation": facts.isolation,
            })
        };
        self.0.iter().map(shown).collect()
    }

    /// Their lines, and those of the routes.
    pub(super) fn shown(&self, settings: &Settings) -> String {
        let routes = settings.routes.iter().zip(1..);
        let routes =
            routes.map(|(route, place)| format!("\n  route     {place}: {}", route.send.join(", then ")));
        self.0.iter().map(shown).chain(routes).collect()
    }
}

/// One backend, as far as it can be judged; `None`: it is not loaded, for the options are not known.
fn backend(
    named: &BackendSettings,
    loader: &Loader,
    stages: &mut Stages,
) -> Result<Option<Backend>, Vec<Refusal>> {
    let takes = format!("whether {} takes its options", named.backend);
    // The options of the others are known, or the library was not judged either.
    let needed = if named.place().is_empty() {
        BACKEND
    } else {
        &BACKEND[1..]
    };
    if !stages.can(&takes, needed) {
        let refusals = daemon::judge_library(named, loader);
        return if refusals.is_empty() {
            Ok(None)
        } else {
            Err(refusals)
        };
    }
    daemon::load_backend(named, loader)
        .map(Some)
        .map_err(|mut refusals| {
            if let Some(refusal) = refusals.last_mut()
                && let Some(before) = daemon::version_before(named, loader)
            {
                refusal.sentence += &format!(
                    "; until then a start goes on with version {} with the sha256 {}, which served before",
                    before.library_version(),
                    before.library_sha256()
                );
            }
            refusals
        })
}

/// The lines on one backend.
fn shown((name, facts): &(&str, BackendFacts)) -> String {
    let sandbox = if facts.is_sandbox {
        " (a sandbox: not for production)"
    } else {
        ""
    };
    let BackendFacts {
        backend, isolation, ..
    } = facts;
    if *name == DEFAULT {
        format!("\n  backend   {backend}{sandbox}\n  isolation {isolation}")
    } else {
        format!("\n  backend   {name}: {backend}{sandbox}, {isolation}")
    }
}
