//! Begins verifications and judges codes. The rules about what is counted when are here, because they hold
//! only inside a transaction.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use zeroize::Zeroizing;

use super::{Fault, millis, outbox, request, time};
use crate::{
    clock::UnixMillis,
    model::{PhoneNumber, SecurityCode, Verdict, VerificationId, verification::Standing},
    store::{Begun, CheckRules, Keyring, NewCode, NewVerification, PendingCode, StoreError, keyring::Digest},
};

/// What a session that joined a pending code may fail whatever the others failed.
const ATTEMPTS_OF_A_LATER_SESSION: u32 = 1;
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
    request: Option<request::Row>,
}

impl NewRow {
    pub(super) fn prepare(new: NewVerification, keyring: &Keyring) -> Result<Self, StoreError> {
        let (code, code_sealed, expires_at) = match &new.code {
            NewCode::Fresh { code, lifetime } => (
                Some(keyring.code_digest(new.id, code)),
                Some(seal_code(keyring, code, &new.number, new.id)?),
                new.now.plus(*lifetime),
            ),
            NewCode::Shared(pending) => (None, None, pending.expires_at),
        };
        Ok(Self {
            numbers: keyring.number_digests(&new.number),
            code,
            code_sealed,
            key_id: keyring.current_key_id(),
            expires_at,
            message_sealed: outbox::seal(&new.message, keyring)?,
            client_ref: new
                .client_ref
                .as_deref()
                .map(|text| keyring.seal(text, &new.id.0))
                .transpose()?,
            request: new
                .request
                .as_ref()
                .map(|request| request::Row::prepare(request, keyring)),
            new,
        })
    }
}

/// The code and its number, sealed together, so that the code can be sent again.
fn seal_code(
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
struct Pending {
    verification: VerificationId,
    expires_at: UnixMillis,
    code_sealed: Vec<u8>,
    failures: u32,
    sessions: u32,
}

/// The code that is pending for the number. One that expired since the last sweep is forgotten.
fn pending(connection: &Connection, row: &NewRow) -> Result<Option<Pending>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT v.id, v.expires_at, v.code_sealed, v.failures, v.sessions
         FROM pending p JOIN verification v ON v.id = p.verification
         WHERE p.number = ?1 AND v.code_sealed IS NOT NULL",
    )?;
    for number in &row.numbers {
        let found = statement
            .query_row([number], |row| {
                Ok(Pending {
                    verification: VerificationId(row.get(0)?),
                    expires_at: time(row.get(1)?),
                    code_sealed: row.get(2)?,
                    failures: row.get(3)?,
                    sessions: row.get(4)?,
                })
            })
            .optional()?;
        match found {
            Some(pending) if pending.expires_at >= row.new.now => return Ok(Some(pending)),
            Some(expired) => {
                connection
                    .prepare_cached("UPDATE verification SET code_sealed = NULL WHERE id = ?1")?
                    .execute([expired.verification.0])?;
            }
            None => {}
        }
    }
    Ok(None)
}

