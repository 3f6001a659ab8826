//! An installation of phone-verify in a temporary folder: settings, libraries, database. Tests run the program in it as
//! a user would.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::Value;
use toml::Table;

use crate::{artifacts, daemon::Daemon};

/// The default content of a test's settings file.
const SETTINGS: &str = r#"
[phone_verification]
BACKEND = "console.ConsoleBackend"
TOKEN_LENGTH = 6
MESSAGE = "Welcome to {app}! Please use security code {security_code} to proceed."
APP_NAME = "Phone Verify"
SECURITY_CODE_EXPIRATION_SECONDS = 600
VERIFY_SECURITY_CODE_ONLY_ONCE = true
OPTIONS = {}

[server]
listen = "127.0.0.1:0"

# A test registers the same few numbers from one address, as often as it likes.
[limits]
resend_cooldown_seconds = 0
number_per_10_minutes = 0
number_per_hour = 0
number_per_day = 0
failed_checks_per_hour = 0
failed_checks_per_day = 0
address_per_hour = 0
country_per_hour = 0
country_per_day = 0
service_per_hour = 0
service_per_day = 0
spend_per_hour = 0
spend_per_day = 0

[plugins]
directories = ["plugins"]
staging_directory = "staging"

# The console is this process's own, and the program finds it elsewhere than where it is installed.
[plugins.libraries.console]
isolation = "inline"
"#;

/// The settings file that commands find by default.
const SETTINGS_FILE: &str = "phone-verify.toml";

/// A folder with an installation.
pub struct Site {
    folder: Arc<tempfile::TempDir>,
    settings: Table,
}

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    /// The exit code. `None`: a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// The standard output as JSON, for a command with `--json`.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

impl Site {
    /// An installation with the console backend, which prints each SMS.
    pub fn new() -> Self {
        Self::with_backend("console.ConsoleBackend", &Value::Object(serde_json::Map::new()))
    }

    /// An installation with this backend and these options.
    ///
    /// # Panics
    /// When the library cannot be built, or the folder not written.
    pub fn with_backend(backend: &str, options: &Value) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let mut site = Self {
            folder,
            settings: SETTINGS.parse().expect("good settings"),
        };
        let library = backend.rsplit('.').nth(1).expect("<library>.<Backend>");
        site.install(library);
        let options = Table::try_from(options).expect("options that TOML can hold");
        site.set("phone_verification", "BACKEND", backend);
        site.set("phone_verification", "OPTIONS", options);
        site
    }

    /// Changes a setting.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&mut self, section: &str, key: &str, value: impl Into<toml::Value>) -> &mut Self {
        let section = self
            .settings
            .entry(section)
            .or_insert_with(|| Table::new().into());
        let section = section.as_table_mut().expect("a section");
        section.insert(key.to_owned(), value.into());
        self.write_settings();
        self
    }

    /// Removes a setting.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn remove(&mut self, section: &str, key: &str) -> &mut Self {
        if let Some(section) = self.settings.get_mut(section).and_then(toml::Value::as_table_mut) {
            section.remove(key);
        }
        self.write_settings();
        self
    }

    /// Changes a list of tables, such as `[[routes]]`.
    ///
    /// # Panics
    /// When TOML cannot hold it, or the file cannot be written.
    pub fn set_list(&mut self, name: &str, list: &Value) -> &mut Self {
        let list = toml::Value::try_from(list).expect("a list that TOML can hold");
        self.settings.insert(name.to_owned(), list);
        self.write_settings();
        self
    }

    fn write_settings(&self) {
        let text = toml::to_string(&self.settings).expect("settings can be written");
        self.write(SETTINGS_FILE, text);
    }

    /// Removes a section from the settings, so that its defaults apply.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn with_defaults_of(&mut self, section: &str) -> &mut Self {
        self.settings.remove(section);
        self.write_settings();
        self
    }

    /// Installs a library of the workspace into the plugin directory.
    ///
    /// # Panics
    /// When it cannot be built or installed.
    pub fn install(&self, library: &str) -> PathBuf {
        let built = artifacts::library(library);
        let file = self.plugins().join(built.file_name().expect("a file"));
        fs::create_dir_all(self.plugins()).expect("the plugin directory can be made");
        // An earlier hard link is the built file itself, and copying over it would truncate that.
        let _ = fs::remove_file(&file);
        if fs::hard_link(&built, &file).is_err() {
            fs::copy(&built, &file).expect("the library can be copied");
        }
        file
    }

    /// Installs a variant of a library, as an upgrade does: the same code, with `mark` appended so that its hash
    /// differs.
    ///
    /// # Panics
    /// When it cannot be built or installed.
    pub fn install_variant(&self, library: &str, mark: &str) -> PathBuf {
        let built = artifacts::library(library);
        let mut bytes = fs::read(&built).expect("the library was built");
        bytes.extend(mark.as_bytes());
        self.upgrade(library, &bytes)
    }

    /// Replaces a library's file by these bytes, atomically.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn upgrade(&self, library: &str, bytes: &[u8]) -> PathBuf {
        fs::create_dir_all(self.plugins()).expect("the plugin directory can be made");
        let file = self.plugins().join(format!("{DLL_PREFIX}{library}{DLL_SUFFIX}"));
        let new = self.write("upgrade.new", bytes);
        fs::rename(new, &file).expect("both lie in the same folder");
        file
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the folder can be written");
        path
    }

    /// Writes a file that only this user can read.
    ///
    /// # Panics
    /// When it cannot be written.
    #[cfg(unix)]
    pub fn write_private(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;

        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is this user's");
        path
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The plugin directory.
    pub fn plugins(&self) -> PathBuf {
        self.path("plugins")
    }

    /// The program with these arguments, in this folder. Variables of the test's environment that could change its
    /// behaviour are removed.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(artifacts::program());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        for variable in ["PHONE_VERIFY_SETTINGS", "RUST_LOG", "RUST_BACKTRACE", "NO_COLOR"] {
            command.env_remove(variable);
        }
        for variable in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            command.env_remove(variable).env_remove(variable.to_lowercase());
        }
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments))
    }

    /// Starts the daemon.
    pub fn serve(&self) -> Daemon {
        Daemon::start(&mut self.command(&["serve"])).in_folder(&self.folder)
    }

    /// Starts the demo from an installed layout: the libraries in a folder next to the program, and no settings.
    ///
    /// # Panics
    /// When the program cannot be copied or does not start.
    pub fn serve_demo(&self) -> Daemon {
        let program = self.path("phone-verify");
        let built = artifacts::program();
        if fs::hard_link(&built, &program).is_err() {
            fs::copy(&built, &program).expect("the program can be copied");
        }
        let mut command = Command::new(program);
        command
            .args(["serve", "--demo", "--listen", "127.0.0.1:0"])
            .current_dir("/");
        Daemon::start(&mut command)
    }

    /// The folder of the installation.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
