//! TLS of the HTTP server: reads certificate and key. The one place that names `tokio_rustls`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    },
};

use super::settings::Settings;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the two is missing.
    #[error("TLS takes a certificate and its key: give both `--tls-cert` and `--tls-key`")]
    Half,
    /// A file cannot be read.
    #[error("cannot read {what} from `{}`; it must be a PEM file", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// There is none in the file.
    #[error("there is no certificate in `{}`; it must be a PEM file", .0.display())]
    Empty(PathBuf),
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
    let chain = chain(cert)?;
    let failed = |source| TlsError::File { what: "the private key", path: key.clone(), source };
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

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what: "the certificate", path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if chain.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(chain) }
}

#[cfg(test)]
mod tests {
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
        assert!(matches!(with(Some(&path), Some(&path)), Err(TlsError::File { .. })));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(matches!(with(Some(&path), Some(&path)), Err(TlsError::Empty(_))));
    }
}
