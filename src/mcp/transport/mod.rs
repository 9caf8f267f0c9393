//! How bytes come and go.

pub mod lines;
pub mod local;
pub mod stdio;
