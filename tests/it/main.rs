//! Everything that is tested from outside, in one binary.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect should stop there"
)]

mod attach;
mod attacks;
mod behaviour;
mod cells;
mod cli;
mod clients;
mod config;
#[cfg(feature = "postgres")]
mod database;
mod export;
mod first_start;
mod gateway;
mod guards;
mod guest;
mod hostile;
mod http;
mod input;
mod inspect;
mod install;
mod kept;
mod kernels;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod kubernetes;
mod late;
mod lifecycle;
mod local;
mod long;
mod network;
mod notebook;
mod outputs;
mod pictures;
mod progress;
mod prompts;
mod protocol;
mod python;
mod race;
mod readme;
mod ready;

mod reaped;
mod support;
mod tasks;
#[cfg(feature = "redis")]
mod tenants;
mod tidy;
#[cfg(all(feature = "redis", feature = "postgres"))]
mod together;
mod tokens;
mod traced;
