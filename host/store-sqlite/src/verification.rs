//! Begins verifications, and ends those whose message was not sent.
//!
//! Invariant: a number has one code that is good for a purpose, shared by all that register it for that meanwhile.

use rusqlite::{Connection, OptionalExtension, params};
use zeroize::Zeroizing;

use super::{
    Fault,
    event::{self, Happening},
    guard, message, millis,
    presence::ProcessId,
    request, time,
    writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{Bound, EventKind, PhoneNumber, SecurityCode, VerificationId},
    rules::{
        admission::Admission,
        limits, number,
        registration::{self, Pending, Refusal, Terms},
        settlement::{self, SharedCode},
    },
    store::{Begun, Keyring, NewCode, NewVerification, PendingCode, StoreError, keyring::Digest},
};

/// A number digest that no number has.
pub(super) const PROBE: &[u8] = b"readiness probe";

/// A new verification with all digests and seals made: nothing slow is left for the writer.
pub(super) struct NewRow {
    new: NewVerification,
    numbers: Vec<Digest>,
    code: Option<Digest>,
    code_sealed: Option<Vec<u8>>,
    key_id: u32,
    expires_at: UnixMillis,
    message_sealed: Vec<u8>,
    client_ref: Option<Vec<u8>>,
    /// What it is found by.
    ref_digest: Option<[u8; 16]>,
    /// As the numbers are: the first one is under the current key.
    bounds: Vec<Option<Bound>>,
    request: Option<request::Row>,
    holder: ProcessId,
}

impl NewRow {
    pub(super) fn prepare(
        new: NewVerification,
        keyring: &Keyring,
        holder: ProcessId,
    ) -> Result<Self, StoreError> {
        // The row says once which key it is under.
        let keyring = &keyring.as_it_is();
        let digest = |code| Some(keyring.code_digest(new.id, code));
        let (code, code_sealed, expires_at) = match &new.code {
            NewCode::Fresh { code, lifetime } => (
                digest(code),
                Some(seal_code(keyring, code, &new.number, new.id)?),
                new.now.plus(*lifetime),
            ),
            NewCode::Shared(pending) => (None, None, pending.expires_at),
            NewCode::Beside { pending, code } => (digest(code), None, pending.expires_at),
        };
        Ok(Self {
            numbers: keyring.number_digests(&new.number),
            code,
            code_sealed,
            key_id: keyring.current_key_id(),
            expires_at,
            message_sealed: message::seal(&new.message, keyring)?,
            client_ref: new
                .client_ref
                .as_deref()
                .map(|text| keyring.seal(text, &new.id.0))
                .transpose()?,
            ref_digest: new
                .client_ref
                .as_deref()
                .map(|text| keyring.client_ref_digest(text)),
            bounds: keyring.bounds(&new.purpose),
            request: new
                .request
                .as_ref()
                .map(|request| request::Row::prepare(request, keyring)),
            holder,
            new,
        })
    }
}

/// What a code is pending for, in a column that always says something.
fn pending_for(bound: Option<&Bound>) -> &[u8] {
    bound.map_or(&[], |bound| &bound.0[..])
}

/// The code and its number, sealed together, so that the code can be sent again.
pub(super) fn seal_code(
    keyring: &Keyring,
    code: &SecurityCode,
    number: &PhoneNumber,
    id: VerificationId,
) -> Result<Vec<u8>, StoreError> {
    let plain = Zeroizing::new([code.expose(), number.e164()].join("\n"));
    Ok(keyring.seal(&plain, &id.0)?)
}

pub(super) fn open_code(
    keyring: &Keyring,
    sealed: &[u8],
    id: VerificationId,
) -> Option<(SecurityCode, PhoneNumber)> {
    let plain = keyring.open_sealed(sealed, &id.0)?;
    let (code, number) = plain.split_once('\n')?;
    Some((SecurityCode::new(code)?, PhoneNumber::stored(number)?))
}

/// The code that is pending for a number, as it is stored.
struct Stored {
    pending: Pending,
    code_sealed: Vec<u8>,
    owner: Option<String>,
}

