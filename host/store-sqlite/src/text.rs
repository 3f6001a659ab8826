//! Texts that are no verifications: a row that says whose it is, and one among the messages that says what became of it.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, guard, message, millis, presence::ProcessId, request, time, writer::Transaction};
use crate::{
    model::MessageId,
    rules::admission::Admission,
    store::{
        FoundText, Keyring, NewText, StoreError, TextBegun,
        keyring::Digest,
        text::{TEXT_LIFETIME, in_place_of_verification},
    },
};

/// A new text with all digests and seals made.
pub(super) struct Row {
    new: NewText,
    number: Digest,
    sealed: Vec<u8>,
    request: Option<request::Row>,
    holder: ProcessId,
}

impl Row {
    pub(super) fn prepare(new: NewText, keyring: &Keyring, holder: ProcessId) -> Result<Self, StoreError> {
        let request = new.request.as_ref();
        Ok(Self {
            number: keyring.number_digest(&new.message.number),
            sealed: message::seal(&new.message, keyring)?,
            request: request.map(|request| request::Row::prepare(request, keyring)),
            holder,
            new,
        })
    }
}

pub(super) fn begin(transaction: &Transaction<'_>, row: &Row) -> Result<TextBegun, Fault> {
    let NewText { message, now, .. } = &row.new;
    if let Some(request) = &row.request
        && let Some(earlier) = request::find(transaction, request, *now)?
    {
        return Ok(TextBegun::Before(MessageId(earlier.verification.0)));
    }
    match guard::admit(transaction, message, &row.number, *now)? {
        // The guard judges by codes that come back, of which a text has none: it has no reason.
        Admission::Admitted(_) | Admission::Blocked(..) => {}
        Admission::LimitReached(reached) => return Ok(TextBegun::LimitReached(reached)),
    }
    transaction
        .prepare_cached("INSERT INTO text (id, number, created_at, send_until) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            message.id.0,
            row.number,
            millis(*now),
            millis(now.plus(TEXT_LIFETIME))
        ])?;
    if let Some(request) = &row.request {
        let effect = request::Effect::default();
        request::insert(transaction, request, message.verification, effect, *now)?;
    }
    message::insert(transaction, message, &row.sealed, &row.holder)?;
    Ok(TextBegun::Yes)
}

pub(super) fn find(connection: &Connection, id: MessageId) -> Result<Option<FoundText>, Fault> {
    let created_at = connection
        .prepare_cached("SELECT created_at FROM text WHERE id = ?1")?
        .query_row([id.0], |row| row.get(0).map(time))
        .optional()?;
    let Some(created_at) = created_at else {
        return Ok(None);
    };
    let messages = message::of(connection, in_place_of_verification(id))?;
    let message = messages.into_iter().next();
    Ok(message.map(|message| FoundText { created_at, message }))
}
