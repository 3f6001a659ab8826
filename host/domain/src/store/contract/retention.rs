//! What is forgotten, and when.

use futures_util::future::join_all;

use super::desk::{Desk, LIFETIME, MILLISECOND, number};
use crate::{
    clock::UnixMillis,
    model::{PhoneNumber, Verdict},
    store::AuditEntry,
};

pub async fn old_records_are_counted_and_deleted(desk: &Desk) {
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

pub async fn an_expired_code_is_forgotten(desk: &Desk) {
    desk.register(&number(1)).await;
    desk.clock.advance(LIFETIME);
    assert_eq!(desk.store.expire_codes(desk.clock.now()).await.unwrap(), 0);
    desk.clock.advance(MILLISECOND);
    assert_eq!(desk.store.expire_codes(desk.clock.now()).await.unwrap(), 1);
    assert_eq!(desk.store.expire_codes(desk.clock.now()).await.unwrap(), 0);
}

pub async fn a_session_whose_code_was_deleted_is_unknown(desk: &Desk) {
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

pub async fn a_number_is_forgotten_and_no_other(desk: &Desk) {
    let (one, other) = (number(1), number(2));
    let first = desk.register(&one).await;
    desk.register(&one).await;
    let kept = desk.register(&other).await;
    let numbers = vec![one.clone(), other.clone()];
    let job = desk.keyring.job_id(&numbers, "text", "");
    desk.store
        .begin_bulk(job, numbers, "text".to_owned(), desk.clock.now())
        .await
        .unwrap();
    let records = desk.store.records_of(&one, desk.rules()).await.unwrap();
    assert_eq!((records.verifications.len(), records.messages.len()), (2, 1));
    assert!(
        records
            .verifications
            .iter()
            .any(|found| found.verification.id == first.id)
    );

    let forgets = || Some(entry(desk, "forget"));
    assert_eq!(desk.store.forget(&one, None).await.unwrap(), 3);
    assert_eq!(desk.store.forget(&one, forgets()).await.unwrap(), 3);
    assert_eq!(desk.store.forget(&one, None).await.unwrap(), 0);
    assert_eq!(
        desk.check(&first, &first.code).await,
        Verdict::SessionTokenInvalid
    );
    let taken = desk.after_a_crash().taken_over().await;
    assert!(taken.iter().all(|message| message.verification == kept.id));
    assert!(desk.pending(&one).await.is_none());
    assert_eq!(desk.store.bulk_progress(job).await.unwrap().total, 1);
    assert_eq!(desk.check(&kept, &kept.code).await, Verdict::Valid);
}

fn entry(desk: &Desk, action: &str) -> AuditEntry {
    AuditEntry {
        at: desk.clock.now(),
        actor: "uid:0".to_owned(),
        action: action.to_owned(),
        subject: "+13****34".to_owned(),
    }
}

pub async fn what_changes_nothing_is_not_in_the_audit_log(desk: &Desk) {
    let entries = async || desk.store.latest_audit_entries(9).await.unwrap().len();
    let cancel = async |id| {
        let ended = desk.store.cancel_verification(id, entry(desk, "cancel"), None);
        ended.await.unwrap()
    };
    let [cancelled, verified] = [desk.register(&number(1)).await, desk.register(&number(2)).await];
    desk.check(&verified, &verified.code).await;
    assert!(!cancel(desk.new_id()).await && !cancel(verified.id).await);
    assert_eq!(entries().await, 0);
    assert!(cancel(cancelled.id).await);
    for _ in 0..3 {
        assert!(!cancel(cancelled.id).await);
    }
    assert_eq!(entries().await, 1);
    let forget = async || {
        let entry = Some(entry(desk, "forget"));
        desk.store.forget(&number(1), entry).await.unwrap()
    };
    assert_eq!((forget().await, entries().await), (1, 2));
    assert_eq!((forget().await, entries().await), (0, 2));
    assert_eq!(
        desk.store
            .delete_audit_entries_before(UnixMillis(0))
            .await
            .unwrap(),
        0
    );
}

pub async fn the_audit_log_leaves_when_it_is_old_and_not_before(desk: &Desk) {
    for _ in 0..600 {
        desk.store
            .record_audit_entry(entry(desk, "export"))
            .await
            .unwrap();
    }
    desk.clock.advance(MILLISECOND);
    desk.store
        .record_audit_entry(entry(desk, "forget"))
        .await
        .unwrap();
    let before = desk.clock.now();
    assert_eq!(desk.store.delete_audit_entries_before(before).await.unwrap(), 600);
    assert_eq!(desk.store.delete_audit_entries_before(before).await.unwrap(), 0);
    assert_eq!(
        desk.store.latest_audit_entries(9).await.unwrap(),
        [entry(desk, "forget")]
    );
}

pub async fn who_did_what_is_kept_in_order(desk: &Desk) {
    for action in ["export", "forget", "cleanup"] {
        desk.store.record_audit_entry(entry(desk, action)).await.unwrap();
    }
    let latest = desk.store.latest_audit_entries(2).await.unwrap();
    assert_eq!(latest, [entry(desk, "forget"), entry(desk, "cleanup")]);
    // Old records are deleted; what was done with them is not.
    desk.clock.advance(LIFETIME);
    desk.store.delete_before(desk.clock.now(), false).await.unwrap();
    assert_eq!(desk.store.latest_audit_entries(9).await.unwrap().len(), 3);
}
