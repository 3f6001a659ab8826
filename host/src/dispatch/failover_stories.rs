//! What becomes of a message whose backend fails while others are there.

use std::{sync::Arc, time::Duration};

use crate::{
    fake_network::{Behaviour, FakeNetwork, failure},
    fake_service::{BOUNDS, QUEUE_LENGTH, Service, TOTAL_TIMEOUT, code_in, number, through},
    fleet::{BreakerState, Entry, ForTests, Member, Members, Route},
    model::{
        Delivery, FailureClass, Limit, Locale, Outcome, PhoneNumber, Region, SendFailure, TestNumbers,
        Verdict, VerificationId,
    },
    rules::route::Conditions,
    verifier::{Prices, RateLimits, RegisterError, RegisterRequest, SegmentPrices},
};

fn refused(class: FailureClass) -> Outcome {
    Err(failure(class))
}

fn network(name: &'static str) -> Arc<FakeNetwork> {
    Arc::new(FakeNetwork::new(Behaviour {
        name,
        ..Behaviour::default()
    }))
}

/// A service with three backends, which are tried in this order.
fn three() -> (Service, [Arc<FakeNetwork>; 3]) {
    let service = Service::start(FakeNetwork::default());
    let networks = [network("a.A"), network("b.B"), network("c.C")];
    let [one, two, three] = &networks;
    service.has_fleet(
        &[("one", one), ("two", two), ("three", three)],
        vec![through(&[0, 1, 2])],
    );
    (service, networks)
}

fn counts(networks: &[Arc<FakeNetwork>; 3]) -> [usize; 3] {
    networks.each_ref().map(|network| network.inbox().len())
}

