//! Calls backends as a host does, through the raw ABI objects, in this process. All values must cross the boundary
//! unchanged, and no panic may cross it.
// Clippy accepts `unwrap` in test functions only; these tests have shared code outside of them.
#![allow(clippy::unwrap_used)]

mod calls;
mod host;
mod http;
mod options;
mod panics;
