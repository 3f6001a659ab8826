//! The service time of the processes on a database, kept over their restarts.
//!
//! What they mean for the clock of a process is decided in `rules::timeline`.

use rusqlite::{Connection, OptionalExtension, params};

use super::Fault;
use crate::{
    clock::{Clock, Timeline, UnixMillis},
    rules::{
        retention::made_at,
        timeline::{goes_on_at, is_news},
    },
};

/// Has the clock of a process that begins go on where the others on the database are. Returns whether they should be
/// told.
pub(super) fn join(connection: &Connection, clock: &Clock) -> Result<bool, Fault> {
    let known = read(connection)?;
    let follows = known.as_ref().is_some_and(|known| clock.follow(known));
    if let Some(time) = goes_on_at(clock.now(), latest(connection)?, follows) {
        clock.not_before(time);
    }
    Ok(is_news(clock.timeline().as_ref(), known.as_ref()))
}

/// Has the clock agree with the others, and tells them if it is ahead.
pub(super) fn share(connection: &Connection, clock: &Clock) -> Result<(), Fault> {
    let known = read(connection)?;
    if let Some(known) = &known {
        clock.follow(known);
    }
    match clock.timeline() {
        Some(own) if is_news(Some(&own), known.as_ref()) => write(connection, &own),
        _ => Ok(()),
    }
}

/// Whether there is something to share, without a look at the database that others would wait for.
pub(super) fn has_news(connection: &Connection, clock: &Clock) -> Result<bool, Fault> {
    let known = read(connection)?;
    if let Some(known) = &known {
        clock.follow(known);
    }
    Ok(is_news(clock.timeline().as_ref(), known.as_ref()))
}

fn read(connection: &Connection) -> Result<Option<Timeline>, Fault> {
    let found = connection
        .prepare_cached("SELECT boot, lead_ms FROM timeline")?
        .query_row([], |row| {
            let lead_ms: i64 = row.get(1)?;
            Ok(Timeline {
                boot: row.get(0)?,
                lead_ms: u64::try_from(lead_ms).unwrap_or(0),
            })
        })
        .optional()?;
    Ok(found)
}

fn write(connection: &Connection, own: &Timeline) -> Result<(), Fault> {
    connection.prepare_cached("DELETE FROM timeline")?.execute([])?;
    connection
        .prepare_cached("INSERT INTO timeline (boot, lead_ms) VALUES (?1, ?2)")?
        .execute(params![own.boot, i64::try_from(own.lead_ms).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// When the latest verification began.
fn latest(connection: &Connection) -> Result<Option<UnixMillis>, Fault> {
    let id = connection
        .prepare_cached("SELECT id FROM verification ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get::<_, [u8; 16]>(0))
        .optional()?;
    Ok(id.map(made_at))
}
