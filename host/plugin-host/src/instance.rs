//! The constructed backend behind the ABI, and how it is made again when it has panicked.
//!
//! Invariant: an instance that panicked gets no new call once its successor is there.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use phone_verify_plugin_abi::{BackendObj, OPTIONS_REFUSED, RawError, kind};
use zeroize::Zeroizing;

use super::worker::{self, Supervisor};
use super::{
    convert::raw_error,
    load::Library,
    refusal::{Refusal, code},
    services::Services,
};

/// How long foreign code may take to be opened or constructed, which involves no network.
pub(super) const CONSTRUCTION_LIMIT: Duration = Duration::from_secs(10);

/// A library, where it runs.
#[derive(Clone)]
pub(super) enum Opened {
    /// Here.
    Inline(Library),
    /// In the processes of this supervisor.
    Worker(Arc<Supervisor>),
}

/// Why a backend is not constructed.
pub(super) enum NotConstructed {
    /// Its constructor says so.
    Refused(RawError),
    /// The host says so, of a constructor that it ended or lost. No library can make one of these up.
    Ended(Refusal),
}

impl NotConstructed {
    /// It did not return within [`CONSTRUCTION_LIMIT`].
    pub(super) fn too_slow() -> Self {
        Self::Ended(Refusal::new(
            code::TOO_SLOW,
            format!(
                "its constructor did not return within {} s; it should do the slow part at the first call",
                CONSTRUCTION_LIMIT.as_secs()
            ),
        ))
    }

    /// One of [`code`].
    pub(super) fn code(&self) -> &'static str {
        match self {
            // What the author's crate has against options is no other thing than what the host has.
            Self::Refused(error) if error.kind == kind::CONFIG && error.code == OPTIONS_REFUSED => {
                code::OPTION_TYPE
            }
            Self::Refused(_) => code::NOT_CONSTRUCTED,
            Self::Ended(refusal) => refusal.code,
        }
    }

    /// Whether it may be otherwise a while later, without a change by anybody.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Ended(refusal) => refusal.may_pass,
        }
    }

    /// For a call that needed it, in the words of either.
    pub(super) fn raw(self) -> RawError {
        match self {
            Self::Refused(error) => error,
            Self::Ended(refusal) => raw_error(kind::INTERNAL, refusal.code, &refusal.sentence),
        }
    }
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

    /// Takes no longer than [`CONSTRUCTION_LIMIT`].
    fn make(self: &Arc<Self>) -> Result<BackendObj, NotConstructed> {
        match self.library {
            Opened::Inline(library) => {
                let this = Arc::clone(self);
                within_limit(move || library.create(&this.export, this.services.object(), &this.options_json))
                    .map_err(|late| match late {
                        Late::TooSlow => NotConstructed::too_slow(),
                        Late::NoThread(error) => NotConstructed::Ended(no_thread(&self.export, &error)),
                    })?
                    .map_err(NotConstructed::Refused)
            }
            Opened::Worker(ref supervisor) => {
                worker::create(supervisor, &self.export, &self.options_json, &self.services)
            }
        }
    }
}

/// Why foreign code has no result.
pub(super) enum Late {
    /// It took longer than [`CONSTRUCTION_LIMIT`]. Its thread is lost.
    TooSlow,
    /// It was not run at all.
    NoThread(io::Error),
}

/// Why `what` is not opened or constructed: the system gives no thread for it.
pub(super) fn no_thread(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(
        code::SYSTEM_MEMORY,
        format!(
            "the system gives no thread for {what}: {error}; allow phone-verify more threads (ulimit -u, TasksMax=, the \
             container's limit), or give it more memory"
        ),
    )
}

/// Runs foreign code on a thread of its own, for at most [`CONSTRUCTION_LIMIT`].
pub(super) fn within_limit<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> Result<T, Late> {
    let (done, result) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("backend-load".to_owned())
        .spawn(move || {
            // Nobody waits any more when the time was up.
            let _ = done.send(code());
        })
        .map_err(Late::NoThread)?;
    result.recv_timeout(CONSTRUCTION_LIMIT).map_err(|_| Late::TooSlow)
}

/// The instance that serves calls now.
pub(super) struct Instance {
    current: ArcSwap<BackendObj>,
    maker: Arc<Maker>,
    replacing: Mutex<()>,
}

impl Instance {
    /// Constructs the first one.
    pub(super) fn construct(maker: Maker) -> Result<Self, NotConstructed> {
        let maker = Arc::new(maker);
        Ok(Self {
            current: ArcSwap::from_pointee(maker.make()?),
            maker,
            replacing: Mutex::new(()),
        })
    }

    /// Why no call can reach it now; `None`: one can.
    pub(super) fn trouble(&self) -> Option<String> {
        match &self.maker.library {
            Opened::Inline(_) => None,
            Opened::Worker(supervisor) => supervisor.trouble(),
        }
    }

    /// What a sandbox cannot keep its library from on this system.
    pub(super) fn weakness(&self) -> Option<String> {
        match &self.maker.library {
            Opened::Inline(_) => None,
            Opened::Worker(supervisor) => supervisor.weakness(),
        }
    }

    /// The guard keeps it alive; it is cheaper than a clone.
    pub(super) fn current(&self) -> Guard<Arc<BackendObj>> {
        self.current.load()
    }

    /// Puts a fresh instance in the place of `broken`, unless that has happened already.
    pub(super) fn replace(&self, broken: &Arc<BackendObj>) -> Result<(), NotConstructed> {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&self.current.load(), broken) {
            self.current.store(Arc::new(self.maker.make()?));
        }
        Ok(())
    }
}
