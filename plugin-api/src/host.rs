//! What the host offers a backend for as long as the library is loaded. Cheap to clone; usable from any
//! thread.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use phone_verify_plugin_abi::{
    HostObj,
    abi_stable::std_types::{RSliceMut, RStr, RString, RVec, Tuple2},
    level,
};

use crate::http::Http;

/// The host's services.
#[derive(Clone)]
pub struct Host(Arc<HostObj>);

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Somebody must act.
    Error,
    /// Something is off.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Every step.
    Trace,
}

impl Host {
    pub(crate) fn new(raw: HostObj) -> Self {
        Self(Arc::new(raw))
    }

    pub(crate) fn raw(&self) -> &HostObj {
        &self.0
    }

    /// HTTP through the host's pooled client. It reaches the hosts that the backend declares and the one in
    /// an option named `base_url`, over https unless the operator wrote otherwise there; redirects are not
    /// followed, answers are cut off at 1 MiB, and the call's deadline holds.
    pub fn http(&self) -> Http<'_> {
        Http::new(self)
    }

    /// One line in the host's log.
    pub fn log(&self, level: LogLevel, message: &str) {
        self.log_with(level, message, &[]);
    }

    /// One line with fields in the host's log, of at most 2000 characters, 16 fields and 256 characters for each; what is
    /// more is cut off, and so is what comes after 200 lines in a second. Phone numbers, secret options and what the call is about are
    /// masked there. Outside of a call, and while a security code is made, the host cannot know the code: every word is
    /// masked that may be one, which has four or more characters and a digit or is of upper-case consonants.
    pub fn log_with(&self, level: LogLevel, message: &str, fields: &[(&str, &str)]) {
        let level = match level {
            LogLevel::Error => level::ERROR,
            LogLevel::Warn => level::WARN,
            LogLevel::Info => level::INFO,
            LogLevel::Debug => level::DEBUG,
            LogLevel::Trace => level::TRACE,
        };
        let fields: RVec<_> = fields
            .iter()
            .map(|(name, value)| Tuple2(RString::from(*name), RString::from(*value)))
            .collect();
        self.0.log(level, RStr::from(message), fields);
    }

    /// The wall-clock time.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.now_unix_ms())
    }

    /// A clock that is never set back, for measuring.
    pub fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.monotonic_ns())
    }

    /// Fills with bytes of the operating system's CSPRNG.
    pub fn random(&self, bytes: &mut [u8]) {
        self.0.random(RSliceMut::from_mut_slice(bytes));
    }

    /// Waits. A runtime's own timer would never wake up here.
    pub async fn sleep(&self, duration: Duration) {
        self.0
            .sleep_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
            .await;
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}
