//! An attempt on a code: whether there is one to take, what it comes to, and what it changes.
//!
//! All sessions that register a number while a code is pending share that code, so that registering again makes no code
//! easier to guess. The first session owns `max_failed_attempts` attempts; each later one owns [`OF_A_LATER_SESSION`],
//! so that others cannot use up all attempts of a person who has the right code, and beyond that draws on what is left
//! of the code's `max_failed_attempts`.
//!
//! Invariants: an answer that says whether a code matched has taken an attempt, unless it is [`Verdict::Valid`]; with
//! `only_once`, of all attempts on one code one is valid.

use crate::{
    clock::UnixMillis,
    model::{Bound, Verdict, verification::Standing},
};

/// How many attempts a session owns that joined the pending code of another.
pub const OF_A_LATER_SESSION: u32 = 1;

/// The settings that an attempt depends on, and the time.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The current time.
    pub now: UnixMillis,
    /// Whether a code is good for one use.
    pub only_once: bool,
    /// How many wrong codes the first session of a code may give, and how many all sessions together before the later
    /// ones have no more than what they own.
    pub max_failed_attempts: u32,
    /// What the caller says that the code is for.
    pub bound: Option<Bound>,
}

/// What of a verification decides an attempt, and is changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The attempts that the session owns.
    pub attempts_left: u32,
    /// Whether the session was cancelled, or its message certainly not sent.
    pub is_over: bool,
    /// When the session was verified.
    pub verified_at: Option<UnixMillis>,
    /// Whether it joined the pending code of another session.
    pub has_joined: bool,
    /// When the code stops being good.
    pub expires_at: UnixMillis,
    /// When a session of the code was verified.
    pub code_used_at: Option<UnixMillis>,
    /// How many attempts on the code failed, of all its sessions.
    pub failures: u32,
    /// What the session was begun for.
    pub bound: Option<Bound>,
}

/// An attempt that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenAttempt {
    /// Whether the session owned it; else it was one of the code's.
    pub is_own: bool,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The answer.
    pub verdict: Verdict,
    /// The state from now on.
    pub state: State,
}

impl Judged {
    /// Whether the number is to be charged with a wrong guess.
    pub fn is_wrong_guess(&self) -> bool {
        self.verdict == Verdict::Invalid
    }
}

impl State {
    /// Which attempt there is to take, or why there is none: then nothing may be compared.
    pub fn available(&self, terms: Terms) -> Result<TakenAttempt, Verdict> {
        // For another purpose there is no such session.
        if self.bound != terms.bound {
            return Err(Verdict::SessionTokenInvalid);
        }
        if self.attempts_left > 0 {
            return Ok(TakenAttempt { is_own: true });
        }
        if self.has_joined && !self.is_over && self.failures < terms.max_failed_attempts {
            return Ok(TakenAttempt { is_own: false });
        }
        // A session that was verified keeps that answer for good, however often it asks.
        Err(if self.verified_at.is_some() && terms.only_once {
            Verdict::AlreadyVerified
        } else {
            Verdict::TooManyAttempts
        })
    }

    /// How many wrong codes the session survives: its own, and what is left of the code's.
    pub fn attempts(&self, terms: Terms) -> u32 {
        let of_the_code = if self.has_joined {
            terms.max_failed_attempts.saturating_sub(self.failures)
        } else {
            0
        };
        self.attempts_left + of_the_code
    }

    /// With an attempt taken.
    #[must_use]
    pub fn take(self, taken: TakenAttempt) -> Self {
        Self {
            attempts_left: self.attempts_left.saturating_sub(taken.is_own.into()),
            failures: self.failures.saturating_add(1),
            ..self
        }
    }

    /// With an attempt given back to where it was taken from. A session that is over meanwhile gets none.
    fn give_back(self, taken: TakenAttempt, terms: Terms) -> Self {
        let most = if self.has_joined {
            OF_A_LATER_SESSION
        } else {
            terms.max_failed_attempts
        };
        let is_back = taken.is_own && !self.is_over;
        Self {
            attempts_left: if is_back {
                self.attempts_left.saturating_add(1).min(most)
            } else {
                self.attempts_left
            },
            failures: self.failures.saturating_sub(1),
            ..self
        }
    }

