//! What the life of a verification should be, told with lists and a number for the time: no database, no
//! secrets, nothing at the same time as anything else.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::steps::{self, Fate, NUMBERS, Shown, Step};
use crate::{
    fake_service::{LIFETIME, RETENTION},
    model::{FailureClass, Status, Verdict},
    verifier::MAX_SESSIONS_PER_CODE,
};

/// How long a request is known again.
pub(super) const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// At most so many within a time.
pub(super) type Limit = (usize, Duration);
/// SMS to a number, if there are limits.
pub(super) const MESSAGE_LIMITS: [Limit; 2] = [(2, LIFETIME.checked_div(2).unwrap()), (6, MEMORY)];
/// Wrong codes for a number, after which it gets no further code.
pub(super) const GUESS_LIMITS: [Limit; 1] = [(3, LIFETIME.saturating_mul(2))];

/// SMS in all, if there is a cap, and how many of them are kept for numbers that were verified before.
pub(super) const CAP: Limit = (8, LIFETIME.saturating_mul(3));
pub(super) const RESERVED: usize = 4;

/// What one is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Registered { session: usize, expires_at: u64 },
    NotSent(FailureClass),
    AttemptsUsedUp(Duration),
    TooManySessions(Duration),
    LimitReached(Duration),
    KeyReused,
    Verdict(Verdict),
    Unknown,
    Over(Status),
    Counted(u64),
    Done,
}

#[derive(Clone, Debug)]
struct Code {
    number: usize,
    expires_at: u64,
    failures: u32,
    sessions: u32,
    used: bool,
    deleted: bool,
}

#[derive(Clone, Debug)]
struct Session {
    number: usize,
    code: usize,
    joined: bool,
    begun_at: u64,
    own_attempts: u32,
    /// Verified, or cancelled.
    end: Option<Status>,
    /// What its first SMS met.
    fate: Fate,
    deleted: bool,
}

#[derive(Clone, Debug)]
struct Request {
    number: usize,
    session: usize,
    made_at: u64,
}

/// What is remembered of a number from one code to the next.
#[derive(Clone, Copy, Debug)]
struct Memory {
    last_code: usize,
    /// Whether a code before that one came back.
    verified: bool,
    until: u64,
}

/// Which limits there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limited {
    /// Those of a number.
    pub(super) numbers: bool,
    /// The cap on all.
    pub(super) service: bool,
}

/// All there is to know.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) only_once: bool,
    pub(super) max_failed_attempts: u32,
    pub(super) limited: Limited,
    pub(super) sends_new_codes: bool,
    /// Since the beginning.
    now: u64,
    codes: Vec<Code>,
    sessions: Vec<Session>,
    requests: BTreeMap<usize, Request>,
    /// SMS that reached the network.
    pub(super) messages: usize,
    /// When a number was sent something, and when somebody guessed at its codes. Neither is ever forgotten.
    sent: [Vec<u64>; NUMBERS],
    guessed: [Vec<u64>; NUMBERS],
    /// When anything was sent to anybody, or may have been.
    sent_in_all: Vec<u64>,
    /// From what it is known whether a number was verified.
    remembered: [Option<Memory>; NUMBERS],
    /// To the last step.
    pub(super) answer: Answer,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

/// How long until there is room for one more.
fn wait(times: &[u64], limits: &[Limit], now: u64) -> Option<Duration> {
    let waits = limits.iter().filter_map(|(max, window)| {
        let leaves = |time: &u64| time + millis(*window);
        let place = times.len().checked_sub(*max)?;
        leaves(&times[place]).checked_sub(now).filter(|wait| *wait > 0)
    });
    waits.max().map(Duration::from_millis)
}

impl World {
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn number_of(&self, session: usize) -> usize {
        self.sessions[session].number
    }

    /// What tells the code that a session was sent last from others: the code, or the session where each SMS says
    /// another.
    pub(super) fn place_of_code(&self, session: usize) -> usize {
        if self.sends_new_codes {
            session
        } else {
            self.sessions[session].code
        }
    }

    /// Whether anybody was given the session's token.
    pub(super) fn is_known(&self, session: usize) -> bool {
        self.sessions
            .get(session)
            .is_some_and(|session| session.fate == Fate::Sent)
    }

    /// How a session stands, and how many wrong codes it survives; `None`: there is none.
    pub(super) fn standing(&self, session: usize) -> Option<(Status, u32)> {
        let session = &self.sessions[session];
        let code = &self.codes[session.code];
        let shared = if session.joined {
            self.max_failed_attempts.saturating_sub(code.failures)
        } else {
            0
        };
        let status = if session.deleted {
            return None;
        } else if let Some(end) = session.end {
            end
        } else if code.deleted || code.used || self.now > code.expires_at {
            Status::Expired
        } else if session.own_attempts + shared == 0 {
            Status::Failed
        } else {
            return Some((Status::Pending, session.own_attempts + shared));
        };
        Some((status, 0))
    }

