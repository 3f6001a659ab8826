//! The thread that starts a worker process, reads from it, and tells how it ended.
//!
//! One thread for the process's whole life, because the process is to end with the thread that started it.
//!
//! Invariant: what a worker says is judged here before anybody acts on it; one that breaks the rules is killed.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Once, Weak, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use phone_verify_plugin_abi::{
    abi_stable::std_types::{RResult, RSliceMut, RStr},
    kind,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process_group},
};

use super::{
    COMMAND,
    death::{Death, Killed},
    frame::Arrivals,
    link::{Event, GRACE, Instance, Link, Pending},
    message::{Answer, NO_CALL, PROTOCOL, Question, ToHost, ToWorker},
    output::Output,
    raw,
    supervisor::{NotReady, Spec, Supervisor},
};
use crate::backends::{
    bounded::warn_of_slow_poll,
    convert::raw_error,
    instance::CONSTRUCTION_LIMIT,
    refusal::{Refusal, code},
    services::call::Running,
};

/// How long a process that was asked to end may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a process whose socket is closed may take to be gone.
const LAST_BREATH: Duration = Duration::from_millis(50);
/// The most random bytes in one answer.
const MAX_RANDOM_BYTES: u32 = 64 * 1024;

/// How the start of a worker went.
pub(super) type Started = Result<Arc<Link>, NotReady>;

/// Starts a worker and stays with it to its end.
pub(super) fn start(spec: Arc<Spec>, supervisor: Weak<Supervisor>) -> mpsc::Receiver<Started> {
    let (sender, started) = mpsc::sync_channel(1);
    let name = format!("worker-{}", spec.library);
    // What is told there is told where the caller's is.
    let subscriber = tracing::dispatcher::get_default(Clone::clone);
    let spawned = thread::Builder::new().name(name).spawn({
        let sender = sender.clone();
        move || {
            let _subscriber = tracing::dispatcher::set_default(&subscriber);
            match Watch::begin(&spec, supervisor, sender.clone()) {
                Ok(watch) => watch.run(),
                Err(error) => drop(sender.send(Err(NotReady::not_started(&spec, &error)))),
            }
        }
    });
    if let Err(error) = spawned {
        let message = format!("no thread can be started: {error}");
        let refusal = Refusal::new(code::WORKER_NOT_STARTED, message);
        // The receiver waits below us.
        let _ = sender.send(Err(NotReady::Refused(refusal)));
    }
    started
}

struct Watch {
    library: String,
    child: Child,
    link: Arc<Link>,
    bell: UnixStream,
    output: Output,
    has_output: bool,
    supervisor: Weak<Supervisor>,
    /// Who waits for the start, until it is over.
    starting: Option<mpsc::SyncSender<Started>>,
    begun: Duration,
    idle_stop: Duration,
    /// Until when it must have ended, when it was asked to.
    farewell: Option<Duration>,
}

/// Why reading is over.
enum End {
    /// The socket is closed.
    Gone,
    Kill(Killed),
}

impl Watch {
    fn begin(
        spec: &Spec,
        supervisor: Weak<Supervisor>,
        starting: mpsc::SyncSender<Started>,
    ) -> io::Result<Self> {
        let begun = spec.clock.elapsed();
        let (ours, theirs) = UnixStream::pair()?;
        let (bell, ring) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let (pipe, output) = io::pipe()?;
        let mut command = Command::new(spec.program.path());
        command
            .arg0("phone-verify")
            .arg(COMMAND)
            .env_clear()
            .current_dir("/")
            // Neither a terminal's Ctrl-C nor its own signals reach beyond it.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command.spawn()?;
        // Its ends of the pipe and the socket are only its own now.
        drop(command);
        let link = Arc::new(Link::new(ours, ring, spec.clock.clone())?);
        let open = ToWorker::Open {
            protocol: PROTOCOL.to_owned(),
            path: spec.path.as_os_str().as_bytes().to_vec(),
            file: spec.file.clone(),
        };
        link.send(NO_CALL, &open)
            .map_err(|_| io::Error::other("the path is too long"))?;
        Ok(Self {
            output: Output::new(pipe, &spec.library, spec.clock.clone()),
            has_output: true,
            library: spec.library.clone(),
            child,
            link,
            bell,
            supervisor,
            starting: Some(starting),
            begun,
            idle_stop: spec.idle_stop,
            farewell: None,
        })
    }