async fn failure_of(service: &Service, n: u32) -> SendFailure {
    match service.register(&number(n)).await.unwrap_err() {
        RegisterError::NotSent(failure) => failure,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_backend_is_tried_by_the_class_of_the_failure() {
    use FailureClass as F;
    for (class, name) in F::ALL {
        let (service, networks) = three();
        networks[0].next([refused(class)]);
        let registered = service.register(&number(1)).await;
        let ends = [
            F::InvalidNumber,
            F::UnreachableNumber,
            F::OptedOut,
            F::OutcomeUnknown,
            F::DestinationBlocked,
        ];
        if ends.contains(&class) {
            assert!(registered.is_err(), "{name}");
            assert_eq!(counts(&networks), [1, 0, 0], "{name}");
            continue;
        }
        let message = service.settled(registered.unwrap().id).await;
        assert_eq!(message.delivery, Delivery::Sent, "{name}");
        let tries: Vec<_> = message
            .tries
            .iter()
            .map(|made| (&*made.member, &*made.backend, made.class.as_deref()))
            .collect();
        // One that asks for a while gets it, and is asked again.
        let expected: &[_] = if class == F::Throttled {
            &[("one", "a.A", Some(name)), ("one", "a.A", None)]
        } else {
            &[("one", "a.A", Some(name)), ("two", "b.B", None)]
        };
        assert_eq!(tries, expected, "{name}");
        let asked_last = if class == F::Throttled { "a.A" } else { "b.B" };
        assert_eq!(message.backend.as_deref(), Some(asked_last), "{name}");
    }
}

#[tokio::test]
async fn a_destination_that_one_may_not_send_to_goes_on_if_the_route_says_so() {
    let (service, networks) = three();
    let [one, two, three] = &networks;
    let route = Route {
        destination_failover: true,
        ..through(&[0, 1, 2])
    };
    service.has_fleet(&[("one", one), ("two", two), ("three", three)], vec![route]);
    one.next([refused(FailureClass::DestinationBlocked)]);
    service.register(&number(1)).await.unwrap();
    assert_eq!(counts(&networks), [1, 1, 0]);
}

#[tokio::test]
async fn a_text_that_two_refuse_is_shown_to_no_third() {
    let (service, networks) = three();
    for network in &networks[..2] {
        network.next([refused(FailureClass::ContentRejected)]);
    }
    assert_eq!(failure_of(&service, 1).await.class, FailureClass::ContentRejected);
    assert_eq!(counts(&networks), [1, 1, 0]);
}

#[tokio::test]
async fn a_text_that_one_refuses_is_shown_to_the_next_that_can_be_asked() {
    let (service, networks) = three();
    networks[0].next((0..6).map(|_| refused(FailureClass::ContentRejected)));
    networks[1].next((0..5).map(|_| refused(FailureClass::AuthFailed)));
    for n in 0..6 {
        service.register(&number(n)).await.unwrap();
    }
    assert_eq!(
        counts(&networks),
        [6, 5, 6],
        "the second is left alone after five"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_throttles_for_longer_than_there_is_time_is_passed_over() {
    let (service, networks) = three();
    let mut throttled = failure(FailureClass::Throttled);
    throttled.retry_after = Some(TOTAL_TIMEOUT);
    networks[0].next([Err(throttled)]);
    service.register(&number(1)).await.unwrap();
    assert_eq!(counts(&networks), [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_last_of_them_is_asked_a_second_time() {
    let (service, networks) = three();
    for network in &networks {
        network.next([refused(FailureClass::Transient)]);
    }
    service.register(&number(1)).await.unwrap();
    assert_eq!(counts(&networks), [1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_none_sends_was_not_sent_and_says_what_the_last_one_said() {
    let (service, networks) = three();
    networks[0].next([refused(FailureClass::NoCredit)]);
    networks[1].next([refused(FailureClass::AuthFailed)]);
    networks[2].next([refused(FailureClass::SenderRejected)]);
    assert_eq!(failure_of(&service, 1).await.class, FailureClass::SenderRejected);
    // Nothing of it is left.
    service.register(&number(1)).await.unwrap();
    assert_eq!(counts(&networks), [2, 1, 1]);
}

#[tokio::test]
async fn one_that_is_left_alone_is_passed_over_and_each_breaker_hears_of_its_own() {
    let (service, networks) = three();
    networks[0].next((0..5).map(|_| refused(FailureClass::AuthFailed)));
    for n in 0..8 {
        service.register(&number(n)).await.unwrap();
    }
    assert_eq!(counts(&networks), [5, 8, 0]);
    let states: Vec<_> = service
        .fleet
        .status()
        .iter()
        .map(|status| status.breaker)
        .collect();
    assert_eq!(
        states,
        [BreakerState::Open, BreakerState::Closed, BreakerState::Closed]
    );
    let failed: Vec<_> = service
        .fleet
        .status()
        .iter()
        .map(|status| status.messages.failed)
        .collect();
    assert_eq!(failed, [5, 0, 0]);
    // Where all are left alone, the first one says for how long.
    networks[1].next((0..5).map(|_| refused(FailureClass::AuthFailed)));
    networks[2].next((0..5).map(|_| refused(FailureClass::AuthFailed)));
    for n in 10..15 {
        failure_of(&service, n).await;
    }
    let refusal = failure_of(&service, 20).await;
    assert_eq!(refusal.code, "breaker_open");
    assert!(refusal.retry_after.is_some());
    assert_eq!(counts(&networks), [5, 13, 5]);
}

#[tokio::test]
async fn a_full_queue_refuses_messages_for_its_own_backend_alone() {
    let (service, networks) = three();
    let [one, two, _] = &networks;
    let german = Route {
        conditions: Conditions {
            countries: vec![Region::parse("DE").unwrap()],
            ..Conditions::default()
        },
        ..through(&[1])
    };
    service.has_fleet(&[("one", one), ("two", two)], vec![german, through(&[0])]);
    one.hold();
    let numbers: Vec<_> = (0..=u32::try_from(BOUNDS.concurrency + QUEUE_LENGTH).unwrap())
        .map(number)
        .collect();
    let (verifier, network) = (service.verifier.clone(), Arc::clone(one));
    let mut waiting = Vec::new();
    for (at, number) in numbers.iter().enumerate() {
        let request = RegisterRequest::of(number.clone(), Locale::default());
        let verifier = verifier.clone();
        waiting.push(tokio::spawn(async move { verifier.register(request).await }));
        if at < BOUNDS.concurrency {
            network.arrived(at + 1).await;
        }
    }
    while service.fleet.status()[0].waiting.0 < QUEUE_LENGTH {
        tokio::task::yield_now().await;
    }
    let berlin = PhoneNumber::parse("+4915123456789", None).unwrap();
    service.register(&berlin).await.unwrap();
    assert_eq!(two.inbox().len(), 1);
    one.let_all_through();
    let mut outcomes = Vec::new();
    for registering in waiting {
        outcomes.push(registering.await.unwrap());
    }
    let busy = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(RegisterError::Busy)));
    assert_eq!(busy.count(), 1);
}

#[tokio::test]
async fn a_message_that_no_route_takes_is_refused_before_it_is_begun() {
    let (service, networks) = three();
    let german = Route {
        conditions: Conditions {
            countries: vec![Region::parse("DE").unwrap()],
            ..Conditions::default()
        },
        ..through(&[0])
    };
    service.has_fleet(&[("one", &networks[0])], vec![german]);
    let refusal = failure_of(&service, 1).await;
    assert_eq!(
        (refusal.class, &*refusal.code),
        (FailureClass::DestinationBlocked, "no_route")
    );
    assert_eq!(service.verifier.cleanup(Duration::ZERO, true).await.unwrap(), 0);
}

/// The settings may be loaded again between two backends.
#[tokio::test]
async fn a_backend_that_left_the_fleet_meanwhile_is_not_asked() {
    let (service, networks) = three();
    let [one, two, three] = &networks;
    one.next([refused(FailureClass::NoCredit)]);
    one.hold();
    let alice = number(1);
    let exchange = async {
        one.arrived(1).await;
        service.has_fleet(&[("one", one), ("three", three)], vec![through(&[0, 1])]);
        one.let_all_through();
    };
    let (registered, ()) = tokio::join!(service.register(&alice), exchange);
    registered.unwrap();
    assert_eq!(counts(&networks), [1, 0, 1]);
    assert!(two.inbox().is_empty());
}

async fn sent_by(service: &Service, id: VerificationId) -> Vec<String> {
    let message = service.settled(id).await;
    message.tries.into_iter().map(|made| made.member).collect()
}

/// Whoever asks for a further one may not have got the first.
#[tokio::test]
async fn a_further_message_goes_through_the_next_backend_of_the_route() {
    let (service, networks) = three();
    let first = service.register(&number(1)).await.unwrap();
    assert_eq!(sent_by(&service, first.id).await, ["one"]);
    for next in ["two", "three", "one"] {
        let resent = service.verifier.resend(first.id, None, &Locale::default()).await;
        resent.unwrap();
        assert_eq!(sent_by(&service, first.id).await, [next]);
    }
    // Or by registering again, as the drop-in endpoints have it.
    let second = service.register(&number(1)).await.unwrap();
    assert_eq!(sent_by(&service, second.id).await, ["two"]);
    let codes: std::collections::HashSet<_> = networks
        .iter()
        .flat_map(|network| network.inbox())
        .map(|(_, text)| code_in(&text))
        .collect();
    assert_eq!(codes.len(), 1, "it is the same code");
    // The backend before is tried last, and not left out.
    networks[2].next([refused(FailureClass::NoCredit)]);
    networks[0].next([refused(FailureClass::NoCredit)]);
    let again = service.verifier.resend(second.id, None, &Locale::default()).await;
    again.unwrap();
    assert_eq!(sent_by(&service, second.id).await, ["three", "one", "two"]);
}

#[tokio::test]
async fn what_may_be_spent_counts_the_price_of_the_backend_that_is_tried_first() {
    let day = Duration::from_secs(24 * 60 * 60);
    let service = Service::with_limits(
        FakeNetwork::default(),
        RateLimits {
            spend: [Limit::new("spend_per_day", 30, day)].into(),
            prices: Prices {
                default: 1,
                ..Prices::default()
            },
            ..RateLimits::default()
        },
    );
    let priced = |name: &str, prices: SegmentPrices| {
        let network = network("a.A");
        let member = Member::new(name, network.parts(), BOUNDS, None, &service.clock);
        Entry {
            member: Arc::new(member.at_prices(prices)),
            refusals: [].into(),
        }
    };
    let american = SegmentPrices {
        default: Some(5),
        by_country: [(Region::parse("US").unwrap(), 20)].into(),
    };
    let entries = vec![
        priced("dear", american),
        priced("usual", SegmentPrices::default()),
    ];
    let german = Route {
        conditions: Conditions {
            countries: vec![Region::parse("DE").unwrap()],
            ..Conditions::default()
        },
        ..through(&[1, 0])
    };
    let for_tests = ForTests::new(Arc::new(TestNumbers::default()), service.clock.clone());
    let members = Members::of(entries, vec![german, through(&[0, 1])], for_tests);
    service.fleet.exchange(members.unwrap());
    let british = PhoneNumber::parse("+442079460958", None).unwrap();
    let german = PhoneNumber::parse("+4915123456789", None).unwrap();
    // 20 by the country, 5 by the backend, and 1 as for all others: 26 of 30.
    for number in [&number(1), &british, &german] {
        service.register(number).await.unwrap();
    }
    let refused = service
        .register(&PhoneNumber::parse("+442079460959", None).unwrap())
        .await;
    assert!(
        matches!(
            refused,
            Err(RegisterError::LimitReached {
                code: "spend_per_day",
                ..
            })
        ),
        "{refused:?}"
    );
    service
        .register(&PhoneNumber::parse("+4915123456780", None).unwrap())
        .await
        .unwrap();
}

/// While the first one has the message, and while the second one has it after the first refused it.
#[tokio::test]
async fn a_crash_between_two_backends_loses_nothing_and_sends_the_same_code_at_most_once_more() {
    for crash_in in [0, 1] {
        let (dead, networks) = three();
        if crash_in == 1 {
            networks[0].next([refused(FailureClass::NoCredit)]);
        }
        networks[crash_in].hold();
        let alice = number(1);
        tokio::select! {
            _ = dead.register(&alice) => unreachable!("the network holds it"),
            _ = networks[crash_in].arrived(1) => {}
        }
        dead.is_killed();
        let sent = networks[crash_in].inbox().remove(0);
        let again = [network("a.A"), network("b.B"), network("c.C")];
        let next = dead.second(FakeNetwork::default());
        let [first, second, third] = &again;
        next.has_fleet(
            &[("one", first), ("two", second), ("three", third)],
            vec![through(&[0, 1, 2])],
        );
        while next.waiting() > 0 {
            next.store.ready().await.unwrap();
        }
        let all: Vec<_> = again.iter().flat_map(|network| network.inbox()).collect();
        let all: Vec<_> = all.into_iter().chain(next.network.inbox()).collect();
        assert_eq!(all, std::slice::from_ref(&sent), "the same code, once");
        let registered = next.register(&alice).await.unwrap();
        let verdict = next
            .check(&alice, &registered.session_token, &code_in(&sent.1))
            .await;
        assert_eq!(verdict.unwrap(), Verdict::Valid);
    }
}
