//! From an error to what the client gets: a status, a stable machine code, and a message. Where django-phone-verify has
//! a message, it is the same here. The cause goes to the log and never to the client, since it may hold details of the
//! provider or the database.

use std::time::Duration;

use axum::{
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    answer::{Answer, NON_FIELD, answer, detail, field},
    code::Code,
    problem::{DropInError, Problem},
    serve::HeadFault,
};
use crate::{
    model::{FailureClass, Scope, SendFailure, Status, Verdict, guard::Reason},
    store::StoreError,
    verifier::{CheckError, RegisterError, ResendError},
};

/// The name of a field, and its problem.
pub(super) type FieldError = (&'static str, &'static str);

/// Why a request is not answered as the client wanted. [`ApiError::into_answer`] is the only place that turns these
/// into statuses and codes.
#[derive(Debug)]
pub(super) enum ApiError {
    /// Every faulty field.
    Fields(Vec<FieldError>),
    /// A problem of the body as a whole.
    NonField {
        message: String,
    },
    /// The body is not what its media type says.
    Unparsable(String),
    UnsupportedMediaType(String),
    /// The client does not accept JSON.
    NotAcceptable,
    /// The head of the request is faulty, whatever its path.
    Head(HeadFault),
    /// The connection broke, or the bytes were not HTTP.
    Broken,
    TooLarge,
    TooSlow,
    NotFound,
    /// The path does not have this method. The allowed ones are in the head of the answer.
    Method(Method),
    /// A refused code, so never [`Verdict::Valid`].
    Verdict(Verdict),
    Register(RegisterError),
    Resend(ResendError),
    Check(CheckError),
    Store(StoreError),
    /// No backend takes delivery receipts at this address: an unknown backend, one that takes none, or a wrong secret.
    NoReceiptsHere,
    /// What a provider reports could not be read. The provider is to send it again.
    ReceiptNotTaken,
    /// There is no verification with this id.
    NoVerification,
    /// There is no text with this id.
    NoMessage,
    /// The verification has ended with this status.
    Over(Status),
    /// The request has no API key, or one that is not known.
    Unauthorized,
    /// The same request is still being served.
    UnderWay,
    /// The API key does not have this scope.
    InsufficientScope(Scope),
    /// A page of another site makes a request that has an effect.
    CrossSite,
    /// A browser sent the request to a name that may belong to another site.
    ForeignHost,
    /// A panic in a route: a bug.
    Defect,
}

pub(super) const REQUIRED: &str = "This field is required.";
pub(super) const BLANK: &str = "This field may not be blank.";
pub(super) const NULL: &str = "This field may not be null.";
pub(super) const NOT_A_STRING: &str = "Not a valid string.";
pub(super) const NULL_CHARACTER: &str = "Null characters are not allowed.";
pub(super) const NOT_AN_OBJECT: &str = "Not an object.";
pub(super) const TOO_LONG: &str = "This field is too long.";
pub(super) const NOT_A_PHONE_NUMBER: &str = "Enter a valid phone number.";

