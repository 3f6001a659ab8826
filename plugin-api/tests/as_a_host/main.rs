//! Calls backends as a host does, through the raw ABI objects, in this process: what crosses the boundary is
//! what was meant, and no panic does.
// Not all of a test lies inside of its function.
#![allow(clippy::unwrap_used)]

mod calls;
mod host;
mod http;
mod options;
mod panics;
