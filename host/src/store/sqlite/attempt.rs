//! Judges codes. The rules about what is counted when are here, because they hold only inside a transaction.
//!
//! Invariant: nobody learns of a comparison whose attempt was not counted.

use rusqlite::{Connection, OptionalExtension, params, types::ValueRef};

use super::{
    Fault, counter, guard, millis, request, time, verification::ATTEMPTS_OF_A_LATER_SESSION,
    writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{SecurityCode, Verdict, VerificationId, verification::Standing},
    store::{CheckRules, Keyring, StoreError, TakenAttempt},
};

/// What decides a check, of a verification that may share the code of another.
struct Judged {
    id: VerificationId,
    /// The verification that it joined, or itself: it has the code's life and attempts.
    code_of: VerificationId,
    /// The verification whose code it is: itself, or the one that it joined.
    made_for: VerificationId,
    number: Vec<u8>,
    key_id: u32,
    code: Vec<u8>,
    standing: Standing,
    /// How many messages may have carried the code.
    messages: u64,
    /// When the first of them did.
    made_at: UnixMillis,
}

/// A row of `verification`, as far as a check goes. It is read before it is changed, since `RETURNING` costs a
/// table of its own each time.
struct Session {
    judged: Judged,
    shares_code: bool,
    attempts_left: u32,
    failures: u32,
    is_over: bool,
    is_verified: bool,
}

impl Session {
    fn find(connection: &Connection, id: VerificationId) -> Result<Option<Self>, Fault> {
        let found = connection
            .prepare_cached(
                "SELECT number, code_of, key_id, code, expires_at, code_used_at, attempts_left, failures, ended,
                        sessions + resends, created_at, verified_at
                 FROM verification WHERE id = ?1",
            )?
            .query_row([id.0], |row| {
                let code_of = row.get::<_, Option<[u8; 16]>>(1)?.map(VerificationId);
                Ok(Self {
                    judged: Judged {
                        id,
                        code_of: code_of.unwrap_or(id),
                        made_for: id,
                        number: row.get(0)?,
                        key_id: row.get(2)?,
                        code: row.get::<_, Option<_>>(3)?.unwrap_or_default(),
                        standing: Standing {
                            expires_at: time(row.get(4)?),
                            verified: row.get::<_, Option<i64>>(5)?.is_some(),
                        },
                        messages: u64::from(row.get::<_, u32>(9)?),
                        made_at: time(row.get(10)?),
                    },
                    shares_code: code_of.is_some(),
                    attempts_left: row.get(6)?,
                    failures: row.get(7)?,
                    is_over: row.get_ref(8)? != ValueRef::Null,
                    is_verified: row.get_ref(11)? != ValueRef::Null,
                })
            })
            .optional()?;
        Ok(found)
    }

    /// The one whose code it shares. `None`: it has its own, or the other was deleted.
    fn first(&self, connection: &Connection) -> Result<Option<Self>, Fault> {
        if !self.shares_code {
            return Ok(None);
        }
        Self::find(connection, self.judged.code_of)
    }
}

impl Judged {
    fn find(connection: &Connection, id: VerificationId) -> Result<Option<Self>, Fault> {
        let Some(session) = Session::find(connection, id)? else {
            return Ok(None);
        };
        if !session.shares_code {
            return Ok(Some(session.judged));
        }
        let first = session.first(connection)?;
        Ok(first.map(|first| session.judged.joining(first)))
    }

    /// As one that joins the first session: with a code of its own it is judged by that, else by the first one's.
    fn joining(self, first: Session) -> Self {
        let of_both = Self {
            id: self.id,
            ..first.judged
        };
        if self.code.is_empty() {
            return of_both;
        }
        Self {
            made_for: self.made_for,
            key_id: self.key_id,
            code: self.code,
            ..of_both
        }
    }

    fn judge(&self, keyring: &Keyring, code: &SecurityCode, rules: CheckRules) -> Verdict {
        let matches = keyring.code_matches(self.key_id, self.made_for, code, &self.code);
        self.standing.judge(matches, rules.now, rules.only_once)
    }

