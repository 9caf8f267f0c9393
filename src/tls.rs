//! Floor 1: TLS, and whom a client trusts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem, pem::PemObject},
    },
};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read certificates from `{}`; it must be a PEM file", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// There is none in the file.
    #[error("there is no certificate in `{}`; it must be a PEM file", .0.display())]
    Empty(PathBuf),
    /// It cannot be set up.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// What shakes hands with servers whose certificate is of one of the authorities in the file; without
/// one, of whom the system trusts.
///
/// # Errors
/// [`TlsError`].
pub fn connector(authorities: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate)?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The certificates of a PEM file.
///
/// # Errors
/// [`TlsError`].
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: file.to_owned(), source };
    let all = CertificateDer::pem_file_iter(file).map_err(failed)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if all.is_empty() { Err(TlsError::Empty(file.to_owned())) } else { Ok(all) }
}