/// The code that is pending for the number and purpose. One that expired since the last sweep is forgotten.
fn pending(connection: &Connection, row: &NewRow) -> Result<Option<Stored>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT v.id, v.expires_at, v.code_sealed, v.failures, v.sessions, v.owner
         FROM pending p JOIN verification v ON v.id = p.verification
         WHERE p.number = ?1 AND p.bound = ?2 AND v.code_sealed IS NOT NULL",
    )?;
    for (number, bound) in row.numbers.iter().zip(&row.bounds) {
        let found = statement
            .query_row(params![number, pending_for(bound.as_ref())], |row| {
                Ok(Stored {
                    pending: Pending {
                        verification: VerificationId(row.get(0)?),
                        expires_at: time(row.get(1)?),
                        failures: row.get(3)?,
                        sessions: row.get(4)?,
                    },
                    code_sealed: row.get(2)?,
                    owner: row.get(5)?,
                })
            })
            .optional()?;
        match found {
            Some(found) if found.pending.expires_at >= row.new.now => return Ok(Some(found)),
            Some(Stored { pending: expired, .. }) => {
                connection
                    .prepare_cached("UPDATE verification SET code_sealed = NULL WHERE id = ?1")?
                    .execute([expired.verification.0])?;
            }
            None => {}
        }
    }
    Ok(None)
}

pub(super) fn begin(transaction: &Transaction<'_>, keyring: &Keyring, row: &NewRow) -> Result<Begun, Fault> {
    let new = &row.new;
    if let Some(request) = &row.request
        && let Some(earlier) = request::find(transaction, request, new.now)?
    {
        return Ok(Begun::Before(earlier.verification));
    }
    let stored = pending(transaction, row)?;
    let terms = Terms {
        max_failed_attempts: new.max_failed_attempts,
        max_sessions: new.max_sessions,
    };
    let made_with = new.code.pending().map(|pending| pending.verification);
    let decided = registration::decide(stored.as_ref().map(|stored| &stored.pending), made_with, terms);
    let session = match (decided, stored) {
        (Ok(session), _) => session,
        (Err(Refusal::CodeIsPending), Some(stored)) => return give(transaction, keyring, &stored),
        (Err(refusal), _) => return refuse(transaction, new, refusal),
    };
    let code_of = session.joins.map(|first| first.0);
    match guard::admit(transaction, &new.message, &row.numbers[0], new.now)? {
        Admission::Admitted(_) => {}
        Admission::LimitReached(reached) => return Ok(Begun::LimitReached(reached)),
        Admission::Blocked(blocked, _) => return Ok(Begun::Blocked(blocked)),
    }
    transaction
        .prepare_cached(
            "INSERT INTO verification
                 (id, number, code_of, key_id, code, code_sealed, attempts_left, created_at, expires_at, client_ref,
                  guarded, purpose, bound, owner, ref_digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            new.id.0,
            row.numbers[0],
            code_of,
            row.key_id,
            row.code,
            row.code_sealed,
            session.attempts,
            millis(new.now),
            millis(row.expires_at),
            row.client_ref,
            new.message.guard.is_some(),
            new.purpose.name,
            row.bounds[0].map(|bound| bound.0),
            new.message.owner.as_deref(),
            row.ref_digest,
        ])?;
    if let Some(request) = &row.request {
        let effect = request::Effect::default();
        request::insert(transaction, request, new.id, effect, new.now)?;
    }
    if let Some(first) = code_of {
        transaction
            .prepare_cached("UPDATE verification SET sessions = sessions + 1 WHERE id = ?1")?
            .execute([first])?;
    } else {
        // Where neither a limit nor the guard looks at the number, nothing is remembered of it.
        if let Some(key) = new.message.charge().number() {
            number::remember(
                transaction,
                key,
                new.id.0,
                new.now,
                new.now.plus(new.remembered_for),
            )?;
        }
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO pending (number, bound, verification, expires_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                row.numbers[0],
                pending_for(row.bounds[0].as_ref()),
                new.id.0,
                millis(row.expires_at)
            ])?;
    }
    let happening = Happening {
        kind: EventKind::VerificationStarted,
        at: new.now,
        subject: new.id,
        message: None,
        number: Some(&new.number),
        details: &event::no_details,
    };
    event::record(transaction, &happening)?;
    message::insert(transaction, &new.message, &row.message_sealed, &row.holder)?;
    Ok(Begun::Yes {
        expires_at: row.expires_at,
    })
}

