//! Why a worker process is no more, and whose doing that was, in words for whom it concerns.
//!
//! Invariant: the author of a library is named only for what its code did. Before the library is opened none of its
//! code runs; the sandbox refuses with an error and never kills; and a sealed process cannot send itself SIGKILL or
//! SIGSYS: these come from the system, or from somebody else.

#[cfg(unix)]
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

#[cfg(unix)]
use rustix::process::Signal;

use super::{
    super::{instance::CONSTRUCTION_LIMIT, refusal::code},
    child::{MEMORY_BYTES, STACK_BYTES},
    message::{Limits, Step},
};

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

/// What is known of a process that ended by itself, or was ended by somebody else.
#[derive(Default)]
pub(super) struct Remains {
    /// `None`: nobody could say how it ended.
    pub(super) status: Option<ExitStatus>,
    /// What it printed last.
    pub(super) last_lines: Vec<String>,
    /// Whether it said that it ends itself, which is asked where the system does not say who ended it.
    #[cfg_attr(not(windows), allow(dead_code, reason = "a signal tells who it was"))]
    pub(super) has_exited: bool,
    /// What it was doing when it had not opened its library yet.
    pub(super) step: Option<Step>,
    /// What it was limited to.
    pub(super) limits: Limits,
    /// Whether the system has killed processes for lack of memory while it ran.
    #[cfg_attr(not(unix), allow(dead_code, reason = "a signal tells that it was this one"))]
    pub(super) is_system_short_of_memory: bool,
}

impl Death {
    /// How it ended: by the host's hand, or otherwise.
    pub(super) fn new(killed: Option<&Killed>, remains: &Remains) -> Self {
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
            None => remains.judged(),
        };
        if !remains.last_lines.is_empty() {
            what.push_str("; it last wrote: ");
            what.push_str(&remains.last_lines.join(" | "));
        }
        Self { code, what }
    }

    /// In a word, for metrics.
    pub(super) fn cause(&self) -> &'static str {
        match self.code {
            code::WORKER_DIED => "crashed",
            code::WORKER_MEMORY => "out_of_memory",
            code::WORKER_CONTRACT => "broke_protocol",
            code::WORKER_UNRESPONSIVE => "unresponsive",
            code::TOO_SLOW => "too_slow",
            code::WORKER_KILLED => "killed_from_outside",
            code::WORKER_FORBIDDEN => "forbidden_by_system",
            code::SYSTEM_MEMORY => "system_memory",
            _ => "other",
        }
    }

    /// Whether the library's code did it.
    pub(super) fn is_of_the_library(&self) -> bool {
        ![code::WORKER_KILLED, code::WORKER_FORBIDDEN, code::SYSTEM_MEMORY].contains(&self.code)
    }
}

impl Remains {
    fn judged(&self) -> (&'static str, String) {
        #[cfg(unix)]
        if let Some(judged) = self.judged_by_signal() {
            return judged;
        }
        #[cfg(windows)]
        if let Some(code) = self.code_from_outside() {
            return (
                code::WORKER_KILLED,
                format!(
                    "was ended with code {code}: from outside, by an administrator (Task Manager, taskkill) or the system"
                ),
            );
        }
        if self.is_out_of_memory() {
            return self.out_of_memory();
        }
        if let Some(limit) = self.tight_stack() {
            let what = format!(
                "overflowed its stack, of which it has {} KiB by a limit that phone-verify was started with (ulimit -s, \
                 LimitSTACK=): a worker process has {} MiB elsewhere",
                limit >> 10,
                STACK_BYTES >> 20
            );
            return (code::SYSTEM_MEMORY, what);
        }
        if let Some(step) = self.step {
            return (
                code::WORKER_FORBIDDEN,
                format!(
                    "{} before the library was opened, while it {}: the system does not let it do that",
                    how(self.status),
                    doing(step)
                ),
            );
        }
        let what = match self.status.and_then(|status| status.code()) {
            Some(code) if exception_name(code).is_none() => {
                format!("{}: the library ended the process", how(self.status))
            }
            _ => how(self.status),
        };
        (code::WORKER_DIED, what)
    }