    fn verified(self, now: UnixMillis) -> Self {
        Self {
            verified_at: Some(now),
            code_used_at: Some(now),
            ..self
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            expires_at: self.expires_at,
            verified: self.code_used_at.is_some(),
        }
    }

    /// What a comparison means at this time. It takes no attempt.
    pub fn compare(&self, matches: bool, terms: Terms) -> Verdict {
        self.standing().judge(matches, terms.now, terms.only_once)
    }

    /// Judges a code for an attempt that is [available](Self::available). A right one takes none; the attempts that
    /// were taken before stay taken.
    pub fn check(self, taken: TakenAttempt, matches: bool, terms: Terms) -> Judged {
        let verdict = self.compare(matches, terms);
        let state = if verdict == Verdict::Valid {
            self.verified(terms.now)
        } else {
            self.take(taken)
        };
        Judged { verdict, state }
    }

    /// Judges an attempt that was taken before, by what a backend said of the code. Single use holds whatever it said.
    pub fn settle(self, taken: TakenAttempt, said: Verdict, terms: Terms) -> Judged {
        match said {
            Verdict::Valid if terms.only_once && self.code_used_at.is_some() => Judged {
                verdict: Verdict::AlreadyVerified,
                state: self,
            },
            Verdict::Valid => Judged {
                verdict: said,
                // A success is no failure.
                state: self.give_back(taken, terms).verified(terms.now),
            },
            verdict => Judged { verdict, state: self },
        }
    }

    /// The state after a backend gave no verdict on an attempt that was taken.
    #[must_use]
    pub fn unsettle(self, taken: TakenAttempt, terms: Terms) -> Self {
        self.give_back(taken, terms)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::rules) const TERMS: Terms = Terms {
        now: UnixMillis(1000),
        only_once: true,
        max_failed_attempts: 3,
        bound: None,
    };
    pub(in crate::rules) const FIRST: State = State {
        attempts_left: 3,
        is_over: false,
        verified_at: None,
        has_joined: false,
        expires_at: UnixMillis(2000),
        code_used_at: None,
        failures: 0,
        bound: None,
    };
    const LATER: State = State {
        attempts_left: OF_A_LATER_SESSION,
        has_joined: true,
        ..FIRST
    };

    #[test]
    fn a_code_is_good_for_what_it_was_made_for_alone() {
        let [payout, other] = [Some(Bound([1; 32])), Some(Bound([2; 32]))];
        for made_for in [None, payout, other] {
            for said in [None, payout, other] {
                let state = State {
                    bound: made_for,
                    ..FIRST
                };
                let terms = Terms { bound: said, ..TERMS };
                let expected = if made_for == said {
                    Ok(TakenAttempt { is_own: true })
                } else {
                    Err(Verdict::SessionTokenInvalid)
                };
                assert_eq!(state.available(terms), expected);
            }
        }
    }

    fn guess(state: State, matches: bool) -> Judged {
        match state.available(TERMS) {
            Ok(taken) => state.check(taken, matches, TERMS),
            Err(verdict) => Judged { verdict, state },
        }
    }

    #[test]
    fn a_first_session_has_so_many_wrong_codes_and_then_nothing_is_compared() {
        let mut state = FIRST;
        for _ in 0..3 {
            let judged = guess(state, false);
            assert_eq!(judged.verdict, Verdict::Invalid);
            state = judged.state;
        }
        assert_eq!(guess(state, true).verdict, Verdict::TooManyAttempts);
    }

    #[test]
    fn a_later_session_has_one_of_its_own_when_others_used_up_the_codes() {
        let used_up = State { failures: 3, ..LATER };
        assert_eq!(guess(used_up, true).verdict, Verdict::Valid);
        let wrong = guess(used_up, false).state;
        assert_eq!(guess(wrong, true).verdict, Verdict::TooManyAttempts);
    }

    #[test]
    fn a_later_session_draws_on_what_is_left_of_the_codes() {
        let wrong = guess(LATER, false).state;
        assert_eq!(wrong.available(TERMS), Ok(TakenAttempt { is_own: false }));
        let over = State {
            is_over: true,
            ..wrong
        };
        assert_eq!(over.available(TERMS), Err(Verdict::TooManyAttempts));
    }

