//! Backends are loaded out of real library files, and whatever such a file holds or does, the host lives on.

mod calls;
mod compilers;
mod egress;
mod example;
mod files;
mod generations;
pub(crate) mod in_c;
mod mischief;
mod options;
mod reports;
pub(crate) mod shelf;
pub(crate) mod versions;
