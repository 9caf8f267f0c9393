//! TLS of the HTTP server: reads certificate and key.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, pem, pem::PemObject},
    },
};

use super::settings::Settings;
use crate::tls;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the two is missing.
    #[error("TLS takes a certificate and its key: give both `--tls-cert` and `--tls-key`")]
    Half,
    /// There is no certificate.
    #[error("no certificate for TLS")]
    Certificate(#[source] tls::TlsError),
    /// The key cannot be read.
    #[error("cannot read the private key from `{}`; it must be a PEM file", path.display())]
    Key {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// They do not fit, or are of a kind that is not known.
    #[error("certificate and key cannot be used together")]
    Unfit(#[source] rustls::Error),
}

/// What shakes hands with clients, where the settings want TLS.
pub(super) fn acceptor(settings: &Settings) -> Result<Option<TlsAcceptor>, TlsError> {
    let (cert, key) = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return Ok(None),
        _ => return Err(TlsError::Half),
    };
    let chain = tls::certificates(cert).map_err(TlsError::Certificate)?;
    let failed = |source| TlsError::Key { path: key.clone(), source };
    let key = PrivateKeyDer::from_pem_file(key).map_err(failed)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn half_of_it_and_no_pem_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        let with = |cert: Option<&Path>, key: Option<&Path>| {
            let (tls_cert, tls_key) = (cert.map(Path::to_owned), key.map(Path::to_owned));
            acceptor(&Settings { tls_cert, tls_key, ..Settings::default() }).map(|it| it.is_some())
        };
        assert!(!with(None, None).unwrap());
        assert!(matches!(with(Some(&path), None), Err(TlsError::Half)));
        let both = || match with(Some(&path), Some(&path)) {
            Err(TlsError::Certificate(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(both(), tls::TlsError::File { .. }));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(matches!(both(), tls::TlsError::Empty(_)));
    }
}
