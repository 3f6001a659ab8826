//! The limits, as users meet them: each at its edges, on a clock that the test moves.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    fake_network::{FakeNetwork, failure},
    fake_service::{LIFETIME, MAX_FAILED_ATTEMPTS, Service, code_in, number},
    model::{FailureClass, Limit, Locale, PhoneNumber, Verdict},
    settings::Settings,
    verifier::{Guard, GuardMode, Policy, Prices, RateLimits, RegisterError, ResendError},
};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Who registers what: the place of a registration in the test gives number and address.
type Who = fn(u32) -> (PhoneNumber, &'static str);

fn british(n: u32) -> PhoneNumber {
    PhoneNumber::parse(&format!("+4474001{:05}", n % 100_000), None).unwrap()
}

/// Registers and is verified, so that the next one of the number has a code of its own.
async fn verified(service: &Service, (number, client): (PhoneNumber, &str)) -> Result<(), RegisterError> {
    let registered = service.register_from(client, &number).await?;
    let code = code_in(&service.network.inbox().last().unwrap().1);
    let verdict = service.check(&number, &registered.session_token, &code).await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
    Ok(())
}

fn refusal(registered: Result<(), RegisterError>) -> Option<(&'static str, Duration)> {
    match registered {
        Ok(()) => None,
        Err(RegisterError::LimitReached { code, retry_after }) => Some((code, retry_after)),
        Err(other) => panic!("{other}"),
    }
}

/// The limits of the settings, of which only that one is on.
fn only(code: &str) -> (RateLimits, Limit) {
    let defaults = Settings::defaults().limits;
    let mut found = None;
    let mut pick = |limits: &Arc<[Limit]>| -> Arc<[Limit]> {
        let picked: Arc<[Limit]> = limits
            .iter()
            .filter(|limit| limit.code == code)
            .copied()
            .collect();
        found = found.or(picked.first().copied());
        picked
    };
    let limits = RateLimits {
        number: pick(&defaults.number),
        failed_checks: pick(&defaults.failed_checks),
        address: pick(&defaults.address),
        country: pick(&defaults.country),
        service: pick(&defaults.service),
        spend: pick(&defaults.spend),
        prices: defaults.prices,
    };
    (
        limits,
        found.unwrap_or_else(|| panic!("there is no limit {code}")),
    )
}

/// The names of all limits.
fn codes(limits: &RateLimits) -> BTreeSet<&'static str> {
    let RateLimits {
        number,
        failed_checks,
        address,
        country,
        service,
        spend,
        prices: _,
    } = limits;
    let all = [number, failed_checks, address, country, service, spend];
    all.into_iter()
        .flat_map(|limits| limits.iter())
        .map(|limit| limit.code)
        .collect()
}

