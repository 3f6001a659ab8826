//! What a connection is doing: whether it waits for a request, has one under way, or should be closed.
//!
//! Invariant: a connection that is closed for its waiting begins no request, and one that has begun one is not closed for
//! waiting. Both are one exchange of [`Connection::state`].

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
    /// Its requests are answered, and another one may come.
    KeepAlive,
    /// A request is under way.
    Busy,
    /// The client does not take the answer.
    Sending,
    /// All is answered, and what the client still sends is read and dropped.
    Lingering,
    /// It is to end.
    Closing,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Fresh,
        Self::Head,
        Self::KeepAlive,
        Self::Busy,
        Self::Sending,
        Self::Lingering,
        Self::Closing,
    ];
    const BITS: u32 = 3;

    fn of(state: u64) -> Self {
        let number = usize::try_from(state & ((1 << Self::BITS) - 1)).unwrap_or_default();
        Self::ALL.get(number).copied().unwrap_or(Self::Closing)
    }

    pub(super) fn awaits_head(self) -> bool {
        matches!(self, Self::Fresh | Self::Head | Self::KeepAlive)
    }

    /// Whether it waits for the client to do something that costs nobody a request.
    fn waits(self) -> bool {
        self.awaits_head() || self == Self::Lingering
    }
}

/// How long a connection may be in a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With a request's head, with taking an answer, with sending what nobody reads.
    pub(super) read: Duration,
    /// With nothing, between two requests.
    pub(super) idle: Duration,
}

/// One connection.
pub(super) struct Connection {
    pub(super) id: u64,
    /// Whose it is.
    pub(super) client: ClientAddress,
    clock: Clock,
    /// A phase and since when it lasts, in milliseconds.
    state: AtomicU64,
    /// How it ended, once it is closing.
    ended: AtomicU8,
    /// Whether it is to end after the request that is under way.
    is_last_request: AtomicBool,
    /// Whether the answer is all handed over, though not yet sent.
    is_answered: AtomicBool,
    /// Whether there is more of the request's body than was read.
    has_unread_body: AtomicBool,
    changed: Notify,
}

impl Connection {
    pub(super) fn new(id: u64, client: ClientAddress, clock: Clock) -> Arc<Self> {
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

    /// Returns whether it is in that phase now; it is not if it is to end.
    pub(super) fn enter(&self, phase: Phase) -> bool {
        let since = if phase == Phase::Busy { 0 } else { self.now() };
        let next = (since << Phase::BITS) | phase as u64;
        let entered = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (Phase::of(state) != Phase::Closing).then_some(next)
            });
        entered.is_ok()
    }

    /// What it waits for, and since when; `None`: it does not wait.
    pub(super) fn waiting(&self) -> Option<(Phase, u64)> {
        let state = self.state.load(Ordering::Acquire);
        let phase = Phase::of(state);
        phase.waits().then_some((phase, state >> Phase::BITS))
    }

    /// Closes it, if it waits for something other than the end of a request.
    pub(super) fn close_if_waiting(&self, ended: Ended) -> bool {
        self.close_if(ended, |phase, _| phase.waits())
    }

    /// Closes it, if it waits for a request.
    pub(super) fn close_if_idle(&self, ended: Ended) -> bool {
        self.close_if(ended, |phase, _| phase.awaits_head())
    }

    /// Closes it, if it has been in its phase for too long.
    pub(super) fn close_if_late(&self, patience: Patience) -> bool {
        let now = self.now();
        let is_late = |phase: Phase, since: u64, of: Phase, patience: Duration| {
            phase == of && u128::from(now.saturating_sub(since)) >= patience.as_millis()
        };
        for (of, patience, ended) in [
            (Phase::Fresh, patience.read, Ended::HeadTooSlow),
            (Phase::Head, patience.read, Ended::HeadTooSlow),
            (Phase::KeepAlive, patience.idle, Ended::Idle),
            (Phase::Sending, patience.read, Ended::AnswerNotTaken),
            (Phase::Lingering, patience.read, Ended::Finished),
        ] {
            if self.close_if(ended, |phase, since| is_late(phase, since, of, patience)) {
                return true;
            }
        }
        false
    }

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

    /// How it ended. To be asked when it has.
    pub(super) fn ended(&self) -> Ended {
        Ended::of(self.ended.load(Ordering::Acquire))
    }

    /// Lets it end after the request that is under way.
    pub(super) fn make_last_request(&self) {
        self.is_last_request.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(super) fn is_last_request(&self) -> bool {
        self.is_last_request.load(Ordering::Acquire)
    }

    /// Until it is to end, at once or after a request.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The answer is all handed over.
    pub(super) fn set_answered(&self) {
        self.is_answered.store(true, Ordering::Release);
    }

    /// Everything that was handed over is sent. Returns whether that was the end of an answer.
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
        (Connection::new(1, client, clock.clone()), clock)
    }

    #[test]
    fn one_with_a_request_under_way_is_closed_for_nothing() {
        let (connection, clock) = connection();
        assert!(connection.enter(Phase::Busy));
        clock.advance(Duration::from_secs(1000));
        assert!(!connection.close_if_waiting(Ended::Room) && !connection.close_if_late(PATIENCE));
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
            (Phase::Sending, PATIENCE.read, Ended::AnswerNotTaken),
            (Phase::Lingering, PATIENCE.read, Ended::Finished),
        ] {
            let (connection, clock) = connection();
            connection.enter(phase);
            clock.advance(patience.saturating_sub(Duration::from_millis(1)));
            assert!(!connection.close_if_late(PATIENCE), "{phase:?}");
            clock.advance(Duration::from_millis(1));
            assert!(connection.close_if_late(PATIENCE), "{phase:?}");
            assert!(connection.ended() == ended, "{phase:?}");
        }
    }
}