pub(super) fn begin(connection: &Connection, keyring: &Keyring, row: &NewRow) -> Result<Begun, Fault> {
    let new = &row.new;
    if let Some(request) = &row.request
        && let Some(earlier) = request::find(connection, request, new.now)?
    {
        return Ok(earlier);
    }
    let mut attempts_left = new.max_failed_attempts;
    let mut code_of = None;
    match (pending(connection, row)?, &new.code) {
        (None, NewCode::Shared(_)) => return Ok(Begun::CodeIsGone),
        (None, NewCode::Fresh { .. }) => {}
        (Some(pending), code) => {
            let until = pending.expires_at;
            if pending.failures >= new.max_failed_attempts {
                return Ok(Begun::AttemptsUsedUp { until });
            }
            // One that nobody can take from it. For more it depends on what is left of the code's.
            attempts_left = ATTEMPTS_OF_A_LATER_SESSION;
            if pending.sessions >= new.max_sessions {
                return Ok(Begun::TooManySessions { until });
            }
            match code {
                NewCode::Shared(shared) if shared.verification == pending.verification => {
                    code_of = Some(pending.verification.0);
                }
                _ => {
                    let (code, _) = open_code(keyring, &pending.code_sealed, pending.verification)
                        .ok_or_else(|| {
                            Fault::corrupt("a pending code cannot be opened with the keys given")
                        })?;
                    let verification = pending.verification;
                    return Ok(Begun::CodeIsPending(PendingCode {
                        verification,
                        code,
                        expires_at: until,
                    }));
                }
            }
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO verification
                 (id, number, code_of, key_id, code, code_sealed, attempts_left, created_at, expires_at, client_ref)
             VALUES (:id, :number, :code_of, :key_id, :code, :code_sealed, :attempts_left, :created_at, :expires_at,
                 :client_ref)",
        )?
        .execute(named_params! {
            ":id": new.id.0,
            ":number": row.numbers[0],
            ":code_of": code_of,
            ":key_id": row.key_id,
            ":code": row.code,
            ":code_sealed": row.code_sealed,
            ":attempts_left": attempts_left,
            ":created_at": millis(new.now),
            ":expires_at": millis(row.expires_at),
            ":client_ref": row.client_ref,
        })?;
    if let Some(request) = &row.request {
        request::insert(connection, request, new.id, new.now)?;
    }
    if let Some(first) = code_of {
        connection
            .prepare_cached("UPDATE verification SET sessions = sessions + 1 WHERE id = ?1")?
            .execute([first])?;
    } else {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO pending (number, verification, expires_at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![row.numbers[0], new.id.0, millis(row.expires_at)])?;
    }
    outbox::insert(
        connection,
        &new.message,
        &row.message_sealed,
        new.now.plus(new.lease),
    )?;
    Ok(Begun::Yes {
        expires_at: row.expires_at,
    })
}

/// Ends a session whose message certainly was not sent: nobody was given its token. Its place is free, and
/// when nobody else has got the code, the next registration makes its own.
pub(super) fn give_up(connection: &Connection, id: VerificationId) -> Result<(), Fault> {
    let code_of = connection
        .prepare_cached("SELECT coalesce(code_of, id) FROM verification WHERE id = ?1")?
        .query_row([id.0], |row| row.get::<_, [u8; 16]>(0))
        .optional()?;
    let Some(code_of) = code_of else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "UPDATE verification SET attempts_left = 0, code_of = NULL, ended = coalesce(ended, 'not_sent') WHERE id = ?1",
        )?
        .execute([id.0])?;
    request::forget(connection, id)?;
    connection
        .prepare_cached(
            "UPDATE verification SET sessions = sessions - 1, code_sealed = iif(sessions > 1, code_sealed, NULL)
             WHERE id = ?1",
        )?
        .execute([code_of])?;
    connection
        .prepare_cached(
            "DELETE FROM pending WHERE (number, verification) IN
                 (SELECT number, id FROM verification WHERE id = ?1 AND sessions = 0)",
        )?
        .execute([code_of])?;
    Ok(())
}

/// What decides a check, of a verification that may share the code of another.
struct Judged {
    id: VerificationId,
    /// The verification with the code: itself, or the one whose code it shares.
    code_of: VerificationId,
    number: Vec<u8>,
    key_id: u32,
    code: Vec<u8>,
    standing: Standing,
}

const JUDGED: &str = "number, code_of, key_id, code, expires_at, code_used_at";

impl Judged {
    /// From a row of [`JUDGED`]; `first`, of the same, is asked for when the row shares another's code. `None`:
    /// the verification with the code was deleted.
    fn read(
        id: VerificationId,
        row: &Row<'_>,
        first: impl FnOnce(VerificationId) -> Result<Option<Self>, Fault>,
    ) -> Result<Option<Self>, Fault> {
        let Some(code_of) = row.get(1)? else {
            return Ok(Some(Self::of_row(id, row)?));
        };
        Ok(first(VerificationId(code_of))?.map(|first| Self { id, ..first }))
    }

    fn of_row(id: VerificationId, row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id,
            code_of: id,
            number: row.get(0)?,
            key_id: row.get(2)?,
            code: row.get::<_, Option<_>>(3)?.unwrap_or_default(),
            standing: Standing {
                expires_at: time(row.get(4)?),
                verified: row.get::<_, Option<i64>>(5)?.is_some(),
            },
        })
    }

    fn judge(&self, keyring: &Keyring, code: &SecurityCode, rules: CheckRules) -> Verdict {
        let matches = keyring.code_matches(self.key_id, self.code_of, code, &self.code);
        self.standing.judge(matches, rules.now, rules.only_once)
    }

    /// Records the verdict on an attempt that was taken.
    fn record(&self, connection: &Connection, verdict: Verdict, rules: CheckRules) -> Result<(), Fault> {
        if verdict != Verdict::Valid {
            // It was counted when it was taken.
            return Ok(());
        }
        connection
            .prepare_cached(
                "UPDATE verification SET
                     verified_at = iif(id = :session, :now, verified_at),
                     attempts_left = iif(id = :session, :attempts, attempts_left),
                     code_used_at = iif(id = :code_of, :now, code_used_at),
                     failures = failures - iif(id = :code_of, 1, 0),
                     code_sealed = NULL
                 WHERE id IN (:session, :code_of)",
            )?
            .execute(named_params! {
                ":session": self.id.0,
                ":code_of": self.code_of.0,
                ":now": millis(rules.now),
                ":attempts": rules.max_failed_attempts,
            })?;
        connection
            .prepare_cached("DELETE FROM pending WHERE number = ?1 AND verification = ?2")?
            .execute(params![self.number, self.code_of.0])?;
        Ok(())
    }
}

