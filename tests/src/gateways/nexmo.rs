//! The Nexmo (Vonage) SMS API: `POST /sms/json`, form-encoded. A refusal has HTTP status 200 too; the decisive value is
//! `status` in each part. All values of an answer are strings.

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
    sms_text::{forced_into_gsm, parts},
};

const API_KEY: &str = "k7Rw2Zp9";
const API_SECRET: &str = "Zq7vX2mKc9Tn4wRb";
const MAX_TEXT_CHARS: usize = 3200;

/// The rules and texts of Nexmo.
#[derive(Default)]
pub struct Nexmo {
    sent: AtomicU64,
}

/// How an account gets delivery receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A GET request with a query.
    Query,
    /// A POST request with a form.
    Form,
    /// A POST request with a JSON object.
    Json,
}

impl Nexmo {
    /// A delivery receipt to this address. `signed`: the signature secret of the account, which signs with HMAC-SHA-256,
    /// and the time in seconds.
    pub fn report(
        url: &str,
        sms: &Sms,
        status: &str,
        error: u32,
        format: Format,
        signed: Option<(&str, u64)>,
    ) -> Report {
        let mut fields: Vec<(String, String)> = [
            ("msisdn", sms.to.trim_start_matches('+')),
            ("to", &sms.from),
            ("network-code", "310260"),
            ("messageId", &sms.message_id),
            ("price", "0.03330000"),
            ("status", status),
            ("scts", "2601010000"),
            ("err-code", &error.to_string()),
            ("api-key", API_KEY),
            ("message-timestamp", "2026-01-01 00:00:00"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        if let Some((secret, now)) = signed {
            fields.push(("timestamp".to_owned(), now.to_string()));
            fields.push(("nonce".to_owned(), "a nonce & a half".to_owned()));
            fields.sort();
            let text: String = fields
                .iter()
                .map(|(name, value)| format!("&{name}={}", value.replace(['&', '='], "_")))
                .collect();
            let mac = mac(hmac::HMAC_SHA256, secret, &text);
            fields.push(("sig".to_owned(), data_encoding::HEXUPPER.encode(&mac)));
        }
        match format {
            Format::Query => Report::query(url, &fields),
            Format::Form => Report::form(url, &fields),
            Format::Json => Report::json(url, &fields),
        }
    }
}

impl Provider for Nexmo {
    const ROUTE: &'static str = "/sms/json";

    fn options(&self, base_url: &str) -> Map<String, Value> {
        let options = json!({
            "KEY": API_KEY, "SECRET": API_SECRET, "FROM": "+1232328372987",
            "SANDBOX_TOKEN": "123456", "BASE_URL": base_url,
        });
        options.as_object().cloned().unwrap_or_default()
    }

    fn judge(&self, request: &Request) -> Result<Sms, Answer> {
        let required = |name: &str| {
            request
                .field(name)
                .ok_or_else(|| refusal(2, &format!("Missing {name}"), request))
        };
        let key = required("api_key")?;
        let secret = required("api_secret")?;
        if key != API_KEY || secret != API_SECRET {
            return Err(refusal(4, "Bad Credentials", request));
        }
        let from = required("from")?;
        let to = required("to")?;
        let kind = request.field("type").unwrap_or("text");
        let unicode = match kind {
            "text" => false,
            "unicode" => true,
            _ => return Err(refusal(3, "Invalid type", request)),
        };
        let text = required("text")?;
        if !to.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refusal(3, "to address is not numeric", request));
        }
        if !(7..=15).contains(&to.len()) {
            return Err(refusal(3, "Invalid to address", request));
        }
        if !is_sender(from) {
            return Err(refusal(15, "Invalid sender address", request));
        }
        if text.chars().count() > MAX_TEXT_CHARS {
            return Err(refusal(12, "Message too long", request));
        }
        let text = if unicode {
            text.to_owned()
        } else {
            forced_into_gsm(text)
        };
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(Sms {
            to: format!("+{to}"),
            from: from.to_owned(),
            parts: parts(&text, unicode),
            text,
            unicode,
            message_id: format!("{:016X}", 0x0A00_0000_0000_0000 | (number << 8)),
        })
    }

    fn accepted(&self, sms: &Sms, _request: &Request) -> Answer {
        messages(&(0..sms.parts).map(|part| taken(sms, part)).collect::<Vec<_>>())
    }

    fn accepted_but_last(&self, sms: &Sms, code: u32, request: &Request) -> Answer {
        let mut items: Vec<Value> = (1..sms.parts).map(|part| taken(sms, part - 1)).collect();
        items.push(refused_item(code, words(code), request));
        messages(&items)
    }

    fn refused(&self, code: u32, request: &Request) -> Answer {
        refusal(code, words(code), request)
    }

