//! An error on its way to the client, before one of the two APIs puts it into words of its own.
//!
//! Invariant: what a status promises is in the head: `Retry-After` with 503, `WWW-Authenticate` with 401.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::access::ErrorCode;
use crate::model::Scope;

/// How long to wait where nothing tells when it will be better.
pub(super) const USUAL_WAIT: Duration = Duration::from_secs(1);

/// An answer in the making.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    /// About the request as a whole.
    pub(super) detail: Option<String>,
    /// What is wrong with each field.
    pub(super) fields: Faults,
    pub(super) retry_after: Option<Duration>,
    /// The scope that the API key lacks.
    pub(super) scope: Option<Scope>,
}

/// Texts by the name of the field that they are about; those about all fields are under [`NON_FIELD`].
pub(super) type Faults = BTreeMap<&'static str, Vec<String>>;

/// Django REST framework's name for what is wrong with the fields together.
pub(super) const NON_FIELD: &str = "non_field_errors";

impl Answer {
    /// The answer with this body; what is not in the body is in the head.
    pub(super) fn with(&self, body: impl IntoResponse) -> Response {
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(ErrorCode(self.code));
        let headers = response.headers_mut();
        let is_passing = self.status == StatusCode::SERVICE_UNAVAILABLE;
        if let Some(wait) = self.retry_after.or(is_passing.then_some(USUAL_WAIT)) {
            // Rounded up: whoever waits that long is not refused for the rest of a second.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)),
            );
        }
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// What a client needs to be let in (RFC 6750, section 3).
    fn challenge(&self) -> Option<HeaderValue> {
        match self.scope {
            Some(scope) => {
                let scope = scope.as_str();
                HeaderValue::try_from(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"")).ok()
            }
            None => (self.status == StatusCode::UNAUTHORIZED).then(|| HeaderValue::from_static("Bearer")),
        }
    }
}

/// With neither words nor fields yet.
pub(super) fn answer(status: StatusCode, code: impl Into<&'static str>) -> Answer {
    Answer {
        status,
        code: code.into(),
        detail: None,
        fields: Faults::new(),
        retry_after: None,
        scope: None,
    }
}

/// About the request as a whole.
pub(super) fn detail(status: StatusCode, code: impl Into<&'static str>, text: impl Into<String>) -> Answer {
    Answer {
        detail: Some(text.into()),
        ..answer(status, code)
    }
}

/// About one field.
pub(super) fn field(code: impl Into<&'static str>, name: &'static str, text: impl Into<String>) -> Answer {
    Answer {
        fields: Faults::from([(name, vec![text.into()])]),
        ..answer(StatusCode::BAD_REQUEST, code)
    }
}
