//! The pumping guard, as those meet it who pump, and those who do not.

use std::time::Duration;

use crate::{
    fake_network::{FakeNetwork, failure},
    fake_service::{LIFETIME, RETENTION, Service, code_in, number},
    model::{
        FailureClass, Locale, PhoneNumber, Region, Verdict,
        guard::{Action, Budgets, Reason},
    },
    rules::attempt::Terms,
    settings::Settings,
    store::CheckRules,
    verifier::{Guard, GuardMode, RegisterError, ResendError},
};

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOME: &str = "192.0.2.1";

/// A time without its last milliseconds.
fn but(time: Duration, milliseconds: u32) -> Duration {
    time.saturating_sub(milliseconds * MILLISECOND)
}

/// The guard of the settings, enforced.
fn enforced() -> Guard {
    Guard {
        mode: GuardMode::Enforce,
        ..Settings::defaults().guard
    }
}

/// The same with one of its budgets.
fn with_budget(keep: Reason) -> Guard {
    let mut guard = enforced();
    let all = guard.budgets;
    guard.budgets = Budgets::default();
    match keep {
        Reason::PrefixUnverified => {
            guard.budgets.prefix_per_hour = all.prefix_per_hour;
            guard.budgets.prefix_per_day = all.prefix_per_day;
        }
        Reason::CountryUnverified => {
            guard.budgets.country_per_hour = all.country_per_hour;
            guard.budgets.country_per_day = all.country_per_day;
        }
        Reason::AddressCountries => guard.budgets.countries_per_address = all.countries_per_address,
        _ => {}
    }
    guard
}

fn parse(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text, None).unwrap()
}

/// A number of London, a thousand apart, so that each has a prefix of its own with every ten.
fn londoner(n: u32) -> PhoneNumber {
    parse(&format!("+44207946{n:04}"))
}

/// What the guard says against a registration.
async fn refusal(service: &Service, number: &PhoneNumber) -> Option<(Reason, Option<Duration>)> {
    refusal_from(service, HOME, number).await
}

async fn refusal_from(
    service: &Service,
    client: &str,
    number: &PhoneNumber,
) -> Option<(Reason, Option<Duration>)> {
    match service.register_from(client, number).await {
        Ok(_) => None,
        Err(RegisterError::Blocked { reason, retry_after }) => Some((reason, retry_after)),
        Err(other) => panic!("{other}"),
    }
}

/// Registers and is verified, unless the guard has something against it.
async fn verify_from(service: &Service, client: &str, number: &PhoneNumber) {
    let registered = service.register_from(client, number).await.unwrap();
    let code = code_in(&service.network.inbox().last().unwrap().1);
    let verdict = service
        .check_from(client, number, &registered.session_token, &code)
        .await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
}

/// One of the counted budgets of the defaults.
type Pick = fn(&mut Budgets) -> &mut u64;
/// Who uses it up.
type Who = fn(u32) -> PhoneNumber;

#[tokio::test]
async fn every_budget_of_the_defaults_holds_at_its_edges() {
    use Reason::{CountryUnverified, PrefixUnverified};
    // Ten numbers of one prefix, and then the next prefix of the same country; or of another country.
    let same_prefix = |n| londoner(n);
    let prefixes = |n| parse(&format!("+4420794{n:05}"));
    let table: [(Pick, u64, Duration, Reason, Who, PhoneNumber); 4] = [
        (
            |of| &mut of.prefix_per_hour,
            10,
            HOUR,
            PrefixUnverified,
            same_prefix,
            parse("+442079471234"),
        ),
        (
            |of| &mut of.prefix_per_day,
            30,
            DAY,
            PrefixUnverified,
            same_prefix,
            parse("+442079471234"),
        ),
        (
            |of| &mut of.country_per_hour,
            10,
            HOUR,
            CountryUnverified,
            prefixes,
            number(1),
        ),
        (
            |of| &mut of.country_per_day,
            20,
            DAY,
            CountryUnverified,
            prefixes,
            number(1),
        ),
    ];
    for (pick, max, window, reason, of_the_budget, unconcerned) in table {
        let mut guard = enforced();
        let mut all = guard.budgets;
        assert_eq!(*pick(&mut all), max);
        guard.budgets = Budgets::default();
        *pick(&mut guard.budgets) = max;
        let service = Service::with_guard(FakeNetwork::default(), guard);
        let max = u32::try_from(max).unwrap();
        for n in 0..max {
            assert_eq!(
                refusal(&service, &of_the_budget(n)).await,
                None,
                "{reason:?}: {n}"
            );
            service.clock.advance(MILLISECOND);
        }
        let wait = |wait| Some((reason, Some(wait)));
        assert_eq!(
            refusal(&service, &of_the_budget(max)).await,
            wait(but(window, max))
        );
        assert_eq!(refusal(&service, &unconcerned).await, None);
        service.clock.advance(but(window, max + 1));
        assert_eq!(refusal(&service, &of_the_budget(max)).await, wait(MILLISECOND));
        // The first one leaves the window, and makes room for one.
        service.clock.advance(MILLISECOND);
        assert_eq!(refusal(&service, &of_the_budget(max)).await, None);
        assert_eq!(
            refusal(&service, &of_the_budget(max + 1)).await,
            wait(MILLISECOND)
        );
    }
}

