//! How connections end, and how many ended so.

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ended {
    /// The client ended it, or it was over with its last answer.
    Finished,
    /// No further request came.
    Idle,
    /// A request's head did not come in time.
    HeadTooSlow,
    /// The client did not take the answer.
    AnswerNotTaken,
    /// It made room, for there were as many as there may be.
    Room,
    /// It made room for another one of its address.
    RoomOfAddress,
    /// It was refused: its address has as many with a request under way.
    Refused,
    /// The server stops.
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

    /// As metrics and log name it.
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

/// What became of connections, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Those there are.
    pub open: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// Those that ended, by reason: `finished` in order, or by the client; `idle_timeout`, `head_timeout`,
    /// `answer_timeout`; to make room under `max_connections` or `max_connections_per_address`; `refused`; `stopped`.
    pub closed: Vec<(&'static str, u64)>,
}

/// Connections that had to go because there are as many as there may be, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    pub(super) of_all: u64,
    pub(super) of_address: u64,
    pub(super) refused: u64,
}
