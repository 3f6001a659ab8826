//! The bundled library `http`: sends through any provider with an HTTP interface, described in `OPTIONS` alone.
//!
//! A send has three steps, each in its files: the options are read once into a plan (`options`, `fields`, `request`), a
//! plan and the values of one SMS make a request (`values`, `template`, `json`, `xml`, `signature`, `token`), and the
//! answer is judged by the operator's rules (`document`, `conditions`, `rules`). Delivery receipts are judged by rules
//! of the same kind (`receipts`).
//!
//! Invariant: no number and no text can change the structure of a request. Each place of a request has one way to
//! escape, and what it cannot carry is refused instead of being altered.
#![forbid(unsafe_code)]

mod backend;
mod conditions;
mod document;
mod fields;
mod json;
mod number;
mod options;
mod problems;
mod receipts;
mod request;
mod rules;
mod signature;
mod template;
mod token;
mod turn;
mod url;
mod values;
mod xml;

#[cfg(test)]
mod tests;

pub use backend::HttpBackend;
pub use options::{HttpOptions, Rows, Table};

phone_verify_plugin_api::export_backends!(HttpBackend);
