//! `phone-verify service`: the daemon as a service of Windows.
//!
//! The service runs as `NT SERVICE\\phone-verify`, an account of its own that has no rights elsewhere. Its settings,
//! keys and database lie in a folder that this account and administrators alone can reach; its log is a file there.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
    time::Duration,
};

use clap::{Args, Subcommand};
use phone_verify_plugin_host::own_process::{self, image};
use windows_service::{
    define_windows_service,
    service::{ServiceAccess, ServiceErrorControl, ServiceInfo, ServiceStartType, ServiceState, ServiceType},
    service_dispatcher,
    service_manager::{ServiceManager, ServiceManagerAccess},
};
use windows_sys::Win32::Foundation as code;

use super::{
    output::{Failure, Output},
    serve::Serve,
};
use crate::{clock::Clock, daemon::service_manager, settings};

const NAME: &str = "phone-verify";
const ACCOUNT: &str = r"NT SERVICE\phone-verify";
/// How long a start is waited for: each attempt to construct a backend has ten seconds.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// A log that is longer when the service starts is put aside, in the place of the one before.
const MAX_LOG_BYTES: u64 = 32 << 20;

#[derive(Args)]
pub(super) struct Service {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Register the service, and close its folder to others
    Install {
        /// The settings file; else %ProgramData%\phone-verify\phone-verify.toml
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
    /// Remove the service; its folder stays
    Uninstall,
    /// Start it
    Start,
    /// End it: what is under way is finished
    Stop,
    /// Have it read settings and backend again
    Reload,
    /// Only for the service manager
    #[command(hide = true)]
    Run {
        #[arg(long, value_name = "FILE")]
        settings: PathBuf,
    },
}

impl Service {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.action {
            Action::Install { settings } => install(settings.clone()),
            Action::Uninstall => uninstall(),
            Action::Start => start(),
            Action::Stop => with_service(ServiceAccess::STOP, "asked to stop", |service| {
                service.stop().map(drop)
            }),
            Action::Reload => reload(),
            Action::Run { settings } => run(settings),
        }
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&str>, access).map_err(failed)
}

/// As an administrator reads it.
fn failed(error: windows_service::Error) -> Failure {
    let error = match error {
        windows_service::Error::Winapi(error) => error,
        error => return Failure::failed(format!("the service {NAME}: {error}")),
    };
    let number = error.raw_os_error().map(i32::cast_unsigned);
    let cure = match number {
        Some(code::ERROR_ACCESS_DENIED) => {
            "; services are for administrators, in a console that was opened as administrator"
        }
        Some(code::ERROR_SERVICE_DOES_NOT_EXIST) => {
            "; it is not installed: phone-verify service install does that"
        }
        Some(code::ERROR_SERVICE_EXISTS) => {
            "; it is installed already: for other settings, phone-verify service uninstall first"
        }
        Some(code::ERROR_SERVICE_ALREADY_RUNNING) => "; it runs already: phone-verify service stop ends it",
        Some(code::ERROR_SERVICE_NOT_ACTIVE) => "; it does not run: phone-verify service start starts it",
        Some(code::ERROR_SERVICE_CANNOT_ACCEPT_CTRL) => {
            "; it is starting or ending just now: try again in a moment"
        }
        Some(code::ERROR_SERVICE_MARKED_FOR_DELETE) => {
            "; it is being removed: close what shows it, such as services.msc, and try again"
        }
        _ => "",
    };
    Failure::failed(format!("the service {NAME}: {error}{cure}"))
}

fn say(sentence: &str) -> Result<(), Failure> {
    let result = serde_json::json!({ "service": NAME, "ok": true });
    Output { json: false }.result(&result, || sentence.to_owned())
}

fn with_service(
    access: ServiceAccess,
    done: &str,
    act: impl FnOnce(&windows_service::service::Service) -> windows_service::Result<()>,
) -> Result<(), Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let service = manager.open_service(NAME, access).map_err(failed)?;
    act(&service).map_err(failed)?;
    say(&format!("{NAME} is {done}"))
}

