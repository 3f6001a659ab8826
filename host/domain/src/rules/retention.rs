//! What is old enough to be forgotten.
//!
//! An engine deletes what lies beyond these bounds, in steps as large as suits it.

use crate::clock::UnixMillis;

/// The bounds of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Codes that expire before this instant are forgotten: a code is good to its last millisecond.
    pub codes_before: UnixMillis,
    /// Counters that end at this instant or before it are deleted: nothing in them counts any more.
    pub counters_until: UnixMillis,
}

/// What a sweep forgets.
pub fn sweep(now: UnixMillis) -> Sweep {
    Sweep {
        codes_before: now,
        counters_until: now,
    }
}

/// The least id of what was made at a time or later. Ids begin with the time at which they were made, in milliseconds,
/// so what is older than that is a range of them.
pub fn first_id_at(time: UnixMillis) -> [u8; 16] {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&time.0.to_be_bytes()[2..]);
    id
}

/// When that of the id was made.
pub fn made_at(id: [u8; 16]) -> UnixMillis {
    let mut millis = [0; 8];
    millis[2..].copy_from_slice(&id[..6]);
    UnixMillis(u64::from_be_bytes(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, entropy::Entropy, model::VerificationId};

    #[test]
    fn what_is_older_has_the_lesser_id() {
        let clock = Clock::manual(UnixMillis(1_700_000_000_000));
        let VerificationId(id) = VerificationId::generate(&clock, &Entropy::seeded(1)).unwrap();
        assert_eq!(made_at(id), clock.now());
        assert!(id >= first_id_at(clock.now()));
        assert!(id < first_id_at(UnixMillis(clock.now().0 + 1)));
    }
}
