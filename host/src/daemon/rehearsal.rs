//! What a start would find, without making anything that stays: `phone-verify check` fails where `phone-verify serve`
//! would, and says what a running daemon would make of a reload.
//!
//! Invariant: what is made to try something lies in a folder of its own next to the real one, and is deleted
//! afterwards.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use phone_verify_plugin_host::files::{self, Subject, folder_of};

use super::{Problem, look_at_store};
use crate::{
    entropy::Entropy,
    http::{self, Unbound},
    model::{Listen, NamedBy, Places},
    settings::{Keys, Settings},
    store::sqlite::{JudgedFiles, Sqlite},
};

/// Of the folders that something is tried in.
const TRIAL: &str = ".phone-verify-check-";

/// Why database and keys could not be opened, or made.
pub fn store(settings: &Settings, entropy: &Entropy) -> Vec<Problem> {
    let problems = look_at_store(settings, entropy);
    if !problems.is_empty() {
        return problems;
    }
    let database = &settings.store.database;
    let tried = trial_folder(database, Subject::Database)
        .and_then(|trial| Sqlite::rehearse(database, trial.path(), &JudgedFiles).map_err(Problem::from));
    let made = match &settings.store.keys {
        Keys::File(file) if !file.exists() => trial_folder(file, Subject::KeyFile).map(drop),
        _ => Ok(()),
    };
    [tried, made].into_iter().filter_map(Result::err).collect()
}

/// Where a library is tried: beside where its private copies would lie. Where they lie already, or cannot, it is
/// refused or not as it would be at a start.
pub fn staging(settings: &Settings) -> (PathBuf, Option<tempfile::TempDir>) {
    let staging = &settings.plugins.staging_directory;
    let trial = match staging.symlink_metadata() {
        Ok(_) => None,
        Err(_) => trial_folder(staging, Subject::PrivateCopies).ok(),
    };
    let folder = trial.as_ref().map_or(staging.as_path(), |trial| trial.path());
    (folder.to_owned(), trial)
}

/// A folder beside what would be made at `path`, or beside the first of its folders that would.
fn trial_folder(path: &Path, subject: Subject) -> Result<tempfile::TempDir, Problem> {
    let mut folder = folder_of(path);
    while subject == Subject::PrivateCopies
        && matches!(folder.try_exists(), Ok(false))
        && folder != folder_of(folder)
    {
        folder = folder_of(folder);
    }
    let (beside, _) = files::judge(&folder.join(TRIAL), subject)?;
    files::delete_leftovers(folder_of(&beside), TRIAL);
    tempfile::Builder::new()
        .prefix(TRIAL)
        .tempdir_in(folder_of(&beside))
        .map_err(|error| Problem {
            sentence: format!(
                "nothing can be made in {}, where {} is to be: {}",
                folder.display(),
                path.display(),
                files::told(&error, "make it writable for the user that runs phone-verify")
            ),
            may_pass: files::may_pass(&error),
        })
}

/// What is found where a daemon is to listen.
pub struct Listening {
    /// Where a daemon on the same database listens, so that a start must wait for its end and a reload need not; empty:
    /// none is seen.
    pub daemon: Vec<Listen>,
    /// What keeps a start after its end from listening.
    pub problems: Vec<Problem>,
}

impl Listening {
    /// Whether the daemon listens at these places and at no other. Of a name, only the port is compared, and of port 0
    /// only the address.
    pub fn is_at(&self, places: &[Listen]) -> bool {
        let is_one = |at: &Listen, place: &Listen| match (at, place) {
            (Listen::Address(at), Listen::Address(place)) if place.port() == 0 => at.ip() == place.ip(),
            (Listen::Address(at), Listen::Name(_, port)) => at.port() == *port,
            (at, place) => at == place,
        };
        let is_known = |at: &Listen| places.iter().any(|place| is_one(at, place));
        let is_used = |place: &Listen| self.daemon.iter().any(|at| is_one(at, place));
        self.daemon.iter().all(is_known) && places.iter().all(is_used)
    }
}

/// Looks at all of these places. What is bound is let go at once.
pub async fn listen(places: &[Listen], database: &Path) -> Listening {
    let unbound = http::look(Places {
        all: places,
        named_by: NamedBy::Settings,
    })
    .await;
    let sockets = listeners::seen(database);
    let is_ours = |unbound: &Unbound| {
        let taken = unbound.taken.as_ref();
        let mut holders = sockets
            .iter()
            .filter(|socket| taken.is_some_and(|taken| overlap(&socket.at, taken)))
            .peekable();
        holders.peek().is_some() && holders.all(|socket| socket.is_ours)
    };
    let problems = unbound.into_iter().filter(|unbound| !is_ours(unbound));
    let problems = problems.map(Problem::from).collect();
    let daemon = sockets.into_iter().filter(|socket| socket.is_ours);
    Listening {
        daemon: daemon.map(|socket| socket.at).collect(),
        problems,
    }
}

