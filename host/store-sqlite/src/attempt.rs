//! Loads what decides an attempt, has it decided (`rules::attempt`), and stores what became of it.
//!
//! Invariant: an answer of a comparison is given only with its attempt stored, in the same transaction.

use rusqlite::{Connection, OptionalExtension, params, types::ValueRef};

use super::{
    Fault,
    event::{self, Happening},
    millis, request, time,
    writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{Bound, EventKind, SecurityCode, Verdict, VerificationId},
    rules::{
        attempt::{Judged, State, TakenAttempt},
        guard, number,
    },
    store::{CheckRules, Keyring, StoreError},
};

/// The rows that an attempt is about: a session's, and of the session whose code it joined.
struct Rows {
    id: VerificationId,
    /// The session that it joined, or itself: its row has the code's life and failures.
    code_of: VerificationId,
    /// The session whose code is compared: the one that it joined, or itself, also where it joined with a code of its
    /// own.
    made_for: VerificationId,
    number: Vec<u8>,
    key_id: u32,
    code: Vec<u8>,
    /// The backend that alone judges the code.
    owner: Option<String>,
    /// How many messages may have carried the code.
    messages: u64,
    /// When the first of them did.
    made_at: UnixMillis,
    state: State,
}

impl Rows {
    /// One row. It is read before it is changed, since `RETURNING` costs a table of its own each time.
    fn read(connection: &Connection, id: VerificationId) -> Result<Option<Self>, Fault> {
        let found = connection
            .prepare_cached(
                "SELECT number, code_of, key_id, code, expires_at, code_used_at, attempts_left, failures, ended,
                        sessions + resends, created_at, verified_at, bound, owner
                 FROM verification WHERE id = ?1",
            )?
            .query_row([id.0], |row| {
                let joined = row.get::<_, Option<[u8; 16]>>(1)?.map(VerificationId);
                Ok(Self {
                    id,
                    code_of: joined.unwrap_or(id),
                    made_for: id,
                    number: row.get(0)?,
                    key_id: row.get(2)?,
                    code: row.get::<_, Option<_>>(3)?.unwrap_or_default(),
                    owner: row.get(13)?,
                    messages: u64::from(row.get::<_, u32>(9)?),
                    made_at: time(row.get(10)?),
                    state: State {
                        attempts_left: row.get(6)?,
                        is_over: row.get_ref(8)? != ValueRef::Null,
                        verified_at: row.get::<_, Option<i64>>(11)?.map(time),
                        has_joined: joined.is_some(),
                        expires_at: time(row.get(4)?),
                        code_used_at: row.get::<_, Option<i64>>(5)?.map(time),
                        failures: row.get(7)?,
                        bound: row.get::<_, Option<_>>(12)?.map(Bound),
                    },
                })
            })
            .optional()?;
        Ok(found)
    }

    /// `None`: there is no such session, or the one that it joined was deleted.
    fn load(connection: &Connection, id: VerificationId) -> Result<Option<Self>, Fault> {
        let Some(session) = Self::read(connection, id)? else {
            return Ok(None);
        };
        if !session.state.has_joined {
            return Ok(Some(session));
        }
        let first = Self::read(connection, session.code_of)?;
        Ok(first.map(|first| session.joining(first)))
    }

    /// A later session with the code of the first one, or with its own where it was given one.
    fn joining(self, first: Self) -> Self {
        let state = State {
            expires_at: first.state.expires_at,
            code_used_at: first.state.code_used_at,
            failures: first.state.failures,
            ..self.state
        };
        let (made_for, key_id, code) = if self.code.is_empty() {
            (first.made_for, first.key_id, first.code)
        } else {
            (self.made_for, self.key_id, self.code)
        };
        Self {
            id: self.id,
            made_for,
            key_id,
            code,
            owner: self.owner,
            state,
            ..first
        }
    }

    fn matches(&self, keyring: &Keyring, code: &SecurityCode) -> bool {
        keyring.code_matches(self.key_id, self.made_for, code, &self.code)
    }

    /// Stores attempts as they are from now on.
    fn store_attempts(&self, connection: &Connection, state: State) -> Result<(), Fault> {
        if state.attempts_left != self.state.attempts_left {
            connection
                .prepare_cached("UPDATE verification SET attempts_left = ?2 WHERE id = ?1")?
                .execute(params![self.id.0, state.attempts_left])?;
        }
        if state.failures != self.state.failures {
            connection
                .prepare_cached("UPDATE verification SET failures = ?2 WHERE id = ?1")?
                .execute(params![self.code_of.0, state.failures])?;
        }
        Ok(())
    }

    /// Stores what an attempt came to.
    fn store(&self, transaction: &Transaction<'_>, judged: Judged, rules: CheckRules) -> Result<(), Fault> {
        self.store_attempts(transaction, judged.state)?;
        if let Some(key) = rules.failed_checks
            && judged.is_wrong_guess()
        {
            number::add_failed_check(transaction, key, rules.terms.now)?;
        }
        let is_used_up = matches!(judged.state.available(rules.terms), Err(Verdict::TooManyAttempts));
        if judged.is_wrong_guess() && is_used_up {
            self.tell(transaction, EventKind::VerificationFailed, rules)?;
        }
        if judged.verdict == Verdict::Valid {
            if self.state.verified_at.is_none() {
                self.tell(transaction, EventKind::VerificationVerified, rules)?;
            }
            self.store_success(transaction, judged.state)?;
            if self.state.code_used_at.is_none() {
                self.count_success(transaction, rules)?;
            }
        }
        Ok(())
    }

