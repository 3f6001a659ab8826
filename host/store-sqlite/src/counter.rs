//! Counters as rows. What they mean is decided in `rules`.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis, time, writer::Transaction};
use crate::{
    clock::UnixMillis,
    model::Limit,
    rules::{
        cache::{CounterCache, CounterRow, Counters},
        number::Number,
    },
    store::{CapLog, Counted, CounterKey},
};

impl Counters for Transaction<'_> {
    type Error = Fault;

    fn cache(&self) -> &CounterCache {
        &self.counters
    }

    fn read<T: CounterRow>(&self, key: CounterKey) -> Result<T, Fault> {
        read(self, key)
    }

    fn code_used_at(&self, verification: [u8; 16]) -> Result<Option<UnixMillis>, Fault> {
        let used = self
            .prepare_cached("SELECT code_used_at FROM verification WHERE id = ?1")?
            .query_row([verification], |row| row.get::<_, Option<i64>>(0))
            .optional()?;
        Ok(used.flatten().map(time))
    }
}

/// Writes what a group changed.
pub(super) fn write_changes(connection: &Connection, cache: &CounterCache) -> rusqlite::Result<()> {
    cache
        .numbers
        .store_changes(|key, row| write(connection, key, row))?;
    cache.logs.store_changes(|key, row| write(connection, key, row))?;
    cache
        .histories
        .store_changes(|key, row| write(connection, key, row))?;
    cache
        .countries
        .store_changes(|key, row| write(connection, key, row))
}

/// From when on there is room for one more SMS to a number.
pub(super) fn room_at(
    connection: &Connection,
    key: CounterKey,
    limits: &[Limit],
    now: UnixMillis,
) -> Result<UnixMillis, Fault> {
    let reached = read::<Number>(connection, key)?.sent.refusal(limits, 1, now);
    Ok(reached.map_or(now, |reached| reached.until))
}

/// What was counted lately of the whole service and of each country, by what was counted and the country's code.
pub(super) fn caps(connection: &Connection) -> Result<Vec<CapLog>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT key, log FROM counter WHERE key >= ?1 AND key < ?2")?;
    let mut caps = Vec::new();
    for counted in [Counted::Service, Counted::Spend, Counted::Country] {
        // A key is its tag and sixteen bytes: those of one tag lie together.
        let (first, beyond) = ([counted.tag()], [counted.tag() + 1]);
        let mut rows = statement.query([&first[..], &beyond[..]])?;
        while let Some(row) = rows.next()? {
            let key: [u8; 17] = row.get(0)?;
            let country = key[1..].iter().take_while(|byte| **byte != 0);
            let log: Vec<u8> = row.get(1)?;
            caps.push(CapLog {
                counted,
                country: country.map(|byte| char::from(*byte)).collect(),
                log: postcard::from_bytes(&log)
                    .map_err(|_| Fault::corrupt("a counter that cannot be read"))?,
            });
        }
    }
    Ok(caps)
}

fn read<T: CounterRow>(connection: &Connection, key: CounterKey) -> Result<T, Fault> {
    let row = connection
        .prepare_cached("SELECT log FROM counter WHERE key = ?1")?
        .query_row([key.0], |row| {
            Ok(postcard::from_bytes(row.get_ref(0)?.as_blob()?))
        })
        .optional()?;
    row.unwrap_or_else(|| Ok(T::default()))
        .map_err(|_| Fault::corrupt("a counter that cannot be read"))
}

fn write<T: CounterRow>(connection: &Connection, key: CounterKey, row: &T) -> rusqlite::Result<()> {
    let Some(ends_at) = row.ends() else {
        connection
            .prepare_cached("DELETE FROM counter WHERE key = ?1")?
            .execute([key.0])?;
        return Ok(());
    };
    let bytes = postcard::to_stdvec(row).expect("a list of numbers can be written");
    connection
        .prepare_cached("INSERT OR REPLACE INTO counter (key, log, ends_at) VALUES (?1, ?2, ?3)")?
        .execute(params![key.0, bytes, millis(ends_at)])?;
    Ok(())
}
