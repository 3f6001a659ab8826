//! Requests that a caller may make again without having them done again, under a key that it chose.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis, time};
use crate::{
    clock::UnixMillis,
    model::VerificationId,
    store::{Answer, Begun, Keyring, RequestKey, keyring::Digest},
};

/// How long a request is known again.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// A request with its digests made.
pub(super) struct Row {
    key: Digest,
    body: Digest,
}

impl Row {
    pub(super) fn prepare(request: &RequestKey, keyring: &Keyring) -> Self {
        Self {
            key: keyring.request_digest(request.key.as_bytes()),
            body: keyring.request_digest(&request.body),
        }
    }
}

/// What came of the request when it was made before.
pub(super) fn find(
    connection: &Connection,
    keyring: &Keyring,
    row: &Row,
    now: UnixMillis,
) -> Result<Option<Begun>, Fault> {
    let found = connection
        .prepare_cached("SELECT body, verification, created_at, answer FROM request WHERE key = ?1")?
        .query_row([row.key], |found| {
            Ok((
                found.get::<_, Digest>(0)?,
                VerificationId(found.get(1)?),
                time(found.get(2)?),
                found.get::<_, Option<Vec<u8>>>(3)?,
            ))
        })
        .optional()?;
    Ok(found
        .filter(|(_, _, created_at, _)| created_at.plus(MEMORY) > now)
        .map(|(body, id, _, answer)| {
            if body == row.body {
                let answer = answer.and_then(|sealed| keyring.open_sealed(&sealed, &id.0));
                let answer = answer.map(Answer);
                Begun::Before { id, answer }
            } else {
                Begun::KeyReused
            }
        }))
}

/// Remembers a request, in the place of one that is too old to be known again.
pub(super) fn insert(
    connection: &Connection,
    row: &Row,
    id: VerificationId,
    now: UnixMillis,
) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO request (key, body, verification, created_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![row.key, row.body, id.0, millis(now)])?;
    Ok(())
}

/// Keeps what is answered, unless that was done before.
pub(super) fn keep_answer(connection: &Connection, id: VerificationId, sealed: &[u8]) -> Result<(), Fault> {
    connection
        .prepare_cached("UPDATE request SET answer = ?2 WHERE verification = ?1 AND answer IS NULL")?
        .execute(params![id.0, sealed])?;
    Ok(())
}

/// Nothing came of it, so it may be made again.
pub(super) fn forget(connection: &Connection, id: VerificationId) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM request WHERE verification = ?1")?
        .execute([id.0])?;
    Ok(())
}
