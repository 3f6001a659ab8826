//! A constructed backend in a test: its methods as plain functions, without `async` and with simple arguments.

use std::{
    fmt,
    future::Future,
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
};

use phone_verify_plugin_abi::abi_stable::std_types::RString;
use serde_json::{Map, Value};

use super::call::{CallFacts, Reports, TestCall};
use crate::{
    Backend, Call, Context, Error, ErrorKind, Host, Money, PhoneNumber, Receipt, Received, Report, Verdict,
    Webhook,
};

/// A backend under test. A panic of the backend fails the test.
///
/// Each method completes in one poll, since a [`super::TestHost`] answers immediately. A backend that waits on anything
/// else, such as a socket, a thread or its own timer, panics here, because it would hang in the host.
pub struct Tested<B> {
    backend: B,
    host: Host,
    facts: CallFacts,
}

impl<B: Backend> Tested<B> {
    pub(super) fn new(backend: B, host: Host) -> Self {
        Self {
            backend,
            host,
            facts: CallFacts::default(),
        }
    }

    /// The backend itself.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The same backend, whose calls tell it this.
    #[must_use]
    pub fn with_facts(self, facts: CallFacts) -> Self {
        Self { facts, ..self }
    }

    /// Sends one SMS. `number` is in E.164 form with its plus sign.
    pub fn send_sms(&self, number: &str, message: &str) -> Result<Receipt, Error> {
        finished(
            self.backend
                .send_sms(&phone_number(number), message, &self.call(None)),
        )
    }

    /// Sends to several numbers, and returns the outcome of each as the host would see it.
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

    /// Generates a security code. The base's is `424242`.
    pub fn generate_security_code(&self) -> Result<String, Error> {
        finished(self.backend.generate_security_code(&self.call(None)))
    }

    /// Composes a message. The base's is `Your security code is 123456.`, with the code given.
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

    /// Judges a submitted code, where the base's verdict would be `base`.
    pub fn validate_security_code(&self, security_code: &str, base: Verdict) -> Result<Verdict, Error> {
        let call = self.call(Some(base));
        finished(self.backend.validate_security_code(
            security_code,
            &phone_number("+13478379634"),
            "a-session-token",
            &call,
        ))
    }

    /// Hands over a request of the provider.
    pub fn receive(&self, request: &Webhook) -> Result<Received, Error> {
        finished(self.backend.receive(request, &self.call(None)))
    }

    /// Says whether the code of a message came back.
    pub fn feedback(&self, message_id: &str, converted: bool) -> Result<(), Error> {
        finished(self.backend.feedback(message_id, converted, &self.call(None)))
    }

    /// Asks what is left of the account.
    pub fn balance(&self) -> Result<Money, Error> {
        finished(self.backend.balance(&self.call(None)))
    }

    /// Ends a verification whose code the provider made.
    pub fn cancel(&self, message_id: &str) -> Result<(), Error> {
        finished(self.backend.cancel(message_id, &self.call(None)))
    }

    /// Asks for an extension.
    pub fn extension(&self, id: &str, body: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        finished(self.backend.extension(id, body, &self.call(None)))
    }

    fn call(&self, verdict: Option<Verdict>) -> Call {
        let now = u64::try_from(self.host.monotonic().as_nanos()).unwrap_or(u64::MAX);
        Call::new(
            TestCall::object(now, verdict, self.facts.clone()),
            self.host.clone(),
        )
    }
}

/// Shows the backend's type only, as its fields may hold secrets.
impl<B> fmt::Debug for Tested<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tested<{}>", std::any::type_name::<B>())
    }
}

fn phone_number(e164: &str) -> PhoneNumber {
    PhoneNumber::from_raw(RString::from(e164))
}

/// The output of a future that completes in its first poll.
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
