//! `phone-verify serve`: the daemon.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use phone_verify_plugin_host::{Isolation, LibraryIsolation, clean_printed, files, own_process::image};

use super::{Common, output::Failure, runtime};
use crate::{
    daemon::{self, ServiceManager, Setup},
    http::{Listener, Passed},
    model::{Limit, Listen, NamedBy, Places},
    settings::{Keys, Settings, whole},
    telemetry,
    verifier::{Guard, RateLimits},
};

/// What is still under way when all is drained gets so long.
const UNENDED_WORK: Duration = Duration::from_secs(1);

/// The one limit of a demo, so that there is one to be seen: how soon a number gets another SMS.
const DEMO_COOLDOWN: Duration = Duration::from_secs(15);
/// Of the folders of demos.
const DEMO: &str = "phone-verify-demo-";

#[derive(Args)]
pub(super) struct Serve {
    /// The settings file; else that of `$PHONE_VERIFY_SETTINGS`, ./phone-verify.toml,
    #[cfg_attr(not(windows), doc = "/etc/phone-verify/phone-verify.toml")]
    #[cfg_attr(windows, doc = r"%ProgramData%\phone-verify\phone-verify.toml")]
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    settings: Option<PathBuf>,
    /// Run without settings: print each SMS to the terminal, keep nothing after the end
    #[arg(long)]
    demo: bool,
    /// Listen here instead of where the settings say: 127.0.0.1:8000, localhost:8000, unix:PATH; may be given several
    /// times
    #[arg(long, value_name = "PLACE", value_parser = place)]
    listen: Vec<Listen>,
}

fn place(text: &str) -> Result<Listen, String> {
    text.parse().map_err(|needed| format!("it {needed}"))
}

impl Serve {
    /// With these settings, and otherwise as they say.
    #[cfg(windows)]
    pub(super) fn with(settings: Option<PathBuf>) -> Self {
        Self {
            settings,
            demo: false,
            listen: Vec::new(),
        }
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        // Before there is another thread.
        let passed = Passed::take();
        if !passed.is_empty() && !self.listen.is_empty() {
            return Err(Failure::wrong([
                "the service manager passes sockets (LISTEN_FDS), and --listen names others; take one of them away"
                    .to_owned(),
            ]));
        }
        let (settings, demo_folder) = if self.demo {
            let (settings, folder) = demo()?;
            (settings, Some(folder))
        } else {
            (self.common().load()?, None)
        };
        let path = match demo_folder {
            Some(_) => None,
            None => Some(
                crate::settings::find(self.settings.as_deref())
                    .map_err(|problem| Failure::wrong([problem.to_string()]))?,
            ),
        };
        // Named from the root, for a library in this process may change the working folder.
        let path = path
            .map(|path| whole(&path))
            .transpose()
            .map_err(|problems| Failure::wrong(problems.iter().map(ToString::to_string)))?;
        let reread: Option<daemon::Reread> =
            path.map(|path| -> daemon::Reread { Box::new(move || Settings::load(&path)) });
        let demo = demo_folder.is_some();
        let named = if self.listen.is_empty() {
            settings.server.listen.clone()
        } else {
            self.listen.clone()
        };
        let places = Places {
            all: &named,
            // A demo reads no settings.
            named_by: if self.listen.is_empty() && !demo {
                NamedBy::Settings
            } else {
                NamedBy::Arguments
            },
        };
        if let Some(problem) = daemon::shortage_of_descriptors(named.len().max(passed.len())) {
            return Err(Failure::of([problem]));
        }
        telemetry::follow_prints(clean_printed);
        let runtime = runtime()?;
        let ran = runtime.block_on(async {
            // Before anything else runs, so that none is missed.
            let control = daemon::signals();
            let manager = ServiceManager::of_environment();
            let listeners = daemon::listen(passed, places, &settings).await?;
            let setup = Setup {
                settings,
                reread,
                is_demo: demo,
                manager,
            };
            daemon::run(setup, listeners, control, |listeners| announce(listeners, demo)).await
        });
        // A thread that is in a library may never come back.
        runtime.shutdown_timeout(UNENDED_WORK);
        drop(demo_folder);
        ran.map_err(Failure::of)
    }
}

impl Serve {
    fn common(&self) -> Common {
        Common {
            settings: self.settings.clone(),
            json: false,
        }
    }
}

/// What a user, or a test that took port 0, waits for.
fn announce(listeners: &[Listener], demo: bool) {
    let mut text = String::new();
    for listener in listeners {
        text.push_str(&format!("listening on {listener}\n"));
    }
    if let Some(listener) = listeners.first().filter(|_| demo) {
        let request = listener.curl_target("/api/phone/register");
        let seconds = DEMO_COOLDOWN.as_secs();
        let page = match listener.page() {
            Some(page) => format!("Open {page} in a browser, or try:"),
            None => "Try:".to_owned(),
        };
        text.push_str(&format!(
            "\nThis is a demo: each SMS is printed here, and nothing is kept. The one limit is that a number gets another SMS \
             after {seconds} seconds.\n{page}\n\n  \
             curl -s {request} -H 'content-type: application/json' \\\n       \
             -d '{{\"phone_number\": \"+13478379634\"}}'\n\n"
        ));
        for open in listeners.iter().filter(|listener| !listener.is_local()) {
            text.push_str(&format!(
                "Everybody who reaches {open} can read each SMS there.\n\n"
            ));
        }
    }
    telemetry::announce(text);
}

/// The defaults with one limit, for no SMS leaves this machine; on a database that ends with the process, and with the
/// libraries that came with the program.
fn demo() -> Result<(Settings, tempfile::TempDir), Failure> {
    let mut settings = Settings::defaults();
    telemetry::start(&settings.log);
    settings.limits = RateLimits {
        number: Arc::from([Limit::new("resend_cooldown", 1, DEMO_COOLDOWN)]),
        ..RateLimits::default()
    };
    settings.guard = Guard::default();
    files::delete_leftovers(&std::env::temp_dir(), DEMO);
    let folder = tempfile::Builder::new().prefix(DEMO).tempdir().map_err(|error| {
        let told = files::told(&error, "make the folder for temporary files writable");
        Failure::failed(format!("no temporary folder can be made: {told}"))
    })?;
    settings.store.database = folder.path().join("phone-verify.db");
    settings.store.keys = Keys::File(folder.path().join("phone-verify.key"));
    settings.plugins.staging_directory = folder.path().join("plugins");
    settings.plugins.trust.lock_file = Some(folder.path().join("plugins.lock"));
    let beside = image::folder()
        .ok_or_else(|| Failure::failed("the system does not tell where this program lies"))?
        .to_owned();
    settings.plugins.directories = [
        beside.clone(),
        beside.join("plugins"),
        beside.join("../lib/phone-verify/plugins"),
    ]
    .into_iter()
    .filter(|directory| directory.is_dir())
    .collect();
    // It came with the program, and prints each SMS on this terminal.
    let console = LibraryIsolation {
        isolation: Some(Isolation::Inline),
        sha256: None,
    };
    settings
        .plugins
        .isolation
        .libraries
        .insert("console".to_owned(), console);
    Ok((settings, folder))
}