#[tokio::test]
async fn codes_that_come_back_cost_a_prefix_nothing_however_often_they_were_sent() {
    let service = Service::with_guard(FakeNetwork::default(), with_budget(Reason::PrefixUnverified));
    for n in 0..30 {
        // One SMS was lost, and the user asked for another.
        assert_eq!(refusal(&service, &londoner(n)).await, None, "{n}");
        service.clock.advance(MILLISECOND);
        verify_from(&service, HOME, &londoner(n)).await;
    }
    // Nor does what was not sent.
    for n in 30..60 {
        service.network.next([Err(failure(FailureClass::InvalidNumber))]);
        let error = service.register_from(HOME, &londoner(n)).await.unwrap_err();
        assert!(matches!(error, RegisterError::NotSent(_)), "{error}");
    }
    for n in 60..70 {
        assert_eq!(refusal(&service, &londoner(n)).await, None, "{n}");
    }
    assert_eq!(
        refusal(&service, &londoner(70)).await.unwrap().0,
        Reason::PrefixUnverified
    );
}

#[tokio::test]
async fn a_country_has_what_its_best_day_shows() {
    let service = Service::with_guard(FakeNetwork::default(), with_budget(Reason::CountryUnverified));
    // A good day, on which 360 numbers are verified.
    for n in 0..360 {
        verify_from(&service, HOME, &londoner(n)).await;
    }
    let mut allowed = Vec::new();
    for _ in 0..2 {
        let mut sent = 0;
        while refusal(&service, &londoner(1000 + sent)).await.is_none() {
            sent += 1;
        }
        allowed.push(sent);
        // So long after, that day counts no more.
        service.clock.advance(15 * DAY);
    }
    assert_eq!(allowed, [12, 10]);
    // The day's budget is reached hour by hour.
    service.clock.advance(DAY);
    let mut sent = 0;
    for _ in 0..4 {
        while refusal(&service, &londoner(2000 + sent)).await.is_none() {
            sent += 1;
        }
        service.clock.advance(HOUR);
    }
    assert_eq!(sent, 20);
    // Another country is not concerned.
    assert_eq!(refusal(&service, &number(1)).await, None);
}

/// With a budget of one code a day for a country, unless its best day shows more.
fn one_a_day() -> Guard {
    let budgets = Budgets {
        country_per_day: 1,
        ..Budgets::default()
    };
    Guard {
        budgets,
        ..enforced()
    }
}

/// How many strangers of London a guard lets through whose budget is of a country in a day.
async fn strangers_let_through(service: &Service) -> u32 {
    let mut strangers = 0;
    while refusal(service, &londoner(5000 + strangers)).await.is_none() {
        strangers += 1;
    }
    strangers
}

#[tokio::test]
async fn a_number_that_is_verified_again_and_again_counts_once_a_day() {
    for (numbers, times, strangers) in [(1, 1, 1), (1, 20, 1), (20, 1, 6), (10, 2, 3)] {
        let service = Service::with_guard(FakeNetwork::default(), one_a_day());
        for _ in 0..times {
            for n in 0..numbers {
                verify_from(&service, HOME, &londoner(n)).await;
            }
        }
        let found = strangers_let_through(&service).await;
        assert_eq!(found, strangers, "{numbers} numbers, {times} times");
    }
}

