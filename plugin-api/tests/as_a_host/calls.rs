//! Each method of a backend, called as the host calls it, down to the author's code and back.

use std::time::Duration;

use phone_verify_plugin_abi::{
    RawBulk, RawCheck, RawMessageRequest, RawReceipt,
    abi_stable::std_types::{ROption, RString, RVec},
    kind, overrides, verdict,
};
use phone_verify_plugin_api::{
    __private::Exported, Backend, Call, Context, Error, ErrorKind, Host, LogLevel, PhoneNumber, Receipt,
    Report, Verdict, backend, send_to_each,
};

use crate::host::{Reports, TestHost, call, finished, refusal, send, sms};

/// Implements only what is required.
struct Plain(Host);

#[backend]
impl Backend for Plain {
    type Options = ();

    fn new((): (), host: Host) -> Result<Self, Error> {
        Ok(Self(host))
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, call: &Call) -> Result<Receipt, Error> {
        assert_eq!(call.time_left(), Duration::from_secs(3));
        assert_eq!(call.request_id(), "request-1");
        assert_eq!(call.idempotency_key(), None);
        assert_eq!(call.locale().as_deref(), Some("es"));
        self.0.sleep(Duration::from_secs(1)).await;
        self.0.log_with(
            LogLevel::Info,
            "took it",
            &[("length", &message.len().to_string())],
        );
        if number.digits().ends_with("00") {
            return Err(refusal("ends_in_00"));
        }
        self.0.log(LogLevel::Debug, &format!("{number:?}"));
        Ok(Receipt::new(format!("{}: {message}", number.e164())))
    }
}

/// Overrides the bulk send with the default implementation.
struct OneByOne(Plain);

#[backend]
impl Backend for OneByOne {
    type Options = ();

    fn new((): (), host: Host) -> Result<Self, Error> {
        Plain::new((), host).map(Self)
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, call: &Call) -> Result<Receipt, Error> {
        self.0.send_sms(number, message, call).await
    }

    async fn send_bulk_sms(
        &self,
        numbers: &[PhoneNumber],
        message: &str,
        report: &Report,
        call: &Call,
    ) -> Result<(), Error> {
        send_to_each(self, numbers, message, report, call).await;
        Ok(())
    }
}

/// Overrides every method, and uses the default behaviour in each.
struct Thorough;

#[backend(summary = "for tests", hosts = ["a.example"], sandbox)]
impl Backend for Thorough {
    type Options = ();

    fn new((): (), _host: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn send_sms(&self, _number: &PhoneNumber, _message: &str, _call: &Call) -> Result<Receipt, Error> {
        Err(Error::new(ErrorKind::Throttled, "acme_1", "too fast")
            .with_http_status(429)
            .with_retry_after(Duration::from_millis(1500)))
    }

    async fn send_bulk_sms(
        &self,
        numbers: &[PhoneNumber],
        _message: &str,
        report: &Report,
        _call: &Call,
    ) -> Result<(), Error> {
        report.settle(numbers.len() - 1, Ok(Receipt::without_id()));
        Err(refusal("provider_gone"))
    }

    async fn generate_security_code(&self, call: &Call) -> Result<String, Error> {
        Ok(format!("A{}", call.base().generate_security_code()?))
    }

    async fn generate_message(
        &self,
        security_code: &str,
        context: &Context,
        call: &Call,
    ) -> Result<Option<String>, Error> {
        let user = context.get("user").unwrap_or("you");
        let message = call.base().generate_message(security_code)?;
        Ok(Some(format!("{user}: {message}")))
    }

    async fn validate_security_code(
        &self,
        security_code: &str,
        phone_number: &PhoneNumber,
        session_token: &str,
        call: &Call,
    ) -> Result<Verdict, Error> {
        match (phone_number.digits(), session_token) {
            ("13478379634", "token") => call.base().validate_security_code(security_code).await,
            _ => Ok(Verdict::SessionTokenInvalid),
        }
    }
}

fn check(security_code: &str, session_token: &str) -> RawCheck {
    RawCheck {
        security_code: RString::from(security_code),
        phone_number: RString::from("+13478379634"),
        session_token: RString::from(session_token),
        flags: 0,
        ext: RVec::new(),
    }
}

fn bulk(numbers: &[&str]) -> RawBulk {
    RawBulk {
        numbers: numbers.iter().copied().map(RString::from).collect(),
        message: RString::from("Hello"),
        flags: 0,
        ext: RVec::new(),
    }
}

fn words(context_json: &str) -> RawMessageRequest {
    RawMessageRequest {
        security_code: RString::from("424242"),
        context_json: RString::from(context_json),
        flags: 0,
        ext: RVec::new(),
    }
}

#[test]
fn an_sms_reaches_the_backend_with_its_call() {
    let host = TestHost::default();
    let backend = host.construct::<Plain>("{}").unwrap();
    assert_eq!(send(&backend).unwrap(), "+13478379634: Your code is 424242");
    assert_eq!(host.lines(), ["3 took it length=19", "4 +13****34"]);
}

#[test]
fn an_error_keeps_all_that_the_backend_said() {
    let backend = TestHost::default().construct::<Thorough>("{}").unwrap();
    let error = send(&backend).unwrap_err();
    assert_eq!((error.kind, error.http_status), (kind::THROTTLED, 429));
    assert_eq!((error.retry_after_ms, error.flags), (1500, 0));
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("acme_1", "too fast")
    );
}

