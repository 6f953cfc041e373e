//! TLS in front of the edge: certificates chosen by SNI from the snapshot, and the
//! client side towards HTTPS origins.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use base::delivery::EdgeCertificate;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;

/// Where Linux distributions keep the bundle of trusted authorities.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Why a certificate or a trust bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain is not PEM certificates.
    #[error("the certificate chain is not PEM")]
    Chain(#[source] rustls_pki_types::pem::Error),
    /// The key is not a PEM key.
    #[error("the certificate's key is not PEM")]
    Key(#[source] rustls_pki_types::pem::Error),
    /// The chain is empty.
    #[error("the certificate chain is empty")]
    Empty,
    /// The leaf cannot be read.
    #[error("the leaf certificate cannot be read: {0}")]
    Leaf(String),
    /// The leaf names no host.
    #[error("the leaf certificate names no host")]
    Nameless,
    /// rustls refuses chain or key.
    #[error("the certificate cannot be used")]
    Unusable(#[source] rustls::Error),
    /// The trust bundle cannot be read.
    #[error("the bundle of trusted authorities {path} cannot be read")]
    Bundle {
        /// The file.
        path: String,
        /// Why.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
}

/// Certificates by the names they carry.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For whoever names no host, or another one.
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads all certificates of a snapshot; with the index of the one that fails.
    pub(crate) fn compile(certificates: &[EdgeCertificate]) -> Result<Self, (usize, TlsError)> {
        let mut table = Self::default();
        for (index, certificate) in certificates.iter().enumerate() {
            let (names, key) = read(certificate).map_err(|error| (index, error))?;
            for name in names {
                match name.strip_prefix("*.") {
                    Some(parent) => table.wildcard.insert(parent.into(), Arc::clone(&key)),
                    None => table.exact.insert(name.into(), Arc::clone(&key)),
                };
            }
        }
        Ok(table)
    }

    /// One certificate for every name, and for whoever names none; it need not name a host.
    ///
    /// # Errors
    /// When chain or key cannot be used.
    pub(crate) fn single(certificate: &EdgeCertificate) -> Result<Self, TlsError> {
        let (_, key) = chain(certificate)?;
        Ok(Self {
            default: Some(key),
            ..Self::default()
        })
    }

    /// The certificate for a name: exact, or a wildcard of its left-most label
    /// (RFC 6125 section 6.4.3).
    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(key) = self.exact.get(name.as_str()) {
            return Some(Arc::clone(key));
        }
        let (_, parent) = name.split_once('.')?;
        self.wildcard.get(parent).map(Arc::clone)
    }
}

fn read(certificate: &EdgeCertificate) -> Result<(Vec<String>, Arc<CertifiedKey>), TlsError> {
    let (leaf, key) = chain(certificate)?;
    Ok((names(&leaf)?, key))
}

/// The leaf of a certificate's chain, and the chain with its key.
fn chain(
    certificate: &EdgeCertificate,
) -> Result<(CertificateDer<'static>, Arc<CertifiedKey>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Chain)?;
    let leaf = chain.first().ok_or(TlsError::Empty)?.clone();
    let key =
        PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).map_err(TlsError::Key)?;
    let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
        .map_err(TlsError::Unusable)?;
    Ok((leaf, Arc::new(key)))
}

fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, TlsError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(leaf).map_err(|e| TlsError::Leaf(e.to_string()))?;
    let alternative = parsed
        .subject_alternative_name()
        .map_err(|e| TlsError::Leaf(e.to_string()))?;
    let names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Err(TlsError::Nameless);
    }
    Ok(names)
}

/// Answers a handshake from the certificates in force.
#[derive(Debug, Default)]
pub(crate) struct Resolver(RwLock<Arc<Certificates>>);

impl Resolver {
    pub(crate) fn set(&self, certificates: Certificates) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificates);
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        hello
            .server_name()
            .and_then(|name| table.find(name))
            .or_else(|| table.default.clone())
    }
}

/// The server side: TLS 1.2 and 1.3, `h2` and `http/1.1` by ALPN, session tickets.
pub(crate) fn server(resolver: Arc<Resolver>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The client side towards origins, trusting `bundle` or the system's authorities.
pub(crate) fn client(bundle: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = SYSTEM_BUNDLES.iter().map(Path::new).find(|p| p.exists());
    if let Some(path) = bundle.or(found) {
        let unreadable = |cause| TlsError::Bundle {
            path: path.display().to_string(),
            cause,
        };
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            let certificate = certificate.map_err(unreadable)?;
            if let Err(error) = roots.add(certificate) {
                tracing::debug!(path = %path.display(), %error, "Skipped an authority that rustls cannot use");
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
