//! Events, each written in the transaction that makes it happen.
//!
//! Invariant: where they are not recorded, nothing is read and written for them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{Fault, millis, time, writer::Transaction};
use crate::{
    clock::UnixMillis,
    model::{Event, EventDetails, EventKind, FailureClass, MessageId, PhoneNumber, VerificationId},
    store::{Keyring, WhichEvents},
};

/// Rows that are deleted in one step.
const STEP: u32 = 1000;

/// Whether events are recorded, and what they are sealed with.
#[derive(Clone)]
pub(super) struct Recorder {
    is_on: Arc<AtomicBool>,
    keyring: Arc<Keyring>,
}

impl Recorder {
    pub(super) fn new(keyring: Arc<Keyring>) -> Self {
        Self {
            is_on: Arc::default(),
            keyring,
        }
    }

    pub(super) fn turn(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }
}

/// [`EventDetails`], as they are stored.
#[derive(Serialize, Deserialize)]
struct Details {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// Something that happens.
pub(super) struct Happening<'a> {
    pub(super) kind: EventKind,
    pub(super) at: UnixMillis,
    /// To this verification, or to a text that has its id in that place.
    pub(super) subject: VerificationId,
    pub(super) message: Option<MessageId>,
    /// `None`: it is that of the events before.
    pub(super) number: Option<&'a PhoneNumber>,
    /// Made only if events are recorded.
    pub(super) details: &'a dyn Fn() -> EventDetails,
}

/// For what has none.
pub(super) fn no_details() -> EventDetails {
    EventDetails::default()
}

/// Records it, if events are recorded.
pub(super) fn record(transaction: &Transaction<'_>, happening: &Happening<'_>) -> Result<(), Fault> {
    let recorder = &transaction.events;
    if !recorder.is_on() {
        return Ok(());
    }
    let subject = happening.subject;
    let number = match happening.number {
        Some(number) => Some(
            recorder
                .keyring
                .seal(number.e164(), &subject.0)
                .map_err(|error| Fault::from(crate::store::StoreError::from(error)))?,
        ),
        None => number_of(transaction, subject)?,
    };
    let is_text: bool = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM text WHERE id = ?1)")?
        .query_row([subject.0], |row| row.get(0))?;
    let EventDetails { backend, class, code } = (happening.details)();
    let details = Details {
        backend,
        class: class.map(|class| class.as_str().to_owned()),
        code,
    };
    transaction
        .prepare_cached(
            "INSERT INTO event (subject, message, is_text, kind, at, number, details) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            subject.0,
            happening.message.map(|message| message.0),
            is_text,
            happening.kind.as_str(),
            millis(happening.at),
            number,
            serde_json::to_string(&details).expect("texts can be written"),
        ])?;
    Ok(())
}

fn number_of(connection: &Connection, subject: VerificationId) -> Result<Option<Vec<u8>>, Fault> {
    let number = connection
        .prepare_cached("SELECT number FROM event WHERE subject = ?1 AND number IS NOT NULL LIMIT 1")?
        .query_row([subject.0], |row| row.get(0))
        .optional()?;
    Ok(number)
}

pub(super) fn read(
    connection: &Connection,
    keyring: &Keyring,
    which: WhichEvents,
) -> Result<Vec<Event>, Fault> {
    let (condition, value, limit) = match which {
        WhichEvents::Latest(limit) => ("id > ?1 ORDER BY id DESC", 0, limit),
        WhichEvents::After { place, limit } => ("id > ?1 ORDER BY id", place, limit),
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, subject, message, is_text, kind, at, number, details FROM event WHERE {condition} LIMIT ?2"
    ))?;
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![value, limit])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        // A later version may have written kinds that this one does not know.
        events.extend(event(row, keyring)?);
    }
    if matches!(which, WhichEvents::Latest(_)) {
        events.reverse();
    }
    Ok(events)
}

fn event(row: &Row<'_>, keyring: &Keyring) -> Result<Option<Event>, Fault> {
    let Some(kind) = EventKind::parse(&row.get::<_, String>("kind")?) else {
        return Ok(None);
    };
    let subject = VerificationId(row.get("subject")?);
    let is_text: bool = row.get("is_text")?;
    let number: Option<Vec<u8>> = row.get("number")?;
    let number = number.and_then(|sealed| keyring.open_sealed(&sealed, &subject.0));
    let details: Option<String> = row.get("details")?;
    let details: Details = serde_json::from_str(details.as_deref().unwrap_or("{}"))
        .map_err(|_| Fault::corrupt("an event that cannot be read"))?;
    Ok(Some(Event {
        place: u64::try_from(row.get::<_, i64>("id")?).unwrap_or(0),
        kind,
        at: time(row.get("at")?),
        verification: (!is_text).then_some(subject),
        message: row.get::<_, Option<_>>("message")?.map(MessageId),
        number: number.and_then(|number| PhoneNumber::stored(&number)),
        details: EventDetails {
            backend: details.backend,
            class: details.class.as_deref().and_then(FailureClass::parse),
            code: details.code,
        },
    }))
}

/// One step. Events are in the order of their time, but for a clock that was set back between two processes.
pub(super) fn delete_before(connection: &Connection, before: UnixMillis) -> Result<u64, Fault> {
    let deleted = connection
        .prepare_cached(
            "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?2) AND at < ?1",
        )?
        .execute(params![millis(before), STEP])?;
    Ok(deleted as u64)
}

/// Those of a verification or a text.
pub(super) fn forget(connection: &Connection, subject: [u8; 16]) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM event WHERE subject = ?1")?
        .execute([subject])?;
    Ok(())
}