    /// The code of a number that somebody got and may still type.
    fn pending(&self, number: usize) -> Option<usize> {
        self.codes.iter().rposition(|code| {
            let is_good = !code.used && !code.deleted && self.now <= code.expires_at;
            code.number == number && is_good && code.sessions > 0
        })
    }

    fn register(&mut self, number: usize, request: Option<usize>, fate: Fate) -> Answer {
        let before = request.and_then(|key| self.requests.get(&key));
        if let Some(before) = before.filter(|before| self.now < before.made_at + millis(MEMORY)) {
            return match (
                before.number == number,
                self.sessions[before.session].fate.failure(),
            ) {
                (false, _) => Answer::KeyReused,
                (true, Some(class)) => Answer::NotSent(class),
                (true, None) => self.registered(before.session),
            };
        }
        let pending = self.pending(number);
        let limited = self
            .wait_for_a_message(number)
            .max(self.wait_for_a_code(number))
            .max(self.wait_for_the_cap(number));
        if let Some(code) = pending.map(|code| &self.codes[code]) {
            let wait = Duration::from_millis(code.expires_at - self.now + 1);
            let is_longest = limited <= Some(wait);
            if code.failures >= self.max_failed_attempts && is_longest {
                return Answer::AttemptsUsedUp(wait);
            }
            if code.sessions >= MAX_SESSIONS_PER_CODE && is_longest {
                return Answer::TooManySessions(wait);
            }
        }
        if let Some(wait) = limited {
            return Answer::LimitReached(wait);
        }
        let code = pending.unwrap_or_else(|| {
            self.remembered[number] = Some(Memory {
                last_code: self.codes.len(),
                verified: self.was_verified(number),
                until: self.now + millis(RETENTION),
            });
            self.codes.push(Code {
                number,
                expires_at: self.now + millis(LIFETIME),
                failures: 0,
                sessions: 0,
                used: false,
                deleted: false,
            });
            self.codes.len() - 1
        });
        self.send(number, fate);
        self.sessions.push(Session {
            number,
            code,
            joined: pending.is_some(),
            begun_at: self.now,
            own_attempts: if pending.is_some() {
                1
            } else {
                self.max_failed_attempts
            },
            end: None,
            fate,
            deleted: false,
        });
        let session = self.sessions.len() - 1;
        if fate != Fate::Refused {
            self.codes[code].sessions += 1;
            let made = Request {
                number,
                session,
                made_at: self.now,
            };
            request.map(|key| self.requests.insert(key, made));
        }
        match fate.failure() {
            Some(class) => Answer::NotSent(class),
            None => self.registered(session),
        }
    }

    fn send(&mut self, number: usize, fate: Fate) {
        self.messages += 1;
        self.sent[number].push(self.now);
        // What the provider refuses uses up a number's own limits, and no cap.
        if fate != Fate::Refused {
            self.sent_in_all.push(self.now);
        }
    }

    fn was_verified(&self, number: usize) -> bool {
        let memory = self.remembered[number].filter(|memory| self.now < memory.until);
        memory.is_some_and(|memory| {
            let last = &self.codes[memory.last_code];
            memory.verified || last.used && !last.deleted
        })
    }

    fn wait_for_the_cap(&self, number: usize) -> Option<Duration> {
        let (max, window) = CAP;
        // Where no limit looks at numbers, nothing is known of any, and nothing is kept for some.
        let is_known = !self.limited.numbers || self.was_verified(number);
        let max = if is_known { max } else { max - RESERVED };
        let wait = wait(&self.sent_in_all, &[(max, window)], self.now);
        wait.filter(|_| self.limited.service)
    }

    fn wait_for_a_message(&self, number: usize) -> Option<Duration> {
        let wait = wait(&self.sent[number], &MESSAGE_LIMITS, self.now);
        wait.filter(|_| self.limited.numbers)
    }

    fn wait_for_a_code(&self, number: usize) -> Option<Duration> {
        let wait = wait(&self.guessed[number], &GUESS_LIMITS, self.now);
        wait.filter(|_| self.limited.numbers)
    }

    fn registered(&self, session: usize) -> Answer {
        let expires_at = self.codes[self.sessions[session].code].expires_at;
        Answer::Registered { session, expires_at }
    }

