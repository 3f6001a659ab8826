//! What providers report about messages: recorded with the message, or kept for a while if its message is not known yet.
//!
//! Invariant: a message is found by its backend, its name in the settings included, and the provider's id alone. What a report changes is decided in
//! `rules::receipt`.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{
    Fault, backend,
    event::{self, Happening},
    millis,
    writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{
        Cost, Currency, Delivery, DeliveryReport, EventDetails, EventKind, FailureClass, MessageId,
        ProviderMessageId, Region, Reported, ReportedMessage, ReportedState, VerificationId,
    },
    rules::receipt::{EARLY_REPORT_MILLIS, Judged, MAX_EARLY_REPORTS, decide},
    store::{EarlyReports, Keyring, ReportOutcome},
};

/// Kept reports that are recorded in one transaction.
const STEP: u32 = 500;

/// [`Reported`], as it is stored.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    received_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_micros: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segments: Option<u32>,
}

impl Stored {
    fn of(reported: &Reported) -> Self {
        Self {
            received_at: reported.received_at.0,
            class: reported.class.map(|class| class.as_str().to_owned()),
            code: reported.code.clone(),
            at: reported.at.map(|at| at.0),
            cost_micros: reported.cost.map(|cost| cost.micros),
            currency: reported.cost.map(|cost| cost.currency.as_str().to_owned()),
            segments: reported.segments,
        }
    }

    fn into_reported(self) -> Reported {
        let currency = self.currency.as_deref().and_then(Currency::parse);
        let cost = self.cost_micros.zip(currency);
        Reported {
            received_at: UnixMillis(self.received_at),
            class: self
                .class
                .map(|class| FailureClass::parse(&class).unwrap_or(FailureClass::Internal)),
            code: self.code,
            at: self.at.map(UnixMillis),
            cost: cost.map(|(micros, currency)| Cost { micros, currency }),
            segments: self.segments,
        }
    }
}

/// Reads the column of a message.
pub(super) fn read(stored: Option<String>) -> Result<Option<Reported>, Fault> {
    let Some(stored) = stored else { return Ok(None) };
    serde_json::from_str::<Stored>(&stored)
        .map(|stored| Some(stored.into_reported()))
        .map_err(|_| Fault::corrupt("a message whose report cannot be read"))
}

fn written(stored: &impl Serialize) -> String {
    serde_json::to_string(stored).expect("texts and numbers can be written")
}

/// A report with the digests of its message made.
pub(super) struct Row {
    report: DeliveryReport,
    digests: Vec<[u8; 16]>,
}

impl Row {
    pub(super) fn prepare(report: DeliveryReport, member: &str, keyring: &Keyring) -> Self {
        Self {
            digests: keyring.provider_id_digests(member, report.message_id.expose()),
            report,
        }
    }
}

/// Records reports of the provider of one backend.
pub(super) fn apply(
    connection: &Transaction<'_>,
    backend: &str,
    rows: &[Row],
    now: UnixMillis,
) -> Result<Vec<ReportOutcome>, Fault> {
    let backend_id = backend::id_of(connection, backend)?;
    rows.iter()
        .map(|Row { report, digests }| {
            for digest in digests {
                if let Some(outcome) = apply_one(connection, (backend_id, backend), digest, report, now)? {
                    return Ok(outcome);
                }
            }
            keep(connection, backend_id, &digests[0], report, now)
        })
        .collect()
}

/// `None`: no message has this digest.
fn apply_one(
    connection: &Transaction<'_>,
    (backend_id, backend): (i64, &str),
    digest: &[u8; 16],
    report: &DeliveryReport,
    now: UnixMillis,
) -> Result<Option<ReportOutcome>, Fault> {
    // A provider that gives an id again means the latest message.
    let found = connection
        .prepare_cached(
            "SELECT verification, n, id, state, report, country FROM message
             WHERE provider_digest = ?1 AND backend = ?2 ORDER BY verification DESC, n DESC LIMIT 1",
        )?
        .query_row(params![digest, backend_id], |row| {
            Ok((
                VerificationId(row.get(0)?),
                row.get::<_, i64>(1)?,
                MessageId(row.get(2)?),
                Delivery::of_name(&row.get::<_, String>(3)?),
                row.get::<_, Option<String>>(4)?,
                row.get::<_, Option<String>>(5)?,
            ))
        })
        .optional()?;
    let Some((verification, n, id, before, stored, country)) = found else {
        return Ok(None);
    };
    let known = read(stored)?;
    let Judged::Recorded { delivery, reported } = decide(before, known.as_ref(), report, now) else {
        return Ok(Some(ReportOutcome::NothingNew));
    };
    connection
        .prepare_cached("UPDATE message SET state = ?3, report = ?4 WHERE verification = ?1 AND n = ?2")?
        .execute(params![
            verification.0,
            n,
            delivery.as_str(),
            written(&Stored::of(&reported))
        ])?;
    if delivery != before {
        let details = || EventDetails {
            backend: Some(backend.to_owned()),
            class: reported.class,
            code: reported.code.clone(),
        };
        let happening = Happening {
            kind: EventKind::of_message(delivery),
            at: now,
            subject: verification,
            message: Some(id),
            number: None,
            details: &details,
        };
        event::record(connection, &happening)?;
    }
    Ok(Some(ReportOutcome::Recorded(Box::new(ReportedMessage {
        id,
        verification,
        backend: backend.to_owned(),
        country: country.as_deref().and_then(Region::parse),
        delivery,
        is_new_state: delivery != before,
        reported,
    }))))
}

