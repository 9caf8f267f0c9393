//! Kernels on other machines, through a gateway: a Jupyter Server, Jupyter Kernel Gateway or Jupyter
//! Enterprise Gateway.
//!
//! A gateway starts, interrupts and ends kernels as it is asked ([`Gateway`]: REST), and passes their
//! messages on ([`socket`]: a WebSocket). It is trusted as far as the kernel is: with what a cell may do.
//! Nothing of this process' environment is sent along: an Enterprise Gateway hands values to a shell.

#[cfg(feature = "gateway")]
pub(super) mod death;
#[cfg(feature = "gateway")]
mod error;
#[cfg(feature = "gateway")]
mod frames;
#[cfg(feature = "gateway")]
mod last_words;
#[cfg(feature = "gateway")]
mod offers;
#[cfg(feature = "gateway")]
mod rest;
pub mod settings;
#[cfg(feature = "gateway")]
pub(super) mod socket;
#[cfg(feature = "gateway")]
mod stream;

#[cfg(feature = "gateway")]
pub use error::GatewayError;
#[cfg(feature = "gateway")]
pub use offers::{Offers, Version};
#[cfg(feature = "gateway")]
pub use rest::{Gateway, KernelId};
