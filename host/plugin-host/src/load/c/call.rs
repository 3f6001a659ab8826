//! One call into a library in C: begun, waited for, and answered or given up.
//!
//! Invariant: what the library asked the host for is answered exactly once, and the library's backend lives until the
//! call is completed, whether anybody still waits for it or not.

use std::{
    collections::HashMap,
    ffi::c_void,
    future::Future,
    mem::take,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use phone_verify_plugin_abi::{CallObj, HostObj, RawError, ReportObj, c, kind};

use super::{
    instance::Instance,
    text_pairs,
    values::{self, Answer},
};
use crate::{convert::raw_error, services::protocol::HostReply};

/// The calls of one backend that the library has not completed.
#[derive(Default)]
pub(super) struct Calls {
    open: Mutex<HashMap<u64, Arc<OpenCall>>>,
    begun: AtomicU64,
}

impl Calls {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenCall>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody calls any more, so that it is empty: its memory goes.
    pub(super) fn clear(&self) {
        take(&mut *self.open());
    }

    fn begin(&self, call: Arc<OpenCall>) -> u64 {
        let id = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        self.open().insert(id, call);
        id
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<OpenCall>> {
        self.open().get(&id).cloned()
    }

    /// Completes a call; the error says what is wrong with that.
    pub(super) fn complete(&self, id: u64, answer: Result<Answer, RawError>) -> Result<(), &'static str> {
        let Some(call) = self.open().remove(&id) else {
            return Err(if (1..=self.begun.load(Ordering::Relaxed)).contains(&id) {
                "the backend completed a call twice"
            } else {
                "the backend completed a call that never was"
            });
        };
        let mut progress = call.progress();
        progress.answer = Some(answer);
        let waker = progress.waker.take();
        drop(progress);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

/// A call that the library has begun.
pub(super) struct OpenCall {
    pub(super) call: CallObj,
    pub(super) report: Option<ReportObj>,
    /// Not destroyed before this call is completed.
    instance: Arc<Instance>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    answer: Option<Result<Answer, RawError>>,
    asked: Vec<Question>,
    waker: Option<Waker>,
    /// Nobody polls any more.
    is_over: bool,
}

impl OpenCall {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the future of the call see to the question.
    pub(super) fn ask(&self, question: Question) {
        let mut progress = self.progress();
        if progress.is_over {
            drop(progress);
            return question.call_is_over();
        }
        progress.asked.push(question);
        let waker = progress.waker.clone();
        drop(progress);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What a library gave along to get it back; the host never looks at it.
#[derive(Clone, Copy)]
pub(super) struct User(pub(super) *mut c_void);

// SAFETY: the header says that a library is called from any thread.
unsafe impl Send for User {}

/// Something that a library asked for and that takes its time, and where it wants the answer.
pub(super) struct Question {
    begin: Begin,
    done: Done,
    user: User,
}

/// Asks the host, inside of a poll of the call, so that the host knows for which one it is.
type Begin = Box<dyn FnOnce(&HostObj, &CallObj) -> Work + Send>;
type Work = Pin<Box<dyn Future<Output = Result<HostReply, RawError>> + Send>>;

/// The function of the library that hears the answer.
#[derive(Clone, Copy)]
pub(super) enum Done {
    Outcome(c::Done),
    Http(c::HttpDone),
}

impl Done {
    /// Tells the library what came of its question.
    fn tell(self, user: User, answer: Result<&HostReply, &RawError>) {
        match (self, answer) {
            (Self::Http(done), Ok(HostReply::Http(response))) => {
                let response = &response.0;
                let headers = values::lend_pairs(response.headers.iter().map(|pair| (&pair.0, &pair.1)));
                let response = values::lend_response(response, &headers);
                // SAFETY: as in `tell_http_error`.
                unsafe { done(user.0, &raw const response, std::ptr::null()) };
            }
            (Self::Http(done), Ok(_)) => tell_http_error(done, user, &over(kind::INTERNAL)),
            (Self::Http(done), Err(error)) => tell_http_error(done, user, error),
            (Self::Outcome(done), answer) => tell(
                done,
                user,
                answer.map(|reply| match reply {
                    HostReply::Verdict(verdict) => (*verdict, None),
                    HostReply::Text(text) => (0, Some(text.as_bytes())),
                    HostReply::Extension(body) => (0, body.as_ref().map(|body| body.0.as_slice())),
                    HostReply::Done | HostReply::Random(_) | HostReply::Http(_) => (0, None),
                }),
            ),
        }
    }
}

/// Tells the library that its request failed.
pub(super) fn tell_http_error(done: c::HttpDone, user: User, error: &RawError) {
    let error = values::lend_error(error);
    // SAFETY: the function is the library's, which says how it is called; the error lives until it returns.
    unsafe { done(user.0, std::ptr::null(), &raw const error) };
}

/// Tells the library what came of its question.
pub(super) fn tell(done: c::Done, user: User, answer: Result<(u16, Option<&[u8]>), &RawError>) {
    let error = answer.as_ref().err().map(|error| values::lend_error(error));
    let (verdict, text) = answer.unwrap_or_default();
    let outcome = c::Outcome {
        size: values::size_of_record::<c::Outcome>(),
        verdict,
        error: error.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
        text: text.map_or(values::NO_TEXT, values::lend_bytes),
        ..values::NO_OUTCOME
    };
    // SAFETY: the function is the library's, which says how it is called; what is lent lives until it returns.
    unsafe { done(user.0, &raw const outcome) };
}

/// The error that a question gets when nobody waits for the call any more.
pub(super) fn over(kind: u16) -> RawError {
    raw_error(kind, "call_over", "the call is over or was given up")
}

impl Question {
    /// `begin` asks the host.
    pub(super) fn new<F>(
        done: Done,
        user: User,
        begin: impl FnOnce(&HostObj, &CallObj) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<HostReply, RawError>> + Send + 'static,
    {
        let begin: Begin = Box::new(|host, call| Box::pin(begin(host, call)));
        Self { begin, done, user }
    }

    /// Nothing was done about it.
    pub(super) fn call_is_over(self) {
        self.done.tell(self.user, Err(&over(kind::TRANSIENT)));
    }

    fn begin(self, host: &HostObj, call: &CallObj) -> Waiting {
        Waiting {
            work: (self.begin)(host, call),
            done: self.done,
            user: self.user,
        }
    }
}

struct Waiting {
    work: Work,
    done: Done,
    user: User,
}

impl Waiting {
    /// Ready when the library has been told.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let answer = self.work.as_mut().poll(context);
        answer.map(|answer| self.done.tell(self.user, answer.as_ref()))
    }

    /// A request that was begun may have arrived.
    fn call_is_over(self) {
        drop(self.work);
        self.done.tell(self.user, Err(&over(kind::OUTCOME_UNKNOWN)));
    }
}

/// A call, as the host waits for it.
pub(super) struct Running<S> {
    call: Arc<OpenCall>,
    /// Calls the library's function; gone when that was done.
    start: Option<S>,
    id: u64,
    waiting: Vec<Waiting>,
}

impl<S: FnOnce(&Instance, &c::Call) + Unpin> Running<S> {
    pub(super) fn new(instance: Arc<Instance>, call: CallObj, report: Option<ReportObj>, start: S) -> Self {
        Self {
            call: Arc::new(OpenCall {
                call,
                report,
                instance,
                progress: Mutex::default(),
            }),
            start: Some(start),
            id: 0,
            waiting: Vec::new(),
        }
    }

    fn start(&mut self, start: S) {
        let OpenCall { call, instance, .. } = &*self.call;
        self.id = instance.context.calls.begin(Arc::clone(&self.call));
        let texts = [
            call.request_id(),
            call.idempotency_key(),
            call.locale(),
            call.region(),
            call.channel(),
            call.purpose(),
            call.template(),
            call.security_code(),
            call.message_id(),
        ];
        let [
            request_id,
            idempotency_key,
            locale,
            region,
            channel,
            purpose,
            template_name,
            security_code,
            message_id,
        ] = texts.each_ref().map(|text| values::lend(text));
        let params = text_pairs(&call.params_json());
        let params = values::lend_pairs(params.iter().map(|(name, value)| (name, value)));
        start(
            instance,
            &c::Call {
                size: values::size_of_record::<c::Call>(),
                id: self.id,
                deadline_monotonic_ns: call.deadline_monotonic_ns(),
                request_id,
                idempotency_key,
                locale,
                region,
                channel,
                purpose,
                template_name,
                params: params.as_ptr(),
                param_count: params.len(),
                security_code,
                message_id,
            },
        );
    }
}

impl<S> Running<S> {
    /// Answers what is open. The library may ask again meanwhile, and is answered at once then.
    fn close(&mut self) {
        let mut progress = self.call.progress();
        progress.is_over = true;
        progress.waker = None;
        let asked = take(&mut progress.asked);
        drop(progress);
        take(&mut self.waiting)
            .into_iter()
            .for_each(Waiting::call_is_over);
        asked.into_iter().for_each(Question::call_is_over);
    }
}

impl<S: FnOnce(&Instance, &c::Call) + Unpin> Future for Running<S> {
    type Output = Result<Answer, RawError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.call.progress().waker = Some(context.waker().clone());
        if let Some(start) = this.start.take() {
            this.start(start);
        }
        loop {
            let mut progress = this.call.progress();
            if let Some(answer) = progress.answer.take() {
                drop(progress);
                this.close();
                return Poll::Ready(answer);
            }
            let asked = take(&mut progress.asked);
            drop(progress);
            if let Some(host) = this.call.instance.context.host() {
                let begun = asked
                    .into_iter()
                    .map(|question| question.begin(&host, &this.call.call));
                this.waiting.extend(begun);
            }
            let before = this.waiting.len();
            // Out of reach of what the library does when it is told.
            let mut waiting = take(&mut this.waiting);
            waiting.retain_mut(|waiting| waiting.poll(context).is_pending());
            this.waiting = waiting;
            if this.waiting.len() == before {
                return Poll::Pending;
            }
        }
    }
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        // Answered calls are closed already, which is no harm twice.
        self.close();
        let instance = &self.call.instance;
        if self.id != 0 && instance.context.calls.find(self.id).is_some() {
            instance.cancel(self.id);
        }
    }
}
