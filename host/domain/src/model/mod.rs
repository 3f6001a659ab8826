//! The vocabulary of the domain: types whose values are valid by construction. No async and no I/O. The clock and the
//! randomness are passed in, so tests can fix both.

pub mod api_key;
pub mod autofill;
pub mod client_address;
pub mod code_format;
pub mod context;
pub mod delivery;
pub mod event;
mod forwarded;
pub mod guard;
mod harmful;
pub mod language;
pub mod limits;
pub mod listen;
pub mod message;
mod numbering_plans;
pub mod page_origin;
pub mod phone_number;
pub mod purpose;
mod quantity;
pub mod report;
pub mod security_code;
pub mod segments;
pub mod session_token;
pub mod test_number;
pub mod typed;
pub mod verification;

pub use api_key::{ApiKey, DropIn, KeyDigest, Scope};
pub use autofill::Autofill;
pub use client_address::{ClientAddress, ClientAddresses, Peer, Requester, TrustedProxies};
pub use code_format::{Alphabet, CodeFormat};
pub use delivery::{
    Delivery, FailureClass, Message, MessageId, Origin, Outcome, Receipt, ReportedMessage, SendFailure, Sign,
    Try,
};
pub use event::{Event, EventDetails, EventKind};
pub use harmful::is_harmful;
pub use language::Language;
pub use limits::{Limit, LimitReached};
pub use listen::{Listen, NamedBy, Places};
pub use message::{Locale, Messages};
pub use page_origin::{PageOrigin, PublicUrl};
pub use phone_number::{PhoneNumber, Region};
pub use purpose::{Bound, Purpose};
pub use quantity::quantity;
pub use report::{
    Cost, Currency, DeliveryReport, IncomingRequest, ProviderMessageId, ReceiptAnswer, ReceiptKind, Reported,
    ReportedState, TakesReceipts,
};
pub use security_code::SecurityCode;
pub use session_token::SessionToken;
pub use test_number::{TestNumber, TestNumbers};
pub use verification::{Status, Verdict, Verification, VerificationId};
