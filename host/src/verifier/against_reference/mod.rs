//! Any sequence of what people, operators and time may do to verifications has the answers that a simple
//! reference gives, on two processes that share one database file.
//!
//! `PROPTEST_CASES` is how many sequences are tried. A failure shrinks to the fewest steps, and is kept under
//! `proptest-regressions` to be tried first from then on.

mod reference;
mod steps;

use std::{collections::BTreeMap, rc::Rc};

use proptest::test_runner::Config;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tokio::runtime::{Builder, Runtime};

use self::{
    reference::{Answer, CAP, GUESS_LIMITS, MESSAGE_LIMITS, RESERVED, World},
    steps::{Fate, Shown, Step},
};
use super::{Policy, RateLimits, RegisterError, RegisterRequest, Registered, ResendError, ResendPolicy};
use crate::{
    fake_network::{FakeNetwork, failure},
    fake_service::{Service, code_in, number},
    model::{FailureClass, Limit, Locale, PhoneNumber, Purpose, SecurityCode, SessionToken},
    store::{RequestKey, StoreError},
};

/// When the service's clock begins.
const BEGIN: u64 = 1_700_000_000_000;

prop_state_machine! {
    #![proptest_config(Config::default())]
    #[test]
    fn whatever_happens_to_verifications_has_the_answers_of_the_reference(sequential 1..40 => Machine);
}

/// The service, and what people were given.
struct Machine {
    /// In turn.
    processes: [Service; 2],
    steps: usize,
    /// By the reference's session.
    given: Vec<Option<Registered>>,
    /// As an SMS said it: by the reference's code, or where each SMS says another, by its session.
    codes: BTreeMap<usize, String>,
    runtime: Rc<Runtime>,
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = World;

    fn init_test(world: &World) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let ruled = |mut service: Service| {
            service.verifier = service.verifier.under(Policy {
                only_once: world.only_once,
                resend: if world.sends_new_codes {
                    ResendPolicy::New
                } else {
                    ResendPolicy::Same
                },
                max_failed_attempts: world.max_failed_attempts,
                limits: limits(world),
                ..service.verifier.policy.clone()
            });
            service
        };
        let processes = runtime.block_on(async {
            let first = Service::start(FakeNetwork::default());
            let second = first.second(FakeNetwork::default());
            [ruled(first), ruled(second)]
        });
        Self {
            processes,
            steps: 0,
            given: Vec::new(),
            codes: BTreeMap::new(),
            runtime: Rc::new(runtime),
        }
    }

    fn apply(mut machine: Self, world: &World, step: Step) -> Self {
        machine.steps += 1;
        let answer = Rc::clone(&machine.runtime).block_on(machine.take(world, &step));
        assert_eq!(answer, world.answer);
        machine
    }

    fn check_invariants(machine: &Self, world: &World) {
        assert_eq!(machine.messages(), world.messages);
        machine.runtime.block_on(async {
            for (session, given) in machine.given.iter().enumerate() {
                let Some(given) = given else { continue };
                let found = machine.process().verifier.find(given.id).await.unwrap();
                let standing = found.map(|(found, _)| (found.status, found.attempts_remaining));
                assert_eq!(standing, world.standing(session), "session {session}");
            }
        });
    }
}

impl Machine {
    fn process(&self) -> &Service {
        &self.processes[self.steps % 2]
    }

    /// SMS that reached the network.
    fn messages(&self) -> usize {
        self.processes
            .iter()
            .map(|process| process.network.inbox().len())
            .sum()
    }

    fn given(&self, session: usize) -> &Registered {
        self.given[session]
            .as_ref()
            .expect("the reference knows who was given a token")
    }

    async fn take(&mut self, world: &World, step: &Step) -> Answer {
        match *step {
            Step::Register {
                number,
                request,
                fate,
            } => self.register(world, number, request, fate).await,
            Step::Check {
                session,
                right,
                shown,
            } => self.check(world, session, right, shown).await,
            Step::Resend { session, fate } => self.resend(world, session, fate).await,
            Step::Cancel { session } => {
                let id = self.given(session).id;
                self.process().verifier.cancel(id, "test".into()).await.unwrap();
                Answer::Done
            }
            Step::Wait(time) => {
                self.process().clock.advance(time);
                Answer::Done
            }
            Step::Sweep => {
                let process = self.process();
                process.store.expire_codes(process.clock.now()).await.unwrap();
                Answer::Done
            }
            Step::CleanUp { age, dry_run } => {
                Answer::Counted(self.process().verifier.cleanup(age, dry_run).await.unwrap())
            }
            Step::Forget { number: n, dry_run } => {
                let process = self.process();
                Answer::Counted(if dry_run {
                    process.store.forget(&number_of(n), None).await.unwrap()
                } else {
                    process.forget(&number_of(n)).await.unwrap()
                })
            }
        }
    }

