//! A circuit breaker for the provider: after some failures in a row that are the provider's fault, it opens, and
//! messages are refused at once for a while; then one is let through as a probe.
//!
//! It opens for one country where messages to that country fail, and for the whole backend where the account is refused,
//! or where messages to several countries fail and none is taken in between.
//!
//! Invariants: only what arose at the provider counts ([`Sign`]). What this process or a library did to a message
//! neither opens the breaker nor closes it. One country closes no other, and one client address closes no country.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::Clock,
    metrics::Counter,
    model::{FailureClass, Origin, Outcome, Region, SendFailure, Sign},
    store::{self, Counter as Charge, CounterKey, OutboxMessage},
};

/// The code of a message that the breaker refuses.
const OPEN: &str = "breaker_open";

/// Failures in a row that open the breaker.
const MAX_FAILURES: u32 = 5;
/// How many of them may come of messages that one client address asked for: who chooses the numbers could provoke them.
const MAX_OF_ADDRESS: usize = 2;
/// How many countries must be among the failures in a row that open it for the whole backend.
const MIN_COUNTRIES: usize = 3;
/// How long it stays open before one message is let through.
const PAUSE: Duration = Duration::from_secs(15);

/// The state of the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Closed: every message is let through.
    Closed,
    /// Open: no message is let through.
    Open,
    /// Half open: one message is let through, as a probe of whether the provider is back.
    Probing,
}

/// Counts the failures of one backend's provider.
pub struct Breaker {
    clock: Clock,
    counted: Mutex<Counted>,
    /// How often it and those before it opened.
    opened: Arc<Counter>,
}

#[derive(Default)]
struct Counted {
    whole: Circuit,
    /// The countries that messages failed to since the last one was taken there. No more than there are countries.
    countries: BTreeMap<Option<Region>, Circuit>,
    /// The countries that messages failed to since the last one was taken anywhere.
    failing: BTreeSet<Option<Region>>,
    /// Whether its backend left the fleet.
    retired: bool,
    messages: Counts,
}

/// Failures in a row of one kind, and what follows from them.
#[derive(Default)]
struct Circuit {
    failures: u32,
    /// The addresses that asked for the messages that failed, as often as they count.
    addresses: Vec<CounterKey>,
    /// The time on the clock's `elapsed` at which a probe is let through.
    open_until: Option<Duration>,
    probing: bool,
}

/// What a message is, as far as a breaker depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject {
    /// Where it goes.
    pub country: Option<Region>,
    /// The client address that asked for it, where addresses are counted.
    pub address: Option<CounterKey>,
}

/// A message that was let through; its outcome is to be recorded.
pub struct Admitted {
    subject: Subject,
    probes_whole: bool,
    probes_country: bool,
}

impl Subject {
    /// Of this message.
    pub fn of(message: &OutboxMessage) -> Self {
        let address = |charge: &&Charge| charge.counted == store::Counted::Address;
        Self {
            country: message.number.country(),
            address: message.counters.iter().find(address).map(|charge| charge.key),
        }
    }
}

impl Circuit {
    fn state(&self, now: Duration) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if self.probing || now >= until => BreakerState::Probing,
            Some(_) => BreakerState::Open,
        }
    }

    /// How long nothing is let through.
    fn closed_for(&self, now: Duration) -> Option<Duration> {
        self.open_until
            .map(|until| until.saturating_sub(now))
            .filter(|wait| !wait.is_zero())
    }

    /// Lets a message through that [`Self::closed_for`] does not refuse. Whether it is a probe.
    fn admit(&mut self, now: Duration) -> bool {
        if self.open_until.is_some() {
            self.probing = true;
            // If the outcome of the probe is never recorded, another is let through after the same pause.
            self.open_until = Some(now + PAUSE);
        }
        self.open_until.is_some()
    }

    /// Counts a failure. Whether it opens by it.
    fn fails(&mut self, address: Option<CounterKey>, now: Duration) -> bool {
        if let Some(address) = address {
            let of_address = self.addresses.iter().filter(|other| **other == address);
            if self.open_until.is_none() && of_address.count() >= MAX_OF_ADDRESS {
                return false;
            }
            self.addresses.push(address);
            self.addresses.truncate(MAX_FAILURES as usize);
        }
        self.failures += 1;
        let opens = self.failures >= MAX_FAILURES && self.open_until.is_none();
        if self.failures >= MAX_FAILURES {
            self.open_until = Some(now + PAUSE);
        }
        opens
    }
}

