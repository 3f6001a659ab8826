//! System calls of Windows that no safe crate offers, for what concerns the program as a whole.
#![allow(unsafe_code)]

use std::{fs::File, io, os::windows::io::IntoRawHandle};

use windows_service::service::Service;
use windows_sys::Win32::System::{
    Console::{STD_ERROR_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle},
    Services::{ControlService, SERVICE_CONTROL_PARAMCHANGE, SERVICE_STATUS},
};

/// Tells a service that its parameters have changed.
pub fn notify_of_changed_parameters(service: &Service) -> io::Result<()> {
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the handle is open, and `status` outlives the call.
    let told = unsafe { ControlService(service.raw_handle(), SERVICE_CONTROL_PARAMCHANGE, &raw mut status) };
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has what this process prints go to the files that `open` gives, one for each of its two streams. A stream for which
/// there is none stays as it is.
pub fn print_to(open: impl Fn() -> io::Result<File>) {
    for stream in [STD_ERROR_HANDLE, STD_OUTPUT_HANDLE] {
        if let Ok(file) = open() {
            // SAFETY: the handle is open, and given away for the rest of the process.
            unsafe { SetStdHandle(stream, file.into_raw_handle()) };
        }
    }
}
