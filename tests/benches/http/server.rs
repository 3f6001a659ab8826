//! The servers that are measured: processes of their own, on a free port.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use phone_verify_tests::artifacts;

/// A server process that is killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn bare(which: &str, database: &Path) -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        Self::start(Command::new(this).arg(which).arg(database))
    }

    pub(crate) fn daemon(program: &Path, directory: &Path, database: &Path, limits: &str) -> Self {
        let settings = directory.join("phone-verify.toml");
        std::fs::write(&settings, settings_text(database, limits)).expect("the settings are written");
        Self::start(Command::new(program).arg("serve").arg("--settings").arg(settings))
    }

    fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let address = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split("http://").nth(1)?.trim_end_matches('/').parse().ok())
            .unwrap_or_else(|| {
                // Its log is not read while it is measured. So it is started again to say why.
                let again = command
                    .stderr(Stdio::piped())
                    .output()
                    .expect("the server starts");
                panic!(
                    "the server does not say where it listens:\n{}",
                    String::from_utf8_lossy(&again.stderr)
                )
            });
        Self { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn settings_text(database: &Path, limits: &str) -> String {
    let libraries: PathBuf = artifacts::library("noop")
        .parent()
        .expect("a file has a folder")
        .to_owned();
    format!(
        r#"
[phone_verification]
BACKEND = "noop.FixedCodeBackend"
TOKEN_LENGTH = 6
MESSAGE = "Welcome to {{app}}! Please use security code {{security_code}} to proceed."
APP_NAME = "Bench"
SECURITY_CODE_EXPIRATION_SECONDS = 600
VERIFY_SECURITY_CODE_ONLY_ONCE = true

[phone_verification.OPTIONS]

[server]
listen = "127.0.0.1:0"
# All clients have one address here; the bare servers do not bound it either.
max_connections = 16384
max_connections_per_address = 16384
[store]
url = "sqlite:{}"
[plugins]
directories = ["{}"]
{limits}"#,
        database.display(),
        libraries.display()
    )
}

/// Every limit counts, and none is reached.
pub(crate) const LIMITS: &str = "[limits]
resend_cooldown_seconds = 60
number_per_10_minutes = 1000000000
number_per_hour = 1000000000
number_per_day = 1000000000
failed_checks_per_hour = 1000000000
failed_checks_per_day = 1000000000
address_per_hour = 1000000000
country_per_hour = 1000000000
country_per_day = 1000000000
service_per_hour = 1000000000
service_per_day = 1000000000
spend_per_hour = 1000000.0
spend_per_day = 1000000.0
";

pub(crate) const NO_LIMITS: &str = "[limits]
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
spend_per_hour = 0.0
spend_per_day = 0.0
[guard]
mode = \"off\"
";