/// Answers with the code that is pending, for the message to be made with it.
fn give(connection: &Connection, keyring: &Keyring, stored: &Stored) -> Result<Begun, Fault> {
    let Pending {
        verification,
        expires_at,
        ..
    } = stored.pending;
    let (code, _) = open_code(keyring, &stored.code_sealed, verification)
        .ok_or_else(|| Fault::corrupt("a pending code cannot be opened with the keys given"))?;
    Ok(Begun::CodeIsPending(PendingCode {
        verification,
        code,
        expires_at,
        owner: stored.owner.as_deref().map(Into::into),
        sent_by: message::of(connection, verification)?
            .last()
            .and_then(|message| message.sent_by())
            .map(Into::into),
    }))
}

/// Of all that keeps the number waiting, the answer is what lasts longest.
fn refuse(transaction: &Transaction<'_>, new: &NewVerification, refusal: Refusal) -> Result<Begun, Fault> {
    let (until, refused) = match refusal {
        Refusal::AttemptsUsedUp { until } => (until, Begun::AttemptsUsedUp { until }),
        Refusal::TooManySessions { until } => (until, Begun::TooManySessions { until }),
        Refusal::CodeIsGone | Refusal::CodeIsPending => return Ok(Begun::CodeIsGone),
    };
    let limit = limits::refusal(transaction, new.message.charge(), new.now)?;
    let limit = limit.filter(|limit| limit.until > until);
    Ok(limit.map_or(refused, Begun::LimitReached))
}

/// Ends a session whose message certainly was not sent: nobody was given its token. Its place is free, and
/// when nobody else has got the code, the next registration makes its own.
pub(super) fn give_up(connection: &Connection, id: VerificationId) -> Result<(), Fault> {
    let found = connection
        .prepare_cached(
            "SELECT first.id, first.number, first.sessions, first.code_sealed IS NOT NULL FROM verification v
             LEFT JOIN verification first ON first.id = coalesce(v.code_of, v.id) WHERE v.id = ?1",
        )?
        .query_row([id.0], |row| {
            // It may be deleted.
            let Some(first) = row.get::<_, Option<[u8; 16]>>(0)? else {
                return Ok(None);
            };
            let code = SharedCode {
                sessions: row.get(2)?,
                is_pending: row.get(3)?,
            };
            Ok(Some((first, row.get::<_, Vec<u8>>(1)?, code)))
        })
        .optional()?;
    connection
        .prepare_cached(
            "UPDATE verification SET attempts_left = 0, code_of = NULL, ended = coalesce(ended, 'not_sent') WHERE id = ?1",
        )?
        .execute([id.0])?;
    let Some((first, number, code)) = found.flatten() else {
        return Ok(());
    };
    let left = settlement::give_up(code);
    connection
        .prepare_cached(
            "UPDATE verification SET sessions = ?2, code_sealed = iif(?3, code_sealed, NULL) WHERE id = ?1",
        )?
        .execute(params![first, left.sessions, left.is_pending])?;
    if !left.is_pending {
        connection
            .prepare_cached("DELETE FROM pending WHERE number = ?1 AND verification = ?2")?
            .execute(params![number, first])?;
    }
    Ok(())
}

/// Counts a further message with a verification's code, or takes back one that was not sent.
pub(super) fn count_resend(connection: &Connection, id: VerificationId, by: i32) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "UPDATE verification SET resends = max(resends + ?2, 0)
             WHERE id = (SELECT coalesce(code_of, id) FROM verification WHERE id = ?1)",
        )?
        .execute(params![id.0, by])?;
    Ok(())
}
