//! Messages, from the transaction that begins one until its verification is deleted.
//!
//! Invariant: a message under way is one process's, and another takes it only when that one is dead. No clock has a say
//! in it. What is settled is not settled again.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Fault, backend,
    event::{self, Happening},
    lifecycle,
    presence::ProcessId,
    receipt, request, time, verification,
    writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{
        Delivery, EventDetails, EventKind, FailureClass, Locale, Message, MessageId, PhoneNumber, Region,
        Try, VerificationId,
    },
    rules::{
        guard, limits,
        settlement::{self, Settlement},
        take_over::{self, CodeLife, Left, TakeOver},
    },
    store::{
        Counter, CounterKey, Dispatched, GuardKeys, Guarded, Keyring, OutboxMessage, ReplacedCode, StoreError,
    },
};

/// What is sealed of a message under way, and bound to its id.
#[derive(Serialize, Deserialize)]
struct Content<'a> {
    /// In E.164.
    number: &'a str,
    locale: &'a str,
    text: &'a str,
    counted_at: u64,
    /// Those that can be taken back.
    counters: Vec<(CounterKey, u64)>,
    guard: Option<GuardKeys>,
    replaced: Option<Replaced>,
}

/// [`ReplacedCode`], as it is sealed.
#[derive(Serialize, Deserialize)]
struct Replaced {
    by: [u8; 32],
    code: Option<Vec<u8>>,
    sealed: Option<Vec<u8>>,
}

pub(super) fn seal(message: &OutboxMessage, keyring: &Keyring) -> Result<Vec<u8>, StoreError> {
    let content = Content {
        number: message.number.e164(),
        locale: message.locale.0.as_str(),
        text: message.text.as_str(),
        counted_at: message.counted_at.0,
        counters: message
            .counters
            .iter()
            .filter(|counter| counter.counted.can_be_taken_back())
            .map(|counter| (counter.key, counter.amount))
            .collect(),
        guard: message.guard.as_ref().map(|guarded| guarded.keys),
        replaced: message.replaced.as_ref().map(|replaced| Replaced {
            by: replaced.by,
            code: replaced.code.clone(),
            sealed: replaced.sealed.clone(),
        }),
    };
    let plain = postcard::to_stdvec(&content).expect("texts and numbers can be written");
    Ok(keyring.seal(Zeroizing::new(plain), &message.id.0)?)
}

/// Until schema version 2 number, language and text were sealed as three lines, and what the message was counted in was
/// not kept. A number begins with `+`; of what is sealed now, the first byte is the length of the number, which is
/// less.
fn as_before(plain: &[u8]) -> Option<Content<'_>> {
    let mut parts = std::str::from_utf8(plain).ok()?.splitn(3, '\n');
    Some(Content {
        number: parts.next()?,
        locale: parts.next()?,
        text: parts.next()?,
        counted_at: 0,
        counters: Vec::new(),
        guard: None,
        replaced: None,
    })
}

/// `owner`: of its code, as its verification tells it. `carries_code`: it belongs to one.
fn open(
    sealed: &[u8],
    id: MessageId,
    verification: VerificationId,
    owner: Option<Arc<str>>,
    carries_code: bool,
    keyring: &Keyring,
) -> Option<OutboxMessage> {
    let plain = keyring.open_sealed_bytes(sealed, &id.0)?;
    let content = match plain.first() {
        Some(b'+') => as_before(&plain)?,
        _ => postcard::from_bytes(&plain).ok()?,
    };
    let counters = content.counters.iter();
    Some(OutboxMessage {
        id,
        verification,
        number: PhoneNumber::stored(content.number)?,
        locale: Locale(content.locale.to_owned()),
        text: Zeroizing::new(content.text.to_owned()),
        carries_code,
        counters: counters
            .filter_map(|(key, amount)| Counter::counted_before(*key, *amount))
            .collect(),
        counted_at: UnixMillis(content.counted_at),
        guard: content.guard.map(Guarded::judged_before).map(Arc::new),
        replaced: content
            .replaced
            .map(|Replaced { by, code, sealed }| Arc::new(ReplacedCode { by, code, sealed })),
        owner,
        after: None,
    })
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    message: &OutboxMessage,
    sealed: &[u8],
    holder: &ProcessId,
) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "INSERT INTO message (verification, n, id, state, sealed, holder, leases)
             VALUES (?1, iif(?2 = ?1, 0, (SELECT coalesce(max(n) + 1, 0) FROM message WHERE verification = ?1)), ?2, 'pending', ?3, ?4, 1)",
        )?
        .execute(params![message.verification.0, message.id.0, sealed, holder])?;
    let happening = Happening {
        kind: EventKind::MessageQueued,
        at: message.counted_at,
        subject: message.verification,
        message: Some(message.id),
        number: Some(&message.number),
        details: &event::no_details,
    };
    event::record(transaction, &happening)
}

