//! Accounts of husk's users at a Redis that they share: each reaches keys and channels of their own and
//! nothing else.
//!
//! [`account`] says what an account is, `ledger` who holds a password of it; both are pure. [`admin`]
//! makes and ends accounts on every `node`, which is the only door to `redis`. [`lender`] gives each
//! kernel a password of its own, which ends with the kernel, and `relay` brings it to Redis.

#[cfg(feature = "redis")]
pub mod account;
#[cfg(feature = "redis")]
pub mod admin;
#[cfg(feature = "redis")]
pub mod error;
#[cfg(feature = "redis")]
mod ledger;
#[cfg(feature = "redis")]
pub mod lender;
#[cfg(feature = "redis")]
mod node;
#[cfg(feature = "redis")]
mod relay;
pub mod settings;
#[cfg(feature = "redis")]
mod upstream;

pub use settings::Settings;
