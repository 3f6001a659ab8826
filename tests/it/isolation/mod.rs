//! A library in a worker process: it behaves as it does in the host's own process, and what it does there costs the
//! calls that it serves, never the host and never another library.

mod attacks;
mod blame;
mod bundles;
#[expect(clippy::duplicate_mod, reason = "the same stories, in another place")]
#[path = "../loading/calls.rs"]
mod calls;
pub(crate) mod daemon;
#[expect(clippy::duplicate_mod, reason = "the same stories, in another place")]
#[path = "../loading/egress.rs"]
mod egress;
mod escapes;
mod lacking;
mod life;
#[expect(clippy::duplicate_mod, reason = "the same stories, in another place")]
#[path = "../loading/mischief.rs"]
mod mischief;
mod origins;
mod own_program;
mod printed;
mod retry;
pub(crate) mod shelf;