#[tokio::test]
async fn a_number_that_was_known_before_counts_anew_each_day() {
    let service = Service::with_guard(FakeNetwork::default(), one_a_day());
    for n in 0..10 {
        verify_from(&service, HOME, &londoner(n)).await;
    }
    service.clock.advance(DAY * 15);
    // The day of the ten counts no more.
    for n in 0..7 {
        verify_from(&service, HOME, &londoner(n)).await;
    }
    assert_eq!(strangers_let_through(&service).await, 2);
}

#[tokio::test]
async fn an_address_that_asks_for_country_after_country_is_refused_the_fourth() {
    let service = Service::with_guard(FakeNetwork::default(), with_budget(Reason::AddressCountries));
    let french = parse("+33612345678");
    let german = parse("+4915112345678");
    let spanish = parse("+34612345678");
    for number in [number(1), londoner(1), french.clone()] {
        assert_eq!(refusal(&service, &number).await, None);
    }
    assert_eq!(
        refusal(&service, &german).await,
        Some((Reason::AddressCountries, Some(DAY)))
    );
    // Another address may; and this one, where it asked before.
    assert_eq!(refusal_from(&service, "192.0.2.2", &german).await, None);
    assert_eq!(refusal(&service, &londoner(2)).await, None);
    // Where a code came back, the country does not count.
    verify_from(&service, HOME, &french).await;
    assert_eq!(refusal(&service, &german).await, None);
    assert_eq!(
        refusal(&service, &spanish).await,
        Some((Reason::AddressCountries, Some(DAY)))
    );
    service.clock.advance(but(DAY, 1));
    assert_eq!(
        refusal(&service, &spanish).await,
        Some((Reason::AddressCountries, Some(MILLISECOND)))
    );
    service.clock.advance(MILLISECOND);
    assert_eq!(refusal(&service, &spanish).await, None);
}

#[tokio::test]
async fn countries_and_types_of_numbers_are_refused_as_the_settings_say() {
    let british = || [Region::parse("GB").unwrap()].into();
    let refused = async |guard: Guard, number: &PhoneNumber| {
        let service = Service::with_guard(FakeNetwork::default(), guard);
        refusal(&service, number).await.map(|(reason, wait)| {
            assert_eq!(wait, None);
            reason
        })
    };
    let only = || Guard {
        allowed_countries: british(),
        ..enforced()
    };
    assert_eq!(refused(only(), &number(1)).await, Some(Reason::CountryNotAllowed));
    assert_eq!(refused(only(), &londoner(1)).await, None);
    let none = || Guard {
        blocked_countries: british(),
        ..enforced()
    };
    assert_eq!(refused(none(), &londoner(1)).await, Some(Reason::CountryBlocked));
    assert_eq!(refused(none(), &number(1)).await, None);
    let premium = parse("+19002345678");
    assert_eq!(
        refused(enforced(), &premium).await,
        Some(Reason::NumberTypeBlocked)
    );
    // What is spared is not looked at.
    let spared = |spare: fn(&mut Guard)| {
        let mut guard = none();
        spare(&mut guard);
        guard
    };
    for guard in [
        spared(|guard| guard.spared_numbers = ["+44207".to_owned()].into()),
        spared(|guard| guard.spared_countries = [Region::parse("GB").unwrap()].into()),
        spared(|guard| guard.spared_addresses = ["192.0.2.0/24".parse().unwrap()].into()),
    ] {
        assert_eq!(refused(guard, &londoner(1)).await, None);
    }
}

#[tokio::test]
async fn a_number_that_was_verified_is_never_refused() {
    let service = Service::with_guard(FakeNetwork::default(), with_budget(Reason::PrefixUnverified));
    verify_from(&service, HOME, &londoner(0)).await;
    for n in 1..11 {
        assert_eq!(refusal(&service, &londoner(n)).await, None, "{n}");
    }
    assert_eq!(
        refusal(&service, &londoner(11)).await.unwrap().0,
        Reason::PrefixUnverified
    );
    service.clock.advance(MILLISECOND);
    verify_from(&service, HOME, &londoner(0)).await;
    let decisions = service.verifier.decisions(10).await.unwrap();
    let told: Vec<_> = decisions
        .iter()
        .map(|decision| (decision.action, decision.verified_before))
        .collect();
    assert_eq!(told, [(Action::Allowed, true), (Action::Blocked, false)]);
}

