//! The machine codes of errors: stable, the same on both APIs, and all in the description.

use strum::{IntoStaticStr, VariantNames};
use utoipa::{PartialSchema, ToSchema, openapi::RefOr, openapi::Schema};

use super::schema::one_of;
use crate::{model::guard::Reason, verifier::RateLimits};

/// A machine code. Limits and reasons of the guard have further ones, which are their names.
#[derive(Clone, Copy, Debug, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Code {
    /// It is no phone number.
    PhoneNumberInvalid,
    /// Fields are missing, blank, of the wrong type or not known.
    FieldsInvalid,
    /// The body is not what its media type says, or did not arrive whole.
    BodyUnparsable,
    /// The body is of a type that is not read here.
    MediaTypeUnsupported,
    /// The client does not accept JSON.
    NotAcceptable,
    /// The body is too large.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The request names no host, several, or one that is none.
    HostInvalid,
    /// The request line or a header field cannot be read.
    HeadUnparsable,
    /// The head is too large.
    HeadTooLarge,
    /// The head did not arrive in time.
    HeadTooSlow,
    /// The target is too long.
    UriTooLong,
    /// It is a version of HTTP that is not spoken here.
    HttpVersionUnsupported,
    /// The body is in a transfer encoding other than chunked.
    TransferEncodingUnsupported,
    /// The address has too many connections.
    TooManyConnections,
    /// There is nothing at this path.
    NotFound,
    /// The path does not have this method.
    MethodNotAllowed,
    /// There is no verification of this id.
    VerificationNotFound,
    /// An API key is needed.
    Unauthorized,
    /// The API key does not have the scope that is needed.
    InsufficientScope,
    /// A page of another site asks.
    OriginNotAllowed,
    /// The request was sent to a name that may be somebody else's.
    HostNotAllowed,
    /// A wrong code, or an unknown session.
    SecurityCodeInvalid,
    /// The code was made for another purpose or binding.
    PurposeMismatch,
    /// The code came too late.
    SecurityCodeExpired,
    /// The code was used before.
    SecurityCodeAlreadyVerified,
    /// All attempts are used up.
    TooManyAttempts,
    /// The verification was cancelled.
    VerificationCancelled,
    /// The pending code of the number takes no more attempts.
    AttemptsUsedUp,
    /// The pending code of the number has as many sessions as it may.
    TooManySessions,
    /// The same request is being dealt with.
    RequestUnderWay,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The provider takes it for no phone number.
    PhoneNumberRefused,
    /// The number cannot receive text messages.
    PhoneNumberUnreachable,
    /// Its owner wants no messages.
    PhoneNumberOptedOut,
    /// The provider does not send there.
    DestinationBlocked,
    /// The SMS could not be sent.
    SmsNotSent,
    /// It is not known whether the SMS was sent.
    SmsOutcomeUnknown,
    /// The backend gave no verdict on the code.
    BackendFailed,
    /// Too many messages wait to be sent.
    Busy,
    /// The database cannot be used at the moment.
    Unavailable,
    /// A defect of this program.
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
