//! A backend whose library runs in a worker process: the ABI's own object, so that nothing that calls a backend knows
//! where it runs.
//!
//! Invariant: a call whose process died is made once more, on a fresh process, only if nothing can have been sent.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use phone_verify_plugin_abi::{
    BackendObj, BackendV1, BackendV1_TO, CallObj, RawBalance, RawBulk, RawCancel, RawCheck, RawError,
    RawExtension, RawFeedback, RawHttpRequest, RawMessageRequest, RawReceipt, RawReceived, RawSms, ReportObj,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{ROption, RResult, RString, RVec},
    },
    async_ffi::BorrowingFfiFuture,
    kind,
};
use zeroize::Zeroizing;

use super::{
    death::Killed,
    exchange::{Lost, exchange},
    link::{Link, Pending},
    message::{About, Method, Outcome, Times, ToWorker},
    refused::explained,
    supervisor::{NotReady, Supervisor},
};
use crate::{
    clock::Clock,
    convert::raw_error,
    instance::{CONSTRUCTION_LIMIT, NotConstructed},
    model::Origin,
    raw,
    refusal::{Refusal, code},
    services::{Services, call, call::CallInfo, nanoseconds},
};

/// Constructs a backend in the library's worker. Blocks while it is constructed, at most for [`CONSTRUCTION_LIMIT`].
pub(crate) fn create(
    supervisor: &Arc<Supervisor>,
    export: &str,
    options_json: &str,
    services: &Arc<Services>,
) -> Result<BackendObj, NotConstructed> {
    let remote = Arc::new(Remote {
        supervisor: Arc::clone(supervisor),
        export: export.to_owned(),
        options_json: Zeroizing::new(options_json.to_owned()),
        services: Arc::clone(services),
        place: Mutex::default(),
        moving: Arc::default(),
    });
    remote.settle().map_err(|problem| match problem {
        NotSettled::NotReady(why) => NotConstructed::Ended(why.told(supervisor.library())),
        NotSettled::NotConstructed(why) => why,
    })?;
    Ok(BackendV1_TO::from_value(RemoteBackend(remote), TD_Opaque))
}

struct RemoteBackend(Arc<Remote>);

struct Remote {
    supervisor: Arc<Supervisor>,
    export: String,
    options_json: Zeroizing<String>,
    services: Arc<Services>,
    /// The process where it is constructed, and its number there.
    place: Mutex<Option<(Weak<Link>, u64)>>,
    /// Whoever constructs it anew has this; others wait for it without a thread.
    moving: Arc<tokio::sync::Mutex<()>>,
}

enum NotSettled {
    NotReady(NotReady),
    NotConstructed(NotConstructed),
}

impl Remote {
    fn place(&self) -> Option<(Arc<Link>, u64)> {
        let place = lock(&self.place);
        let (link, number) = place.as_ref()?;
        let link = link.upgrade().filter(|link| link.is_open())?;
        Some((link, *number))
    }

    /// Constructs it in the library's process; one at a time.
    fn settle(&self) -> Result<(Arc<Link>, u64), NotSettled> {
        for _ in 0..TRIES {
            if let Some(place) = self.settle_once()? {
                return Ok(place);
            }
        }
        let why = "its worker process ended just then; it is started again at the next try";
        let refusal = Refusal::new(code::WORKER_UNRESPONSIVE, why);
        Err(NotSettled::NotConstructed(NotConstructed::Ended(refusal)))
    }

    /// `None`: the process ended in order at this very moment, for it was idle.
    fn settle_once(&self) -> Result<Option<(Arc<Link>, u64)>, NotSettled> {
        let link = self.supervisor.link().map_err(NotSettled::NotReady)?;
        let number = link.next_id();
        link.state().instances.insert(number, Arc::clone(&self.services));
        let message = ToWorker::Create {
            instance: number,
            export: self.export.clone(),
            options_json: self.options_json.to_string(),
            times: self.times(),
        };
        let (pending, events) = Pending::new(Arc::clone(&self.services), None);
        let created = block_on(
            exchange(&link, message, pending, events),
            self.supervisor.clock(),
            CONSTRUCTION_LIMIT,
        );
        let ended = |code, why: &str| NotConstructed::Ended(Refusal::new(code, why));
        let why = match created {
            Some(Ok(Ok(Outcome::Nothing))) => {
                *lock(&self.place) = Some((Arc::downgrade(&link), number));
                return Ok(Some((link, number)));
            }
            Some(Ok(Ok(_))) => {
                link.kill(Killed::Breach(WRONG_ANSWER));
                ended(code::WORKER_CONTRACT, WRONG_ANSWER)
            }
            Some(Ok(Err(error))) => NotConstructed::Refused(self.explained(error)),
            Some(Err(Lost::Died { death, .. })) => return Err(NotSettled::NotReady(NotReady::Died(death))),
            Some(Err(Lost::TooLarge)) => ended(
                code::NOT_CONSTRUCTED,
                "its options are longer than 2 MiB, which a worker process does not take; shorten them",
            ),
            Some(Err(Lost::Closed { .. })) => return Ok(None),
            None => {
                link.kill(Killed::TooSlow("construct a backend"));
                NotConstructed::too_slow()
            }
        };
        link.state().instances.remove(&number);
        Err(NotSettled::NotConstructed(why))
    }

