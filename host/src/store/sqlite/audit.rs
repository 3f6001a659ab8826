//! Who did what. Rows are added and never changed; the schema refuses anything else.

use rusqlite::{Connection, params};

use super::{Fault, millis, time};
use crate::store::Deed;

pub(super) fn record(connection: &Connection, deed: &Deed) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT INTO audit (at, actor, action, subject) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![millis(deed.at), deed.actor, deed.action, deed.subject])?;
    Ok(())
}

/// The latest ones, in their order.
pub(super) fn latest(connection: &Connection, limit: u32) -> Result<Vec<Deed>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT at, actor, action, subject FROM
             (SELECT * FROM audit ORDER BY id DESC LIMIT ?1) ORDER BY id",
    )?;
    let deeds = statement.query_map([limit], |row| {
        Ok(Deed {
            at: time(row.get(0)?),
            actor: row.get(1)?,
            action: row.get(2)?,
            subject: row.get(3)?,
        })
    })?;
    Ok(deeds.collect::<rusqlite::Result<_>>()?)
}
