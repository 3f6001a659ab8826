//! Takes up what changes while the daemon runs: the library in use, what is said of it in the lock file, and on SIGHUP
//! the settings.
//!
//! Invariants: one reload at a time; a reload that fails changes nothing but what `/readyz` and the log say; what
//! serves is exchanged as a whole, and no call is lost or made twice by it.

use std::{sync::Arc, time::Duration};

use phone_verify_plugin_host::{Loader, Seen};
use tokio::{
    sync::mpsc,
    task::JoinError,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Problem,
    next::{self, Maker, Now},
    run::{Reread, warn_of_open_api},
    service_manager::ServiceManager,
};
use crate::{
    fleet::{BackendStatus, Entry, Members},
    http::App,
    settings::{Keys, Settings, need_restart},
};

/// How often the plugin directory is looked at. A change is taken up once two looks saw the same: a file that is being
/// copied is left alone.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What a reload exchanges, and what it is made of. The fleet and the rules themselves are the app's.
pub(super) struct Reloader {
    app: Arc<App>,
    maker: Arc<Maker>,
    loader: Arc<Loader>,
    /// In effect, but for those that are read at the start alone.
    settings: Arc<Settings>,
    reread: Option<Reread>,
    /// Whether the settings file is faulty.
    has_faulty_settings: bool,
    /// Whether the last reload had keys that cannot be used.
    has_refused_keys: bool,
    /// Where everybody can connect.
    open_to_all: Vec<String>,
    /// Hears of reloads.
    manager: Arc<ServiceManager>,
}

impl Reloader {
    /// After a start.
    pub(super) fn new(
        app: Arc<App>,
        maker: Maker,
        loader: Loader,
        reread: Option<Reread>,
        open_to_all: Vec<String>,
        manager: Arc<ServiceManager>,
    ) -> Self {
        Self {
            app,
            settings: Arc::clone(&maker.at_start),
            maker: Arc::new(maker),
            loader: Arc::new(loader),
            reread,
            has_faulty_settings: false,
            has_refused_keys: false,
            open_to_all,
            manager,
        }
    }

