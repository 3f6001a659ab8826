//! The worker's end of the channel.
//!
//! The host's services are half synchronous: a library that asks for randomness or for the base's message waits for
//! the answer on its only thread. So reading happens in two places, in the event loop and in [`Link::ask`], and what is
//! read by either is kept for whom it concerns.
//!
//! Invariant: when the host is gone, so is this process.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::super::{
    channel::Inherited,
    frame::{Arrivals, TooLarge, encode},
    message::{NO_REPLY, Times, ToHost, ToWorker},
};
use crate::{
    clock::Clock,
    services::{
        abi::Unanswered,
        nanoseconds,
        protocol::{Answered, HostReply, HostRequest},
    },
};

/// How long a thread waits for an answer before it looks whether another thread has read it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The channel, and who waits for what on it.
pub(super) struct Link {
    channel: Inherited,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<()>,
    /// Rung when [`Link::ask`] read something for the event loop.
    pub(super) arrived: Notify,
    waiting: Mutex<HashMap<u32, oneshot::Sender<Answered>>>,
    next_request: AtomicU32,
    times: Mutex<(Times, Duration)>,
    pub(super) clock: Clock,
}

#[derive(Default)]
struct Incoming {
    arrivals: Arrivals,
    /// For the event loop.
    queue: VecDeque<(u64, ToWorker)>,
    /// For a thread that waits for it; `None`: it has not come yet.
    answers: HashMap<u32, Option<Answered>>,
}

impl Link {
    pub(super) fn new(channel: Inherited, arrivals: Arrivals) -> Self {
        let times = Times {
            unix_ms: 0,
            monotonic_ns: 0,
        };
        Self {
            channel,
            incoming: Mutex::new(Incoming {
                arrivals,
                ..Incoming::default()
            }),
            outgoing: Mutex::default(),
            arrived: Notify::new(),
            waiting: Mutex::default(),
            next_request: AtomicU32::new(1),
            times: Mutex::new((times, Duration::ZERO)),
            clock: Clock::system(),
        }
    }

    pub(super) fn channel(&self) -> &Inherited {
        &self.channel
    }

    /// Writes a frame; waits while the host is busy.
    pub(super) fn send(&self, id: u64, message: &ToHost) -> Result<(), TooLarge> {
        let frame = encode(id, message)?;
        let _one_at_a_time = lock(&self.outgoing);
        if self.channel.write(&frame).is_err() {
            std::process::exit(0);
        }
        Ok(())
    }

    /// Reads all that has come. What is for the event loop is returned, in its order.
    pub(super) fn receive(&self) -> VecDeque<(u64, ToWorker)> {
        let mut incoming = lock(&self.incoming);
        self.read(&mut incoming);
        std::mem::take(&mut incoming.queue)
    }

    fn read(&self, incoming: &mut Incoming) {
        loop {
            match incoming.arrivals.read(&self.channel) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => std::process::exit(0),
            }
            loop {
                match incoming.arrivals.next() {
                    Ok(Some((id, ToWorker::Reply { request, answer }))) => {
                        match incoming.answers.get_mut(&request) {
                            Some(place) => *place = Some(answer),
                            None => incoming
                                .queue
                                .push_back((id, ToWorker::Reply { request, answer })),
                        }
                    }
                    Ok(Some(message)) => incoming.queue.push_back(message),
                    Ok(None) => break,
                    Err(_) => std::process::exit(2),
                }
            }
        }
    }

    /// Tells the host something.
    pub(super) fn tell(&self, id: u64, instance: u64, what: HostRequest) -> Result<(), Unanswered> {
        let message = ToHost::Ask {
            request: NO_REPLY,
            instance,
            what,
        };
        self.send(id, &message).map_err(|TooLarge| Unanswered::TooLarge)
    }

    /// Asks the host, and stands still until it has answered.
    pub(super) fn ask(&self, id: u64, instance: u64, what: HostRequest) -> Result<HostReply, Unanswered> {
        let request = self.next_request();
        lock(&self.incoming).answers.insert(request, None);
        let message = ToHost::Ask {
            request,
            instance,
            what,
        };
        if self.send(id, &message).is_err() {
            lock(&self.incoming).answers.remove(&request);
            return Err(Unanswered::TooLarge);
        }
        loop {
            let mut incoming = lock(&self.incoming);
            self.read(&mut incoming);
            if let Some(answer) = incoming.answers.get_mut(&request).and_then(Option::take) {
                incoming.answers.remove(&request);
                if !incoming.queue.is_empty() {
                    self.arrived.notify_one();
                }
                return answer.map_err(Unanswered::Error);
            }
            drop(incoming);
            // Not for ever, for another thread may have read the answer.
            self.channel.wait(Some(LOOK_AGAIN));
        }
    }

    /// Asks the host for something that takes its time. Dropping the future tells the host so.
    pub(super) async fn request(
        &self,
        id: u64,
        instance: u64,
        what: HostRequest,
    ) -> Result<HostReply, Unanswered> {
        let request = self.next_request();
        let (sender, reply) = oneshot::channel();
        lock(&self.waiting).insert(request, sender);
        let _drop_when_dropped = Waiting {
            link: self,
            id,
            request,
        };
        let message = ToHost::Ask {
            request,
            instance,
            what,
        };
        self.send(id, &message).map_err(|TooLarge| Unanswered::TooLarge)?;
        match reply.await {
            Ok(answer) => answer.map_err(Unanswered::Error),
            Err(_) => Err(Unanswered::Lost),
        }
    }

    fn next_request(&self) -> u32 {
        loop {
            let request = self.next_request.fetch_add(1, Ordering::Relaxed);
            if request != NO_REPLY {
                return request;
            }
        }
    }

    pub(super) fn reply(&self, request: u32, answer: Answered) {
        if let Some(waiting) = lock(&self.waiting).remove(&request) {
            // It may have stopped waiting just now.
            let _ = waiting.send(answer);
        }
    }

    /// What time it was at the host just now.
    pub(super) fn set_times(&self, times: Times) {
        *lock(&self.times) = (times, self.clock.elapsed());
    }

    pub(super) fn times(&self) -> Times {
        let (times, at) = *lock(&self.times);
        let since = self.clock.elapsed().saturating_sub(at);
        Times {
            unix_ms: times.unix_ms + u64::try_from(since.as_millis()).unwrap_or(0),
            monotonic_ns: times.monotonic_ns + nanoseconds(since),
        }
    }
}

struct Waiting<'a> {
    link: &'a Link,
    id: u64,
    request: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let request = self.request;
        if lock(&self.link.waiting).remove(&request).is_some() {
            // A frame of a number always fits.
            let _ = self.link.send(self.id, &ToHost::Drop { request });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
