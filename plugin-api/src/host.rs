//! The services that the host offers to a backend for as long as the library is loaded. A [`Host`] is cheap to clone
//! and usable from any thread.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use phone_verify_plugin_abi::{
    HostObj, RawExtension,
    abi_stable::std_types::{RSliceMut, RStr, RString, RVec, Tuple2},
    level,
};

use crate::{Error, http::Http};

/// The host's services: HTTP, log, clock, randomness, sleep, digests and signatures.
#[derive(Clone)]
pub struct Host(Arc<HostObj>);

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// The operator must act.
    Error,
    /// Something unexpected that needs no immediate action.
    Warn,
    /// A normal event.
    Info,
    /// Detail for debugging.
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

    /// HTTP requests through the host's pooled client. It reaches the hosts that the backend declares and the host of
    /// an option named `base_url`. It uses https, unless the operator wrote another scheme in that option. It does not
    /// follow redirects, refuses answers of more than 1 MiB, and ends every request at the call's deadline.
    pub fn http(&self) -> Http<'_> {
        Http::new(self)
    }

    /// Writes one line to the host's log.
    pub fn log(&self, level: LogLevel, message: &str) {
        self.log_with(level, message, &[]);
    }

    /// Writes one line with fields to the host's log.
    ///
    /// Bounds: 2000 characters, 16 fields, and 256 characters for each field; the host cuts off what exceeds them. It
    /// drops lines after the 200th in one second.
    ///
    /// The host masks phone numbers, the values of secret options, and the call's text, code and session token. Outside
    /// of a call, and while a security code is generated, it cannot know the code. Then it masks every word that may be
    /// one: four or more characters with a digit, or of upper-case consonants only.
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

    /// A clock that is never set back, for measuring durations.
    pub fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.monotonic_ns())
    }

    /// Fills the buffer from the operating system's CSPRNG.
    pub fn random(&self, bytes: &mut [u8]) {
        self.0.random(RSliceMut::from_mut_slice(bytes));
    }

    /// Waits for this time. Timers of an async runtime do not work in a library, because no such runtime runs there.
    pub async fn sleep(&self, duration: Duration) {
        self.0
            .sleep_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
            .await;
    }

    /// Asks the host for something that is not part of this crate yet, under an id such as
    /// `phone-verify.stream/draft-1`. `None`: the host does not know the id.
    pub async fn extension(&self, id: &str, body: impl Into<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        let request = RawExtension {
            id: RString::from(id),
            body: RVec::from(body.into()),
            flags: 0,
            ext: RVec::new(),
        };
        let answer = self.0.extension(request).await.into_result();
        let answer = answer.map_err(Error::from_raw)?.into_option();
        Ok(answer.map(RVec::into_vec))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}
