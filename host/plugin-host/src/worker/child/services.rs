//! The host's services as a library in a worker sees them: the ABI's objects, whose methods go over the socket.
//!
//! Invariant: nothing here panics into the library, and nothing is decided here that the host decides.

use std::{cell::Cell, sync::Arc, time::Duration};

use phone_verify_plugin_abi::{
    CallObj, CallV1, CallV1_TO, HostObj, HostV1, HostV1_TO, RawError, RawHttpRequest, RawHttpResponse,
    RawReceipt, ReportObj, ReportV1, ReportV1_TO,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, RResult, RSliceMut, RStr, RString, RVec, Tuple2},
    },
    async_ffi::FfiFuture,
    http_error, kind,
};

use super::{
    super::{
        message::{About, Answer, MAX_RANDOM_BYTES, NO_CALL, Question, ToHost},
        raw,
    },
    link::{Link, Reply},
};
use crate::{convert::raw_error, scrub, services::guarded};

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(NO_CALL) };
}

/// Makes this call the current one of the thread until the guard is dropped: the ABI's log and HTTP functions do not
/// say for which call they are called.
pub(super) fn enter(id: u64) -> Entered {
    Entered(CURRENT.replace(id))
}

/// The call before goes back to being the current one.
pub(super) struct Entered(u64);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// The host, for one instance.
pub(super) fn host(link: &Arc<Link>, instance: u64) -> HostObj {
    let link = Arc::clone(link);
    HostV1_TO::from_ptr(RArc::new(Host { link, instance }), TD_Opaque)
}

/// One call.
pub(super) fn call(link: &Arc<Link>, id: u64, about: About) -> CallObj {
    let link = Arc::clone(link);
    CallV1_TO::from_value(Call { link, id, about }, TD_Opaque)
}

/// Where a bulk call reports.
pub(super) fn report(link: &Arc<Link>, id: u64) -> ReportObj {
    let link = Arc::clone(link);
    ReportV1_TO::from_value(Report { link, id }, TD_Opaque)
}

struct Host {
    link: Arc<Link>,
    instance: u64,
}

impl HostV1 for Host {
    fn log(&self, level: u16, message: RStr<'_>, fields: RVec<Tuple2<RString, RString>>) {
        guarded((), || {
            let line = |fields| ToHost::Log {
                instance: self.instance,
                level,
                message: RString::from(scrub::cut(&message, scrub::MAX_INPUT_BYTES)),
                fields,
            };
            // Fields of more than a frame are no fields.
            if self.link.send(CURRENT.get(), &line(fields)).is_err() {
                let _ = self.link.send(CURRENT.get(), &line(RVec::new()));
            }
        });
    }

    fn now_unix_ms(&self) -> u64 {
        self.link.times().unix_ms
    }

    fn monotonic_ns(&self) -> u64 {
        self.link.times().monotonic_ns
    }

    fn random(&self, mut into: RSliceMut<'_, u8>) {
        for part in into.as_mut_slice().chunks_mut(MAX_RANDOM_BYTES) {
            let question = Question::Random {
                instance: self.instance,
                length: u32::try_from(part.len()).unwrap_or(u32::MAX),
            };
            match self.link.ask(CURRENT.get(), question) {
                Some(Answer::Random(bytes)) if bytes.len() == part.len() => part.copy_from_slice(&bytes),
                // A library that asked for randomness and got none would make guessable codes.
                _ => std::process::abort(),
            }
        }
    }

    fn http(&self, request: RawHttpRequest) -> FfiFuture<RResult<RawHttpResponse, RawError>> {
        // Now, because the future may be polled when another call is current.
        let id = CURRENT.get();
        let link = Arc::clone(&self.link);
        FfiFuture::new(async move {
            let http = raw::HttpRequest(request);
            match link.request(id, |request| ToHost::Http { request, http }).await {
                Ok(Some(Reply::Http(answer))) => answer.map(|it| it.0).map_err(|it| it.0).into(),
                Ok(_) => RResult::RErr(outside()),
                Err(_) => RResult::RErr(invalid("a request has at most 64 headers and 1048576 bytes")),
            }
        })
    }

    fn sleep_ms(&self, duration_ms: u64) -> FfiFuture<()> {
        let duration = Duration::from_millis(duration_ms.min(24 * 60 * 60 * 1000));
        FfiFuture::new(async move {
            if tokio::runtime::Handle::try_current().is_ok() {
                tokio::time::sleep(duration).await;
            }
        })
    }
}

fn outside() -> RawError {
    invalid("HTTP is offered inside of a call only")
}

fn invalid(why: &str) -> RawError {
    raw_error(kind::INTERNAL, http_error::INVALID, why)
}

struct Call {
    link: Arc<Link>,
    id: u64,
    about: About,
}

impl Call {
    fn text(&self, question: Question) -> Result<RString, RawError> {
        match self.link.ask(self.id, question) {
            Some(Answer::Text(text)) => text.map_err(|error| error.0),
            _ => Err(raw_error(kind::INTERNAL, "host_panic", "the host gave no answer")),
        }
    }
}

impl CallV1 for Call {
    fn deadline_monotonic_ns(&self) -> u64 {
        self.about.deadline_monotonic_ns
    }

    fn request_id(&self) -> RString {
        self.about.request_id.clone()
    }

    fn idempotency_key(&self) -> RString {
        self.about.idempotency_key.clone()
    }

    fn locale(&self) -> RString {
        self.about.locale.clone()
    }

    fn base_security_code(&self) -> RString {
        guarded(RString::new(), || {
            self.text(Question::SecurityCode).unwrap_or_default()
        })
    }

    fn base_message(&self, security_code: RStr<'_>) -> RResult<RString, RawError> {
        let question = Question::Message {
            security_code: security_code.into(),
        };
        let otherwise = raw_error(
            kind::INTERNAL,
            "host_panic",
            "the host could not write the message",
        );
        guarded(Err(otherwise), || self.text(question)).into()
    }

    fn base_validate(&self, security_code: RStr<'_>) -> FfiFuture<RResult<u16, RawError>> {
        let (link, id) = (Arc::clone(&self.link), self.id);
        let security_code: RString = security_code.into();
        FfiFuture::new(async move {
            let message = |request| ToHost::Validate {
                request,
                security_code,
            };
            match link.request(id, message).await {
                Ok(Some(Reply::Verdict(answer))) => answer.map_err(|error| error.0).into(),
                _ => RResult::RErr(raw_error(
                    kind::INTERNAL,
                    "host_panic",
                    "the host gave no verdict",
                )),
            }
        })
    }
}

struct Report {
    link: Arc<Link>,
    id: u64,
}

impl ReportV1 for Report {
    fn settle(&self, index: u64, outcome: RResult<RawReceipt, RawError>) {
        guarded((), || {
            let outcome = outcome.into_result().map(raw::Receipt).map_err(raw::Error);
            // What does not fit into a frame is not heard; the number is settled as not reported.
            let _ = self.link.send(self.id, &ToHost::Settle { index, outcome });
        });
    }
}
