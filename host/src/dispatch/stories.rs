//! What becomes of messages and jobs, on a fake network.

use std::{sync::Mutex, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{SWEEP_INTERVAL, bulk::BulkError};
use crate::{
    fake_network::{Behaviour, FakeNetwork, failure},
    fake_service::{BOUNDS, Service, TOTAL_TIMEOUT, code_in, number},
    fleet::BreakerState,
    model::{FailureClass, Origin, Outcome, PhoneNumber, Verdict},
    store::{BulkProgress, JobId},
    verifier::RegisterError,
};

fn refused(class: FailureClass) -> Outcome {
    Err(failure(class))
}

fn throttled(wait: Duration) -> Outcome {
    let mut failure = failure(FailureClass::Throttled);
    failure.retry_after = Some(wait);
    Err(failure)
}

async fn failure_class(service: &Service, n: u32) -> FailureClass {
    match service.register(&number(n)).await.unwrap_err() {
        RegisterError::NotSent(failure) => failure.class,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_certainly_was_not_sent_is_tried_once_more() {
    let service = Service::start(FakeNetwork::default());
    service.network.next([refused(FailureClass::Transient)]);
    service.register(&number(1)).await.unwrap();
    service.network.next([throttled(Duration::from_secs(3))]);
    service.register(&number(2)).await.unwrap();
    service
        .network
        .next([refused(FailureClass::Transient), refused(FailureClass::Transient)]);
    assert_eq!(failure_class(&service, 3).await, FailureClass::Transient);
    assert_eq!(service.network.inbox().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_sent_or_cannot_go_better_is_not_tried_again() {
    let service = Service::start(FakeNetwork::default());
    service.network.next([refused(FailureClass::OutcomeUnknown)]);
    assert_eq!(failure_class(&service, 1).await, FailureClass::OutcomeUnknown);
    service.network.next([refused(FailureClass::InvalidNumber)]);
    assert_eq!(failure_class(&service, 2).await, FailureClass::InvalidNumber);
    service.network.next([throttled(TOTAL_TIMEOUT)]);
    assert_eq!(failure_class(&service, 3).await, FailureClass::Throttled);
    assert_eq!(service.network.inbox().len(), 3);
}

#[tokio::test]
async fn a_backend_that_is_out_of_order_is_left_alone() {
    let service = Service::start(FakeNetwork::default());
    service
        .network
        .next((0..5).map(|_| refused(FailureClass::AuthFailed)));
    for n in 0..5 {
        assert_eq!(failure_class(&service, n).await, FailureClass::AuthFailed);
    }
    assert_eq!(service.backend().breaker, BreakerState::Open);
    assert_eq!(failure_class(&service, 6).await, FailureClass::Transient);
    assert_eq!(service.network.inbox().len(), 5);
    service.clock.advance(Duration::from_secs(15));
    service.register(&number(7)).await.unwrap();
    assert_eq!(service.backend().breaker, BreakerState::Closed);
}

/// The library's process crashes with many messages at the provider, who is well.
#[tokio::test]
async fn what_a_library_lost_costs_its_message_and_no_other() {
    let service = Service::start(FakeNetwork::default());
    let lost = failure(FailureClass::OutcomeUnknown).arisen_in(Origin::Library);
    service.network.next((0..16).map(|_| Err(lost.clone())));
    for n in 0..16 {
        assert_eq!(failure_class(&service, n).await, FailureClass::OutcomeUnknown);
    }
    assert_eq!(service.backend().breaker, BreakerState::Closed);
    service.register(&number(17)).await.unwrap();
}

#[tokio::test]
async fn a_message_that_waited_too_long_for_a_slot_is_not_sent() {
    let service = Service::start(FakeNetwork::default());
    service.network.hold();
    let numbers: Vec<PhoneNumber> = (0..5).map(number).collect();
    let all = futures_util::future::join_all(numbers.iter().map(|number| service.register(number)));
    let later = async {
        service.network.arrived(BOUNDS.concurrency).await;
        service.clock.advance(TOTAL_TIMEOUT);
        service.network.let_through(numbers.len());
    };
    let (registered, ()) = tokio::join!(all, later);
    let late: Vec<_> = registered.into_iter().filter_map(Result::err).collect();
    assert!(matches!(&late[..], [RegisterError::NotSent(failure)] if failure.code == "queue_timeout"));
    assert_eq!(service.network.inbox().len(), BOUNDS.concurrency);
}

#[tokio::test]
async fn the_end_of_the_service_waits_for_what_is_under_way() {
    let service = Service::start(FakeNetwork::default());
    service.network.hold();
    let (network, verifier) = (service.network.clone(), service.verifier.clone());
    let request = crate::verifier::RegisterRequest::of(number(1), crate::model::Locale::default());
    let registering = tokio::spawn(async move { verifier.register(request).await });
    network.arrived(1).await;
    let other = service.second(FakeNetwork::default());
    let draining = tokio::spawn(async move { service.drain().await });
    network.let_through(1);
    assert!(draining.await.unwrap(), "all was settled");
    registering.await.unwrap().unwrap();
    let left = other
        .store
        .take_over_messages(other.clock.now(), 10)
        .await
        .unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn what_a_process_that_ends_never_tried_is_as_new_to_the_next_one() {
    let ending = Service::start(FakeNetwork::default());
    ending.network.hold();
    let numbers: Vec<_> = (0..).map(number).take(BOUNDS.concurrency + 1).collect();
    let all = futures_util::future::join_all(numbers.iter().map(|number| ending.register(number)));
    let end = async {
        ending.network.arrived(BOUNDS.concurrency).await;
        while ending.waiting() < u32::try_from(numbers.len()).unwrap() {
            ending.store.ready().await.unwrap();
        }
        assert!(!ending.drain_for(Duration::ZERO).await, "the network holds them");
    };
    tokio::select! {
        _ = all => unreachable!("the network holds them"),
        () = end => {}
    }
    ending.is_killed();
    let next = ending.second(FakeNetwork::default());
    next.network
        .next(numbers.iter().map(|_| refused(FailureClass::ContentRejected)));
    while next.waiting() > 0 {
        next.store.ready().await.unwrap();
    }
    let not_sent: Vec<_> =
        futures_util::future::join_all(numbers.iter().map(|number| next.register(number))).await;
    // A code that nobody can have got is pending no more, so a fresh one is made.
    let codes: std::collections::HashSet<_> = next
        .network
        .inbox()
        .iter()
        .map(|(_, text)| code_in(text))
        .collect();
    assert!(not_sent.iter().all(Result::is_ok));
    assert_eq!(codes.len(), numbers.len() + 1);
}

#[tokio::test]
async fn what_a_dead_process_left_is_sent_by_the_next_one() {
    let dead = Service::start(FakeNetwork::default());
    dead.network.hold();
    let (one, two) = (number(1), number(2));
    let registering = async { tokio::join!(dead.register(&one), dead.register(&two)) };
    // The process dies while both are at the provider: nobody hears what became of them.
    let sent = tokio::select! {
        _ = registering => unreachable!("the network holds them"),
        sent = dead.network.arrived(2) => sent,
    };
    dead.is_killed();
    let next = dead.second(FakeNetwork::default());
    let mut again = next.network.arrived(2).await;
    again.sort_by(|one, other| one.0.e164().cmp(other.0.e164()));
    let mut sent = sent;
    sent.sort_by(|one, other| one.0.e164().cmp(other.0.e164()));
    assert_eq!(again, sent, "the same codes to the same numbers");
    // Whoever was sent the code can register again and use it.
    let registered = next.register(&number(1)).await.unwrap();
    let verdict = next
        .check(&number(1), &registered.session_token, &code_in(&sent[0].1))
        .await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_and_could_not_be_recorded_is_recorded_later_and_not_sent_again() {
    let service = Service::start(FakeNetwork::default());
    service.meddle(
        "CREATE TRIGGER full BEFORE UPDATE OF state ON message BEGIN SELECT RAISE(FAIL, 'disk full'); END",
    );
    service.network.next([refused(FailureClass::OutcomeUnknown)]);
    assert_eq!(failure_class(&service, 1).await, FailureClass::OutcomeUnknown);
    service.meddle("DROP TRIGGER full");
    let mut sweeps = 0;
    while service.waiting() > 0 && sweeps < 10_000 {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        sweeps += 1;
    }
    assert_eq!(service.waiting(), 0, "it was recorded");
    assert_eq!(service.network.inbox().len(), 1);
}

#[tokio::test]
async fn what_could_not_be_recorded_is_recorded_before_the_process_ends() {
    let service = Service::start(FakeNetwork::default());
    service.meddle(
        "CREATE TRIGGER full BEFORE UPDATE OF state ON message BEGIN SELECT RAISE(FAIL, 'disk full'); END",
    );
    service.network.next([refused(FailureClass::OutcomeUnknown)]);
    assert_eq!(failure_class(&service, 1).await, FailureClass::OutcomeUnknown);
    assert!(
        !service.drain_for(Duration::ZERO).await,
        "nothing can be recorded"
    );
    assert_eq!(service.waiting(), 1);
    service.meddle("DROP TRIGGER full");
    assert!(service.drain().await);
    assert_eq!(service.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_tries_of_one_message_are_one_failure_of_the_backend() {
    let service = Service::start(FakeNetwork::default());
    service
        .network
        .next((0..8).map(|_| refused(FailureClass::Transient)));
    for n in 0..4 {
        assert_eq!(failure_class(&service, n).await, FailureClass::Transient);
    }
    assert_eq!(service.backend().breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_refusal_of_one_message_that_nobody_knows_leaves_the_others_alone() {
    let service = Service::start(FakeNetwork::default());
    service
        .network
        .next((0..20).map(|_| refused(FailureClass::Internal)));
    for n in 0..20 {
        assert_eq!(failure_class(&service, n).await, FailureClass::Internal);
    }
    assert_eq!(service.backend().breaker, BreakerState::Closed);
}

const TEXT: &str = "The shop is closed on Monday";

async fn job(service: &Service, count: u32) -> JobId {
    let numbers: Vec<PhoneNumber> = (0..count).map(number).collect();
    let job = service.keyring.job_id(&numbers, TEXT, "");
    let now = service.clock.now();
    assert!(
        service
            .store
            .begin_bulk(job, numbers, TEXT.to_owned(), now)
            .await
            .unwrap()
    );
    job
}

async fn run(service: &Service, job: JobId) -> Result<BulkProgress, BulkError> {
    service.bulk().run(job, &CancellationToken::new(), |_| {}).await
}

/// Every number once, in any order.
fn assert_each_got_it_once(service: &Service, count: u32) {
    let mut got: Vec<_> = service
        .network
        .inbox()
        .into_iter()
        .map(|(number, _)| number.e164().to_owned())
        .collect();
    got.sort();
    assert_eq!(
        got,
        (0..count)
            .map(|n| number(n).e164().to_owned())
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_job_texts_every_number_and_says_which_failed() {
    let service = Service::start(FakeNetwork::default());
    let job = job(&service, 30).await;
    service.network.next([
        refused(FailureClass::InvalidNumber),
        refused(FailureClass::OutcomeUnknown),
    ]);
    let heard = Mutex::new(Vec::new());
    let hear = |progress| heard.lock().unwrap().push(progress);
    let reached = service
        .bulk()
        .run(job, &CancellationToken::new(), hear)
        .await
        .unwrap();
    assert_eq!(
        reached,
        BulkProgress {
            total: 30,
            sent: 28,
            failed: 1,
            unknown: 1,
            waiting: 0
        }
    );
    assert_each_got_it_once(&service, 30);
    let heard = heard.into_inner().unwrap();
    assert_eq!(heard.first().unwrap().waiting, 30);
    assert_eq!(heard.last(), Some(&reached));
    assert!(
        heard
            .windows(2)
            .all(|pair| pair[0].settled() <= pair[1].settled())
    );
    // The same again has nothing to do.
    assert_eq!(run(&service, job).await.unwrap(), reached);
    assert_each_got_it_once(&service, 30);
}

#[tokio::test]
async fn a_job_that_was_stopped_goes_on_where_it_stood() {
    let service = Service::start(FakeNetwork::default());
    let job = job(&service, 30).await;
    service.network.hold();
    let stop = CancellationToken::new();
    let bulk = service.bulk();
    let user = async {
        service.network.arrived(BOUNDS.concurrency).await;
        stop.cancel();
        service.network.let_through(100);
    };
    let (stopped, ()) = tokio::join!(bulk.run(job, &stop, |_| {}), user);
    let stopped = stopped.unwrap();
    assert_eq!((stopped.sent, stopped.waiting), (4, 26));
    assert_eq!(run(&service, job).await.unwrap().sent, 30);
    assert_each_got_it_once(&service, 30);
}

#[tokio::test]
async fn what_a_killed_run_had_under_way_is_unknown_and_not_sent_again() {
    let service = Service::start(FakeNetwork::default());
    let job = job(&service, 30).await;
    service.network.hold();
    tokio::select! {
        _ = run(&service, job) => unreachable!("the network holds it"),
        _ = service.network.arrived(BOUNDS.concurrency) => {}
    }
    let next = service.second(FakeNetwork::default());
    next.clock.advance(Duration::from_secs(16));
    let reached = run(&next, job).await.unwrap();
    assert_eq!(
        reached,
        BulkProgress {
            total: 30,
            sent: 26,
            unknown: 4,
            ..BulkProgress::default()
        }
    );
    assert_eq!(next.network.inbox().len(), 26);
    assert!(
        next.store
            .bulk_failures(job)
            .await
            .unwrap()
            .iter()
            .all(|failure| failure.code == "interrupted")
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_another_process_works_on_is_left_to_it() {
    let service = Service::start(FakeNetwork::default());
    let job = job(&service, 30).await;
    service.network.hold();
    let (bulk, stop) = (service.bulk(), CancellationToken::new());
    let other = async {
        service.network.arrived(BOUNDS.concurrency).await;
        let second = service.second(FakeNetwork::default());
        let refused = run(&second, job).await.unwrap_err();
        assert!(matches!(refused, BulkError::HeldByAnother), "{refused}");
        assert!(second.network.inbox().is_empty());
        service.network.let_through(100);
    };
    let (reached, ()) = tokio::join!(bulk.run(job, &stop, |_| {}), other);
    assert_eq!(reached.unwrap().sent, 30);
}

#[tokio::test]
async fn a_refused_account_ends_the_run_and_costs_no_number() {
    let service = Service::start(FakeNetwork::default());
    let job = job(&service, 30).await;
    service
        .network
        .next((0..BOUNDS.concurrency).map(|_| refused(FailureClass::NoCredit)));
    let error = run(&service, job).await.unwrap_err();
    assert!(matches!(error, BulkError::BackendDown(failure) if failure.class == FailureClass::NoCredit));
    let reached = service.store.bulk_progress(job).await.unwrap();
    assert_eq!((reached.waiting, reached.failed), (30, 0));
    assert_eq!(run(&service, job).await.unwrap().sent, 30);
}

/// As when the library is quarantined: nothing of it runs, whatever the number.
#[tokio::test]
async fn a_backend_that_cannot_be_run_ends_the_run_and_costs_no_number() {
    let service = Service::start(FakeNetwork::default());
    let job = job(&service, 30).await;
    let cannot = failure(FailureClass::Internal).arisen_in(Origin::Host);
    service
        .network
        .next((0..BOUNDS.concurrency).map(|_| Err(cannot.clone())));
    let error = run(&service, job).await.unwrap_err();
    assert!(matches!(error, BulkError::BackendDown(failure) if failure.origin == Origin::Host));
    let reached = service.store.bulk_progress(job).await.unwrap();
    assert_eq!((reached.waiting, reached.failed), (30, 0));
    assert_eq!(run(&service, job).await.unwrap().sent, 30);
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_a_provider_that_throttles() {
    let service = Service::start(FakeNetwork::default());
    let job = job(&service, 10).await;
    service
        .network
        .next((0..8).map(|_| throttled(Duration::from_secs(1))));
    assert_eq!(run(&service, job).await.unwrap().sent, 10);
    assert_eq!(service.network.inbox().len(), 18);
}

fn whole_batches(reports: usize) -> Service {
    Service::start(FakeNetwork::new(Behaviour {
        whole_batches: true,
        reports,
        ..Behaviour::default()
    }))
}

#[tokio::test]
async fn a_backend_with_a_way_of_its_own_gets_whole_batches() {
    let service = whole_batches(1);
    let job = job(&service, 450).await;
    assert_eq!(run(&service, job).await.unwrap().sent, 450);
    assert_each_got_it_once(&service, 450);
}

#[tokio::test]
async fn what_a_backend_does_not_report_is_unknown() {
    let service = whole_batches(3);
    let job = job(&service, 60).await;
    let reached = run(&service, job).await.unwrap();
    assert_eq!((reached.sent, reached.unknown, reached.waiting), (20, 40, 0));
    assert_each_got_it_once(&service, 60);
    let failures = service.store.bulk_failures(job).await.unwrap();
    assert!(failures.iter().all(|failure| failure.code == "not_reported"));
}

#[tokio::test]
async fn a_backend_that_reports_next_to_nothing_gets_no_further_batch() {
    let service = whole_batches(100);
    let job = job(&service, 450).await;
    let error = run(&service, job).await.unwrap_err();
    assert!(matches!(error, BulkError::BackendDown(failure) if failure.code == "not_reported"));
    let reached = service.store.bulk_progress(job).await.unwrap();
    assert_eq!((reached.sent, reached.unknown, reached.waiting), (2, 198, 250));
}
