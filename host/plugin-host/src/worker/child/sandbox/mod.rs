//! What a worker process takes away from itself before a library's code runs in it.
//!
//! Two phases. Before the library is opened, because its constructors run while it is: limits, no files but those that
//! opening needs, no network, no processes or threads. After: an allow-list of the few system calls that computing,
//! waiting and the socket to the host take. What is denied fails with EPERM instead of a kill, so that the library's
//! own error says what was refused.
//!
//! Invariant: everything taken away stays away; and what this system cannot take away is reported to the host, once.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod calls;
#[cfg(target_os = "linux")]
mod files;

use std::path::Path;

use crate::worker::message::{Limits, Step};

/// Address space of a worker.
pub(in crate::worker) const MEMORY_BYTES: u64 = 512 << 20;
/// The stack of its first thread, as most systems have it.
pub(in crate::worker) const STACK_BYTES: u64 = 8 << 20;
/// What a job and a restricted token do not take away.
#[cfg(windows)]
const WINDOWS_LACKS: &str = "a way to keep a process from the network and from files that this user may read";
/// Descriptors: three streams, the socket, the runtime's few, and what opening a library takes.
#[cfg(unix)]
const DESCRIPTORS: u64 = 32;

/// What is in force.
#[derive(Default)]
pub(super) struct Sandbox {
    /// Whether nothing in the process can reach a network by itself.
    pub(super) is_sealed: bool,
    /// What this system does not offer.
    pub(super) lacking: Vec<String>,
    /// [`MEMORY_BYTES`] and [`STACK_BYTES`], or less if that is all that the host has.
    pub(super) limits: Limits,
}

impl Sandbox {
    /// The first phase. Of the file system, what is left is the directories of the system's libraries, and `library`.
    /// `prepares` hears of each step before it is taken.
    pub(super) fn before_opening(library: &Path, prepares: impl Fn(Step)) -> Self {
        let mut sandbox = Self::default();
        prepares(Step::Limits);
        #[cfg(unix)]
        sandbox.limit_resources();
        #[cfg(target_os = "linux")]
        {
            prepares(Step::Privileges);
            sandbox.give_up_privileges();
            prepares(Step::Files);
            if let Err(why) = files::leave_only(library) {
                sandbox.lacking.push(why);
            }
            prepares(Step::Calls);
            sandbox.deny_calls();
        }
        #[cfg(windows)]
        {
            let _ = library;
            // Its job and its token are the host's doing.
            sandbox.limits.memory_bytes = Some(MEMORY_BYTES);
            sandbox.lacking.push(WINDOWS_LACKS.to_owned());
        }
        #[cfg(not(any(target_os = "linux", windows)))]
        {
            let _ = library;
            sandbox.lacking.push("any sandbox but resource limits".to_owned());
        }
        sandbox
    }

    /// For a rehearsal of what is to run in the host's own process: nothing is taken away.
    pub(super) fn none() -> Self {
        #[cfg(target_os = "linux")]
        {
            let mut unheard = Self::default();
            unheard.end_with_parent();
        }
        Self {
            #[cfg(unix)]
            limits: limits_in_force(),
            ..Self::default()
        }
    }

    #[cfg(unix)]
    fn limit_resources(&mut self) {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limits = [
            (Resource::As, MEMORY_BYTES, "memory"),
            (Resource::Data, MEMORY_BYTES, "memory"),
            (Resource::Stack, STACK_BYTES, "stack"),
            (Resource::Nofile, DESCRIPTORS, "descriptors"),
            (Resource::Core, 0, "core dumps"),
            (Resource::Fsize, 0, "file sizes"),
            (Resource::Nproc, 0, "processes"),
        ];
        for (resource, most, what) in limits {
            // A tighter one of the host's is as good, and cannot be raised.
            let most = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            if setrlimit(resource, limit).is_err() {
                self.lacking.push(format!("a limit of {what}"));
            }
        }
        self.limits = limits_in_force();
    }

    /// A library that loops for ever must not outlive the host.
    #[cfg(target_os = "linux")]
    fn end_with_parent(&mut self) {
        use rustix::process::{Signal, set_parent_process_death_signal};

        if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
            self.lacking.push("an end together with its parent".to_owned());
        }
    }

    #[cfg(target_os = "linux")]
    fn give_up_privileges(&mut self) {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        self.end_with_parent();
        if drop_capabilities().is_err() {
            self.lacking.push("a life without privileges".to_owned());
        }
        // The options hold secrets: no other process of this user may look into this one.
        if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
            self.lacking.push("memory that others cannot read".to_owned());
        }
    }

    #[cfg(target_os = "linux")]
    fn deny_calls(&mut self) {
        #[cfg(target_pointer_width = "64")]
        match calls::deny_much() {
            Ok(()) => self.is_sealed = true,
            Err(why) => self.lacking.push(why),
        }
        #[cfg(not(target_pointer_width = "64"))]
        self.lacking
            .push("seccomp for this processor, which keeps a library away from the network".to_owned());
    }
}

/// The second phase, for a process that is sealed. A system that could do the first can do this.
pub(super) fn after_opening() -> std::io::Result<()> {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    calls::allow_little().map_err(std::io::Error::other)?;
    Ok(())
}

/// What this process is limited to now. Memory is limited as a whole, and as what is not mapped from a file.
#[cfg(unix)]
fn limits_in_force() -> Limits {
    use rustix::process::{Resource, getrlimit};

    let current = |resource| getrlimit(resource).current;
    Limits {
        memory_bytes: [Resource::As, Resource::Data]
            .into_iter()
            .filter_map(current)
            .min(),
        stack_bytes: current(Resource::Stack),
    }
}

/// A daemon that runs as root does not give its rights to a library.
#[cfg(target_os = "linux")]
fn drop_capabilities() -> rustix::io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets)
}