    fn run(mut self) {
        let mut arrivals = Arrivals::default();
        let end = loop {
            if let Err(end) = self.step(&mut arrivals) {
                break end;
            }
        };
        self.bury(end);
    }

    /// Waits for something to happen, and handles it.
    fn step(&mut self, arrivals: &mut Arrivals) -> Result<(), End> {
        if let Some(why) = self.link.state().kill.take() {
            return Err(End::Kill(why));
        }
        let unsent = self.link.flush();
        let timeout = self.wait_at_most()?;
        let socket = if unsent {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        };
        let mut ready = [
            PollFd::from_borrowed_fd(self.link.stream().as_fd(), socket),
            PollFd::new(&self.bell, PollFlags::IN),
            PollFd::from_borrowed_fd(self.output.pipe().as_fd(), PollFlags::IN),
        ];
        // A pipe that is closed would always be ready.
        let watched = if self.has_output { 3 } else { 2 };
        if poll(&mut ready[..watched], timeout.as_ref()).is_err() {
            return Ok(());
        }
        let [socket, bell, output] = ready.map(|fd| !fd.revents().is_empty());
        if bell {
            let mut rings = [0; 64];
            while matches!((&self.bell).read(&mut rings), Ok(1..)) {}
        }
        // Before the frames: what a call printed is masked by what the call is about.
        if (output || socket) && self.has_output {
            self.has_output = self.output.read(&self.link);
        }
        if socket {
            self.read(arrivals)?;
        }
        Ok(())
    }

    /// Until when nothing has to be done without being told; what is due by now is done.
    fn wait_at_most(&mut self) -> Result<Option<Timespec>, End> {
        let now = self.link.clock.elapsed();
        if self.starting.is_some() && self.begun + CONSTRUCTION_LIMIT <= now {
            let limit_s = CONSTRUCTION_LIMIT.as_secs();
            return Err(End::Kill(Killed::TooSlow { limit_s }));
        }
        if self.link.is_retiring() && self.farewell.is_none() {
            self.farewell = Some(now + FAREWELL);
            let _ = self.link.send(NO_CALL, &ToWorker::Bye);
        }
        let state = self.link.state();
        let stop_by = state.given_up.values().map(|call| call.by).min();
        let is_idle = state.calls.is_empty() && state.given_up.is_empty();
        let idle_until = is_idle.then_some(state.idle_since + self.idle_stop);
        drop(state);
        if stop_by.is_some_and(|by| by <= now) {
            let grace_ms = GRACE.as_millis();
            return Err(End::Kill(Killed::Unresponsive { grace_ms }));
        }
        if self.farewell.is_some_and(|by| by <= now) {
            return Err(End::Gone);
        }
        if self.farewell.is_none() && idle_until.is_some_and(|until| until <= now) {
            tracing::debug!(plugin = self.library, "the worker process is idle and ends");
            self.link.retire_if_idle();
            return self.wait_at_most();
        }
        let opening = self.starting.as_ref().map(|_| self.begun + CONSTRUCTION_LIMIT);
        let idle_until = idle_until.filter(|_| self.farewell.is_none());
        let next = [opening, stop_by, idle_until, self.farewell]
            .into_iter()
            .flatten()
            .min();
        Ok(next.map(|at| timespec(at.saturating_sub(now))))
    }

