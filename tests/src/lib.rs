//! The harness of the end-to-end tests: builds the program and libraries, runs them, and simulates the systems that
//! phone-verify talks to.

pub mod artifacts;
pub mod browser;
pub mod client;
pub mod connection;
pub mod daemon;
pub mod gateways;
pub mod proxy;
pub mod service;
pub mod site;
