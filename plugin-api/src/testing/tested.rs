//! A constructed backend in a test: its methods, without `async` and with plain arguments.

use std::{
    fmt,
    future::Future,
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
};

use phone_verify_plugin_abi::abi_stable::std_types::RString;
use serde_json::{Map, Value};

use super::call::{Reports, TestCall};
use crate::{Backend, Call, Context, Error, ErrorKind, Host, PhoneNumber, Receipt, Report, Verdict};

/// A backend under test. A panic of the backend is a panic of the test.
///
/// Each method runs to its end at once, since a [`super::TestHost`] answers at once; a backend that waits on anything
/// else (a socket, a thread, a timer of its own) panics here, as it would hang in the host.
pub struct Tested<B> {
    backend: B,
    host: Host,
}

impl<B: Backend> Tested<B> {
    pub(super) fn new(backend: B, host: Host) -> Self {
        Self { backend, host }
    }

    /// The backend itself.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Sends one SMS; `number` is E.164 with its plus sign.
    pub fn send_sms(&self, number: &str, message: &str) -> Result<Receipt, Error> {
        finished(
            self.backend
                .send_sms(&phone_number(number), message, &self.call(None)),
        )
    }

    /// Sends to several numbers: what the host would take as the outcome of each.
    pub fn send_bulk_sms(&self, numbers: &[&str], message: &str) -> Vec<Result<Receipt, Error>> {
        let numbers: Vec<_> = numbers.iter().map(|number| phone_number(number)).collect();
        let reports = Reports::new(numbers.len());
        let report = Report::new(reports.object());
        let sent = finished(
            self.backend
                .send_bulk_sms(&numbers, message, &report, &self.call(None)),
        );
        let silence = sent.err().unwrap_or_else(|| {
            Error::new(
                ErrorKind::OutcomeUnknown,
                "not_reported",
                "the backend did not say what became of this number",
            )
        });
        reports
            .into_outcomes()
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err(silence.clone())))
            .collect()
    }

    /// Makes a security code; the base's is `424242`.
    pub fn generate_security_code(&self) -> Result<String, Error> {
        finished(self.backend.generate_security_code(&self.call(None)))
    }

    /// Puts a code into words; the base's are `Your security code is 123456.`
    pub fn generate_message(
        &self,
        security_code: &str,
        context: &[(&str, &str)],
    ) -> Result<Option<String>, Error> {
        let context: Map<String, Value> = context
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        let context = Context::from_json(&Value::Object(context).to_string());
        finished(
            self.backend
                .generate_message(security_code, &context, &self.call(None)),
        )
    }

    /// Judges a code that came back, where the base would say `base`.
    pub fn validate_security_code(&self, security_code: &str, base: Verdict) -> Result<Verdict, Error> {
        let call = self.call(Some(base));
        finished(self.backend.validate_security_code(
            security_code,
            &phone_number("+13478379634"),
            "a-session-token",
            &call,
        ))
    }

    fn call(&self, verdict: Option<Verdict>) -> Call {
        let now = u64::try_from(self.host.monotonic().as_nanos()).unwrap_or(u64::MAX);
        Call::new(TestCall::object(now, verdict), self.host.clone())
    }
}

/// The backend's name only: it may hold secrets.
impl<B> fmt::Debug for Tested<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tested<{}>", std::any::type_name::<B>())
    }
}

fn phone_number(e164: &str) -> PhoneNumber {
    PhoneNumber::from_raw(RString::from(e164))
}

fn finished<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => {
            panic!(
                "the backend waits on something that the host does not offer, where nobody would wake it; use \
                 Host::http and Host::sleep"
            )
        }
    }
}
