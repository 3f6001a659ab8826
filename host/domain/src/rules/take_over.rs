//! What becomes of a message whose process died before it was settled.
//!
//! Invariant: a message that may have been sent twice is not tried a third time, and none is sent whose code is of no
//! use any more.

use crate::clock::UnixMillis;

/// A message that two processes died over is not tried by a third.
pub const MAX_LEASES: u32 = 2;

/// What a dead process left of a message.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// How many processes may have tried it, the dead one among them.
    pub leases: u32,
    /// The code that it carries; `None`: its verification is deleted.
    pub code: Option<CodeLife>,
    /// Whether its text can still be read.
    pub can_be_read: bool,
}

/// How long a code is good.
#[derive(Clone, Copy, Debug)]
pub struct CodeLife {
    /// It is good up to this millisecond.
    pub expires_at: UnixMillis,
    /// Whether it came back already.
    pub is_used: bool,
}

/// What becomes of a message that a dead process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// Another process has it from now on.
    Taken {
        /// How many processes may have tried it from now on.
        leases: u32,
    },
    /// It is settled as unknown: the dead process may have sent it.
    Unknown,
}

/// Decides it.
pub fn decide(left: Left, now: UnixMillis) -> TakeOver {
    let is_of_use = left
        .code
        .is_some_and(|code| code.expires_at >= now && !code.is_used);
    if is_of_use && left.can_be_read && left.leases < MAX_LEASES {
        TakeOver::Taken {
            leases: left.leases + 1,
        }
    } else {
        TakeOver::Unknown
    }
}

/// How many processes may have tried a message that its own gives back untried: the next one has it as if this one
/// never had.
pub fn released(leases: u32) -> u32 {
    leases.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1000);

    const LEFT: Left = Left {
        leases: 1,
        code: Some(CodeLife {
            expires_at: NOW,
            is_used: false,
        }),
        can_be_read: true,
    };

    #[test]
    fn a_message_of_a_dead_process_is_tried_once_more_while_its_code_is_good() {
        assert_eq!(decide(LEFT, NOW), TakeOver::Taken { leases: 2 });
        let too_late = UnixMillis(1001);
        assert_eq!(decide(LEFT, too_late), TakeOver::Unknown);
        let used = CodeLife {
            is_used: true,
            ..LEFT.code.unwrap()
        };
        for unknown in [
            Left { leases: 2, ..LEFT },
            Left { code: None, ..LEFT },
            Left {
                code: Some(used),
                ..LEFT
            },
            Left {
                can_be_read: false,
                ..LEFT
            },
        ] {
            assert_eq!(decide(unknown, NOW), TakeOver::Unknown, "{unknown:?}");
        }
    }

    #[test]
    fn a_process_that_gives_a_message_back_untried_does_not_count() {
        for leases in 1..=MAX_LEASES {
            let left = Left {
                leases: released(leases),
                ..LEFT
            };
            assert_eq!(decide(left, NOW), TakeOver::Taken { leases });
        }
    }
}
