//! Where verifications are kept: what the domain says of a store, and what this program adds to it, the file of the
//! keys, the judgement of files for the embedded engine, and the way from the verifier to the dispatcher.

pub mod key_file;
mod order;
pub mod sqlite;

pub use order::{Order, Place, Waiting};
pub use phone_verify_domain::store::*;
