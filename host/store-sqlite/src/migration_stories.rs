//! A database of an earlier version is opened: what its clients were told still holds.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::Connection;
use serde::Deserialize;

use super::{Sqlite, open, open_error::OpenError, presence::Processes, schema};
use crate::{
    clock::UnixMillis,
    entropy::Entropy,
    files::AnyFile,
    model::{Delivery, FailureClass, PhoneNumber, SecurityCode, SessionToken, Status, Verdict},
    rules::attempt::Terms,
    store::{CheckRules, Keyring, MasterKey, Store},
};

/// What a client of the daemon of before was told.
#[derive(Deserialize)]
struct Session {
    number: String,
    state: String,
    token: Option<String>,
    code: Option<String>,
}

/// Some seconds after the last of it was written.
const NOW: UnixMillis = UnixMillis(1_795_869_630_000);

fn keyring() -> Arc<Keyring> {
    let key = MasterKey::parse("f499f5565e4faede29afe0466daae4b216d3d1a3b1de20f01cfc6f0e35696379").unwrap();
    Arc::new(Keyring::of(&[key], Entropy::seeded(1)).unwrap())
}

/// The version of the program that wrote the database.
const WRITTEN_BY: i64 = 2;

/// The database as a program of schema version 2 left it when it was killed under load.
fn written_before(path: &Path) {
    brought_to(path, WRITTEN_BY);
}

/// The same, brought to a later version since.
fn brought_to(path: &Path, version: i64) {
    let database = Connection::open(path).unwrap();
    database
        .pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    for (number, migration) in schema::MIGRATIONS.iter().filter(|(number, _)| *number <= version) {
        database.execute_batch(migration).unwrap();
        database.pragma_update(None, "user_version", number).unwrap();
        if *number == WRITTEN_BY {
            database
                .execute_batch(include_str!("fixtures/version_2.sql"))
                .unwrap();
        }
    }
}

fn open_store(path: &Path, keyring: Arc<Keyring>) -> Result<Sqlite, OpenError> {
    Sqlite::open(path, keyring, &AnyFile, Arc::new(()))
}

fn sessions() -> Vec<Session> {
    serde_json::from_str(include_str!("fixtures/version_2.json")).unwrap()
}

fn rules() -> CheckRules {
    CheckRules {
        terms: Terms {
            now: NOW,
            only_once: true,
            max_failed_attempts: 5,
            bound: None,
        },
        failed_checks: None,
        guard: None,
    }
}

#[tokio::test]
async fn every_session_of_before_stands_where_it_stood() {
    for version in WRITTEN_BY..=schema::NEWEST {
        every_session_stands_where_it_stood_at(version).await;
    }
}

async fn every_session_stands_where_it_stood_at(version: i64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phone-verify.db");
    brought_to(&path, version);
    let keyring = keyring();
    let store = open_store(&path, Arc::clone(&keyring)).unwrap();
    let mut not_sent = 0;
    let mut with_code = Vec::new();
    for session in sessions() {
        let number = PhoneNumber::parse(&session.number, None).unwrap();
        let (Some(token), Some(code)) = (session.token, session.code) else {
            let records = store.records_of(&number, rules()).await.unwrap();
            let [found] = &*records.verifications else {
                panic!("one registration of {number:?}")
            };
            let message = &found.verification.messages[0];
            if session.state == "not_sent" {
                assert_eq!(message.delivery, Delivery::Failed(FailureClass::NoCredit));
                assert_eq!(found.verification.status, Status::NotSent);
                not_sent += 1;
            } else {
                assert_eq!(message.delivery, Delivery::Pending);
            }
            continue;
        };
        let token = SessionToken::from_client(token);
        let id = keyring.open_session_token(&token, &number).unwrap();
        let found = store.find_verification(id, rules(), Arc::default()).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.verification.status.as_str(), session.state);
        let message = found.verification.messages.last().unwrap();
        assert_eq!(message.delivery, Delivery::Sent);
        assert_eq!(message.backend.as_deref(), Some("nexmo.NexmoBackend"));
        assert!(message.provider_id.as_deref().unwrap().starts_with("M-13"));
        with_code.push((id, SecurityCode::new(&code).unwrap(), session.state));
    }
    assert_eq!(not_sent, 4);
    for (id, code, state) in with_code {
        let expected = match state.as_str() {
            "pending" => Verdict::Valid,
            "verified" => Verdict::AlreadyVerified,
            _ => Verdict::TooManyAttempts,
        };
        let verdict = store.check_code(id, code, rules(), None).await.unwrap();
        // Two sessions of one number share a code, which is good once.
        let is_second = expected == Verdict::Valid && verdict == Verdict::AlreadyVerified;
        assert!(verdict == expected || is_second, "{verdict:?}");
    }
}

#[tokio::test]
async fn what_was_under_way_is_sent_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phone-verify.db");
    written_before(&path);
    let store = open_store(&path, keyring()).unwrap();
    let taken = store.take_over_messages(NOW, 100).await.unwrap();
    let mut numbers: Vec<_> = taken.iter().map(|message| message.number.e164()).collect();
    numbers.sort_unstable();
    let under_way = sessions()
        .into_iter()
        .filter(|session| session.state == "under_way");
    assert_eq!(
        numbers,
        under_way.map(|session| session.number).collect::<Vec<_>>()
    );
    assert!(
        taken
            .iter()
            .all(|message| message.text.starts_with("Your code for Acme is "))
    );
}

#[test]
fn a_database_that_a_process_of_before_has_in_use_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phone-verify.db");
    written_before(&path);
    let keyring = keyring();
    let before = Processes::of(&path).enter(&keyring).unwrap();
    for refused in [
        open_store(&path, Arc::clone(&keyring)).map(drop),
        open::look(&path, &keyring, &AnyFile),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, OpenError::InUseByEarlier { .. }), "{refused}");
        assert!(refused.may_pass());
    }
    drop(before);
    open::look(&path, &keyring, &AnyFile).unwrap();
    open_store(&path, keyring).unwrap();
}

#[tokio::test]
async fn old_records_of_before_leave_in_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phone-verify.db");
    written_before(&path);
    let store = open_store(&path, keyring()).unwrap();
    let later = NOW.plus(Duration::from_secs(60));
    assert_eq!(store.delete_before(later, false).await.unwrap(), 44);
    let left: u32 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM message", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}
