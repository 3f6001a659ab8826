//! The thread that starts a worker process, reads from it, and tells how it ended.
//!
//! One thread for the process's whole life, because the process is to end with the thread that started it.
//!
//! Invariant: what a worker says is judged here before anybody acts on it; one that breaks the rules is killed.

use std::{
    io,
    process::ExitStatus,
    sync::{Arc, Once, Weak, mpsc},
    thread,
    time::Duration,
};

use super::{
    bundle::{Found, keep},
    death::{Death, Killed, Remains, killed_for_memory},
    frame::Arrivals,
    link::Link,
    message::{Limits, NO_CALL, PROTOCOL, Step, ToHost, ToWorker},
    output::Output,
    process::Process,
    reception::receive,
    supervisor::{NotReady, Spec, Supervisor},
};
use crate::{
    instance::CONSTRUCTION_LIMIT,
    model::is_harmful,
    refusal::{Refusal, code},
    worker::WorkerMetrics,
};

/// How long a process that was asked to end may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Reads of the socket before all else has its turn: one that never ends must not keep its own deadline away.
const READS: usize = 16;
/// A refusal is one sentence.
const MAX_SENTENCE_CHARACTERS: usize = 2000;

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
    spec: Arc<Spec>,
    metrics: Arc<WorkerMetrics>,
    library: String,
    process: Process,
    link: Arc<Link>,
    output: Output,
    has_output: bool,
    /// Whether it told of its sandbox; what it says of that later is the library's word.
    is_confined: bool,
    /// What it does until then.
    step: Option<Step>,
    limits: Limits,
    /// What the system had killed for lack of memory when it was started.
    killed_for_memory: u64,
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
        spec: &Arc<Spec>,
        supervisor: Weak<Supervisor>,
        starting: mpsc::SyncSender<Started>,
    ) -> io::Result<Self> {
        let begun = spec.clock.elapsed();
        let killed_for_memory = killed_for_memory();
        let (process, channel, printed) = Process::start(&spec.program()?, spec.is_confined)?;
        let link = Arc::new(Link::new(channel, spec.clock.clone()));
        let open = ToWorker::Open {
            protocol: PROTOCOL.to_owned(),
            path: spec.staged.path.as_os_str().as_encoded_bytes().to_vec(),
            file: spec.file.clone(),
            overrides: spec.overrides,
            is_confined: spec.is_confined,
        };
        link.send(NO_CALL, &open)
            .map_err(|_| io::Error::other("the path is too long"))?;
        spec.metrics.started(&spec.library, process.id());
        Ok(Self {
            spec: Arc::clone(spec),
            metrics: Arc::clone(&spec.metrics),
            output: Output::new(printed, &spec.library, spec.clock.clone()),
            has_output: true,
            is_confined: false,
            step: Some(Step::Begin),
            limits: Limits::default(),
            killed_for_memory,
            library: spec.library.clone(),
            process,
            link,
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
        self.reap(end);
    }

    /// Waits for something to happen, and handles it.
    fn step(&mut self, arrivals: &mut Arrivals) -> Result<(), End> {
        self.is_doomed()?;
        let unsent = self.link.flush();
        let timeout = self.wait_at_most()?;
        let printed = self.has_output.then_some(self.output.printed());
        let ready = self.link.channel().wait(unsent, printed, timeout);
        if ready.printed {
            self.read_output();
        }
        if ready.channel {
            self.read(arrivals)?;
        }
        Ok(())
    }

    /// Whether somebody has it killed.
    fn is_doomed(&self) -> Result<(), End> {
        match self.link.state().kill.take() {
            Some(why) => Err(End::Kill(why)),
            None => Ok(()),
        }
    }

    /// Until when nothing has to be done without being told; what is due by now is done.
    fn wait_at_most(&mut self) -> Result<Option<Duration>, End> {
        let now = self.link.clock.elapsed();
        if self.starting.is_some() && self.begun + CONSTRUCTION_LIMIT <= now {
            return Err(End::Kill(Killed::TooSlow("open the library")));
        }
        if self.link.is_retiring() && self.farewell.is_none() {
            self.farewell = Some(now + FAREWELL);
            let _ = self.link.send(NO_CALL, &ToWorker::Bye);
        }
        let state = self.link.state();
        let first = state.given_up.values().min_by_key(|given_up| given_up.by);
        let stop_by = first.map(|given_up| (given_up.by, given_up.or.clone()));
        let is_idle = state.calls.is_empty() && state.given_up.is_empty();
        let idle_until = is_idle.then_some(state.idle_since + self.idle_stop);
        drop(state);
        let stop_by = match stop_by {
            Some((by, or)) if by <= now => return Err(End::Kill(or)),
            stop_by => stop_by.map(|(by, _)| by),
        };
        if self.farewell.is_some_and(|by| by <= now) {
            return Err(End::Gone);
        }
        if self.farewell.is_none() && idle_until.is_some_and(|until| until <= now) {
            tracing::debug!(library = self.library, "the worker process is idle and ends");
            self.link.retire_if_idle();
            return self.wait_at_most();
        }
        let opening = self.starting.as_ref().map(|_| self.begun + CONSTRUCTION_LIMIT);
        let idle_until = idle_until.filter(|_| self.farewell.is_none());
        let next = [opening, stop_by, idle_until, self.farewell]
            .into_iter()
            .flatten()
            .min();
        Ok(next.map(|at| at.saturating_sub(now)))
    }

    fn read_output(&mut self) {
        if self.has_output {
            self.has_output = self.output.read(&self.link);
        }
    }

    fn read(&mut self, arrivals: &mut Arrivals) -> Result<(), End> {
        for _ in 0..READS {
            match arrivals.read(self.link.channel()) {
                Ok(0) => return Err(End::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(End::Gone),
            }
            // Before what came is handled: what a call printed is masked by what it is about, while that is known.
            self.read_output();
            loop {
                match arrivals.next() {
                    Ok(Some((id, message))) => {
                        self.handle(id, message, arrivals.last_bytes())?;
                        // The answer to it may have been one too many.
                        self.is_doomed()?;
                    }
                    Ok(None) => break,
                    Err(_) => return Err(End::Kill(Killed::Breach("what it sent is no frame"))),
                }
            }
        }
        Ok(())
    }

    fn handle(&mut self, id: u64, message: ToHost, bytes: usize) -> Result<(), End> {
        match message {
            ToHost::Preparing { step } if !self.is_confined => self.step = Some(step),
            ToHost::Confined {
                is_sealed,
                lacking,
                limits,
            } if !self.is_confined => {
                self.is_confined = true;
                self.step = None;
                self.limits = limits;
                if is_sealed {
                    self.link.seal();
                }
                let lacking = [self.process.lacking(), &lacking].concat();
                say_what_lacks(&lacking);
                self.link.lacks(lacking);
            }
            ToHost::Ready => self.ready(),
            ToHost::Refused {
                code,
                sentence,
                may_pass,
            } => {
                if let Some(starting) = self.starting.take() {
                    // The library's constructors may have said it, and a terminal may show it.
                    let sentence: String = sentence.chars().take(MAX_SENTENCE_CHARACTERS).collect();
                    let sentence = sentence.replace(is_harmful, " ");
                    let code = code::of_a_worker(&code);
                    let refusal = NotReady::Refused(Refusal {
                        may_pass,
                        ..Refusal::new(code, sentence)
                    });
                    let _ = starting.send(Err(refusal));
                    self.link.retire();
                }
            }
            about_a_call => {
                receive(&self.link, &self.library, id, about_a_call, bytes).map_err(End::Kill)?;
            }
        }
        Ok(())
    }

    fn ready(&mut self) {
        let Some(starting) = self.starting.take() else {
            return;
        };
        let took = self.link.clock.elapsed().saturating_sub(self.begun);
        tracing::debug!(
            library = self.library,
            pid = self.process.id(),
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "its worker process is ready"
        );
        let _ = starting.send(Ok(Arc::clone(&self.link)));
    }

    /// Sees to it that the process is gone, and tells everybody.
    fn reap(mut self, end: End) {
        let mut killed = match end {
            End::Kill(killed) => Some(killed),
            End::Gone => None,
        };
        // It was asked to end, or has told what it refuses and ended then.
        let in_order = self.farewell.is_some() || (killed.is_none() && self.link.is_retiring());
        let mut status = match killed {
            Some(_) => None,
            None => self.process.last_breath(),
        };
        if status.is_none() {
            if killed.is_none() && !in_order {
                killed = Some(Killed::Breach("it closed its socket"));
            }
            status = self.process.kill();
        } else if !self.link.is_sealed() {
            self.process.kill_group();
        }
        let last_lines = self.output.finish(&self.link);
        let remains = Remains {
            status,
            last_lines: last_lines.clone(),
            has_exited: self.output.has_exited(),
            step: self.step,
            limits: self.limits,
            is_system_short_of_memory: killed_for_memory() > self.killed_for_memory,
        };
        let death = Arc::new(Death::new(killed.as_ref(), &remains));
        let cause = if in_order { "in_order" } else { death.cause() };
        self.metrics.ended(&self.library, self.process.id(), cause);
        if !in_order {
            tracing::error!(
                library = self.library,
                pid = self.process.id(),
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
            let _ = starting.send(Err(NotReady::Died(Arc::clone(&death))));
        }
        // Last, for it takes a while, and calls wait for what is above.
        if !in_order {
            self.keep(&death, status, last_lines);
        }
    }
}

impl Watch {
    /// Keeps what the author of the library needs of its crash.
    fn keep(&mut self, death: &Death, status: Option<ExitStatus>, last_lines: Vec<String>) {
        let (true, Some(folder)) = (death.is_of_the_library(), &self.spec.crashes) else {
            return;
        };
        let found = Found {
            at: self.spec.clock.wall().rfc3339(),
            library: &self.spec.culprit,
            copy: &self.spec.staged.path,
            death,
            status,
            last_lines,
            is_sandboxed: self.link.is_sealed(),
            line: self.output.crash(),
        };
        match keep(folder, found) {
            Ok(number) => tracing::warn!(
                library = self.library,
                "what the author of the library needs of this crash is kept: phone-verify plugin crashes {number}"
            ),
            Err(why) => tracing::warn!(library = self.library, "nothing is kept of this crash: {why}"),
        }
    }
}

/// Once for the whole process: it is the system that lacks it.
fn say_what_lacks(lacking: &[String]) {
    static SAID: Once = Once::new();
    if !lacking.is_empty() {
        SAID.call_once(|| {
            tracing::warn!("{}", weaker(lacking));
        });
    }
}

/// In a sentence.
pub(super) fn weaker(lacking: &[String]) -> String {
    format!(
        "worker processes run with a weaker sandbox, for this system lacks {}",
        lacking.join(" and ")
    )
}
