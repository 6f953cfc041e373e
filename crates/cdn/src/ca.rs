//! The sandbox's own certificate authority. It makes the padlock close on one
//! machine, without any outside service; browsers are told to trust its root. Its
//! private key lives sealed in the control database.

use std::time::Duration;

use base::Timestamp;
use base::delivery::EdgeCertificate;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Days that the root is valid.
const ROOT_DAYS: u64 = 3_650;
/// Clocks of clients may be behind by this much.
const BACKDATE: Duration = Duration::from_secs(3_600);

/// An authority: its certificate, and its key as PKCS #8 PEM.
#[derive(Clone)]
pub struct Authority {
    /// The root, PEM.
    pub root_pem: String,
    key_pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("root_pem", &self.root_pem)
            .finish_non_exhaustive()
    }
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox's authority could not make a certificate")]
pub struct AuthorityError(#[from] rcgen::Error);

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// [`AuthorityError`] when keys cannot be made.
    pub fn create(name: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{name} sandbox root"));
        params
            .distinguished_name
            .push(DnType::OrganizationName, "civicnet");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        period(&mut params, now, ROOT_DAYS);
        let root = params.self_signed(&key)?;
        Ok(Self {
            root_pem: root.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// An authority as it was kept.
    pub fn restore(root_pem: String, key_pem: String) -> Self {
        Self { root_pem, key_pem }
    }

    /// The private key, for sealing.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A certificate for `hosts`, valid for `days`, with its chain and key.
    ///
    /// # Errors
    /// [`AuthorityError`] when a host cannot stand in a certificate.
    pub fn issue(
        &self,
        hosts: &[String],
        now: Timestamp,
        days: u64,
    ) -> Result<EdgeCertificate, AuthorityError> {
        let issuer = Issuer::from_ca_cert_pem(&self.root_pem, KeyPair::from_pem(&self.key_pem)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts.to_vec())?;
        // A common name is at most 64 characters (RFC 5280 appendix A.1).
        if let Some(host) = hosts.iter().find(|host| host.len() <= 64) {
            params
                .distinguished_name
                .push(DnType::CommonName, host.as_str());
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        period(&mut params, now, days);
        let leaf = params.signed_by(&key, &issuer)?;
        Ok(EdgeCertificate {
            chain_pem: format!("{}{}", leaf.pem(), self.root_pem),
            key_pem: key.serialize_pem(),
        })
    }
}

fn period(params: &mut CertificateParams, now: Timestamp, days: u64) {
    let day = |at: Timestamp| {
        let seconds = u64::try_from(at.seconds()).unwrap_or(0);
        std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    params.not_before = day(now.minus(BACKDATE)).into();
    params.not_after = day(now.plus(Duration::from_secs(days * 86_400))).into();
}
