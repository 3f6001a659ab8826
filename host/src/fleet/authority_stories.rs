//! Whose a code is, whatever becomes of the fleet meanwhile.

use std::sync::Arc;

use crate::{
    fake_network::{Behaviour, FakeNetwork, Judge},
    fake_service::{Service, code_in, number, through},
    model::{Locale, Verdict},
    verifier::{CheckError, RegisterError, ResendError},
};

/// One that makes its codes and judges them.
fn owner() -> Arc<FakeNetwork> {
    Arc::new(FakeNetwork::new(Behaviour {
        judge: Judge::Sandbox,
        fixed_code: Some("777777"),
        name: "owner.Owner",
        ..Behaviour::default()
    }))
}

fn plain() -> Arc<FakeNetwork> {
    Arc::new(FakeNetwork::new(Behaviour {
        name: "plain.Plain",
        ..Behaviour::default()
    }))
}

#[tokio::test]
async fn a_code_is_judged_by_its_backend_after_messages_go_through_another() {
    let service = Service::start(FakeNetwork::default());
    let (owner, plain) = (owner(), plain());
    service.has_fleet(&[("owner", &owner)], vec![]);
    let registered = service.register(&number(1)).await.unwrap();
    service.has_fleet(&[("plain", &plain), ("owner", &owner)], vec![through(&[0])]);
    // The owner alone takes this one.
    let verdict = service
        .check(&number(1), &registered.session_token, "000000")
        .await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
    // A code of the host's is the host's, also once messages go through a backend that judges its own.
    let registered = service.register(&number(2)).await.unwrap();
    let code = code_in(&plain.inbox()[0].1);
    service.has_fleet(&[("owner", &owner)], vec![]);
    let check = async |code: &str| {
        let verdict = service.check(&number(2), &registered.session_token, code).await;
        verdict.unwrap()
    };
    assert_eq!(check("000000").await, Verdict::Invalid);
    assert_eq!(check(&code).await, Verdict::Valid);
}

#[tokio::test]
async fn a_code_of_one_backend_is_neither_shared_nor_sent_by_another() {
    let service = Service::start(FakeNetwork::default());
    let (owner, plain) = (owner(), plain());
    service.has_fleet(&[("owner", &owner)], vec![]);
    let first = service.register(&number(1)).await.unwrap();
    service.has_fleet(&[("plain", &plain), ("owner", &owner)], vec![through(&[0])]);
    service.register(&number(1)).await.unwrap();
    assert_ne!(code_in(&plain.inbox()[0].1), "777777", "it has a code of its own");
    let again = service.verifier.resend(first.id, None, &Locale::default()).await;
    again.unwrap();
    assert_eq!((owner.inbox().len(), plain.inbox().len()), (2, 1));
}

#[tokio::test]
async fn a_code_whose_backend_is_gone_is_refused_and_costs_no_attempt() {
    let service = Service::start(FakeNetwork::default());
    let (owner, plain) = (owner(), plain());
    service.has_fleet(&[("owner", &owner)], vec![]);
    let registered = service.register(&number(1)).await.unwrap();
    // Neither without it, nor with another one under its name that judges nothing.
    for backends in [[("plain", &plain)], [("owner", &plain)]] {
        service.has_fleet(&backends, vec![]);
        for code in ["777777", "000000"] {
            let refused = service.check(&number(1), &registered.session_token, code).await;
            assert!(
                matches!(&refused, Err(CheckError::OwnerGone(gone)) if gone == "owner"),
                "{refused:?}"
            );
        }
        let refused = service
            .verifier
            .resend(registered.id, None, &Locale::default())
            .await;
        assert!(
            matches!(&refused, Err(ResendError::OwnerGone(gone)) if &**gone == "owner"),
            "{refused:?}"
        );
    }
    // The number can be verified all the same.
    let anew = service.register(&number(1)).await.unwrap();
    let code = code_in(&plain.inbox()[0].1);
    let verdict = service.check(&number(1), &anew.session_token, &code).await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
}

#[tokio::test]
async fn a_message_that_a_dead_process_left_is_sent_by_the_owner_of_its_code_alone() {
    let dead = Service::start(FakeNetwork::default());
    let (owner, plain) = (owner(), plain());
    dead.has_fleet(&[("owner", &owner)], vec![]);
    owner.hold();
    let one = number(1);
    tokio::select! {
        _ = dead.register(&one) => unreachable!("the network holds it"),
        _ = owner.arrived(1) => {}
    }
    dead.is_killed();
    let next = dead.second(FakeNetwork::default());
    next.has_fleet(&[("plain", &plain)], vec![]);
    while next.waiting() > 0 {
        next.store.ready().await.unwrap();
    }
    assert!(plain.inbox().is_empty() && next.network.inbox().is_empty());
    let refused = next.register(&one).await.map(drop);
    assert!(!matches!(refused, Err(RegisterError::NotSent(_))), "{refused:?}");
}
