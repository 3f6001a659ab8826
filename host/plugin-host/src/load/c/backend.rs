//! A backend in C behind the trait that all backends have.

use std::sync::Arc;

use phone_verify_plugin_abi::{
    BackendV1, CallObj, RawBalance, RawBulk, RawCancel, RawCheck, RawError, RawExtension, RawFeedback,
    RawHttpRequest, RawHttpResponse, RawMessageRequest, RawReceipt, RawReceived, RawSms, ReportObj,
    abi_stable::std_types::{ROption, RResult, RString, RVec},
    async_ffi::BorrowingFfiFuture,
    c, kind,
};

use super::{
    call::Running,
    host::receipt,
    instance::Instance,
    text_pairs,
    values::{self, Answer, lend, size_of_record},
};
use crate::convert::raw_error;

pub(super) struct CBackend(pub(super) Arc<Instance>);

type Answering<'a, T> = BorrowingFfiFuture<'a, RResult<T, RawError>>;

impl CBackend {
    /// Begins a call, and makes of its answer what the host expects.
    fn run<'a, T: 'a>(
        &self,
        call: CallObj,
        report: Option<ReportObj>,
        start: impl FnOnce(&Instance, &c::Call) + Unpin + Send + 'a,
        read: impl FnOnce(Answer) -> T + Send + 'a,
    ) -> Answering<'a, T> {
        let running = Running::new(Arc::clone(&self.0), call, report, start);
        BorrowingFfiFuture::new(async move { running.await.map(read).into() })
    }
}

/// The answer to a provider's request where the library names none.
fn taken() -> RawHttpResponse {
    RawHttpResponse {
        status: 200,
        headers: RVec::new(),
        body: RVec::new(),
        flags: 0,
        ext: RVec::new(),
    }
}

/// The manifest says that the method is overridden, and the table has none.
fn not_offered<'a, T: Send + 'a>(method: &str) -> Answering<'a, T> {
    let message =
        format!("the manifest says that {method} is overridden, and the table has no such function");
    let error = raw_error(kind::UNSUPPORTED, "not_offered", &message);
    BorrowingFfiFuture::new(async move { RResult::RErr(error) })
}

