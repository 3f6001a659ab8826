//! Twilio's Messages API: `POST /2010-04-01/Accounts/{AccountSid}/Messages.json`, form-encoded, with Basic
//! authentication. It answers 201 with the message, or an HTTP error with `{code, message, more_info, status}`.

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

const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";
const AUTH_TOKEN: &str = "fedcba9876543210fedcba9876543210";
const MESSAGING_SERVICE_SID: &str = "MG0123456789abcdef0123456789abcdef";
const MAX_BODY_CHARS: usize = 1600;

/// The rules and texts of Twilio.
#[derive(Default)]
pub struct Twilio {
    sent: AtomicU64,
}

impl Twilio {
    /// The one messaging service of the account.
    pub const MESSAGING_SERVICE_SID: &'static str = MESSAGING_SERVICE_SID;

    /// A status callback to this address, signed with the auth token of the account. `error`: of a message that was not
    /// delivered.
    pub fn report(url: &str, sms: &Sms, status: &str, error: Option<u32>) -> Report {
        let mut fields: Vec<(String, String)> = [
            ("AccountSid", ACCOUNT_SID),
            ("ApiVersion", "2010-04-01"),
            ("From", &sms.from),
            ("MessageSid", &sms.message_id),
            ("MessageStatus", status),
            ("RawDlrDoneDate", "2601010000"),
            ("SmsSid", &sms.message_id),
            ("SmsStatus", status),
            ("To", &sms.to),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        if let Some(code) = error {
            fields.push(("ErrorCode".to_owned(), code.to_string()));
        }
        let mut report = Report::form(url, &fields);
        fields.sort();
        let pairs: String = fields
            .iter()
            .map(|(name, value)| format!("{name}{value}"))
            .collect();
        let mac = mac(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            AUTH_TOKEN,
            &format!("{url}{pairs}"),
        );
        let signature = data_encoding::BASE64.encode(&mac);
        report.headers.push(("x-twilio-signature", signature));
        report
    }
}

impl Provider for Twilio {
    const ROUTE: &'static str = "/2010-04-01/Accounts/{account}/Messages.json";

    fn options(&self, base_url: &str) -> Map<String, Value> {
        let options = json!({
            "SID": ACCOUNT_SID, "SECRET": AUTH_TOKEN, "FROM": "+15005550006",
            "SANDBOX_TOKEN": "123456", "BASE_URL": base_url,
        });
        options.as_object().cloned().unwrap_or_default()
    }