#[tokio::test]
async fn every_limit_of_the_defaults_holds_at_its_edges() {
    const ONE: &str = "192.0.2.1";
    const OTHER: &str = "192.0.2.2";
    let same_number: Who = |_| (number(1), ONE);
    let other_number: Who = |_| (number(2), ONE);
    let same_address: Who = |n| (number(n), "2001:db8:1:2::1");
    let other_address: Who = |n| (number(n), "2001:db8:1:3::1");
    let americans: Who = |n| (number(n), ONE);
    let britons: Who = |n| (british(n), OTHER);
    // Code, how many, how long, who uses it up, and who is not concerned.
    let table: [(&str, u64, Duration, Who, Option<Who>); 10] = [
        (
            "number_per_10_minutes",
            5,
            10 * MINUTE,
            same_number,
            Some(other_number),
        ),
        ("number_per_hour", 10, HOUR, same_number, Some(other_number)),
        ("number_per_day", 20, DAY, same_number, Some(other_number)),
        ("address_per_hour", 10, HOUR, same_address, Some(other_address)),
        ("country_per_hour", 500, HOUR, americans, Some(britons)),
        ("country_per_day", 5000, DAY, americans, Some(britons)),
        ("service_per_hour", 1000, HOUR, americans, None),
        ("service_per_day", 10_000, DAY, americans, None),
        // 1000 segments at 0.05.
        ("spend_per_hour", 50_000_000, HOUR, britons, None),
        ("spend_per_day", 500_000_000, DAY, britons, None),
    ];
    let in_the_table = table.iter().map(|(code, ..)| *code);
    let with_a_story_of_its_own = [
        "resend_cooldown",
        "failed_checks_per_hour",
        "failed_checks_per_day",
    ];
    let proved: BTreeSet<_> = in_the_table.chain(with_a_story_of_its_own).collect();
    assert_eq!(proved, codes(&Settings::defaults().limits));
    for (code, max, window, who, unconcerned) in table {
        let (mut limits, limit) = only(code);
        assert_eq!((limit.max, limit.window), (max, window), "{code}");
        // Thousands of registrations show nothing that a few do not; a price makes an SMS count for more than one.
        let mut sends = u32::try_from(max).unwrap();
        if max > 100 {
            sends = 7;
            let few = |limits: &Arc<[Limit]>, price: u64| -> Arc<[Limit]> {
                let max = u64::from(sends) * price;
                limits.iter().map(|limit| Limit { max, ..*limit }).collect()
            };
            limits.country = few(&limits.country, 1);
            limits.service = few(&limits.service, 1);
            limits.spend = few(&limits.spend, limits.prices.default);
        }
        let service = Service::with_limits(FakeNetwork::default(), limits);
        for n in 0..sends {
            assert_eq!(refusal(verified(&service, who(n)).await), None, "{code}: {n}");
            service.clock.advance(MILLISECOND);
        }
        let spent = MILLISECOND * sends;
        for (advance, wait) in [
            (Duration::ZERO, window.saturating_sub(spent)),
            (window.saturating_sub(spent + MILLISECOND), MILLISECOND),
        ] {
            service.clock.advance(advance);
            assert_eq!(
                refusal(verified(&service, who(sends)).await),
                Some((code, wait)),
                "{code}"
            );
        }
        if let Some(unconcerned) = unconcerned {
            assert_eq!(
                refusal(verified(&service, unconcerned(sends)).await),
                None,
                "{code}"
            );
        }
        // The first one leaves the window, and makes room for one.
        service.clock.advance(MILLISECOND);
        assert_eq!(refusal(verified(&service, who(sends + 1)).await), None, "{code}");
        assert_eq!(
            refusal(verified(&service, who(sends + 2)).await),
            Some((code, MILLISECOND)),
            "{code}"
        );
    }
}

#[tokio::test]
async fn the_wait_for_another_sms_doubles() {
    let (limits, _) = only("resend_cooldown");
    let service = Service::with_limits(FakeNetwork::default(), limits);
    for minutes in [1, 2, 4] {
        service.register(&number(1)).await.unwrap();
        let wait = MINUTE * minutes;
        for (advance, left) in [
            (Duration::ZERO, wait),
            (wait.saturating_sub(MILLISECOND), MILLISECOND),
        ] {
            service.clock.advance(advance);
            let refused = service.register(&number(1)).await.map(drop);
            assert_eq!(refusal(refused), Some(("resend_cooldown", left)));
        }
        service.clock.advance(MILLISECOND);
    }
    assert_eq!(service.network.inbox().len(), 3);
    // All of them with the one code.
    let codes = service.network.inbox();
    assert!(codes.iter().all(|sms| sms.1 == codes[0].1));
}