/// One whose guard lets no second code of a prefix be unanswered, and whose first Londoner was verified.
async fn with_a_verified_londoner() -> Service {
    let mut guard = with_budget(Reason::PrefixUnverified);
    guard.budgets.prefix_per_hour = 1;
    let service = Service::with_guard(FakeNetwork::default(), guard);
    verify_from(&service, HOME, &londoner(0)).await;
    service
}

/// Whether the first Londoner gets a code that no other of the prefix gets, some time later.
async fn is_spared(service: &Service, later: Duration) -> bool {
    service.clock.advance(later);
    let swept = service.store.expire_codes(service.clock.now()).await;
    swept.unwrap();
    assert_eq!(refusal(service, &londoner(1)).await, None);
    assert_eq!(
        refusal(service, &londoner(2)).await.unwrap().0,
        Reason::PrefixUnverified
    );
    refusal(service, &londoner(0)).await.is_none()
}

#[tokio::test]
async fn that_a_number_was_verified_is_known_for_as_long_as_records_are_kept() {
    let service = with_a_verified_londoner().await;
    assert!(is_spared(&service, RETENTION.saturating_sub(MILLISECOND)).await);
    // That code did not come back, which changes nothing, and the record of the one that did is deleted.
    service.clock.advance(HOUR * 24);
    let deleted = service.verifier.cleanup(HOUR * 24, false).await.unwrap();
    assert!(deleted > 0);
    assert!(is_spared(&service, HOUR).await);
    assert!(!is_spared(&service, RETENTION).await);
}

#[tokio::test]
async fn a_number_that_is_forgotten_is_not_known_as_verified() {
    let service = with_a_verified_londoner().await;
    service.forget(&londoner(0)).await.unwrap();
    assert!(!is_spared(&service, HOUR).await);
}

