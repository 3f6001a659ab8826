//! All commands are listed on this page; each has a file. A command is a thin shell: it reads arguments and settings,
//! calls the service, and prints the result. It holds no rule of its own.
//!
//! Exit codes: 0 success, 1 the operation failed, 2 the settings or arguments are wrong, so that a retry does not help.

mod audit;
mod backends;
mod backup;
mod check;
mod cleanup;
mod decisions;
mod events;
mod keys;
mod output;
mod person;
mod plugin;
mod register;
mod routes;
mod send;
mod serve;
#[cfg(windows)]
mod service;
mod settings;
mod verify;

use std::{
    num::NonZero,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
#[cfg(unix)]
use phone_verify_plugin_host::files;
use phone_verify_plugin_host::{
    own_process::{results, start},
    worker,
};

use crate::{
    clock::Clock,
    daemon::{Problem, Service},
    kit,
    settings::{self as read_settings, Draft, Log, Settings},
    telemetry,
};
use output::{Failure, Output};

/// How long the daemon waits at its end for a reader of its log. Without a bound, a stuck reader could keep it from
/// ending.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Verifies phone numbers: sends a security code by SMS, and checks the code that comes back.
#[derive(Parser)]
#[command(
    name = "phone-verify",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon
    Serve(serve::Serve),
    /// Say whether the settings and the backend are all right, and what would run
    Check(check::Check),
    /// Print the documented defaults, or the settings in effect with secrets masked
    Settings(settings::Show),
    /// List the libraries in the plugin directories, read without running their code
    Backends(backends::Backends),
    /// Say which backends an SMS to a number would be tried with, and why, without sending it
    Routes(routes::Routes),
    /// Send a security code to a number
    Register(register::Register),
    /// Check a security code
    Verify(verify::Verify),
    /// Send one text to many numbers; the same command goes on where it was interrupted
    Send(send::Send),
    /// Delete old records now; a running daemon does so by itself
    Cleanup(cleanup::Cleanup),
    /// Print all that is stored about one number
    Export(person::Export),
    /// Delete all that is stored about one number, but for what limits count
    ///
    /// Limits and the pumping guard go on counting under a keyed digest of the number, which ends within a day:
    /// whoever may ask to be forgotten is not free of limits for it.
    Forget(person::Forget),
    /// Copy the database, while it is in use, and its keys, and check the copy
    ///
    /// The copy is one file, with its keys beside it, and can be restored, or named in the settings as it is. Settings
    /// and libraries are not in it.
    Backup(backup::Backup),
    /// Put a backup into the place of the database and its keys, and keep what was there
    ///
    /// The daemon must be stopped. Codes, limits and the audit log are then as they were at the backup.
    Restore(backup::Restore),
    /// Say who did what
    Audit(audit::Audit),
    /// Show what happened to verifications and texts
    Events(events::Events),
    /// Keys of the native API
    Keys(keys::Keys),
    /// Show what the pumping guard decided, and why
    Decisions(decisions::Decisions),
    /// Tools for the authors of backends
    Plugin(plugin::Plugin),
    /// Run the daemon as a service of Windows
    #[cfg(windows)]
    Service(service::Service),
}

/// What every command takes.
#[derive(Args)]
struct Common {
    /// The settings file; else that of `$PHONE_VERIFY_SETTINGS`, ./phone-verify.toml,
    #[cfg_attr(not(windows), doc = "/etc/phone-verify/phone-verify.toml")]
    #[cfg_attr(windows, doc = r"%ProgramData%\phone-verify\phone-verify.toml")]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Warnings about test numbers that depend on the present date, such as one that has ended.
fn test_number_warnings(settings: &Settings) -> Vec<String> {
    let now = Clock::system().now();
    settings.phone_verification.test_numbers.warnings(now)
}

/// A failure because of the settings: exit code 2 where they are wrong, and 1 where the system could not read them now.
fn wrong(problems: &[read_settings::Problem]) -> Failure {
    Failure::of(problems.iter().cloned().map(Problem::from))
}

impl Common {
    fn output(&self) -> Output {
        Output { json: self.json }
    }

    /// Reads the settings, logs their warnings, and starts logging as they say.
    fn load(&self) -> Result<Settings, Failure> {
        self.draft()?.whole().map_err(|problems| wrong(&problems))
    }

    /// Reads the settings as far as possible. Logs their warnings if they have no problem.
    fn draft(&self) -> Result<Draft, Failure> {
        let path = read_settings::find(self.settings.as_deref()).map_err(|problem| wrong(&[problem]))?;
        #[cfg(unix)]
        files::act_as_owner(&path);
        // Problems with the settings are printed in the log format of these settings.
        let as_faulty = || telemetry::start(&Log::of_faulty_settings(&path));
        let draft = Settings::draft(&path).map_err(|problems| {
            as_faulty();
            wrong(&problems)
        })?;
        let settings = &draft.settings;
        if draft.doubts.among(&[("store", "url")]).is_empty() {
            #[cfg(unix)]
            files::act_as_owner_of_folder(&settings.store.database);
        }
        if !draft.problems.is_empty() {
            as_faulty();
            return Ok(draft);
        }
        telemetry::start(&settings.log);
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        for warning in test_number_warnings(settings) {
            tracing::warn!("{warning}");
        }
        Ok(draft)
    }