#[tokio::test]
async fn an_sms_that_is_sent_again_by_id_is_counted_like_any_other() {
    let (limits, _) = only("resend_cooldown");
    let service = Service::with_limits(FakeNetwork::default(), limits);
    let registered = service.register(&number(1)).await.unwrap();
    let resend = async || {
        service
            .verifier
            .resend(registered.id, None, &Locale::default())
            .await
    };
    let refused = resend().await.unwrap_err();
    assert!(
        matches!(refused, ResendError::LimitReached { code: "resend_cooldown", retry_after } if retry_after == MINUTE),
        "{refused}"
    );
    service.clock.advance(MINUTE);
    // One that the provider refuses for no fault of the number does not count.
    service.network.next([Err(failure(FailureClass::SenderRejected))]);
    assert!(matches!(resend().await, Err(ResendError::NotSent(_))));
    resend().await.unwrap();
    let refused = service.register(&number(1)).await.map(drop);
    assert_eq!(refusal(refused), Some(("resend_cooldown", 2 * MINUTE)));
}

#[tokio::test]
async fn an_sms_costs_what_its_segments_cost_where_it_goes() {
    let mut prices = Prices {
        default: 10,
        ..Prices::default()
    };
    prices.by_country.insert(number(1).country().unwrap(), 1);
    let limits = RateLimits {
        spend: [Limit::new("spend_per_day", 25, DAY)].into(),
        prices,
        ..RateLimits::default()
    };
    let service = Service::with_limits(FakeNetwork::default(), limits);
    for n in 0..2 {
        service.register(&british(n)).await.unwrap();
    }
    // 20 are spent; a third of 10 does not fit, and five of 1 do.
    let refused = service.register(&british(2)).await.map(drop);
    assert_eq!(refusal(refused), Some(("spend_per_day", DAY)));
    for n in 0..5 {
        service.register(&number(n)).await.unwrap();
    }
    let refused = service.register(&number(5)).await.map(drop);
    assert_eq!(refusal(refused).unwrap().0, "spend_per_day");
}

#[tokio::test]
async fn wrong_codes_keep_a_number_from_further_codes_and_nobody_from_a_pending_one() {
    for (code, max, window) in [
        ("failed_checks_per_hour", 15, HOUR),
        ("failed_checks_per_day", 50, DAY),
    ] {
        let (limits, limit) = only(code);
        assert_eq!((limit.max, limit.window), (max, window));
        let service = Service::with_limits(FakeNetwork::default(), limits);
        // A stranger guesses at the number, code after code, up to one before the limit.
        let mut failed = 0;
        while failed < max - 1 {
            let stranger = service.register(&number(1)).await.unwrap();
            for _ in 0..u64::from(MAX_FAILED_ATTEMPTS).min(max - 1 - failed) {
                let wrong = service.check(&number(1), &stranger.session_token, "wrong").await;
                assert_eq!(wrong.unwrap(), Verdict::Invalid);
                failed += 1;
            }
            // The code is used, so that the next one is another.
            service.meddle("DELETE FROM pending");
        }
        // The holder registers; then the stranger joins, and makes the limit full.
        let holder = service.register(&number(1)).await.unwrap();
        let right = code_in(&service.network.inbox().last().unwrap().1);
        let stranger = service.register(&number(1)).await.unwrap();
        service
            .check(&number(1), &stranger.session_token, "wrong")
            .await
            .unwrap();
        let refused = service.register(&number(1)).await.map(drop);
        assert_eq!(refusal(refused), Some((code, window)));
        // Another number is not concerned, and the holder is not either.
        service.register(&number(2)).await.unwrap();
        let verdict = service.check(&number(1), &holder.session_token, &right).await;
        assert_eq!(verdict.unwrap(), Verdict::Valid);
        service.clock.advance(window.saturating_sub(MILLISECOND));
        let refused = service.register(&number(1)).await.map(drop);
        assert_eq!(refusal(refused), Some((code, MILLISECOND)));
        service.clock.advance(MILLISECOND);
        service.register(&number(1)).await.unwrap();
    }
}

