//! Requests that a caller may make again without having them done again, under a key that it chose.
//!
//! Invariant: a request is remembered in the transaction that does what it asks for. So whatever is done under a key is
//! done once, also if the process dies before it has answered.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis, time};
use crate::{
    clock::UnixMillis,
    model::{MessageId, Verdict, VerificationId},
    rules::request::{Recognised, Remembered, recognise},
    store::{Answer, Keyring, RequestKey, Seen, StoreError, keyring::Digest},
};

/// A request with its digests made.
pub(super) struct Row {
    key: Digest,
    body: Digest,
}

/// A request that did something before.
pub(super) struct Earlier {
    /// What it was about.
    pub(super) verification: VerificationId,
    /// What it was told of a code.
    pub(super) verdict: Option<Verdict>,
    answer: Option<Vec<u8>>,
}

impl Row {
    pub(super) fn prepare(request: &RequestKey, keyring: &Keyring) -> Self {
        Self {
            key: keyring.request_digest(request.key.as_bytes()),
            body: keyring.request_digest(&request.body),
        }
    }
}

/// The request, if it did something before. Another one under the same key is an error.
pub(super) fn find(connection: &Connection, row: &Row, now: UnixMillis) -> Result<Option<Earlier>, Fault> {
    let found = connection
        .prepare_cached("SELECT body, created_at, verification, verdict, answer FROM request WHERE key = ?1")?
        .query_row([row.key], |found| {
            let verdict: Option<String> = found.get(3)?;
            Ok((
                found.get::<_, Digest>(0)?,
                time(found.get(1)?),
                Earlier {
                    verification: VerificationId(found.get(2)?),
                    verdict: verdict.as_deref().and_then(Verdict::parse),
                    answer: found.get(4)?,
                },
            ))
        })
        .optional()?;
    let remembered = found.as_ref().map(|(body, made_at, _)| Remembered {
        made_at: *made_at,
        is_the_same: *body == row.body,
    });
    match recognise(remembered, now) {
        Recognised::New => Ok(None),
        Recognised::Again => Ok(found.map(|(_, _, earlier)| earlier)),
        Recognised::Another => Err(StoreError::KeyReused.into()),
    }
}

/// Whether a request did something before, and what was answered.
pub(super) fn seen(
    connection: &Connection,
    keyring: &Keyring,
    row: &Row,
    now: UnixMillis,
) -> Result<Seen, Fault> {
    let Some(earlier) = find(connection, row, now)? else {
        return Ok(Seen::Never);
    };
    let answer = earlier
        .answer
        .and_then(|sealed| keyring.open_sealed(&sealed, &row.key));
    Ok(answer.map_or(Seen::Unanswered, |answer| Seen::Answered(Answer(answer))))
}

/// What a request did.
#[derive(Clone, Copy, Default)]
pub(super) struct Effect {
    pub(super) message: Option<MessageId>,
    pub(super) verdict: Option<Verdict>,
}

/// Remembers a request, in the place of one that is too old to be known again.
pub(super) fn insert(
    connection: &Connection,
    row: &Row,
    verification: VerificationId,
    effect: Effect,
    now: UnixMillis,
) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO request (key, body, verification, message, verdict, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            row.key,
            row.body,
            verification.0,
            effect.message.map(|id| id.0),
            effect.verdict.map(Verdict::as_str),
            millis(now)
        ])?;
    Ok(())
}

/// Keeps what is answered, unless that was done before. Of a request that did nothing, nothing is kept.
pub(super) fn keep_answer(connection: &Connection, row: &Row, sealed: &[u8]) -> Result<(), Fault> {
    connection
        .prepare_cached("UPDATE request SET answer = ?3 WHERE key = ?1 AND body = ?2 AND answer IS NULL")?
        .execute(params![row.key, row.body, sealed])?;
    Ok(())
}

impl Row {
    /// Seals an answer to it.
    pub(super) fn seal(&self, answer: &Answer, keyring: &Keyring) -> Result<Vec<u8>, StoreError> {
        Ok(keyring.seal(&answer.0, &self.key)?)
    }
}

/// Nothing came of a message, so the request that asked for it may be made again.
pub(super) fn forget(
    connection: &Connection,
    verification: VerificationId,
    message: MessageId,
) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "DELETE FROM request
             WHERE verification = ?1 AND verdict IS NULL AND coalesce(message, verification) = ?2",
        )?
        .execute(params![verification.0, message.0])?;
    Ok(())
}
