//! `phone-verify verify`: checks one code from the terminal, with the same rules as the daemon. Attempts are counted,
//! so a wrong code here costs an attempt.

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure, register::parse_number};
use crate::{
    daemon,
    model::{SecurityCode, SessionToken, Verdict},
    verifier::CheckRequest,
};

#[derive(Args)]
pub(super) struct Verify {
    /// The number that the code was sent to
    number: String,
    /// What `register` printed
    #[arg(long, value_name = "TOKEN")]
    session_token: String,
    /// The code from the SMS
    #[arg(long)]
    code: String,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Verify {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        // Starting the service would create a missing database, and the code would then be called invalid.
        daemon::must_exist(&settings).map_err(|problem| Failure::of([problem]))?;
        let verdict = super::with_service_of(settings, async |service, settings| {
            let number = parse_number(&self.number, settings)?;
            let code = SecurityCode::from_client(&self.code);
            let session_token = SessionToken::from_client(self.session_token.trim());
            let checked = service
                .verifier
                .check(CheckRequest {
                    number,
                    client: None,
                    session_token,
                    code,
                    bound: None,
                })
                .await;
            checked.map_err(|error| Failure::failed(error.to_string()))
        })?;
        let (status, text) = match verdict {
            Verdict::Valid => ("verified", "verified"),
            Verdict::Expired => ("expired", "the code has expired; register again"),
            Verdict::AlreadyVerified => ("already_verified", "the code was used before; register again"),
            Verdict::TooManyAttempts => (
                "too_many_attempts",
                "no attempts are left; register again once the code has expired",
            ),
            // One text for both, as over HTTP: a caller must not find out which sessions exist.
            Verdict::Invalid | Verdict::SessionTokenInvalid => ("invalid", "the code is not valid"),
        };
        let is_verified = verdict == Verdict::Valid;
        self.common
            .output()
            .result_of(is_verified, &json!({ "status": status }), || text.to_owned())?;
        if is_verified { Ok(()) } else { Err(Failure::told()) }
    }
}
