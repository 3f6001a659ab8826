//! Messages that are to be sent.
//!
//! Invariant: a message is one process's, and another takes it only when that one is dead. No clock has a say in it.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, params};
use zeroize::Zeroizing;

use super::{
    Fault, backend, lifecycle, millis, presence::ProcessId, request, verification, writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{FailureClass, Locale, PhoneNumber, VerificationId},
    rules::{
        guard, limits,
        settlement::{self, Settlement},
    },
    store::{Counter, Guarded, Keyring, OutboxMessage, ReplacedCode, StoreError, Tried},
};

/// A message that two processes died over is not tried a third time.
const MAX_LEASES: u32 = 2;

/// Processes of the version before go by the time in `leased_until`, and must not take what is one's that lives. No code
/// is good for longer.
const LEASE_TO_EARLIER_VERSIONS: Duration = Duration::from_secs(24 * 60 * 60);

/// Number, language and text, sealed together and bound to the message. Neither of the first two can hold a line break.
pub(super) fn seal(message: &OutboxMessage, keyring: &Keyring) -> Result<Vec<u8>, StoreError> {
    let plain = [
        message.number.e164(),
        message.locale.0.as_str(),
        message.text.as_str(),
    ]
    .join("\n");
    Ok(keyring.seal(&Zeroizing::new(plain), &message.id.0)?)
}

fn open(
    sealed: &[u8],
    id: VerificationId,
    verification: VerificationId,
    keyring: &Keyring,
) -> Option<OutboxMessage> {
    let plain = keyring.open_sealed(sealed, &id.0)?;
    let mut parts = plain.splitn(3, '\n');
    let number = PhoneNumber::stored(parts.next()?)?;
    let locale = Locale(parts.next()?.to_owned());
    let text = Zeroizing::new(parts.next()?.to_owned());
    Some(OutboxMessage {
        id,
        verification,
        number,
        locale,
        text,
        counters: Arc::default(),
        counted_at: UnixMillis(0),
        guard: None,
        replaced: None,
    })
}

pub(super) fn insert(
    connection: &Connection,
    message: &OutboxMessage,
    sealed: &[u8],
    holder: &ProcessId,
    now: UnixMillis,
) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (id, verification, sealed, leased_until, holder) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            message.id.0,
            message.verification.0,
            sealed,
            millis(now.plus(LEASE_TO_EARLIER_VERSIONS)),
            holder
        ])?;
    Ok(())
}

/// What there is to record about a message.
pub(super) struct Settled {
    id: VerificationId,
    verification: VerificationId,
    outcome: Result<(), FailureClass>,
    /// `None`: it is not known.
    backend: Option<Arc<str>>,
    message_id: Option<String>,
    counters: Arc<[Counter]>,
    counted_at: UnixMillis,
    guard: Option<Arc<Guarded>>,
    replaced: Option<Arc<ReplacedCode>>,
}

impl Settled {
    pub(super) fn of(message: &OutboxMessage, tried: &Tried) -> Self {
        let (outcome, message_id) = match &tried.outcome {
            Ok(receipt) => (Ok(()), receipt.message_id.clone()),
            Err(failure) => (Err(failure.class), None),
        };
        Self {
            id: message.id,
            verification: message.verification,
            outcome,
            backend: Some(Arc::clone(&tried.backend)),
            message_id,
            counters: Arc::clone(&message.counters),
            counted_at: message.counted_at,
            guard: message.guard.clone(),
            replaced: message.replaced.clone(),
        }
    }

    fn unknown(id: VerificationId, verification: VerificationId) -> Self {
        Self {
            id,
            verification,
            outcome: Err(FailureClass::OutcomeUnknown),
            backend: None,
            message_id: None,
            counters: Arc::default(),
            counted_at: UnixMillis(0),
            guard: None,
            replaced: None,
        }
    }
}