/// The longest life that a code may have, with sweeps all along: what was counted when it was made is there to its end.
#[tokio::test]
async fn a_counter_lives_as_long_as_the_code_that_it_protects() {
    let (limits, _) = only("number_per_day");
    let few = [Limit {
        max: 3,
        ..limits.number[0]
    }];
    let limits = RateLimits {
        number: few.into(),
        ..limits
    };
    let mut service = Service::with_limits(FakeNetwork::default(), limits);
    service.verifier = service.verifier.under(Policy {
        expiration: DAY,
        ..service.verifier.policy.clone()
    });
    let holder = service.register(&number(1)).await.unwrap();
    for _ in 1..3 {
        service.register(&number(1)).await.unwrap();
    }
    let mut left = DAY.saturating_sub(MILLISECOND);
    while left > Duration::ZERO {
        service.clock.advance(left.min(HOUR));
        left = left.saturating_sub(HOUR);
        service.store.expire_codes(service.clock.now()).await.unwrap();
        let refused = service.register(&number(1)).await.map(drop);
        assert_eq!(refusal(refused), Some(("number_per_day", left + MILLISECOND)));
    }
    let right = code_in(&service.network.inbox()[0].1);
    let verdict = service.check(&number(1), &holder.session_token, &right).await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
}

#[tokio::test]
async fn to_forget_a_number_sets_none_of_its_limits_back() {
    let (limits, _) = only("number_per_10_minutes");
    let service = Service::with_limits(FakeNetwork::default(), limits);
    for _ in 0..5 {
        verified(&service, (number(1), "192.0.2.1")).await.unwrap();
    }
    assert_eq!(service.forget(&number(1)).await.unwrap(), 5);
    let refused = service.register(&number(1)).await.map(drop);
    assert_eq!(refusal(refused), Some(("number_per_10_minutes", 10 * MINUTE)));
}

/// Three codes are guessed at until they take no more guesses. Whoever waits as long as it is told gets the next one.
#[tokio::test]
async fn of_all_that_keeps_a_number_waiting_what_lasts_longest_is_told() {
    let service = Service::with_limits(FakeNetwork::default(), Settings::defaults().limits);
    let mut told = Vec::new();
    for _ in 0..3 {
        let registered = service.register(&number(1)).await.unwrap();
        for _ in 0..MAX_FAILED_ATTEMPTS {
            let wrong = service
                .check(&number(1), &registered.session_token, "wrong")
                .await;
            assert_eq!(wrong.unwrap(), Verdict::Invalid);
        }
        for advance in [Duration::ZERO, MILLISECOND] {
            let (code, wait) = match service.register(&number(1)).await {
                Err(RegisterError::AttemptsUsedUp { retry_after }) => ("attempts_used_up", retry_after),
                Err(RegisterError::LimitReached { code, retry_after }) => (code, retry_after),
                other => panic!("{other:?}"),
            };
            told.push((code, wait));
            service.clock.advance(if advance.is_zero() {
                wait.saturating_sub(MILLISECOND)
            } else {
                advance
            });
        }
    }
    let of_a_code = ("attempts_used_up", LIFETIME + MILLISECOND);
    let of_the_hour = (
        "failed_checks_per_hour",
        HOUR.saturating_sub((LIFETIME + MILLISECOND) * 2),
    );
    let last = |(code, _)| (code, MILLISECOND);
    let of_a_code = [of_a_code, last(of_a_code)];
    assert_eq!(
        told,
        [of_a_code, of_a_code, [of_the_hour, last(of_the_hour)]].concat()
    );
    service.register(&number(1)).await.unwrap();
}

