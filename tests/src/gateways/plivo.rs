//! Plivo's Messages API: `POST /v1/Account/{auth_id}/Message/`, JSON, with Basic authentication. It answers 202 with
//! the ids of the messages, or an HTTP error with `{api_id, error}`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ring::hmac;
use serde_json::{Map, Value, json};

use super::{
    inbox::Sms,
    reports::{Report, mac},
    server::{Answer, Provider, Request},
    sms_text::{is_gsm, parts},
};

const AUTH_ID: &str = "MA0123456789ABCDEFGH";
const AUTH_TOKEN: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMy";
const API_ID: &str = "db342550-7c9d-11e1-8ea8-12313806be9a";

/// The rules and texts of Plivo.
#[derive(Default)]
pub struct Plivo {
    sent: AtomicU64,
}

impl Plivo {
    /// A message callback to this address, signed with the auth token of the account (signature V3). `error` is `000`
    /// for a message that arrived.
    pub fn report(url: &str, sms: &Sms, status: &str, error: &str) -> Report {
        let units = sms.parts.to_string();
        let mut fields: Vec<(String, String)> = [
            ("ErrorCode", error),
            ("From", &sms.from),
            ("MessageUUID", &sms.message_id),
            ("ParentMessageUUID", &sms.message_id),
            ("Status", status),
            ("To", sms.to.trim_start_matches('+')),
            ("TotalAmount", "0.00550"),
            ("TotalRate", "0.00550"),
            ("Units", &units),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let mut report = Report::form(url, &fields);
        fields.sort();
        let text: String = fields
            .iter()
            .map(|(name, value)| format!("{name}{value}"))
            .collect();
        let nonce = "05429567804466091622";
        let mac = mac(hmac::HMAC_SHA256, AUTH_TOKEN, &format!("{url}?{text}.{nonce}"));
        let signature = data_encoding::BASE64.encode(&mac);
        report
            .headers
            .push(("x-plivo-signature-v3-nonce", nonce.to_owned()));
        report.headers.push(("x-plivo-signature-v3", signature));
        report
    }
}

fn is_authentic(request: &Request) -> bool {
    let credentials = data_encoding::BASE64.encode(format!("{AUTH_ID}:{AUTH_TOKEN}").as_bytes());
    request.authorization.as_deref() == Some(&format!("Basic {credentials}"))
}

impl Provider for Plivo {
    const ROUTE: &'static str = "/v1/Account/{auth_id}/Message/";

    fn options(&self, base_url: &str) -> Map<String, Value> {
        let options = json!({
            "AUTH_ID": AUTH_ID, "AUTH_TOKEN": AUTH_TOKEN, "FROM": "+14155550100", "BASE_URL": base_url,
        });
        options.as_object().cloned().unwrap_or_default()
    }

    fn judge(&self, request: &Request) -> Result<Sms, Answer> {
        if !is_authentic(request) {
            return Err(error(401));
        }
        if request.path != format!("/v1/Account/{AUTH_ID}/Message/") {
            return Err(error(404));
        }
        let field = |name: &str| request.json[name].as_str().filter(|value| !value.is_empty());
        let senders = [field("src"), field("powerpack_uuid")];
        let [(Some(from), None) | (None, Some(from))] = [(senders[0], senders[1])] else {
            return Err(refusal(400, "exactly one of src and powerpack_uuid is needed"));
        };
        let text = field("text").ok_or_else(|| refusal(400, "text parameter is missing"))?;
        let to = field("dst")
            .filter(|to| is_e164(to))
            .ok_or_else(|| refusal(400, "dst parameter is not valid"))?;
        let unicode = !is_gsm(text);
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(Sms {
            to: to.to_owned(),
            from: from.to_owned(),
            text: text.to_owned(),
            unicode,
            parts: parts(text, unicode),
            message_id: format!("db3ce55a-7c9d-11e1-8ea8-{number:012x}"),
        })
    }

    fn accepted(&self, sms: &Sms, _request: &Request) -> Answer {
        Answer {
            status: 202,
            retry_after_s: None,
            body: json!({
                "api_id": API_ID, "message": "message(s) queued", "message_uuid": [sms.message_id],
            }),
        }
    }

    fn refused(&self, code: u32, _request: &Request) -> Answer {
        error(code)
    }

    fn throttled(&self, wait: Duration, _request: &Request) -> Answer {
        Answer {
            retry_after_s: Some(wait.as_secs().max(1)),
            ..error(429)
        }
    }

    /// The account with its balance.
    fn other(&self, request: &Request) -> Answer {
        if !is_authentic(request) {
            return error(401);
        }
        if (request.method.as_str(), request.path.as_str()) != ("GET", &format!("/v1/Account/{AUTH_ID}/")) {
            return error(404);
        }
        Answer {
            status: 200,
            retry_after_s: None,
            body: json!({
                "account_type": "standard", "api_id": API_ID, "auth_id": AUTH_ID, "auto_recharge": false,
                "billing_mode": "prepaid", "cash_credits": "99.98080",
            }),
        }
    }
}

/// The refusal with this HTTP status.
fn error(status: u32) -> Answer {
    let (status, text) = match status {
        401 => (401, "authentication failed"),
        403 => (403, "sending to this country is not enabled for the account"),
        404 => (404, "not found"),
        429 => (429, "too many requests"),
        500 => (500, "internal server error"),
        _ => (400, "bad request"),
    };
    refusal(status, text)
}

fn refusal(status: u16, text: &str) -> Answer {
    Answer {
        status,
        retry_after_s: None,
        body: json!({ "api_id": API_ID, "error": text }),
    }
}

fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}
