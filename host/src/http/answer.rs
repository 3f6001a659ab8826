//! An error on its way to the client, before one of the two APIs writes its body.
//!
//! Invariant: the headers that belong to a status are always there: `Retry-After` with 503, `WWW-Authenticate` with
//! 401.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::access::ErrorCode;
use crate::model::Scope;

/// How long a client should wait if nothing says when a retry may succeed.
pub(super) const USUAL_WAIT: Duration = Duration::from_secs(1);

/// An answer without its body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    /// A message about the request as a whole.
    pub(super) detail: Option<String>,
    /// The problems of each field.
    pub(super) fields: Faults,
    pub(super) retry_after: Option<Duration>,
    /// The scope that the API key lacks.
    pub(super) scope: Option<Scope>,
}

/// Messages by the name of their field. Those about all fields together are under [`NON_FIELD`].
pub(super) type Faults = BTreeMap<&'static str, Vec<String>>;

/// Django REST framework's name for problems of all fields together.
pub(super) const NON_FIELD: &str = "non_field_errors";

impl Answer {
    /// Completes the answer with a body. Adds the headers that belong to it.
    pub(super) fn with(&self, body: impl IntoResponse) -> Response {
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(ErrorCode(self.code));
        let headers = response.headers_mut();
        let is_passing = self.status == StatusCode::SERVICE_UNAVAILABLE;
        if let Some(wait) = self.retry_after.or(is_passing.then_some(USUAL_WAIT)) {
            // Rounded up: a client that waits this long must not be refused for a fraction of a second.
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

    /// What a client needs to be authorized (RFC 6750, section 3).
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

/// An answer with neither message nor fields.
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

/// An answer about the request as a whole.
pub(super) fn detail(status: StatusCode, code: impl Into<&'static str>, text: impl Into<String>) -> Answer {
    Answer {
        detail: Some(text.into()),
        ..answer(status, code)
    }
}

/// An answer about one field.
pub(super) fn field(code: impl Into<&'static str>, name: &'static str, text: impl Into<String>) -> Answer {
    Answer {
        fields: Faults::from([(name, vec![text.into()])]),
        ..answer(StatusCode::BAD_REQUEST, code)
    }
}
