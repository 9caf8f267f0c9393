//! Users who come with tokens of an authorization server: husk as a resource server of OAuth 2.1.
//!
//! A token is a JWT that the issuer has signed, for this audience, and that has not expired; its scopes
//! are husk's own words. What it says of its user is its subject. husk makes no tokens of this kind,
//! sends nobody to log in, and asks the issuer for nothing but its keys.

#[cfg(feature = "http")]
pub mod fetch;
#[cfg(feature = "http")]
mod keys;
pub mod settings;
#[cfg(feature = "http")]
mod signature;
#[cfg(feature = "http")]
pub mod verify;
