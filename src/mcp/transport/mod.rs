//! How bytes come and go.

pub mod http;
pub mod lines;
pub mod local;
pub mod stdio;
