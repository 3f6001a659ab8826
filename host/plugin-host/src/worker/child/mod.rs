//! The worker process: opens one library, serves its backends over the channel that it was started with.
//!
//! Invariant: no code of the library runs before the sandbox is on.

mod carrier;
mod link;
mod sandbox;

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    sync::Arc,
    task::Poll,
};

use phone_verify_plugin_abi::{
    BackendObj, CallObj, RawError, ReportObj, abi_stable::std_types::RResult, error_flag, kind,
};
use tokio::sync::oneshot;

pub(super) use self::sandbox::{MEMORY_BYTES, STACK_BYTES};
use self::{
    carrier::{OfCall, Remote},
    link::Link,
    sandbox::Sandbox,
};
use super::{
    channel::Inherited,
    frame::Arrivals,
    message::{About, Method, NO_CALL, Outcome, PROTOCOL, Step, ToHost, ToWorker},
};
use crate::{
    bounded::SLOW_POLL,
    convert::raw_error,
    load::{Library, crash, own_exit},
    raw,
    services::abi,
};

/// Runs as a worker, until the host says that it is enough or is gone.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> io::Result<()> {
    own_exit::announce();
    let channel = Inherited::take()
        .map_err(|error| io::Error::other(format!("this command is for phone-verify itself: {error}")))?;
    // Lists of processes would call it `exe`, as the link is called that it was started by.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"phone-verify");
    let mut arrivals = Arrivals::default();
    let (path, file, overrides, is_confined) = loop {
        match arrivals.read(&channel) {
            Ok(1..) => {}
            Ok(0) => return Err(io::Error::other("the host is gone")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                channel.wait(None);
                continue;
            }
            Err(error) => return Err(error),
        }
        match arrivals.next() {
            Ok(None) => {}
            Ok(Some((
                _,
                ToWorker::Open {
                    protocol,
                    path,
                    file,
                    overrides,
                    is_confined,
                },
            ))) if protocol == PROTOCOL => break (path, file, overrides, is_confined),
            _ => return Err(io::Error::other(format!("the host does not speak {PROTOCOL}"))),
        }
    };
    let link = Arc::new(Link::new(channel, arrivals));
    // Before the sandbox is on, for it needs descriptors.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let path = path_of(path)?;
    let path = path.as_path();
    let prepares = |step: Step| {
        // A few bytes always fit into a frame.
        let _ = link.send(NO_CALL, &ToHost::Preparing { step });
    };
    let sandbox = if is_confined {
        Sandbox::before_opening(path, prepares)
    } else {
        Sandbox::none()
    };
    if link.channel().is_gone() {
        return Ok(());
    }
    let is_sealed = sandbox.is_sealed;
    let confined = ToHost::Confined {
        is_sealed,
        lacking: sandbox.lacking,
        limits: sandbox.limits,
    };
    // A few sentences, too.
    let _ = link.send(NO_CALL, &confined);
    // Of this frame, which lasts as long as the library is called.
    let bottom_of_stack = std::ptr::from_ref(&path).addr();
    crash::watch(path, bottom_of_stack);
    let opened = Library::open(path, &file, overrides);
    crash::know_modules(path);
    if is_sealed {
        sandbox::after_opening()?;
    }
    let answer = match &opened {
        Ok(_) => ToHost::Ready,
        Err(refusal) => ToHost::Refused {
            code: refusal.code.to_owned(),
            sentence: refusal.sentence.clone(),
            may_pass: refusal.may_pass,
        },
    };
    let _ = link.send(NO_CALL, &answer);
    let Ok(library) = opened else {
        return Ok(());
    };
    let worker = Worker {
        library,
        link,
        instances: HashMap::new(),
        running: HashMap::new(),
    };
    runtime.block_on(worker.run())
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere a path is a text")]
fn path_of(bytes: Vec<u8>) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;

    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> io::Result<PathBuf> {
    let text = String::from_utf8(bytes);
    text.map(PathBuf::from)
        .map_err(|_| io::Error::other("the path of the private copy is not Unicode"))
}

struct Worker {
    library: Library,
    link: Arc<Link>,
    instances: HashMap<u64, Arc<BackendObj>>,
    /// How a running call is told that it is given up; calls that ended are swept out now and then.
    running: HashMap<u64, oneshot::Sender<()>>,
}

impl Worker {
    async fn run(mut self) -> io::Result<()> {
        let link = Arc::clone(&self.link);
        let readable = link.channel().readable()?;
        loop {
            for (id, message) in link.receive() {
                if matches!(message, ToWorker::Bye) {
                    // What the library's destructors log is still heard.
                    self.instances.clear();
                    return Ok(());
                }
                self.handle(id, message);
            }
            tokio::select! {
                () = link.arrived.notified() => {}
                changed = readable.changed() => changed?,
            }
        }
    }

    fn remote(&self, instance: u64) -> Remote {
        Remote::new(Arc::clone(&self.link), instance)
    }

