//! Tells the service manager what the daemon does, in systemd's protocol (`sd_notify(3)`): that it serves, reloads or
//! ends, and that it is alive. Without `NOTIFY_SOCKET` nothing is sent.
//!
//! Invariant: telling never fails or delays what is told of; and the daemon says that it is alive only after the
//! runtime and the store have answered.

use std::time::Duration;

#[cfg(target_os = "linux")]
pub use linux::ServiceManager;

/// How much longer than the bounds of all that is finished at the end the service manager should wait.
const MARGIN: Duration = Duration::from_secs(5);

#[cfg(windows)]
pub use windows::ServiceManager;
#[cfg(windows)]
pub(crate) use windows::{asked_to_reload, asked_to_stop, attend, ended};

/// Elsewhere there is none that is told.
#[cfg(not(any(target_os = "linux", windows)))]
pub struct ServiceManager;

#[cfg(not(any(target_os = "linux", windows)))]
impl ServiceManager {
    /// The one that the environment names.
    pub fn of_environment() -> Self {
        Self
    }

    /// None: nothing is told of.
    pub fn none() -> Self {
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

#[cfg(windows)]
mod windows {
    //! The service control manager: what it asks comes on a thread of its own, before and after there is a runtime.

    use std::{
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use tokio::sync::Notify;
    use windows_service::{
        Result,
        service::{
            ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
        },
        service_control_handler::{ServiceControlHandlerResult, ServiceStatusHandle, register},
    };

    use super::MARGIN;

    static STOP: Notify = Notify::const_new();
    static RELOAD: Notify = Notify::const_new();
    /// Where notifications go; set when this process runs as a service.
    static TOLD: Mutex<Option<ServiceStatusHandle>> = Mutex::new(None);
    /// How long a start may take: each attempt to construct a backend has ten seconds.
    const START: Duration = Duration::from_secs(60);

    /// Once for each time.
    pub(crate) async fn asked_to_stop() {
        STOP.notified().await;
    }

    /// Once for each time that nobody had heard of yet.
    pub(crate) async fn asked_to_reload() {
        RELOAD.notified().await;
    }

    /// Hears from now on what the service manager asks of the service of this name: to stop, and to reload, which is
    /// its control for changed parameters.
    pub(crate) fn attend(service: &str) -> Result<()> {
        let handle = register(service, |control| match control {
            ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
                STOP.notify_one();
                ServiceControlHandlerResult::NoError
            }
            ServiceControl::ParamChange => {
                RELOAD.notify_one();
                ServiceControlHandlerResult::NoError
            }
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            _ => ServiceControlHandlerResult::NotImplemented,
        })?;
        *TOLD.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        tell(ServiceState::StartPending, START, 0);
        Ok(())
    }

    /// The last notification.
    pub(crate) fn ended(code: u32) {
        tell(ServiceState::Stopped, Duration::ZERO, code);
    }

    fn tell(current_state: ServiceState, wait_hint: Duration, code: u32) {
        let told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = told.as_ref() else { return };
        let controls_accepted = match current_state {
            ServiceState::Running => {
                ServiceControlAccept::STOP
                    | ServiceControlAccept::SHUTDOWN
                    | ServiceControlAccept::PARAM_CHANGE
            }
            _ => ServiceControlAccept::empty(),
        };
        let exit_code = match code {
            0 => ServiceExitCode::Win32(0),
            code => ServiceExitCode::ServiceSpecific(code),
        };
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted,
            exit_code,
            checkpoint: 0,
            wait_hint,
            process_id: None,
        };
        if let Err(error) = handle.set_service_status(status) {
            tracing::warn!(%error, "the service manager cannot be told that the service is {current_state:?}");
        }
    }

    /// Tells it, if it started this process.
    pub struct ServiceManager;

    #[allow(clippy::unused_self, reason = "what other systems have to remember")]
    impl ServiceManager {
        /// The one that started this process, if one did.
        pub fn of_environment() -> Self {
            Self
        }

        /// The same: outside of a service nothing is told.
        pub fn none() -> Self {
            Self
        }
        pub(in crate::daemon) fn serves(&self, _status: &str) {
            tell(ServiceState::Running, Duration::ZERO, 0);
        }
        pub(in crate::daemon) fn reloads(&self) {}
        pub(in crate::daemon) fn stops(&self, at_most: Duration) {
            tell(ServiceState::StopPending, at_most + MARGIN, 0);
        }
        pub(in crate::daemon) fn status(&self, _status: &str) {}
        pub(in crate::daemon) fn lives(&self) {}
        pub(in crate::daemon) fn watchdog(&self) -> Option<Duration> {
            None
        }
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
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use super::MARGIN;
    use crate::clock::Clock;

    /// How long a message may take to be taken. PID 1 that takes none for so long has other troubles.
    const PATIENCE: Duration = Duration::from_millis(500);

    /// Who started this process and wants to hear of it, if anybody does.
    pub struct ServiceManager {
        address: Option<SocketAddr>,
        watchdog: Option<Duration>,
        /// One complaint is enough.
        complained: AtomicBool,
    }

    impl ServiceManager {
        /// The one that the environment names.
        pub fn of_environment() -> Self {
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
                complained: AtomicBool::new(false),
            }
        }

        /// None: nothing is told of.
        pub fn none() -> Self {
            Self {
                address: None,
                watchdog: None,
                complained: AtomicBool::new(false),
            }
        }

        /// Requests are answered; also after a reload, whatever came of it.
        pub(in crate::daemon) fn serves(&self, status: &str) {
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

        /// What an operator sees in `systemctl status` from now on.
        pub(in crate::daemon) fn status(&self, status: &str) {
            self.tell(&format!("STATUS={}", in_a_line(status)));
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
