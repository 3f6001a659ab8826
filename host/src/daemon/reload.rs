//! Takes up what changes while the daemon runs: the library in use, what is said of it in the lock file, and on SIGHUP the
//! settings.
//!
//! Invariants: one reload at a time; a reload that fails changes nothing but what `/readyz` and the log say; what serves is
//! exchanged as a whole, and no call is lost or made twice by it.

use std::{sync::Arc, time::Duration};

use phone_verify_plugin_host::{Backend, Choice, Loader, Next, Refusal, Running, Seen};
use tokio::{
    sync::mpsc,
    task::JoinError,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Bridge, InUse, Reread, Serving, base, choose_backend, loader_config, policy, run::warn_of_open_api,
    service_manager::ServiceManager,
};
use crate::{
    clock::Clock,
    dispatch::Breaker,
    entropy::Entropy,
    http::{App, Generation},
    settings::{Keys, Settings, need_restart},
};

/// How often the plugin directory is looked at. A change is taken up once two looks saw the same: a file that is being
/// copied is left alone.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// All that a reload exchanges, and what it is made of.
pub(super) struct Reloader {
    pub(super) app: Arc<App>,
    pub(super) bridge: Arc<Bridge>,
    pub(super) breaker: Arc<Breaker>,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) loader: Arc<Loader>,
    pub(super) serving: Serving,
    /// In effect, but for those that are read at the start alone.
    pub(super) settings: Arc<Settings>,
    pub(super) at_start: Arc<Settings>,
    pub(super) reread: Option<Reread>,
    /// Whether the settings file is faulty.
    pub(super) has_faulty_settings: bool,
    /// Whether the last reload had keys that cannot be used.
    pub(super) has_refused_keys: bool,
    /// Where everybody can connect.
    pub(super) open_to_all: Vec<String>,
    /// Hears of reloads.
    pub(super) manager: Arc<ServiceManager>,
}

impl Reloader {
    /// Reloads until `stop` is cancelled: everything on a hangup, the library when it changes.
    pub(super) async fn run(mut self, mut hangups: mpsc::Receiver<()>, stop: CancellationToken) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Nothing is taken as seen yet: it may have changed since it was loaded.
        let (mut taken, mut last) = (None, None);
        // As it was told at the start. What others told meanwhile, as of a store that does not answer, stays until this changes.
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

    /// `None` should the look have panicked.
    async fn look(&self) -> Option<Seen> {
        let (loader, library) = (Arc::clone(&self.loader), self.library().to_owned());
        tokio::task::spawn_blocking(move || loader.look(&library))
            .await
            .ok()
    }

    fn library(&self) -> &str {
        self.serving.name.split('.').next().unwrap_or_default()
    }

    /// The library may have changed.
    async fn reload_library(&mut self) {
        let began = self.clock.elapsed();
        let settings = Arc::clone(&self.settings);
        let chosen = self.choose(&settings, Arc::clone(&self.loader), false).await;
        match chosen {
            Ok(Choice {
                next: Next::Keep,
                refusals,
            })
            | Err(refusals) => self.keep(refusals),
            Ok(Choice {
                next: Next::Take(backend),
                refusals,
            }) => self.take(*backend, refusals, &settings, began),
        }
        self.publish();
    }

    /// The settings may have changed, and what the references in them stand for.
    async fn reload_all(&mut self) {
        let began = self.clock.elapsed();
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
            .warnings(self.clock.now())
        {
            tracing::warn!("{warning}");
        }
        let loader = Arc::new(self.loader.reconfigured(loader_config(
            &settings,
            &self.at_start,
            &self.clock,
            &self.entropy,
        )));
        match self.choose(&settings, Arc::clone(&loader), true).await {
            Ok(Choice {
                next: Next::Take(backend),
                refusals,
            }) => {
                let waiting = need_restart(&self.at_start, &settings);
                if !waiting.is_empty() {
                    tracing::warn!(
                        "these settings have changed and need a restart: {}",
                        waiting.join(", ")
                    );
                }
                warn_of_open_api(&settings, &self.open_to_all);
                self.has_faulty_settings = false;
                self.loader = loader;
                self.take(*backend, refusals, &settings, began);
                self.settings = settings;
                // Whoever reads the line finds it true.
                self.publish();
                return if self.has_refused_keys {
                    tracing::warn!("the settings are reloaded, but for the keys");
                } else {
                    tracing::info!("the settings are reloaded");
                };
            }
            Ok(Choice { refusals, .. }) | Err(refusals) => {
                for refusal in refusals {
                    tracing::error!(
                        "the backend of the new settings cannot be used, and those from before stay in effect: {refusal}"
                    );
                }
                self.has_faulty_settings = true;
            }
        }
        self.publish();
    }

