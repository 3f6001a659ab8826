//! What this process needs of the system, whatever its parent left it.
//!
//! A child inherits ignored and blocked signals, limits, a mask for new files and a working folder. Under `nohup`, a
//! supervisor or a hand-written script these are rarely what a daemon needs: with SIGCHLD ignored nobody learns how a
//! child ended; with SIGTERM blocked nothing ends it. (The three standard streams are open before `main` begins: the
//! standard library opens those that were closed, so that no file of ours ever gets one of their numbers.)
//!
//! Invariant: called once, before there is another thread.

/// Descriptors that are asked for at most: some systems allow a milliard, and whatever walks over all of them would not
/// come to an end.
#[cfg(unix)]
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// Makes it so.
#[cfg(unix)]
pub fn prepare() {
    take_signals_back();
    raise_descriptors();
    // Its own files must stay usable for this user, and are no others' to write.
    let left = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask((left | rustix::fs::Mode::from_raw_mode(0o022)) - rustix::fs::Mode::RWXU);
}

/// There is nothing of all this to inherit.
#[cfg(not(unix))]
pub fn prepare() {}

#[cfg(unix)]
fn take_signals_back() {
    use std::sync::{Arc, atomic::AtomicBool};

    // A system that refuses any of these has no such signal to lose.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    for signal in [
        // Ignored, it would let the system forget how a child ended.
        signal_hook::consts::SIGCHLD,
        // A file that reaches a limit is an error of the write, not the end of the process.
        nix::sys::signal::Signal::SIGXFSZ as i32,
    ] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
}

/// As many descriptors as the system lets this process have: each connection takes one.
#[cfg(unix)]
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let most = limit
        .maximum
        .map_or(MAX_DESCRIPTORS, |hard| hard.min(MAX_DESCRIPTORS));
    if limit.current.is_none_or(|current| current >= most) {
        return;
    }
    // macOS takes no more than this, whatever it says.
    for most in [most, most.min(10_240)] {
        let raised = Rlimit {
            current: Some(most),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return;
        }
    }
}
