//! Ways out of a sandbox that the standard library has no function for.
//!
//! Invariant: what works harms nobody who is not asked for by number.

use std::{
    io,
    os::raw::{c_int, c_long},
    ptr::null,
};

unsafe extern "C" {
    fn fork() -> c_int;
    fn _exit(code: c_int) -> !;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn raise(signal: c_int) -> c_int;
    fn fcntl(descriptor: c_int, command: c_int, argument: c_int) -> c_int;
    fn setpriority(which: c_int, who: c_int, priority: c_int) -> c_int;
    fn prctl(option: c_int, argument: usize) -> c_int;
    fn setitimer(which: c_int, value: *const u8, before: *const u8) -> c_int;
    fn ptrace(request: c_int, process: c_int, address: *const u8, data: *const u8) -> c_long;
    fn sendmsg(socket: c_int, message: *const u8, flags: c_int) -> isize;
    fn syscall(number: c_long, domain: c_int, kind: c_int, protocol: c_int) -> c_long;
}

const F_SETOWN: c_int = 8;
const PTRACE_ATTACH: c_int = 16;
const PR_SET_PDEATHSIG: c_int = 1;
/// `socket` in the second set of calls of an `x86_64` kernel.
const X32_SOCKET: c_long = 0x4000_0029;

/// `process` is the one that it is tried on, where there is one.
pub(crate) fn attempt(way: &str, process: &str) -> io::Result<()> {
    let process: c_int = process.parse().unwrap_or(-1);
    // SAFETY: all of them take numbers and no addresses; a child ends at once, for which it needs no lock.
    let answer = unsafe {
        match way {
            "fork" => match fork() {
                0 => _exit(0),
                child => child.into(),
            },
            "signal" => kill(process, 0).into(),
            "raise" => raise(process).into(),
            "owner" => fcntl(1, F_SETOWN, process).into(),
            "priority" => setpriority(0, process, 19).into(),
            // Sets nothing, where it may.
            "alarm" => setitimer(0, null(), null()).into(),
            "trace" => ptrace(PTRACE_ATTACH, process, null(), null()),
            // What hands on a descriptor; a socket that may would look for the message at no address.
            "pass" => sendmsg(0, null(), 0) as c_long,
            "outlive" => prctl(PR_SET_PDEATHSIG, 0).into(),
            "second-calls" => syscall(X32_SOCKET, 2, 1, 0),
            other => return Err(io::Error::other(format!("{other} is no way out"))),
        }
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
