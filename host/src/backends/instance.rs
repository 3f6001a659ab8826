//! The constructed backend behind the ABI, and how it is made again when it has panicked.
//!
//! Invariant: an instance that panicked gets no new call once its successor is there.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use phone_verify_plugin_abi::{BackendObj, RawError};
use zeroize::Zeroizing;

#[cfg(unix)]
use super::worker::{self, Supervisor};
use super::{load::Library, services::Services};

/// How long foreign code may take to be opened or constructed, which involves no network.
pub(super) const CONSTRUCTION_LIMIT: Duration = Duration::from_secs(10);

/// A library, where it runs.
#[derive(Clone)]
pub(super) enum Opened {
    /// Here.
    Inline(Library),
    /// In the processes of this supervisor.
    #[cfg(unix)]
    Worker(Arc<Supervisor>),
}

/// All that it takes to construct a backend.
pub(super) struct Maker {
    library: Opened,
    export: String,
    options_json: Zeroizing<String>,
    services: Arc<Services>,
}

impl Maker {
    pub(super) fn new(
        library: Opened,
        export: &str,
        options_json: Zeroizing<String>,
        services: Arc<Services>,
    ) -> Self {
        Self {
            library,
            export: export.to_owned(),
            options_json,
            services,
        }
    }

    fn make(&self) -> Result<BackendObj, RawError> {
        match &self.library {
            Opened::Inline(library) => {
                library.create(&self.export, self.services.object(), &self.options_json)
            }
            #[cfg(unix)]
            Opened::Worker(supervisor) => {
                worker::create(supervisor, &self.export, &self.options_json, &self.services)
            }
        }
    }
}

/// Runs foreign code on a thread of its own; `None` when it takes too long, and then the thread is lost.
pub(super) fn within_limit<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("backend-load".to_owned())
        .spawn(move || {
            // Nobody waits any more when the time was up.
            let _ = done.send(code());
        })
        .ok()?;
    result.recv_timeout(CONSTRUCTION_LIMIT).ok()
}

/// The instance that serves calls now.
pub(super) struct Instance {
    current: ArcSwap<BackendObj>,
    maker: Arc<Maker>,
    replacing: Mutex<()>,
}

impl Instance {
    /// Constructs the first one; `None` when that takes too long.
    pub(super) fn construct(maker: Maker) -> Option<Result<Self, RawError>> {
        let maker = Arc::new(maker);
        let made = match maker.library {
            Opened::Inline(_) => {
                let maker_there = Arc::clone(&maker);
                within_limit(move || maker_there.make())?
            }
            // Has the same limit, at which the process is killed.
            #[cfg(unix)]
            Opened::Worker(_) => maker.make(),
        };
        Some(made.map(|backend| Self {
            current: ArcSwap::from_pointee(backend),
            maker,
            replacing: Mutex::new(()),
        }))
    }

    /// The guard keeps it alive; it is cheaper than a clone.
    pub(super) fn current(&self) -> Guard<Arc<BackendObj>> {
        self.current.load()
    }

    /// Puts a fresh instance in the place of `broken`, unless that has happened already.
    pub(super) fn replace(&self, broken: &Arc<BackendObj>) -> Result<(), RawError> {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&self.current.load(), broken) {
            self.current.store(Arc::new(self.maker.make()?));
        }
        Ok(())
    }
}