impl ApiError {
    /// The status, code and message of an error. Exhaustive, so that a new error must be given them.
    pub(super) fn into_answer(self) -> Answer {
        use StatusCode as S;
        match self {
            Self::Fields(fields) => of_fields(fields),
            Self::NonField { message } => field(Code::FieldsInvalid, NON_FIELD, message),
            Self::Unparsable(text) => detail(S::BAD_REQUEST, Code::BodyUnparsable, text),
            Self::UnsupportedMediaType(found) => detail(
                S::UNSUPPORTED_MEDIA_TYPE,
                Code::MediaTypeUnsupported,
                format!("Unsupported media type \"{found}\" in request."),
            ),
            Self::NotAcceptable => detail(
                S::NOT_ACCEPTABLE,
                Code::NotAcceptable,
                "Could not satisfy the request Accept header.",
            ),
            Self::Head(fault) => detail(fault.status, fault.code, fault.text),
            Self::Broken => detail(
                S::BAD_REQUEST,
                Code::BodyUnparsable,
                "The request body did not arrive whole.",
            ),
            Self::TooLarge => detail(
                S::PAYLOAD_TOO_LARGE,
                Code::BodyTooLarge,
                format!(
                    "The request body is larger than {} bytes.",
                    super::body::MAX_BODY_BYTES
                ),
            ),
            Self::TooSlow => detail(
                S::REQUEST_TIMEOUT,
                Code::BodyTooSlow,
                "The request body did not arrive in time.",
            ),
            Self::NotFound => detail(S::NOT_FOUND, Code::NotFound, "Not found."),
            Self::Method(method) => detail(
                S::METHOD_NOT_ALLOWED,
                Code::MethodNotAllowed,
                format!("Method \"{method}\" not allowed."),
            ),
            Self::Verdict(verdict) => of_verdict(verdict),
            Self::Register(error) => of_register(error),
            Self::Resend(error) => of_resend(error),
            Self::Over(status) => of_status(status),
            Self::Check(error) => of_check(error),
            Self::Store(error) => of_store(&error),
            Self::UnderWay => under_way(),
            Self::NoReceiptsHere => detail(
                S::NOT_FOUND,
                Code::BackendNotFound,
                "No backend takes delivery receipts at this address.",
            ),
            Self::ReceiptNotTaken => detail(
                S::SERVICE_UNAVAILABLE,
                Code::ReceiptNotTaken,
                "The report could not be read at the moment. Please send it again.",
            ),
            Self::NoVerification => detail(
                S::NOT_FOUND,
                Code::VerificationNotFound,
                "There is no such verification.",
            ),
            Self::NoMessage => detail(S::NOT_FOUND, Code::MessageNotFound, "There is no such message."),
            Self::Unauthorized => detail(
                S::UNAUTHORIZED,
                Code::Unauthorized,
                "An API key is needed, as in: Authorization: Bearer KEY.",
            ),
            Self::InsufficientScope(scope) => no_scope(scope),
            Self::CrossSite => cross_site(),
            Self::ForeignHost => foreign_host(),
            Self::Defect => detail(
                S::INTERNAL_SERVER_ERROR,
                Code::InternalError,
                "Internal server error.",
            ),
        }
    }
}

/// The answer to faulty fields.
fn of_fields(fields: Vec<FieldError>) -> Answer {
    let code = match fields[..] {
        [(_, NOT_A_PHONE_NUMBER)] => Code::PhoneNumberInvalid,
        _ => Code::FieldsInvalid,
    };
    let fields = fields
        .into_iter()
        .map(|(name, what)| (name, vec![what.to_owned()]));
    Answer {
        fields: fields.collect(),
        ..answer(StatusCode::BAD_REQUEST, code)
    }
}

/// The answer to a code that was not judged.
fn of_check(error: CheckError) -> Answer {
    match error {
        CheckError::Store(error) => of_store(&error),
        CheckError::OtherPurpose => detail(
            StatusCode::BAD_REQUEST,
            Code::PurposeMismatch,
            "The code was sent for another purpose or binding: say those that the verification was begun with. No attempt \
             was taken.",
        ),
        CheckError::OwnerGone(owner) => owner_gone(&owner),
        CheckError::Backend(failure) => no_verdict(&failure),
    }
}

/// The answer to a key that is valid but may not do this.
fn no_scope(scope: Scope) -> Answer {
    let name = scope.as_str();
    let text = format!("The API key does not have the scope {name:?}, which this needs.");
    Answer {
        scope: Some(scope),
        ..detail(StatusCode::FORBIDDEN, Code::InsufficientScope, text)
    }
}

/// The answer to a request of another site. It names the settings, since an operator will often see it first.
fn cross_site() -> Answer {
    detail(
        StatusCode::FORBIDDEN,
        Code::OriginNotAllowed,
        "A page of another site may not do this. The settings of the server name the origins of pages that may, in [server] \
         allowed_origins, and its own name, in public_url.",
    )
}

/// The answer to a request for a name that is not this server's. Status 421 is made for this (RFC 9110, section
/// 15.5.20).
fn foreign_host() -> Answer {
    detail(
        StatusCode::MISDIRECTED_REQUEST,
        Code::HostNotAllowed,
        "The request was sent to a name that this server does not know as its own. Its settings say so in [server] \
         public_url, or name the proxy that it came through in trusted_proxies.",
    )
}

