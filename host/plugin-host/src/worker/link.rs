//! The host's end of the channel to one worker process.
//!
//! Invariants: nothing here waits for the worker; and once the process is gone, no call is registered, and every
//! registered one hears of it, by the end of its events.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use phone_verify_plugin_abi::{RawError, http_error, kind};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    channel::Channel,
    death::{Death, Killed},
    frame::{TooLarge, encode},
    message::{Outcome, ToWorker},
};
use crate::{
    clock::Clock,
    convert::raw_error,
    instance::CONSTRUCTION_LIMIT,
    raw::Error,
    services::{Services, call::CallInfo, protocol::Answered},
};

/// A call that was given up must stop within this, or its process is killed.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// What a worker may leave unread before it counts as stuck.
const MAX_UNREAD_BYTES: usize = 16 << 20;
/// Requests of one call that may wait to be looked at.
const MAX_EVENTS: usize = 256;
/// What all requests of a worker that are under way may take of this process's memory, and what one of them takes
/// besides its texts: the future, and its share of a connection.
const MAX_HELD_BYTES: usize = 64 << 20;
const HELD_BYTES_EACH: usize = 16 << 10;

/// What a call waits for.
pub(super) enum Event {
    Done(Result<Outcome, RawError>),
    /// What the library asked for and takes its time.
    Errand {
        request: u32,
        work: Pin<Box<dyn Future<Output = Answered> + Send>>,
        held: Held,
    },
    Drop {
        request: u32,
    },
}

/// The memory that a request of a worker takes in this process, until it is dropped.
pub(super) struct Held {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What is known of a call while it is in the worker.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) services: Arc<Services>,
    /// `None`: a backend is constructed.
    pub(super) info: Option<Arc<CallInfo>>,
    /// Whether it asked for an HTTP request or reported an outcome: then something may have been sent.
    pub(super) is_touched: Arc<AtomicBool>,
    /// Whether it is logged already that one of its steps took too long.
    pub(super) is_slow: Arc<AtomicBool>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Pending {
    pub(super) fn new(services: Arc<Services>, info: Option<Arc<CallInfo>>) -> (Self, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(MAX_EVENTS);
        let pending = Self {
            services,
            info,
            is_touched: Arc::default(),
            is_slow: Arc::default(),
            events,
        };
        (pending, receiver)
    }
}

/// The channel, and the calls on it.
pub(super) struct Link {
    /// Rings in the thread that watches.
    channel: Channel,
    outgoing: Mutex<VecDeque<u8>>,
    state: Mutex<State>,
    next_id: AtomicU64,
    /// Whether the worker cannot reach a network but through the host.
    is_sealed: AtomicBool,
    /// What of the sandbox this system does not offer.
    lacking: OnceLock<Vec<String>>,
    held_bytes: Arc<AtomicUsize>,
    pub(super) clock: Clock,
}

pub(super) struct State {
    life: Life,
    pub(super) calls: HashMap<u64, Pending>,
    /// Given up, and not stopped yet; destructors that run are among them.
    pub(super) given_up: HashMap<u64, GivenUp>,
    /// The services of each instance in the worker.
    pub(super) instances: HashMap<u64, Arc<Services>>,
    /// On the clock.
    pub(super) idle_since: Duration,
    pub(super) kill: Option<Killed>,
}

/// What nobody waits for.
pub(super) struct GivenUp {
    /// Until when it must have stopped.
    pub(super) by: Duration,
    /// Else the process is killed, for this.
    pub(super) or: Killed,
    /// What it was about is still masked in what the worker says.
    pub(super) info: Option<Arc<CallInfo>>,
}

#[derive(Clone)]
enum Life {
    Open,
    /// To be ended in order: no new calls.
    Retiring,
    Dead(Arc<Death>),
}

/// The worker takes no calls any more.
pub(super) struct Closed;

impl Link {
    pub(super) fn new(channel: Channel, clock: Clock) -> Self {
        Self {
            channel,
            outgoing: Mutex::default(),
            state: Mutex::new(State {
                life: Life::Open,
                calls: HashMap::new(),
                given_up: HashMap::new(),
                instances: HashMap::new(),
                idle_since: clock.elapsed(),
                kill: None,
            }),
            next_id: AtomicU64::new(1),
            is_sealed: AtomicBool::new(false),
            lacking: OnceLock::new(),
            held_bytes: Arc::default(),
            clock,
        }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn seal(&self) {
        self.is_sealed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::Relaxed)
    }

    /// Told once, before any code of the library runs.
    pub(super) fn lacks(&self, what: Vec<String>) {
        let _ = self.lacking.set(what);
    }

