//! The log: nothing waits for its reader, and every line of it can be read by a machine.

mod fields;
mod followed;
mod lines;
mod readers;
