//! All that is stored about one number: shown to whoever may see it, and forgotten.

use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use super::{Fault, event, guard, lifecycle, text, time};
use crate::{
    model::{MessageId, PhoneNumber, VerificationId},
    store::{BulkRecord, CheckRules, JobId, Keyring, Records, keyring::Digest},
};

/// Rows that are deleted in one step, so that registrations get in between.
const STEP: usize = 1000;

/// Where the records of a number are.
#[derive(Default)]
pub(super) struct Places {
    verifications: Vec<VerificationId>,
    texts: Vec<MessageId>,
    items: Vec<(JobId, i64)>,
    decisions: Vec<[u8; 16]>,
}

impl Places {
    pub(super) fn len(&self) -> u64 {
        (self.verifications.len() + self.texts.len() + self.items.len() + self.decisions.len()) as u64
    }

    /// In steps that leave room for others.
    pub(super) fn steps(self) -> Vec<Self> {
        let verifications = self.verifications.chunks(STEP).map(|chunk| Self {
            verifications: chunk.to_vec(),
            ..Self::default()
        });
        let texts = self.texts.chunks(STEP).map(|chunk| Self {
            texts: chunk.to_vec(),
            ..Self::default()
        });
        let items = self.items.chunks(STEP).map(|chunk| Self {
            items: chunk.to_vec(),
            ..Self::default()
        });
        let decisions = self.decisions.chunks(STEP).map(|chunk| Self {
            decisions: chunk.to_vec(),
            ..Self::default()
        });
        verifications.chain(texts).chain(items).chain(decisions).collect()
    }
}

/// Looks through everything: numbers are no index, since this is asked for once in a while.
pub(super) fn places(
    connection: &Connection,
    keyring: &Keyring,
    number: &PhoneNumber,
    digests: &[Digest],
) -> Result<Places, Fault> {
    let ids = |table: &str| -> rusqlite::Result<Vec<[u8; 16]>> {
        let mut statement =
            connection.prepare_cached(&format!("SELECT id FROM {table} WHERE number = ?1"))?;
        let mut ids = Vec::new();
        for digest in digests {
            let found = statement.query_map([digest], |row| row.get::<_, [u8; 16]>(0))?;
            ids.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        ids.sort_unstable();
        Ok(ids)
    };
    let verifications = ids("verification")?.into_iter().map(VerificationId).collect();
    let texts = ids("text")?.into_iter().map(MessageId).collect();
    let decisions = ids("decision")?;
    let mut items = Vec::new();
    let mut statement = connection.prepare_cached("SELECT job, item, sealed FROM bulk_item")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let job = JobId(row.get(0)?);
        let sealed = row.get_ref(2)?.as_blob().unwrap_or_default();
        let opened: Option<Zeroizing<String>> = keyring.open_sealed(sealed, &job.0);
        if opened.is_some_and(|opened| *opened == number.e164()) {
            items.push((job, row.get(1)?));
        }
    }
    Ok(Places {
        verifications,
        texts,
        items,
        decisions,
    })
}

pub(super) fn records(
    connection: &Connection,
    keyring: &Keyring,
    places: &Places,
    rules: CheckRules,
) -> Result<Records, Fault> {
    let verifications = places
        .verifications
        .iter()
        .filter_map(|id| lifecycle::find(connection, keyring, *id, rules, &[]).transpose())
        .collect::<Result<_, _>>()?;
    let mut statement = connection.prepare_cached(
        "SELECT created_at, state FROM bulk_item JOIN bulk_job ON id = job WHERE job = ?1 AND item = ?2",
    )?;
    let messages = places
        .items
        .iter()
        .map(|(job, item)| {
            statement.query_row(params![job.0, item], |row| {
                Ok(BulkRecord {
                    job: *job,
                    created_at: time(row.get(0)?),
                    state: row.get(1)?,
                })
            })
        })
        .collect::<rusqlite::Result<_>>()?;
    let decisions = places
        .decisions
        .iter()
        .filter_map(|id| guard::decision(connection, *id).transpose())
        .collect::<Result<_, _>>()?;
    let texts = places
        .texts
        .iter()
        .filter_map(|id| text::find(connection, *id).transpose())
        .collect::<Result<_, _>>()?;
    Ok(Records {
        verifications,
        texts,
        messages,
        decisions,
    })
}

pub(super) fn delete(connection: &Connection, places: &Places) -> Result<(), Fault> {
    let ids = places.verifications.iter().map(|id| id.0);
    for subject in ids.chain(places.texts.iter().map(|id| id.0)) {
        event::forget(connection, subject)?;
    }
    for id in &places.verifications {
        for table in ["pending", "message", "request"] {
            connection
                .prepare_cached(&format!("DELETE FROM {table} WHERE verification = ?1"))?
                .execute([id.0])?;
        }
        connection
            .prepare_cached("DELETE FROM verification WHERE id = ?1")?
            .execute([id.0])?;
    }
    for id in &places.texts {
        for (table, key) in [
            ("message", "verification"),
            ("request", "verification"),
            ("text", "id"),
        ] {
            connection
                .prepare_cached(&format!("DELETE FROM {table} WHERE {key} = ?1"))?
                .execute([id.0])?;
        }
    }
    for (job, item) in &places.items {
        connection
            .prepare_cached("DELETE FROM bulk_item WHERE job = ?1 AND item = ?2")?
            .execute(params![job.0, item])?;
    }
    for id in &places.decisions {
        connection
            .prepare_cached("DELETE FROM decision WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(())
}
