//! The words of the domain: pure values, no async, no I/O, nothing else of ours.
pub mod delivery;
pub mod message;
pub mod phone_number;
pub mod security_code;
pub mod session_token;
pub mod verification;

pub use delivery::{FailureClass, Receipt, SendFailure};
pub use message::{Locale, Messages};
pub use phone_number::PhoneNumber;
pub use security_code::SecurityCode;
pub use session_token::SessionToken;
pub use verification::{Verdict, VerificationId};
