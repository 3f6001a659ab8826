//! How a library in this process reaches the host: by a function call.

use std::{future::Future, sync::Arc};

use phone_verify_plugin_abi::{CallObj, HostObj, ReportObj, abi_stable::std_types::RString};

use super::{
    Services,
    abi::{self, CallCarrier, Carrier, HostCarrier, Unanswered},
    call::{self, ActiveCall, CallInfo},
    nanoseconds,
    protocol::{Answer, HostReply, HostRequest},
};
use crate::CallFacts;

impl Services {
    /// As an object that crosses the ABI.
    pub(crate) fn object(self: &Arc<Self>) -> HostObj {
        abi::host(OfBackend(Arc::clone(self)))
    }
}

impl ActiveCall<'_> {
    /// As an object that crosses the ABI.
    pub(crate) fn object(&self) -> CallObj {
        abi::call(OfCall(self.shared()))
    }
}

/// Where a library reports on a bulk call, as an object that crosses the ABI.
pub(crate) fn report_object(call: &Arc<CallInfo>) -> ReportObj {
    abi::report(OfCall(Arc::clone(call)))
}

/// Answers where it was asked.
trait Answers: Send + Sync + 'static {
    fn answer(&self, request: HostRequest) -> Answer;
}

/// In whichever call the thread is.
struct OfBackend(Arc<Services>);

impl Answers for OfBackend {
    fn answer(&self, request: HostRequest) -> Answer {
        call::current(|call| self.0.answer(call, request))
    }
}

/// In this one.
struct OfCall(Arc<CallInfo>);

impl Answers for OfCall {
    fn answer(&self, request: HostRequest) -> Answer {
        self.0.services().answer(Some(&ActiveCall::of(&self.0)), request)
    }
}

impl<T: Answers> Carrier for T {
    fn tell(&self, request: HostRequest) -> Result<(), Unanswered> {
        self.ask(request).map(drop)
    }

    fn ask(&self, request: HostRequest) -> Result<HostReply, Unanswered> {
        match self.answer(request) {
            Answer::Now(answered) => answered.map_err(Unanswered::Error),
            // No method of the ABI waits on its thread for what takes time.
            Answer::Later(_) => Err(Unanswered::Lost),
        }
    }

    fn begin(
        &self,
        request: HostRequest,
    ) -> impl Future<Output = Result<HostReply, Unanswered>> + Send + 'static {
        // Now, because the future may be polled when another call is current.
        let answer = self.answer(request);
        async move {
            let answered = match answer {
                Answer::Now(answered) => answered,
                Answer::Later(answer) => answer.await,
            };
            answered.map_err(Unanswered::Error)
        }
    }
}

impl HostCarrier for OfBackend {
    fn unix_ms(&self) -> u64 {
        self.0.clock.wall().0
    }

    fn monotonic_ns(&self) -> u64 {
        nanoseconds(self.0.clock.elapsed())
    }
}

impl CallCarrier for OfCall {
    fn deadline_monotonic_ns(&self) -> u64 {
        nanoseconds(self.0.deadline())
    }

    fn request_id(&self) -> RString {
        RString::from(self.0.request_id())
    }

    fn idempotency_key(&self) -> RString {
        RString::from(self.0.idempotency_key())
    }

    fn locale(&self) -> RString {
        RString::from(self.0.locale())
    }

    fn facts(&self) -> &CallFacts {
        self.0.facts()
    }
}
