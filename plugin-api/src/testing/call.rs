//! The host's side of one call in a test.

use phone_verify_plugin_abi::{
    CallObj, CallV1, CallV1_TO, RawError, ReportObj, ReportV1, ReportV1_TO,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RResult, RStr, RString, RVec},
    },
    async_ffi::FfiFuture,
    kind,
};

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::{Error, Receipt, Verdict};

/// The code that `call.base().generate_security_code()` returns.
const SECURITY_CODE: &str = "424242";
/// Time from the start of a call to its deadline.
const TIME_LIMIT_NS: u64 = 15_000_000_000;

/// A call whose base returns fixed values.
pub(super) struct TestCall {
    started_ns: u64,
    verdict: Option<Verdict>,
    facts: CallFacts,
}

/// What a call tells a backend about its message, beside number and text. All are empty unless a test sets them.
#[derive(Clone, Debug, Default)]
pub struct CallFacts {
    /// For [`crate::Call::region`].
    pub region: String,
    /// For [`crate::Call::channel`].
    pub channel: String,
    /// For [`crate::Call::purpose`].
    pub purpose: String,
    /// For [`crate::Call::template`].
    pub template: String,
    /// For [`crate::Call::params`].
    pub params: Map<String, Value>,
    /// For [`crate::Call::security_code`].
    pub security_code: String,
    /// For [`crate::Call::message_id`].
    pub message_id: String,
}

impl TestCall {
    /// `verdict` is the base's verdict on every code. `None` outside of `validate_security_code`.
    pub(super) fn object(started_ns: u64, verdict: Option<Verdict>, facts: CallFacts) -> CallObj {
        let call = Self {
            started_ns,
            verdict,
            facts,
        };
        CallV1_TO::from_value(call, TD_Opaque)
    }
}

impl CallV1 for TestCall {
    fn deadline_monotonic_ns(&self) -> u64 {
        self.started_ns + TIME_LIMIT_NS
    }

    fn request_id(&self) -> RString {
        RString::from("test-request")
    }

    fn idempotency_key(&self) -> RString {
        RString::from("test-message")
    }

    fn locale(&self) -> RString {
        RString::from("en")
    }

    fn base_security_code(&self) -> RString {
        RString::from(SECURITY_CODE)
    }

    fn base_message(&self, security_code: RStr<'_>) -> RResult<RString, RawError> {
        RResult::ROk(RString::from(format!("Your security code is {security_code}.")))
    }

    fn base_validate(&self, _security_code: RStr<'_>) -> FfiFuture<RResult<u16, RawError>> {
        let answer = match self.verdict {
            Some(verdict) => RResult::ROk(verdict.to_raw()),
            None => RResult::RErr(RawError {
                kind: kind::UNSUPPORTED,
                http_status: 0,
                retry_after_ms: 0,
                code: RString::from("unsupported"),
                message: RString::from("the base can only judge a code inside validate_security_code"),
                flags: 0,
                ext: RVec::new(),
            }),
        };
        FfiFuture::new(async move { answer })
    }

    fn region(&self) -> RString {
        RString::from(self.facts.region.as_str())
    }

    fn channel(&self) -> RString {
        RString::from(self.facts.channel.as_str())
    }

    fn purpose(&self) -> RString {
        RString::from(self.facts.purpose.as_str())
    }

    fn template(&self) -> RString {
        RString::from(self.facts.template.as_str())
    }

    fn params_json(&self) -> RString {
        RString::from(Value::Object(self.facts.params.clone()).to_string())
    }

    fn security_code(&self) -> RString {
        RString::from(self.facts.security_code.as_str())
    }

    fn message_id(&self) -> RString {
        RString::from(self.facts.message_id.as_str())
    }
}

/// The outcome of each number of a bulk send. `None`: not reported.
pub(super) type Outcomes = Vec<Option<Result<Receipt, Error>>>;

/// Collects the outcomes of a bulk send.
#[derive(Clone)]
pub(super) struct Reports(Arc<Mutex<Outcomes>>);

impl Reports {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; count])))
    }

    pub(super) fn object(&self) -> ReportObj {
        ReportV1_TO::from_value(self.clone(), TD_Opaque)
    }

    pub(super) fn into_outcomes(self) -> Outcomes {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ReportV1 for Reports {
    fn settle(&self, index: u64, outcome: RResult<phone_verify_plugin_abi::RawReceipt, RawError>) {
        let outcome = outcome
            .into_result()
            .map(Receipt::from_raw)
            .map_err(Error::from_raw);
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(index)
            .ok()
            .and_then(|index| outcomes.get_mut(index));
        // Only the first outcome of a number counts, as in the host.
        if let Some(place) = place
            && place.is_none()
        {
            *place = Some(outcome);
        }
    }
}
