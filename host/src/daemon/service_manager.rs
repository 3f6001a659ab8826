//! Tells the service manager what the daemon does, in systemd's protocol (`sd_notify(3)`): that it serves, reloads or ends,
//! and that it is alive. Without `NOTIFY_SOCKET` nobody is told.
//!
//! Invariant: telling never fails or delays what is told of; and the daemon says that it is alive only after the runtime and
//! the store have answered.

use std::time::Duration;

#[cfg(target_os = "linux")]
pub(super) use linux::ServiceManager;

/// How much longer than the bounds of all that is finished at the end the service manager should wait.
const MARGIN: Duration = Duration::from_secs(5);

/// Elsewhere there is none that is told.
#[cfg(not(target_os = "linux"))]
pub(super) struct ServiceManager;

#[cfg(not(target_os = "linux"))]
impl ServiceManager {
    pub(super) fn of_environment() -> Self {
        Self
    }
    pub(super) fn serves(&self, _status: &str) {}
    pub(super) fn reloads(&self) {}
    pub(super) fn stops(&self, _at_most: Duration) {
        let _ = MARGIN;
    }
    pub(super) fn status(&self, _status: &str) {}
    pub(super) fn lives(&self) {}
    pub(super) fn watchdog(&self) -> Option<Duration> {
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        env, io,
        os::{
            linux::net::SocketAddrExt,
            unix::net::{SocketAddr, UnixDatagram},
        },
        sync::{
            Mutex, PoisonError,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use super::MARGIN;
    use crate::clock::Clock;

    /// How long a message may take to be taken. PID 1 that takes none for so long has other troubles.
    const PATIENCE: Duration = Duration::from_millis(500);

    /// Who started this process and wants to hear of it, if anybody does.
    pub(in crate::daemon) struct ServiceManager {
        address: Option<SocketAddr>,
        watchdog: Option<Duration>,
        /// What is in `systemctl status` now.
        status: Mutex<String>,
        /// One complaint is enough.
        complained: AtomicBool,
    }

    impl ServiceManager {
        /// The one that the environment names.
        pub(in crate::daemon) fn of_environment() -> Self {
            let named = env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty());
            let address = named.and_then(|name| {
                let address = match name.strip_prefix('@') {
                    Some(name) => SocketAddr::from_abstract_name(name),
                    None => SocketAddr::from_pathname(&name),
                };
                address
                    .inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET cannot be used: {name}"))
                    .ok()
            });
            Self {
                watchdog: address.as_ref().and_then(|_| watchdog()),
                address,
                status: Mutex::default(),
                complained: AtomicBool::new(false),
            }
        }

        /// Requests are answered; also after a reload, whatever came of it.
        pub(in crate::daemon) fn serves(&self, status: &str) {
            self.replace_status(status);
            self.tell(&format!("READY=1\nSTATUS={}", in_a_line(status)));
        }

        /// A reload begins.
        pub(in crate::daemon) fn reloads(&self) {
            let now = Clock::monotonic_us();
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Reloading"));
        }

        /// The end begins; what is under way is finished within `at_most`, which may be longer than `TimeoutStopSec`.
        pub(in crate::daemon) fn stops(&self, at_most: Duration) {
            let at_most = (at_most + MARGIN).as_micros();
            self.tell(&format!(
                "STOPPING=1\nEXTEND_TIMEOUT_USEC={at_most}\nSTATUS=Finishing what is under way"
            ));
        }

        /// What an operator sees in `systemctl status`, if it is not what is there.
        pub(in crate::daemon) fn status(&self, status: &str) {
            if self.replace_status(status) {
                self.tell(&format!("STATUS={}", in_a_line(status)));
            }
        }

        /// Whether it is another one.
        fn replace_status(&self, status: &str) -> bool {
            let mut now = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            let is_another = *now != status;
            status.clone_into(&mut now);
            is_another
        }

        /// The daemon answers.
        pub(in crate::daemon) fn lives(&self) {
            self.tell("WATCHDOG=1");
        }

        /// How often it must hear that, or it kills the process.
        pub(in crate::daemon) fn watchdog(&self) -> Option<Duration> {
            self.watchdog
        }

        fn tell(&self, message: &str) {
            let Some(address) = &self.address else { return };
            let told = (|| {
                // A new one each time: the manager may have been started anew meanwhile.
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(PATIENCE))?;
                socket.send_to_addr(message.as_bytes(), address)
            })();
            if let Err(error) = told
                && !self.complained.swap(true, Ordering::Relaxed)
            {
                complain(&error);
            }
        }
    }

    fn complain(error: &io::Error) {
        tracing::warn!(%error, "the service manager cannot be told what this process does (NOTIFY_SOCKET)");
    }

    fn in_a_line(status: &str) -> String {
        status.replace('\n', " ")
    }

    /// For this very process, if it is said of which.
    fn watchdog() -> Option<Duration> {
        let is_other = env::var("WATCHDOG_PID").is_ok_and(|id| id.parse() != Ok(std::process::id()));
        let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
        (micros > 0 && !is_other).then(|| Duration::from_micros(micros))
    }
}
