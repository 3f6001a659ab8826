//! Decisions of the pumping guard as rows. They are made in `rules::guard`.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::{Fault, writer::Transaction};
use crate::{
    clock::UnixMillis,
    model::{
        Region,
        guard::{Action, Conversion, Decision},
    },
    rules::{
        admission::{self, Admission},
        guard::Finding,
        retention::{first_id_at, made_at},
    },
    store::{OutboxMessage, keyring::Digest},
};

/// The codes that a conversion is computed from, the latest ones.
const MAX_CODES: u32 = 10_000;

/// Has it decided whether a message may go, and records what the guard found.
pub(super) fn admit(
    transaction: &Transaction<'_>,
    message: &OutboxMessage,
    number: &Digest,
    now: UnixMillis,
) -> Result<Admission, Fault> {
    let admission = admission::decide(transaction, message.charge(), now)?;
    match &admission {
        Admission::Blocked(_, finding) => record(transaction, message, number, finding, true)?,
        Admission::Admitted(Some(finding)) => record(transaction, message, number, finding, false)?,
        Admission::Admitted(None) | Admission::LimitReached(_) => {}
    }
    Ok(admission)
}

fn record(
    transaction: &Transaction<'_>,
    message: &OutboxMessage,
    number: &Digest,
    finding: &Finding,
    is_blocked: bool,
) -> Result<(), Fault> {
    let country = message.number.country();
    let reasons: Vec<_> = finding.reasons.iter().map(|reason| reason.code()).collect();
    let decided = reasons.iter().map(|reason| (*reason, is_blocked));
    transaction.decisions.borrow_mut().extend(decided);
    transaction
        .prepare_cached(
            "INSERT INTO decision (id, number, number_masked, country, blocked, verified_before, reasons)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            message.id.0,
            number,
            message.number.masked(),
            country.map(Region::code).unwrap_or_default(),
            is_blocked,
            finding.verified_before,
            json!(reasons).to_string()
        ])?;
    Ok(())
}

/// The latest decisions, the latest one first.
pub(super) fn decisions(connection: &Connection, limit: u32) -> Result<Vec<Decision>, Fault> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {DECISION} FROM decision ORDER BY id DESC LIMIT ?1"
    ))?;
    let mut rows = statement.query([limit])?;
    let mut decisions = Vec::new();
    while let Some(row) = rows.next()? {
        decisions.push(read_decision(row)?);
    }
    Ok(decisions)
}

/// The one about a message.
pub(super) fn decision(connection: &Connection, id: [u8; 16]) -> Result<Option<Decision>, Fault> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {DECISION} FROM decision WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(read_decision).transpose()
}

const DECISION: &str = "id, number_masked, country, blocked, verified_before, reasons";

fn read_decision(row: &Row<'_>) -> Result<Decision, Fault> {
    let id: [u8; 16] = row.get(0)?;
    let reasons: String = row.get(5)?;
    Ok(Decision {
        at: made_at(id),
        number: row.get(1)?,
        country: row.get(2)?,
        action: if row.get(3)? {
            Action::Blocked
        } else {
            Action::Allowed
        },
        verified_before: row.get(4)?,
        reasons: serde_json::from_str(&reasons)
            .map_err(|_| Fault::corrupt("a decision without readable reasons"))?,
    })
}

/// Of the numbers that codes were made for in a time, without those that certainly were not sent: how many, and how
/// many sent one back.
pub(super) fn conversion(
    connection: &Connection,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Conversion, Fault> {
    let found = connection
        .prepare_cached(
            "SELECT count(*), count(used_at) FROM (
                 SELECT max(code_used_at) AS used_at FROM (
                     SELECT number, code_used_at FROM verification
                     WHERE id >= ?1 AND id < ?2 AND code_of IS NULL AND guarded AND ended IS NOT 'not_sent'
                     ORDER BY id DESC LIMIT ?3)
                 GROUP BY number)",
        )?
        .query_row(params![first_id_at(from), first_id_at(to), MAX_CODES], |row| {
            Ok(Conversion {
                sent: row.get::<_, u32>(0)?.into(),
                verified: row.get::<_, u32>(1)?.into(),
            })
        })
        .optional()?;
    Ok(found.unwrap_or(Conversion { sent: 0, verified: 0 }))
}