    fn throttled(&self, wait: Duration, request: &Request) -> Answer {
        let text = format!(
            "Throughput Rate Exceeded - please wait [ {} ] and retry",
            wait.as_millis()
        );
        refusal(1, &text, request)
    }

    /// The balance of the account.
    fn other(&self, request: &Request) -> Answer {
        let credentials = data_encoding::BASE64.encode(format!("{API_KEY}:{API_SECRET}").as_bytes());
        let is_known = request.authorization.as_deref() == Some(&format!("Basic {credentials}"));
        let (status, body) = match (request.path.as_str(), is_known) {
            ("/account/get-balance", true) => (200, json!({ "value": 10.28, "autoReload": false })),
            ("/account/get-balance", false) => (
                401,
                json!({ "error-code": "401", "error-code-label": "authentication failed" }),
            ),
            _ => (404, Value::Null),
        };
        Answer {
            status,
            retry_after_s: None,
            body,
        }
    }
}

/// Whether this is a sender: up to 15 digits, or a name of up to 11 characters.
fn is_sender(from: &str) -> bool {
    let digits = from.bytes().all(|byte| byte.is_ascii_digit());
    let name = from
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b' ');
    from.len() <= if digits { 15 } else { 11 } && name
}

fn messages(items: &[Value]) -> Answer {
    Answer {
        status: 200,
        retry_after_s: None,
        body: json!({ "message-count": items.len().to_string(), "messages": items }),
    }
}

/// An accepted part. The first one has the message's own id, [`Sms::message_id`].
fn taken(sms: &Sms, part: usize) -> Value {
    let message_id = match part {
        0 => sms.message_id.clone(),
        _ => format!("{}{part:02X}", &sms.message_id[..14]),
    };
    json!({
        "to": sms.to.trim_start_matches('+'), "message-id": message_id, "status": "0",
        "remaining-balance": "3.14159265", "message-price": "0.03330000", "network": "310260",
    })
}

fn refusal(code: u32, text: &str, request: &Request) -> Answer {
    messages(&[refused_item(code, text, request)])
}

fn refused_item(code: u32, text: &str, request: &Request) -> Value {
    let mut item = json!({ "status": code.to_string(), "error-text": text });
    if let Some(to) = request.field("to") {
        item["to"] = json!(to);
    }
    item
}

