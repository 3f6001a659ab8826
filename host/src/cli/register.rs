//! `phone-verify register`: one registration from the terminal, with the same rules and limits as the daemon.

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure};
use crate::{
    model::{FailureClass, Locale, PhoneNumber},
    settings::Settings,
    verifier::{RegisterError, RegisterRequest},
};

#[derive(Args)]
pub(super) struct Register {
    /// The number to verify
    number: String,
    /// The language of the SMS, as in Accept-Language
    #[arg(long, default_value = "", value_name = "TAG")]
    locale: String,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Parses a number from the command line. The error does not repeat the number, since errors are logged.
pub(super) fn parse_number(text: &str, settings: &Settings) -> Result<PhoneNumber, Failure> {
    let region = settings.phone_verification.default_region;
    PhoneNumber::parse(text, region).map_err(|_| {
        let hint = if region.is_some() {
            ""
        } else {
            "; write it with its country code, such as +13478379634"
        };
        Failure::wrong([format!("this is not a valid phone number{hint}")])
    })
}

/// The message for a failed registration. An unknown outcome is said as such: the SMS may arrive all the same.
fn told(error: &RegisterError) -> String {
    match error {
        RegisterError::NotSent(failure) if failure.class == FailureClass::OutcomeUnknown => {
            format!("it is not known whether the SMS was sent: {failure}")
        }
        error => error.to_string(),
    }
}

impl Register {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let registered = self.common.with_service(async |service, settings| {
            let number = parse_number(&self.number, settings)?;
            let request = RegisterRequest::of(number, Locale(self.locale.clone()));
            let registered = service.verifier.register(request).await;
            let registered = registered.map_err(|error| Failure::failed(told(&error)))?;
            let expires_at = service.clock.shown(registered.expires_at);
            Ok((registered.session_token, expires_at))
        })?;
        let (token, expires_at) = &registered;
        let token = token.expose();
        let result = json!({ "session_token": token, "expires_at_unix_ms": expires_at.0 });
        self.common.output().result(&result, || {
            format!(
                "sent. To check the code:\n  phone-verify verify '{}' --session-token {token} --code CODE",
                self.number
            )
        })?;
        Ok(())
    }
}
