//! What is asked of a verification by its id: how it stands, to send it again, to end it.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Fault, audit, counter,
    event::{self, Happening},
    guard, message,
    presence::ProcessId,
    request, time, verification,
    writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{Bound, EventKind, Limit, SecurityCode, Status, Verification, VerificationId},
    rules::{
        admission::Admission,
        attempt::State,
        lifecycle::{Ended, Standing},
        settlement,
    },
    store::{
        AuditEntry, CheckRules, Found, Keyring, MessageBegun, OutboxMessage, ReplacedCode, RequestKey,
        StoreError, keyring::Digest,
    },
};

pub(super) fn find(
    connection: &Connection,
    keyring: &Keyring,
    id: VerificationId,
    rules: CheckRules,
    of_number: &[Limit],
) -> Result<Option<Found>, Fault> {
    let mut found = connection
        .prepare_cached(&format!(
            "SELECT {STANDING}, v.number, v.key_id, v.created_at, v.client_ref, v.owner, c.id, c.code_sealed, v.code_of IS NOT NULL AND v.code IS NOT NULL AS is_beside
             FROM {SESSION_AND_CODE}"
        ))?
        .query_row([id.0], |row| read(row, keyring, id, rules))
        .optional()?;
    if let Some(found) = &mut found {
        found.verification.messages = message::of(connection, id)?;
    }
    if let Some(Found {
        verification:
            verification @ Verification {
                status: Status::Pending,
                ..
            },
        code: Some((_, number)),
        ..
    }) = &mut found
    {
        let key = keyring.counter_keys(number, None).number();
        verification.resend_at = Some(counter::room_at(connection, key, of_number, rules.terms.now)?);
    }
    Ok(found)
}

/// A session and the one whose code it shares, or itself.
const SESSION_AND_CODE: &str =
    "verification v LEFT JOIN verification c ON c.id = coalesce(v.code_of, v.id) WHERE v.id = ?1";

/// What [`standing`] reads.
const STANDING: &str =
    "v.attempts_left, v.bound, v.purpose, v.verified_at, v.ended, v.expires_at, v.code_of IS NOT NULL AS has_joined,
    c.expires_at AS code_expires_at, c.code_used_at, c.failures, c.code_sealed IS NOT NULL AS has_code";

fn standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    let expires_at = time(row.get("expires_at")?);
    let ended = match row.get::<_, Option<String>>("ended")?.as_deref() {
        Some("not_sent") => Some(Ended::NotSent),
        Some(_) => Some(Ended::Cancelled),
        None => None,
    };
    // The session whose code it shares may be deleted.
    Ok(Standing {
        state: State {
            attempts_left: row.get("attempts_left")?,
            is_over: ended.is_some(),
            verified_at: row.get::<_, Option<i64>>("verified_at")?.map(time),
            has_joined: row.get("has_joined")?,
            expires_at: row
                .get::<_, Option<i64>>("code_expires_at")?
                .map_or(expires_at, time),
            code_used_at: row.get::<_, Option<i64>>("code_used_at")?.map(time),
            failures: row.get::<_, Option<_>>("failures")?.unwrap_or(0),
            bound: row.get::<_, Option<_>>("bound")?.map(Bound),
        },
        ended,
        expires_at,
        has_code: row.get("has_code")?,
    })
}

/// `None`: there is no such session.
fn find_standing(connection: &Connection, id: VerificationId) -> Result<Option<Standing>, Fault> {
    let found = connection
        .prepare_cached(&format!("SELECT {STANDING} FROM {SESSION_AND_CODE}"))?
        .query_row([id.0], standing)
        .optional()?;
    Ok(found)
}

fn read(row: &Row<'_>, keyring: &Keyring, id: VerificationId, rules: CheckRules) -> rusqlite::Result<Found> {
    let stored = standing(row)?;
    let first = row.get::<_, Option<[u8; 16]>>("id")?.map(VerificationId);
    let sealed: Option<Vec<u8>> = row.get("code_sealed")?;
    let sealed = sealed.filter(|_| stored.is_open(rules.terms.now));
    let code = first
        .zip(sealed)
        .and_then(|(first, sealed)| verification::open_code(keyring, &sealed, first));
    // A code that cannot be opened is none.
    let standing = Standing {
        has_code: code.is_some(),
        ..stored
    };
    let (status, attempts_remaining) = standing.status(rules.terms);
    let client_ref: Option<Vec<u8>> = row.get("client_ref")?;
    Ok(Found {
        verification: Verification {
            id,
            status,
            created_at: time(row.get("created_at")?),
            expires_at: standing.expires_at,
            verified_at: standing.state.verified_at,
            resend_at: None,
            attempts_remaining,
            purpose: row.get("purpose")?,
            messages: Vec::new(),
        },
        code,
        is_beside: row.get("is_beside")?,
        number_digest: row.get("number")?,
        key_id: row.get("key_id")?,
        bound: standing.state.bound,
        owner: row.get::<_, Option<String>>("owner")?.map(Into::into),
        client_ref: client_ref
            .and_then(|sealed| keyring.open_sealed(&sealed, &id.0))
            .map(|text| text.to_string()),
    })
}

