//! The settings: finds the file, layers it over the defaults, and reads it into types that cannot hold an invalid
//! value.
//!
//! `default.toml` is the lowest layer, so each default is written in one place only. The command `settings --defaults`
//! prints that file, and the documentation quotes it.
//!
//! Invariants: all problems of a file are gathered and reported together, each with its file, line and key. No problem,
//! warning or printed setting repeats the value of an option that may be secret.
//!
//! One file per section; `reader.rs` takes keys out of a section one by one, so that keys that nothing took are known
//! to be misspelt.

#[cfg(test)]
mod any_file;
mod api;
mod backends;
mod changes;
mod dispatch;
mod document;
mod doubts;
mod events;
mod guard;
mod http;
mod limits;
mod log;
mod messages;
mod options;
mod phone_verification;
mod plugins;
mod reader;
mod reference;
mod routes;
mod row;
mod server;
mod store;
mod test_numbers;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

pub use api::Api;
pub use backends::BackendSettings;
use changes::Fingerprints;
pub use changes::need_restart;
pub use dispatch::Dispatch;
pub use doubts::{Doubts, WHOLE_SECTION};
pub use events::Events;
pub use log::{Log, LogFormat};
pub(crate) use log::{filter_of, is_filter};
pub use phone_verification::PhoneVerification;
pub use plugins::Plugins;
pub use routes::RouteSettings;
pub use server::Server;
pub use store::{GivenKeys, Keys, Store};

use document::Document;
use phone_verify_plugin_host::{
    Outbound,
    files::{self, Subject},
};
use reader::{Outcome, Reader};

use crate::verifier::{Guard, RateLimits};

/// The documented defaults, as `phone-verify settings --defaults` prints them.
pub const DEFAULTS: &str = include_str!("../../default.toml");

/// The environment variable that names the settings file.
pub const SETTINGS_VARIABLE: &str = "PHONE_VERIFY_SETTINGS";

/// Where the file is searched for, in this order, if neither the command line nor the environment names one.
fn places() -> [PathBuf; 2] {
    [PathBuf::from(FILE), folder_of_machine().join(FILE)]
}

/// The settings file that a Windows service is installed with, if none is named.
#[cfg(windows)]
pub fn of_machine() -> PathBuf {
    folder_of_machine().join(FILE)
}

const FILE: &str = "phone-verify.toml";

/// The folder of the settings of services on this machine.
#[cfg(not(windows))]
fn folder_of_machine() -> PathBuf {
    PathBuf::from("/etc/phone-verify")
}

/// The folder of the settings of services on this machine. On Windows, `/etc` would be a folder of the current drive,
/// which every user may create: a local user could plant settings for a service.
#[cfg(windows)]
fn folder_of_machine() -> PathBuf {
    let data = std::env::var_os("ProgramData").filter(|folder| !folder.is_empty());
    PathBuf::from(data.unwrap_or_else(|| r"C:\ProgramData".into())).join("phone-verify")
}

/// All settings of the daemon and of the commands, one field per section of the file.
#[derive(Debug)]
pub struct Settings {
    /// `[phone_verification]`: codes, messages, the backend and its options.
    pub phone_verification: PhoneVerification,
    /// `BACKEND` and `[backends]`: the fleet, in its order. Never empty where the settings have no problem.
    pub backends: Vec<BackendSettings>,
    /// `[[routes]]`: which backends a message is tried with. Empty: the first one.
    pub routes: Vec<RouteSettings>,
    /// `[server]`: the HTTP server.
    pub server: Server,
    /// `[api]`: the keys of the native API.
    pub api: Api,
    /// `[store]`: the database and the server's keys.
    pub store: Store,
    /// `[plugins]`: where libraries of backends are, and which of them are trusted and isolated.
    pub plugins: Plugins,
    /// `[http]`: proxies and client certificates of the requests that backends make.
    pub http: Outbound,
    /// `[dispatch]`: the bounds on sending.
    pub dispatch: Dispatch,
    /// `[limits]`: how many SMS may be sent, to and for whom, and for how much money.
    pub limits: RateLimits,
    /// `[guard]`: the guard against SMS pumping.
    pub guard: Guard,
    /// `[events]`: whether what happens is recorded.
    pub events: Events,
    /// `[log]`: what is logged.
    pub log: Log,
    /// What is valid but probably not what the operator wants.
    pub warnings: Vec<Problem>,
    /// The settings in effect as TOML, defaults included and secrets masked: what `phone-verify settings` prints.
    pub effective: String,
    /// Tells which of them differ from other settings, the masked ones included.
    fingerprints: Fingerprints,
}

