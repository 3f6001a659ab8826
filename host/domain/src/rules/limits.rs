//! Rate limits and caps: whether they have room for a message, and what it counts.
//!
//! Invariant: a message is counted in all of its counters or in none.

use super::{
    admission::Charge,
    cache::{Counters, change_at, look_at},
    guard, number,
};
use crate::{
    clock::UnixMillis,
    model::{
        FailureClass, LimitReached,
        limits::{Log, Share},
    },
    rules::counter::{Counted, Counter},
};

/// The limit that keeps a message waiting for longest, if any is reached.
pub fn refusal<C: Counters>(
    counters: &C,
    charge: Charge<'_>,
    now: UnixMillis,
) -> Result<Option<LimitReached>, C::Error> {
    // Mostly there is room in what is open to all, and no more need be known of the number.
    let open = refusal_within(counters, Share::Open, charge.counters, now)?;
    let Some((reached, Counted::Country | Counted::Service | Counted::Spend)) = open else {
        return Ok(open.map(|(reached, _)| reached));
    };
    match share(counters, charge, now)? {
        Share::Open => Ok(Some(reached)),
        share => {
            let refusal = refusal_within(counters, share, charge.counters, now)?;
            Ok(refusal.map(|(reached, _)| reached))
        }
    }
}

fn refusal_within<C: Counters>(
    counters: &C,
    share: Share,
    of_message: &[Counter],
    now: UnixMillis,
) -> Result<Option<(LimitReached, Counted)>, C::Error> {
    let mut reached: Option<(LimitReached, Counted)> = None;
    for counter in of_message {
        let refusal = look_at(counters, counter, |log| {
            log.refusal_within(share, &counter.limits, counter.amount, now)
        })?;
        reached = reached
            .into_iter()
            .chain(refusal.map(|refusal| (refusal, counter.counted)))
            .max_by_key(|(reached, _)| reached.until);
    }
    Ok(reached)
}

/// Which share of the caps a message may use.
fn share<C: Counters>(counters: &C, charge: Charge<'_>, now: UnixMillis) -> Result<Share, C::Error> {
    let Some(key) = charge.number() else {
        // Nothing is remembered of any number, so what is reserved could never be used.
        return Ok(Share::Whole);
    };
    if number::was_verified(counters, key, now)? {
        return Ok(Share::Whole);
    }
    let Some(guarded) = charge.guard else {
        return Ok(Share::Open);
    };
    Ok(if guard::codes_come_back(counters, &guarded.keys, now)? {
        Share::Country
    } else {
        Share::Open
    })
}

/// Counts a message in all of its counters, or in none if a limit is reached: then the answer is the one that lasts
/// longest.
pub(super) fn count<C: Counters>(
    counters: &C,
    charge: Charge<'_>,
    now: UnixMillis,
) -> Result<Result<(), LimitReached>, C::Error> {
    if let Some(reached) = refusal(counters, charge, now)? {
        return Ok(Err(reached));
    }
    for counter in charge.counters {
        if counter.counted != Counted::FailedChecks {
            let count = |log: &mut Log| log.add(counter.amount, now);
            change_at(counters, counter, count)?;
        }
    }
    Ok(Ok(()))
}

/// Takes back what was counted for a message that certainly was not sent.
pub fn take_back<C: Counters>(
    counters: &C,
    of_message: &[Counter],
    failure: FailureClass,
    counted_at: UnixMillis,
) -> Result<(), C::Error> {
    for counter in of_message {
        if counter.counted.is_taken_back_after(failure) {
            let take_back = |log: &mut Log| log.take_back(counter.amount, counted_at);
            change_at(counters, counter, take_back)?;
        }
    }
    Ok(())
}