/// Ends a session. Its place stays taken and the number's code stays pending: else whoever registers and cancels
/// would get fresh attempts each time.
/// Returns whether there was one to end; if so, that is in the audit log.
pub(super) fn cancel(
    connection: &Transaction<'_>,
    id: VerificationId,
    entry: &AuditEntry,
    request: Option<&request::Row>,
) -> Result<bool, Fault> {
    // What this request did before is not undone, and another one under its key is refused.
    if let Some(request) = request
        && request::find(connection, request, entry.at)?.is_some()
    {
        return Ok(false);
    }
    if !find_standing(connection, id)?.is_some_and(|found| found.may_cancel()) {
        return Ok(false);
    }
    connection
        .prepare_cached("UPDATE verification SET ended = 'cancelled', attempts_left = 0 WHERE id = ?1")?
        .execute([id.0])?;
    audit::record(connection, entry)?;
    let happening = Happening {
        kind: EventKind::VerificationCancelled,
        at: entry.at,
        subject: id,
        message: None,
        number: None,
        details: &event::no_details,
    };
    event::record(connection, &happening)?;
    if let Some(request) = request {
        request::insert(connection, request, id, request::Effect::default(), entry.at)?;
    }
    Ok(true)
}

/// A further message with all seals made.
pub(super) struct NewMessage {
    message: OutboxMessage,
    code: Option<NewCode>,
    number: Digest,
    sealed: Vec<u8>,
    request: Option<request::Row>,
    holder: ProcessId,
}

impl NewMessage {
    pub(super) fn prepare(
        message: OutboxMessage,
        code: Option<SecurityCode>,
        request: Option<&RequestKey>,
        keyring: &Keyring,
        holder: ProcessId,
    ) -> Result<Self, StoreError> {
        let verification = message.verification;
        let replace = |code: SecurityCode| {
            let sealed = verification::seal_code(keyring, &code, &message.number, verification)?;
            Ok::<_, StoreError>(NewCode { code, sealed })
        };
        let code = code.map(replace).transpose()?;
        let sealed = message::seal(&message, keyring)?;
        let number = keyring.number_digest(&message.number);
        Ok(Self {
            message,
            code,
            number,
            sealed,
            request: request.map(|request| request::Row::prepare(request, keyring)),
            holder,
        })
    }
}

/// A code that takes the place of a verification's own.
struct NewCode {
    code: SecurityCode,
    /// With the number; of a verification that joined no other.
    sealed: Vec<u8>,
}

impl NewCode {
    fn put(
        &self,
        connection: &Connection,
        keyring: &Keyring,
        id: VerificationId,
    ) -> Result<ReplacedCode, Fault> {
        let (key_id, code, sealed) = connection
            .prepare_cached("SELECT key_id, code, code_sealed FROM verification WHERE id = ?1")?
            .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        // The row's key is also that of its number, so it stays.
        let by = keyring
            .code_digest_under(key_id, id, &self.code)
            .ok_or_else(|| Fault::corrupt("a pending verification cannot be opened with the keys given"))?;
        connection
            .prepare_cached(
                "UPDATE verification SET code = ?2, code_sealed = iif(code_of IS NULL, ?3, NULL) WHERE id = ?1",
            )?
            .execute(params![id.0, by, self.sealed])?;
        Ok(ReplacedCode { by, code, sealed })
    }
}

/// Puts a code back that gave way to one that nobody was sent, unless it was used or gave way to yet another.
pub(super) fn put_back(
    connection: &Connection,
    id: VerificationId,
    replaced: &ReplacedCode,
) -> Result<(), Fault> {
    let current = connection
        .prepare_cached("SELECT code FROM verification WHERE id = ?1")?
        .query_row([id.0], |row| row.get::<_, Option<Vec<u8>>>(0))
        .optional()?;
    if settlement::comes_back(&replaced.by, current.flatten().as_deref()) {
        // What is forgotten of a code, for it came back or expired, stays so.
        connection
            .prepare_cached(
                "UPDATE verification SET code = ?2, code_sealed = iif(code_sealed IS NULL, NULL, ?3) WHERE id = ?1",
            )?
            .execute(params![id.0, replaced.code, replaced.sealed])?;
    }
    Ok(())
}

/// Begins a further message, unless its code can no longer be used or a limit is reached.
pub(super) fn begin_message(
    transaction: &Transaction<'_>,
    keyring: &Keyring,
    new: &NewMessage,
    now: UnixMillis,
) -> Result<MessageBegun, Fault> {
    if let Some(request) = &new.request
        && request::find(transaction, request, now)?.is_some()
    {
        return Ok(MessageBegun::Before);
    }
    let found = find_standing(transaction, new.message.verification)?;
    if !found.is_some_and(|found| found.may_resend(now)) {
        return Ok(MessageBegun::CodeIsGone);
    }
    match guard::admit(transaction, &new.message, &new.number, now)? {
        Admission::Admitted(_) => {}
        Admission::LimitReached(reached) => return Ok(MessageBegun::LimitReached(reached)),
        Admission::Blocked(blocked, _) => return Ok(MessageBegun::Blocked(blocked)),
    }
    verification::count_resend(transaction, new.message.verification, 1)?;
    let replaced = match &new.code {
        Some(code) => Some(Arc::new(code.put(
            transaction,
            keyring,
            new.message.verification,
        )?)),
        None => None,
    };
    if let Some(request) = &new.request {
        let effect = request::Effect {
            message: Some(new.message.id),
            ..request::Effect::default()
        };
        request::insert(transaction, request, new.message.verification, effect, now)?;
    }
    message::insert(transaction, &new.message, &new.sealed, &new.holder)?;
    Ok(MessageBegun::Yes(replaced))
}
