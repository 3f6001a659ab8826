//! OAuth 2 access tokens by client credentials (RFC 6749, section 4.4): one is kept until shortly before it expires,
//! and one call at a time asks for the next.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use phone_verify_plugin_api::{
    Error, ErrorKind, Host, HttpError, Response, Secret, data_encoding::BASE64, serde_json::Value,
};

use crate::{template::Template, turn::Turn, url::encode_fields, values::Account};

/// The life of a token whose server does not say when it expires.
const USUAL_LIFE: Duration = Duration::from_secs(300);
/// The most time before its expiry at which a token is replaced.
const MAX_MARGIN: Duration = Duration::from_secs(60);

/// The tokens of one backend.
pub(crate) struct Tokens {
    pub(crate) url: String,
    pub(crate) basic_auth: Option<Template>,
    pub(crate) form: Vec<(String, Template)>,
    pub(crate) kept: Mutex<Option<Kept>>,
    pub(crate) turn: Turn,
}

/// A token that can be used.
#[derive(Clone)]
pub(crate) struct Kept {
    token: Secret,
    /// By the host's monotonic clock.
    until: Duration,
}

impl Tokens {
    /// A token other than `refused`, the one that the provider has just refused.
    ///
    /// # Errors
    /// If there is none. No SMS was sent then, so the kind is never [`ErrorKind::OutcomeUnknown`].
    pub(crate) async fn get(
        &self,
        refused: Option<&Secret>,
        account: &Account,
        host: &Host,
    ) -> Result<Secret, Error> {
        if let Some(token) = self.usable(refused, host) {
            return Ok(token);
        }
        let _turn = self.turn.take().await;
        // Another call may have asked for it meanwhile.
        if let Some(token) = self.usable(refused, host) {
            return Ok(token);
        }
        let kept = self.ask(account, host).await?;
        let token = kept.token.clone();
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(token)
    }

    fn usable(&self, refused: Option<&Secret>, host: &Host) -> Option<Secret> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| host.monotonic() < kept.until)?;
        (Some(&kept.token) != refused).then(|| kept.token.clone())
    }

    async fn ask(&self, account: &Account, host: &Host) -> Result<Kept, Error> {
        let fill = |template: &Template| {
            template.fill_with(|name, text| text.push_str(account.get(name).unwrap_or_default()))
        };
        let fields = self
            .form
            .iter()
            .map(|(name, template)| (name.as_str(), fill(template)));
        let mut request = host
            .http()
            .post(&self.url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(encode_fields(fields));
        if let Some(template) = &self.basic_auth {
            request = request.header("authorization", &basic(&fill(template)));
        }
        let asked_at = host.monotonic();
        let response = request.send().await.map_err(no_answer)?;
        let answer = response.json::<Value>().ok();
        let field = |name: &str| answer.as_ref()?.get(name);
        let token = field("access_token").and_then(Value::as_str);
        match token {
            Some(token) if (200..300).contains(&response.status()) && is_token(token) => {
                let life = field("expires_in").and_then(seconds).unwrap_or(USUAL_LIFE);
                let margin = MAX_MARGIN.min(life / 10);
                Ok(Kept {
                    token: Secret::new(token),
                    until: asked_at.saturating_add(life.saturating_sub(margin)),
                })
            }
            _ => {
                let why = field("error").and_then(Value::as_str);
                Err(refused(&response, why))
            }
        }
    }
}

/// The value of `Authorization` for a user and a password.
pub(crate) fn basic(user_and_password: &str) -> String {
    format!("Basic {}", BASE64.encode(user_and_password.as_bytes()))
}

/// By RFC 6750, section 2.1, which leaves no character that could break out of a header.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Some servers write the number as a text.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Some(Duration::from_secs(seconds))
}

fn no_answer(error: HttpError) -> Error {
    let error = Error::from(error);
    match error.kind() {
        ErrorKind::Config | ErrorKind::Internal => error,
        // Whatever became of this request, it was for no SMS.
        _ => Error::new(
            ErrorKind::Transient,
            error.code(),
            format!("TOKEN_URL gives no token: {}", error.message()),
        ),
    }
}

fn refused(response: &Response, why: Option<&str>) -> Error {
    let status = response.status();
    let kind = match status {
        400 | 401 | 403 => ErrorKind::AuthFailed,
        429 => ErrorKind::Throttled,
        300..=499 => ErrorKind::Config,
        _ => ErrorKind::Transient,
    };
    // The names of errors in RFC 6749, section 5.2, are short words. Other texts could repeat what was sent.
    let is_name =
        |text: &&str| text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let why = why
        .filter(is_name)
        .map(|why| format!(", error {why}"))
        .unwrap_or_default();
    let error = Error::new(
        kind,
        format!("token_http_{status}"),
        format!(
            "TOKEN_URL gives no token (HTTP {status}{why}); check TOKEN_URL, TOKEN_BASIC_AUTH and TOKEN_FORM"
        ),
    )
    .with_http_status(status);
    match response.retry_after() {
        Some(wait) if matches!(kind, ErrorKind::Throttled | ErrorKind::Transient) => {
            error.with_retry_after(wait)
        }
        _ => error,
    }
}
