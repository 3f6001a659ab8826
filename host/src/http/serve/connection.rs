//! The state of one connection: whether it waits for a request, has one under way, or should be closed.
//!
//! Invariant: a connection that is closed because it waits begins no request, and a connection that has begun one is
//! not closed for waiting. Both changes are a single atomic exchange of `Connection::state`, so only one of them can
//! happen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use super::ended::Ended;
use crate::{clock::Clock, model::ClientAddress};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has not sent a whole request yet.
    Fresh,
    /// The head of a further request has begun to arrive.
    Head,
    /// Its requests are answered, and it may send another. The beginning of that one may already be in hyper's buffer,
    /// if it arrived together with the last request.
    KeepAlive,
    /// As [`Phase::KeepAlive`], but the buffer was checked: nothing of another request has arrived.
    Idle,
    /// A request is under way.
    Busy,
    /// The client does not read the answer.
    Sending,
    /// Everything is answered. What the client still sends is read and dropped.
    Lingering,
    /// It is closing. No other phase follows.
    Closing,
}

impl Phase {
    const ALL: [Self; 8] = [
        Self::Fresh,
        Self::Head,
        Self::KeepAlive,
        Self::Idle,
        Self::Busy,
        Self::Sending,
        Self::Lingering,
        Self::Closing,
    ];
    const BITS: u32 = 3;

    /// The phase in a packed state.
    fn of(state: u64) -> Self {
        let number = usize::try_from(state & ((1 << Self::BITS) - 1)).unwrap_or_default();
        Self::ALL.get(number).copied().unwrap_or(Self::Closing)
    }

    /// Whether the next thing to arrive is the head of a request.
    pub(super) fn awaits_head(self) -> bool {
        matches!(self, Self::Fresh | Self::Head | Self::KeepAlive | Self::Idle)
    }

    /// Whether it waits for the client, so that closing it interrupts no request.
    fn waits(self) -> bool {
        self.awaits_head() || self == Self::Lingering
    }
}

/// How long a connection may stay in a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request, for reading an answer, and for sending bytes that are dropped.
    pub(super) read: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// The state of one connection, shared by its task, its byte stream and the list of connections.
pub(super) struct Connection {
    pub(super) id: u64,
    /// The client's address, or the address block that counts as one client.
    pub(super) client: ClientAddress,
    pub(super) clock: Clock,
    patience: Patience,
    /// The phase in the low bits, and above them since when it lasts, in milliseconds. Packed, so that one exchange
    /// changes both.
    state: AtomicU64,
    /// Why it ended; valid once it is closing.
    ended: AtomicU8,
    /// Whether it must end after the request that is under way.
    is_last_request: AtomicBool,
    /// Whether hyper has taken the whole answer. It may not be sent yet.
    is_answered: AtomicBool,
    /// Whether part of the request's body has not been read.
    has_unread_body: AtomicBool,
    /// Wakes the connection's task when it must end, or must check its buffer.
    changed: Notify,
}

