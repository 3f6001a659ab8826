//! Whether a database lacks the log that its header names, at rest. A process that begins to use it passes through that
//! state, as does one that ends: the former writes the header before it makes the log, the latter deletes the log
//! before it writes the header.
//!
//! Invariant: a file that another process is in the middle of is not called a copy, however slow the machine is.

use std::{path::Path, time::Duration};

use super::open::{beside, header_says_it_has_a_log};
use crate::files::{Files, Refusal, Subject};

const PAUSE: Duration = Duration::from_millis(20);
/// Between two of the engine's steps it is not locked, for as long as it takes to begin the next.
const LOOKS_UNLOCKED: u32 = 5;
/// How often a file is looked at that stays locked: some two seconds.
const LOOKS: u32 = 100;

/// Only of a file that this process does not have open, as [`header_says_it_has_a_log`].
pub(super) fn lacks_log(file: &Path, files: &dyn Files) -> Result<bool, Refusal> {
    stays(
        || Ok(header_says_it_has_a_log(file, Subject::Database, files)? && !beside(file, "-wal").exists()),
        || is_locked(file, files),
        || std::thread::sleep(PAUSE),
    )
}

/// Whether it lacks its log whenever it is looked at, and nobody has it locked meanwhile.
fn stays<E>(
    mut lacks: impl FnMut() -> Result<bool, E>,
    mut is_locked: impl FnMut() -> bool,
    mut pause: impl FnMut(),
) -> Result<bool, E> {
    let mut unlocked = 0;
    for _ in 0..LOOKS {
        // Asked first: what is done by the time that it is unlocked is seen then.
        let locked = is_locked();
        if !lacks()? {
            return Ok(false);
        }
        unlocked = if locked { 0 } else { unlocked + 1 };
        if unlocked >= LOOKS_UNLOCKED {
            break;
        }
        pause();
    }
    Ok(true)
}

/// Whether another process has it open as a database: the engine keeps a lock on these bytes, which are those of its
/// file format (`PENDING_BYTE`, `RESERVED_BYTE` and `SHARED_FIRST` in `os.h`).
#[cfg(unix)]
fn is_locked(file: &Path, files: &dyn Files) -> bool {
    use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

    let Ok(file) = files.open(file, Subject::Database) else {
        return false;
    };
    let wanted = Flock {
        start: 0x4000_0000,
        length: 512,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    fcntl_getlk(&file, &wanted).is_ok_and(|held| held.is_some())
}

/// It is not seen who holds a lock.
#[cfg(not(unix))]
fn is_locked(_file: &Path, _files: &dyn Files) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of the file at one look after the other: whether it lacks its log, and whether it is locked. The
    /// last one stays.
    fn judged(looks: &[(bool, bool)]) -> (bool, usize) {
        let at = std::cell::Cell::new(0);
        let now = || looks[at.get().min(looks.len() - 1)];
        let lacks = || Ok::<_, ()>(now().0);
        let stays = stays(lacks, || now().1, || at.set(at.get() + 1)).unwrap();
        (stays, at.get())
    }

    #[test]
    fn a_process_that_begins_or_ends_is_waited_for() {
        assert!(!judged(&[(false, false)]).0);
        assert!(!judged(&[(true, true), (true, true), (false, true)]).0);
        assert!(!judged(&[(true, false), (false, false)]).0, "between two steps");
        let mut slow = vec![(true, true); 60];
        slow.push((false, false));
        assert!(!judged(&slow).0);
        // One after the other begins and ends.
        let mut busy = [(true, false), (true, false), (true, true)].repeat(20);
        busy.push((false, false));
        assert!(!judged(&busy).0);
    }

    #[test]
    fn a_copy_at_rest_is_one_soon() {
        let (lacks, pauses) = judged(&[(true, false)]);
        assert!(lacks && pauses < 10, "{pauses}");
    }

    #[cfg(unix)]
    #[test]
    fn what_nobody_has_open_is_not_locked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("phone-verify.db");
        std::fs::write(&file, "").unwrap();
        assert!(!is_locked(&file, &crate::files::AnyFile));
    }
}