/// The error text of a documented status.
fn words(code: u32) -> &'static str {
    match code {
        1 => "Exceeded maximum MT throughput for account",
        2 => "Missing to param",
        3 => "Invalid to address",
        4 => "Bad Credentials",
        5 => "Internal Error",
        6 => "Unroutable message - rejected",
        7 => "Number barred",
        8 => "Partner account barred",
        9 => "Quota Exceeded - rejected",
        10 => "Too many existing binds",
        11 => "Account not enabled for HTTP",
        12 => "Message too long",
        14 => "Invalid Signature",
        15 => "Invalid sender address",
        22 => "Invalid Network Code",
        23 => "Invalid Callback Url",
        29 => "Non White-listed Destination - rejected",
        32 => "Signature And API Secret Disallowed",
        33 => "Number De-activated",
        101 => "You do not have an active campaign",
        _ => "Unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::http_client,
        gateways::{Behaviour, NexmoGateway},
    };

    const NUMBER: &str = "+13478379634";

    fn good_form() -> Vec<(&'static str, String)> {
        [
            ("api_key", API_KEY),
            ("api_secret", API_SECRET),
            ("from", "PhoneVerify"),
            ("to", "13478379634"),
            ("text", "Your code is 123456"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
    }

    fn with(name: &'static str, value: &str) -> Vec<(&'static str, String)> {
        let mut form = good_form();
        form.retain(|(known, _)| *known != name);
        form.push((name, value.to_owned()));
        form
    }

    async fn post(gateway: &NexmoGateway, form: &[(&str, String)]) -> reqwest::Result<reqwest::Response> {
        let url = format!("{}/sms/json", gateway.base_url());
        http_client().post(url).form(form).send().await
    }

    async fn first_item(gateway: &NexmoGateway, form: &[(&str, String)]) -> Value {
        let response = post(gateway, form).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let body: Value = response.json().await.expect("JSON");
        body["messages"][0].clone()
    }

    #[tokio::test]
    async fn a_good_request_is_answered_as_documented_and_arrives() {
        let gateway = NexmoGateway::start().await;
        let item = first_item(&gateway, &good_form()).await;
        let sms = gateway.sms_to(NUMBER).await;
        assert_eq!(item["status"], "0");
        assert_eq!(item["message-id"], sms.message_id.as_str());
        assert_eq!(item["to"], "13478379634");
        assert_eq!(
            (sms.text.as_str(), sms.from.as_str()),
            ("Your code is 123456", "PhoneVerify")
        );
        assert_eq!(gateway.inbox(), [sms]);
    }

    #[tokio::test]
    async fn what_is_missing_or_wrong_is_refused_inside_http_200() {
        let gateway = NexmoGateway::start().await;
        for (name, value, status) in [
            ("api_key", "", "2"),
            ("api_secret", "wrong", "4"),
            ("to", "", "2"),
            ("to", "+13478379634", "3"),
            ("to", "123456", "3"),
            ("to", "1234567890123456", "3"),
            ("from", "", "2"),
            ("from", "+13478379634", "15"),
            ("from", "a name that is long", "15"),
            ("text", "", "2"),
            ("text", &"a".repeat(3201), "12"),
            ("type", "nonsense", "3"),
        ] {
            let item = first_item(&gateway, &with(name, value)).await;
            assert_eq!(item["status"], status, "{name}={value}");
        }
        assert_eq!(gateway.inbox(), []);
    }

    #[tokio::test]
    async fn text_beyond_the_alphabet_is_lost_unless_it_is_declared() {
        let gateway = NexmoGateway::start().await;
        let mut form = with("text", "Добро 1234");
        first_item(&gateway, &form).await;
        assert_eq!(gateway.sms_to(NUMBER).await.text, "????? 1234");
        form.push(("type", "unicode".to_owned()));
        first_item(&gateway, &form).await;
        assert_eq!(gateway.sms_to(NUMBER).await.text, "Добро 1234");
    }

    #[tokio::test]
    async fn a_long_text_is_answered_part_by_part() {
        let gateway = NexmoGateway::start().await;
        let form = with("text", &"long ".repeat(60));
        let body: Value = post(&gateway, &form).await.unwrap().json().await.unwrap();
        assert_eq!(body["message-count"], "2");
        assert_ne!(
            body["messages"][0]["message-id"],
            body["messages"][1]["message-id"]
        );
        gateway.next(Behaviour::RefuseLastPart(5));
        let body: Value = post(&gateway, &form).await.unwrap().json().await.unwrap();
        assert_eq!(body["messages"][0]["status"], "0");
        assert_eq!(body["messages"][1]["status"], "5");
    }

    #[tokio::test]
    async fn it_misbehaves_once_for_each_time_it_is_told_to() {
        let gateway = NexmoGateway::start().await;
        gateway.next(Behaviour::Throttle(Duration::from_millis(702)));
        let item = first_item(&gateway, &good_form()).await;
        assert_eq!(
            (item["status"].as_str(), item["error-text"].as_str()),
            (
                Some("1"),
                Some("Throughput Rate Exceeded - please wait [ 702 ] and retry")
            )
        );
        gateway.next(Behaviour::HttpStatus(429));
        let response = post(&gateway, &good_form()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &"1".parse().unwrap())
        );
        gateway.next(Behaviour::DropBeforeReading);
        assert!(post(&gateway, &good_form()).await.is_err());
        assert_eq!((gateway.inbox().len(), gateway.requests()), (0, 2));

        gateway.next(Behaviour::DropAfterReading);
        assert!(post(&gateway, &good_form()).await.is_err());
        gateway.next(Behaviour::BrokenJson);
        let broken = post(&gateway, &good_form()).await.unwrap().text().await.unwrap();
        assert!(serde_json::from_str::<Value>(&broken).is_err());
        gateway.next(Behaviour::HugeBody);
        let huge = post(&gateway, &good_form()).await.unwrap().bytes().await.unwrap();
        assert!(huge.len() > 8 << 20);
        gateway.next(Behaviour::AnswerAfter(Duration::from_millis(20)));
        gateway.next(Behaviour::Hold);
        gateway.release();
        for _ in 0..3 {
            assert_eq!(first_item(&gateway, &good_form()).await["status"], "0");
        }
        assert_eq!(gateway.inbox().len(), 6);
    }

    #[tokio::test]
    async fn a_number_can_be_refused_for_good() {
        let gateway = NexmoGateway::start().await;
        gateway.refuse_number(NUMBER, 7);
        for _ in 0..2 {
            assert_eq!(first_item(&gateway, &good_form()).await["status"], "7");
        }
        assert_eq!(
            first_item(&gateway, &with("to", "13478379635")).await["status"],
            "0"
        );
    }

    #[tokio::test]
    async fn a_gateway_that_was_shut_down_refuses_connections() {
        let gateway = NexmoGateway::start().await;
        let url = gateway.base_url();
        gateway.shut_down().await;
        let error = http_client().get(url).send().await.unwrap_err();
        assert!(error.is_connect());
    }
}
