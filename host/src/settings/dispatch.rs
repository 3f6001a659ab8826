//! `[dispatch]`: bounds on sending, so that a slow provider cannot fill memory or keep a client waiting for ever.

use std::time::Duration;

use super::reader::{Reader, number};
use crate::fleet::Bounds;

/// The settings of the dispatcher.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch {
    /// How long all tries of one SMS may take together, waiting for its turn included.
    pub total_timeout: Duration,
    /// How many SMS a backend sends at once, how many wait for that, and how long each may take: of each backend for which
    /// nothing else is said.
    pub bounds: Bounds,
}

impl Dispatch {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("dispatch", false);
        let concurrency = section.get("concurrency", number(1..=10_000)) as usize;
        let queue_length = section.get("queue_length", number(1..=100_000)) as usize;
        let send = section.get("send_timeout_seconds", number(1..=120));
        let (total, line) = section.get_with_line("total_timeout_seconds", number(1..=120));
        let keys = ["total_timeout_seconds", "send_timeout_seconds"];
        if section.are_known(&keys) && total < send {
            let message =
                format!("total_timeout_seconds is {total}, which is less than send_timeout_seconds, {send}");
            section.problem(keys[0], line, &message);
        }
        section.finish();
        let seconds = |seconds| Duration::from_secs(u64::from(seconds));
        Self {
            total_timeout: seconds(total),
            bounds: Bounds {
                concurrency,
                send_timeout: seconds(send),
                queue_length,
                max_per_second: None,
            },
        }
    }
}
