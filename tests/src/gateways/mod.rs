//! Stand-ins for the SMS providers: real HTTP servers on a loopback port of their own, which check requests and word
//! their answers as the providers do, keep what they took in an inbox, and misbehave on request.
//!
//! They judge a request by the provider's published rules alone and share no code with the backends, so that a
//! misunderstanding cannot be on both sides.
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
mod inbox;
mod line;
mod nexmo;
mod server;
mod sms_text;
mod twilio;

pub use behaviour::Behaviour;
pub use inbox::Sms;
pub use nexmo::Nexmo;
pub use server::{Answer, Gateway, Provider, Request};
pub use twilio::Twilio;

/// Stands in for the Nexmo (Vonage) SMS API.
pub type NexmoGateway = Gateway<Nexmo>;

/// Stands in for Twilio's Messages API.
pub type TwilioGateway = Gateway<Twilio>;
