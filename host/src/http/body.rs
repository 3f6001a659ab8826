//! Reads the fields of a request from JSON, a form or multipart, by the rules of Django REST framework 3.16, whose
//! clients must get the same answers here.
//!
//! Invariant: a body is at most [`MAX_BODY_BYTES`] long, and arrives within the read timeout or is refused.

use std::{collections::HashMap, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, Multipart, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde_json::{Map, Value};

use super::{
    error::{
        ApiError, BLANK, FieldError, NOT_A_STRING, NOT_AN_OBJECT, NULL, NULL_CHARACTER, REQUIRED, TOO_LONG,
    },
    media_type, python_json,
};

/// The largest body in bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// The fields of a request. Each one is taken out when it is read, so that what is left is unknown.
#[derive(Debug)]
pub(super) struct Fields(HashMap<String, Value>);

impl Fields {
    /// Reads the body of a request to the native API: JSON, or nothing.
    pub(super) async fn read_json(request: Request, limit: Duration) -> Result<Self, ApiError> {
        let found = content_type(request.headers());
        if !found.is_empty() && !media_type::fits(found, "application/json") {
            return Err(ApiError::UnsupportedMediaType(found.to_owned()));
        }
        let (_, bytes) = whole(request, limit).await?;
        if bytes.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        Self::from_json(&bytes)
    }

    /// Reads the body of a request to a drop-in endpoint, in any of the formats that django-phone-verify accepts.
    pub(super) async fn read(request: Request, limit: Duration) -> Result<Self, ApiError> {
        let (parts, bytes) = whole(request, limit).await?;
        if bytes.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        let found = content_type(&parts.headers);
        if media_type::fits(found, "application/json") {
            Self::from_json(&bytes)
        } else if media_type::fits(found, "application/x-www-form-urlencoded") {
            Ok(Self::from_form(&bytes))
        } else if media_type::fits(found, "multipart/form-data") {
            Self::from_multipart(Request::from_parts(parts, Body::from(bytes))).await
        } else {
            Err(ApiError::UnsupportedMediaType(found.to_owned()))
        }
    }

    /// Parses JSON. The error has the words of Python's parser, which clients of django-phone-verify know.
    fn from_json(bytes: &Bytes) -> Result<Self, ApiError> {
        let value = serde_json::from_slice(bytes).map_err(|error| {
            let reason = python_json::explain(bytes, &error);
            ApiError::Unparsable(format!("JSON parse error - {reason}"))
        })?;
        let found = match value {
            Value::Object(fields) => return Ok(Self(fields.into_iter().collect())),
            Value::Null => {
                return Err(ApiError::NonField {
                    message: "No data provided".into(),
                });
            }
            Value::Array(_) => "list",
            Value::String(_) => "str",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float",
            Value::Number(_) => "int",
        };
        let message = format!("Invalid data. Expected a dictionary, but got {found}.");
        Err(ApiError::NonField { message })
    }

    /// Parses a form. If a field is there twice, the last value counts.
    fn from_form(bytes: &Bytes) -> Self {
        Self(
            form_urlencoded::parse(bytes)
                .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
                .collect(),
        )
    }

    /// Parses multipart. If a field is there twice, the last value counts.
    async fn from_multipart(request: Request) -> Result<Self, ApiError> {
        let unparsable =
            |reason: &str| ApiError::Unparsable(format!("Multipart form parse error - {reason}"));
        let mut multipart = Multipart::from_request(request, &())
            .await
            .map_err(|_| unparsable("Invalid boundary in multipart: None"))?;
        let mut fields = HashMap::new();
        while let Some(field) = multipart
            .next_field()
            .await
            .map_err(|error| unparsable(&error.body_text()))?
        {
            let Some(name) = field.name().map(str::to_owned) else {
                continue;
            };
            let is_file = field.file_name().is_some();
            let bytes = field
                .bytes()
                .await
                .map_err(|error| unparsable(&error.body_text()))?;
            // A file is not a text, whatever it contains. An array is refused as such.
            let value = if is_file {
                Value::Array(Vec::new())
            } else {
                String::from_utf8_lossy(&bytes).into()
            };
            fields.insert(name, value);
        }
        Ok(Self(fields))
    }

    /// Takes a required text, trimmed. Numbers count as texts, as in Django REST framework. A problem is added to
    /// `errors`.
    pub(super) fn text(&mut self, name: &'static str, errors: &mut Vec<FieldError>) -> Option<String> {
        let problem = match self.0.remove(name) {
            None => REQUIRED,
            Some(Value::Null) => NULL,
            Some(Value::String(text)) => match text.trim_matches(is_space) {
                "" => BLANK,
                trimmed if trimmed.contains('\0') => NULL_CHARACTER,
                trimmed => return Some(trimmed.to_owned()),
            },
            Some(Value::Number(number)) => return Some(number.to_string()),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => NOT_A_STRING,
        };
        errors.push((name, problem));
        None
    }

    /// Takes an optional text of at most `max_characters`.
    pub(super) fn optional_text(
        &mut self,
        name: &'static str,
        max_characters: usize,
        errors: &mut Vec<FieldError>,
    ) -> Option<String> {
        if matches!(self.0.get(name), None | Some(Value::Null)) {
            self.0.remove(name);
            return None;
        }
        let text = self.text(name, errors)?;
        if text.chars().count() > max_characters {
            errors.push((name, TOO_LONG));
            return None;
        }
        Some(text)
    }

    /// Takes an optional text as [`Fields::optional_text`] does, but refuses numbers. The text is compared with a later
    /// request, and the same number can be written in several ways.
    pub(super) fn optional_string(
        &mut self,
        name: &'static str,
        max_characters: usize,
        errors: &mut Vec<FieldError>,
    ) -> Option<String> {
        if matches!(self.0.get(name), Some(Value::Number(_))) {
            self.0.remove(name);
            errors.push((name, NOT_A_STRING));
            return None;
        }
        self.optional_text(name, max_characters, errors)
    }

    /// Takes an optional object.
    pub(super) fn optional_object(
        &mut self,
        name: &'static str,
        errors: &mut Vec<FieldError>,
    ) -> Option<Map<String, Value>> {
        match self.0.remove(name)? {
            Value::Object(object) => return Some(object),
            Value::Null => {}
            _ => errors.push((name, NOT_AN_OBJECT)),
        }
        None
    }

    /// Refuses fields that were not taken: a misspelt one must not be treated as missing. `refusal` lists the known
    /// fields. It does not repeat what was sent.
    pub(super) fn nothing_else(&self, refusal: &'static str, errors: &mut Vec<FieldError>) {
        if !self.0.is_empty() {
            errors.push(("non_field_errors", refusal));
        }
    }
}

/// Reads the whole body, and returns it with the head. Fails if the body is too large or does not arrive within
/// `limit`.
pub(super) async fn whole(request: Request, limit: Duration) -> Result<(Parts, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    // Refused by its announced length, before any of it is read.
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_BODY_BYTES as u64) {
        return Err(ApiError::TooLarge);
    }
    let bytes = tokio::time::timeout(limit, to_bytes(body, MAX_BODY_BYTES))
        .await
        .map_err(|_| ApiError::TooSlow)?
        .map_err(|error| not_read(&error))?;
    Ok((parts, bytes))
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether Python counts a character as white space: what Unicode does, and four separators of ASCII.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// Why a body could not be read: it was too large, or the connection broke.
fn not_read(error: &axum::Error) -> ApiError {
    let cause = std::error::Error::source(error);
    if cause.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
        ApiError::TooLarge
    } else {
        ApiError::Broken
    }
}
