//! The machine codes of errors. They are stable, the same in both APIs, and all listed in the `OpenAPI` description.

use strum::{IntoStaticStr, VariantNames};
use utoipa::{PartialSchema, ToSchema, openapi::RefOr, openapi::Schema};

use super::schema::one_of;
use crate::{model::guard::Reason, verifier::RateLimits};

/// A machine code. Limits and the guard's reasons have further codes, which are their names.
#[derive(Clone, Copy, Debug, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Code {
    /// The text is not a phone number.
    PhoneNumberInvalid,
    /// Fields are missing, blank, of the wrong type or not known.
    FieldsInvalid,
    /// The body is not what its media type says, or did not arrive whole.
    BodyUnparsable,
    /// The body has a media type that the route does not read.
    MediaTypeUnsupported,
    /// The client does not accept JSON.
    NotAcceptable,
    /// The body is too large.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The request has no `Host` header, several, or an invalid one.
    HostInvalid,
    /// The request line or a header field cannot be read.
    HeadUnparsable,
    /// The head is too large.
    HeadTooLarge,
    /// The head did not arrive in time.
    HeadTooSlow,
    /// The request target is too long.
    UriTooLong,
    /// The request has a version of HTTP that this server does not support.
    HttpVersionUnsupported,
    /// The body is in a transfer encoding other than chunked.
    TransferEncodingUnsupported,
    /// The client's address has too many connections.
    TooManyConnections,
    /// There is nothing at this path.
    NotFound,
    /// The path does not have this method.
    MethodNotAllowed,
    /// There is no verification with this id.
    VerificationNotFound,
    /// There is no text with this id.
    MessageNotFound,
    /// No backend takes delivery receipts at this address.
    BackendNotFound,
    /// An API key is needed.
    Unauthorized,
    /// The API key does not have the needed scope.
    InsufficientScope,
    /// A page of another site made the request.
    OriginNotAllowed,
    /// The request was sent to a name that may belong to another site.
    HostNotAllowed,
    /// The code is wrong, or the session is not known.
    SecurityCodeInvalid,
    /// The code was sent for another purpose or binding.
    PurposeMismatch,
    /// The code arrived after it had expired.
    SecurityCodeExpired,
    /// The code was used before.
    SecurityCodeAlreadyVerified,
    /// All attempts are used up.
    TooManyAttempts,
    /// The verification was cancelled.
    VerificationCancelled,
    /// The pending code of the number accepts no more attempts.
    AttemptsUsedUp,
    /// The pending code of the number has as many sessions as it may have.
    TooManySessions,
    /// The same request is still being served.
    RequestUnderWay,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The provider does not accept the number as a phone number.
    PhoneNumberRefused,
    /// The number cannot receive text messages.
    PhoneNumberUnreachable,
    /// The number's owner refuses messages.
    PhoneNumberOptedOut,
    /// The provider does not send to this destination.
    DestinationBlocked,
    /// The SMS could not be sent.
    SmsNotSent,
    /// It is not known whether the SMS was sent.
    SmsOutcomeUnknown,
    /// The backend gave no verdict on the code.
    BackendFailed,
    /// The report of a provider could not be read.
    ReceiptNotTaken,
    /// The backend that alone may judge the code is in use no more.
    BackendGone,
    /// Too many messages are waiting to be sent.
    Busy,
    /// The database cannot be used at the moment.
    Unavailable,
    /// A bug in this program.
    InternalError,
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let own = Self::VARIANTS.iter().copied();
        let limits = RateLimits::CODES.into_iter();
        let reasons = Reason::ALL.into_iter().map(Reason::code);
        one_of(own.chain(limits).chain(reasons), "A stable machine code")
    }
}

impl ToSchema for Code {
    fn name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }
}
