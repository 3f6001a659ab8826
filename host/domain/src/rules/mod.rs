//! What phone-verify decides about numbers and codes: each decision is a pure function from what is stored and what is
//! asked to an answer and the new state.
//!
//! Invariant: nothing here reads a clock, a database or a random number. A storage engine locks and loads what a
//! decision needs, has it decided here, and stores what became of it, in one transaction; so every engine has the same
//! rules, and a rule is tested without one.

pub mod admission;
pub mod attempt;
pub mod bulk;
pub mod cache;
pub mod counter;
pub mod failover;
pub mod guard;
pub mod guarded;
#[cfg(test)]
mod in_memory;
pub mod key_use;
pub mod lifecycle;
pub mod limits;
pub mod number;
pub mod receipt;
pub mod registration;
pub mod request;
pub mod retention;
pub mod route;
pub mod settlement;
pub mod take_over;
pub mod timeline;
