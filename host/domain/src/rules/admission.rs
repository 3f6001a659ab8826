//! Whether a message may go, by all limits and by the guard; and what it is counted in.

use super::{
    cache::Counters,
    guard::{self, Finding},
    limits,
};
use crate::{
    clock::UnixMillis,
    model::{FailureClass, LimitReached},
    rules::{
        counter::{Counted, Counter, CounterKey},
        guarded::{Blocked, Guarded},
    },
};

/// What a message is counted in.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// By the limits.
    pub counters: &'a [Counter],
    /// By the guard; `None`: it does not look at this message.
    pub guard: Option<&'a Guarded>,
}

impl Charge<'_> {
    /// Where the message's number is remembered; `None`: neither a limit nor the guard looks at it.
    pub fn number(&self) -> Option<CounterKey> {
        let counted = self
            .counters
            .iter()
            .find(|counter| counter.counted == Counted::Number);
        let guarded = || self.guard.map(|guarded| guarded.keys.number);
        counted.map(|counter| counter.key).or_else(guarded)
    }
}

/// Whether a message may go.
#[derive(Debug)]
pub enum Admission {
    /// It may, and was counted; with what the guard found against it all the same.
    Admitted(Option<Finding>),
    /// A limit has no room for it. Nothing was counted.
    LimitReached(LimitReached),
    /// The guard refuses it. Only the client's address was counted.
    Blocked(Blocked, Finding),
}

/// Decides whether a message may go, and counts it.
pub fn decide<C: Counters>(counters: &C, charge: Charge<'_>, now: UnixMillis) -> Result<Admission, C::Error> {
    if let Err(reached) = limits::count(counters, charge, now)? {
        return Ok(Admission::LimitReached(reached));
    }
    let Some(guarded) = charge.guard else {
        return Ok(Admission::Admitted(None));
    };
    match guard::judge(counters, guarded, now)? {
        Some((finding, Some(blocked))) => {
            // The address stays charged, so that asking has a bound. The number does not: its budget is its owner's.
            limits::take_back(counters, charge.counters, FailureClass::Transient, now)?;
            Ok(Admission::Blocked(blocked, finding))
        }
        found => {
            guard::count(counters, &guarded.keys, now)?;
            Ok(Admission::Admitted(found.map(|(finding, _)| finding)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{model::Limit, rules::in_memory::InMemory};

    const HOUR: Duration = Duration::from_secs(3600);
    const OF_A_NUMBER: u64 = 3;
    const OF_THE_SERVICE: u64 = 7;

    fn counter(counted: Counted, name: &str, max: u64) -> Counter {
        let limit = Limit {
            code: "an_hour",
            max,
            window: HOUR,
            reserved_percent: 0,
        };
        Counter {
            counted,
            key: counted.in_public(name),
            amount: 1,
            limits: Arc::new([limit]),
        }
    }

    fn counters_of(number: &str) -> [Counter; 2] {
        [
            counter(Counted::Number, number, OF_A_NUMBER),
            counter(Counted::Service, "", OF_THE_SERVICE),
        ]
    }

    /// Messages that went, and were not taken back.
    struct World {
        engine: InMemory,
        now: UnixMillis,
        sent: Vec<(&'static str, UnixMillis)>,
    }

    impl World {
        fn within_an_hour(&self, of: Option<&str>) -> u64 {
            let lately = self
                .sent
                .iter()
                .filter(|(number, at)| at.plus(HOUR) > self.now && of.is_none_or(|name| name == *number));
            lately.count().try_into().unwrap()
        }

        fn ask(&mut self, number: &'static str) -> Option<LimitReached> {
            let counters = counters_of(number);
            let charge = Charge {
                counters: &counters,
                guard: None,
            };
            let Ok(admission) = decide(&self.engine, charge, self.now);
            match admission {
                Admission::Admitted(_) => {
                    self.sent.push((number, self.now));
                    None
                }
                Admission::LimitReached(reached) => Some(reached),
                Admission::Blocked(..) => panic!("there is no guard"),
            }
        }

        fn register(&mut self, number: &'static str, seed: u64) {
            if let Some(reached) = self.ask(number) {
                let is_full = self.within_an_hour(Some(number)) >= OF_A_NUMBER
                    || self.within_an_hour(None) >= OF_THE_SERVICE;
                assert!(is_full, "refused with room (seed {seed})");
                self.now = reached.until;
                assert!(self.ask(number).is_none(), "waited in vain (seed {seed})");
            }
            assert!(self.within_an_hour(Some(number)) <= OF_A_NUMBER, "seed {seed}");
            assert!(self.within_an_hour(None) <= OF_THE_SERVICE, "seed {seed}");
        }

        fn take_back(&mut self, index: usize) {
            let (number, at) = self.sent.remove(index);
            let counters = counters_of(number);
            let Ok(()) = limits::take_back(&self.engine, &counters, FailureClass::Transient, at);
        }
    }

    #[test]
    fn no_order_of_messages_exceeds_a_limit_and_nobody_waits_in_vain() {
        for seed in 0..100_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut world = World {
                engine: InMemory::default(),
                now: UnixMillis(1_700_000_000_000),
                sent: Vec::new(),
            };
            for _ in 0..random.u8(1..25) {
                match random.u8(..8) {
                    0 => world.now = world.now.plus(Duration::from_secs(random.u64(..4000))),
                    1 if !world.sent.is_empty() => {
                        let index = random.usize(..world.sent.len());
                        world.take_back(index);
                    }
                    _ => world.register(["a", "b", "c", "d"][random.usize(..4)], seed),
                }
            }
        }
    }
}
