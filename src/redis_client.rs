//! Floor 1: how a Redis is reached that the settings name.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use redis::{Client, RedisError, TlsCertificates};

use crate::{base::address::Address, tls::Distrust};

/// What to do about a Redis that wants a certificate, which it does unless it is told otherwise.
pub const CLIENT: &str =
    "husk has none for Redis, and lets a password do: set `tls-auth-clients no` there";

/// Why it cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It is no address.
    #[error("it is no address of a Redis")]
    Address,
    /// Whom to trust.
    #[error("cannot read certificates from `{}`; it must be a PEM file", path.display())]
    Authorities {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What connects to that address; over TLS to one whose certificate is of an authority in `ca`, or else of
/// one that the system trusts. Nothing is sent yet.
///
/// # Errors
/// [`ClientError`].
pub fn client(address: &Address, ca: Option<&Path>) -> Result<Client, ClientError> {
    let url = address.url().ok_or(ClientError::Address)?;
    let client = match (url.scheme(), ca) {
        ("rediss", Some(file)) => {
            let failed = |source| ClientError::Authorities { path: file.to_owned(), source };
            let root_cert = Some(fs::read(file).map_err(failed)?);
            Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert })
        }
        _ => Client::open(url),
    };
    // Its words may hold the address.
    client.map_err(|_| ClientError::Address)
}

/// Why there is no TLS, where that is why a connection failed.
#[must_use]
pub fn distrust(error: &RedisError) -> Option<Distrust> {
    // Its source is the pointer to the cause.
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    Distrust::of(cause.downcast_ref()?)
}
