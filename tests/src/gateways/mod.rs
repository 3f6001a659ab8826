//! Simulated SMS providers: real HTTP servers on their own loopback ports. They check requests and answer as the
//! providers do, keep accepted SMS in an inbox, and misbehave on request.
//!
//! They judge a request only by the provider's published rules and share no code with the backends. Otherwise a
//! misunderstanding could be on both sides, and no test would find it.
//!
//! ```
//! use phone_verify_tests::gateways::{Behaviour, NexmoGateway};
//!
//! # let runtime = tokio::runtime::Runtime::new().unwrap();
//! # runtime.block_on(async {
//! let gateway = NexmoGateway::start().await;
//! let options = gateway.options(); // what a settings file would say under OPTIONS
//! gateway.next(Behaviour::Refuse(9)); // the next request only; after that it is itself again
//! # let _ = options;
//! # });
//! ```

mod behaviour;
mod elks;
mod inbox;
mod line;
mod nexmo;
mod plivo;
mod reports;
mod server;
mod sms_text;
mod twilio;

pub use behaviour::Behaviour;
pub use elks::Elks;
pub use inbox::Sms;
pub use nexmo::{Format, Nexmo};
pub use plivo::Plivo;
pub use reports::Report;
pub use server::{Answer, Gateway, Provider, Request};
pub use twilio::Twilio;

/// Simulates the Nexmo (Vonage) SMS API.
pub type NexmoGateway = Gateway<Nexmo>;

/// Simulates Twilio's Messages API.
pub type TwilioGateway = Gateway<Twilio>;