impl Connection {
    pub(super) fn new(id: u64, client: ClientAddress, patience: Patience, clock: Clock) -> Arc<Self> {
        let connection = Self {
            id,
            client,
            state: AtomicU64::new(0),
            ended: AtomicU8::new(Ended::Finished as u8),
            is_last_request: AtomicBool::new(false),
            is_answered: AtomicBool::new(false),
            has_unread_body: AtomicBool::new(false),
            changed: Notify::new(),
            clock,
            patience,
        };
        connection.enter(Phase::Fresh);
        Arc::new(connection)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.coarse().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.state.load(Ordering::Acquire))
    }

    /// Changes the phase. Returns whether it did: a closing connection stays closing.
    pub(super) fn enter(&self, phase: Phase) -> bool {
        // Nothing asks how long a request is under way, so the hot path saves a look at the clock.
        let since = if phase == Phase::Busy { 0 } else { self.now() };
        let next = (since << Phase::BITS) | phase as u64;
        let entered = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (Phase::of(state) != Phase::Closing).then_some(next)
            });
        entered.is_ok()
    }

    /// What it waits for, and since when; `None`: it does not wait for the client.
    pub(super) fn waiting(&self) -> Option<(Phase, u64)> {
        let state = self.state.load(Ordering::Acquire);
        let phase = Phase::of(state);
        phase.waits().then_some((phase, state >> Phase::BITS))
    }

    /// Closes it if it waits for the client, so that no request is interrupted. Returns whether it was closed.
    pub(super) fn close_if_waiting(&self, ended: Ended) -> bool {
        self.close_if(ended, |phase, _| phase.waits())
    }

    /// Closes it if it waits for a request. Returns whether it was closed.
    pub(super) fn close_if_idle(&self, ended: Ended) -> bool {
        self.close_if(ended, |phase, _| phase.awaits_head())
    }

    /// Closes it if it has been in its phase for too long. Returns whether it was closed.
    pub(super) fn close_if_late(&self) -> bool {
        let Patience { read, idle } = self.patience;
        // No limit for `Busy`: a request that is under way is bounded by the routes. None for `Closing` either.
        for (of, patience, ended) in [
            (Phase::Fresh, read, Ended::HeadTooSlow),
            (Phase::Head, read, Ended::HeadTooSlow),
            (Phase::KeepAlive, idle, Ended::Idle),
            (Phase::Idle, idle, Ended::Idle),
            (Phase::Sending, read, Ended::AnswerNotTaken),
            (Phase::Lingering, read, Ended::Finished),
        ] {
            if self.close_if(ended, |phase, since| {
                phase == of && self.has_passed(patience, since)
            }) {
                return true;
            }
        }
        if self.is_in_doubt() {
            self.changed.notify_one();
        }
        false
    }

    fn has_passed(&self, patience: Duration, since: u64) -> bool {
        u128::from(self.now().saturating_sub(since)) >= patience.as_millis()
    }

    /// Whether it has waited for a further request for as long as a head may take, without a check of hyper's buffer.
    /// If the beginning of a head is in there, the head is late; otherwise the connection may go on waiting.
    pub(super) fn is_in_doubt(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        Phase::of(state) == Phase::KeepAlive && self.has_passed(self.patience.read, state >> Phase::BITS)
    }

    /// Records the result of that check. `has_part_of_head`: the beginning of a further request is there, so the
    /// connection is closed as late.
    pub(super) fn end_doubt(&self, has_part_of_head: bool) {
        if has_part_of_head {
            self.close_if(Ended::HeadTooSlow, |phase, _| phase == Phase::KeepAlive);
        } else {
            let idle = |state: u64| (state >> Phase::BITS << Phase::BITS) | Phase::Idle as u64;
            let _ = self
                .state
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                    (Phase::of(state) == Phase::KeepAlive).then_some(idle(state))
                });
        }
    }

    /// Closes it if the condition holds for its phase, in one exchange.
    fn close_if(&self, ended: Ended, is_to_end: impl Fn(Phase, u64) -> bool) -> bool {
        let closed = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                is_to_end(Phase::of(state), state >> Phase::BITS).then_some(Phase::Closing as u64)
            });
        if closed.is_ok() {
            self.ended.store(ended as u8, Ordering::Release);
            self.changed.notify_one();
        }
        closed.is_ok()
    }

    /// Why it ended. Only meaningful once it has ended.
    pub(super) fn ended(&self) -> Ended {
        Ended::of(self.ended.load(Ordering::Acquire))
    }

    /// Makes it end after the request that is under way.
    pub(super) fn make_last_request(&self) {
        self.is_last_request.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(super) fn is_last_request(&self) -> bool {
        self.is_last_request.load(Ordering::Acquire)
    }

    /// Waits until something must be checked: it is closing, must end after a request, or must check its buffer.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Notes that hyper has taken the whole answer.
    pub(super) fn set_answered(&self) {
        self.is_answered.store(true, Ordering::Release);
    }

    /// Notes that everything which hyper wrote is sent. Returns whether that completed an answer.
    pub(super) fn sent_all(&self) -> bool {
        let is_answered = self.is_answered.swap(false, Ordering::AcqRel);
        if is_answered {
            self.enter(Phase::KeepAlive);
        } else if self.phase() == Phase::Sending {
            self.enter(Phase::Busy);
        }
        is_answered
    }

    pub(super) fn set_unread_body(&self, has_unread_body: bool) {
        self.has_unread_body.store(has_unread_body, Ordering::Release);
    }

    pub(super) fn has_unread_body(&self) -> bool {
        self.has_unread_body.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::clock::UnixMillis;

    const PATIENCE: Patience = Patience {
        read: Duration::from_secs(10),
        idle: Duration::from_secs(75),
    };

    fn connection() -> (Arc<Connection>, Clock) {
        let clock = Clock::manual(UnixMillis(1_800_000_000_000));
        let client = IpAddr::from([192, 0, 2, 1]).into();
        (Connection::new(1, client, PATIENCE, clock.clone()), clock)
    }

    #[test]
    fn one_with_a_request_under_way_is_closed_for_nothing() {
        let (connection, clock) = connection();
        assert!(connection.enter(Phase::Busy));
        clock.advance(Duration::from_secs(1000));
        assert!(!connection.close_if_waiting(Ended::Room) && !connection.close_if_late());
        connection.set_answered();
        assert!(
            !connection.close_if_waiting(Ended::Room),
            "its answer is not sent"
        );
        connection.sent_all();
        assert!(connection.close_if_waiting(Ended::Room));
        assert!(
            !connection.enter(Phase::Busy),
            "it is to end, and begins nothing more"
        );
        assert!(connection.ended() == Ended::Room);
    }

    #[test]
    fn each_phase_has_its_time() {
        for (phase, patience, ended) in [
            (Phase::Fresh, PATIENCE.read, Ended::HeadTooSlow),
            (Phase::Head, PATIENCE.read, Ended::HeadTooSlow),
            (Phase::KeepAlive, PATIENCE.idle, Ended::Idle),
            (Phase::Idle, PATIENCE.idle, Ended::Idle),
            (Phase::Sending, PATIENCE.read, Ended::AnswerNotTaken),
            (Phase::Lingering, PATIENCE.read, Ended::Finished),
        ] {
            let (connection, clock) = connection();
            connection.enter(phase);
            clock.advance(patience.saturating_sub(Duration::from_millis(1)));
            assert!(!connection.close_if_late(), "{phase:?}");
            clock.advance(Duration::from_millis(1));
            assert!(connection.close_if_late(), "{phase:?}");
            assert!(connection.ended() == ended, "{phase:?}");
        }
    }

    #[test]
    fn what_came_along_with_a_request_has_the_time_of_a_head() {
        let (connection, clock) = connection();
        for has_part_of_head in [false, true] {
            connection.enter(Phase::KeepAlive);
            clock.advance(PATIENCE.read.saturating_sub(Duration::from_millis(1)));
            assert!(!connection.is_in_doubt());
            clock.advance(Duration::from_millis(1));
            assert!(!connection.close_if_late() && connection.is_in_doubt());
            connection.end_doubt(has_part_of_head);
            assert!(!connection.is_in_doubt());
            assert_eq!(connection.phase() == Phase::Closing, has_part_of_head);
        }
        assert!(connection.ended() == Ended::HeadTooSlow);
    }
}
