//! A host for unit tests of a backend. It runs in the test's process, without daemon, network or async runtime. Enable
//! the feature `testing` in `[dev-dependencies]`.
//!
//! ```
//! # use phone_verify_plugin_api::{
//! #     Backend, Call, Error, Host, Options, PhoneNumber, Receipt, Secret, backend, serde_json::json,
//! # };
//! # #[derive(Options)]
//! # struct AcmeOptions { key: Secret }
//! # struct AcmeBackend { options: AcmeOptions, host: Host }
//! # #[backend(hosts = ["api.acme.example"])]
//! # impl Backend for AcmeBackend {
//! #     type Options = AcmeOptions;
//! #     fn new(options: AcmeOptions, host: Host) -> Result<Self, Error> { Ok(Self { options, host }) }
//! #     async fn send_sms(&self, number: &PhoneNumber, _message: &str, _call: &Call) -> Result<Receipt, Error> {
//! #         let http = self.host.http();
//! #         let request = http.post("https://api.acme.example/messages").bearer(self.options.key.expose());
//! #         let response = request.json(&json!({ "to": number.e164() })).send().await?;
//! #         match response.status() {
//! #             202 => Ok(Receipt::new("1")),
//! #             status => Err(Error::from_http_status("acme", status)),
//! #         }
//! #     }
//! # }
//! use phone_verify_plugin_api::{
//!     ErrorKind,
//!     testing::{Answer, TestHost},
//! };
//!
//! let host = TestHost::new();
//! let acme = host.construct::<AcmeBackend>(&json!({ "KEY": "k3y" })).unwrap();
//!
//! host.answer(Answer::new(202));
//! acme.send_sms("+13478379634", "Your code is 123456.").unwrap();
//! assert_eq!(host.requests()[0].json()["to"], "+13478379634");
//!
//! host.answer(Answer::no_answer_in_time());
//! let error = acme.send_sms("+13478379634", "Your code is 123456.").unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
//! ```
//!
//! Invariant: a test has the same result in each run. Time, randomness and codes are fixed, and time advances only
//! while the backend sleeps.

mod answer;
mod call;
mod host;
mod tested;
mod webhook;

pub use answer::Answer;
pub use call::CallFacts;
pub use host::{SentRequest, TestHost};
pub use tested::Tested;
