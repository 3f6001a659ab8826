//! `[dispatch]`: the bounds of sending.

use std::time::Duration;

use super::reader::{Reader, number};
use crate::dispatch::Limits;

/// The bounds of sending.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch {
    /// SMS that may wait for their turn.
    pub queue_length: usize,
    /// What holds while they are sent.
    pub limits: Limits,
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
        let limits = Limits {
            concurrency,
            send_timeout: seconds(send),
            total_timeout: seconds(total),
        };
        Self { queue_length, limits }
    }
}
