//! Messages that are to be sent.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, params};
use zeroize::Zeroizing;

use super::{Fault, counter, guard, lifecycle, millis, verification, writer::Transaction};
use crate::{
    clock::UnixMillis,
    model::{FailureClass, Locale, Outcome, PhoneNumber, VerificationId},
    store::{Counter, Guarded, Keyring, OutboxMessage, ReplacedCode, StoreError},
};

/// A lease may lapse once: a message that two processes died over is not tried a third time.
const MAX_LEASES: u32 = 2;

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
    leased_until: UnixMillis,
) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (id, verification, sealed, leased_until) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            message.id.0,
            message.verification.0,
            sealed,
            millis(leased_until)
        ])?;
    Ok(())
}

/// What there is to record about a message.
pub(super) struct Settled {
    id: VerificationId,
    verification: VerificationId,
    delivery: &'static str,
    message_id: Option<String>,
    /// Why it certainly was not sent.
    not_sent: Option<FailureClass>,
    counters: Arc<[Counter]>,
    counted_at: UnixMillis,
    guard: Option<Arc<Guarded>>,
    replaced: Option<Arc<ReplacedCode>>,
}

impl Settled {
    pub(super) fn of(message: &OutboxMessage, outcome: &Outcome) -> Self {
        let (delivery, message_id, failure) = match outcome {
            Ok(receipt) => ("sent", receipt.message_id.clone(), None),
            Err(failure) => (failure.class.as_str(), None, Some(failure.class)),
        };
        Self {
            id: message.id,
            verification: message.verification,
            delivery,
            message_id,
            not_sent: failure.filter(|class| *class != FailureClass::OutcomeUnknown),
            counters: Arc::clone(&message.counters),
            counted_at: message.counted_at,
            guard: message.guard.clone(),
            replaced: message.replaced.clone(),
        }
    }

    fn unknown(id: VerificationId, verification: VerificationId) -> Self {
        let delivery = FailureClass::OutcomeUnknown.as_str();
        Self {
            id,
            verification,
            delivery,
            message_id: None,
            not_sent: None,
            counters: Arc::default(),
            counted_at: UnixMillis(0),
            guard: None,
            replaced: None,
        }
    }
}

pub(super) fn settle(transaction: &Transaction<'_>, settled: &Settled) -> Result<(), Fault> {
    // Whoever had the lease before may have sent it, whatever became of the second try.
    let not_sent = match settled.not_sent {
        Some(failure) if leases(transaction, settled.id)? == Some(1) => Some(failure),
        _ => None,
    };
    transaction
        .prepare_cached("DELETE FROM outbox WHERE id = ?1")?
        .execute([settled.id.0])?;
    let delivery = if settled.not_sent.is_some() && not_sent.is_none() {
        FailureClass::OutcomeUnknown.as_str()
    } else {
        settled.delivery
    };
    transaction
        .prepare_cached(
            "UPDATE verification SET delivery = ?2, message_id = ?3, first_delivery = iif(id = ?4, ?2, first_delivery)
             WHERE id = ?1",
        )?
        .execute(params![settled.verification.0, delivery, settled.message_id, settled.id.0])?;
    let Some(failure) = not_sent else { return Ok(()) };
    counter::take_back(transaction, &settled.counters, failure, settled.counted_at)?;
    if let Some(guarded) = &settled.guard {
        guard::take_back(transaction, &guarded.keys, 1, settled.counted_at)?;
    }
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

pub(super) fn lease_lapsed(
    transaction: &Transaction<'_>,
    keyring: &Keyring,
    now: UnixMillis,
    lease: Duration,
    limit: u32,
) -> Result<Vec<OutboxMessage>, Fault> {
    let mut statement = transaction.prepare_cached(
        "SELECT o.id, o.verification, o.sealed, o.leases,
                code.id IS NULL OR code.expires_at < ?1 OR code.code_used_at IS NOT NULL
         FROM outbox o
         LEFT JOIN verification v ON v.id = o.verification
         LEFT JOIN verification code ON code.id = coalesce(v.code_of, v.id)
         WHERE o.leased_until < ?1 LIMIT ?2",
    )?;
    let lapsed = statement
        .query_map(params![millis(now), limit], |row| {
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
    let mut leased = Vec::new();
    for (id, verification, sealed, leases, too_late) in lapsed {
        let message = open(&sealed, id, verification, keyring).filter(|_| !too_late && leases < MAX_LEASES);
        if let Some(message) = message {
            transaction
                .prepare_cached("UPDATE outbox SET leased_until = ?2, leases = leases + 1 WHERE id = ?1")?
                .execute(params![id.0, millis(now.plus(lease))])?;
            leased.push(message);
        } else {
            settle(transaction, &Settled::unknown(id, verification))?;
        }
    }
    Ok(leased)
}