    fn check(&mut self, session: usize, right: bool, shown: Shown) -> Answer {
        let (now, only_once, max) = (self.now, self.only_once, self.max_failed_attempts);
        let session = &mut self.sessions[session];
        let code = &mut self.codes[session.code];
        let by_id = matches!(shown, Shown::TokenAndId | Shown::FalseTokenAndId);
        if session.deleted && by_id {
            return Answer::Unknown;
        }
        let shows_nothing = matches!(shown, Shown::TokenAndAnotherNumber | Shown::FalseTokenAndId);
        if session.deleted || code.deleted || shows_nothing {
            return Answer::Verdict(Verdict::SessionTokenInvalid);
        }
        if session.end == Some(Status::Cancelled)
            || (session.own_attempts == 0 && !(session.joined && code.failures < max))
        {
            // Whoever verified a number is told so for good.
            return Answer::Verdict(if session.end == Some(Status::Verified) && only_once {
                Verdict::AlreadyVerified
            } else {
                Verdict::TooManyAttempts
            });
        }
        // By its id, a code that is over is no longer anybody's number's.
        let is_over = code.used || now > code.expires_at;
        if !(right || by_id && is_over) {
            self.guessed[session.number].push(now);
        }
        let own_attempts = session.own_attempts;
        session.own_attempts = own_attempts.saturating_sub(1);
        code.failures += 1;
        Answer::Verdict(if !right {
            Verdict::Invalid
        } else if now > code.expires_at {
            Verdict::Expired
        } else if code.used && only_once {
            Verdict::AlreadyVerified
        } else {
            code.failures -= 1;
            code.used = true;
            session.own_attempts = own_attempts;
            session.end = Some(Status::Verified);
            Verdict::Valid
        })
    }

    fn resend(&mut self, session: usize, fate: Fate) -> Option<Answer> {
        match self.standing(session) {
            None => Some(Answer::Unknown),
            Some((Status::Pending, _)) => {
                let number = self.sessions[session].number;
                let wait = self.wait_for_a_message(number).max(self.wait_for_the_cap(number));
                if wait.is_none() {
                    self.send(number, fate);
                }
                wait.map(Answer::LimitReached)
            }
            Some((status, _)) => Some(Answer::Over(status)),
        }
    }

    /// Deletes the sessions that are meant, and counts them.
    fn delete(&mut self, dry_run: bool, is_meant: impl Fn(&Session) -> bool) -> Answer {
        let mut count = 0;
        for (index, session) in self.sessions.iter_mut().enumerate() {
            if session.deleted || !is_meant(session) {
                continue;
            }
            count += 1;
            if !dry_run {
                session.deleted = true;
                self.codes[session.code].deleted |= !session.joined;
                self.requests.retain(|_, request| request.session != index);
            }
        }
        Answer::Counted(count)
    }
}

impl ReferenceStateMachine for World {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let rules = (
            any::<bool>(),
            1_u32..=5,
            (any::<bool>(), any::<bool>()),
            any::<bool>(),
        );
        let world = rules.prop_map(
            |(only_once, max_failed_attempts, (numbers, service), sends_new_codes)| Self {
                only_once,
                max_failed_attempts,
                limited: Limited { numbers, service },
                sends_new_codes,
                now: 0,
                codes: Vec::new(),
                sessions: Vec::new(),
                requests: BTreeMap::new(),
                messages: 0,
                sent: Default::default(),
                guessed: Default::default(),
                sent_in_all: Vec::new(),
                remembered: [None; NUMBERS],
                answer: Answer::Done,
            },
        );
        world.boxed()
    }

    fn transitions(world: &Self) -> BoxedStrategy<Step> {
        steps::any_in(world)
    }

    fn preconditions(world: &Self, step: &Step) -> bool {
        match step {
            Step::Check { session, .. } | Step::Resend { session, .. } | Step::Cancel { session } => {
                world.is_known(*session)
            }
            _ => true,
        }
    }

    fn apply(mut world: Self, step: &Step) -> Self {
        world.answer = match *step {
            Step::Register {
                number,
                request,
                fate,
            } => world.register(number, request, fate),
            Step::Check {
                session,
                right,
                shown,
            } => world.check(session, right, shown),
            Step::Resend { session, fate } => world
                .resend(session, fate)
                .unwrap_or_else(|| fate.failure().map_or(Answer::Done, Answer::NotSent)),
            Step::Cancel { session } => {
                let session = &mut world.sessions[session];
                session.end = session.end.or(Some(Status::Cancelled));
                Answer::Done
            }
            Step::Wait(time) => {
                world.now += millis(time);
                Answer::Done
            }
            Step::Sweep => Answer::Done,
            Step::CleanUp { age, dry_run } => {
                let before = world.now.saturating_sub(millis(age));
                world.delete(dry_run, |session| session.begun_at < before)
            }
            Step::Forget { number, dry_run } => {
                if !dry_run {
                    world.remembered[number] = None;
                }
                world.delete(dry_run, |session| session.number == number)
            }
        };
        world
    }
}