/// The answer to a code that is not accepted, in the words of django-phone-verify where it has them.
fn of_verdict(verdict: Verdict) -> Answer {
    let (code, text) = match verdict {
        Verdict::Expired => (Code::SecurityCodeExpired, "Security code has expired"),
        Verdict::AlreadyVerified => (
            Code::SecurityCodeAlreadyVerified,
            "Security code is already verified",
        ),
        Verdict::TooManyAttempts => (
            Code::TooManyAttempts,
            "Too many failed verification attempts. Please request a new code.",
        ),
        // An unknown session gets the same answer as a wrong code, so that a client cannot find out which sessions
        // exist.
        Verdict::Invalid | Verdict::SessionTokenInvalid | Verdict::Valid => {
            (Code::SecurityCodeInvalid, "Security code is not valid")
        }
    };
    field(code, NON_FIELD, text)
}

fn of_register(error: RegisterError) -> Answer {
    match error {
        RegisterError::AttemptsUsedUp { retry_after } => limited(
            Code::AttemptsUsedUp,
            retry_after,
            "Too many failed verification attempts for this number. Please wait for the code to expire.",
        ),
        RegisterError::TooManySessions { retry_after } => limited(
            Code::TooManySessions,
            retry_after,
            "Too many registrations of this number. Please wait for the code to expire.",
        ),
        RegisterError::LimitReached { code, retry_after } => limit_reached(code, retry_after),
        RegisterError::UnderWay => under_way(),
        RegisterError::Blocked { reason, retry_after } => blocked(reason, retry_after),
        RegisterError::Busy => busy(),
        RegisterError::NotSent(failure) => of_failure(&failure),
        RegisterError::Store(error) => of_store(&error),
        RegisterError::NoEntropy(error) => unavailable(&error),
    }
}

/// The answer 429, with the time to wait.
fn limited(code: impl Into<&'static str>, retry_after: Duration, text: &str) -> Answer {
    Answer {
        retry_after: Some(retry_after),
        ..detail(StatusCode::TOO_MANY_REQUESTS, code, text)
    }
}

/// The answer when a limit is reached. The code is the name of the limit in the settings.
fn limit_reached(code: &'static str, retry_after: Duration) -> Answer {
    let text = "A limit has been reached. Please wait before trying again.";
    limited(code, retry_after, text)
}

/// A refusal by the guard against SMS pumping. If it has no end, the number itself is the problem.
fn blocked(reason: Reason, retry_after: Option<Duration>) -> Answer {
    if let Some(wait) = retry_after {
        let text = "Too many text messages were asked for. Please wait before trying again.";
        return limited(reason.code(), wait, text);
    }
    let text = "Text messages cannot be sent to this phone number.";
    field(reason.code(), "phone_number", text)
}

fn of_resend(error: ResendError) -> Answer {
    match error {
        ResendError::NotFound => ApiError::NoVerification.into_answer(),
        ResendError::Over(status) => of_status(status),
        ResendError::LimitReached { code, retry_after } => limit_reached(code, retry_after),
        ResendError::Blocked { reason, retry_after } => blocked(reason, retry_after),
        ResendError::OwnerGone(owner) => owner_gone(&owner),
        ResendError::Busy => busy(),
        ResendError::NotSent(failure) => of_failure(&failure),
        ResendError::UnderWay => under_way(),
        ResendError::Store(error) => of_store(&error),
        ResendError::NoEntropy(error) => unavailable(&error),
    }
}

/// The answer when a backend that judges its codes itself gave no verdict.
fn no_verdict(failure: &SendFailure) -> Answer {
    tracing::warn!(
        code = failure.code,
        reason = failure.message,
        "the backend gave no verdict"
    );
    let text = "The security code could not be checked. Please try again.";
    detail(StatusCode::BAD_GATEWAY, Code::BackendFailed, text)
}

/// The answer when the code is one of a backend that is in use no more: nobody else can judge it or send it again.
fn owner_gone(owner: &str) -> Answer {
    tracing::warn!(
        backend = owner,
        "a code of a backend that is in use no more can be neither judged nor sent again; the settings have it no more under \
         this name, or another in its place"
    );
    let text = "This security code can be checked no more. Please request a new code.";
    field(Code::BackendGone, NON_FIELD, text)
}

