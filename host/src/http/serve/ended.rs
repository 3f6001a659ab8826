//! The reasons why connections end, and the counts by reason.

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ended {
    /// The client closed it, or it ended after its last answer.
    Finished,
    /// No further request arrived within the idle timeout.
    Idle,
    /// The head of a request did not arrive within the read timeout.
    HeadTooSlow,
    /// The client did not read the answer within the read timeout.
    AnswerNotTaken,
    /// It was closed to make room, because the server had as many connections as it may have.
    Room,
    /// It was closed to make room for another connection of its address.
    RoomOfAddress,
    /// It was refused: its address has as many connections as it may have, and all have a request under way.
    Refused,
    /// The server is shutting down.
    Stopped,
}

impl Ended {
    pub(super) const ALL: [Self; 8] = [
        Self::Finished,
        Self::Idle,
        Self::HeadTooSlow,
        Self::AnswerNotTaken,
        Self::Room,
        Self::RoomOfAddress,
        Self::Refused,
        Self::Stopped,
    ];

    pub(super) fn of(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Finished)
    }

    /// The name of the reason in metrics and logs.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Idle => "idle_timeout",
            Self::HeadTooSlow => "head_timeout",
            Self::AnswerNotTaken => "answer_timeout",
            Self::Room => "max_connections",
            Self::RoomOfAddress => "max_connections_per_address",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// How many connections there are, and how many ended, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections that are open now.
    pub open: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that ended, by reason: `finished`, normally or by the client; `idle_timeout`, `head_timeout` and
    /// `answer_timeout`; `max_connections` and `max_connections_per_address`, to make room; `refused`; `stopped`.
    pub closed: Vec<(&'static str, u64)>,
}

/// Connections that were closed or refused because a bound on connections was reached, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    pub(super) of_all: u64,
    pub(super) of_address: u64,
    pub(super) refused: u64,
}