    /// Records that the code was right. The attempts are what they were: one that was used is not given back by it.
    fn succeed(&self, transaction: &Transaction<'_>, rules: CheckRules) -> Result<(), Fault> {
        let mut statement = transaction.prepare_cached(
            "UPDATE verification SET
                 verified_at = iif(id = ?2, ?4, verified_at),
                 code_used_at = iif(id = ?3, ?4, code_used_at),
                 code_sealed = NULL
             WHERE id = ?1",
        )?;
        let now = millis(rules.now);
        let mut update =
            |row: VerificationId| statement.execute(params![row.0, self.id.0, self.code_of.0, now]);
        update(self.id)?;
        if self.code_of != self.id {
            update(self.code_of)?;
        }
        transaction
            .prepare_cached("DELETE FROM pending WHERE number = ?1 AND verification = ?2")?
            .execute(params![self.number, self.code_of.0])?;
        if let Some(keys) = rules.guard.filter(|_| !self.standing.verified) {
            guard::take_back(transaction, &keys, self.messages, self.made_at)?;
            guard::verified(transaction, &keys, rules.now)?;
        }
        Ok(())
    }
}

/// Records that the code was not right. What counts against the number is a wrong guess.
fn fail(transaction: &Transaction<'_>, verdict: Verdict, rules: CheckRules) -> Result<(), Fault> {
    match rules.failed_checks {
        Some(key) if verdict == Verdict::Invalid => counter::add_failed_check(transaction, key, rules.now),
        _ => Ok(()),
    }
}

/// An attempt that there is to take: one of the session's own, and where it shares a code, one of what is left
/// of the code's.
struct Attempt {
    judged: Judged,
    is_own: bool,
}

impl Attempt {
    /// One to take, or why there is none.
    fn find(
        connection: &Connection,
        id: VerificationId,
        rules: CheckRules,
    ) -> Result<Result<Self, Verdict>, Fault> {
        let Some(session) = Session::find(connection, id)? else {
            return Ok(Err(Verdict::SessionTokenInvalid));
        };
        let is_own = session.attempts_left > 0;
        // Whoever verified a number is told so for good, however often they ask.
        let refused = if session.is_verified && rules.only_once {
            Verdict::AlreadyVerified
        } else {
            Verdict::TooManyAttempts
        };
        if !session.shares_code {
            let judged = session.judged;
            return Ok(if is_own {
                Ok(Self { judged, is_own })
            } else {
                Err(refused)
            });
        }
        let Some(first) = session.first(connection)? else {
            return Ok(Err(Verdict::SessionTokenInvalid));
        };
        if !is_own && (session.is_over || first.failures >= rules.max_failed_attempts) {
            return Ok(Err(refused));
        }
        let judged = session.judged.joining(first);
        Ok(Ok(Self { judged, is_own }))
    }

    fn take(&self, connection: &Connection) -> Result<(), Fault> {
        if self.is_own {
            connection
                .prepare_cached("UPDATE verification SET attempts_left = attempts_left - 1 WHERE id = ?1")?
                .execute([self.judged.id.0])?;
        }
        connection
            .prepare_cached("UPDATE verification SET failures = failures + 1 WHERE id = ?1")?
            .execute([self.judged.code_of.0])?;
        Ok(())
    }
}

/// Takes an attempt, or says why there is none to take.
pub(super) fn take_attempt(
    connection: &Connection,
    id: VerificationId,
    rules: CheckRules,
    request: Option<&request::Row>,
) -> Result<Result<TakenAttempt, Verdict>, Fault> {
    if let Some(verdict) = earlier_verdict(connection, request, rules)? {
        return Ok(Err(verdict));
    }
    match Attempt::find(connection, id, rules)? {
        Ok(attempt) => {
            attempt.take(connection)?;
            Ok(Ok(TakenAttempt {
                is_own: attempt.is_own,
            }))
        }
        Err(verdict) => Ok(Err(verdict)),
    }
}

/// What the same request was told before.
fn earlier_verdict(
    connection: &Connection,
    request: Option<&request::Row>,
    rules: CheckRules,
) -> Result<Option<Verdict>, Fault> {
    let Some(request) = request else { return Ok(None) };
    let earlier = request::find(connection, request, rules.now)?;
    Ok(earlier.and_then(|earlier| earlier.verdict))
}