    fn judge(&self, request: &Request) -> Result<Sms, Answer> {
        let credentials = data_encoding::BASE64.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}").as_bytes());
        if request.authorization.as_deref() != Some(&format!("Basic {credentials}")) {
            return Err(error(20003, "Authenticate"));
        }
        if request.path != format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json") {
            return Err(error(20404, "The requested resource was not found"));
        }
        let to = request
            .field("To")
            .ok_or_else(|| error(21604, "A 'To' phone number is required."))?;
        let from = sender(request)?;
        let text = request
            .field("Body")
            .ok_or_else(|| error(21602, "Message body is required."))?;
        if !is_e164(to) {
            return Err(not_a_number(to));
        }
        if text.chars().count() > MAX_BODY_CHARS {
            return Err(error(
                21617,
                "The concatenated message body exceeds the 1600 character limit.",
            ));
        }
        for (name, allowed) in [
            ("ContentRetention", ["retain", "discard"]),
            ("AddressRetention", ["retain", "obfuscate"]),
        ] {
            if request.field(name).is_some_and(|value| !allowed.contains(&value)) {
                return Err(error(30029, &format!("Invalid {name}")));
            }
        }
        let unicode = !is_gsm(text);
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(Sms {
            to: to.to_owned(),
            from: from.to_owned(),
            text: text.to_owned(),
            unicode,
            parts: parts(text, unicode),
            message_id: format!("SM{:032x}", 0x00c0_ffee_0000_u128 | u128::from(number)),
        })
    }

    fn accepted(&self, sms: &Sms, request: &Request) -> Answer {
        let uri = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{}", sms.message_id);
        let service = request.field("MessagingServiceSid");
        let status = if service.is_some() { "accepted" } else { "queued" };
        Answer {
            status: 201,
            retry_after_s: None,
            body: json!({
                "account_sid": ACCOUNT_SID, "api_version": "2010-04-01", "body": sms.text,
                "date_created": "Thu, 24 Aug 2023 05:01:45 +0000", "date_sent": null,
                "date_updated": "Thu, 24 Aug 2023 05:01:45 +0000", "direction": "outbound-api",
                "error_code": null, "error_message": null, "from": request.field("From"),
                "messaging_service_sid": service, "num_media": "0", "num_segments": sms.parts.to_string(),
                "price": null, "price_unit": "USD", "sid": sms.message_id, "status": status,
                "subresource_uris": { "media": format!("{uri}/Media.json") }, "to": sms.to,
                "uri": format!("{uri}.json"),
            }),
        }
    }

    fn refused(&self, code: u32, request: &Request) -> Answer {
        match (code, request.field("To")) {
            (21211, Some(to)) => not_a_number(to),
            _ => error(code, words(code)),
        }
    }

    fn throttled(&self, wait: Duration, _request: &Request) -> Answer {
        Answer {
            retry_after_s: Some(wait.as_secs().max(1)),
            ..error(20429, words(20429))
        }
    }

    /// The balance of the account, and feedback about a message.
    fn other(&self, request: &Request) -> Answer {
        let credentials = data_encoding::BASE64.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}").as_bytes());
        if request.authorization.as_deref() != Some(&format!("Basic {credentials}")) {
            return error(20003, "Authenticate");
        }
        let account = format!("/2010-04-01/Accounts/{ACCOUNT_SID}");
        let path = request.path.strip_prefix(&account).unwrap_or_default();
        let about = path
            .strip_prefix("/Messages/SM")
            .and_then(|path| path.strip_suffix("/Feedback.json"));
        let answer = |status, body| Answer {
            status,
            retry_after_s: None,
            body,
        };
        match (request.method.as_str(), path, about, request.field("Outcome")) {
            ("GET", "/Balance.json", ..) => answer(
                200,
                json!({ "account_sid": ACCOUNT_SID, "balance": "12.3456", "currency": "USD" }),
            ),
            ("POST", _, Some(_), Some(outcome @ ("confirmed" | "unconfirmed"))) => {
                answer(201, json!({ "account_sid": ACCOUNT_SID, "outcome": outcome }))
            }
            _ => error(20404, "The requested resource was not found"),
        }
    }
}

/// The sender of a request: a number, a short code, a name, or the messaging service.
fn sender(request: &Request) -> Result<&str, Answer> {
    if let Some(service) = request.field("MessagingServiceSid") {
        return if service == MESSAGING_SERVICE_SID {
            Ok(service)
        } else {
            Err(error(21701, "The Messaging Service does not exist"))
        };
    }
    let from = request
        .field("From")
        .ok_or_else(|| error(21603, "A 'From' phone number is required."))?;
    let short_code = (3..=8).contains(&from.len()) && from.bytes().all(|byte| byte.is_ascii_digit());
    let name = (1..=11).contains(&from.len())
        && from
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b' ')
        && from.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_e164(from) || short_code || name {
        Ok(from)
    } else {
        Err(error(
            21606,
            &format!("The From phone number {from} is not a valid, SMS-capable inbound phone number"),
        ))
    }
}

fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The refusal of an invalid number. Twilio repeats the number in it.
fn not_a_number(to: &str) -> Answer {
    error(
        21211,
        &format!("The 'To' number {to} is not a valid phone number."),
    )
}

fn error(code: u32, message: &str) -> Answer {
    let status = match code {
        20003 => 401,
        20404 => 404,
        20429 => 429,
        30002 => 403,
        20500 => 500,
        _ => 400,
    };
    Answer {
        status,
        retry_after_s: None,
        body: json!({
            "code": code, "message": message,
            "more_info": format!("https://www.twilio.com/docs/errors/{code}"), "status": status,
        }),
    }
}