/// The result of reading a file that may have problems.
#[derive(Debug)]
pub struct Draft {
    /// The settings, with a default in place of each faulty value. Only for reports such as `phone-verify check`; to
    /// run on the settings, use [`Draft::whole`].
    pub settings: Settings,
    /// Every problem, in the order in which they were found.
    pub problems: Vec<Problem>,
    /// Which settings have no known value, so that a report does not judge the defaults in their place.
    pub doubts: Doubts,
}

impl Draft {
    /// The settings, or all problems if there are any.
    pub fn whole(self) -> Result<Settings, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(self.settings)
        } else {
            Err(self.problems)
        }
    }
}

/// A problem or warning about the settings, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The settings file.
    pub file: String,
    /// The line, counted from 1; `None` if the problem belongs to no line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What was found, what was needed, and what to do. Never holds a secret.
    pub message: String,
    /// Whether it may be otherwise a while later, without a change by anybody: a file that the system could not read.
    #[serde(skip)]
    pub may_pass: bool,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Finds the settings file: `named` on the command line, else the one in `PHONE_VERIFY_SETTINGS`, else the first that
/// exists of `./phone-verify.toml` and the one of the machine.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Problem> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    if let Some(path) = std::env::var_os(SETTINGS_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    // A file that exists but cannot be read counts as found, and so does a dangling link: using the next file silently
    // would hide the error.
    let is_there = |path: &&PathBuf| {
        !matches!(path.symlink_metadata(), Err(error) if matches!(
            error.kind(),
            ErrorKind::NotFound | ErrorKind::NotADirectory
        ))
    };
    let places = places();
    places.iter().find(is_there).cloned().ok_or_else(|| Problem {
        file: FILE.to_owned(),
        line: None,
        message: format!(
            "there is no settings file; looked at --settings, ${SETTINGS_VARIABLE}, ./{FILE} and {}. \
             To try without one, run: phone-verify serve --demo",
            places[1].display()
        ),
        may_pass: false,
    })
}

/// The absolute path, which stays valid when the process changes its working directory.
pub fn whole(path: &Path) -> Result<PathBuf, Vec<Problem>> {
    std::path::absolute(path).map_err(|error| {
        vec![Problem {
            file: path.display().to_string(),
            line: None,
            message: format!(
                "the working folder cannot be found: {error}; start phone-verify in a folder that exists, or name the \
                 settings file by its whole path"
            ),
            may_pass: false,
        }]
    })
}

