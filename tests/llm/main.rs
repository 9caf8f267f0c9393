//! The model client against providers that fail: a server of the tests' own that can do any fault,
//! and judges that others wrote. And the agent, on top of it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect should stop there"
)]

mod agent;
mod ask;
mod course;
mod faults;
mod judges;
mod kept;
#[path = "../it/support/ports.rs"]
mod ports;
mod provider;
mod says;
mod sent;
mod servers;
