//! How the clock of a process agrees with those of the other processes on a database.
//!
//! While the machine runs, its steady time tells how long a process was away, whatever the wall clock says meanwhile.
//! After a restart of the machine only the wall clock does. If that is behind what is in the database, nobody knows how
//! long the machine was off: then so much time passes at once that every code has ended.

use std::time::Duration;

use crate::{
    clock::{Timeline, UnixMillis},
    model::limits::HORIZON,
};

/// Clocks of processes that agree differ by less.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Whether the others are to be told where the clock of this process is. `known`: where they are, as far as they said.
pub fn is_news(own: Option<&Timeline>, known: Option<&Timeline>) -> bool {
    let tolerance = u64::try_from(TOLERANCE.as_millis()).unwrap_or(u64::MAX);
    match (own, known) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(own), Some(known)) => {
            own.boot != known.boot || own.lead_ms > known.lead_ms.saturating_add(tolerance)
        }
    }
}

/// Where the clock of a process that begins goes on, if it is behind what was stored last. `follows`: the others said
/// how far they are since the machine was started.
pub fn goes_on_at(now: UnixMillis, stored_last: Option<UnixMillis>, follows: bool) -> Option<UnixMillis> {
    let behind = stored_last.filter(|last| *last > now.plus(TOLERANCE))?;
    Some(if follows { behind } else { behind.plus(HORIZON) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_know_already_is_no_news() {
        let at = |boot: &str, lead_ms| Timeline {
            boot: boot.to_owned(),
            lead_ms,
        };
        let own = at("one", 5000);
        assert!(!is_news(None, Some(&own)));
        assert!(is_news(Some(&own), None));
        assert!(!is_news(Some(&own), Some(&at("one", 4000))), "within a second");
        assert!(is_news(Some(&own), Some(&at("one", 3999))));
        assert!(!is_news(Some(&own), Some(&at("one", 9000))), "they are ahead");
        assert!(
            is_news(Some(&own), Some(&at("another", 9000))),
            "the machine was started again"
        );
    }

    #[test]
    fn a_clock_that_is_behind_what_is_stored_goes_on_after_it() {
        let (now, last) = (UnixMillis(10_000), UnixMillis(20_000));
        assert_eq!(goes_on_at(now, None, false), None);
        assert_eq!(
            goes_on_at(now, Some(UnixMillis(11_000)), false),
            None,
            "within a second"
        );
        assert_eq!(goes_on_at(now, Some(last), true), Some(last));
        assert_eq!(
            goes_on_at(now, Some(last), false),
            Some(last.plus(HORIZON)),
            "nobody knows how long"
        );
    }
}
