//! Floor 0: TLS, whom a client trusts, and why it does not trust somebody.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, AlertDescription, CertificateError, ClientConfig, RootCertStore,
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

/// What it is that a server has not answered TLS's first word in time.
#[must_use]
pub fn mute(waited: Duration) -> io::Error {
    let why = format!("it does not answer TLS's first word within {} s", waited.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, rustls::Error::General(why))
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

/// Why a server is not spoken to over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// Nobody whom husk trusts has issued its certificate.
    Issuer,
    /// It is another one's.
    Name,
    /// It is not valid yet, or no more.
    Time,
    /// It is that of an authority, not of a server.
    Authority,
    /// Something else is wrong with it.
    Certificate,
    /// It wants a certificate from husk, and one that it trusts.
    Client,
    /// It breaks the handshake off, as one does that wants a certificate from husk and speaks TLS 1.2, or
    /// that has no cipher in common with husk.
    Refused,
    /// It speaks no TLS, or none that husk does.
    NoTls,
}

/// What a user can change about it, each as the settings name it.
#[derive(Debug, Clone, Copy)]
pub struct Cures {
    /// Whom to trust.
    pub authorities: &'static str,
    /// Where the server is.
    pub address: &'static str,
    /// What to do about a certificate that the server wants, as a sentence's end.
    pub client: &'static str,
}

impl Distrust {
    /// What it is, where it is the reason of a connection's failure.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        let certificate = match tls_error(error)? {
            rustls::Error::InvalidCertificate(certificate) => certificate,
            rustls::Error::AlertReceived(alert) if blames_a_certificate(*alert) => {
                return Some(Self::Client);
            }
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
                return Some(Self::Refused);
            }
            _ => return Some(Self::NoTls),
        };
        Some(match certificate {
            // With another key than that of the authority that has the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Issuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::Name
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Time,
            // The crate that says so is none of ours.
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => Self::Authority,
            _ => Self::Certificate,
        })
    }

    /// The same in words, as what is said of the server, with the way out.
    #[must_use]
    pub fn told(self, cures: &Cures) -> String {
        let Cures { authorities, address, client } = cures;
        let (what, cure) = match self {
            Self::Client => {
                return format!(
                    "does not trust husk: it wants a certificate, and one that it trusts; {client}"
                );
            }
            Self::Refused => {
                return format!(
                    "refuses TLS with husk: it wants a certificate, or has no cipher that husk has; {client}"
                );
            }
            Self::Issuer => (
                "nobody whom husk trusts has issued its certificate",
                format!("name who has, as a PEM file, in {authorities}"),
            ),
            Self::Name => (
                "its certificate is another one's",
                format!("write a name that it is for into {address}"),
            ),
            Self::Time => (
                "its certificate is not valid at this time",
                "have it renewed, or set this machine's clock".to_owned(),
            ),
            Self::Authority => (
                "it shows the certificate of an authority",
                "give it one of a server (`openssl req -x509` makes one with `-addext \
                 basicConstraints=critical,CA:FALSE`)"
                    .to_owned(),
            ),
            Self::Certificate => {
                ("its certificate cannot be taken", "give it one of a server".to_owned())
            }
            Self::NoTls => {
                ("it does not speak TLS 1.2 or 1.3", format!("turn it on there, or mend {address}"))
            }
        };
        format!("is not trusted: {what}; {cure}")
    }
}

/// What TLS has said, however deep it stands among the causes.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |error| cause(*error))
        .find_map(|error| error.downcast_ref())
}

fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    // What an `io::Error` calls its source is not what it wraps, but the source of that.
    let wrapped = error.downcast_ref::<io::Error>().map(io::Error::get_ref);
    wrapped.map_or_else(|| error.source(), |inner| inner.map(|inner| inner as _))
}

/// Whether a server says by this that it has not taken a certificate of its client's, or misses it.
fn blames_a_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // Its signature, where an authority of the same name is trusted.
            | AlertDescription::DecryptError
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_server_is_not_trusted_is_told_apart_from_why_it_is_not_there() {
        let check = |error: rustls::Error, expected: Distrust| {
            let told = format!("{error}");
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            assert_eq!(Distrust::of(&error), Some(expected), "{told}");
        };
        let certificate = rustls::Error::InvalidCertificate;
        check(certificate(CertificateError::UnknownIssuer), Distrust::Issuer);
        check(certificate(CertificateError::BadSignature), Distrust::Issuer);
        check(certificate(CertificateError::NotValidForName), Distrust::Name);
        check(certificate(CertificateError::Expired), Distrust::Time);
        check(certificate(CertificateError::NotValidYet), Distrust::Time);
        check(certificate(CertificateError::Revoked), Distrust::Certificate);
        let alert = rustls::Error::AlertReceived;
        check(alert(AlertDescription::CertificateRequired), Distrust::Client);
        check(alert(AlertDescription::UnknownCA), Distrust::Client);
        check(alert(AlertDescription::HandshakeFailure), Distrust::Refused);
        check(alert(AlertDescription::ProtocolVersion), Distrust::NoTls);
        check(rustls::InvalidMessage::InvalidContentType.into(), Distrust::NoTls);
        let deep = io::Error::other(certificate(CertificateError::Expired));
        assert_eq!(Distrust::of(&io::Error::other(io::Error::other(deep))), Some(Distrust::Time));
        assert_eq!(Distrust::of(&io::ErrorKind::ConnectionRefused.into()), None);
        assert_eq!(Distrust::of(&io::Error::other("something")), None);
    }
}
