//! Everything that is tested from outside, in one binary.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect should stop there"
)]

mod cells;
mod cli;
mod clients;
mod config;
mod first_start;
mod hostile;
mod input;
mod install;
mod kernels;
mod lifecycle;
mod long;
mod pictures;
mod progress;
mod protocol;
mod python;
mod readme;
mod support;
mod tasks;
mod tidy;