impl Settings {
    /// Reads a settings file over the defaults. The error holds all problems.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        Self::draft(path)?.whole()
    }

    /// Reads a settings file over the defaults as far as possible. The error is only for a file that cannot be read or
    /// is not TOML.
    pub fn draft(path: &Path) -> Result<Draft, Vec<Problem>> {
        let text = files::read(path, Subject::Settings).map_err(|fault| {
            let message = match fault.io() {
                Some(error) => format!(
                    "the settings file cannot be read: {}",
                    files::told(error, &files::readable_cure(path, error))
                ),
                None => format!("the settings file cannot be used: {fault}"),
            };
            vec![Problem {
                file: path.display().to_string(),
                line: None,
                message,
                may_pass: fault.may_pass(),
            }]
        })?;
        // Relative paths are resolved now: a library in this process may change the working directory later.
        let whole = whole(path)?;
        let folder = whole.parent().unwrap_or(Path::new("/"));
        let document = Document::parse(&path.display().to_string(), &text, folder)?;
        Ok(Self::read(Reader::new(Some(document), Document::defaults())))
    }

    /// The defaults alone, which `serve --demo` uses.
    pub fn defaults() -> Self {
        Self::read(Reader::new(None, Document::defaults()))
            .whole()
            .expect("a test holds that the defaults are valid")
    }

    /// Whether a backend is constructed under other settings as it is under these, its own section aside.
    pub fn construct_as(&self, other: &Self) -> bool {
        let [one, other] = [self, other].map(|settings| {
            let about = settings
                .fingerprints
                .of_sections(&["phone_verification", "plugins"]);
            (about, &settings.http)
        });
        one == other
    }

    #[cfg(test)]
    fn parse(file: &str, text: &[u8], folder: &Path) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(file, text, folder)?;
        Self::read(Reader::new(Some(document), Document::defaults())).whole()
    }

    /// Reads every section. A section that this function does not read is reported as unknown.
    fn read(mut reader: Reader) -> Draft {
        let phone_verification = PhoneVerification::read(&mut reader);
        let backends = backends::read(&mut reader, &phone_verification);
        let routes = routes::read(&mut reader, &backends);
        let server = Server::read(&mut reader);
        let api = Api::read(&mut reader, &server);
        let store = Store::read(&mut reader);
        let plugins = Plugins::read(&mut reader, &store.database);
        let http = http::read(&mut reader);
        let dispatch = Dispatch::read(&mut reader);
        let limits = limits::read(&mut reader, phone_verification.expiration);
        let guard = guard::read(&mut reader);
        let events = Events::read(&mut reader);
        let log = Log::read(&mut reader);
        let Outcome {
            problems,
            doubts,
            warnings,
            effective,
            fingerprints,
        } = reader.finish();
        let settings = Self {
            phone_verification,
            backends,
            routes,
            server,
            api,
            store,
            plugins,
            http,
            dispatch,
            limits,
            guard,
            events,
            log,
            warnings,
            effective,
            fingerprints,
        };
        Draft {
            settings,
            problems,
            doubts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with only the required keys.
    pub(super) const REQUIRED: &str = r#"
[phone_verification]
BACKEND = "nexmo.NexmoBackend"
TOKEN_LENGTH = 6
MESSAGE = "{app}: {security_code}"
APP_NAME = "Acme"
SECURITY_CODE_EXPIRATION_SECONDS = 600
VERIFY_SECURITY_CODE_ONLY_ONCE = true
[phone_verification.OPTIONS]
KEY = "s3cret-value"
"#;

    pub(super) fn parse(text: &str) -> Result<Settings, Vec<Problem>> {
        Settings::parse("test.toml", text.as_bytes(), Path::new(""))
    }

    pub(super) fn problems(text: &str) -> Vec<String> {
        parse(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_hold_every_setting_and_nothing_else() {
        let defaults = Settings::defaults();
        assert_eq!(defaults.warnings, []);
        assert_eq!(&*defaults.backends[0].name, "default");
        assert_eq!(defaults.backends[0].backend, "console.ConsoleBackend");
    }

    #[test]
    fn a_settings_dict_is_carried_over_in_either_case() {
        let settings = parse(&REQUIRED.to_lowercase().replace("nexmobackend", "NexmoBackend")).unwrap();
        assert_eq!(settings.backends[0].backend, "nexmo.NexmoBackend");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        assert_eq!(
            problems(
                "[phone_verification]\nTOKEN_LENGHT = 6\nMESSAGE = 5\n[servr]\n[server]\nlisten = \"nowhere\"\n"
            ),
            [
                "test.toml:1: [phone_verification] BACKEND is missing",
                "test.toml:1: [phone_verification] OPTIONS is missing",
                "test.toml:3: [phone_verification] MESSAGE must be a text, not a whole number",
                "test.toml:1: [phone_verification] APP_NAME is missing",
                "test.toml:1: [phone_verification] SECURITY_CODE_EXPIRATION_SECONDS is missing",
                "test.toml:1: [phone_verification] VERIFY_SECURITY_CODE_ONLY_ONCE is missing",
                "test.toml:2: [phone_verification] TOKEN_LENGHT is not a setting; did you mean TOKEN_LENGTH?",
                "test.toml:6: [server] listen must be an address and a port such as 127.0.0.1:8000, a name and a port such as \
                 localhost:8000, or the path of a Unix socket such as unix:/run/phone-verify/http.sock",
                "test.toml:4: [servr] is not a section; did you mean [server]?",
            ]
        );
    }

    #[test]
    fn two_spellings_of_one_key_are_one_too_many() {
        let text = REQUIRED.replace("TOKEN_LENGTH = 6", "TOKEN_LENGTH = 6\ntoken_length = 7");
        assert_eq!(
            problems(&text),
            [
                "test.toml:5: [phone_verification] token_length is set twice, with different capitalisation; keep one"
            ]
        );
        let text = format!("{REQUIRED}key = \"other\"\n");
        assert_eq!(
            problems(&text),
            [
                "test.toml:11: [phone_verification.OPTIONS] key is set twice, with different capitalisation; keep one"
            ]
        );
    }

    #[test]
    fn a_syntax_error_names_its_line_and_repeats_nothing() {
        let problems = problems("[phone_verification.OPTIONS]\nSECRET = \"hunter2\nx = 1\n");
        assert!(
            problems[0].starts_with("test.toml:2: this is not TOML: "),
            "{problems:?}"
        );
        assert!(!problems.concat().contains("hunter2"));
        assert_eq!(
            parse("\u{feff}").unwrap_err().len(),
            7,
            "an empty file lacks the seven required keys"
        );
        let error = Settings::parse("test.toml", b"a = \"\xff\"", Path::new("")).unwrap_err();
        assert_eq!(error[0].to_string(), "test.toml:1: this is not UTF-8");
    }

    #[test]
    fn values_out_of_bounds_are_refused_with_their_bounds() {
        let refused = |from: &str, to: &str| problems(&REQUIRED.replace(from, to)).join("\n");
        assert_eq!(
            refused("TOKEN_LENGTH = 6", "TOKEN_LENGTH = 11"),
            "test.toml:4: [phone_verification] TOKEN_LENGTH must be from 4 to 10, not 11"
        );
        assert_eq!(
            refused("TOKEN_LENGTH = 6", "TOKEN_LENGTH = 5"),
            "test.toml:4: [phone_verification] TOKEN_LENGTH is 5, which is less than MIN_TOKEN_LENGTH, 6"
        );
        assert_eq!(
            refused("{app}: {security_code}", "{app}: {code}"),
            "test.toml:5: [phone_verification] MESSAGE cannot be used: it has the placeholder {code}, but only {app} and \
             {security_code} are filled in"
        );
        assert_eq!(
            refused("nexmo.NexmoBackend", "NexmoBackend"),
            "test.toml:3: [phone_verification] BACKEND must be <library>.<Backend>, such as nexmo.NexmoBackend, not \
             NexmoBackend"
        );
    }

    #[test]
    fn the_older_name_of_the_expiration_works_and_warns() {
        let settings =
            parse(&REQUIRED.replace("EXPIRATION_SECONDS = 600", "EXPIRATION_TIME = 3600")).unwrap();
        assert_eq!(settings.phone_verification.expiration.as_secs(), 3600);
        assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
        let both = REQUIRED.replace(
            "TOKEN_LENGTH = 6",
            "TOKEN_LENGTH = 6\nSECURITY_CODE_EXPIRATION_TIME = 60",
        );
        assert_eq!(
            problems(&both),
            [
                "test.toml:5: [phone_verification] SECURITY_CODE_EXPIRATION_TIME is the older name of \
              SECURITY_CODE_EXPIRATION_SECONDS, which is there too; keep that one"
            ]
        );
    }

    #[test]
    fn references_are_replaced_and_masked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
        let text = REQUIRED.replace("s3cret-value", "${file:secret}") + "FROM = \"Acme\"\n";
        let settings = Settings::parse("test.toml", text.as_bytes(), folder.path()).unwrap();
        assert_eq!(settings.phone_verification.options["KEY"], "hunter2");
        assert!(!settings.effective.contains("hunter2"), "{}", settings.effective);
        assert!(
            settings.effective.contains("KEY = \"***\""),
            "{}",
            settings.effective
        );
        assert!(
            settings.effective.contains("FROM = \"Acme\""),
            "{}",
            settings.effective
        );
        assert!(!format!("{settings:?}").contains("hunter2"));

        let missing = REQUIRED.replace("s3cret-value", "${file:gone}${env:PHONE_VERIFY_NOT_SET}");
        let missing = Settings::parse("test.toml", missing.as_bytes(), folder.path()).unwrap_err();
        let shown: Vec<_> = missing.iter().map(ToString::to_string).collect();
        assert!(
            shown[0].starts_with("test.toml:10: KEY refers to the file "),
            "{shown:?}"
        );
        assert!(
            shown[0].ends_with("gone, which cannot be read: No such file or directory (os error 2)"),
            "{shown:?}"
        );
        assert_eq!(
            shown[1],
            "test.toml:10: KEY refers to the environment variable PHONE_VERIFY_NOT_SET, which is not set"
        );
        let misspelt = problems(&REQUIRED.replace("s3cret-value", "${evn:KEY}"));
        assert_eq!(
            misspelt,
            ["test.toml:10: KEY refers to evn:KEY, but only ${env:NAME} and ${file:PATH} are known"]
        );
        let as_in_a_shell = problems(&REQUIRED.replace("s3cret-value", "${ACME_KEY}"));
        assert_eq!(
            as_in_a_shell,
            [
                "test.toml:10: KEY has ${ACME_KEY}, which stands for nothing; for an environment variable write ${env:ACME_KEY}"
            ]
        );
        let in_a_message = parse(&REQUIRED.replace("{app}:", "$${app}:")).unwrap();
        assert!(
            in_a_message.effective.contains("$${app}"),
            "{}",
            in_a_message.effective
        );
    }
}