    /// Takes the keys as they are now, from where they were at the start. `false`: they cannot be used.
    async fn renew_keys(&self, settings: &Settings) -> bool {
        let given = match (&self.at_start.store.keys, &settings.store.keys) {
            (Keys::Given(_), Keys::Given(keys)) => Some(keys.clone()),
            (Keys::File(before), Keys::File(now)) if before == now => None,
            // These need a restart, which is logged elsewhere.
            _ => return true,
        };
        match self.app.store.renew_keys(given, self.clock.now()).await {
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

    async fn choose(
        &self,
        settings: &Arc<Settings>,
        loader: Arc<Loader>,
        renews: bool,
    ) -> Result<Choice, Vec<Refusal>> {
        let (settings, sha256) = (Arc::clone(settings), self.serving.sha256.clone());
        let place = self.serving.place;
        let chosen = tokio::task::spawn_blocking(move || {
            let running = Running {
                sha256: &sha256,
                place,
                renews,
            };
            choose_backend(&settings, &loader, Some(running))
        });
        chosen.await.unwrap_or_else(|error: JoinError| {
            tracing::error!(%error, "a reload panicked");
            Err(Vec::new())
        })
    }

    /// What serves goes on.
    fn keep(&mut self, refusals: Vec<Refusal>) {
        if self.serving.refusals != refusals {
            self.serving.refusals = refusals;
            self.serving.tell_refusals();
        }
    }

    /// Another backend serves from now on; `began`: when the reload did.
    fn take(&mut self, backend: Backend, refusals: Vec<Refusal>, settings: &Settings, began: Duration) {
        self.serving = Serving::of(&backend, refusals);
        let before = self
            .bridge
            .exchange(InUse::new(backend, base(settings, &self.entropy)));
        self.breaker.reset();
        tokio::spawn(before.drain());
        let took = self.clock.elapsed().saturating_sub(began);
        tracing::info!(
            backend = self.serving.name,
            version = self.serving.version,
            sha256 = self.serving.sha256,
            isolation = %self.serving.place,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "the backend is exchanged"
        );
    }

    /// Requests from now on see it.
    pub(super) fn publish(&self) {
        let now = self.app.live.get();
        self.app.live.set(Generation {
            verifier: now.verifier.under(policy(&self.settings)),
            backend: self.serving.loaded(),
            notes: self.notes(),
            default_region: self.settings.phone_verification.default_region,
            context_allows_urls: self.settings.phone_verification.context_allows_urls,
            keys: self.settings.api.keys.clone(),
        });
    }

    /// What serves, and what is out of order, for an operator.
    pub(super) fn status(&self) -> String {
        let Serving { name, version, .. } = &self.serving;
        let notes = self.notes();
        let notes = notes.iter().map(|note| format!("; {note}"));
        format!("Serving with {name} {version}{}", notes.collect::<String>())
    }

    fn notes(&self) -> Vec<String> {
        let Serving { name, version, .. } = &self.serving;
        let codes: Vec<&str> = self.serving.refusals.iter().map(|refusal| refusal.code).collect();
        let library = (!codes.is_empty()).then(|| {
            let codes = codes.join(", ");
            format!("{name}: the library in the plugin directory is not used ({codes}), and version {version} goes on serving; see the log")
        });
        let settings = self.has_faulty_settings.then(|| {
            "the settings file cannot be used, and what was read before stays in effect; see the log"
                .to_owned()
        });
        let keys = self.has_refused_keys.then(|| {
            "the keys cannot be exchanged, and those from before stay in effect; see the log".to_owned()
        });
        library.into_iter().chain(settings).chain(keys).collect()
    }
}
