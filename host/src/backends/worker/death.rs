//! Why a worker process is no more, in words that tell the author what to look for.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use super::super::{instance::CONSTRUCTION_LIMIT, refusal::code};

/// How a worker process ended.
#[derive(Clone, Debug)]
pub(super) struct Death {
    /// One of the P7 codes, or P507.
    pub(super) code: &'static str,
    /// `was killed by SIGSEGV (invalid memory access); it last wrote "…"`: what follows the worker's name.
    pub(super) what: String,
}

/// Why the host ended a worker.
#[derive(Clone, Debug)]
pub(super) enum Killed {
    /// A call that was given up did not stop.
    Unresponsive { grace_ms: u128 },
    /// To do this took longer than [`CONSTRUCTION_LIMIT`].
    TooSlow(&'static str),
    /// It broke the rules of the frames.
    Breach(&'static str),
}

impl Death {
    /// How it ended: by the host's hand, or by its own.
    pub(super) fn new(killed: Option<&Killed>, status: Option<ExitStatus>, last_lines: &[String]) -> Self {
        let is_out_of_memory = last_lines
            .iter()
            .any(|line| line.contains("memory allocation of") || line.contains("out of memory"));
        let (code, mut what) = match killed {
            Some(Killed::Unresponsive { grace_ms }) => (
                code::WORKER_UNRESPONSIVE,
                format!("was killed: a call that was given up did not stop within {grace_ms} ms"),
            ),
            Some(Killed::TooSlow(what)) => (
                code::TOO_SLOW,
                format!(
                    "was killed: it took longer than {} s to {what}",
                    CONSTRUCTION_LIMIT.as_secs()
                ),
            ),
            Some(Killed::Breach(rule)) => (
                code::WORKER_CONTRACT,
                format!("was killed: it broke the protocol: {rule}"),
            ),
            None if is_out_of_memory => (
                code::WORKER_MEMORY,
                "ran out of memory, of which a worker process has 512 MiB".to_owned(),
            ),
            None => (code::WORKER_DIED, how(status)),
        };
        if !last_lines.is_empty() {
            what.push_str("; it last wrote: ");
            what.push_str(&last_lines.join(" | "));
        }
        Self { code, what }
    }
}

impl Death {
    /// In a word, for metrics.
    pub(super) fn cause(&self) -> &'static str {
        match self.code {
            code::WORKER_DIED => "crashed",
            code::WORKER_MEMORY => "out_of_memory",
            code::WORKER_CONTRACT => "broke_protocol",
            code::WORKER_UNRESPONSIVE => "unresponsive",
            code::TOO_SLOW => "too_slow",
            _ => "other",
        }
    }
}

fn how(status: Option<ExitStatus>) -> String {
    let Some(status) = status else {
        return "ended in an unknown way".to_owned();
    };
    if let Some(signal) = status.signal() {
        return match signal_name(signal) {
            Some((name, meaning)) => format!("was killed by {name} ({meaning})"),
            None => format!("was killed by signal {signal}"),
        };
    }
    match status.code() {
        Some(code) => format!("exited with code {code}: the library ended the process"),
        None => "ended in an unknown way".to_owned(),
    }
}

pub(crate) fn signal_name(signal: i32) -> Option<(&'static str, &'static str)> {
    use rustix::process::Signal;

    let known = [
        (Signal::SEGV, "SIGSEGV", "invalid memory access"),
        (Signal::ABORT, "SIGABRT", "abort"),
        (Signal::BUS, "SIGBUS", "invalid memory access"),
        (Signal::ILL, "SIGILL", "invalid instruction"),
        (Signal::FPE, "SIGFPE", "arithmetic fault"),
        (Signal::TRAP, "SIGTRAP", "trap"),
        (Signal::SYS, "SIGSYS", "forbidden system call"),
        (Signal::KILL, "SIGKILL", "by the system or an administrator"),
        (Signal::TERM, "SIGTERM", "asked to end"),
        (Signal::XFSZ, "SIGXFSZ", "writing to a file"),
        (Signal::PIPE, "SIGPIPE", "broken pipe"),
    ];
    known
        .into_iter()
        .find(|(known, _, _)| known.as_raw() == signal)
        .map(|(_, name, meaning)| (name, meaning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_names_the_signal_or_the_code_and_what_was_last_written() {
        let died = |raw| Death::new(None, Some(ExitStatus::from_raw(raw)), &[]);
        assert_eq!(died(11).what, "was killed by SIGSEGV (invalid memory access)");
        assert_eq!(died(11).code, code::WORKER_DIED);
        assert_eq!(died(40).what, "was killed by signal 40");
        assert_eq!(
            died(3 << 8).what,
            "exited with code 3: the library ended the process"
        );

        let lines = ["memory allocation of 99 bytes failed".to_owned()];
        let death = Death::new(None, Some(ExitStatus::from_raw(6)), &lines);
        assert_eq!(death.code, code::WORKER_MEMORY);
        assert_eq!(
            death.what,
            "ran out of memory, of which a worker process has 512 MiB; it last wrote: memory allocation of 99 bytes failed"
        );
        let death = Death::new(Some(&Killed::Breach("not a frame")), None, &[]);
        assert_eq!(death.what, "was killed: it broke the protocol: not a frame");
    }
}