/// The answer when a verification has ended already.
fn of_status(status: Status) -> Answer {
    let (code, text) = match status {
        Status::Verified => (
            Code::SecurityCodeAlreadyVerified,
            "The phone number is verified already.",
        ),
        Status::Cancelled => (Code::VerificationCancelled, "The verification was cancelled."),
        Status::Failed => (Code::TooManyAttempts, "All attempts are used up."),
        Status::NotSent => (Code::SmsNotSent, "The text message could not be sent."),
        Status::Expired | Status::Pending => (Code::SecurityCodeExpired, "The security code has expired."),
    };
    detail(StatusCode::CONFLICT, code, text)
}

/// The answer when the queue of messages is full.
fn busy() -> Answer {
    let text = "Too many messages are waiting to be sent. Please try again.";
    Answer {
        retry_after: Some(Duration::from_secs(1)),
        ..detail(StatusCode::SERVICE_UNAVAILABLE, Code::Busy, text)
    }
}

/// The answer while the same request is still being served. The client should ask again for its result.
fn under_way() -> Answer {
    let text = "The same request is being dealt with. Please ask again for its outcome.";
    Answer {
        retry_after: Some(Duration::from_secs(1)),
        ..detail(StatusCode::CONFLICT, Code::RequestUnderWay, text)
    }
}

fn of_store(error: &StoreError) -> Answer {
    match error {
        StoreError::KeyReused => detail(
            StatusCode::UNPROCESSABLE_ENTITY,
            Code::IdempotencyKeyReused,
            "This idempotency key was used for another request.",
        ),
        error => unavailable(error),
    }
}

/// The answer when the database or the system's randomness failed. The cause is logged here, once, and not sent.
fn unavailable(error: &dyn std::error::Error) -> Answer {
    tracing::error!(%error, "a request could not be served");
    let text = "The service cannot do this at the moment. Please try again.";
    Answer {
        retry_after: Some(Duration::from_secs(1)),
        ..detail(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text)
    }
}

/// The answer to a failed SMS. The dispatcher has logged the cause; the provider's message is not for the client.
fn of_failure(failure: &SendFailure) -> Answer {
    use StatusCode as S;
    let number = |code: Code, text: &str| field(code, "phone_number", text);
    match failure.class {
        FailureClass::InvalidNumber => number(Code::PhoneNumberRefused, NOT_A_PHONE_NUMBER),
        FailureClass::UnreachableNumber => number(
            Code::PhoneNumberUnreachable,
            "This phone number cannot receive text messages.",
        ),
        FailureClass::OptedOut => number(
            Code::PhoneNumberOptedOut,
            "This phone number does not accept text messages from us.",
        ),
        FailureClass::DestinationBlocked => number(
            Code::DestinationBlocked,
            "Text messages cannot be sent to this phone number.",
        ),
        FailureClass::Throttled
        | FailureClass::Transient
        | FailureClass::AuthFailed
        | FailureClass::NoCredit
        | FailureClass::Config => {
            let text = "The text message could not be sent at the moment. Please try again.";
            let made = detail(S::SERVICE_UNAVAILABLE, Code::SmsNotSent, text);
            Answer {
                retry_after: failure.retry_after,
                ..made
            }
        }
        FailureClass::OutcomeUnknown => detail(
            S::BAD_GATEWAY,
            Code::SmsOutcomeUnknown,
            "It is not known whether the text message was sent. Please wait a moment before trying again.",
        ),
        FailureClass::ContentRejected
        | FailureClass::SenderRejected
        | FailureClass::Internal
        | FailureClass::Unsupported => detail(
            S::BAD_GATEWAY,
            Code::SmsNotSent,
            "The text message could not be sent.",
        ),
    }
}

impl ApiError {
    /// The answer in the form of the API that this path belongs to.
    pub(super) fn told_at(self, path: &str) -> Response {
        let is_native = path
            .strip_prefix("/v1")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_native {
            Problem::from(self).into_response()
        } else {
            self.into_response()
        }
    }
}

/// The answer in the form of the drop-in endpoints.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        DropInError::answer(self.into_answer())
    }
}
