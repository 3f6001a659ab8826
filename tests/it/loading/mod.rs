//! Backends are loaded out of real library files, and whatever such a file holds or does, the host lives on.

mod calls;
mod compilers;
mod egress;
mod files;
mod generations;
mod in_c;
mod mischief;
mod options;
pub(crate) mod shelf;
mod versions;