    /// Reads the settings as the daemon's user can read them. Root can read every file, so a problem that the daemon
    /// would have could be missed. Where root acts as the owner of the installation, the settings are therefore read a
    /// second time as that user.
    fn draft_as_daemon(&self) -> Result<Draft, Failure> {
        #[cfg(not(unix))]
        return self.draft();
        #[cfg(unix)]
        {
            let began = rustix::process::geteuid();
            let draft = self.draft()?;
            let user = rustix::process::geteuid();
            if user == began {
                return Ok(draft);
            }
            let path = read_settings::find(self.settings.as_deref()).map_err(|problem| wrong(&[problem]))?;
            let as_user = |mut problem: read_settings::Problem| {
                problem.message += &format!(
                    "; this is what user {} meets, to whom the folder of the database belongs and as whom the daemon is taken to run, \
                     while root can read it: let that user read it too (chgrp, chmod g+r)",
                    user.as_raw()
                );
                problem
            };
            let seen = draft.problems;
            let is_new = |problem: &read_settings::Problem| !seen.contains(problem);
            let mut again = Settings::draft(&path).map_err(|problems| {
                let problems: Vec<_> = problems.into_iter().map(as_user).collect();
                wrong(&problems)
            })?;
            again.problems = again
                .problems
                .into_iter()
                .map(|problem| {
                    if is_new(&problem) {
                        as_user(problem)
                    } else {
                        problem
                    }
                })
                .collect();
            Ok(again)
        }
    }

    /// Runs with the service of the settings in the file, for a command that does one thing and ends.
    fn with_service<T>(
        &self,
        run: impl AsyncFnOnce(&Service, &Settings) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        with_service_of(self.load()?, run)
    }
}

/// Starts the service with these settings, runs, and stops the service.
fn with_service_of<T>(
    settings: Settings,
    run: impl AsyncFnOnce(&Service, &Settings) -> Result<T, Failure>,
) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let settings = Arc::new(settings);
        let service = Service::start(&settings).map_err(Failure::of)?;
        service.review_keys().await;
        let outcome = run(&service, &settings).await;
        service.stop().await;
        outcome
    })
}

/// The user who runs this command, for the audit log. This is the user who started it, even if it acts as another one,
/// such as the owner of the settings.
fn whoami() -> String {
    static BEGAN: OnceLock<String> = OnceLock::new();
    BEGAN
        .get_or_init(|| {
            #[cfg(unix)]
            return format!("uid:{}", rustix::process::getuid().as_raw());
            #[cfg(not(unix))]
            std::env::var("USERNAME").map_or_else(|_| "local".to_owned(), |name| format!("user:{name}"))
        })
        .clone()
}

/// The runtime of a command: one thread per core, including the store's. One more thread only adds context switches.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(1).max(1))
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no threads can be started: {error}")))
}

/// All commands with their arguments, from which manual pages and shell completions are generated.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the command line, runs the command, and returns its exit code.
pub fn main() -> ExitCode {
    // Hidden from `--help`: only the daemon runs it. Checked before clap, so that workers start fast.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == worker::COMMAND)
    {
        return worker::main();
    }
    start::prepare();
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == kit::COMMAND)
    {
        return kit::main();
    }
    // Remember the user before a command changes to another one.
    whoami();
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return unparsed(&error),
    };
    // A command may wait for the reader of its output, as commands usually do. The daemon must end when it is asked to.
    let patience = matches!(command, Command::Serve(_)).then_some(LAST_WORDS);
    if !matches!(command, Command::Serve(_)) {
        // Libraries in this process may print. What they print must not mix with the result that a script reads.
        results::put_aside();
    }
    let (outcome, json) = match command {
        Command::Serve(command) => (command.run(), false),
        Command::Check(command) => (command.run(), command.common.json),
        Command::Settings(command) => (command.run(), command.common.json),
        Command::Backends(command) => (command.run(), command.common.json),
        Command::Routes(command) => (command.run(), command.common.json),
        Command::Register(command) => (command.run(), command.common.json),
        Command::Verify(command) => (command.run(), command.common.json),
        Command::Send(command) => (command.run(), command.common.json),
        Command::Cleanup(command) => (command.run(), command.common.json),
        Command::Export(command) => (command.run(), command.json()),
        Command::Forget(command) => (command.run(), command.json()),
        Command::Backup(command) => (command.run(), command.common.json),
        Command::Restore(command) => (command.run(), command.common.json),
        Command::Audit(command) => (command.run(), command.common.json),
        Command::Events(command) => (command.run(), command.common.json),
        Command::Keys(command) => (command.run(), command.json()),
        Command::Decisions(command) => (command.run(), command.common.json),
        Command::Plugin(command) => (command.run(), command.json()),
        #[cfg(windows)]
        Command::Service(command) => (command.run(), false),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    };
    telemetry::finish(patience);
    code
}

/// Reports wrong arguments, as JSON if that was asked for. Clap could not parse the arguments, so they are searched for
/// that option.
fn unparsed(error: &clap::Error) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let asks = |words: &[&str]| arguments.windows(words.len()).any(|found| found == words);
    let is_json = [&["--json"][..], &["--format=json"], &["--format", "json"]]
        .into_iter()
        .any(asks);
    // `--help` and `--version` were asked for, and are no error.
    if !is_json || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let told = text.split("\n\nUsage:").next().unwrap_or_default();
    let told = told.split("\n\nFor more information").next().unwrap_or_default();
    let told = told.strip_prefix("error: ").unwrap_or(told);
    let words: Vec<&str> = told.split_whitespace().collect();
    Failure::wrong([words.join(" ")]).report(true)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
