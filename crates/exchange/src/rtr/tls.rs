//! TLS for the protocol (RFC 8210 section 9.2): a server's chain and key, a client's trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Files that make no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM of the expected kind.
    #[error("could not read {what} from {path}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Chain and key do not fit, or an authority is none.
    #[error("{path} is of no use")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem {
        what: "certificates",
        path: path.to_owned(),
        source,
    };
    CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)
}

/// A server's configuration from PEM files.
///
/// # Errors
/// [`TlsError`]
pub fn server(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem {
        what: "a key",
        path: key.to_owned(),
        source,
    })?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain(certificate)?, private)
        .map_err(|source| TlsError::Unusable {
            path: certificate.to_owned(),
            source,
        })?;
    Ok(Arc::new(config))
}

/// A client's configuration that trusts the authorities of a PEM file.
///
/// # Errors
/// [`TlsError`]
pub fn client(authorities: &Path) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in chain(authorities)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Unusable {
                path: authorities.to_owned(),
                source,
            })?;
    }
    Ok(Arc::new(
        rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}