#[tokio::test]
async fn a_fault_of_ours_uses_up_nobodys_budget_and_a_bad_number_its_own() {
    let (limits, _) = only("number_per_10_minutes");
    let service = Service::with_limits(FakeNetwork::default(), limits);
    for class in [FailureClass::SenderRejected, FailureClass::ContentRejected] {
        for _ in 0..5 {
            service.network.next([Err(failure(class))]);
            let error = service.register(&number(1)).await.unwrap_err();
            assert!(matches!(error, RegisterError::NotSent(_)), "{error}");
        }
    }
    service.register(&number(1)).await.unwrap();
    for _ in 0..5 {
        service.network.next([Err(failure(FailureClass::InvalidNumber))]);
        let error = service.register(&number(2)).await.unwrap_err();
        assert!(matches!(error, RegisterError::NotSent(_)), "{error}");
    }
    let refused = service.register(&number(2)).await.map(drop);
    assert_eq!(refusal(refused).unwrap().0, "number_per_10_minutes");
}

#[tokio::test]
async fn another_process_on_the_database_knows_what_was_sent() {
    let (limits, _) = only("number_per_10_minutes");
    let first = Service::with_limits(FakeNetwork::default(), limits);
    let second = first.second(FakeNetwork::default());
    for n in 0..5 {
        let service = if n % 2 == 0 { &first } else { &second };
        verified(service, (number(1), "192.0.2.1")).await.unwrap();
    }
    for service in [&first, &second] {
        let refused = verified(service, (number(1), "192.0.2.1")).await;
        assert_eq!(refusal(refused), Some(("number_per_10_minutes", 10 * MINUTE)));
    }
}

#[tokio::test]
async fn whoever_asks_is_told_when_another_sms_has_room() {
    let (limits, _) = only("resend_cooldown");
    let service = Service::with_limits(FakeNetwork::default(), limits);
    let registered = service.register(&number(1)).await.unwrap();
    let resend_at = async || {
        let found = service.verifier.find(registered.id).await.unwrap();
        found.unwrap().0.resend_at
    };
    let resend = async || {
        let locale = Locale::default();
        service.verifier.resend(registered.id, None, &locale).await
    };
    let first = service.clock.now().plus(MINUTE);
    assert_eq!(resend_at().await, Some(first));
    service.clock.advance(MINUTE.saturating_sub(MILLISECOND));
    assert!(matches!(resend().await, Err(ResendError::LimitReached { .. })));
    service.clock.advance(MILLISECOND);
    assert_eq!(resend_at().await, Some(first));
    let again = resend().await.unwrap();
    assert_eq!(again.resend_at, Some(first.plus(2 * MINUTE)));

    let code = code_in(&service.network.inbox()[0].1);
    let verdict = service.check(&number(1), &registered.session_token, &code).await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
    assert_eq!(resend_at().await, None);
}

/// A cap of the whole service, of a country, or of spending, a part of which is reserved.
fn capped(code: &'static str, max: u64, reserved_percent: u8) -> RateLimits {
    let cap: Arc<[Limit]> = [Limit {
        reserved_percent,
        ..Limit::new(code, max, HOUR)
    }]
    .into();
    let mut limits = RateLimits::default();
    match code {
        "country_per_hour" => limits.country = cap,
        "service_per_hour" => limits.service = cap,
        _ => {
            limits.spend = cap;
            limits.prices.default = 1;
        }
    }
    limits
}

/// The guard of the defaults, which knows how codes come back, and looks on.
fn onlooker() -> Guard {
    Guard {
        mode: GuardMode::RecordOnly,
        ..Settings::defaults().guard
    }
}

/// Asks for ever new numbers of a country far away, and never sends a code back. Returns how many SMS went out.
async fn flood(service: &Service, from: u32) -> u32 {
    let mut sent = 0;
    loop {
        if service.register(&german(from + sent)).await.is_err() {
            return sent;
        }
        sent += 1;
        assert!(sent < 1000, "the cap holds");
    }
}

fn german(n: u32) -> PhoneNumber {
    PhoneNumber::parse(&format!("+4915123{n:06}"), None).unwrap()
}