    /// The code of an end that neither an exception brought nor the process itself. An exception ends a process with
    /// its number, which is negative; -1 is what PowerShell ends others with.
    #[cfg(windows)]
    fn code_from_outside(&self) -> Option<i32> {
        let code = self.status.and_then(|status| status.code())?;
        (!self.has_exited && code >= -1).then_some(code)
    }

    /// What a signal says that is not of the library's doing.
    #[cfg(unix)]
    fn judged_by_signal(&self) -> Option<(&'static str, String)> {
        let signal = self.status.and_then(|status| status.signal());
        let is = |known: Signal| signal == Some(known.as_raw());
        if is(Signal::SYS) {
            return Some((code::WORKER_FORBIDDEN, self.filtered()));
        }
        if is(Signal::XCPU) {
            let what = "was killed by SIGXCPU: it used more processor time than phone-verify is allowed (ulimit -t, \
                        LimitCPU=)";
            return Some((code::WORKER_FORBIDDEN, what.to_owned()));
        }
        if is(Signal::KILL) && self.is_system_short_of_memory {
            let what = "was killed by SIGKILL, and the system has killed processes for lack of memory since it was started; \
                        give phone-verify, or the machine, more memory (MemoryMax=, the container's limit)";
            return Some((code::SYSTEM_MEMORY, what.to_owned()));
        }
        if FROM_OUTSIDE.into_iter().any(is) {
            return Some((
                code::WORKER_KILLED,
                format!(
                    "{}: from outside, by an administrator or the system",
                    how(self.status)
                ),
            ));
        }
        None
    }

    /// Killed for a system call: the worker's own filters only refuse.
    #[cfg(unix)]
    fn filtered(&self) -> String {
        let when = self
            .step
            .map_or_else(String::new, |step| format!(" while it {}", doing(step)));
        format!(
            "was killed by SIGSYS{when}: a filter of system calls that phone-verify is run under forbids what a worker process \
             needs; have the filter allow the calls of a sandbox (systemd: SystemCallFilter=@system-service @sandbox; a \
             container: seccomp and landlock_*), or fail them with EPERM (SystemCallErrorNumber=EPERM)"
        )
    }

    fn is_out_of_memory(&self) -> bool {
        let says_so = |line: &String| line.contains("memory allocation of") || line.contains("out of memory");
        self.last_lines.iter().any(says_so)
    }

    /// The limit of its stack, if it overflowed and had less than elsewhere.
    fn tight_stack(&self) -> Option<u64> {
        let says_so = |line: &String| line.contains("overflowed its stack");
        let limit = self.limits.stack_bytes.filter(|limit| *limit < STACK_BYTES);
        limit.filter(|_| self.last_lines.iter().any(says_so))
    }

    fn out_of_memory(&self) -> (&'static str, String) {
        if self.step.is_some() {
            let what = "ran out of memory before the library was opened; give phone-verify, or the machine, more memory \
                        (ulimit -v or -d, LimitAS=, LimitDATA=, MemoryMax=)";
            return (code::SYSTEM_MEMORY, what.to_owned());
        }
        match self.limits.memory_bytes {
            Some(limit) if limit < MEMORY_BYTES => {
                let what = format!(
                    "ran out of memory, of which it has {} MiB by a limit that phone-verify was started with (ulimit -v or \
                     -d, LimitAS=, LimitDATA=): a worker process has 512 MiB elsewhere",
                    limit >> 20
                );
                (code::SYSTEM_MEMORY, what)
            }
            // In a rehearsal, which has as much as the daemon.
            Some(limit) if limit > MEMORY_BYTES => (code::WORKER_MEMORY, "ran out of memory".to_owned()),
            _ => {
                let what = "ran out of memory, of which a worker process has 512 MiB";
                (code::WORKER_MEMORY, what.to_owned())
            }
        }
    }
}

/// What a process does not send to itself: a sealed one cannot, and others are blocked in it from its start.
#[cfg(unix)]
const FROM_OUTSIDE: [Signal; 5] = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];

