//! The end-to-end tests, in one binary: a module for each thing that is promised.

mod drop_in;
