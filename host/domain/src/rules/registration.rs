//! A registration: whether it makes a code of its own, joins the one that is pending for its number and purpose, or
//! waits.
//!
//! Registering again while a code is pending makes no second code: the new session joins the pending one, so that
//! asking again gives an attacker no further attempts, and the code in an SMS that comes late is still good.
//!
//! Invariant: a number has at most one pending code for a purpose.

use std::time::Duration;

use super::attempt::OF_A_LATER_SESSION;
use crate::{clock::UnixMillis, model::VerificationId};

/// The settings that a registration depends on.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many wrong codes the sessions of a code may give before no further one may join.
    pub max_failed_attempts: u32,
    /// How many sessions may share a code.
    pub max_sessions: u32,
}

/// The code that is pending for a number.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// The session that it was made for.
    pub verification: VerificationId,
    /// When it stops being good.
    pub expires_at: UnixMillis,
    /// How many attempts on it failed.
    pub failures: u32,
    /// How many sessions share it.
    pub sessions: u32,
}

impl Pending {
    /// The first instant at which it is no longer good: a code is good to its last millisecond.
    pub fn is_over_at(&self) -> UnixMillis {
        self.expires_at.plus(Duration::from_millis(1))
    }

    /// Why no further session may join.
    fn refusal(&self, terms: Terms) -> Option<Refusal> {
        let until = self.is_over_at();
        if self.failures >= terms.max_failed_attempts {
            Some(Refusal::AttemptsUsedUp { until })
        } else if self.sessions >= terms.max_sessions {
            Some(Refusal::TooManySessions { until })
        } else {
            None
        }
    }
}

/// A session that may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The session whose code it joins; `None`: its code is its own, and pending from now on.
    pub joins: Option<VerificationId>,
    /// The attempts that it owns.
    pub attempts: u32,
}

/// Why a session does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The message was made with a fresh code, or with one that is no longer pending, while another is: make it again
    /// with that one.
    CodeIsPending,
    /// The message was made with the pending code, and that is no longer pending: make it again with a fresh one.
    CodeIsGone,
    /// All attempts on the pending code are used up.
    AttemptsUsedUp {
        /// When the code has expired, and with it the refusal.
        until: UnixMillis,
    },
    /// Too many sessions share the pending code.
    TooManySessions {
        /// When the code has expired, and with it the refusal.
        until: UnixMillis,
    },
}

/// Decides a registration whose message was made before. `made_with`: the session whose pending code the message was
/// made with; `None`: with a fresh code.
pub fn decide(
    pending: Option<&Pending>,
    made_with: Option<VerificationId>,
    terms: Terms,
) -> Result<Session, Refusal> {
    let Some(pending) = pending else {
        return match made_with {
            Some(_) => Err(Refusal::CodeIsGone),
            None => Ok(Session {
                joins: None,
                attempts: terms.max_failed_attempts,
            }),
        };
    };
    if let Some(refusal) = pending.refusal(terms) {
        return Err(refusal);
    }
    if made_with != Some(pending.verification) {
        return Err(Refusal::CodeIsPending);
    }
    Ok(Session {
        joins: made_with,
        attempts: OF_A_LATER_SESSION,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        max_failed_attempts: 5,
        max_sessions: 3,
    };
    const FIRST: VerificationId = VerificationId([1; 16]);
    const ANOTHER: VerificationId = VerificationId([2; 16]);
    const PENDING: Pending = Pending {
        verification: FIRST,
        expires_at: UnixMillis(1000),
        failures: 0,
        sessions: 1,
    };

    #[test]
    fn a_number_without_a_pending_code_gets_one_of_its_own() {
        let own = Session {
            joins: None,
            attempts: 5,
        };
        assert_eq!(decide(None, None, TERMS), Ok(own));
        assert_eq!(decide(None, Some(FIRST), TERMS), Err(Refusal::CodeIsGone));
    }

    #[test]
    fn while_a_code_is_pending_there_is_no_other() {
        let later = Session {
            joins: Some(FIRST),
            attempts: OF_A_LATER_SESSION,
        };
        assert_eq!(decide(Some(&PENDING), Some(FIRST), TERMS), Ok(later));
        for made_with in [None, Some(ANOTHER)] {
            assert_eq!(
                decide(Some(&PENDING), made_with, TERMS),
                Err(Refusal::CodeIsPending)
            );
        }
    }

    #[test]
    fn what_is_used_up_is_refused_until_the_code_has_expired() {
        let until = UnixMillis(1001);
        let used_up = Pending {
            failures: 5,
            ..PENDING
        };
        let crowded = Pending {
            sessions: 3,
            ..PENDING
        };
        for made_with in [None, Some(FIRST), Some(ANOTHER)] {
            let decided = decide(Some(&used_up), made_with, TERMS);
            assert_eq!(decided, Err(Refusal::AttemptsUsedUp { until }));
            let decided = decide(Some(&crowded), made_with, TERMS);
            assert_eq!(decided, Err(Refusal::TooManySessions { until }));
        }
    }
}