    fn read(&mut self, arrivals: &mut Arrivals) -> Result<(), End> {
        loop {
            match arrivals.read(self.link.stream()) {
                Ok(0) => return Err(End::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(End::Gone),
            }
            loop {
                match arrivals.next() {
                    Ok(Some((id, message))) => self.handle(id, message)?,
                    Ok(None) => break,
                    Err(_) => return Err(End::Kill(Killed::Breach("what it sent is no frame"))),
                }
            }
        }
    }

    fn handle(&mut self, id: u64, message: ToHost) -> Result<(), End> {
        match message {
            ToHost::Ready { is_sealed, lacking } => self.ready(is_sealed, &lacking),
            ToHost::Refused { code, sentence } => {
                if let Some(starting) = self.starting.take() {
                    let code = code::of_a_worker(&code);
                    let refusal = NotReady::Refused(Refusal { code, sentence });
                    let _ = starting.send(Err(refusal));
                    self.link.retire();
                }
            }
            ToHost::Cancelled => drop(self.link.end(id)),
            ToHost::Discarded { instance } => drop(self.link.state().instances.remove(&instance)),
            ToHost::Done(outcome) => {
                let outcome = outcome.map_err(|error| error.0);
                if let Some(pending) = self.link.end(id) {
                    return forward(&pending, Event::Done(outcome));
                }
            }
            ToHost::Http { request, http } => {
                return self.forward_touching(id, Event::Http { request, http });
            }
            ToHost::Validate {
                request,
                security_code,
            } => {
                let event = Event::Validate {
                    request,
                    security_code,
                };
                return self.forward(id, event);
            }
            ToHost::Drop { request } => return self.forward(id, Event::Drop { request }),
            ToHost::Log {
                instance,
                level,
                message,
                fields,
            } => {
                let pending = self.pending(id);
                if let Some(instance) = self.instance(pending.as_ref(), instance) {
                    let log = || instance.host.log(level, RStr::from(message.as_str()), fields);
                    match pending.and_then(|pending| pending.info) {
                        Some(info) => Running::new(info).within(log),
                        None => log(),
                    }
                }
            }
            ToHost::Slow { took_ms } => {
                if let Some(info) = self.pending(id).and_then(|pending| pending.info) {
                    warn_of_slow_poll(&self.library, info.request_id(), Duration::from_millis(took_ms));
                }
            }
            ToHost::Ask { request, question } => {
                let answer = self.answer(id, question)?;
                // Bounded by what is asked, and by the length of a message.
                let _ = self.link.send(id, &ToWorker::Answer { request, answer });
            }
            ToHost::Settle { index, outcome } => {
                if let Some(pending) = self.pending(id)
                    && let Some(report) = &pending.report
                {
                    pending.is_touched.store(true, Ordering::Relaxed);
                    let outcome = outcome.map(|receipt| receipt.0).map_err(|error| error.0);
                    report.settle(index, RResult::from(outcome));
                }
            }
        }
        Ok(())
    }

    fn ready(&mut self, is_sealed: bool, lacking: &[String]) {
        let Some(starting) = self.starting.take() else {
            return;
        };
        if is_sealed {
            self.link.seal();
        }
        say_what_lacks(lacking);
        let took = self.link.clock.elapsed().saturating_sub(self.begun);
        tracing::debug!(
            plugin = self.library,
            pid = self.child.id(),
            took_us = took.as_micros(),
            "its worker process is ready"
        );
        let _ = starting.send(Ok(Arc::clone(&self.link)));
    }

    fn pending(&self, id: u64) -> Option<Pending> {
        self.link.state().calls.get(&id).cloned()
    }

    fn instance(&self, pending: Option<&Pending>, instance: u64) -> Option<Arc<Instance>> {
        match pending {
            Some(pending) => Some(Arc::clone(&pending.instance)),
            None => self.link.state().instances.get(&instance).cloned(),
        }
    }

    /// What a call asks for after it was given up is nobody's business.
    fn forward(&self, id: u64, event: Event) -> Result<(), End> {
        self.pending(id)
            .map_or(Ok(()), |pending| forward(&pending, event))
    }

    fn forward_touching(&self, id: u64, event: Event) -> Result<(), End> {
        let Some(pending) = self.pending(id) else {
            return Ok(());
        };
        pending.is_touched.store(true, Ordering::Relaxed);
        forward(&pending, event)
    }

    fn answer(&self, id: u64, question: Question) -> Result<Answer, End> {
        let pending = self.pending(id);
        let call = pending.as_ref().and_then(|pending| pending.call.as_ref());
        Ok(match question {
            Question::Random { instance, length } => {
                let instance = self
                    .instance(pending.as_ref(), instance)
                    .filter(|_| length <= MAX_RANDOM_BYTES)
                    .ok_or(End::Kill(Killed::Breach("it asked for randomness for nobody")))?;
                let mut bytes = vec![0; length as usize];
                instance.host.random(RSliceMut::from_mut_slice(&mut bytes));
                Answer::Random(bytes)
            }
            Question::SecurityCode => {
                Answer::Text(call.map(|call| call.base_security_code()).ok_or_else(over))
            }
            Question::Message { security_code } => {
                let message = call.ok_or_else(over).and_then(|call| {
                    let message = call.base_message(RStr::from(security_code.as_str()));
                    message.into_result().map_err(raw::Error)
                });
                Answer::Text(message)
            }
        })
    }

    /// Sees to it that the process is gone, and tells everybody.
    fn bury(mut self, end: End) {
        let mut killed = match end {
            End::Kill(killed) => Some(killed),
            End::Gone => None,
        };
        let mut status = self.last_breath(killed.is_none());
        if status.is_none() {
            if killed.is_none() && self.farewell.is_none() {
                killed = Some(Killed::Breach("it closed its socket"));
            }
            self.kill_group();
            let _ = self.child.kill();
            status = self.child.wait().ok();
        }
        if !self.link.is_sealed() {
            // Whatever it left behind in its process group.
            self.kill_group();
        }
        let last_lines = self.output.finish(&self.link);
        let death = Arc::new(Death::new(killed.as_ref(), status, &last_lines));
        let in_order = self.farewell.is_some();
        if !in_order {
            tracing::error!(
                plugin = self.library,
                pid = self.child.id(),
                code = death.code,
                "its worker process {}",
                death.what
            );
        }
        // First, so that a call that is made again finds a new worker or a quarantine.
        if let Some(supervisor) = self.supervisor.upgrade() {
            supervisor.ended(&self.link, (!in_order).then_some(&death));
        }
        self.link.close(Arc::clone(&death));
        if let Some(starting) = self.starting.take() {
            let _ = starting.send(Err(NotReady::Died(death)));
        }
    }

    fn last_breath(&mut self, may_wait: bool) -> Option<ExitStatus> {
        const STEP: Duration = Duration::from_micros(200);
        let mut waited = Duration::ZERO;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if !may_wait || waited >= LAST_BREATH {
                return None;
            }
            thread::sleep(STEP);
            waited += STEP;
        }
    }

    fn kill_group(&self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn forward(pending: &Pending, event: Event) -> Result<(), End> {
    match pending.events.try_send(event) {
        Err(tokio::sync::mpsc::error::TrySendError::Full(_)) => Err(End::Kill(Killed::Breach(
            "one call asked for too many things at once",
        ))),
        // Who waited is gone: the call is just being given up.
        _ => Ok(()),
    }
}

/// Once for the whole process: it is the system that lacks it.
fn say_what_lacks(lacking: &[String]) {
    static SAID: Once = Once::new();
    if !lacking.is_empty() {
        SAID.call_once(|| {
            let lacking = lacking.join(" and ");
            tracing::warn!("worker processes run with a weaker sandbox, for this system lacks {lacking}");
        });
    }
}

fn over() -> raw::Error {
    raw::Error(raw_error(kind::INTERNAL, "call_over", "the call is over"))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