fn doing(step: Step) -> &'static str {
    match step {
        Step::Begin => "set up its descriptors",
        Step::Limits => "set its limits",
        Step::Privileges => "gave up its privileges",
        Step::Files => "gave up files (Landlock)",
        Step::Calls => "gave up system calls (seccomp)",
    }
}

fn how(status: Option<ExitStatus>) -> String {
    let Some(status) = status else {
        return "ended in an unknown way".to_owned();
    };
    #[cfg(unix)]
    if let Some(signal) = status.signal() {
        return match signal_name(signal) {
            Some((name, "")) => format!("was killed by {name}"),
            Some((name, meaning)) => format!("was killed by {name} ({meaning})"),
            None => format!("was killed by signal {signal}"),
        };
    }
    match status.code() {
        Some(code) => match exception_name(code) {
            Some(exception) => format!("was ended by {exception} (0x{code:08X})"),
            None if code < -1 => format!("was ended by an exception (0x{code:08X})"),
            None => format!("exited with code {code}"),
        },
        None => "ended in an unknown way".to_owned(),
    }
}

/// What ended a process, where the system says so in the code that it ends with.
#[cfg(windows)]
fn exception_name(code: i32) -> Option<&'static str> {
    use windows_sys::Win32::Foundation as status;

    let known = [
        (status::STATUS_ACCESS_VIOLATION, "an invalid memory access"),
        (status::STATUS_IN_PAGE_ERROR, "an invalid memory access"),
        (status::STATUS_STACK_OVERFLOW, "a stack overflow"),
        (status::STATUS_STACK_BUFFER_OVERRUN, "an abort or a broken stack"),
        (status::STATUS_HEAP_CORRUPTION, "a broken heap"),
        (status::STATUS_ILLEGAL_INSTRUCTION, "an invalid instruction"),
        (status::STATUS_PRIVILEGED_INSTRUCTION, "an invalid instruction"),
        (status::STATUS_INTEGER_DIVIDE_BY_ZERO, "an arithmetic fault"),
        (status::STATUS_BREAKPOINT, "a trap"),
        (
            status::STATUS_DLL_NOT_FOUND,
            "a library that the system did not find",
        ),
        (
            status::STATUS_DLL_INIT_FAILED,
            "a library of the system that did not start",
        ),
        (status::STATUS_CONTROL_C_EXIT, "Ctrl-C"),
    ];
    known
        .into_iter()
        .find(|(known, _)| *known == code)
        .map(|(_, name)| name)
}

/// Here that is a signal.
#[cfg(not(windows))]
fn exception_name(_: i32) -> Option<&'static str> {
    None
}

/// Its name, and what it means to a process that gets it, if that is not in the name.
#[cfg(unix)]
pub fn signal_name(signal: i32) -> Option<(&'static str, &'static str)> {
    let known = [
        (Signal::SEGV, "SIGSEGV", "invalid memory access"),
        (Signal::ABORT, "SIGABRT", "abort"),
        (Signal::BUS, "SIGBUS", "invalid memory access"),
        (Signal::ILL, "SIGILL", "invalid instruction"),
        (Signal::FPE, "SIGFPE", "arithmetic fault"),
        (Signal::TRAP, "SIGTRAP", "trap"),
        (Signal::SYS, "SIGSYS", "forbidden system call"),
        (Signal::KILL, "SIGKILL", ""),
        (Signal::TERM, "SIGTERM", ""),
        (Signal::INT, "SIGINT", ""),
        (Signal::HUP, "SIGHUP", ""),
        (Signal::QUIT, "SIGQUIT", ""),
        (Signal::XFSZ, "SIGXFSZ", "writing to a file"),
        (Signal::XCPU, "SIGXCPU", "a limit of processor time"),
        (Signal::PIPE, "SIGPIPE", "broken pipe"),
    ];
    known
        .into_iter()
        .find(|(known, _, _)| known.as_raw() == signal)
        .map(|(_, name, meaning)| (name, meaning))
}

