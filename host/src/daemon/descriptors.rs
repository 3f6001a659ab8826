//! How many files and sockets the system lets this process open, and how many of them connections may take.
//!
//! Invariant: connections never take what is needed to answer them: database, libraries, providers. And a daemon that
//! could not answer any does not start: whatever is opened last would fail first, with a sentence about that.

use super::Problem;

/// What a process has open before it begins: its standard streams.
const STANDARD_STREAMS: usize = 3;
/// Log, threads and signals.
const OWN: usize = 12;
/// The database and its log for the writer and four readers, their shared memory, and the lock of this process.
const STORE: usize = 12;
/// A worker's library and channels, and as much while another one starts in its place.
const LIBRARY: usize = 8;
/// Four connections, and as many to the provider.
const CLIENTS: usize = 8;

/// The most that is kept for everything that is no connection of a client.
const MAX_RESERVE: usize = 1024;

/// Raises the limit as far as this process may, and says what it is then; `None`: there is none, or it is not known.
pub(super) fn raise_limit() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        // The lower of the two limits is for programs that can count no further.
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        let current = if setrlimit(Resource::Nofile, raised).is_ok() {
            limit.maximum
        } else {
            limit.current
        };
        current.and_then(|limit| usize::try_from(limit).ok())
    }
    #[cfg(not(unix))]
    None
}

/// Why this process could not serve at so many places; `None`: it may open as many as that takes.
pub(crate) fn shortage(places: usize) -> Option<Problem> {
    // Not what is open by now, which differs from command to command.
    let needed = needed(places);
    let limit = raise_limit().filter(|limit| *limit < needed)?;
    Some(Problem::lasting(format!(
        "the system lets this process open {limit} files and sockets, and to serve it needs at least {needed}; raise the limit \
         on open files (ulimit -n, LimitNOFILE= of a systemd unit, --ulimit nofile= of a container)"
    )))
}

fn needed(places: usize) -> usize {
    STANDARD_STREAMS + places + OWN + STORE + LIBRARY + CLIENTS
}

/// Connections at once: as many as the settings say, or as the limit leaves room for.
pub(super) fn max_connections(settings: usize, limit: Option<usize>) -> usize {
    let Some(limit) = limit else { return settings };
    settings.min(room(limit, open()))
}

/// Half of what is not open yet, and all of it beyond the largest reserve.
fn room(limit: usize, open: usize) -> usize {
    let free = limit.saturating_sub(open);
    (free - (free / 2).min(MAX_RESERVE)).max(1)
}

/// What this process has open, with libraries and database.
fn open() -> usize {
    std::fs::read_dir("/dev/fd").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_with_no_more_than_it_needs_has_connections_and_a_reserve() {
        for places in [1, 16] {
            let limit = needed(places);
            assert!(room(limit, limit - CLIENTS) >= CLIENTS / 2, "{places}");
        }
    }

    #[test]
    fn a_reserve_is_kept_whatever_the_limit() {
        for (limit, open, connections) in [
            (64, 24, 20),
            (64, 64, 1),
            (16, 24, 1),
            (1024, 24, 500),
            (65_536, 36, 64_476),
        ] {
            assert_eq!(room(limit, open), connections, "{limit}");
        }
        assert_eq!(max_connections(8192, None), 8192);
        assert_eq!(max_connections(8192, Some(usize::MAX)), 8192);
    }
}