    fn handle(&mut self, id: u64, message: ToWorker) {
        match message {
            ToWorker::Create {
                instance,
                export,
                options_json,
                times,
            } => {
                self.link.set_times(times);
                let host = abi::host(self.remote(instance));
                let entered = carrier::enter(id);
                let made = self.library.create(&export, host, &options_json);
                drop(entered);
                let outcome = made.map(|backend| {
                    self.instances.insert(instance, Arc::new(backend));
                    Outcome::Nothing
                });
                done(&self.link, id, outcome.map_err(raw::Error));
            }
            ToWorker::Discard { instance } => {
                drop(self.instances.remove(&instance));
                let _ = self.link.send(id, &ToHost::Discarded { instance });
            }
            ToWorker::Call {
                instance,
                method,
                about,
                times,
            } => {
                self.link.set_times(times);
                self.start(id, instance, method, about);
            }
            ToWorker::Cancel => {
                if let Some(cancel) = self.running.remove(&id) {
                    let _ = cancel.send(());
                }
            }
            ToWorker::Reply { request, answer } => self.link.reply(request, answer),
            // They begin and end the loop.
            ToWorker::Open { .. } | ToWorker::Bye => {}
        }
    }

    fn start(&mut self, id: u64, instance: u64, method: Method, about: About) {
        let Some(backend) = self.instances.get(&instance).map(Arc::clone) else {
            let error = raw_error(kind::INTERNAL, "no_instance", "the worker has no such backend");
            return done(&self.link, id, Err(raw::Error(error)));
        };
        if self.running.len() >= 1024 {
            self.running.retain(|_, cancel| !cancel.is_closed());
        }
        let (cancel, cancelled) = oneshot::channel();
        self.running.insert(id, cancel);
        let remote = || self.remote(instance).in_call(id);
        let report = abi::report(remote());
        let call = abi::call(OfCall {
            remote: remote(),
            about,
        });
        let outcome = invoke(backend, method, call, report);
        let link = Arc::clone(&self.link);
        tokio::spawn(async move {
            match until_cancelled(&link, id, outcome, cancelled).await {
                Some(outcome) => done(&link, id, outcome),
                None => {
                    let _ = link.send(id, &ToHost::Cancelled);
                }
            }
        });
    }
}

/// Polls the library's future with its call as the current one, until it answers or is given up (`None`).
async fn until_cancelled(
    link: &Link,
    id: u64,
    outcome: impl Future<Output = Result<Outcome, raw::Error>>,
    mut cancelled: oneshot::Receiver<()>,
) -> Option<Result<Outcome, raw::Error>> {
    let mut outcome = Box::pin(outcome);
    let mut warned = false;
    let ended = poll_fn(|context| {
        if pin!(&mut cancelled).poll(context) == Poll::Ready(Ok(())) {
            return Poll::Ready(None);
        }
        let _entered = carrier::enter(id);
        let before = link.clock.elapsed();
        let polled = catch_unwind(AssertUnwindSafe(|| outcome.as_mut().poll(context)));
        let took = link.clock.elapsed().saturating_sub(before);
        if took > SLOW_POLL && !warned {
            warned = true;
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let _ = link.send(id, &ToHost::Slow { took_ms });
        }
        match polled {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(Some(Err(panicked()))),
        }
    })
    .await;
    // The library's destructors log for this call, too.
    let _entered = carrier::enter(id);
    drop(outcome);
    ended
}

/// A panic that the library's own guard did not catch.
fn panicked() -> raw::Error {
    let mut error = raw_error(kind::INTERNAL, "plugin_panic", "panicked");
    error.flags = error_flag::PANIC;
    raw::Error(error)
}

fn done(link: &Link, id: u64, outcome: Result<Outcome, raw::Error>) {
    if link.send(id, &ToHost::Done(outcome)).is_err() {
        let why = "the backend answered with more than 2 MiB";
        let error = raw_error(kind::OUTCOME_UNKNOWN, "too_large", why);
        // A sentence always fits.
        let _ = link.send(id, &ToHost::Done(Err(raw::Error(error))));
    }
}

async fn invoke(
    backend: Arc<BackendObj>,
    method: Method,
    call: CallObj,
    report: ReportObj,
) -> Result<Outcome, raw::Error> {
    fn outcome<T>(
        answer: RResult<T, RawError>,
        outcome: impl FnOnce(T) -> Outcome,
    ) -> Result<Outcome, raw::Error> {
        answer.into_result().map(outcome).map_err(raw::Error)
    }

    match method {
        Method::SendSms(sms) => outcome(backend.send_sms(sms.0, call).await, |receipt| {
            Outcome::Receipt(raw::Receipt(receipt))
        }),
        Method::SendBulkSms(bulk) => outcome(backend.send_bulk_sms(bulk.0, report, call).await, |()| {
            Outcome::Nothing
        }),
        Method::GenerateSecurityCode => outcome(backend.generate_security_code(call).await, Outcome::Text),
        Method::GenerateMessage(request) => outcome(
            backend.generate_message(request.0, call).await,
            Outcome::MaybeText,
        ),
        Method::ValidateSecurityCode(check) => outcome(
            backend.validate_security_code(check.0, call).await,
            Outcome::Verdict,
        ),
        Method::Receive(request) => outcome(backend.receive(request.0, call).await, |received| {
            Outcome::Received(raw::Received(received))
        }),
        Method::Feedback(feedback) => {
            outcome(backend.feedback(feedback.0, call).await, |()| Outcome::Nothing)
        }
        Method::Balance => outcome(backend.balance(call).await, |balance| {
            Outcome::Balance(raw::Balance(balance))
        }),
        Method::Cancel(cancel) => outcome(backend.cancel(cancel.0, call).await, |()| Outcome::Nothing),
        Method::Extension(request) => outcome(backend.extension(request.0, call).await, |body| {
            Outcome::Extension(body.into_option().map(raw::Body))
        }),
    }
}
