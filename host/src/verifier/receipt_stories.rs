//! What becomes of a provider's reports, on a fake network.

use std::{sync::Arc, time::Duration};

use crate::{
    fake_network::FakeNetwork,
    fake_service::{Service, number},
    model::{Delivery, DeliveryReport, ProviderMessageId, Receipt, ReportedState},
};

#[tokio::test]
async fn a_report_that_is_faster_than_the_providers_answer_is_recorded_after_it() {
    let service = Arc::new(Service::start(FakeNetwork::default()));
    service.network.next([Ok(Receipt {
        message_id: Some("SM1".into()),
        exact_id: None,
        ..Receipt::default()
    })]);
    service.network.hold();
    let registering = Arc::clone(&service);
    let registering = tokio::spawn(async move { registering.register(&number(1)).await });
    service.network.arrived(1).await;
    let verifier = service.verifier.clone();
    let watching = tokio::spawn(async move { verifier.watch_early_reports().await });
    let delivered = DeliveryReport::new(ProviderMessageId::new("SM1").unwrap(), ReportedState::Delivered);
    let backend = "fake.FakeBackend".into();
    service
        .verifier
        .record_reports("default", &backend, vec![delivered])
        .await
        .unwrap();
    service.network.let_through(1);
    let registered = registering.await.unwrap().unwrap();
    loop {
        let found = service.verifier.find(registered.id).await.unwrap().unwrap();
        if found.0.delivery() == Delivery::Delivered {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.verifier.record_early_reports().await.unwrap(), 0);
    watching.abort();
}