impl BackendV1 for CBackend {
    fn send_sms(&self, sms: RawSms, call: CallObj) -> Answering<'_, RawReceipt> {
        let Some(send_sms) = self.0.entry.send_sms else {
            return not_offered("send_sms");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            let sms = c::Sms {
                size: size_of_record::<c::Sms>(),
                number: lend(&sms.number),
                message: lend(&sms.message),
            };
            // SAFETY: the function is the library's, the backend its own, and what is lent lives until it returns.
            unsafe { send_sms(instance.backend, call, &raw const sms) };
        };
        self.run(call, None, start, receipt)
    }

    fn send_bulk_sms(&self, bulk: RawBulk, report: ReportObj, call: CallObj) -> Answering<'_, ()> {
        let Some(send_bulk_sms) = self.0.entry.send_bulk_sms else {
            return not_offered("send_bulk_sms");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            let numbers: Vec<c::Text> = bulk.numbers.iter().map(|number| lend(number)).collect();
            let bulk = c::Bulk {
                size: size_of_record::<c::Bulk>(),
                numbers: numbers.as_ptr(),
                number_count: numbers.len(),
                message: lend(&bulk.message),
            };
            // SAFETY: as in `send_sms`.
            unsafe { send_bulk_sms(instance.backend, call, &raw const bulk) };
        };
        self.run(call, Some(report), start, |_| ())
    }

    fn generate_security_code(&self, call: CallObj) -> Answering<'_, RString> {
        let Some(generate_security_code) = self.0.entry.generate_security_code else {
            return not_offered("generate_security_code");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            // SAFETY: as in `send_sms`.
            unsafe { generate_security_code(instance.backend, call) };
        };
        self.run(call, None, start, |mut answer| {
            RString::from(answer.text().unwrap_or_default())
        })
    }

    fn generate_message(&self, request: RawMessageRequest, call: CallObj) -> Answering<'_, ROption<RString>> {
        let Some(generate_message) = self.0.entry.generate_message else {
            return not_offered("generate_message");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            let context = text_pairs(&request.context_json);
            let context = values::lend_pairs(context.iter().map(|(name, value)| (name, value)));
            let request = c::MessageRequest {
                size: size_of_record::<c::MessageRequest>(),
                security_code: lend(&request.security_code),
                context: context.as_ptr(),
                context_count: context.len(),
            };
            // SAFETY: as in `send_sms`.
            unsafe { generate_message(instance.backend, call, &raw const request) };
        };
        self.run(call, None, start, |mut answer| {
            answer.text().map(RString::from).into()
        })
    }

    fn validate_security_code(&self, check: RawCheck, call: CallObj) -> Answering<'_, u16> {
        let Some(validate_security_code) = self.0.entry.validate_security_code else {
            return not_offered("validate_security_code");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            let check = c::Check {
                size: size_of_record::<c::Check>(),
                security_code: lend(&check.security_code),
                phone_number: lend(&check.phone_number),
                session_token: lend(&check.session_token),
            };
            // SAFETY: as in `send_sms`.
            unsafe { validate_security_code(instance.backend, call, &raw const check) };
        };
        self.run(call, None, start, |answer| answer.verdict)
    }

    fn receive(&self, request: RawHttpRequest, call: CallObj) -> Answering<'_, RawReceived> {
        let Some(receive) = self.0.entry.receive else {
            return not_offered("receive");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            let headers = values::lend_pairs(request.headers.iter().map(|pair| (&pair.0, &pair.1)));
            let request = values::lend_request(&request, &headers);
            // SAFETY: as in `send_sms`.
            unsafe { receive(instance.backend, call, &raw const request) };
        };
        self.run(call, None, start, |answer| RawReceived {
            answer: answer.response.unwrap_or_else(taken),
            reports: answer.reports,
            flags: 0,
            ext: RVec::new(),
        })
    }

    fn feedback(&self, feedback: RawFeedback, call: CallObj) -> Answering<'_, ()> {
        let Some(give_feedback) = self.0.entry.feedback else {
            return not_offered("feedback");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            let feedback = c::Feedback {
                size: size_of_record::<c::Feedback>(),
                converted: feedback.converted.into(),
                message_id: lend(&feedback.message_id),
            };
            // SAFETY: as in `send_sms`.
            unsafe { give_feedback(instance.backend, call, &raw const feedback) };
        };
        self.run(call, None, start, |_| ())
    }

    fn balance(&self, call: CallObj) -> Answering<'_, RawBalance> {
        let Some(balance) = self.0.entry.balance else {
            return not_offered("balance");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            // SAFETY: as in `send_sms`.
            unsafe { balance(instance.backend, call) };
        };
        self.run(call, None, start, |answer| RawBalance {
            amount: RString::from(answer.cost),
            currency: RString::from(answer.currency),
            flags: 0,
            ext: RVec::new(),
        })
    }

    fn cancel(&self, cancel: RawCancel, call: CallObj) -> Answering<'_, ()> {
        let Some(cancel_verification) = self.0.entry.cancel_verification else {
            return not_offered("cancel_verification");
        };
        let start = move |instance: &Instance, call: &c::Call| {
            let cancel = c::Cancel {
                size: size_of_record::<c::Cancel>(),
                message_id: lend(&cancel.message_id),
            };
            // SAFETY: as in `send_sms`.
            unsafe { cancel_verification(instance.backend, call, &raw const cancel) };
        };
        self.run(call, None, start, |_| ())
    }

    fn extension(&self, request: RawExtension, call: CallObj) -> Answering<'_, ROption<RVec<u8>>> {
        let Some(extension) = self.0.entry.extension else {
            return BorrowingFfiFuture::new(async { RResult::ROk(ROption::RNone) });
        };
        let start = move |instance: &Instance, call: &c::Call| {
            let request = c::Extension {
                size: size_of_record::<c::Extension>(),
                id: lend(&request.id),
                body: values::lend_bytes(&request.body),
            };
            // SAFETY: as in `send_sms`.
            unsafe { extension(instance.backend, call, &raw const request) };
        };
        self.run(call, None, start, |answer| answer.text.map(RVec::from).into())
    }
}