#[test]
fn in_bulk_the_failure_of_one_number_never_stops_the_rest() {
    let backend = TestHost::default().construct::<OneByOne>("{}").unwrap();
    let reports = Reports::default();
    let numbers = bulk(&["+13478379634", "+13478379600", "+13478379635"]);
    finished(backend.send_bulk_sms(numbers, reports.object(), call()))
        .into_result()
        .unwrap();
    assert_eq!(
        reports.all(),
        [
            (0, Ok("+13478379634: Hello".to_owned())),
            (1, Err("ends_in_00".to_owned())),
            (2, Ok("+13478379635: Hello".to_owned())),
        ]
    );
}

#[test]
fn in_bulk_what_was_reported_stays_when_the_call_fails() {
    let backend = TestHost::default().construct::<Thorough>("{}").unwrap();
    let reports = Reports::default();
    let numbers = bulk(&["+13478379634", "+13478379635"]);
    let outcome = finished(backend.send_bulk_sms(numbers, reports.object(), call()));
    assert_eq!(outcome.into_result().unwrap_err().code.as_str(), "provider_gone");
    assert_eq!(reports.all(), [(1, Ok(String::new()))]);
}

#[test]
fn what_is_not_overridden_is_the_hosts_own_business() {
    let backend = TestHost::default().construct::<Plain>("{}").unwrap();
    let bulk = backend.send_bulk_sms(bulk(&["+13478379634"]), Reports::default().object(), call());
    let refusals = [
        finished(bulk).into_result().err(),
        finished(backend.generate_security_code(call()))
            .into_result()
            .err(),
        finished(backend.generate_message(words("{}"), call()))
            .into_result()
            .err(),
        finished(backend.validate_security_code(check("424242", "token"), call()))
            .into_result()
            .err(),
    ];
    for refusal in refusals {
        let refusal = refusal.unwrap();
        assert_eq!(
            (refusal.kind, refusal.code.as_str()),
            (kind::UNSUPPORTED, "not_overridden")
        );
    }
}

#[test]
fn an_override_can_call_the_base() {
    let backend = TestHost::default().construct::<Thorough>("{}").unwrap();
    let code = finished(backend.generate_security_code(call()))
        .into_result()
        .unwrap();
    assert_eq!(code.as_str(), "A424242");
    let message = |context| {
        finished(backend.generate_message(words(context), call()))
            .into_result()
            .unwrap()
    };
    assert_eq!(
        message(r#"{"user": "Ann"}"#),
        ROption::RSome("Ann: Use 424242.".into())
    );
    assert_eq!(
        message("not even JSON"),
        ROption::RSome("you: Use 424242.".into())
    );
    let judged =
        |code, token| finished(backend.validate_security_code(check(code, token), call())).into_result();
    assert_eq!(judged("424242", "token").unwrap(), verdict::VALID);
    assert_eq!(
        judged("424242", "another").unwrap(),
        verdict::SESSION_TOKEN_INVALID
    );
    assert_eq!(judged("broken", "token").unwrap_err().code.as_str(), "store_busy");
}

#[test]
fn a_verdict_from_a_later_host_counts_as_invalid() {
    let backend = TestHost::default().construct::<Thorough>("{}").unwrap();
    let judged = finished(backend.validate_security_code(check("from the future", "token"), call()));
    assert_eq!(judged.into_result().unwrap(), verdict::INVALID);
}

#[test]
fn what_a_later_host_appends_to_a_call_is_ignored() {
    let backend = TestHost::default().construct::<Plain>("{}").unwrap();
    let mut sms = sms();
    sms.flags = u64::MAX;
    sms.ext.push(("colour".into(), "blue".into()).into());
    let receipt: RawReceipt = finished(backend.send_sms(sms, call())).into_result().unwrap();
    assert_eq!(receipt.message_id.as_str(), "+13478379634: Your code is 424242");
}

#[test]
fn the_manifest_names_what_is_overridden() {
    assert_eq!(Plain::INFO.overrides, 0);
    assert!(!Plain::INFO.sandbox && Plain::INFO.hosts.is_empty() && Plain::INFO.summary.is_empty());
    let all = overrides::SEND_BULK_SMS
        | overrides::GENERATE_SECURITY_CODE
        | overrides::GENERATE_MESSAGE
        | overrides::VALIDATE_SECURITY_CODE;
    assert_eq!((Thorough::INFO.name, Thorough::INFO.overrides), ("Thorough", all));
    assert!(Thorough::INFO.sandbox && Thorough::INFO.hosts == ["a.example"]);
}