    #[test]
    fn a_session_that_was_verified_keeps_that_answer() {
        let verified = State {
            attempts_left: 0,
            ..guess(FIRST, true).state
        };
        assert_eq!(guess(verified, false).verdict, Verdict::AlreadyVerified);
    }

    #[test]
    fn a_backends_yes_is_no_second_use() {
        let taken = FIRST.available(TERMS).unwrap();
        let used = guess(FIRST, true).state.take(taken);
        let settled = used.settle(taken, Verdict::Valid, TERMS);
        assert_eq!(settled.verdict, Verdict::AlreadyVerified);
    }

    #[test]
    fn an_attempt_without_a_verdict_is_given_back_unless_the_session_is_over() {
        for state in [FIRST, LATER] {
            let taken = state.available(TERMS).unwrap();
            assert_eq!(state.take(taken).unsettle(taken, TERMS), state);
            let over = State {
                is_over: true,
                ..state
            }
            .take(taken);
            assert_eq!(over.unsettle(taken, TERMS).attempts_left, over.attempts_left);
        }
    }

    /// Sessions that share a code, as an attacker and the owner of the number may open them.
    struct Sessions {
        all: Vec<State>,
        /// With what all of them share.
        code: State,
        terms: Terms,
        /// Attempts that a backend has not judged yet.
        under_way: Vec<(usize, TakenAttempt)>,
        successes: u32,
        wrong: u32,
    }

    impl Sessions {
        fn state(&self, session: usize) -> State {
            State {
                code_used_at: self.code.code_used_at,
                failures: self.code.failures,
                ..self.all[session]
            }
        }

        fn put(&mut self, session: usize, state: State) {
            self.all[session] = state;
            self.code = state;
        }

        fn answer(&mut self, session: usize, judged: Judged) {
            match judged.verdict {
                Verdict::Valid => {
                    assert!(self.terms.now <= FIRST.expires_at, "good after its time");
                    self.successes += 1;
                }
                Verdict::Invalid => self.wrong += 1,
                _ => {}
            }
            self.put(session, judged.state);
        }

        fn step(&mut self, random: &mut fastrand::Rng) {
            let session = random.usize(..self.all.len());
            let state = self.state(session);
            match random.u8(..10) {
                0 => self.terms.now.0 += [1, 500, 1001][random.usize(..3)],
                1 => self.all.push(LATER),
                2 | 3 => {
                    if let Ok(taken) = state.available(self.terms) {
                        self.put(session, state.take(taken));
                        self.under_way.push((session, taken));
                    }
                }
                4 | 5 if !self.under_way.is_empty() => {
                    let (session, taken) = self.under_way.remove(0);
                    let state = self.state(session);
                    if random.u8(..3) == 0 {
                        self.put(session, state.unsettle(taken, self.terms));
                    } else {
                        let said = state.compare(random.bool(), self.terms);
                        self.answer(session, state.settle(taken, said, self.terms));
                    }
                }
                _ => {
                    let matches = random.bool();
                    if let Ok(taken) = state.available(self.terms) {
                        self.answer(session, state.check(taken, matches, self.terms));
                    }
                }
            }
        }
    }

    #[test]
    fn one_code_has_one_success_and_a_bound_of_wrong_codes_whatever_the_order() {
        for seed in 0..100_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let only_once = random.bool();
            let mut sessions = Sessions {
                all: vec![FIRST],
                code: FIRST,
                terms: Terms { only_once, ..TERMS },
                under_way: Vec::new(),
                successes: 0,
                wrong: 0,
            };
            for _ in 0..random.u8(1..40) {
                sessions.step(&mut random);
            }
            let Sessions { successes, wrong, .. } = sessions;
            assert!(
                !only_once || successes <= 1,
                "{successes} successes (seed {seed})"
            );
            // The first session's own, as many that all share, and what each later one owns.
            let later = u32::try_from(sessions.all.len() - 1).unwrap();
            let most = 2 * TERMS.max_failed_attempts + later * OF_A_LATER_SESSION;
            assert!(wrong <= most, "{wrong} wrong codes, not {most} (seed {seed})");
        }
    }
}