/// How many processes the system has killed for lack of memory: in this process's own group of processes (a service, a
/// container) where that is counted, else in all.
pub(super) fn killed_for_memory() -> u64 {
    let of_group = || {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        count_in(&format!("/sys/fs/cgroup/{group}/memory.events"))
    };
    of_group().or_else(|| count_in("/proc/vmstat")).unwrap_or(0)
}

fn count_in(file: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn ended(raw: i32) -> Remains {
        Remains {
            status: Some(ExitStatus::from_raw(raw)),
            limits: Limits {
                memory_bytes: Some(MEMORY_BYTES),
                stack_bytes: Some(STACK_BYTES),
            },
            ..Remains::default()
        }
    }

    fn told(remains: &Remains) -> (&'static str, String) {
        let death = Death::new(None, remains);
        (death.code, death.what)
    }

    #[test]
    fn the_cause_names_the_signal_or_the_code_and_what_was_last_written() {
        let (code, what) = told(&ended(11));
        assert_eq!(
            (code, &*what),
            (code::WORKER_DIED, "was killed by SIGSEGV (invalid memory access)")
        );
        assert_eq!(told(&ended(40)).1, "was killed by signal 40");
        assert_eq!(
            told(&ended(3 << 8)).1,
            "exited with code 3: the library ended the process"
        );

        let mut remains = ended(6);
        remains.last_lines = vec!["memory allocation of 99 bytes failed".to_owned()];
        let (code, what) = told(&remains);
        assert_eq!(code, code::WORKER_MEMORY);
        assert_eq!(
            what,
            "ran out of memory, of which a worker process has 512 MiB; it last wrote: memory allocation of 99 bytes failed"
        );
        let death = Death::new(Some(&Killed::Breach("not a frame")), &Remains::default());
        assert_eq!(death.what, "was killed: it broke the protocol: not a frame");
    }

    #[test]
    fn an_end_is_the_librarys_only_if_its_code_did_it() {
        let before = |raw| Remains {
            step: Some(Step::Files),
            ..ended(raw)
        };
        let short = |raw| Remains {
            is_system_short_of_memory: true,
            ..ended(raw)
        };
        let [kill, segv, sys, term, xcpu, exit] = [9, 11, 31, 15, 24, 2 << 8];
        for (remains, code, is_of_the_library) in [
            (ended(segv), code::WORKER_DIED, true),
            (ended(exit), code::WORKER_DIED, true),
            (short(segv), code::WORKER_DIED, true),
            (before(segv), code::WORKER_FORBIDDEN, false),
            (before(exit), code::WORKER_FORBIDDEN, false),
            (before(sys), code::WORKER_FORBIDDEN, false),
            (ended(sys), code::WORKER_FORBIDDEN, false),
            (ended(xcpu), code::WORKER_FORBIDDEN, false),
            (ended(kill), code::WORKER_KILLED, false),
            (ended(term), code::WORKER_KILLED, false),
            (before(kill), code::WORKER_KILLED, false),
            (short(kill), code::SYSTEM_MEMORY, false),
        ] {
            let death = Death::new(None, &remains);
            assert_eq!(
                (death.code, death.is_of_the_library()),
                (code, is_of_the_library),
                "{}",
                death.what
            );
        }
    }

    #[test]
    fn a_limit_of_the_daemons_own_parent_is_no_fault_of_the_library() {
        let limits = Limits {
            memory_bytes: Some(100 << 20),
            stack_bytes: Some(200 << 10),
        };
        let overflowed = Remains {
            limits,
            last_lines: vec!["thread 'main' has overflowed its stack".to_owned()],
            ..ended(6)
        };
        let (code, what) = told(&overflowed);
        assert_eq!(code, code::SYSTEM_MEMORY);
        assert!(
            what.starts_with("overflowed its stack, of which it has 200 KiB by a limit"),
            "{what}"
        );
        let remains = Remains {
            limits,
            last_lines: vec!["memory allocation of 99 bytes failed".to_owned()],
            ..ended(6)
        };
        let (code, what) = told(&remains);
        assert_eq!(code, code::SYSTEM_MEMORY);
        assert!(
            what.starts_with("ran out of memory, of which it has 100 MiB by a limit"),
            "{what}"
        );
    }
}