/// A socket that some process listens with.
struct Seen {
    at: Listen,
    /// Whether that process has the database open.
    is_ours: bool,
}

/// Whether one of them keeps the other from being bound.
fn overlap(held: &Listen, wanted: &Listen) -> bool {
    let (Listen::Address(held), Listen::Address(wanted)) = (held, wanted) else {
        return held == wanted;
    };
    let covers = |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    let (one, other) = (held.ip().to_canonical(), wanted.ip().to_canonical());
    held.port() == wanted.port() && (one == other || covers(one, other) || covers(other, one))
}

#[cfg(target_os = "linux")]
mod listeners {
    //! Finds who listens where, among the processes that this user can see into.

    use std::{
        collections::BTreeSet,
        fs,
        net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
        os::unix::fs::MetadataExt,
        path::Path,
    };

    use super::Seen;
    use crate::model::Listen;

    /// The state of a socket that listens, in `/proc/net/tcp`.
    const LISTENS: &str = "0A";
    /// The flag of a socket that listens, in `/proc/net/unix`: `__SO_ACCEPTCON`.
    const ACCEPTS: &str = "00010000";

    /// All sockets that are listened with.
    pub(super) fn seen(database: &Path) -> Vec<Seen> {
        let ours = of_processes_with(database);
        let all = tcp().into_iter().chain(unix());
        all.map(|(inode, at)| Seen {
            at,
            is_ours: ours.contains(&inode),
        })
        .collect()
    }

    /// The inodes of all sockets of the processes that have this file open.
    fn of_processes_with(database: &Path) -> BTreeSet<u64> {
        let Ok(database) = fs::metadata(database) else {
            return BTreeSet::new();
        };
        let mut all = BTreeSet::new();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(open) = fs::read_dir(process.path().join("fd")) else {
                continue;
            };
            let (mut sockets, mut has_database) = (BTreeSet::new(), false);
            for file in open.flatten() {
                let path = file.path();
                let target = fs::read_link(&path).unwrap_or_default();
                let target = target.to_str().unwrap_or_default();
                if let Some(inode) = target
                    .strip_prefix("socket:[")
                    .and_then(|rest| rest.strip_suffix(']'))
                {
                    sockets.extend(inode.parse::<u64>());
                } else {
                    has_database |= fs::metadata(&path)
                        .is_ok_and(|found| (found.dev(), found.ino()) == (database.dev(), database.ino()));
                }
            }
            if has_database {
                all.append(&mut sockets);
            }
        }
        all
    }

    fn tcp() -> Vec<(u64, Listen)> {
        let mut sockets = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = fs::read_to_string(table).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                if let [_, local, _, LISTENS, _, _, _, _, _, inode, ..] = fields[..]
                    && let (Some(address), Ok(inode)) = (address(local), inode.parse())
                {
                    sockets.push((inode, Listen::Address(address)));
                }
            }
        }
        sockets
    }

    /// `0100007F:1F40`: words of four bytes, each in the order of this machine.
    fn address(text: &str) -> Option<SocketAddr> {
        let (ip, port) = text.split_once(':')?;
        let words = (0..ip.len()).step_by(8).map(|at| {
            let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
            Some(word.to_ne_bytes())
        });
        let bytes = words.collect::<Option<Vec<_>>>()?.concat();
        let ip: IpAddr = match bytes.len() {
            4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        };
        Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
    }

    fn unix() -> Vec<(u64, Listen)> {
        let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let listening = text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().take(7).collect();
            let [_, _, _, ACCEPTS, _, _, inode] = fields[..] else {
                return None;
            };
            // A path may have spaces in it.
            let path = line.get(line.find(" /")? + 1..)?;
            Some((inode.parse().ok()?, Listen::Unix(path.into())))
        });
        listening.collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        #[cfg(target_endian = "little")]
        fn an_address_is_read_as_the_kernel_writes_it() {
            for (text, address_) in [
                ("0100007F:1F40", "127.0.0.1:8000"),
                ("00000000:0050", "0.0.0.0:80"),
                ("00000000000000000000000001000000:1F40", "[::1]:8000"),
                ("0000000000000000FFFF00000100007F:1F40", "[::ffff:127.0.0.1]:8000"),
            ] {
                assert_eq!(address(text).unwrap().to_string(), address_);
            }
            assert_eq!(address("nonsense"), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod listeners {
    //! Elsewhere it is not seen who listens at a port.

    pub(super) fn seen(_database: &std::path::Path) -> Vec<super::Seen> {
        Vec::new()
    }
}