#[tokio::test]
async fn strangers_with_ever_new_numbers_leave_each_cap_of_the_service_its_reserve() {
    for code in ["service_per_hour", "spend_per_hour"] {
        let service = Service::ruled(FakeNetwork::default(), capped(code, 50, 40), onlooker());
        // Yesterday three people of Britain and one of America were verified.
        for known in [british(1), british(2), british(3), number(1)] {
            verified(&service, (known, "192.0.2.1")).await.unwrap();
        }
        service.clock.advance(DAY);
        assert_eq!(flood(&service, 0).await, 30, "{code}: what is not reserved");
        assert_eq!(flood(&service, 100).await, 0, "{code}");

        let refused = service.register(&german(999)).await.map(drop);
        assert!(
            refusal(refused).is_some(),
            "{code}: a number of which nothing is known"
        );
        service
            .register(&british(77))
            .await
            .expect("codes come back there");
        service
            .register(&number(1))
            .await
            .expect("it was verified before");

        // Strangers find out which country is trusted: as many codes as came back may be out, and no more.
        service.register(&british(78)).await.unwrap();
        service.register(&british(79)).await.unwrap();
        let refused = service.register(&british(80)).await.map(drop);
        assert!(
            refusal(refused).is_some(),
            "{code}: its codes come back no longer"
        );
        service
            .register(&british(1))
            .await
            .expect("it was verified before");
    }
}

#[tokio::test]
async fn a_flood_to_one_country_leaves_those_of_it_that_are_known_their_reserve() {
    let service = Service::ruled(
        FakeNetwork::default(),
        capped("country_per_hour", 10, 40),
        onlooker(),
    );
    verified(&service, (german(1), "192.0.2.1")).await.unwrap();
    service.clock.advance(DAY);
    assert_eq!(flood(&service, 100).await, 6);
    let refused = service.register(&german(2)).await.map(drop);
    assert!(refusal(refused).is_some(), "a number of which nothing is known");
    service
        .register(&german(1))
        .await
        .expect("it was verified before");
    service.register(&british(1)).await.expect("another country");
}

#[tokio::test]
async fn a_cap_is_never_exceeded_whoever_asks_and_all_are_refused_when_the_reserve_is_used_up() {
    let service = Service::ruled(
        FakeNetwork::default(),
        capped("service_per_hour", 10, 40),
        onlooker(),
    );
    let known: Vec<PhoneNumber> = (0..8).map(number).collect();
    for number in &known {
        verified(&service, (number.clone(), "192.0.2.1")).await.unwrap();
        service.clock.advance(HOUR);
    }
    assert_eq!(flood(&service, 0).await, 6);
    for number in &known[..4] {
        service.register(number).await.unwrap();
    }
    for refused in [&known[4], &german(999), &british(1)] {
        let refused = service.register(refused).await.map(drop);
        assert_eq!(refusal(refused), Some(("service_per_hour", HOUR)));
    }
    let sent = service.network.inbox().len();
    assert_eq!(sent, known.len() + 10);
}

/// Another process on the database knows what the first one learnt; and so does the one after a restart.
#[tokio::test]
async fn the_reserve_holds_for_all_processes_on_a_database() {
    let rules = capped("service_per_hour", 10, 40);
    let first = Service::ruled(FakeNetwork::default(), rules, onlooker());
    verified(&first, (number(1), "192.0.2.1")).await.unwrap();
    first.clock.advance(DAY);
    assert_eq!(flood(&first, 0).await, 6);
    let second = first.second(FakeNetwork::default());
    assert_eq!(flood(&second, 100).await, 0);
    drop(first);
    second.register(&number(1)).await.expect("it was verified before");
}

#[tokio::test]
async fn with_nothing_reserved_a_cap_is_for_everybody() {
    let service = Service::ruled(
        FakeNetwork::default(),
        capped("service_per_hour", 10, 0),
        onlooker(),
    );
    verified(&service, (number(1), "192.0.2.1")).await.unwrap();
    assert_eq!(flood(&service, 0).await, 9);
    let refused = service.register(&number(1)).await.map(drop);
    assert!(refusal(refused).is_some());
}
