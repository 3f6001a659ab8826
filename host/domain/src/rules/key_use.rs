//! Which of the server's keys are in use on a database, by what each process says now and then: whether one that
//! another process uses is missing here, and under which one all of them count.
//!
//! Invariant: the order in which keys were first used is the same for all processes on one database, whatever the order
//! in which each of them names its keys.

use std::time::Duration;

use crate::clock::UnixMillis;

/// How often a process says that it uses its current key.
const WORD_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long after that a code can be good that was made with it: the longest life of a code, and an interval.
const WORD_LIFETIME: Duration = Duration::from_secs(25 * 60 * 60);

/// A key that a database was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Names the key.
    pub id: u32,
    /// When it was first used; zero: before there was such a record.
    pub since: UnixMillis,
    /// When a process last said that it uses it; zero: none did.
    pub used: UnixMillis,
}

impl KeyUse {
    /// What is known of it once a process says that it uses it.
    #[must_use]
    pub fn noted(self, now: UnixMillis) -> Self {
        let since = if self.since == UnixMillis(0) {
            now
        } else {
            self.since
        };
        Self {
            since,
            used: now,
            ..self
        }
    }
}

/// What the database says about the keys to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whether it was written lately with a key that came after all that this process has.
    pub lacks: bool,
    /// Whether it is to be said again that this process uses its current key.
    pub is_stale: bool,
    /// The key that was there first, of those that this process has.
    pub oldest: Option<u32>,
}

/// What it says to a process with these keys, the current one first.
pub fn review(keys: &[KeyUse], held: &[u32], now: UnixMillis) -> Known {
    let age = |key: &KeyUse| Duration::from_millis(now.0.saturating_sub(key.used.0));
    let place = |key: &KeyUse| held.iter().position(|id| *id == key.id);
    let newest = keys
        .iter()
        .filter(|key| place(key).is_some())
        .map(|key| key.since)
        .max();
    let lacks = keys.iter().any(|key| {
        let is_newer = newest.is_none_or(|newest| key.since > newest);
        place(key).is_none() && is_newer && age(key) < WORD_LIFETIME
    });
    let current = keys.iter().find(|key| held.first() == Some(&key.id));
    let is_stale = current.is_none_or(|key| key.since == UnixMillis(0) || age(key) >= WORD_INTERVAL);
    // Of those before there was a record, the one that is named last, as was the rule then.
    let first = keys
        .iter()
        .filter_map(|key| Some((key.since, usize::MAX - place(key)?, key.id)))
        .min();
    Known {
        lacks,
        is_stale,
        oldest: first.map(|(_, _, id)| id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    /// What is known of the keys of a database.
    #[derive(Default)]
    struct Database(Vec<KeyUse>);

    impl Database {
        fn note(&mut self, id: u32, now: u64) {
            let before = self.0.iter().position(|key| key.id == id);
            let at = before.unwrap_or_else(|| {
                self.has(id);
                self.0.len() - 1
            });
            self.0[at] = self.0[at].noted(UnixMillis(now));
        }

        /// Written before there was a record.
        fn has(&mut self, id: u32) {
            let (since, used) = (UnixMillis(0), UnixMillis(0));
            self.0.push(KeyUse { id, since, used });
        }

        fn review(&self, held: &[u32], now: u64) -> (bool, Option<u32>) {
            let known = review(&self.0, held, UnixMillis(now));
            (known.lacks, known.oldest)
        }
    }

    #[test]
    fn a_key_that_came_later_is_missed_and_one_that_was_taken_out_is_not() {
        let mut database = Database::default();
        database.note(1, HOUR);
        assert_eq!(database.review(&[1], HOUR), (false, Some(1)));
        assert_eq!(
            database.review(&[1, 2], HOUR),
            (false, Some(1)),
            "a new one that waits"
        );
        database.note(2, 5 * HOUR);
        assert_eq!(
            database.review(&[2, 1], 5 * HOUR),
            (false, Some(1)),
            "counts as before"
        );
        assert_eq!(database.review(&[1, 2], 5 * HOUR), (false, Some(1)));
        assert_eq!(database.review(&[1], 5 * HOUR), (true, Some(1)));
        database.note(1, 6 * HOUR);
        assert_eq!(
            database.review(&[1], 6 * HOUR),
            (true, Some(1)),
            "however late it is used"
        );
        assert_eq!(
            database.review(&[2], 6 * HOUR),
            (false, Some(2)),
            "the old one is taken out"
        );
        assert_eq!(
            database.review(&[1], 30 * HOUR),
            (false, Some(1)),
            "no code of it is good"
        );
    }

    #[test]
    fn what_is_used_is_said_again_after_an_hour() {
        let mut database = Database::default();
        let is_stale = |database: &Database, now| review(&database.0, &[1], UnixMillis(now)).is_stale;
        assert!(is_stale(&database, HOUR));
        database.note(1, HOUR);
        assert!(!is_stale(&database, HOUR + HOUR / 2));
        assert!(is_stale(&database, 2 * HOUR));
    }

    #[test]
    fn keys_of_before_there_was_a_record_are_older_the_later_they_are_named() {
        let mut database = Database::default();
        database.has(1);
        database.has(2);
        assert_eq!(database.review(&[2, 1], HOUR), (false, Some(1)));
        database.note(2, HOUR);
        assert_eq!(database.review(&[2, 1], HOUR), (false, Some(1)));
    }
}
