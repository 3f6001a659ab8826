//! What a start would find, without making anything that stays: `phone-verify check` fails where `phone-verify serve` would,
//! and says what a running daemon would make of a reload.
//!
//! Invariant: what is made to try something lies in a folder of its own next to the real one, and is deleted afterwards.

use std::path::{Path, PathBuf};

use super::{Problem, look_at_store};
use crate::{
    entropy::Entropy,
    files::{self, Subject, folder_of},
    http,
    model::Listen,
    settings::{Keys, Settings},
    store::sqlite::Sqlite,
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
        .and_then(|trial| Sqlite::rehearse(database, trial.path()).map_err(Problem::from));
    let made = match &settings.store.keys {
        Keys::File(file) if !file.exists() => trial_folder(file, Subject::KeyFile).map(drop),
        _ => Ok(()),
    };
    [tried, made].into_iter().filter_map(Result::err).collect()
}

/// Where a library is tried: beside where its private copies would lie. Where they lie already, or cannot, it is refused or
/// not as it would be at a start.
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

/// Whether a daemon on the same database listens at some of these places, so that a start must wait for its end and a reload
/// need not; and what is wrong with the others. What is bound is let go at once.
pub async fn listen(places: &[Listen], database: &Path) -> (bool, Vec<Problem>) {
    let unbound = http::look(places).await;
    let (ours, others): (Vec<_>, Vec<_>) = unbound.into_iter().partition(|unbound| {
        let taken = unbound.taken.as_ref();
        taken.is_some_and(|place| listener::is_of_database(place, database))
    });
    (!ours.is_empty(), others.into_iter().map(Problem::from).collect())
}

#[cfg(target_os = "linux")]
mod listener {
    //! Finds whoever listens at a place, among the processes that this user can see into.

    use std::{fs, os::unix::fs::MetadataExt, path::Path};

    use crate::model::Listen;

    /// The state of a socket that listens, in `/proc/net/tcp`.
    const LISTENS: &str = "0A";

    /// Whether a process that listens there has this database open.
    pub(super) fn is_of_database(place: &Listen, database: &Path) -> bool {
        let Ok(database) = fs::metadata(database) else {
            return false;
        };
        let sockets = match place {
            Listen::Address(address) => sockets(address.port()),
            Listen::Unix(path) => unix_sockets(path),
            Listen::Name(..) => Vec::new(),
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|process| fs::read_dir(process.path().join("fd")).ok())
            .any(|open| {
                let (mut listens, mut has_database) = (false, false);
                for file in open.flatten() {
                    let path = file.path();
                    match fs::read_link(&path) {
                        Ok(target) if sockets.iter().any(|socket| target == Path::new(socket)) => {
                            listens = true;
                        }
                        _ => {
                            has_database |= fs::metadata(&path).is_ok_and(|found| {
                                (found.dev(), found.ino()) == (database.dev(), database.ino())
                            });
                        }
                    }
                }
                listens && has_database
            })
    }

    /// The sockets that listen at a port, as links to them read.
    fn sockets(port: u16) -> Vec<String> {
        let port = format!(":{port:04X}");
        let mut sockets = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = fs::read_to_string(table).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                if let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..]
                    && state == LISTENS
                    && local.ends_with(&port)
                {
                    sockets.push(format!("socket:[{inode}]"));
                }
            }
        }
        sockets
    }

    /// The sockets at a path, as links to them read.
    fn unix_sockets(path: &Path) -> Vec<String> {
        let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let at_path = text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().take(7).collect();
            let [.., inode] = fields[..] else { return None };
            line.ends_with(&format!(" {}", path.display()))
                .then(|| format!("socket:[{inode}]"))
        });
        at_path.collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod listener {
    //! Elsewhere it is not seen who listens at a port.

    pub(super) fn is_of_database(_place: &crate::model::Listen, _database: &std::path::Path) -> bool {
        false
    }
}
