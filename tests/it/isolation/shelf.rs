//! The plugin directory of the loading stories, whose libraries run in worker processes here.

use phone_verify_plugin_host::{Backend, Isolation, IsolationRules};
use phone_verify_tests::artifacts;
use serde_json::Value;

pub(crate) use crate::loading::shelf::{
    Bystander, REQUESTS_AT_ONCE, alice, built, call, call_within, code, number, rewritten, send,
};

pub(crate) type Shelf = crate::loading::shelf::Shelves<true>;

/// Every library in a worker of the program as it is built.
pub(crate) fn workers() -> IsolationRules {
    IsolationRules {
        default: Isolation::Worker,
        worker_program: Some(artifacts::program()),
        ..IsolationRules::default()
    }
}

/// A villain, loaded.
pub(super) fn villain(options: &Value) -> Backend {
    Shelf::with(&["villain"])
        .load("villain.VillainBackend", options)
        .unwrap()
}
