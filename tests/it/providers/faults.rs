//! What a network and a provider out of order do, and what may be sent again after it: only what certainly was not
//! sent.

use std::time::Duration;

use phone_verify::model::{FailureClass, Verdict};
use phone_verify_tests::gateways::{Behaviour, Nexmo, Provider, Twilio};

use super::rig::{ALICE, Rig, call, phone};

/// Runs a story with each provider.
macro_rules! with_each_provider {
    ($($story:ident),+ $(,)?) => {
        mod nexmo {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Rig::<super::Nexmo>::with("nexmo.NexmoBackend").await).await;
            })+
        }
        mod twilio {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Rig::<super::Twilio>::with("twilio.TwilioBackend").await).await;
            })+
        }
    };
}

with_each_provider!(
    a_provider_that_is_out_of_order_did_not_send,
    a_gateway_that_failed_on_the_way_may_have_sent,
    a_connection_that_is_refused_sent_nothing,
    a_connection_that_breaks_may_have_sent,
    an_answer_that_cannot_be_read_may_have_sent,
    an_answer_that_is_too_late_may_have_sent,
    in_bulk_one_refused_number_does_not_stop_the_rest,
);

async fn a_provider_that_is_out_of_order_did_not_send<P: Provider>(rig: Rig<P>) {
    rig.gateway.next(Behaviour::HttpStatus(503));
    let failure = rig.failure().await;
    assert_eq!(
        (failure.class, failure.http_status),
        (FailureClass::Transient, Some(503))
    );
    rig.send("again").await.unwrap();
    assert_eq!(rig.gateway.sms_to(ALICE).await.text, "again");
}

async fn a_gateway_that_failed_on_the_way_may_have_sent<P: Provider>(rig: Rig<P>) {
    for status in [408, 500, 502, 504] {
        rig.gateway.next(Behaviour::HttpStatus(status));
        let failure = rig.failure().await;
        assert_eq!(
            (failure.class, failure.http_status),
            (FailureClass::OutcomeUnknown, Some(status))
        );
    }
}

async fn a_connection_that_is_refused_sent_nothing<P: Provider>(rig: Rig<P>) {
    let Rig { gateway, backend } = rig;
    gateway.shut_down().await;
    let call = call(Duration::from_secs(10), Verdict::Valid);
    let failure = backend.send_sms(&phone(ALICE), "Hello", call).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Transient, "http_connect")
    );
}

async fn a_connection_that_breaks_may_have_sent<P: Provider>(rig: Rig<P>) {
    for (behaviour, taken) in [
        (Behaviour::DropBeforeReading, 0),
        (Behaviour::DropAfterReading, 1),
    ] {
        rig.gateway.next(behaviour);
        let failure = rig.failure().await;
        assert_eq!(failure.class, FailureClass::OutcomeUnknown, "{behaviour:?}");
        assert_eq!(rig.gateway.inbox().len(), taken);
    }
    rig.send("after it").await.unwrap();
    assert_eq!(rig.gateway.inbox().len(), 2, "nothing was sent twice");
}

async fn an_answer_that_cannot_be_read_may_have_sent<P: Provider>(rig: Rig<P>) {
    for (behaviour, code) in [
        (Behaviour::BrokenJson, "unreadable_answer"),
        (Behaviour::HugeBody, "http_body_too_large"),
    ] {
        rig.gateway.next(behaviour);
        let failure = rig.failure().await;
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::OutcomeUnknown, code)
        );
    }
    assert_eq!((rig.gateway.inbox().len(), rig.gateway.requests()), (2, 2));
}

async fn an_answer_that_is_too_late_may_have_sent<P: Provider>(rig: Rig<P>) {
    rig.gateway.next(Behaviour::Hold);
    let call = call(Duration::from_secs(3), Verdict::Valid);
    let failure = rig
        .backend
        .send_sms(&phone(ALICE), "Hello", call)
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::OutcomeUnknown);
    assert_eq!(rig.gateway.sms_to(ALICE).await.text, "Hello");
    rig.gateway.release();

    rig.gateway
        .next(Behaviour::AnswerAfter(Duration::from_millis(50)));
    rig.send("slow, but in time").await.unwrap();
}

async fn in_bulk_one_refused_number_does_not_stop_the_rest<P: Provider>(rig: Rig<P>) {
    let numbers = ["+13478379634", "+13478379635", "+13478379636"];
    // A number that this provider calls opted out.
    let opted_out = if P::ROUTE.starts_with("/sms") { 7 } else { 21610 };
    rig.gateway.refuse_number(numbers[1], opted_out);
    let (sender, mut settled) = tokio::sync::mpsc::unbounded_channel();
    let phones = numbers.map(phone);
    let hear = std::sync::Arc::new(move |index, outcome| sender.send((index, outcome)).unwrap());
    rig.backend
        .send_bulk_sms(
            &phones,
            "Hello all",
            call(Duration::from_secs(10), Verdict::Valid),
            hear,
        )
        .await;
    let mut outcomes = Vec::new();
    while let Ok((index, outcome)) = settled.try_recv() {
        outcomes.push((index, outcome.map_err(|failure| failure.class).map(drop)));
    }
    outcomes.sort_by_key(|(index, _)| *index);
    assert_eq!(
        outcomes,
        [(0, Ok(())), (1, Err(FailureClass::OptedOut)), (2, Ok(()))]
    );
    for number in [numbers[0], numbers[2]] {
        assert_eq!(rig.gateway.sms_to(number).await.text, "Hello all");
    }
    assert_eq!(rig.gateway.inbox().len(), 2);
}
