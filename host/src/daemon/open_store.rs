//! Opens the database of the settings with its keys, or says why that cannot be.
//!
//! Invariant: a database whose keys are lost is not opened with new ones, and what only reads makes none.

use std::{path::Path, sync::Arc};

use phone_verify_plugin_host::files::folder_of;

use super::Problem;
use crate::{
    clock::Clock,
    entropy::Entropy,
    settings::{Keys, Settings},
    store::{
        Keyring, Store, StoreObserver, key_file,
        sqlite::{self, JudgedFiles, Sqlite},
    },
    verifier::Administration,
};

/// Folders of the database and its keys that are not there. None is made: perhaps a disk is not mounted yet.
pub fn missing_folders(settings: &Settings) -> Vec<Problem> {
    let key_file = match &settings.store.keys {
        Keys::File(file) => Some(("key_file", file)),
        Keys::Given(_) => None,
    };
    let files = [Some(("url", &settings.store.database)), key_file];
    let mut folders: Vec<&Path> = Vec::new();
    let mut problems = Vec::new();
    for (key, file) in files.into_iter().flatten() {
        let folder = folder_of(file);
        if !folders.contains(&folder) && is_missing(folder) {
            folders.push(folder);
            problems.push(Problem::lasting(format!(
                "[store] {key} names {}, and there is no folder {}; make it, or correct {key}",
                file.display(),
                folder.display()
            )));
        }
    }
    problems
}

/// The settings without a record of the libraries in use, where that would lie in a folder that is missing: that is
/// reported already, and a start makes neither.
pub fn without_lock_file_in_a_missing_folder(settings: &mut Settings) {
    let lock_file = &mut settings.plugins.trust.lock_file;
    lock_file.take_if(|file| {
        folder_of(file) == folder_of(&settings.store.database) && is_missing(folder_of(file))
    });
}

fn is_missing(folder: &Path) -> bool {
    matches!(folder.try_exists(), Ok(false))
}

/// What would keep [`open_store`] from working, as far as that is known without making anything.
pub(super) fn look_at_store(settings: &Settings, entropy: &Entropy) -> Vec<Problem> {
    let mut problems = missing_folders(settings);
    if !problems.is_empty() {
        return problems;
    }
    let database = &settings.store.database;
    match &settings.store.keys {
        Keys::File(file) if matches!(file.try_exists(), Ok(false)) => {
            problems.extend(lost_key_file(database, file));
            problems.extend(Sqlite::judge(database, &JudgedFiles).err().map(Problem::from));
        }
        keys => {
            let looked = keyring(keys, entropy)
                .and_then(|keyring| Sqlite::look(database, &keyring, &JudgedFiles).map_err(Problem::from));
            problems.extend(looked.err());
        }
    }
    problems
}

/// A database whose key file is gone: one that is made now would not be its own. The database is looked at first, for
/// another process that begins makes the key file before it.
fn lost_key_file(database: &Path, key_file: &Path) -> Option<Problem> {
    let holds_data = database.metadata().is_ok_and(|file| file.len() > 0);
    // Whether one that cannot be seen is there shows when it is opened.
    let is_gone = matches!(key_file.try_exists(), Ok(false));
    (holds_data && is_gone).then(|| {
        Problem::lasting(format!(
            "the database {} is there, but its key file {} is not; bring it back, or name another database in [store] url",
            database.display(),
            key_file.display()
        ))
    })
}

/// [`open_store`], but of a database that is there: what only reads or deletes makes none, or a mistake in the settings
/// would look like an empty one.
pub fn open_existing_store(
    settings: &Settings,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<(Arc<dyn Store>, Arc<Keyring>), Problem> {
    must_exist(settings)?;
    open_store(settings, clock, entropy, Arc::new(()))
}

/// The database of the settings, which is there, for `actor` to administrate. Needs no backend.
pub fn administration(settings: &Settings, clock: &Clock, actor: String) -> Result<Administration, Problem> {
    let (store, _) = open_existing_store(settings, clock, &Entropy::system())?;
    Ok(Administration::new(store, clock.clone(), actor))
}

/// Refuses settings whose database is not there.
pub fn must_exist(settings: &Settings) -> Result<(), Problem> {
    if let Some(problem) = missing_folders(settings).into_iter().next() {
        return Err(problem);
    }
    let database = &settings.store.database;
    // One that cannot be seen is refused when it is opened, with the reason.
    if matches!(database.try_exists(), Ok(false)) {
        return Err(Problem::lasting(format!(
            "there is no database {}; correct [store] url, or start the daemon once, which makes it",
            database.display()
        )));
    }
    Ok(())
}

/// The database of the settings, and the keys to it. The clock goes on where those of other processes on it are.
/// `observer` is told what its writes cost.
pub fn open_store(
    settings: &Settings,
    clock: &Clock,
    entropy: &Entropy,
    observer: Arc<dyn StoreObserver>,
) -> Result<(Arc<dyn Store>, Arc<Keyring>), Problem> {
    let keys = &settings.store.keys;
    if let Keys::File(file) = keys
        && let Some(problem) = lost_key_file(&settings.store.database, file)
    {
        return Err(problem);
    }
    let keyring = Arc::new(keyring(keys, entropy)?);
    let store = sqlite::open(&settings.store.database, Arc::clone(&keyring), observer)?;
    store.join_time(clock).map_err(|error| Problem {
        sentence: error.to_string(),
        may_pass: true,
    })?;
    Ok((Arc::new(store), keyring))
}

pub(super) fn keyring(keys: &Keys, entropy: &Entropy) -> Result<Keyring, Problem> {
    match keys {
        Keys::File(file) => Ok(key_file::open(file, entropy.clone())?),
        Keys::Given(given) => {
            if let Some(refusal) = given.refusal() {
                return Err(Problem::lasting(refusal));
            }
            Keyring::of(&given.keys, entropy.clone()).ok_or_else(|| Problem::lasting("[store] keys is empty"))
        }
    }
}