/// Starts it, and waits until it serves: what keeps it from that is in its log, which nobody would look for unasked.
fn start() -> Result<(), Failure> {
    let access = ServiceAccess::START | ServiceAccess::QUERY_STATUS;
    let service = manager(ServiceManagerAccess::CONNECT)?
        .open_service(NAME, access)
        .map_err(failed)?;
    service.start::<&OsStr>(&[]).map_err(failed)?;
    let clock = Clock::system();
    loop {
        match service.query_status().map_err(failed)?.current_state {
            ServiceState::Running => return say(&format!("{NAME} is started")),
            ServiceState::Stopped => {
                return Err(Failure::failed(format!(
                    "the service {NAME} ended before it served; why is in phone-verify.log, beside its settings"
                )));
            }
            _ if clock.elapsed() > STARTS_WITHIN => {
                return Err(Failure::failed(format!(
                    "the service {NAME} is still starting after {} s; see phone-verify.log, beside its settings",
                    STARTS_WITHIN.as_secs()
                )));
            }
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn install(named: Option<PathBuf>) -> Result<(), Failure> {
    let settings = named.unwrap_or_else(settings::of_machine);
    let settings = std::path::absolute(&settings).map_err(|error| Failure::failed(error.to_string()))?;
    let folder = settings.parent().unwrap_or(Path::new(r"C:\")).to_owned();
    let program = image::program().map_err(|error| Failure::failed(error.to_string()))?;
    let info = ServiceInfo {
        name: OsString::from(NAME),
        display_name: OsString::from("Phone Verify"),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.path().to_owned(),
        launch_arguments: ["service", "run", "--settings"]
            .map(OsString::from)
            .into_iter()
            .chain([settings.clone().into()])
            .collect(),
        dependencies: Vec::new(),
        account_name: Some(OsString::from(ACCOUNT)),
        account_password: None,
    };
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let service = manager
        .create_service(&info, ServiceAccess::CHANGE_CONFIG)
        .map_err(failed)?;
    let described =
        service.set_description("Verifies phone numbers: sends security codes by SMS and checks them");
    // Without it the service serves all the same.
    drop(described);
    fs::create_dir_all(&folder)
        .map_err(|error| Failure::failed(format!("{} cannot be made: {error}", folder.display())))?;
    close(&folder)?;
    say(&format!(
        "{NAME} is installed, with the settings {}; its folder is closed to all but administrators and {ACCOUNT}. Start it \
         with: phone-verify service start",
        settings.display()
    ))
}

/// Closes a folder to all but the system, administrators and the service: every user can make files in `%ProgramData%`,
/// and read what others make there.
fn close(folder: &Path) -> Result<(), Failure> {
    let icacls = std::env::var_os("SystemRoot").map_or_else(
        || PathBuf::from("icacls.exe"),
        |windows| PathBuf::from(windows).join(r"System32\icacls.exe"),
    );
    // SYSTEM and Administrators, by what they are called in every language.
    let closed = Command::new(icacls)
        .arg(folder)
        .args(["/inheritance:r", "/grant:r"])
        .args(["*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F"])
        .arg(format!("{ACCOUNT}:(OI)(CI)M"))
        .output();
    match closed {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{} {}",
            String::from_utf8_lossy(&output.stdout).trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(error.to_string()),
    }
    .map_err(|why| {
        Failure::failed(format!(
            "the service is installed, but {} could not be closed to other users (icacls: {why}); close it yourself before \
             it is started",
            folder.display()
        ))
    })
}

fn uninstall() -> Result<(), Failure> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let service = manager.open_service(NAME, access).map_err(failed)?;
    let status = service.query_status().map_err(failed)?;
    if status.current_state != ServiceState::Stopped {
        // It is deleted when it has ended.
        service.stop().map_err(failed)?;
    }
    service.delete().map_err(failed)?;
    say(&format!("{NAME} is removed once it has ended; its folder stays"))
}

/// The service's own control for this is the one for changed parameters.
fn reload() -> Result<(), Failure> {
    let access = ServiceAccess::PAUSE_CONTINUE;
    with_service(access, "asked to reload", |service| {
        own_process::windows::notify_of_changed_parameters(service).map_err(windows_service::Error::Winapi)
    })
}

/// What the service was started with.
static SETTINGS: OnceLock<PathBuf> = OnceLock::new();

define_windows_service!(main_of_service, serve);

/// Hands this process over to the service manager, until the service has ended.
fn run(settings: &Path) -> Result<(), Failure> {
    let _ = SETTINGS.set(settings.to_owned());
    service_dispatcher::start(NAME, main_of_service)
        .map_err(|error| Failure::failed(format!("{error}: this command is for the service manager")))
}

fn serve(_arguments: Vec<OsString>) {
    let settings = SETTINGS.get().cloned();
    if let Some(settings) = &settings {
        log_beside(settings);
    }
    if service_manager::attend(NAME).is_err() {
        return;
    }
    let code = match Serve::with(settings).run() {
        Ok(()) => 0,
        Err(failure) => {
            let _ = failure.report(false);
            1
        }
    };
    crate::telemetry::finish(Some(super::LAST_WORDS));
    service_manager::ended(code);
}

/// A service has no console: what it says goes to `phone-verify.log` beside its settings.
fn log_beside(settings: &Path) {
    let file = settings.with_file_name("phone-verify.log");
    if fs::metadata(&file).is_ok_and(|log| log.len() > MAX_LOG_BYTES) {
        let _ = fs::rename(&file, file.with_extension("log.1"));
    }
    own_process::windows::print_to(|| File::options().create(true).append(true).open(&file));
}
