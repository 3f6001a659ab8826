//! The worker process: opens one library, serves its backends over the socket that is its standard input.
//!
//! Invariant: no code of the library runs before the sandbox is on.

mod link;
mod sandbox;
mod services;

use std::{
    collections::HashMap,
    ffi::OsStr,
    future::{Future, poll_fn},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    pin::pin,
    process::ExitCode,
    sync::Arc,
    task::Poll,
};

use phone_verify_plugin_abi::{
    BackendObj, CallObj, RawError, ReportObj, abi_stable::std_types::RResult, error_flag, kind,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{io::Interest, sync::oneshot};

pub(super) use self::sandbox::MEMORY_BYTES;
use self::{
    link::{Link, Reply},
    sandbox::Sandbox,
};
use super::{
    frame::Arrivals,
    message::{About, Method, NO_CALL, Outcome, PROTOCOL, Step, ToHost, ToWorker},
    raw,
};
use crate::backends::{bounded::SLOW_POLL, convert::raw_error, load::Library};

/// Runs as a worker, until the host says that it is enough or is gone.
pub(crate) fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> io::Result<()> {
    close_inherited();
    // Lists of processes would call it `exe`, as the link is called that it was started by.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"phone-verify");
    let stream = socket()
        .map_err(|error| io::Error::other(format!("this command is for phone-verify itself: {error}")))?;
    let mut arrivals = Arrivals::default();
    let (path, file, is_confined) = loop {
        if arrivals.read(&stream)? == 0 {
            return Err(io::Error::other("the host is gone"));
        }
        match arrivals.next() {
            Ok(None) => {}
            Ok(Some((
                _,
                ToWorker::Open {
                    protocol,
                    path,
                    file,
                    is_confined,
                },
            ))) if protocol == PROTOCOL => break (path, file, is_confined),
            _ => return Err(io::Error::other(format!("the host does not speak {PROTOCOL}"))),
        }
    };
    let link = Arc::new(Link::new(stream, arrivals)?);
    // Before the sandbox is on, for it needs descriptors.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let path = Path::new(OsStr::from_bytes(&path));
    let prepares = |step: Step| {
        // A few bytes always fit into a frame.
        let _ = link.send(NO_CALL, &ToHost::Preparing { step });
    };
    let sandbox = if is_confined {
        Sandbox::before_opening(path, prepares)
    } else {
        Sandbox::none()
    };
    if is_gone(link.stream()) {
        return Ok(());
    }
    let is_sealed = sandbox.is_sealed;
    let confined = ToHost::Confined {
        is_sealed,
        lacking: sandbox.lacking,
        memory_bytes: sandbox.memory_bytes,
    };
    // A few sentences, too.
    let _ = link.send(NO_CALL, &confined);
    let opened = Library::open(path, &file);
    if is_sealed {
        sandbox::after_opening()?;
    }
    let answer = match &opened {
        Ok(_) => ToHost::Ready,
        Err(refusal) => ToHost::Refused {
            code: refusal.code.to_owned(),
            sentence: refusal.sentence.clone(),
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

/// Closes what is open besides the three streams. The daemon passes nothing on, but whoever started the daemon may have
/// left it something that it does not know of.
fn close_inherited() {
    let list = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"));
    let open: Vec<i32> = match list {
        Ok(list) => list
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
        Err(_) => (0..1024).collect(),
    };
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one by which the list was read is closed already.
        let _ = nix::unistd::close(descriptor);
    }
}

/// The socket, which comes as standard input; the library finds nothing there.
fn socket() -> io::Result<UnixStream> {
    let stdin = io::stdin();
    let stat = rustix::fs::fstat(stdin.as_fd())?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
        return Err(io::Error::other("the standard input is not its socket"));
    }
    let socket: OwnedFd = stdin.as_fd().try_clone_to_owned()?;
    // Not /dev/null, which not every system has.
    let (nothing, _) = io::pipe()?;
    rustix::stdio::dup2_stdin(nothing)?;
    Ok(socket.into())
}

/// Whether the host ended before this process was to end with it.
fn is_gone(stream: &UnixStream) -> bool {
    let mut ends = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut ends, Some(&now)), Ok(1..))
        && ends[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
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
        // Only waits: the link reads.
        let readable = tokio::net::UnixStream::from_std(link.stream().try_clone()?)?;
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
                ready = readable.readable() => {
                    ready?;
                    let all_is_read = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                    let _ = readable.try_io(Interest::READABLE, all_is_read);
                }
            }
        }
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
                let host = services::host(&self.link, instance);
                let entered = services::enter(id);
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
            ToWorker::HttpAnswer { request, answer } => self.link.reply(request, Reply::Http(answer)),
            ToWorker::Verdict { request, answer } => self.link.reply(request, Reply::Verdict(answer)),
            // `Answer` is taken out by the link, the others end and begin the loop.
            ToWorker::Answer { .. } | ToWorker::Open { .. } | ToWorker::Bye => {}
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
        let call = services::call(&self.link, id, about);
        let report = services::report(&self.link, id);
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
        let _entered = services::enter(id);
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
    let _entered = services::enter(id);
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
    }
}