/// Messages that a backend was given, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The provider took them.
    pub sent: u64,
    /// They certainly were not sent.
    pub failed: u64,
    /// They may have been sent.
    pub unknown: u64,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            counted: Mutex::default(),
            opened: Arc::default(),
        }
    }

    /// A closed one for the backend that takes the place of this one's. What is still under way in this one's does not
    /// count for it; only how often it opened goes on.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            counted: Mutex::default(),
            opened: Arc::clone(&self.opened),
        }
    }

    /// Its backend left the fleet: what is still under way in it opens and closes nothing, and is not told.
    pub fn retire(&self) {
        self.counted().retired = true;
    }

    /// The messages so far, by outcome.
    pub fn counts(&self) -> Counts {
        self.counted().messages
    }

    /// How often it opened, with all that had its place before.
    pub fn opened(&self) -> u64 {
        self.opened.get()
    }

    /// Its state now, for the whole backend.
    pub fn state(&self) -> BreakerState {
        self.counted().whole.state(self.clock.elapsed())
    }

    /// The countries that no messages are let through to, but for probes.
    pub fn refused_countries(&self) -> Vec<Option<Region>> {
        let counted = self.counted();
        let open = counted
            .countries
            .iter()
            .filter(|(_, circuit)| circuit.open_until.is_some());
        open.map(|(country, _)| *country).collect()
    }

    /// Lets a message through, or refuses it with a failure that names the time of the next try.
    pub fn admit(&self, subject: Subject) -> Result<Admitted, SendFailure> {
        let mut counted = self.counted();
        let now = self.clock.elapsed();
        let Counted { whole, countries, .. } = &mut *counted;
        let country = countries.get_mut(&subject.country);
        let of_country = country.as_ref().and_then(|country| country.closed_for(now));
        if let Some(wait) = whole.closed_for(now).max(of_country) {
            let mut refusal = SendFailure::new(
                FailureClass::Transient,
                OPEN,
                "the provider failed several times in a row and is left alone for a while",
            )
            .arisen_in(Origin::Host);
            refusal.retry_after = Some(wait);
            return Err(refusal);
        }
        Ok(Admitted {
            subject,
            probes_whole: whole.admit(now),
            probes_country: country.is_some_and(|country| country.admit(now)),
        })
    }

    /// What became of a message that was let through.
    pub fn record(&self, admitted: &Admitted, outcome: &Outcome) {
        let mut counted = self.counted();
        if counted.retired {
            return;
        }
        let messages = &mut counted.messages;
        match outcome {
            Ok(_) => messages.sent += 1,
            Err(failure) if failure.class == FailureClass::OutcomeUnknown => messages.unknown += 1,
            Err(_) => messages.failed += 1,
        }
        counted.ends_probe(admitted);
        let now = self.clock.elapsed();
        match outcome.as_ref().map_or_else(SendFailure::sign, |_| Sign::Up) {
            Sign::Down => {
                if let Err(failure) = outcome {
                    self.goes_down(&mut counted, admitted.subject, failure, now);
                }
            }
            // The probe did not reach the provider: the next message is one at once.
            Sign::Nothing => counted.may_probe_again(admitted, now),
            Sign::Up => {
                let country = admitted.subject.country;
                let of_country = counted.countries.remove(&country);
                let was_open = |circuit: &Circuit| circuit.open_until.is_some();
                if was_open(&counted.whole) || of_country.is_some_and(|circuit| was_open(&circuit)) {
                    tracing::info!("breaker closed: the provider is back");
                }
                counted.whole = Circuit::default();
                counted.failing.clear();
            }
        }
    }

    fn goes_down(&self, counted: &mut Counted, subject: Subject, failure: &SendFailure, now: Duration) {
        let Subject { country, address } = subject;
        // No client can provoke that the account is refused.
        let is_of_account = failure.class.blames_account();
        let address = address.filter(|_| !is_of_account);
        let opens_country = counted.countries.entry(country).or_default().fails(address, now);
        counted.failing.insert(country);
        let is_of_whole = is_of_account || counted.whole.open_until.is_some();
        let opens_whole =
            (is_of_whole || counted.failing.len() >= MIN_COUNTRIES) && counted.whole.fails(address, now);
        if !opens_whole && !opens_country {
            return;
        }
        self.opened.inc();
        let country = country
            .filter(|_| !opens_whole)
            .map_or_else(String::new, Region::code);
        tracing::warn!(
            failures = MAX_FAILURES,
            country,
            class = failure.class.as_str(),
            code = failure.code,
            "breaker opened: the provider failed that often in a row, so that messages are refused for {} s{}; codes that \
             were sent can still be checked",
            PAUSE.as_secs(),
            if opens_whole {
                ""
            } else {
                ", those to this country alone"
            }
        );
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn ends_probe(&mut self, admitted: &Admitted) {
        if admitted.probes_whole {
            self.whole.probing = false;
        }
        if admitted.probes_country
            && let Some(country) = self.countries.get_mut(&admitted.subject.country)
        {
            country.probing = false;
        }
    }

    fn may_probe_again(&mut self, admitted: &Admitted, now: Duration) {
        let country = self.countries.get_mut(&admitted.subject.country);
        let of_country = country.filter(|_| admitted.probes_country);
        let whole = Some(&mut self.whole).filter(|_| admitted.probes_whole);
        for circuit in of_country.into_iter().chain(whole) {
            if circuit.open_until.is_some() {
                circuit.open_until = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::UnixMillis, model::Receipt};

    fn failed() -> Outcome {
        Err(SendFailure::new(
            FailureClass::AuthFailed,
            "nexmo_4",
            "wrong credentials",
        ))
    }

    fn send(breaker: &Breaker, outcome: &Outcome) {
        let admitted = breaker.admit(Subject::default()).unwrap();
        breaker.record(&admitted, outcome);
    }

    #[test]
    fn a_provider_that_fails_in_a_row_is_left_alone_and_then_tried_once() {
        let clock = Clock::manual(UnixMillis(0));
        let breaker = Breaker::new(clock.clone());
        for _ in 0..MAX_FAILURES {
            send(&breaker, &failed());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        let refusal = breaker.admit(Subject::default()).err().unwrap();
        assert_eq!(refusal.retry_after, Some(PAUSE));
        clock.advance(PAUSE);
        let probe = breaker.admit(Subject::default()).unwrap();
        assert!(breaker.admit(Subject::default()).is_err(), "one probe at a time");
        breaker.record(&probe, &failed());
        assert_eq!(breaker.state(), BreakerState::Open);
        clock.advance(PAUSE);
        send(&breaker, &Ok(Receipt::default()));
        assert_eq!(breaker.state(), BreakerState::Closed);
        let counts = Counts {
            sent: 1,
            failed: u64::from(MAX_FAILURES) + 1,
            unknown: 0,
        };
        assert_eq!(breaker.counts(), counts);
        let next = breaker.successor();
        assert_eq!(
            (next.counts(), next.opened()),
            (Counts::default(), breaker.opened())
        );
    }

    #[test]
    fn a_bad_number_is_not_the_providers_fault() {
        let breaker = Breaker::new(Clock::manual(UnixMillis(0)));
        for _ in 0..100 {
            send(
                &breaker,
                &Err(SendFailure::new(FailureClass::InvalidNumber, "nexmo_3", "")),
            );
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    /// Whatever its class, it neither counts as a failure nor as a success.
    #[test]
    fn what_this_process_or_a_library_did_says_nothing_about_the_provider() {
        for origin in [Origin::Library, Origin::Host] {
            for (class, name) in FailureClass::ALL {
                let ours: Outcome = Err(SendFailure::new(class, "P704", "").arisen_in(origin));
                let clock = Clock::manual(UnixMillis(0));
                let breaker = Breaker::new(clock.clone());
                for _ in 0..100 {
                    send(&breaker, &ours);
                }
                assert_eq!(breaker.state(), BreakerState::Closed, "{name}");
                for _ in 1..MAX_FAILURES {
                    send(&breaker, &failed());
                }
                send(&breaker, &ours);
                send(&breaker, &failed());
                assert_eq!(breaker.state(), BreakerState::Open, "{name}");
                clock.advance(PAUSE);
                send(&breaker, &ours);
                assert_eq!(breaker.state(), BreakerState::Probing, "{name}");
                send(&breaker, &Ok(Receipt::default()));
                assert_eq!(breaker.state(), BreakerState::Closed, "{name}");
            }
        }
    }

    #[test]
    fn what_is_under_way_in_the_backend_before_does_not_count_for_the_next() {
        let before = Breaker::new(Clock::manual(UnixMillis(0)));
        let under_way: Vec<Admitted> = (0..MAX_FAILURES)
            .map(|_| before.admit(Subject::default()).unwrap())
            .collect();
        let next = before.successor();
        before.retire();
        for admitted in &under_way {
            before.record(admitted, &failed());
        }
        assert_eq!(
            (before.state(), next.state()),
            (BreakerState::Closed, BreakerState::Closed)
        );
        assert_eq!((next.counts(), next.opened()), (Counts::default(), 0));
    }

    fn lost() -> Outcome {
        Err(SendFailure::new(
            FailureClass::OutcomeUnknown,
            "deadline",
            "no answer",
        ))
    }

    fn to(country: &str) -> Subject {
        Subject {
            country: Region::parse(country),
            address: None,
        }
    }

    fn send_to(breaker: &Breaker, subject: Subject, outcome: &Outcome) {
        if let Ok(admitted) = breaker.admit(subject) {
            breaker.record(&admitted, outcome);
        }
    }

    #[test]
    fn a_country_that_fails_closes_no_other_and_comes_back_by_itself() {
        let clock = Clock::manual(UnixMillis(0));
        let breaker = Breaker::new(clock.clone());
        for _ in 0..2 * MAX_FAILURES {
            send_to(&breaker, to("DE"), &lost());
            send_to(&breaker, to("US"), &Ok(Receipt::default()));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.refused_countries(), [Region::parse("DE")]);
        assert_eq!(breaker.admit(to("DE")).err().unwrap().retry_after, Some(PAUSE));
        assert_eq!(
            breaker.counts().unknown,
            u64::from(MAX_FAILURES),
            "the rest was refused"
        );
        clock.advance(PAUSE);
        send_to(&breaker, to("DE"), &Ok(Receipt::default()));
        assert!(breaker.refused_countries().is_empty());
        assert_eq!(breaker.opened(), 1);
    }

    #[test]
    fn a_provider_that_fails_everywhere_is_left_alone_also_for_other_countries() {
        let breaker = Breaker::new(Clock::manual(UnixMillis(0)));
        for country in ["DE", "US", "GB", "FR", "AT", "CH", "ES"] {
            assert!(breaker.admit(to("MX")).is_ok());
            send_to(&breaker, to(country), &lost());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit(to("MX")).is_err());
        assert!(
            breaker.refused_countries().is_empty(),
            "none of them failed often"
        );
    }

    #[test]
    fn one_address_closes_neither_a_country_nor_a_backend() {
        let of_address = |address: u8, country: &str| Subject {
            address: Some(CounterKey([address; 17])),
            ..to(country)
        };
        let breaker = Breaker::new(Clock::manual(UnixMillis(0)));
        for country in ["DE", "US", "GB", "FR"].iter().cycle().take(100) {
            send_to(&breaker, of_address(1, country), &lost());
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.refused_countries().is_empty());
        for address in 2..4 {
            for _ in 0..MAX_OF_ADDRESS {
                send_to(&breaker, of_address(address, "DE"), &lost());
            }
        }
        assert_eq!(breaker.refused_countries(), [Region::parse("DE")]);
        // That the account is refused is nobody's doing.
        let breaker = Breaker::new(Clock::manual(UnixMillis(0)));
        for _ in 0..MAX_FAILURES {
            send_to(&breaker, of_address(1, "DE"), &failed());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}