#[tokio::test]
async fn decisions_are_told_with_their_reasons_and_without_numbers() {
    let mut guard = enforced();
    guard.blocked_countries = [Region::parse("US").unwrap()].into();
    let blocking = Service::with_guard(FakeNetwork::default(), guard.clone());
    guard.mode = GuardMode::RecordOnly;
    let recording = Service::with_guard(FakeNetwork::default(), guard);
    assert_eq!(
        refusal(&blocking, &parse("+19002345678")).await,
        Some((Reason::NumberTypeBlocked, None))
    );
    assert_eq!(refusal(&recording, &parse("+19002345678")).await, None);
    assert_eq!(refusal(&recording, &londoner(1)).await, None);
    assert_eq!(recording.network.inbox().len(), 2);
    for (service, action) in [(blocking, Action::Blocked), (recording, Action::Allowed)] {
        let decisions = service.verifier.decisions(10).await.unwrap();
        assert_eq!(decisions.len(), 1);
        let decision = &decisions[0];
        assert_eq!(decision.action, action);
        assert_eq!(decision.reasons, ["country_blocked", "number_type_blocked"]);
        assert_eq!(
            (decision.number.as_str(), decision.country.as_str()),
            ("+19****78", "US")
        );
        assert_eq!(decision.at, service.clock.now());
        // They leave with the records of their time.
        service.clock.advance(MILLISECOND);
        let sent = service.network.inbox().len() as u64;
        let deleted = service.verifier.cleanup(Duration::ZERO, false).await.unwrap();
        assert_eq!(deleted, sent + 1, "the verifications, and the decision");
        assert_eq!(service.verifier.decisions(10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_code_that_is_sent_again_counts_again_until_it_comes_back() {
    let service = Service::with_guard(FakeNetwork::default(), with_budget(Reason::PrefixUnverified));
    let registered = service.register_from(HOME, &londoner(0)).await.unwrap();
    let resend = async || {
        let client = Some(HOME.parse::<std::net::IpAddr>().unwrap().into());
        let locale = Locale::default();
        service.verifier.resend(registered.id, client, &locale).await
    };
    for _ in 0..8 {
        service.clock.advance(MILLISECOND);
        resend().await.unwrap();
    }
    // What was not sent is not counted.
    service.clock.advance(MILLISECOND);
    service.network.next([Err(failure(FailureClass::Config))]);
    assert!(matches!(resend().await, Err(ResendError::NotSent(_))));
    resend().await.unwrap();
    let Err(ResendError::Blocked { reason, retry_after }) = resend().await else {
        panic!("an eleventh SMS")
    };
    assert_eq!(
        (reason, retry_after),
        (Reason::PrefixUnverified, Some(but(HOUR, 9)))
    );
    assert_eq!(refusal(&service, &londoner(1)).await.unwrap().0, reason);
    // The code comes back, and with it all ten.
    let code = code_in(&service.network.inbox()[0].1);
    let token = &registered.session_token;
    let verdict = service
        .check_from(HOME, &londoner(0), token, &code)
        .await
        .unwrap();
    assert_eq!(verdict, Verdict::Valid);
    for n in 1..11 {
        assert_eq!(refusal(&service, &londoner(n)).await, None, "{n}");
    }
    assert_eq!(refusal(&service, &londoner(11)).await.unwrap().0, reason);
}

#[tokio::test]
async fn what_was_decided_about_a_number_is_exported_and_forgotten_with_it() {
    let mut guard = enforced();
    guard.blocked_countries = [Region::parse("GB").unwrap()].into();
    let service = Service::with_guard(FakeNetwork::default(), guard);
    for n in [1, 2, 1] {
        assert!(refusal(&service, &londoner(n)).await.is_some());
    }
    let rules = CheckRules {
        terms: Terms {
            now: service.clock.now(),
            only_once: true,
            max_failed_attempts: 5,
            bound: None,
        },
        failed_checks: None,
        guard: None,
    };
    let records = service.store.records_of(&londoner(1), rules).await.unwrap();
    assert_eq!(records.decisions.len(), 2);
    assert_eq!(service.forget(&londoner(1)).await.unwrap(), 2);
    let left = service.verifier.decisions(10).await.unwrap();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn the_alarm_goes_off_when_codes_do_not_come_back() {
    let service = Service::with_guard(FakeNetwork::default(), Settings::defaults().guard);
    let alarm = async || service.verifier.conversion_alarm().await.unwrap();
    for n in 0..50 {
        if n < 20 {
            verify_from(&service, HOME, &number(n)).await;
        } else {
            refusal(&service, &number(n)).await;
        }
    }
    // Codes that are still awaited say nothing yet.
    assert_eq!(alarm().await, None);
    service.clock.advance(LIFETIME + MILLISECOND);
    let low = alarm().await.unwrap();
    assert_eq!((low.percent, low.sent), (40, 50));
    service.clock.advance(HOUR);
    assert_eq!(alarm().await, None);
}

#[tokio::test]
async fn the_owner_of_one_number_neither_sets_the_alarm_off_nor_keeps_it_silent() {
    let guard = Guard {
        conversion_alarm_codes: 5,
        ..Settings::defaults().guard
    };
    let service = Service::with_guard(FakeNetwork::default(), guard);
    let alarm = async || service.verifier.conversion_alarm().await.unwrap();
    // Six codes for one number within an hour, none of which comes back.
    for _ in 0..6 {
        refusal(&service, &number(0)).await;
        service.clock.advance(LIFETIME + MILLISECOND);
    }
    assert_eq!(alarm().await, None);
    service.clock.advance(HOUR);
    // Many codes for one number, all of which come back, beside five that do not.
    for _ in 0..30 {
        verify_from(&service, HOME, &number(0)).await;
    }
    for n in 1..6 {
        refusal(&service, &number(n)).await;
    }
    service.clock.advance(LIFETIME + MILLISECOND);
    let low = alarm().await.unwrap();
    assert_eq!((low.percent, low.sent), (16, 6));
}

#[tokio::test]
async fn the_guard_knows_after_a_restart_and_in_another_process_what_was_sent() {
    let service = Service::with_guard(FakeNetwork::default(), with_budget(Reason::PrefixUnverified));
    let other = service.second(FakeNetwork::default());
    for n in 0..10 {
        let service = if n % 2 == 0 { &service } else { &other };
        assert_eq!(refusal(service, &londoner(n)).await, None, "{n}");
    }
    let after = service.second(FakeNetwork::default());
    for service in [service, other, after] {
        let refused = refusal(&service, &londoner(10)).await;
        assert_eq!(refused, Some((Reason::PrefixUnverified, Some(HOUR))));
    }
}