    fn times(&self) -> Times {
        Times {
            unix_ms: self.services.clock.wall().0,
            monotonic_ns: nanoseconds(self.services.clock.elapsed()),
        }
    }

    /// A process that takes the call.
    async fn ready(self: &Arc<Self>, time_left: Duration) -> Result<(Arc<Link>, u64), RawError> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(place) = self.place() {
                return Ok(place);
            }
            let moving = Arc::clone(&self.moving).lock_owned().await;
            if let Some(place) = self.place() {
                return Ok(place);
            }
            // Starting a process blocks for some milliseconds; seconds, if the library's constructors never end.
            let this = Arc::clone(self);
            let settled = tokio::task::spawn_blocking(move || {
                let _until_it_is_there = moving;
                this.settle()
            })
            .await;
            let why = match settled {
                Ok(Ok(place)) => return Ok(place),
                Ok(Err(NotSettled::NotReady(why))) => why,
                Ok(Err(NotSettled::NotConstructed(why))) => return Err(why.raw()),
                Err(_) => return Err(internal("the worker could not be started")),
            };
            match why {
                NotReady::Wait(wait) if waited + wait < time_left => {
                    waited += wait;
                    tokio::time::sleep(wait).await;
                }
                why => return Err(NotConstructed::Ended(why.told(self.supervisor.library())).raw()),
            }
        }
    }

    /// What the library asks meanwhile is answered for the call that is entered, whose object `call` is.
    async fn run(self: &Arc<Self>, method: Method, call: CallObj) -> Result<Outcome, RawError> {
        let info = call::entered();
        let time_left = info.as_ref().map_or(Duration::ZERO, |info| info.time_left());
        let about = About {
            deadline_monotonic_ns: call.deadline_monotonic_ns(),
            request_id: call.request_id(),
            idempotency_key: call.idempotency_key(),
            locale: call.locale(),
            facts: info
                .as_ref()
                .map(|info| Box::new(info.facts().clone()))
                .unwrap_or_default(),
        };
        let arises_in = |origin| {
            if let Some(info) = &info {
                info.arises_in(origin);
            }
        };
        let mut is_again = false;
        loop {
            let (link, instance) = self
                .ready(time_left)
                .await
                .inspect_err(|_| arises_in(Origin::Host))?;
            let message = ToWorker::Call {
                instance,
                method: method.clone(),
                about: about.clone(),
                times: self.times(),
            };
            let (pending, events) = Pending::new(Arc::clone(&self.services), info.clone());
            let (death, is_touched) = match exchange(&link, message, pending, events).await {
                Ok(outcome) => return outcome.map_err(|error| self.explained(error)),
                // The process ended in order at this very moment.
                Err(Lost::Closed { is_touched: false }) => continue,
                Err(Lost::Closed { is_touched: true }) => {
                    arises_in(Origin::Host);
                    let why = "its worker process ended before the outcome of the call was heard";
                    return Err(raw_error(kind::OUTCOME_UNKNOWN, code::WORKER_DIED, why));
                }
                Err(Lost::TooLarge) => {
                    arises_in(Origin::Library);
                    return Err(internal("the call has more than 2 MiB"));
                }
                Err(Lost::Died { death, is_touched }) => (death, is_touched),
            };
            if !is_touched && !is_again {
                is_again = true;
                self.say_again(info.as_deref());
                continue;
            }
            let kind = if is_touched {
                kind::OUTCOME_UNKNOWN
            } else {
                kind::INTERNAL
            };
            // Whatever had it end, it was not the provider, even if that was being asked.
            arises_in(if death.is_of_the_library() {
                Origin::Library
            } else {
                Origin::Host
            });
            let message = format!("{}'s worker process {}", self.supervisor.library(), death.what);
            return Err(raw_error(kind, death.code, &message));
        }
    }

    fn explained(&self, error: RawError) -> RawError {
        if self.supervisor.is_confined() {
            explained(error)
        } else {
            error
        }
    }

    fn say_again(&self, info: Option<&CallInfo>) {
        tracing::warn!(
            library = self.supervisor.library(),
            request_id = info.map(CallInfo::request_id),
            "a call whose worker process died before it had asked for anything is made again"
        );
    }

    fn wrong(&self) -> RawError {
        if let Some((link, _)) = self.place() {
            link.kill(Killed::Breach(WRONG_ANSWER));
        }
        if let Some(call) = call::entered() {
            call.arises_in(Origin::Library);
        }
        raw_error(kind::OUTCOME_UNKNOWN, code::WORKER_CONTRACT, WRONG_ANSWER)
    }
}

