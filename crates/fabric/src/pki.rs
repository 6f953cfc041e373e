//! The private certificate authority: ECDSA P-256, X.509 (RFC 5280).
//!
//! It issues two kinds of certificate. A **server** certificate bears
//! [`SERVER_NAME`] and may only serve; a **node** certificate bears the URIs
//! `civicnet:node/NAME` and `civicnet:role/ROLE` and may only be a client. So no node
//! can pose as the control plane. What a node may do is decided by the inventory at
//! each request; the roles in its certificate are for people who read it.
//!
//! The CA certificate itself has no useful end: it is pinned by its key, and
//! replacing it means enrolling again.

use std::time::Duration;

use base::{NodeName, Role, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::api::SERVER_NAME;
use crate::token::Pin;

/// How far a certificate's beginning lies before its making, for clocks that lag.
pub const BACKDATED: Duration = Duration::from_secs(3_600);
/// Life of the control server's own certificate; it is made anew at each start and
/// at two thirds of its life.
pub const SERVER_LIFE: Duration = Duration::from_secs(90 * 86_400);

const NODE_URI: &str = "civicnet:node/";
const ROLE_URI: &str = "civicnet:role/";

/// Why a certificate, key or request cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A signing request that is not acceptable.
    #[error("certificate request is refused: {0}")]
    Request(&'static str),
    /// A certificate that is not one of ours.
    #[error("certificate is not a civicnet node's: {0}")]
    NotANode(&'static str),
    /// The library's word.
    #[error("could not make or read a certificate")]
    Certificate(#[source] rcgen::Error),
    /// Not PEM.
    #[error("not a PEM certificate")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// No randomness from the system.
    #[error("the system gave no random bytes")]
    Random,
}

/// The certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    pin: Pin,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("pin", &hex::encode(self.pin.0))
            .finish_non_exhaustive()
    }
}

/// A certificate just issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// PEM.
    pub pem: String,
    /// Hex serial number.
    pub serial: String,
    /// Its end.
    pub not_after: Timestamp,
}

/// Who a node certificate speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeName,
    /// Hex serial number.
    pub serial: String,
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
}

impl Authority {
    /// A new authority, and its PKCS #8 key, which is secret.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn generate() -> Result<(Self, Vec<u8>), PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Certificate)?;
        let secret = key.serialize_der();
        let mut params = CertificateParams::default();
        params.distinguished_name = named("civicnet node CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
        let certificate = params.self_signed(&key).map_err(PkiError::Certificate)?;
        let authority = Self::load(&certificate.pem(), &secret)?;
        Ok((authority, secret))
    }

    /// The authority from its certificate and its PKCS #8 key.
    ///
    /// # Errors
    /// When either cannot be read.
    pub fn load(certificate_pem: &str, key_pkcs8: &[u8]) -> Result<Self, PkiError> {
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(PkiError::Pem)?;
        let key = KeyPair::try_from(key_pkcs8).map_err(PkiError::Certificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(PkiError::Certificate)?;
        Ok(Self {
            issuer,
            pin: pin_of(&certificate)?,
            certificate,
            pem: certificate_pem.to_owned(),
        })
    }

    /// The CA certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The pin that goes into tokens.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// Issues `node`'s certificate for the key in `csr_pem`; nothing else of the
    /// request is used.
    ///
    /// # Errors
    /// When the request is not a well-signed one for an ECDSA P-256 key.
    pub fn issue_node(
        &self,
        csr_pem: &str,
        node: &NodeName,
        roles: &[Role],
        now: Timestamp,
        life: Duration,
    ) -> Result<Issued, PkiError> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(|_| {
            PkiError::Request("must be a PEM request whose signature verifies (RFC 2986)")
        })?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(PkiError::Request("the key must be ECDSA P-256"));
        }
        let serial = random_serial()?;
        let not_after = now.plus(life);
        let mut params = leaf(node.as_str(), &serial, now, not_after);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let mut uris = vec![format!("{NODE_URI}{node}")];
        uris.extend(roles.iter().map(|role| format!("{ROLE_URI}{role}")));
        for uri in uris {
            let uri = uri.try_into().map_err(PkiError::Certificate)?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(PkiError::Certificate)?;
        Ok(Issued {
            pem: certificate.pem(),
            serial: hex::encode(serial),
            not_after: Timestamp::from_seconds(not_after.seconds()),
        })
    }

    /// A fresh certificate and key for the control server.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue_server(
        &self,
        now: Timestamp,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Certificate)?;
        let serial = random_serial()?;
        let mut params = leaf("civicnet control", &serial, now, now.plus(SERVER_LIFE));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let name = SERVER_NAME.try_into().map_err(PkiError::Certificate)?;
        params.subject_alt_names.push(SanType::DnsName(name));
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(PkiError::Certificate)?;
        Ok((
            certificate.der().clone(),
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        ))
    }
}

