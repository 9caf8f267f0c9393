//! MCP over HTTP, for many users: Streamable HTTP at `/mcp`, and the older HTTP with server-sent events.
//!
//! [`listen`] takes connections, [`connection`] serves them, [`checks`] is what each request passes,
//! [`route`] finds who answers, [`view`] is the page for humans, [`tenants`] keeps what each user reaches. The server trusts no client:
//! how many, how fast, how large and how long is bounded before a caller is known.

#[cfg(feature = "http")]
mod admin;
#[cfg(feature = "http")]
mod checks;
#[cfg(feature = "http")]
pub(in crate::mcp) mod connection;
#[cfg(feature = "http")]
mod ends;
#[cfg(feature = "http")]
mod held;
pub mod listen;
#[cfg(feature = "http")]
mod metrics;
pub mod origin;
#[cfg(feature = "http")]
mod pace;
#[cfg(feature = "http")]
mod patience;
#[cfg(feature = "http")]
mod route;
#[cfg(feature = "http")]
pub mod serve;
#[cfg(feature = "http")]
mod sessions;
pub mod settings;
#[cfg(feature = "http")]
mod sse;
#[cfg(feature = "http")]
mod tenants;
#[cfg(feature = "http")]
pub mod tls;
#[cfg(feature = "http")]
mod view;

#[cfg(feature = "http")]
use {serve::Door, tenants::NoRoom};

#[cfg(feature = "http")]
pub use tenants::Houses;
