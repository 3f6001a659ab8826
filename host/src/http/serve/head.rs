//! Faults of the head of a request that do not depend on the route: it names no host, or cannot be read at all.
//!
//! Invariant: every refusal has a machine code, even if the request never reaches a route.

use axum::{
    http::{HeaderValue, Request, StatusCode, Version, header},
    response::Response,
};
use serde_json::json;

use crate::{
    clock::Clock,
    http::{code::Code, date, error::ApiError},
    trace::{REQUEST_ID, TRACEPARENT, Trace},
};

/// A fault, with its answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct HeadFault {
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) code: Code,
    pub(in crate::http) text: &'static str,
}

const fn fault(status: StatusCode, code: Code, text: &'static str) -> HeadFault {
    HeadFault { status, code, text }
}

const NO_HOST: HeadFault = fault(
    StatusCode::BAD_REQUEST,
    Code::HostInvalid,
    "An HTTP/1.1 request must have a Host header field.",
);
const TWO_HOSTS: HeadFault = fault(
    StatusCode::BAD_REQUEST,
    Code::HostInvalid,
    "A request must have one Host header field, not several.",
);
const NOT_A_HOST: HeadFault = fault(
    StatusCode::BAD_REQUEST,
    Code::HostInvalid,
    "The Host header field must be a host, and a port if need be, such as verify.example:8000.",
);
const UNKNOWN_CODING: HeadFault = fault(
    StatusCode::NOT_IMPLEMENTED,
    Code::TransferEncodingUnsupported,
    "The only transfer encoding that is understood is chunked.",
);
const NOT_HTTP: HeadFault = fault(
    StatusCode::BAD_REQUEST,
    Code::HeadUnparsable,
    "The request line or a header field is not valid HTTP/1.1.",
);
/// The largest head in bytes, with the request line and the empty line at the end. The text of the answer names it.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most header fields. The text of the answer names it.
pub(super) const MAX_FIELDS: usize = 100;

const TOO_LARGE: HeadFault = fault(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    Code::HeadTooLarge,
    "The request's head is larger than 64 KiB, or has more than 100 header fields.",
);
const URI_TOO_LONG: HeadFault = fault(
    StatusCode::URI_TOO_LONG,
    Code::UriTooLong,
    "The request line is longer than 64 KiB.",
);
/// A `Content-Length` so large that hyper refuses it. A smaller one that is still too large is refused when the body is
/// read, with the same text.
const BODY_TOO_LARGE: HeadFault = fault(
    StatusCode::PAYLOAD_TOO_LARGE,
    Code::BodyTooLarge,
    "The request body is larger than 65536 bytes.",
);
/// Another version, such as HTTP/2 without negotiation (RFC 9110, section 15.6.6).
pub(super) const OTHER_VERSION: HeadFault = fault(
    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    Code::HttpVersionUnsupported,
    "This server speaks HTTP/1.1 and HTTP/1.0.",
);
/// The client closed its sending side in the middle of a head.
pub(super) const BROKEN_OFF: HeadFault = fault(
    StatusCode::BAD_REQUEST,
    Code::HeadUnparsable,
    "The request ended within its head.",
);
pub(super) const TOO_SLOW: HeadFault = fault(
    StatusCode::REQUEST_TIMEOUT,
    Code::HeadTooSlow,
    "The request's head did not arrive in time.",
);
pub(super) const TOO_MANY: HeadFault = fault(
    StatusCode::SERVICE_UNAVAILABLE,
    Code::TooManyConnections,
    "There are too many connections from this address. Please use those that there are.",
);

/// Checks what every request must have, whatever its path (RFC 9112, sections 3.2 and 6.1).
pub(super) fn check<B>(request: &Request<B>) -> Result<(), HeadFault> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_10 => {}
        (None, _) => return Err(NO_HOST),
        (Some(_), Some(_)) => return Err(TWO_HOSTS),
        (Some(host), None) if !is_host(host.as_bytes()) => return Err(NOT_A_HOST),
        (Some(_), None) => {}
    }
    // Another coding would leave the end of the body unknown. Two header fields mean two codings.
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(UNKNOWN_CODING),
    }
}

/// Whether this is `uri-host [ ":" port ]` of RFC 3986; the host may be empty.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let is_inside = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            let (address, rest) = rest.split_at(end);
            if address.is_empty() || !address.iter().all(is_inside) {
                return false;
            }
            (&b""[..], &rest[1..])
        }
        _ => value.split_at(value.iter().position(|byte| *byte == b':').unwrap_or(value.len())),
    };
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
    let has_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    has_port && host.iter().all(is_inside)
}

/// Whether part of a head has arrived. Empty lines before a head do not belong to it (RFC 9112, section 2.2).
pub(super) fn has_begun(unread: &[u8]) -> bool {
    !unread.trim_ascii_start().is_empty()
}

/// Whether a request line names a version of HTTP that this server does not support.
fn names_other_version(unread: &[u8]) -> bool {
    let line = unread.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let last = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next();
    let Some(version) = last.and_then(|last| last.strip_prefix(b"HTTP/")) else {
        return false;
    };
    let is_version = |version: &[u8]| {
        let mut parts = version.splitn(2, |byte| *byte == b'.');
        parts.all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    is_version(version) && ![&b"1.1"[..], b"1.0"].contains(&version)
}

impl HeadFault {
    /// The fault for a status that hyper would have answered without a body. Hyper has one status for several faults,
    /// which are told apart here. `unread`: the bytes that hyper had not accepted as a request; `unanswered_bytes`: how
    /// many arrived since the last answer.
    pub(super) fn of(status: StatusCode, unread: &[u8], unanswered_bytes: usize) -> Self {
        match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                // Hyper has one status for a long request line, many or large fields, and a huge announced body.
                let is_line_end = |byte: &&u8| **byte == b'\n';
                let lines = unread.iter().filter(is_line_end).count();
                if unread.len() >= MAX_HEAD_BYTES && lines == 0 && unread.contains(&b' ') {
                    URI_TOO_LONG
                } else if unread.len().max(unanswered_bytes) < MAX_HEAD_BYTES && lines <= MAX_FIELDS {
                    // The head was read completely, so the announced body was too large.
                    BODY_TOO_LARGE
                } else {
                    TOO_LARGE
                }
            }
            StatusCode::URI_TOO_LONG => URI_TOO_LONG,
            _ if names_other_version(unread) => OTHER_VERSION,
            _ => NOT_HTTP,
        }
    }

    /// The answer to a request that was read, in the form of the API that this path belongs to.
    pub(in crate::http) fn answer(self, path: &str) -> Response {
        let mut response = ApiError::Head(self).told_at(path);
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    /// The complete answer, head and body, to bytes that could not be read as a request. No route and no hyper is
    /// involved, so all headers are written here.
    pub(in crate::http) fn bytes(self, trace: &Trace, clock: &Clock) -> Vec<u8> {
        let code: &str = self.code.into();
        let body = json!({ "code": code, "detail": self.text }).to_string();
        let retry_after = if self.status == StatusCode::SERVICE_UNAVAILABLE {
            "retry-after: 1\r\n"
        } else {
            ""
        };
        format!(
            "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry_after}cache-control: no-store\r\n\
             x-content-type-options: nosniff\r\n{REQUEST_ID}: {}\r\n{TRACEPARENT}: {}\r\nconnection: close\r\ndate: {}\r\n\r\n\
             {body}",
            self.status,
            body.len(),
            trace.request_id(),
            trace.traceparent(),
            date::text(clock),
        )
        .into_bytes()
    }
}