/// A new P-256 key: PKCS #8 PEM, and a signing request for it.
///
/// # Errors
/// When no key can be made.
pub fn key_and_request() -> Result<(String, String), PkiError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Certificate)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("civicnet node");
    let request = params
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(PkiError::Certificate)?;
    Ok((key.serialize_pem(), request))
}

/// Who `certificate` speaks of. Does not check who signed it.
///
/// # Errors
/// When it is not a node's certificate.
pub fn identity_of(certificate: &[u8]) -> Result<Identity, PkiError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| PkiError::NotANode("it cannot be parsed"))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| PkiError::NotANode("its names cannot be parsed"))?
        .ok_or(PkiError::NotANode("it bears no names"))?;
    let node = names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(NODE_URI),
            _ => None,
        })
        .ok_or(PkiError::NotANode("it bears no civicnet:node/ URI"))?;
    let node = node
        .parse()
        .map_err(|_| PkiError::NotANode("its node name is not well formed"))?;
    Ok(Identity {
        node,
        serial: hex::encode(parsed.raw_serial()),
        not_before: Timestamp::from_seconds(parsed.validity().not_before.timestamp()),
        not_after: Timestamp::from_seconds(parsed.validity().not_after.timestamp()),
    })
}

/// First and last second of validity, in seconds since the epoch.
pub(crate) fn validity_of(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}

/// The SHA-256 of the certificate's SubjectPublicKeyInfo.
///
/// # Errors
/// When it cannot be parsed.
pub fn pin_of(certificate: &[u8]) -> Result<Pin, PkiError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| PkiError::NotANode("it cannot be parsed"))?;
    let mut pin = [0; 32];
    pin.copy_from_slice(digest(&SHA256, parsed.public_key().raw).as_ref());
    Ok(Pin(pin))
}

fn leaf(
    common_name: &str,
    serial: &[u8],
    now: Timestamp,
    not_after: Timestamp,
) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |moment: Timestamp| {
        epoch + Duration::from_secs(u64::try_from(moment.seconds()).unwrap_or(0))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = at(now.minus(BACKDATED));
    params.not_after = at(not_after);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// 16 random bytes that DER writes as they are: positive, no leading zero.
fn random_serial() -> Result<[u8; 16], PkiError> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| PkiError::Random)?;
    serial[0] = (serial[0] & 0x3f) | 0x40;
    Ok(serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_certificate_says_who_and_until_when() {
        let (authority, _) = Authority::generate().expect("a CA");
        let (_, request) = key_and_request().expect("a key");
        let node: NodeName = "edge-hsinchu".parse().expect("a name");
        let now = Timestamp::from_seconds(1_800_000_000);
        let life = Duration::from_secs(7 * 86_400);
        let issued = authority
            .issue_node(&request, &node, &[Role::Edge], now, life)
            .expect("issued");
        let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).expect("PEM");
        let identity = identity_of(&der).expect("a node");
        assert_eq!(
            identity,
            Identity {
                node,
                serial: issued.serial,
                not_before: now.minus(BACKDATED),
                not_after: now.plus(life),
            }
        );
    }

    #[test]
    fn the_authority_keeps_its_pin_when_loaded_again() {
        let (authority, secret) = Authority::generate().expect("a CA");
        let again = Authority::load(authority.pem(), &secret).expect("loads");
        assert_eq!(again.pin(), authority.pin());
        let (server, _) = again
            .issue_server(Timestamp::from_seconds(1_800_000_000))
            .expect("a certificate");
        assert!(matches!(identity_of(&server), Err(PkiError::NotANode(_))));
    }

    #[test]
    fn a_request_that_was_changed_is_refused() {
        let (authority, _) = Authority::generate().expect("a CA");
        let node: NodeName = "edge-hsinchu".parse().expect("a name");
        for bad in [
            "",
            "x",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            let result = authority.issue_node(
                bad,
                &node,
                &[Role::Edge],
                Timestamp(0),
                Duration::from_secs(1),
            );
            assert!(matches!(result, Err(PkiError::Request(_))), "{bad}");
        }
    }

    #[test]
    fn a_hundred_thousand_mangled_certificates_never_panic() {
        let (authority, _) = Authority::generate().expect("a CA");
        let (_, request) = key_and_request().expect("a key");
        let node: NodeName = "edge-hsinchu".parse().expect("a name");
        let life = Duration::from_secs(86_400);
        let issued = authority
            .issue_node(&request, &node, &[Role::Edge], Timestamp(0), life)
            .expect("issued");
        let good = CertificateDer::from_pem_slice(issued.pem.as_bytes()).expect("PEM");
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut refused = 0;
        for _ in 0..100_000 {
            let mut der = good.to_vec();
            for _ in 0..=(next() % 8) {
                let at = (next() as usize) % der.len();
                match next() % 4 {
                    0 => der.truncate(at.max(1)),
                    1 => der.insert(at, next() as u8),
                    _ => der[at] = next() as u8,
                }
            }
            refused += usize::from(identity_of(&der).is_err() || pin_of(&der).is_err());
        }
        assert!(refused > 10_000, "{refused}");
    }
}