pub(super) fn settle(transaction: &Transaction<'_>, settled: &Settled) -> Result<(), Fault> {
    // A message that was sent needs no look at its row.
    let leases = match settled.outcome {
        Ok(()) => None,
        Err(_) => leases(transaction, settled.id)?,
    };
    let Settlement { delivery, not_sent } = settlement::decide(settled.outcome, leases);
    transaction
        .prepare_cached("DELETE FROM outbox WHERE id = ?1")?
        .execute([settled.id.0])?;
    let backend = match &settled.backend {
        Some(name) => Some(backend::id_of(transaction, name)?),
        None => None,
    };
    transaction
        .prepare_cached(
            "UPDATE verification SET delivery = ?2, message_id = ?3, first_delivery = iif(id = ?4, ?2, first_delivery),
                 backend = ?5
             WHERE id = ?1",
        )?
        .execute(params![
            settled.verification.0,
            delivery.as_str(),
            settled.message_id,
            settled.id.0,
            backend
        ])?;
    let Some(failure) = not_sent else { return Ok(()) };
    limits::take_back(transaction, &settled.counters, failure, settled.counted_at)?;
    if let Some(guarded) = &settled.guard {
        guard::take_back(transaction, &guarded.keys, 1, settled.counted_at)?;
    }
    // Nothing came of the request, so it may be made again.
    request::forget(transaction, settled.verification, settled.id)?;
    // A session whose first message was sent lives on, whatever becomes of a further one.
    if settled.id == settled.verification {
        verification::give_up(transaction, settled.verification)?;
    } else {
        verification::count_resend(transaction, settled.verification, -1)?;
        if let Some(replaced) = &settled.replaced {
            lifecycle::put_back(transaction, settled.verification, replaced)?;
        }
    }
    Ok(())
}

fn leases(connection: &Connection, id: VerificationId) -> Result<Option<u32>, Fault> {
    let leases = connection
        .prepare_cached("SELECT leases FROM outbox WHERE id = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    Ok(leases)
}

/// Whether another process has a message of the verification.
pub(super) fn is_elsewhere(
    connection: &Connection,
    verification: VerificationId,
    own: Option<ProcessId>,
) -> Result<bool, Fault> {
    let is_elsewhere = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM outbox WHERE verification = ?1 AND holder IS NOT ?2)")?
        .query_row(params![verification.0, own], |row| row.get(0))?;
    Ok(is_elsewhere)
}

/// The processes but this one that have messages; `None`: one of an earlier version, whose lease has lapsed.
pub(super) fn holders(
    connection: &Connection,
    own: &ProcessId,
    now: UnixMillis,
) -> Result<Vec<Option<ProcessId>>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT holder FROM outbox WHERE iif(holder IS NULL, leased_until < ?2, holder != ?1)",
    )?;
    let holders = statement.query_map(params![own, millis(now)], |row| row.get(0))?;
    Ok(holders.collect::<rusqlite::Result<_>>()?)
}

/// Takes messages of a process that is dead. One that cannot be sent any more, or that two processes died over, is
/// settled as unknown.
pub(super) fn take_over(
    transaction: &Transaction<'_>,
    keyring: &Keyring,
    dead: Option<ProcessId>,
    own: &ProcessId,
    now: UnixMillis,
    limit: u32,
) -> Result<Vec<OutboxMessage>, Fault> {
    let mut statement = transaction.prepare_cached(
        "SELECT o.id, o.verification, o.sealed, o.leases,
                code.id IS NULL OR code.expires_at < ?1 OR code.code_used_at IS NOT NULL
         FROM outbox o
         LEFT JOIN verification v ON v.id = o.verification
         LEFT JOIN verification code ON code.id = coalesce(v.code_of, v.id)
         WHERE o.holder IS ?3 AND (?3 IS NOT NULL OR o.leased_until < ?1) LIMIT ?2",
    )?;
    let left = statement
        .query_map(params![millis(now), limit, dead], |row| {
            let (id, verification) = (VerificationId(row.get(0)?), VerificationId(row.get(1)?));
            Ok((
                id,
                verification,
                row.get::<_, Vec<u8>>(2)?,
                row.get::<_, u32>(3)?,
                row.get::<_, bool>(4)?,
            ))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut taken = Vec::new();
    for (id, verification, sealed, leases, too_late) in left {
        let message = open(&sealed, id, verification, keyring).filter(|_| !too_late && leases < MAX_LEASES);
        if let Some(message) = message {
            transaction
                .prepare_cached(
                    "UPDATE outbox SET holder = ?2, leased_until = ?3, leases = leases + 1 WHERE id = ?1",
                )?
                .execute(params![id.0, own, millis(now.plus(LEASE_TO_EARLIER_VERSIONS))])?;
            taken.push(message);
        } else {
            settle(transaction, &Settled::unknown(id, verification))?;
        }
    }
    Ok(taken)
}
