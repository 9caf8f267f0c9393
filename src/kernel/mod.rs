//! Floor 1: a Jupyter kernel over its wire, and the only door to `zeromq`, `jupyter-protocol` and
//! `tokio-tungstenite`.
//!
//! [`Client`] drives one kernel: sign a request, follow its output until the kernel is idle *and*
//! has replied, interrupt, shut down. What a kernel sends is untrusted: [`relay`] checks it before
//! `zeromq` reads it, [`wire`] and [`event`] decode it tolerantly, [`output`] keeps it.
//! A kernel on another machine is spoken to through a [`gateway`].
//! Starting and ending the process is not done here (see [`crate::jail`] and [`crate::sandbox`]).

mod carrier;
mod cell;
mod channels;
mod client;
pub mod connection;
pub mod event;
pub mod gateway;
mod handshake;
pub mod journal;
mod json;
mod late;
pub mod output;
pub mod peek;
pub mod relay;
mod running;
pub mod spec;
mod task;
mod told;
pub mod wire;

pub use carrier::SendError;
pub use cell::{Finished, Seen};
pub use client::{
    Adopt, Client, ConnectError, Execute, Execution, Gone, Info, Known, Line, Request, Watch,
};