    /// Reloads until `stop` is cancelled: everything on a hangup, the library when it changes.
    pub(super) async fn run(mut self, mut hangups: mpsc::Receiver<()>, stop: CancellationToken) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Nothing is taken as seen yet: it may have changed since it was loaded.
        let (mut taken, mut last) = (None, None);
        // As it was told at the start. What others told meanwhile, as of a store that does not answer, stays until this
        // changes.
        let mut told = self.status();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangups.recv() => {
                    self.manager.reloads();
                    taken = self.look().await;
                    self.reload_all().await;
                    told = self.status();
                    self.manager.serves(&told);
                }
                _ = looks.tick() => {
                    let seen = self.look().await;
                    if seen != taken && seen == last {
                        taken = seen.clone();
                        self.reload_library().await;
                        let status = self.status();
                        if status != told {
                            self.manager.status(&status);
                            told = status;
                        }
                    }
                    last = seen;
                }
            }
        }
    }

    /// How all libraries in use lie there; `None` should the look have panicked.
    async fn look(&self) -> Option<Vec<Seen>> {
        let (loader, members) = (Arc::clone(&self.loader), self.app.fleet.members());
        let look = move || {
            let seen = |entry: &Entry| loader.look(entry.member.facts().library());
            members.entries().iter().map(seen).collect()
        };
        tokio::task::spawn_blocking(look).await.ok()
    }

    /// A library may have changed.
    async fn reload_library(&mut self) {
        let began = self.maker.clock.elapsed();
        let settings = Arc::clone(&self.settings);
        let made = self.make(&settings, &self.loader).await;
        let members = made.or_else(|problems| {
            for problem in problems {
                tracing::error!("a changed library cannot be used: {}", problem.sentence);
            }
            let now = self.app.fleet.members();
            self.maker.kept(&settings, &now).ok_or(())
        });
        if let Ok(members) = members {
            self.exchange(members, began);
        }
        self.publish();
    }

    /// The settings may have changed, and what the references in them stand for.
    async fn reload_all(&mut self) {
        let began = self.maker.clock.elapsed();
        let settings = match self.reread.as_ref().map(|reread| reread()) {
            None => Arc::clone(&self.settings),
            Some(Ok(settings)) => Arc::new(settings),
            Some(Err(problems)) => {
                for problem in problems {
                    tracing::error!(
                        "the settings are faulty, and those from before stay in effect: {problem}"
                    );
                }
                self.has_faulty_settings = true;
                return self.publish();
            }
        };
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        self.has_refused_keys = !self.renew_keys(&settings).await;
        for warning in settings
            .phone_verification
            .test_numbers
            .warnings(self.maker.clock.now())
        {
            tracing::warn!("{warning}");
        }
        let loader = Arc::new(self.maker.loader_after(&self.loader, &settings));
        match self.make(&settings, &loader).await {
            Ok(members) => {
                let waiting = need_restart(&self.maker.at_start, &settings);
                if !waiting.is_empty() {
                    tracing::warn!(
                        "these settings have changed and need a restart: {}",
                        waiting.join(", ")
                    );
                }
                warn_of_open_api(&settings, &self.open_to_all);
                self.has_faulty_settings = false;
                self.loader = loader;
                self.exchange(members, began);
                self.settings = settings;
                // Whoever reads the line finds it true.
                self.publish();
                return if self.has_refused_keys {
                    tracing::warn!("the settings are reloaded, but for the keys");
                } else {
                    tracing::info!("the settings are reloaded");
                };
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(
                        "the backend of the new settings cannot be used, and those from before stay in effect: {}",
                        problem.sentence
                    );
                }
                self.has_faulty_settings = true;
            }
        }
        self.publish();
    }

    /// Takes the keys as they are now, from where they were at the start. `false`: they cannot be used.
    async fn renew_keys(&self, settings: &Settings) -> bool {
        let given = match (&self.maker.at_start.store.keys, &settings.store.keys) {
            (Keys::Given(_), Keys::Given(given)) => {
                if let Some(refusal) = given.refusal() {
                    tracing::error!(
                        "the keys cannot be exchanged, and those from before stay in effect: {refusal}"
                    );
                    return false;
                }
                Some(given.keys.clone())
            }
            (Keys::File(before), Keys::File(now)) if before == now => None,
            // These need a restart, which is logged elsewhere.
            _ => return true,
        };
        match self.app.store.renew_keys(given, self.maker.clock.now()).await {
            Ok(review) => {
                if review.changed {
                    tracing::info!("the keys are exchanged");
                }
                if let Some(problem) = &review.problem {
                    tracing::error!(
                        "the keys cannot be exchanged, and those from before stay in effect: {problem}"
                    );
                }
                review.problem.is_none()
            }
            Err(error) => {
                tracing::error!(%error, "the keys cannot be exchanged, and those from before stay in effect");
                false
            }
        }
    }

    /// The next fleet, made beside what others wait for.
    async fn make(&self, settings: &Arc<Settings>, loader: &Arc<Loader>) -> Result<Members, Vec<Problem>> {
        let (maker, settings, loader) = (Arc::clone(&self.maker), Arc::clone(settings), Arc::clone(loader));
        let (members, before) = (self.app.fleet.members(), Arc::clone(&self.settings));
        let made = tokio::task::spawn_blocking(move || {
            let now = Now {
                members: &members,
                settings: &before,
            };
            maker.members(&settings, &loader, Some(&now))
        });
        made.await.unwrap_or_else(|error: JoinError| {
            tracing::error!(%error, "a reload panicked");
            Err(Vec::new())
        })
    }

    /// Calls begin in these members from now on; `began`: when the reload did.
    fn exchange(&self, next: Members, began: Duration) {
        let now = self.app.fleet.members();
        next::tell(Some(&now), &next);
        let is_new = |entry: &&Entry| {
            let before = now.named(entry.member.name());
            !before.is_some_and(|before| Arc::ptr_eq(&before.member, &entry.member))
        };
        let news: Vec<_> = next.entries().iter().filter(is_new).cloned().collect();
        self.app.fleet.exchange(next);
        let took = self.maker.clock.elapsed().saturating_sub(began);
        for entry in news {
            let facts = entry.member.facts();
            tracing::info!(
                backend = entry.member.title(),
                version = facts.version,
                sha256 = facts.sha256,
                isolation = %facts.isolation,
                duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                "the backend is exchanged"
            );
        }
    }

    /// Requests from now on see it.
    fn publish(&self) {
        let now = self.app.live.get();
        let next = next::generation(&now.verifier, &self.settings, self.notes());
        self.app.live.set(next);
    }

    /// What serves, and what is out of order, for an operator.
    pub(super) fn status(&self) -> String {
        let backends = self.app.fleet.status();
        let names: Vec<String> = backends
            .iter()
            .map(|status| format!("{} {}", status.title(), status.facts.version))
            .collect();
        let notes = backends.iter().filter_map(BackendStatus::note);
        let notes = notes.chain(self.notes()).map(|note| format!("; {note}"));
        format!("Serving with {}{}", names.join(", "), notes.collect::<String>())
    }

    /// What should be looked at, whichever backends serve.
    fn notes(&self) -> Vec<String> {
        let settings = self.has_faulty_settings.then(|| {
            "the settings file cannot be used, and what was read before stays in effect; see the log"
                .to_owned()
        });
        let keys = self.has_refused_keys.then(|| {
            "the keys cannot be exchanged, and those from before stay in effect; see the log".to_owned()
        });
        settings.into_iter().chain(keys).collect()
    }
}
