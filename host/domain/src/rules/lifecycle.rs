//! Where a verification stands, and what may still be done with it.

use super::attempt::{State, Terms};
use crate::{clock::UnixMillis, model::Status};

/// Why a verification is over, whatever its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its only message certainly was not sent.
    NotSent,
    /// Its caller gave it up.
    Cancelled,
}

/// What of a verification says where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// What decides its attempts.
    pub state: State,
    /// Whether it is over.
    pub ended: Option<Ended>,
    /// When the session's own code stops being good: no later than the code that it shares.
    pub expires_at: UnixMillis,
    /// Whether the code is stored, so that it can be sent again: until it came back, or expired.
    pub has_code: bool,
}

impl Standing {
    /// Whether the code can still be sent, and come back.
    pub fn is_open(&self, now: UnixMillis) -> bool {
        self.ended.is_none() && self.has_code && now <= self.expires_at
    }

    /// Whether the code may be sent again: a session that was verified needs none.
    pub fn may_resend(&self, now: UnixMillis) -> bool {
        self.is_open(now) && self.state.verified_at.is_none()
    }

    /// Whether it may be cancelled. What was verified stays so.
    pub fn may_cancel(&self) -> bool {
        self.ended.is_none() && self.state.verified_at.is_none()
    }

    /// Where it stands, and how many wrong codes it survives.
    pub fn status(&self, terms: Terms) -> (Status, u32) {
        let attempts = self.state.attempts(terms);
        let status = match self.ended {
            Some(Ended::NotSent) => Status::NotSent,
            Some(Ended::Cancelled) => Status::Cancelled,
            None if self.state.verified_at.is_some() => Status::Verified,
            None if !self.is_open(terms.now) => Status::Expired,
            None if attempts == 0 => Status::Failed,
            None => Status::Pending,
        };
        (status, if status == Status::Pending { attempts } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::attempt::tests::{FIRST, TERMS};

    const FRESH: Standing = Standing {
        state: FIRST,
        ended: None,
        expires_at: UnixMillis(2000),
        has_code: true,
    };

    #[test]
    fn a_verification_stands_where_it_was_left() {
        let verified = State {
            verified_at: Some(UnixMillis(900)),
            ..FRESH.state
        };
        let used_up = State {
            attempts_left: 0,
            ..FRESH.state
        };
        let expired = UnixMillis(999);
        for (standing, status, may_resend, may_cancel) in [
            (FRESH, (Status::Pending, 3), true, true),
            (
                Standing {
                    state: verified,
                    ..FRESH
                },
                (Status::Verified, 0),
                false,
                false,
            ),
            (
                Standing {
                    state: used_up,
                    ..FRESH
                },
                (Status::Failed, 0),
                true,
                true,
            ),
            (
                Standing {
                    expires_at: expired,
                    ..FRESH
                },
                (Status::Expired, 0),
                false,
                true,
            ),
            (
                Standing {
                    has_code: false,
                    ..FRESH
                },
                (Status::Expired, 0),
                false,
                true,
            ),
            (
                Standing {
                    ended: Some(Ended::Cancelled),
                    ..FRESH
                },
                (Status::Cancelled, 0),
                false,
                false,
            ),
            (
                Standing {
                    ended: Some(Ended::NotSent),
                    ..FRESH
                },
                (Status::NotSent, 0),
                false,
                false,
            ),
        ] {
            assert_eq!(standing.status(TERMS), status);
            assert_eq!(standing.may_resend(TERMS.now), may_resend, "{status:?}");
            assert_eq!(standing.may_cancel(), may_cancel, "{status:?}");
        }
    }

    #[test]
    fn a_later_session_survives_its_own_wrong_codes_and_what_is_left_of_the_codes() {
        let later = State {
            attempts_left: 1,
            has_joined: true,
            failures: 2,
            ..FRESH.state
        };
        assert_eq!(
            Standing {
                state: later,
                ..FRESH
            }
            .status(TERMS),
            (Status::Pending, 2)
        );
    }
}
