//! 46elks' SMS API: `POST /a1/sms`, form-encoded, with Basic authentication. It answers 200 with the message, or an
//! HTTP error with a line of text. Source: <https://46elks.com/docs/send-sms>.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{
    inbox::Sms,
    server::{Answer, Provider, Request},
    sms_text::{is_gsm, parts},
};

const USERNAME: &str = "u0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "FEDCBA9876543210FEDCBA9876543210";

/// The rules and texts of 46elks.
#[derive(Default)]
pub struct Elks {
    sent: AtomicU64,
}

impl Provider for Elks {
    const ROUTE: &'static str = "/a1/sms";

    /// The options that the settings in `plugins/http/examples/46elks.toml` leave to the operator.
    fn options(&self, base_url: &str) -> Map<String, Value> {
        let options = json!({
            "URL": format!("{base_url}/a1/sms"), "USER": USERNAME, "PASSWORD": PASSWORD,
        });
        options.as_object().cloned().unwrap_or_default()
    }

    fn judge(&self, request: &Request) -> Result<Sms, Answer> {
        let credentials = data_encoding::BASE64.encode(format!("{USERNAME}:{PASSWORD}").as_bytes());
        if request.authorization.as_deref() != Some(&format!("Basic {credentials}")) {
            return Err(error(401));
        }
        let field = |name| request.field(name).ok_or_else(|| error(400));
        let (to, from, text) = (field("to")?, field("from")?, field("message")?);
        let is_number = to.strip_prefix('+').is_some_and(|digits| {
            (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        if !is_number {
            return Err(error(400));
        }
        let unicode = !is_gsm(text);
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(Sms {
            to: to.to_owned(),
            from: from.to_owned(),
            text: text.to_owned(),
            unicode,
            parts: parts(text, unicode),
            message_id: format!("s{number:032x}"),
        })
    }

    fn accepted(&self, sms: &Sms, request: &Request) -> Answer {
        let mut body = json!({
            "status": "created", "direction": "outgoing", "from": sms.from, "to": sms.to, "parts": sms.parts,
            "created": "2026-05-04T13:37:42.314100", "cost": 5000 * sms.parts, "id": sms.message_id,
        });
        if request.field("dontlog") != Some("message") {
            body["message"] = json!(sms.text);
        }
        Answer {
            status: 200,
            retry_after_s: None,
            body,
        }
    }

    fn refused(&self, code: u32, _request: &Request) -> Answer {
        error(code)
    }

    /// 46elks documents no limit of requests: it queues what is sent too fast.
    fn throttled(&self, wait: Duration, _request: &Request) -> Answer {
        Answer {
            retry_after_s: Some(wait.as_secs().max(1)),
            ..error(429)
        }
    }
}

/// The refusal with this HTTP status.
fn error(status: u32) -> Answer {
    let (status, text) = match status {
        401 => (401, "API access requires Basic HTTP authentication"),
        403 => (403, "Not enough credits"),
        429 => (429, "Too many requests"),
        _ => (400, "Invalid request"),
    };
    Answer {
        status,
        retry_after_s: None,
        body: Value::from(text),
    }
}