/// Those of a verification, the first one first.
pub(super) fn of(connection: &Connection, verification: VerificationId) -> Result<Vec<Message>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT m.id, m.state, b.name, m.provider_id, m.tries, m.report FROM message m LEFT JOIN backend b ON b.id = m.backend
         WHERE m.verification = ?1 ORDER BY m.n",
    )?;
    let mut rows = statement.query([verification.0])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let tries: Option<String> = row.get(4)?;
        let tries = tries.map(|tries| serde_json::from_str::<Vec<Try>>(&tries));
        messages.push(Message {
            id: MessageId(row.get(0)?),
            delivery: Delivery::of_name(&row.get::<_, String>(1)?),
            backend: row.get(2)?,
            provider_id: row.get(3)?,
            tries: tries
                .transpose()
                .map_err(|_| Fault::corrupt("a message whose tries cannot be read"))?
                .unwrap_or_default(),
            reported: receipt::read(row.get(5)?)?,
        });
    }
    Ok(messages)
}

/// What there is to record about a message.
pub(super) struct Settled {
    id: MessageId,
    verification: VerificationId,
    outcome: Result<(), FailureClass>,
    at: UnixMillis,
    /// `None`: it is not known.
    backend: Option<Arc<str>>,
    /// As it may be shown.
    provider_id: Option<String>,
    /// What it is found by.
    provider_digest: Option<[u8; 16]>,
    /// As JSON.
    tries: Option<String>,
    /// Why it failed, in the provider's words or the host's own.
    code: Option<String>,
    /// Of its number.
    country: Option<String>,
    counters: Arc<[Counter]>,
    counted_at: UnixMillis,
    guard: Option<Arc<Guarded>>,
    replaced: Option<Arc<ReplacedCode>>,
}

impl Settled {
    pub(super) fn of(
        message: &OutboxMessage,
        dispatched: &Dispatched,
        keyring: &Keyring,
        at: UnixMillis,
    ) -> Self {
        let (outcome, receipt) = match &dispatched.outcome {
            Ok(receipt) => (Ok(()), Some(receipt)),
            Err(failure) => (Err(failure.class), None),
        };
        let shown = receipt.and_then(|receipt| receipt.message_id.clone());
        let exact = receipt.and_then(|receipt| receipt.exact_id.as_ref());
        let tries = Some(&dispatched.tries).filter(|tries| !tries.is_empty());
        Self {
            id: message.id,
            verification: message.verification,
            outcome,
            at,
            code: dispatched
                .outcome
                .as_ref()
                .err()
                .map(|failure| failure.code.clone()),
            backend: Some(Arc::clone(&dispatched.backend)),
            provider_digest: exact
                .or(shown.as_ref())
                .zip(dispatched.tries.last())
                .map(|(id, accepted)| keyring.provider_id_digest(&accepted.member, id)),
            provider_id: shown,
            tries: tries.map(|tries| serde_json::to_string(tries).expect("texts and numbers can be written")),
            country: message.number.country().map(Region::code),
            counters: Arc::clone(&message.counters),
            counted_at: message.counted_at,
            guard: message.guard.clone(),
            replaced: message.replaced.clone(),
        }
    }

