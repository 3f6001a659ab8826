//! What a worker process takes away from itself before a library's code runs in it.
//!
//! Two phases. Before the library is opened, because its constructors run while it is: limits, no files but those that
//! opening needs, no network, no processes or threads. After: an allow-list of the few system calls that computing,
//! waiting and the socket to the host take. What is denied fails with EPERM instead of a kill, so that the library's
//! own error says what was refused.
//!
//! Invariant: everything taken away stays away; and what this system cannot take away is told, once, to the host.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod calls;
#[cfg(target_os = "linux")]
mod files;

use std::path::Path;

/// Address space of a worker.
const MEMORY_BYTES: u64 = 512 << 20;
/// Descriptors: three streams, the socket, the runtime's few, and what opening a library takes.
const DESCRIPTORS: u64 = 32;

/// What is in force.
#[derive(Default)]
pub(super) struct Sandbox {
    /// Whether nothing in the process can reach a network by itself.
    pub(super) is_sealed: bool,
    /// What this system does not offer.
    pub(super) lacking: Vec<String>,
}

impl Sandbox {
    /// The first phase. Of the file system, what is left is the directories of the system's libraries, and `library`.
    pub(super) fn before_opening(library: &Path) -> Self {
        let mut sandbox = Self::default();
        sandbox.limit_resources();
        #[cfg(target_os = "linux")]
        sandbox.deny(library);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = library;
            sandbox.lacking.push("any sandbox but resource limits".to_owned());
        }
        sandbox
    }

    fn limit_resources(&mut self) {
        use rustix::process::{Resource, Rlimit, setrlimit};

        let limits = [
            (Resource::As, MEMORY_BYTES, "memory"),
            (Resource::Nofile, DESCRIPTORS, "descriptors"),
            (Resource::Core, 0, "core dumps"),
            (Resource::Fsize, 0, "file sizes"),
            (Resource::Nproc, 0, "processes"),
        ];
        for (resource, most, what) in limits {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            if setrlimit(resource, limit).is_err() {
                self.lacking.push(format!("a limit of {what}"));
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn deny(&mut self, library: &Path) {
        use rustix::process::{
            DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
        };

        // A library that loops for ever must not outlive the host.
        if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
            self.lacking.push("an end together with its parent".to_owned());
        }
        if drop_capabilities().is_err() {
            self.lacking.push("a life without privileges".to_owned());
        }
        // The options hold secrets: no other process of this user may look into this one.
        if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
            self.lacking.push("memory that others cannot read".to_owned());
        }
        if let Err(why) = files::leave_only(library) {
            self.lacking.push(why);
        }
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