/// Processes in which it is constructed until one of them does not end just then.
const TRIES: usize = 3;
const WRONG_ANSWER: &str = "its answer does not fit the question";

fn internal(why: &str) -> RawError {
    raw_error(kind::INTERNAL, code::WORKER_DIED, why)
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some((link, instance)) = self.place() {
            // Its services stay until it is dropped there: what its destructors log is heard, and masked.
            link.discard(instance);
        }
    }
}

impl RemoteBackend {
    /// Runs a method, and takes out of its outcome what it must be.
    fn call<'a, T: Send + 'a>(
        &'a self,
        method: Method,
        call: CallObj,
        fits: fn(Outcome) -> Option<T>,
    ) -> BorrowingFfiFuture<'a, RResult<T, RawError>> {
        BorrowingFfiFuture::new(async move {
            let outcome = self.0.run(method, call).await;
            outcome
                .and_then(|outcome| fits(outcome).ok_or_else(|| self.0.wrong()))
                .into()
        })
    }
}

/// Makes of an outcome what a method returns, if it is of its kind.
macro_rules! only {
    ($kind:pat => $value:expr) => {
        |outcome| match outcome {
            $kind => Some($value),
            _ => None,
        }
    };
}

impl BackendV1 for RemoteBackend {
    fn send_sms(&self, sms: RawSms, call: CallObj) -> BorrowingFfiFuture<'_, RResult<RawReceipt, RawError>> {
        let method = Method::SendSms(raw::Sms(sms));
        self.call(method, call, only!(Outcome::Receipt(receipt) => receipt.0))
    }

    fn send_bulk_sms(
        &self,
        bulk: RawBulk,
        _report: ReportObj,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<(), RawError>> {
        let method = Method::SendBulkSms(raw::Bulk(bulk));
        self.call(method, call, only!(Outcome::Nothing => ()))
    }

    fn generate_security_code(&self, call: CallObj) -> BorrowingFfiFuture<'_, RResult<RString, RawError>> {
        let method = Method::GenerateSecurityCode;
        self.call(method, call, only!(Outcome::Text(code) => code))
    }

    fn generate_message(
        &self,
        request: RawMessageRequest,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<ROption<RString>, RawError>> {
        let method = Method::GenerateMessage(raw::MessageRequest(request));
        self.call(method, call, only!(Outcome::MaybeText(message) => message))
    }

    fn validate_security_code(
        &self,
        check: RawCheck,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<u16, RawError>> {
        let method = Method::ValidateSecurityCode(raw::Check(check));
        self.call(method, call, only!(Outcome::Verdict(verdict) => verdict))
    }

    fn receive(
        &self,
        request: RawHttpRequest,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<RawReceived, RawError>> {
        let method = Method::Receive(raw::HttpRequest(request));
        self.call(method, call, only!(Outcome::Received(received) => received.0))
    }

    fn feedback(
        &self,
        feedback: RawFeedback,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<(), RawError>> {
        let method = Method::Feedback(raw::Feedback(feedback));
        self.call(method, call, only!(Outcome::Nothing => ()))
    }

    fn balance(&self, call: CallObj) -> BorrowingFfiFuture<'_, RResult<RawBalance, RawError>> {
        self.call(
            Method::Balance,
            call,
            only!(Outcome::Balance(balance) => balance.0),
        )
    }

    fn cancel(&self, cancel: RawCancel, call: CallObj) -> BorrowingFfiFuture<'_, RResult<(), RawError>> {
        let method = Method::Cancel(raw::Cancel(cancel));
        self.call(method, call, only!(Outcome::Nothing => ()))
    }

    fn extension(
        &self,
        request: RawExtension,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<ROption<RVec<u8>>, RawError>> {
        let method = Method::Extension(raw::Extension(request));
        let body = only!(Outcome::Extension(body) => body.map(|body| body.0).into());
        self.call(method, call, body)
    }
}

/// Waits for a future on this thread, outside of any runtime; `None` when it takes longer than `limit`.
fn block_on<F: Future>(future: F, clock: &Clock, limit: Duration) -> Option<F::Output> {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let end = clock.elapsed() + limit;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = end.saturating_sub(clock.elapsed());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
