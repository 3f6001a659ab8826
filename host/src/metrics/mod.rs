//! What `/metrics` tells. This module owns the names, the texts and the bounds of all metrics; the parts of the program
//! hold the handles of theirs, and count with one or two atomic additions.
//!
//! Invariants: no label says anything of a number but its country, nor anything of a code, a session or a client; every
//! label has a bound that no client can move; a counter only ever grows, over a reload too; and every metric is on
//! `host/docs/metrics.md`, which a test compares with what is exported.

mod exposition;
mod handles;
mod page;
mod process;
mod series;
mod told;

pub use exposition::Format;
pub use handles::{
    HttpMetrics, MessageMetrics, ReceiptMetrics, StoreMetrics, VerificationMetrics, known_method,
};
pub use page::Page;
pub use series::Counter;
pub use told::{Facts, Metrics};
