//! Whatever is done to the clock of a machine (it is set forward and back, suspended, started anew), each SMS is sent
//! once, nobody waits for longer than the window of a limit, and no code is good for longer than its life.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::{prelude::*, sample::select};

use crate::{
    clock::{Clock, UnixMillis},
    fake_network::FakeNetwork,
    fake_service::{LIFETIME, Service, code_in, number},
    model::{Limit, Verdict},
    verifier::{RateLimits, RegisterError, RegisterRequest, Registered},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MILLISECOND: Duration = Duration::from_millis(1);
/// Of the service times of two processes that agree.
const DIFFERENCE: Duration = Duration::from_secs(1);
const WINDOW: Duration = MINUTE;
/// Few, so that steps meet each other.
const NUMBERS: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(Duration),
    /// Time passes while the machine is suspended, and its count of the time stands still.
    Suspend(Duration),
    /// Somebody sets the wall clock.
    SetClock(i64),
    /// The machine is off for a time, and its wall clock is wrong by so much afterwards.
    Reboot(Duration, i64),
    /// One of two processes ends, and another takes its place.
    Restart(usize),
    /// By one of two processes.
    Register(usize, u32),
    /// The same, and the wall clock is set while the SMS is under way.
    RegisterAndSetClock(usize, u32, i64),
    /// The latest code of a number.
    Check(usize, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = || select(vec![MILLISECOND, MINUTE, LIFETIME / 2, LIFETIME, HOUR, DAY]);
    let set = || {
        let seconds = select(vec![1, 90, 3600, 24 * 3600]);
        (seconds, any::<bool>()).prop_map(|(seconds, back)| 1000 * if back { -seconds } else { seconds })
    };
    let step = prop_oneof![
        4 => time().prop_map(Step::Pass),
        1 => time().prop_map(Step::Suspend),
        4 => set().prop_map(Step::SetClock),
        1 => (time(), set()).prop_map(|(off, wrong)| Step::Reboot(off, wrong)),
        1 => (0..2_usize).prop_map(Step::Restart),
        4 => (0..2_usize, 0..NUMBERS).prop_map(|(process, n)| Step::Register(process, n)),
        2 => (0..2_usize, 0..NUMBERS, set()).prop_map(|(process, n, by)| Step::RegisterAndSetClock(process, n, by)),
        4 => (0..2_usize, 0..NUMBERS).prop_map(|(process, n)| Step::Check(process, n)),
    ];
    prop::collection::vec(step, 1..30)
}

/// A code that was sent.
struct Sent {
    registered: Registered,
    code: String,
    /// When it was made, in time that passed.
    made_at: Duration,
    /// Whether the wall clock was only ever set back since.
    is_expected: bool,
}

struct Machine {
    network: Arc<FakeNetwork>,
    clock: Clock,
    processes: Vec<Service>,
    /// The time that really passed.
    passed: Duration,
    /// Whether the wall clock may be behind what it was before.
    is_set_back: bool,
    sent: BTreeMap<u32, Sent>,
    /// When the latest registration was, in service time.
    latest: UnixMillis,
}

impl Machine {
    fn start() -> Self {
        let cooldown = Limit {
            code: "cooldown",
            max: 1,
            window: WINDOW,
            reserved_percent: 0,
        };
        let limits = RateLimits {
            number: [cooldown].into(),
            ..RateLimits::default()
        };
        let first = Service::with_limits(FakeNetwork::default(), limits);
        let clock = first.clock.clone();
        let second = first.second_with(&first.network, clock.of_another_process());
        Self {
            network: Arc::clone(&first.network),
            clock,
            processes: vec![first, second],
            passed: Duration::ZERO,
            is_set_back: false,
            sent: BTreeMap::new(),
            latest: UnixMillis(0),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.passed += time;
    }

    fn set_clock(&mut self, by: i64) {
        self.clock.step(by);
        self.is_set_back |= by < 0;
        if by > 0 {
            self.may_have_ended();
        }
    }

    /// Codes may end early when the clock is set forward, or nobody knows how long the machine was off.
    fn may_have_ended(&mut self) {
        for sent in self.sent.values_mut() {
            sent.is_expected = false;
        }
    }

    /// The latest that a process believes in.
    fn service_time(&self) -> UnixMillis {
        let times = self.processes.iter().map(|process| process.clock.now());
        times.max().unwrap()
    }

    /// After a restart of the machine the wall clock alone tells how long it was off. If that was set back, but not to
    /// before the latest registration, nothing in the world tells: the codes are younger by what is lost.
    fn loses_time(&mut self, off: Duration, before: UnixMillis) {
        let wall = self.clock.wall();
        if self.latest > wall.plus(2 * DIFFERENCE) {
            return;
        }
        let lost = wall.until(before.plus(off));
        for sent in self.sent.values_mut() {
            sent.made_at = self.passed.min(sent.made_at + lost);
        }
    }

    /// A process ends with nothing under way: that an SMS may be sent twice when it is killed before it has recorded it
    /// is another story. And nothing of it goes on, as it would in the next process of a test.
    async fn ends(&self, process: usize) {
        assert!(self.processes[process].drain().await);
        self.processes[process].is_killed();
    }

    fn begin_again(&mut self, process: usize) {
        let clock = self.clock.of_another_process();
        self.processes[process] = self.processes[process].second_with(&self.network, clock);
    }

    /// What a process does by itself once in a while.
    async fn sweep(&self) {
        for Service { store, clock, .. } in &self.processes {
            store.share_time(clock).await.unwrap();
            let taken = store.take_over_messages(clock.now(), 10).await.unwrap();
            assert!(taken.is_empty(), "no process died over one");
            store.expire_codes(clock.now()).await.unwrap();
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Pass(time) => self.pass(time),
            // A system that counts it tells: Linux does.
            Step::Suspend(time) if self.is_set_back => self.pass(time),
            // Elsewhere the wall clock alone tells, and not if it was set back before.
            Step::Suspend(time) => {
                self.clock.step(i64::try_from(time.as_millis()).unwrap());
                self.passed += time;
                self.may_have_ended();
            }
            Step::SetClock(by) => self.set_clock(by),
            Step::Reboot(off, wrong) => {
                for process in 0..2 {
                    self.ends(process).await;
                }
                let before = self.service_time();
                self.pass(off);
                self.clock.step(wrong);
                self.is_set_back |= wrong < 0;
                self.loses_time(off, before);
                self.clock = self.clock.after_a_reboot();
                for process in 0..2 {
                    self.begin_again(process);
                }
                self.may_have_ended();
            }
            Step::Restart(process) => {
                self.ends(process).await;
                self.begin_again(process);
            }
            Step::Register(process, n) => self.register(process, n, None).await,
            Step::RegisterAndSetClock(process, n, by) => self.register(process, n, Some(by)).await,
            Step::Check(process, n) => self.check(process, n).await,
        }
        self.sweep().await;
    }

    async fn register(&mut self, process: usize, n: u32, set: Option<i64>) {
        let before = self.network.inbox().len();
        let registered = match (self.try_register(process, n, set).await, set) {
            (Err(RegisterError::LimitReached { retry_after, .. }), None) => {
                assert!(retry_after <= WINDOW, "{retry_after:?}");
                self.pass(retry_after);
                // By the other process, which is told the same, but for what their clocks may differ by.
                match self.try_register(1 - process, n, None).await {
                    Err(RegisterError::LimitReached { retry_after, .. }) if retry_after <= DIFFERENCE => {
                        self.pass(retry_after);
                        self.try_register(1 - process, n, None).await
                    }
                    registered => registered,
                }
            }
            (registered, _) => registered,
        };
        let inbox = self.network.inbox();
        let made = match registered {
            Ok(made) => made,
            Err(RegisterError::LimitReached { .. }) if set.is_some() => return,
            Err(
                RegisterError::TooManySessions { retry_after }
                | RegisterError::AttemptsUsedUp { retry_after },
            ) => {
                assert!(retry_after <= LIFETIME + DIFFERENCE, "{retry_after:?}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        self.latest = self.service_time();
        assert_eq!(inbox.len(), before + 1, "one SMS");
        let (_, text) = inbox.last().unwrap();
        let code = code_in(text);
        // A code that was pending is as old as it was.
        let earlier = self.sent.get(&n).filter(|earlier| earlier.code == code);
        let made_at = earlier.map_or(self.passed, |earlier| earlier.made_at);
        let is_expected = earlier.is_none_or(|earlier| earlier.is_expected) && set.is_none_or(|by| by < 0);
        self.sent.insert(
            n,
            Sent {
                registered: made,
                code,
                made_at,
                is_expected,
            },
        );
    }

    async fn try_register(
        &mut self,
        process: usize,
        n: u32,
        set: Option<i64>,
    ) -> Result<Registered, RegisterError> {
        let request = RegisterRequest::of(number(n), crate::model::Locale::default());
        let verifier = self.processes[process].verifier.clone();
        let Some(by) = set else {
            return verifier.register(request).await;
        };
        let arrived = self.network.inbox().len() + 1;
        self.network.hold();
        let registering = tokio::spawn(async move { verifier.register(request).await });
        let network = Arc::clone(&self.network);
        tokio::select! {
            _ = network.arrived(arrived) => {
                self.set_clock(by);
                self.sweep().await;
            }
            () = async { while !registering.is_finished() { tokio::task::yield_now().await; } } => {}
        }
        self.network.let_all_through();
        registering.await.unwrap()
    }

    async fn check(&mut self, process: usize, n: u32) {
        let Some(sent) = self.sent.get(&n) else { return };
        let age = self.passed.checked_sub(sent.made_at).unwrap();
        let (service, number) = (&self.processes[process], number(n));
        let checked = service.check(&number, &sent.registered.session_token, &sent.code);
        match checked.await.unwrap() {
            Verdict::Valid => {
                assert!(age <= LIFETIME + DIFFERENCE, "good for {age:?}");
                self.sent.remove(&n);
            }
            verdict => assert!(!sent.is_expected || age > LIFETIME, "{verdict:?} after {age:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_done_to_the_clock_nothing_is_sent_twice_or_lasts_too_long(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut machine = Machine::start();
            for step in steps {
                machine.take(step).await;
            }
        });
    }
}
