//! The program: reads the command line, runs the command, ends with its exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// An eighth of the processor time of a registration went into the C library's allocator, whose threads wait for
/// each other when one frees what another allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    phone_verify_plugin_host::own_process::image::remember();
    phone_verify::cli::main()
}