    fn unknown(id: MessageId, verification: VerificationId, at: UnixMillis) -> Self {
        Self {
            id,
            verification,
            outcome: Err(FailureClass::OutcomeUnknown),
            at,
            code: None,
            backend: None,
            provider_id: None,
            provider_digest: None,
            tries: None,
            country: None,
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
        Err(_) => leases(transaction, settled)?,
    };
    let Settlement { delivery, not_sent } = settlement::decide(settled.outcome, leases);
    let backend = match &settled.backend {
        Some(name) => Some(backend::id_of(transaction, name)?),
        None => None,
    };
    let recorded = transaction
        .prepare_cached(
            "UPDATE message SET state = ?3, backend = ?4, provider_id = ?5, provider_digest = ?7, tries = ?6, country = ?8, sealed = NULL,
                 holder = NULL, leases = NULL
             WHERE verification = ?1 AND id = ?2 AND sealed IS NOT NULL",
        )?
        .execute(params![
            settled.verification.0,
            settled.id.0,
            delivery.as_str(),
            backend,
            settled.provider_id,
            settled.tries,
            settled.provider_digest,
            settled.country
        ])?;
    if recorded > 0 {
        let details = || EventDetails {
            backend: settled.backend.as_deref().map(str::to_owned),
            class: delivery.class(),
            code: settled.code.clone(),
        };
        let happening = Happening {
            kind: EventKind::of_message(delivery),
            at: settled.at,
            subject: settled.verification,
            message: Some(settled.id),
            number: None,
            details: &details,
        };
        event::record(transaction, &happening)?;
    }
    let Some(failure) = not_sent.filter(|_| recorded > 0) else {
        return Ok(());
    };
    limits::take_back(transaction, &settled.counters, failure, settled.counted_at)?;
    if let Some(guarded) = &settled.guard {
        guard::take_back(transaction, &guarded.keys, 1, settled.counted_at)?;
    }
    // Nothing came of the request, so it may be made again.
    request::forget(transaction, settled.verification, settled.id)?;
    // A session whose first message was sent lives on, whatever becomes of a further one.
    if settled.id == MessageId::of_first(settled.verification) {
        verification::give_up(transaction, settled.verification)?;
    } else {
        verification::count_resend(transaction, settled.verification, -1)?;
        if let Some(replaced) = &settled.replaced {
            lifecycle::put_back(transaction, settled.verification, replaced)?;
        }
    }
    Ok(())
}

/// `None`: it is settled, or forgotten with its verification.
fn leases(connection: &Connection, settled: &Settled) -> Result<Option<u32>, Fault> {
    let leases = connection
        .prepare_cached("SELECT leases FROM message WHERE verification = ?1 AND id = ?2")?
        .query_row([settled.verification.0, settled.id.0], |row| row.get(0))
        .optional()?;
    Ok(leases.flatten())
}

/// Gives a message back that its process never tried: the next one has it as if this one never had. `sealed`: anew,
/// with the code that gave way to it.
pub(super) fn release(
    connection: &Connection,
    (verification, id, sealed): &(VerificationId, MessageId, Vec<u8>),
    own: &ProcessId,
) -> Result<(), Fault> {
    let leases = connection
        .prepare_cached(
            "SELECT leases FROM message WHERE verification = ?1 AND id = ?2 AND sealed IS NOT NULL AND holder = ?3",
        )?
        .query_row(params![verification.0, id.0, own], |row| row.get(0))
        .optional()?;
    if let Some(leases) = leases {
        connection
            .prepare_cached(
                "UPDATE message SET leases = ?3, sealed = ?4 WHERE verification = ?1 AND id = ?2",
            )?
            .execute(params![verification.0, id.0, take_over::released(leases), sealed])?;
    }
    Ok(())
}

/// Whether another process has a message of the verification.
pub(super) fn is_elsewhere(
    connection: &Connection,
    verification: VerificationId,
    own: Option<ProcessId>,
) -> Result<bool, Fault> {
    let is_elsewhere = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM message WHERE verification = ?1 AND sealed IS NOT NULL AND holder IS NOT ?2)",
        )?
        .query_row(params![verification.0, own], |row| row.get(0))?;
    Ok(is_elsewhere)
}

/// The processes but this one that have messages.
pub(super) fn holders(connection: &Connection, own: &ProcessId) -> Result<Vec<ProcessId>, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT DISTINCT holder FROM message WHERE sealed IS NOT NULL AND holder <> ?1")?;
    let holders = statement.query_map([own], |row| row.get(0))?;
    Ok(holders.collect::<rusqlite::Result<_>>()?)
}

/// Takes messages of a process that is dead. One that cannot be sent any more, or that two processes died over, is
/// settled as unknown.
pub(super) fn take_over(
    transaction: &Transaction<'_>,
    keyring: &Keyring,
    dead: ProcessId,
    own: &ProcessId,
    now: UnixMillis,
    limit: u32,
) -> Result<Vec<OutboxMessage>, Fault> {
    let mut statement = transaction.prepare_cached(
        "SELECT m.id, m.verification, m.sealed, m.leases, coalesce(code.expires_at, t.send_until),
                code.code_used_at IS NOT NULL, v.owner, t.id IS NULL
         FROM message m
         LEFT JOIN text t ON t.id = m.verification
         LEFT JOIN verification v ON v.id = m.verification
         LEFT JOIN verification code ON code.id = coalesce(v.code_of, v.id)
         WHERE m.sealed IS NOT NULL AND m.holder = ?2 LIMIT ?1",
    )?;
    let left = statement
        .query_map(params![limit, dead], |row| {
            let is_used = row.get(5)?;
            let code = row.get::<_, Option<_>>(4)?.map(|expires_at| CodeLife {
                expires_at: time(expires_at),
                is_used,
            });
            Ok((
                MessageId(row.get(0)?),
                VerificationId(row.get(1)?),
                row.get::<_, Vec<u8>>(2)?,
                row.get::<_, u32>(3)?,
                code,
                row.get::<_, Option<String>>(6)?,
                row.get::<_, bool>(7)?,
            ))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut taken = Vec::new();
    for (id, verification, sealed, leases, code, owner, carries_code) in left {
        let owner = owner.map(Into::into);
        let message = open(&sealed, id, verification, owner, carries_code, keyring);
        let left = Left {
            leases,
            code,
            can_be_read: message.is_some(),
        };
        match (take_over::decide(left, now), message) {
            (TakeOver::Taken { leases }, Some(message)) => {
                transaction
                    .prepare_cached(
                        "UPDATE message SET holder = ?3, leases = ?4 WHERE verification = ?1 AND id = ?2",
                    )?
                    .execute(params![verification.0, id.0, own, leases])?;
                taken.push(message);
            }
            _ => settle(transaction, &Settled::unknown(id, verification, now))?,
        }
    }
    Ok(taken)
}