    pub(super) fn lacking(&self) -> &[String] {
        self.lacking.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state().life, Life::Open)
    }

    /// How the process ended, if it has.
    pub(super) fn death(&self) -> Option<Arc<Death>> {
        match &self.state().life {
            Life::Dead(death) => Some(Arc::clone(death)),
            Life::Open | Life::Retiring => None,
        }
    }

    /// Registers a call.
    pub(super) fn begin(&self, id: u64, pending: Pending) -> Result<(), Closed> {
        let mut state = self.state();
        if !matches!(state.life, Life::Open) {
            return Err(Closed);
        }
        state.calls.insert(id, pending);
        Ok(())
    }

    /// Writes a frame, as far as the worker reads; the rest is written by the thread that watches.
    pub(super) fn send(&self, id: u64, message: &impl Serialize) -> Result<(), TooLarge> {
        let frame = encode(id, message)?;
        let mut outgoing = lock(&self.outgoing);
        if outgoing.is_empty() {
            // A worker that is gone is told of by the thread that watches.
            let written = self.channel.write(&frame).unwrap_or(0);
            outgoing.extend(&frame[written..]);
        } else {
            outgoing.extend(frame.iter());
        }
        let unread = outgoing.len();
        drop(outgoing);
        if unread > MAX_UNREAD_BYTES {
            self.kill(Killed::Breach("it does not read what it is sent"));
        } else if unread > 0 {
            self.ring();
        }
        Ok(())
    }

    /// Answers what the library asked.
    pub(super) fn reply(&self, id: u64, request: u32, answer: Answered) {
        if self.send(id, &ToWorker::Reply { request, answer }).is_err() {
            // The headers of a response are longer than all that was thought possible, or the base words a whole book.
            let why = "the answer has more than 2 MiB";
            let answer = Err(Error(raw_error(
                kind::OUTCOME_UNKNOWN,
                http_error::TOO_LARGE,
                why,
            )));
            // A sentence always fits.
            let _ = self.send(id, &ToWorker::Reply { request, answer });
        }
    }

    /// Takes a request of `bytes` in, if this process holds not too much for this worker already.
    pub(super) fn hold(&self, bytes: usize) -> Result<Held, Killed> {
        let bytes = bytes.saturating_add(HELD_BYTES_EACH);
        let before = self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = Held {
            bytes,
            all: Arc::clone(&self.held_bytes),
        };
        if before.saturating_add(bytes) > MAX_HELD_BYTES {
            return Err(Killed::Breach("its requests hold more than 64 MiB at once"));
        }
        Ok(held)
    }

    /// Writes what was left over. Returns whether there is still something.
    pub(super) fn flush(&self) -> bool {
        let mut outgoing = lock(&self.outgoing);
        while !outgoing.is_empty() {
            match self.channel.write(outgoing.as_slices().0) {
                Ok(written) => drop(outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        !outgoing.is_empty()
    }

    /// Gives a call up: its process has a moment to stop it.
    pub(super) fn give_up(&self, id: u64) {
        let mut state = self.state();
        let Some(pending) = state.calls.remove(&id) else {
            return;
        };
        let given_up = GivenUp {
            by: self.clock.elapsed() + GRACE,
            or: Killed::Unresponsive {
                grace_ms: GRACE.as_millis(),
            },
            info: pending.info,
        };
        state.given_up.insert(id, given_up);
        drop(state);
        // A frame without content always fits.
        let _ = self.send(id, &ToWorker::Cancel);
        self.ring();
    }

    /// Has a backend dropped in the worker, whose destructor may take as long as its constructor.
    pub(super) fn discard(&self, instance: u64) {
        let id = self.next_id();
        let given_up = GivenUp {
            by: self.clock.elapsed() + CONSTRUCTION_LIMIT,
            or: Killed::TooSlow("drop a backend"),
            info: None,
        };
        self.state().given_up.insert(id, given_up);
        // A frame of a number always fits.
        let _ = self.send(id, &ToWorker::Discard { instance });
        self.ring();
    }

    /// Takes a call out that has ended.
    pub(super) fn end(&self, id: u64) -> Option<Pending> {
        let mut state = self.state();
        state.given_up.remove(&id);
        let ended = state.calls.remove(&id);
        state.idle_since = self.clock.elapsed();
        ended
    }

    /// Takes out what was given up and has stopped. A call that nobody gave up stays: whoever waits for it must hear
    /// how it ended.
    pub(super) fn stopped(&self, id: u64) -> Result<(), Killed> {
        let mut state = self.state();
        if state.calls.contains_key(&id) {
            return Err(Killed::Breach("it stopped a call that nobody gave up"));
        }
        state.given_up.remove(&id);
        state.idle_since = self.clock.elapsed();
        Ok(())
    }

    /// Has the process ended at once.
    pub(super) fn kill(&self, why: Killed) {
        self.state().kill.get_or_insert(why);
        self.ring();
    }

    /// Has the process end in order.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        if matches!(state.life, Life::Open) {
            state.life = Life::Retiring;
        }
        drop(state);
        self.ring();
    }

    /// The same, unless a call has begun meanwhile.
    pub(super) fn retire_if_idle(&self) {
        let mut state = self.state();
        if matches!(state.life, Life::Open) && state.calls.is_empty() && state.given_up.is_empty() {
            state.life = Life::Retiring;
        }
    }

    pub(super) fn is_retiring(&self) -> bool {
        matches!(self.state().life, Life::Retiring)
    }

    /// The process is gone: every call hears of it.
    pub(super) fn close(&self, death: Arc<Death>) {
        let mut state = self.state();
        state.life = Life::Dead(death);
        state.instances.clear();
        let calls = std::mem::take(&mut state.calls);
        drop(state);
        // Dropping the senders is the news.
        drop(calls);
    }

    fn ring(&self) {
        self.channel.ring();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