fn remember(
    connection: &Connection,
    request: Option<&request::Row>,
    id: VerificationId,
    verdict: Verdict,
    rules: CheckRules,
) -> Result<(), Fault> {
    let Some(request) = request else { return Ok(()) };
    let effect = request::Effect {
        verdict: Some(verdict),
        ..request::Effect::default()
    };
    request::insert(connection, request, id, effect, rules.now)
}

/// Takes an attempt and judges. What it took and what came of it become durable together or not at all, so
/// that nobody learns of a comparison that was not counted.
pub(super) fn check(
    transaction: &Transaction<'_>,
    keyring: &Keyring,
    id: VerificationId,
    code: &SecurityCode,
    rules: CheckRules,
    request: Option<&request::Row>,
) -> Result<Verdict, Fault> {
    if let Some(verdict) = earlier_verdict(transaction, request, rules)? {
        return Ok(verdict);
    }
    let attempt = match Attempt::find(transaction, id, rules)? {
        Ok(attempt) => attempt,
        Err(verdict) => return Ok(verdict),
    };
    if !attempt.judged.code.is_empty() && !keyring.holds(attempt.judged.key_id) {
        // Neither right nor wrong: whoever typed it loses nothing by it.
        return Err(StoreError::KeyMissing.into());
    }
    let verdict = attempt.judged.judge(keyring, code, rules);
    if verdict == Verdict::Valid {
        attempt.judged.succeed(transaction, rules)?;
    } else {
        attempt.take(transaction)?;
        fail(transaction, verdict, rules)?;
    }
    remember(transaction, request, id, verdict, rules)?;
    Ok(verdict)
}

pub(super) fn compare(
    connection: &Connection,
    keyring: &Keyring,
    id: VerificationId,
    code: &SecurityCode,
    rules: CheckRules,
) -> Result<Verdict, Fault> {
    let judged = Judged::find(connection, id)?;
    Ok(judged.map_or(Verdict::SessionTokenInvalid, |judged| {
        judged.judge(keyring, code, rules)
    }))
}

pub(super) fn settle_attempt(
    transaction: &Transaction<'_>,
    id: VerificationId,
    taken: TakenAttempt,
    verdict: Option<Verdict>,
    rules: CheckRules,
    request: Option<&request::Row>,
) -> Result<Option<Verdict>, Fault> {
    let Some(judged) = Judged::find(transaction, id)? else {
        return Ok(Some(Verdict::SessionTokenInvalid));
    };
    let Some(verdict) = verdict else {
        give_back(transaction, &judged, taken, rules)?;
        return Ok(None);
    };
    let used_before = verdict == Verdict::Valid && rules.only_once && judged.standing.verified;
    let verdict = if used_before {
        Verdict::AlreadyVerified
    } else {
        verdict
    };
    if verdict == Verdict::Valid {
        // A success is no failure.
        give_back(transaction, &judged, taken, rules)?;
        judged.succeed(transaction, rules)?;
    } else {
        fail(transaction, verdict, rules)?;
    }
    remember(transaction, request, id, verdict, rules)?;
    Ok(Some(verdict))
}

/// Gives an attempt back to where it was taken from.
fn give_back(
    connection: &Connection,
    judged: &Judged,
    taken: TakenAttempt,
    rules: CheckRules,
) -> Result<(), Fault> {
    let own = if judged.id == judged.code_of {
        rules.max_failed_attempts
    } else {
        ATTEMPTS_OF_A_LATER_SESSION
    };
    if taken.is_own {
        connection
            .prepare_cached(
                "UPDATE verification SET attempts_left = min(attempts_left + 1, ?2)
                 WHERE id = ?1 AND ended IS NULL",
            )?
            .execute(params![judged.id.0, own])?;
    }
    connection
        .prepare_cached("UPDATE verification SET failures = max(failures - 1, 0) WHERE id = ?1")?
        .execute([judged.code_of.0])?;
    Ok(())
}
