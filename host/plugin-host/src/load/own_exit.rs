//! Windows does not say who ended a process: it ends with a code either way. So a worker process says it when it ends
//! itself, such as by an `exit` of its library: the system then calls back in the thread that asked for the end.
//!
//! Invariant: a process that somebody else ends says nothing; one that crashes neither, but an exception has a code of
//! its own.

/// The line that is written to the standard error.
pub(crate) const MARK: &str = "\u{1e}phone-verify-exit";

#[cfg(not(windows))]
pub(crate) use elsewhere::announce;
#[cfg(windows)]
pub(crate) use here::announce;

#[cfg(not(windows))]
mod elsewhere {
    /// The system says itself who it was.
    pub(crate) fn announce() {}
}

#[cfg(windows)]
mod here {
    use std::{ffi::c_void, fs::File, io::Write, mem::ManuallyDrop, os::windows::io::FromRawHandle, ptr};

    use windows_sys::Win32::System::{
        Console::{GetStdHandle, STD_ERROR_HANDLE},
        Threading::{FLS_OUT_OF_INDEXES, FlsAlloc, FlsSetValue},
    };

    /// From now on this thread says it when it ends the process.
    pub(crate) fn announce() {
        // SAFETY: the function has the signature that is asked for, and is part of the program, which is never
        // unloaded.
        let slot = unsafe { FlsAlloc(Some(ends)) };
        if slot != FLS_OUT_OF_INDEXES {
            // Only a slot that has a value is called back for.
            // SAFETY: the slot was just given to this caller; what it holds is never read.
            unsafe { FlsSetValue(slot, ptr::dangling()) };
        }
    }

    unsafe extern "system" fn ends(_: *const c_void) {
        // Other threads are gone by now, and may have held the lock that the standard library has around its own.
        // SAFETY: the handle is that of the process, and stays open.
        let error = ManuallyDrop::new(unsafe { File::from_raw_handle(GetStdHandle(STD_ERROR_HANDLE)) });
        // Should it fail, the host takes it that somebody else ended this process.
        let _ = (&*error).write_all(format!("\n{}\n", super::MARK).as_bytes());
    }
}