/// Takes an attempt, or says why there is none to take.
pub(super) fn take_attempt(
    connection: &Connection,
    id: VerificationId,
    rules: CheckRules,
) -> Result<Result<(), Verdict>, Fault> {
    Ok(with_attempt(connection, id, rules)?.map(|_| ()))
}

/// An attempt is one of the session's own; a session that joined takes more from what is left of the code's.
fn with_attempt(
    connection: &Connection,
    id: VerificationId,
    rules: CheckRules,
) -> Result<Result<Judged, Verdict>, Fault> {
    let mut statement = connection.prepare_cached(&format!(
        "UPDATE verification SET attempts_left = attempts_left - 1, failures = failures + iif(code_of IS NULL, 1, 0)
         WHERE id = ?1 AND attempts_left > 0 RETURNING {JUDGED}"
    ))?;
    let mut rows = statement.query([id.0])?;
    if let Some(row) = rows.next()? {
        let judged = Judged::read(id, row, |first| count_failure(connection, first, u32::MAX))?;
        return Ok(judged.ok_or(Verdict::SessionTokenInvalid));
    }
    let code_of = connection
        .prepare_cached("SELECT iif(ended IS NULL, code_of, NULL) FROM verification WHERE id = ?1")?
        .query_row([id.0], |row| row.get::<_, Option<[u8; 16]>>(0))
        .optional()?;
    let judged = match code_of {
        None => return Ok(Err(Verdict::SessionTokenInvalid)),
        Some(None) => None,
        Some(Some(first)) => count_failure(connection, VerificationId(first), rules.max_failed_attempts)?,
    };
    Ok(judged
        .map(|judged| Judged { id, ..judged })
        .ok_or(Verdict::TooManyAttempts))
}

/// Counts a failure of a code, unless there were `max` already.
fn count_failure(
    connection: &Connection,
    code_of: VerificationId,
    max: u32,
) -> Result<Option<Judged>, Fault> {
    let judged = connection
        .prepare_cached(&format!(
            "UPDATE verification SET failures = failures + 1 WHERE id = ?1 AND failures < ?2 RETURNING {JUDGED}"
        ))?
        .query_row(params![code_of.0, max], |row| Judged::of_row(code_of, row))
        .optional()?;
    Ok(judged)
}

pub(super) fn check(
    connection: &Connection,
    keyring: &Keyring,
    id: VerificationId,
    code: &SecurityCode,
    rules: CheckRules,
) -> Result<Verdict, Fault> {
    let judged = match with_attempt(connection, id, rules)? {
        Ok(judged) => judged,
        Err(verdict) => return Ok(verdict),
    };
    let verdict = judged.judge(keyring, code, rules);
    judged.record(connection, verdict, rules)?;
    Ok(verdict)
}

fn find(connection: &Connection, id: VerificationId) -> Result<Option<Judged>, Fault> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {JUDGED} FROM verification WHERE id = ?1"))?;
    let mut rows = statement.query([id.0])?;
    match rows.next()? {
        Some(row) => Judged::read(id, row, |first| find(connection, first)),
        None => Ok(None),
    }
}

pub(super) fn compare(
    connection: &Connection,
    keyring: &Keyring,
    id: VerificationId,
    code: &SecurityCode,
    rules: CheckRules,
) -> Result<Verdict, Fault> {
    let judged = find(connection, id)?;
    Ok(judged.map_or(Verdict::SessionTokenInvalid, |judged| {
        judged.judge(keyring, code, rules)
    }))
}

pub(super) fn settle_attempt(
    connection: &Connection,
    id: VerificationId,
    verdict: Option<Verdict>,
    rules: CheckRules,
) -> Result<Option<Verdict>, Fault> {
    let Some(judged) = find(connection, id)? else {
        return Ok(Some(Verdict::SessionTokenInvalid));
    };
    let Some(verdict) = verdict else {
        give_back(connection, &judged, rules)?;
        return Ok(None);
    };
    let used_before = verdict == Verdict::Valid && rules.only_once && judged.standing.verified;
    let verdict = if used_before {
        Verdict::AlreadyVerified
    } else {
        verdict
    };
    judged.record(connection, verdict, rules)?;
    Ok(Some(verdict))
}

/// Gives an attempt back that came to nothing.
fn give_back(connection: &Connection, judged: &Judged, rules: CheckRules) -> Result<(), Fault> {
    let own = if judged.id == judged.code_of {
        rules.max_failed_attempts
    } else {
        ATTEMPTS_OF_A_LATER_SESSION
    };
    connection
        .prepare_cached("UPDATE verification SET attempts_left = min(attempts_left + 1, ?2) WHERE id = ?1")?
        .execute(params![judged.id.0, own])?;
    connection
        .prepare_cached("UPDATE verification SET failures = max(failures - 1, 0) WHERE id = ?1")?
        .execute([judged.code_of.0])?;
    Ok(())
}