    async fn register(&mut self, world: &World, n: usize, request: Option<usize>, fate: Fate) -> Answer {
        self.prepare(world, fate);
        let key = request.map(|key| RequestKey {
            key: key.to_string(),
            body: vec![u8::try_from(n).unwrap()],
        });
        let request = RegisterRequest::of(number_of(n), Locale::default());
        let registered = self.process().verifier.once(key).register(request).await;
        let answer = match &registered {
            Ok(registered) => {
                let place = |given: &Option<Registered>| {
                    given
                        .as_ref()
                        .is_some_and(|given| given.session_token == registered.session_token)
                };
                Answer::Registered {
                    session: self.given.iter().position(place).unwrap_or(self.given.len()),
                    expires_at: registered.expires_at.0 - BEGIN,
                }
            }
            Err(RegisterError::NotSent(failure)) => Answer::NotSent(failure.class),
            Err(RegisterError::AttemptsUsedUp { retry_after }) => Answer::AttemptsUsedUp(*retry_after),
            Err(RegisterError::TooManySessions { retry_after }) => Answer::TooManySessions(*retry_after),
            Err(RegisterError::LimitReached { retry_after, .. }) => Answer::LimitReached(*retry_after),
            Err(RegisterError::Store(StoreError::KeyReused)) => Answer::KeyReused,
            Err(error) => panic!("{error}"),
        };
        if world.sessions() > self.given.len() {
            self.given.push(registered.ok());
            self.read_the_sms(world, world.sessions() - 1).await;
        }
        answer
    }

    async fn check(&self, world: &World, session: usize, right: bool, shown: Shown) -> Answer {
        let given = self.given(session);
        let right_code = &self.codes[&world.place_of_code(session)];
        let code = if right {
            right_code.clone()
        } else {
            wrong(right_code)
        };
        let service = self.process();
        let (number, token) = (number_of(world.number_of(session)), &given.session_token);
        let (id, token) = match shown {
            Shown::TokenAndNumber => {
                return Answer::Verdict(service.check(&number, token, &code).await.unwrap());
            }
            Shown::TokenAndAnotherNumber => {
                return Answer::Verdict(service.check(&number_of(99), token, &code).await.unwrap());
            }
            Shown::TokenAndId => (given.id, token.clone()),
            Shown::FalseTokenAndId => (given.id, SessionToken::from_client("no token")),
        };
        let code = SecurityCode::new(code).unwrap();
        match service
            .verifier
            .check_by_id(id, None, token, code, Purpose::default())
            .await
            .unwrap()
        {
            None => Answer::Unknown,
            Some(judged) => {
                let attempts = world.standing(session).map(|(_, attempts)| attempts);
                assert_eq!(Some(judged.attempts_remaining), attempts);
                Answer::Verdict(judged.verdict)
            }
        }
    }

    async fn resend(&mut self, world: &World, session: usize, fate: Fate) -> Answer {
        self.prepare(world, fate);
        let (id, before) = (self.given(session).id, self.messages());
        let resent = self.process().verifier.resend(id, None, &Locale::default()).await;
        // The code of an SMS that certainly was not sent is nobody's.
        let is_sent = match &resent {
            Err(ResendError::NotSent(failure)) => failure.class == FailureClass::OutcomeUnknown,
            _ => true,
        };
        if self.messages() > before && (is_sent || !world.sends_new_codes) {
            self.read_the_sms(world, session).await;
        }
        match resent {
            Ok(_) => Answer::Done,
            Err(ResendError::NotFound) => Answer::Unknown,
            Err(ResendError::Over(status)) => Answer::Over(status),
            Err(ResendError::LimitReached { retry_after, .. }) => Answer::LimitReached(retry_after),
            Err(ResendError::NotSent(failure)) => Answer::NotSent(failure.class),
            Err(error) => panic!("{error}"),
        }
    }

    /// Has the network deal so with the SMS of this step, if the reference expects one.
    fn prepare(&self, world: &World, fate: Fate) {
        if world.messages > self.messages() {
            self.process()
                .network
                .next(fate.failure().map(|class| Err(failure(class))));
        }
        // Whether the backend is left alone for a while is another story.
        self.process().has_a_backend_anew();
    }

    /// The latest SMS went to the session's number with the session's code.
    async fn read_the_sms(&mut self, world: &World, session: usize) {
        let process = self.process();
        let inbox = process.network.inbox();
        let (to, text) = inbox.last().expect("an SMS was sent");
        assert_eq!(*to, number_of(world.number_of(session)));
        // That it was sent is recorded a little later than it is told, or with the next that is written.
        while process.waiting() > 0 {
            process.store.ready().await.unwrap();
        }
        let code = code_in(text);
        let known = self.codes.insert(world.place_of_code(session), code.clone());
        if let Some(known) = known
            && !world.sends_new_codes
        {
            assert_eq!(known, code);
        }
    }
}

/// Those of the reference.
fn limits(world: &World) -> RateLimits {
    let all = |is_on: bool, code, limits: &[reference::Limit]| {
        let limit = |(max, window): &reference::Limit| Limit::new(code, *max as u64, *window);
        limits.iter().filter(|_| is_on).map(limit).collect()
    };
    let (max, window) = CAP;
    let cap = Limit {
        reserved_percent: u8::try_from(RESERVED * 100 / max).unwrap(),
        ..Limit::new("service", max as u64, window)
    };
    RateLimits {
        number: all(world.limited.numbers, "number", &MESSAGE_LIMITS),
        failed_checks: all(world.limited.numbers, "failed_checks", &GUESS_LIMITS),
        service: world.limited.service.then_some(cap).into_iter().collect(),
        ..RateLimits::default()
    }
}

fn number_of(n: usize) -> PhoneNumber {
    number(u32::try_from(n).unwrap())
}

/// Another code than this one.
fn wrong(code: &str) -> String {
    let (rest, last) = code.split_at(code.len() - 1);
    format!("{rest}{}", if last == "0" { '1' } else { '0' })
}
