//! What is forgotten, and when.

use futures_util::future::join_all;

use super::desk::{Desk, LIFETIME, MILLISECOND, number};
use crate::model::{PhoneNumber, Verdict};

pub(super) async fn old_records_are_counted_and_deleted(desk: &Desk) {
    let numbers: Vec<PhoneNumber> = (0..1100).map(number).collect();
    let old = join_all(numbers.iter().map(|number| desk.register(number))).await;
    let job = desk.keyring.job_id(&numbers, "text", "");
    desk.store
        .begin_bulk(job, numbers, "text".to_owned(), desk.clock.now())
        .await
        .unwrap();
    desk.clock.advance(LIFETIME * 2);
    let kept = desk.register(&number(0)).await;
    let before = desk.clock.now();
    assert_eq!(desk.store.delete_before(before, true).await.unwrap(), 1101);
    assert_eq!(desk.store.bulk_progress(job).await.unwrap().total, 1100);
    assert_eq!(desk.store.delete_before(before, false).await.unwrap(), 1101);
    assert_eq!(desk.store.delete_before(before, true).await.unwrap(), 0);
    assert_eq!(desk.store.bulk_progress(job).await.unwrap().total, 0);
    assert_eq!(
        desk.check(&old[0], &old[0].code).await,
        Verdict::SessionTokenInvalid
    );
    assert_eq!(desk.check(&kept, &kept.code).await, Verdict::Valid);
}

pub(super) async fn an_expired_code_is_forgotten(desk: &Desk) {
    desk.register(&number(1)).await;
    desk.clock.advance(LIFETIME);
    assert_eq!(desk.store.expire_codes(desk.clock.now()).await.unwrap(), 0);
    desk.clock.advance(MILLISECOND);
    assert_eq!(desk.store.expire_codes(desk.clock.now()).await.unwrap(), 1);
    assert_eq!(desk.store.expire_codes(desk.clock.now()).await.unwrap(), 0);
}

pub(super) async fn a_session_whose_code_was_deleted_is_unknown(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    desk.clock.advance(MILLISECOND);
    let second = desk.register(&number(1)).await;
    assert_eq!(
        desk.store.delete_before(desk.clock.now(), false).await.unwrap(),
        1
    );
    for session in [first, second] {
        assert_eq!(
            desk.check(&session, &session.code).await,
            Verdict::SessionTokenInvalid
        );
    }
}
