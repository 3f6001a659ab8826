//! What becomes of messages and codes while the fleet is exchanged.

use std::sync::Arc;

use super::{BreakerState, DEFAULT, Entry, ForTests, Member, Members};
use crate::{
    fake_network::{Behaviour, FakeNetwork, failure},
    fake_service::{BOUNDS, Service, number},
    model::{FailureClass, TestNumbers},
};

/// Another network takes the place of the service's.
fn exchanged(service: &Service, network: &Arc<FakeNetwork>) {
    let before = service.fleet.usual();
    let member = Member::new(DEFAULT, network.parts(), BOUNDS, Some(&before), &service.clock);
    let entry = Entry {
        member: Arc::new(member),
        refusals: [].into(),
    };
    let for_tests = ForTests::new(Arc::new(TestNumbers::default()), service.clock.clone());
    service.fleet.exchange(Members::one(entry, for_tests));
}

fn other(name: &'static str) -> Arc<FakeNetwork> {
    Arc::new(FakeNetwork::new(Behaviour {
        name,
        ..Behaviour::default()
    }))
}

#[tokio::test]
async fn a_message_that_waits_for_a_slot_while_the_fleet_is_exchanged_goes_through_the_new_one() {
    let service = Service::start(FakeNetwork::default());
    let next = other("other.OtherBackend");
    service.network.hold();
    let numbers: Vec<_> = (0..5).map(number).collect();
    let all = futures_util::future::join_all(numbers.iter().map(|number| service.register(number)));
    let exchange = async {
        service.network.arrived(BOUNDS.concurrency).await;
        exchanged(&service, &next);
        service.network.let_all_through();
    };
    let (registered, ()) = tokio::join!(all, exchange);
    assert!(registered.iter().all(Result::is_ok));
    // What was under way ended where it began.
    assert_eq!(service.network.inbox().len(), BOUNDS.concurrency);
    assert_eq!(next.inbox().len(), 1);
}

/// Else a reload would let twice as many be under way as the provider was promised.
#[tokio::test]
async fn what_is_under_way_in_the_member_before_takes_slots_of_its_successor() {
    let service = Service::start(FakeNetwork::default());
    let next = other("other.OtherBackend");
    service.network.hold();
    let numbers: Vec<_> = (0..6).map(number).collect();
    let all = futures_util::future::join_all(numbers.iter().map(|number| service.register(number)));
    let exchange = async {
        service.network.arrived(BOUNDS.concurrency).await;
        next.hold();
        exchanged(&service, &next);
        service.network.let_through(1);
        next.arrived(1).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(next.inbox().len(), 1, "there is one free slot");
        service.network.let_all_through();
        next.let_all_through();
    };
    tokio::join!(all, exchange);
}

#[tokio::test(start_paused = true)]
async fn a_second_try_after_an_exchange_goes_through_the_new_member_and_says_so() {
    let service = Service::start(FakeNetwork::default());
    let next = other("other.OtherBackend");
    service.network.next([Err(failure(FailureClass::Transient))]);
    let one = number(1);
    let exchange = async {
        service.network.arrived(1).await;
        exchanged(&service, &next);
    };
    let (registered, ()) = tokio::join!(service.register(&one), exchange);
    let id = registered.unwrap().id;
    assert_eq!((service.network.inbox().len(), next.inbox().len()), (1, 1));
    while service.waiting() > 0 {
        service.store.ready().await.unwrap();
    }
    let (verification, _) = service.verifier.find(id).await.unwrap().unwrap();
    let message = verification.messages.last().unwrap();
    assert_eq!(message.backend.as_deref(), Some("other.OtherBackend"));
    let asked: Vec<_> = message.tries.iter().map(|made| &*made.backend).collect();
    assert_eq!(asked, ["fake.FakeBackend", "other.OtherBackend"]);
}

#[tokio::test]
async fn a_member_that_stays_keeps_its_breaker_and_a_new_one_begins_closed() {
    let service = Service::start(FakeNetwork::default());
    service
        .network
        .next((0..5).map(|_| Err(failure(FailureClass::AuthFailed))));
    for n in 0..5 {
        service.register(&number(n)).await.unwrap_err();
    }
    assert_eq!(service.backend().breaker, BreakerState::Open);
    // The numbers for tests are others, and the backend is the same.
    service.has_for_tests(TestNumbers::default());
    assert_eq!(service.backend().breaker, BreakerState::Open);
    assert_eq!(service.backend().messages.failed, 5);
    exchanged(&service, &other("other.OtherBackend"));
    let status = service.backend();
    assert_eq!(status.breaker, BreakerState::Closed);
    assert_eq!(status.messages, super::Counts::default());
    assert_eq!(status.breaker_opened, 1, "a counter only grows");
    service.register(&number(6)).await.unwrap();
}