    fn tell(&self, transaction: &Transaction<'_>, kind: EventKind, rules: CheckRules) -> Result<(), Fault> {
        let happening = Happening {
            kind,
            at: rules.terms.now,
            subject: self.id,
            message: None,
            number: None,
            details: &event::no_details,
        };
        event::record(transaction, &happening)
    }

    /// Counts that the code came back.
    fn count_success(&self, transaction: &Transaction<'_>, rules: CheckRules) -> Result<(), Fault> {
        let now = rules.terms.now;
        let of_guard = rules.guard.map(|keys| keys.number);
        let Some(number) = of_guard.or(rules.failed_checks) else {
            return Ok(());
        };
        let was_verified_today = number::comes_back(transaction, number, self.code_of.0, now)?;
        if let Some(keys) = &rules.guard {
            guard::take_back(transaction, keys, self.messages, self.made_at)?;
            guard::count_verified(transaction, keys, was_verified_today, now)?;
        }
        Ok(())
    }

    /// Stores that the code came back: it is no longer pending.
    fn store_success(&self, connection: &Connection, state: State) -> Result<(), Fault> {
        let mut statement = connection.prepare_cached(
            "UPDATE verification SET
                 verified_at = iif(id = ?2, ?4, verified_at),
                 code_used_at = iif(id = ?3, ?5, code_used_at),
                 code_sealed = NULL
             WHERE id = ?1",
        )?;
        let (verified_at, code_used_at) = (state.verified_at.map(millis), state.code_used_at.map(millis));
        let mut update = |row: VerificationId| {
            statement.execute(params![
                row.0,
                self.id.0,
                self.code_of.0,
                verified_at,
                code_used_at
            ])
        };
        update(self.id)?;
        if self.code_of != self.id {
            update(self.code_of)?;
        }
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
    request: Option<&request::Row>,
) -> Result<Result<TakenAttempt, Verdict>, Fault> {
    if let Some(verdict) = earlier_verdict(connection, request, rules)? {
        return Ok(Err(verdict));
    }
    let Some(rows) = Rows::load(connection, id)? else {
        return Ok(Err(Verdict::SessionTokenInvalid));
    };
    let available = rows.state.available(rules.terms);
    if let Ok(taken) = available {
        rows.store_attempts(connection, rows.state.take(taken))?;
    }
    Ok(available)
}

/// The verdict that the same request had before.
fn earlier_verdict(
    connection: &Connection,
    request: Option<&request::Row>,
    rules: CheckRules,
) -> Result<Option<Verdict>, Fault> {
    let Some(request) = request else { return Ok(None) };
    let earlier = request::find(connection, request, rules.terms.now)?;
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
    request::insert(connection, request, id, effect, rules.terms.now)
}

/// Takes an attempt and judges.
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
    let Some(rows) = Rows::load(transaction, id)? else {
        return Ok(Verdict::SessionTokenInvalid);
    };
    let taken = match rows.state.available(rules.terms) {
        Ok(taken) => taken,
        Err(verdict) => return Ok(verdict),
    };
    if let Some(owner) = rows.owner {
        return Err(StoreError::OwnedByBackend(owner).into());
    }
    if !rows.code.is_empty() && !keyring.holds(rows.key_id) {
        // Neither right nor wrong: it must not cost an attempt.
        return Err(StoreError::KeyMissing.into());
    }
    let matches = rows.matches(keyring, code);
    let judged = rows.state.check(taken, matches, rules.terms);
    rows.store(transaction, judged, rules)?;
    remember(transaction, request, id, judged.verdict, rules)?;
    Ok(judged.verdict)
}

pub(super) fn compare(
    connection: &Connection,
    keyring: &Keyring,
    id: VerificationId,
    code: &SecurityCode,
    rules: CheckRules,
) -> Result<Verdict, Fault> {
    let rows = Rows::load(connection, id)?;
    Ok(rows.map_or(Verdict::SessionTokenInvalid, |rows| {
        let matches = rows.matches(keyring, code);
        rows.state.compare(matches, rules.terms)
    }))
}

pub(super) fn settle_attempt(
    transaction: &Transaction<'_>,
    id: VerificationId,
    taken: TakenAttempt,
    said: Option<Verdict>,
    rules: CheckRules,
    request: Option<&request::Row>,
) -> Result<Option<Verdict>, Fault> {
    let Some(rows) = Rows::load(transaction, id)? else {
        return Ok(Some(Verdict::SessionTokenInvalid));
    };
    let Some(said) = said else {
        rows.store_attempts(transaction, rows.state.unsettle(taken, rules.terms))?;
        return Ok(None);
    };
    let judged = rows.state.settle(taken, said, rules.terms);
    rows.store(transaction, judged, rules)?;
    remember(transaction, request, id, judged.verdict, rules)?;
    Ok(Some(judged.verdict))
}
