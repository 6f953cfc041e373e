//! TLS 1.3 between nodes and control (rustls with ring).
//!
//! Both sides check chains with webpki against the one private CA. **Time** is
//! judged apart from the chain: a certificate is checked as of the moment within its
//! own validity that lies nearest to the clock, so that a clock that jumps cuts no
//! node off. What time must decide, it decides elsewhere: the control plane lets an
//! expired node certificate do nothing but renew itself, and refuses any serial
//! number that is not the one in its inventory.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::pki::{pin_of, validity_of};
use crate::token::Pin;

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refuses the material.
    #[error("TLS material is not usable")]
    Material(#[source] rustls::Error),
    /// A verifier cannot be built.
    #[error("TLS verifier cannot be built from the CA")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// Not PEM.
    #[error("{what} is not PEM")]
    Pem {
        /// Which part.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned())?;
    Ok(Arc::new(roots))
}

/// The control server's configuration: it shows its certificate and the CA's, and
/// asks for, but does not insist on, a node certificate (enrolment has none).
pub(crate) fn server_config(
    ca: &CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = roots(ca).map_err(TlsError::Material)?;
    let inner = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Material)?
        .with_client_cert_verifier(Arc::new(AnyTimeClient(inner)))
        .with_single_cert(vec![certificate, ca.clone()], key)
        .map_err(TlsError::Material)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would skip the check of a certificate that was replaced.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A new node's configuration: trusts whoever shows a chain to the pinned CA.
pub(crate) fn pinned_client(pin: Pin) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Material)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServer(pin)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// An enrolled node's configuration.
pub(crate) fn node_client(
    ca_pem: &str,
    certificate_pem: &str,
    key_pem: &str,
) -> Result<Arc<ClientConfig>, TlsError> {
    let pem = |what| move |source| TlsError::Pem { what, source };
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(pem("CA certificate"))?;
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .map_err(pem("node certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(pem("node key"))?;
    let inner = WebPkiServerVerifier::builder_with_provider(
        roots(&ca).map_err(TlsError::Material)?,
        provider(),
    )
    .build()
    .map_err(TlsError::Verifier)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Material)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyTimeServer(inner)))
        .with_client_auth_cert(vec![certificate], key)
        .map_err(TlsError::Material)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The moment nearest to `now` at which `certificate` is valid.
fn within(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<UnixTime, Error> {
    let (first, last) =
        validity_of(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let clamp = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
    let seconds = now
        .as_secs()
        .clamp(clamp(first), clamp(last).max(clamp(first)));
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

#[derive(Debug)]
struct AnyTimeClient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyTimeClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0
            .verify_client_cert(end_entity, &[], within(end_entity, now)?)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct AnyTimeServer(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyTimeServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = within(end_entity, now)?;
        self.0
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, at)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct PinnedServer(Pin);

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = intermediates
            .iter()
            .find(|candidate| pin_of(candidate).is_ok_and(|pin| pin == self.0))
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let inner = WebPkiServerVerifier::builder_with_provider(roots(ca)?, provider())
            .build()
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        AnyTimeServer(inner).verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