/// The message of a documented code.
fn words(code: u32) -> &'static str {
    match code {
        20003 => "Authenticate",
        20404 => "The requested resource was not found",
        20429 => "Too Many Requests",
        20500 => "Internal Server Error",
        21408 => "Permission to send an SMS has not been enabled for the region indicated by the 'To' number",
        21606 => "The 'From' phone number provided is not a valid message-capable Twilio phone number",
        21608 => "The number is unverified. Trial accounts cannot send messages to unverified numbers",
        21610 => "Attempt to send to unsubscribed recipient",
        21612 => "Message cannot be sent with the current combination of 'To' and/or 'From' parameters",
        21614 => "'To' number is not a valid mobile number",
        21617 => "The concatenated message body exceeds the 1600 character limit",
        30001 => "Queue overflow",
        30002 => "Account suspended",
        _ => "Unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::http_client,
        gateways::{Behaviour, TwilioGateway},
    };

    const NUMBER: &str = "+13478379634";

    async fn post(gateway: &TwilioGateway, token: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let url = format!(
            "{}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json",
            gateway.base_url()
        );
        let request = http_client()
            .post(url)
            .basic_auth(ACCOUNT_SID, Some(token))
            .form(form);
        let response = request.send().await.expect("an answer");
        (
            response.status().as_u16(),
            response.json().await.expect("a JSON body"),
        )
    }

    #[tokio::test]
    async fn a_good_request_is_answered_as_documented_and_arrives() {
        let gateway = TwilioGateway::start().await;
        let form = [("To", NUMBER), ("From", "+15005550006"), ("Body", "Код 123456")];
        let (status, body) = post(&gateway, AUTH_TOKEN, &form).await;
        let sms = gateway.sms_to(NUMBER).await;
        assert_eq!(status, 201);
        assert_eq!(body["sid"], sms.message_id.as_str());
        assert_eq!(body["sid"].as_str().map(str::len), Some(34));
        assert_eq!(body["error_code"], Value::Null);
        assert_eq!(
            (body["num_segments"].as_str(), body["status"].as_str()),
            (Some("1"), Some("queued"))
        );
        assert_eq!((sms.text.as_str(), sms.unicode), ("Код 123456", true));
    }

    #[tokio::test]
    async fn a_messaging_service_stands_in_for_the_sender() {
        let gateway = TwilioGateway::start().await;
        let form = [
            ("To", NUMBER),
            ("MessagingServiceSid", Twilio::MESSAGING_SERVICE_SID),
            ("Body", "x"),
        ];
        let (status, body) = post(&gateway, AUTH_TOKEN, &form).await;
        assert_eq!((status, body["status"].as_str()), (201, Some("accepted")));
    }

    #[tokio::test]
    async fn what_is_missing_or_wrong_is_refused_with_its_code() {
        let gateway = TwilioGateway::start().await;
        let good = [("To", NUMBER), ("From", "+15005550006"), ("Body", "x")];
        let (status, body) = post(&gateway, "wrong", &good).await;
        assert_eq!((status, body["code"].as_u64()), (401, Some(20003)));
        assert_eq!(
            (body["status"].as_u64(), body["more_info"].as_str()),
            (Some(401), Some("https://www.twilio.com/docs/errors/20003"))
        );
        let long = "a".repeat(1601);
        for (name, value, code) in [
            ("To", "", 21604),
            ("To", "13478379634", 21211),
            ("From", "", 21603),
            ("From", "13478379634", 21606),
            ("Body", "", 21602),
            ("Body", long.as_str(), 21617),
        ] {
            let form = good.map(|(known, old)| (known, if known == name { value } else { old }));
            let (status, body) = post(&gateway, AUTH_TOKEN, &form).await;
            assert_eq!(
                (status, body["code"].as_u64()),
                (400, Some(code)),
                "{name}={value}"
            );
        }
        assert_eq!(gateway.inbox(), []);
    }

    #[tokio::test]
    async fn it_throttles_and_refuses_on_request() {
        let gateway = TwilioGateway::start().await;
        let form = [("To", NUMBER), ("From", "PhoneVerify"), ("Body", "x")];
        gateway.next(Behaviour::Throttle(Duration::from_secs(2)));
        gateway.next(Behaviour::Refuse(21610));
        gateway.next(Behaviour::HttpStatus(500));
        let (status, body) = post(&gateway, AUTH_TOKEN, &form).await;
        assert_eq!((status, body["code"].as_u64()), (429, Some(20429)));
        let (status, body) = post(&gateway, AUTH_TOKEN, &form).await;
        assert_eq!((status, body["code"].as_u64()), (400, Some(21610)));
        let (status, _) = post(&gateway, AUTH_TOKEN, &form).await;
        assert_eq!(status, 500);
        let (status, _) = post(&gateway, AUTH_TOKEN, &form).await;
        assert_eq!(status, 201);
    }
}
