//! Sends one SMS through a backend library, without the rest of phone-verify:
//! `cargo run -p phone-verify-plugin-host --example load -- target/debug console.ConsoleBackend +13478379634 'Hello'`.
#![forbid(unsafe_code)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use phone_verify_domain::model::{FailureClass, PhoneNumber, SecurityCode, SendFailure, Verdict};
use phone_verify_plugin_host::{
    BackendName, BaseCalls, Call, CallFacts, Loader, LoaderConfig, own_process::image, worker,
};
use serde_json::Map;

/// What a backend may call instead of its own code, in the calls that make, word and judge codes. This program only
/// sends.
struct NoCodes;

#[async_trait::async_trait]
impl BaseCalls for NoCodes {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        Err(SendFailure::new(
            FailureClass::Internal,
            "no_codes",
            "no codes are made here",
        ))
    }

    fn message(&self, code: &SecurityCode) -> String {
        code.expose().to_owned()
    }

    async fn validate(&self, _code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        None
    }
}

fn main() -> ExitCode {
    image::remember();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        // Where a library runs in a process of its own, that process is this program.
        [command, ..] if command == worker::COMMAND => worker::main(),
        [directory, backend, number, text] => match send(directory, backend, number, text) {
            Ok(said) => {
                println!("{said}");
                ExitCode::SUCCESS
            }
            Err(problem) => {
                eprintln!("{problem}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("load DIRECTORY LIBRARY.BACKEND NUMBER TEXT");
            ExitCode::from(2)
        }
    }
}

fn send(directory: &str, backend: &str, number: &str, text: &str) -> Result<String, String> {
    let staging = tempfile::tempdir().map_err(|error| error.to_string())?;
    let loader = Loader::new(LoaderConfig::of(directory.into(), staging.path().into()));
    let name = BackendName::parse(backend).map_err(|refusal| refusal.to_string())?;
    let number = PhoneNumber::parse(number, None).map_err(|error| error.to_string())?;
    let backend = loader.load(&name, &Map::new()).map_err(|refusals| {
        let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    let call = Call {
        time_limit: Duration::from_secs(10),
        request_id: "example".to_owned(),
        idempotency_key: String::new(),
        locale: String::new(),
        facts: CallFacts::default(),
        base: Arc::new(NoCodes),
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    match runtime.block_on(backend.send_sms(&number, text, call)) {
        Ok(receipt) => Ok(format!(
            "{} ({}) took it: {:?}",
            backend.name(),
            backend.isolation(),
            receipt.message_id
        )),
        Err(failure) => Err(format!("not sent: {}", failure.message)),
    }
}
