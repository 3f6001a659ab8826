//! The end-to-end tests, in one binary: a module for each thing that is promised.
#![allow(
    clippy::unwrap_used,
    reason = "all of it is tests, also what is not marked as one"
)]

mod any_request;
mod architecture;
mod as_json;
mod at_once;
mod authors;
mod backups;
mod bad_input;
mod canaries;
mod check;
#[cfg(unix)]
mod clients;
mod commands;
mod connections;
mod custom_backend;
mod demo;
mod documents;
mod drop_in;
mod events;
mod every_answer;
mod files;
mod fleet;
mod golden;
mod groups;
mod guard;
mod idempotency;
mod in_process;
mod isolation;
mod keys;
mod killed;
mod latest;
mod limits;
mod listeners;
mod living;
mod loading;
mod locked;
mod logging;
mod metrics;
mod native;
mod options;
mod other_sites;
mod parents;
mod protocol;
mod providers;
mod proxies;
mod receipts;
mod refusals;
mod retention;
mod scopes;
mod secret_files;
mod send;
mod service_manager;
mod settings;
mod shutdown;
mod signed;
mod signing_keys;
mod starts;
mod test_numbers;
mod texts;
mod texts_out;
#[cfg(target_os = "linux")]
mod time;
mod trust;
mod typed;
mod whole_way;
