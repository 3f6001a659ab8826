//! The backends that messages were sent with: a row names its backend by a small number, since there are many rows and
//! few backends.

use rusqlite::{Connection, OptionalExtension};

use super::Fault;

/// The number of a backend, which is given to it at its first message.
pub(super) fn id_of(connection: &Connection, name: &str) -> Result<i64, Fault> {
    let known = connection
        .prepare_cached("SELECT id FROM backend WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let id = connection
        .prepare_cached("INSERT INTO backend (name) VALUES (?1) RETURNING id")?
        .query_row([name], |row| row.get(0))?;
    Ok(id)
}
