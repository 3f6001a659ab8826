//! From what went wrong to what the client is told: a status, a stable machine code, and the ancestor's words
//! where it had any. The cause goes to the log, never to the client.

use std::time::Duration;

use axum::{
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{access::ErrorCode, json::Json};
use crate::{
    model::{FailureClass, SendFailure, Status, Verdict, guard::Reason},
    store::StoreError,
    verifier::{CheckError, RegisterError, ResendError},
};

/// A field's name and what is wrong with it.
pub(super) type FieldError = (&'static str, &'static str);

/// What a client did wrong, or what happened to its request.
#[derive(Debug)]
pub(super) enum ApiError {
    /// Every faulty field.
    Fields(Vec<FieldError>),
    /// Something about the body as a whole.
    NonField {
        message: String,
    },
    /// The body is not what its media type says.
    Unparsable(String),
    UnsupportedMediaType(String),
    /// The client takes no JSON.
    NotAcceptable,
    /// The connection broke, or what came is not HTTP.
    Broken,
    TooLarge,
    TooSlow,
    NotFound,
    /// The method, and those that are allowed.
    Method(Method, &'static str),
    /// The method; those that are allowed are told elsewhere.
    NotAllowed(Method),
    /// Not [`Verdict::Valid`].
    Verdict(Verdict),
    Register(RegisterError),
    Resend(ResendError),
    Check(CheckError),
    Store(StoreError),
    /// No verification of that id.
    NoVerification,
    /// The verification is over, in this way.
    Over(Status),
    /// No API key, or none that is known.
    Unauthorized,
    /// A panic in a route.
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

/// An answer in the making.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    /// Texts by the name of the field that they are about, in lists; or one text under "detail".
    pub(super) body: Map<String, Value>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

impl Answer {
    /// The answer with this body; what is not in the body is in the head.
    pub(super) fn with(&self, body: impl IntoResponse) -> Response {
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(ErrorCode(self.code));
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Rounded up: whoever waits that long is not refused for the rest of a second.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)),
            );
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn answer(status: StatusCode, code: &'static str, name: &str, value: impl Into<Value>) -> Answer {
    let body = Map::from_iter([(name.to_owned(), value.into())]);
    Answer {
        status,
        code,
        body,
        retry_after: None,
        allow: None,
    }
}

fn detail(status: StatusCode, code: &'static str, text: impl Into<String>) -> Answer {
    answer(status, code, "detail", text.into())
}

impl ApiError {
    pub(super) fn into_answer(self) -> Answer {
        use StatusCode as S;
        match self {
            Self::Fields(fields) => {
                let code = match fields[..] {
                    [(_, NOT_A_PHONE_NUMBER)] => "phone_number_invalid",
                    _ => "fields_invalid",
                };
                let mut made = answer(S::BAD_REQUEST, code, "", Value::Null);
                made.body = fields
                    .into_iter()
                    .map(|(name, what)| (name.to_owned(), json!([what])))
                    .collect();
                made
            }
            Self::NonField { message } => answer(
                S::BAD_REQUEST,
                "fields_invalid",
                "non_field_errors",
                json!([message]),
            ),
            Self::Unparsable(text) => detail(S::BAD_REQUEST, "body_unparsable", text),
            Self::UnsupportedMediaType(found) => detail(
                S::UNSUPPORTED_MEDIA_TYPE,
                "media_type_unsupported",
                format!("Unsupported media type \"{found}\" in request."),
            ),
            Self::NotAcceptable => detail(
                S::NOT_ACCEPTABLE,
                "not_acceptable",
                "Could not satisfy the request Accept header.",
            ),
            Self::Broken => detail(
                S::BAD_REQUEST,
                "body_unparsable",
                "The request body did not arrive whole.",
            ),
            Self::TooLarge => detail(
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!(
                    "The request body is larger than {} bytes.",
                    super::body::MAX_BODY_BYTES
                ),
            ),
            Self::TooSlow => detail(
                S::REQUEST_TIMEOUT,
                "body_too_slow",
                "The request body did not arrive in time.",
            ),
            Self::NotFound => detail(S::NOT_FOUND, "not_found", "Not found."),
            Self::Method(method, allow) => Answer {
                allow: Some(allow),
                ..Self::NotAllowed(method).into_answer()
            },
            Self::NotAllowed(method) => detail(
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("Method \"{method}\" not allowed."),
            ),
            Self::Verdict(verdict) => of_verdict(verdict),
            Self::Register(error) => of_register(error),
            Self::Resend(error) => of_resend(error),
            Self::Over(status) => of_status(status),
            Self::Check(CheckError::Store(error)) | Self::Store(error) => unavailable(&error),
            Self::NoVerification => detail(
                S::NOT_FOUND,
                "verification_not_found",
                "There is no such verification.",
            ),
            Self::Unauthorized => detail(
                S::UNAUTHORIZED,
                "unauthorized",
                "An API key is needed, as in: Authorization: Bearer KEY.",
            ),
            Self::Check(CheckError::Backend(failure)) => {
                tracing::warn!(
                    code = failure.code,
                    reason = failure.message,
                    "the backend gave no verdict"
                );
                detail(
                    S::BAD_GATEWAY,
                    "backend_failed",
                    "The security code could not be checked. Please try again.",
                )
            }
            Self::Defect => detail(
                S::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Internal server error.",
            ),
        }
    }
}

fn of_verdict(verdict: Verdict) -> Answer {
    let (code, text) = match verdict {
        Verdict::Expired => ("security_code_expired", "Security code has expired"),
        Verdict::AlreadyVerified => (
            "security_code_already_verified",
            "Security code is already verified",
        ),
        Verdict::TooManyAttempts => (
            "too_many_attempts",
            "Too many failed verification attempts. Please request a new code.",
        ),
        // An unknown session is not told from a wrong code, so that nobody learns which sessions exist.
        Verdict::Invalid | Verdict::SessionTokenInvalid | Verdict::Valid => {
            ("security_code_invalid", "Security code is not valid")
        }
    };
    answer(StatusCode::BAD_REQUEST, code, "non_field_errors", json!([text]))
}

fn of_register(error: RegisterError) -> Answer {
    match error {
        RegisterError::AttemptsUsedUp { retry_after } => limited(
            "attempts_used_up",
            retry_after,
            "Too many failed verification attempts for this number. Please wait for the code to expire.",
        ),
        RegisterError::TooManySessions { retry_after } => limited(
            "too_many_sessions",
            retry_after,
            "Too many registrations of this number. Please wait for the code to expire.",
        ),
        RegisterError::LimitReached { code, retry_after } => limit_reached(code, retry_after),
        RegisterError::UnderWay => Answer {
            retry_after: Some(Duration::from_secs(1)),
            ..detail(
                StatusCode::CONFLICT,
                "request_under_way",
                "The same request is being dealt with. Please ask again for its outcome.",
            )
        },
        RegisterError::KeyReused => detail(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This idempotency key was used for another request.",
        ),
        RegisterError::Blocked { reason, retry_after } => blocked(reason, retry_after),
        RegisterError::Busy => busy(),
        RegisterError::NotSent(failure) => of_failure(&failure),
        RegisterError::Store(error) => unavailable(&error),
        RegisterError::NoEntropy(error) => unavailable(&error),
    }
}

fn limited(code: &'static str, retry_after: Duration, text: &str) -> Answer {
    Answer {
        retry_after: Some(retry_after),
        ..detail(StatusCode::TOO_MANY_REQUESTS, code, text)
    }
}

fn limit_reached(code: &'static str, retry_after: Duration) -> Answer {
    let text = "A limit has been reached. Please wait before trying again.";
    limited(code, retry_after, text)
}

/// The pumping guard's reason; without a wait, it is in the number.
fn blocked(reason: Reason, retry_after: Option<Duration>) -> Answer {
    if let Some(wait) = retry_after {
        let text = "Too many text messages were asked for. Please wait before trying again.";
        return limited(reason.code(), wait, text);
    }
    let text = "Text messages cannot be sent to this phone number.";
    answer(
        StatusCode::BAD_REQUEST,
        reason.code(),
        "phone_number",
        json!([text]),
    )
}

fn of_resend(error: ResendError) -> Answer {
    match error {
        ResendError::NotFound => ApiError::NoVerification.into_answer(),
        ResendError::Over(status) => of_status(status),
        ResendError::LimitReached { code, retry_after } => limit_reached(code, retry_after),
        ResendError::Blocked { reason, retry_after } => blocked(reason, retry_after),
        ResendError::Busy => busy(),
        ResendError::NotSent(failure) => of_failure(&failure),
        ResendError::Store(error) => unavailable(&error),
        ResendError::NoEntropy(error) => unavailable(&error),
    }
}

fn of_status(status: Status) -> Answer {
    let (code, text) = match status {
        Status::Verified => (
            "security_code_already_verified",
            "The phone number is verified already.",
        ),
        Status::Cancelled => ("verification_cancelled", "The verification was cancelled."),
        Status::Failed => ("too_many_attempts", "All attempts are used up."),
        Status::NotSent => ("sms_not_sent", "The text message could not be sent."),
        Status::Expired | Status::Pending => ("security_code_expired", "The security code has expired."),
    };
    detail(StatusCode::CONFLICT, code, text)
}

fn busy() -> Answer {
    let text = "Too many messages are waiting to be sent. Please try again.";
    Answer {
        retry_after: Some(Duration::from_secs(1)),
        ..detail(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
    }
}

fn unavailable(error: &dyn std::error::Error) -> Answer {
    tracing::error!(%error, "a request could not be served");
    let text = "The service cannot do this at the moment. Please try again.";
    detail(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
}

/// The dispatcher has logged the failure; the provider's words are not for the client.
fn of_failure(failure: &SendFailure) -> Answer {
    use StatusCode as S;
    let number = |code, text: &str| answer(S::BAD_REQUEST, code, "phone_number", json!([text]));
    match failure.class {
        FailureClass::InvalidNumber => number("phone_number_refused", NOT_A_PHONE_NUMBER),
        FailureClass::UnreachableNumber => number(
            "phone_number_unreachable",
            "This phone number cannot receive text messages.",
        ),
        FailureClass::OptedOut => number(
            "phone_number_opted_out",
            "This phone number does not accept text messages from us.",
        ),
        FailureClass::DestinationBlocked => number(
            "destination_blocked",
            "Text messages cannot be sent to this phone number.",
        ),
        FailureClass::Throttled
        | FailureClass::Transient
        | FailureClass::AuthFailed
        | FailureClass::NoCredit
        | FailureClass::Config => {
            let text = "The text message could not be sent at the moment. Please try again.";
            let made = detail(S::SERVICE_UNAVAILABLE, "sms_not_sent", text);
            Answer {
                retry_after: failure.retry_after,
                ..made
            }
        }
        FailureClass::OutcomeUnknown => detail(
            S::BAD_GATEWAY,
            "sms_outcome_unknown",
            "It is not known whether the text message was sent. Please wait a moment before trying again.",
        ),
        FailureClass::ContentRejected
        | FailureClass::SenderRejected
        | FailureClass::Internal
        | FailureClass::Unsupported => detail(
            S::BAD_GATEWAY,
            "sms_not_sent",
            "The text message could not be sent.",
        ),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut answer = self.into_answer();
        let mut body = std::mem::take(&mut answer.body);
        body.insert("code".into(), answer.code.into());
        answer.with(Json(Value::Object(body)))
    }
}