/// Keeps a report whose message is not known, unless as many as may be are kept.
fn keep(
    connection: &Connection,
    backend: i64,
    digest: &[u8; 16],
    report: &DeliveryReport,
    now: UnixMillis,
) -> Result<ReportOutcome, Fault> {
    // The rows leave in any order, so this is how many there are at most. It costs no count.
    let kept = connection
        .prepare_cached(
            "SELECT coalesce((SELECT max(id) FROM early_report) - (SELECT min(id) FROM early_report) + 1, 0)",
        )?
        .query_row([], |row| row.get::<_, u32>(0))?;
    if kept >= MAX_EARLY_REPORTS {
        return Ok(ReportOutcome::Unknown);
    }
    let rest = Stored::of(&Reported::of(report, now));
    connection
        .prepare_cached(
            "INSERT INTO early_report (backend, provider_digest, received_at, report) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            backend,
            digest,
            millis(now),
            written(&(report.state.as_str(), rest))
        ])?;
    Ok(ReportOutcome::Early)
}

/// Which kept reports there is something to do about.
#[derive(Default)]
pub(super) struct Due {
    known: Vec<i64>,
    has_old: bool,
    waiting: u64,
}

impl Due {
    pub(super) fn is_nothing(&self) -> bool {
        self.known.is_empty() && !self.has_old
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }
}

fn oldest_kept(now: UnixMillis) -> i64 {
    millis(UnixMillis(now.0.saturating_sub(EARLY_REPORT_MILLIS)))
}

/// Looks through the kept reports, without a lock on the database.
pub(super) fn due(connection: &Connection, now: UnixMillis) -> Result<Due, Fault> {
    let (waiting, has_old) = connection
        .prepare_cached("SELECT count(*), coalesce(min(received_at) < ?1, 0) FROM early_report")?
        .query_row([oldest_kept(now)], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
    if waiting == 0 {
        return Ok(Due::default());
    }
    let mut statement = connection.prepare_cached(
        "SELECT id FROM early_report e WHERE EXISTS
             (SELECT 1 FROM message m WHERE m.provider_digest = e.provider_digest AND m.backend = e.backend)
         ORDER BY id LIMIT ?1",
    )?;
    let known = statement.query_map([STEP], |row| row.get(0))?;
    Ok(Due {
        known: known.collect::<rusqlite::Result<_>>()?,
        has_old,
        waiting: u64::try_from(waiting).unwrap_or(0),
    })
}

/// Records kept reports whose message is known by now, and gives up those that are too old.
pub(super) fn apply_early(
    connection: &Transaction<'_>,
    due: &Due,
    now: UnixMillis,
) -> Result<EarlyReports, Fault> {
    let mut recorded = Vec::new();
    for id in &due.known {
        let kept = connection
            .prepare_cached(
                "DELETE FROM early_report WHERE id = ?1
                 RETURNING backend, (SELECT name FROM backend b WHERE b.id = early_report.backend), provider_digest, report",
            )?
            .query_row([id], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, [u8; 16]>(2)?,
                    row.get::<_, String>(3)?,
                ))
            })
            .optional()?;
        // Another process may have been faster.
        let Some((backend_id, backend, digest, stored)) = kept else {
            continue;
        };
        let (report, received_at) = kept_report(&stored)?;
        let outcome = apply_one(connection, (backend_id, &backend), &digest, &report, received_at)?;
        if let Some(ReportOutcome::Recorded(message)) = outcome {
            recorded.push(*message);
        }
    }
    let unknown = connection
        .prepare_cached("DELETE FROM early_report WHERE received_at < ?1")?
        .execute([oldest_kept(now)])? as u64;
    let left = connection
        .prepare_cached("SELECT count(*) FROM early_report")?
        .query_row([], |row| row.get::<_, i64>(0))?;
    Ok(EarlyReports {
        recorded,
        unknown,
        waiting: u64::try_from(left).unwrap_or(0),
    })
}

/// A kept report, and when it came in. It is found by its digest, so its id does not matter any more.
fn kept_report(stored: &str) -> Result<(DeliveryReport, UnixMillis), Fault> {
    let cannot_be_read = || Fault::corrupt("a kept report cannot be read");
    let (state, stored): (String, Stored) = serde_json::from_str(stored).map_err(|_| cannot_be_read())?;
    let rest = stored.into_reported();
    let report = DeliveryReport {
        message_id: ProviderMessageId::new("kept").ok_or_else(cannot_be_read)?,
        state: ReportedState::parse(&state).ok_or_else(cannot_be_read)?,
        class: rest.class,
        code: rest.code,
        at: rest.at,
        cost: rest.cost,
        segments: rest.segments,
    };
    Ok((report, rest.received_at))
}
