//! What the operating system knows about this process and its workers. Implemented for Linux, from `/proc`; on other
//! systems these metrics have no samples.

use std::time::Duration;

/// The processor time and memory of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) processor: Duration,
    /// Processor time of children that have ended and were waited for. Without it, the total of all workers would fall
    /// when one ends.
    pub(super) by_ended_children: Duration,
    pub(super) resident_bytes: u64,
}

/// How many files this process has open, and how many it may open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    pub(super) open: u64,
    /// `None`: there is no limit.
    pub(super) max: Option<u64>,
}

/// Reads the usage of a running process, by its id or as `self`.
#[cfg(target_os = "linux")]
pub(super) fn used(process: &str) -> Option<Used> {
    use rustix::param::{clock_ticks_per_second, page_size};
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may itself hold spaces and parentheses. So split
    // after the last one; `field` counts as proc_pid_stat(5) does, and the first one here is the third.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let field = |place: usize| -> Option<u64> { fields.get(place - 3)?.parse().ok() };
    let time = |ticks: u64| Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1));
    Some(Used {
        processor: time(field(14)? + field(15)?),
        by_ended_children: time(field(16)? + field(17)?),
        resident_bytes: field(24)? * page_size() as u64,
    })
}

#[cfg(target_os = "linux")]
pub(super) fn files() -> Option<Files> {
    use rustix::process::{Resource, getrlimit};
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(Files {
        // Without the descriptor that this count itself uses.
        open: open.saturating_sub(1),
        max: getrlimit(Resource::Nofile).current,
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn used(_process: &str) -> Option<Used> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn files() -> Option<Files> {
    None
}
