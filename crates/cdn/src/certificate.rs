//! Certificates that owners upload: read, checked against their key, their order,
//! their names and their time, and described for people. Pure, time as an argument.
//! Signatures between chain links are checked where the algorithms allow it.

use base::Timestamp;
use base::delivery::EdgeCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Bytes of an uploaded chain or key.
pub const PEM_BYTES_MAX: usize = 64 * 1024;
/// Certificates of one chain.
pub const CHAIN_MAX: usize = 8;
/// Names of one certificate.
pub const NAMES_MAX: usize = 200;

/// Why a chain and key are refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CertificateError {
    /// Too many bytes.
    #[error("the {0} is over {PEM_BYTES_MAX} bytes")]
    TooLarge(&'static str),
    /// Not PEM, or none in it.
    #[error("the chain holds no certificate in PEM")]
    NoCertificate,
    /// One of the chain's certificates is not X.509.
    #[error("certificate {0} of the chain cannot be read")]
    Unreadable(usize),
    /// Too many certificates.
    #[error("the chain holds {0} certificates: at most {CHAIN_MAX}")]
    ChainLong(usize),
    /// Each must be issued by the next.
    #[error(
        "certificate {position} of the chain is issued by {issuer:?}, and the next is {next:?}: the leaf comes first, each issuer after it"
    )]
    Order {
        /// Counted from 1.
        position: usize,
        /// Who issued it.
        issuer: String,
        /// Who comes next.
        next: String,
    },
    /// The next certificate did not sign it.
    #[error("certificate {0} of the chain is not signed by the next one")]
    Signature(usize),
    /// Not a PEM key of a kind that TLS uses.
    #[error(
        "the key holds no private key in PEM (PKCS #8, SEC1 or PKCS #1) of a kind that is supported"
    )]
    Key,
    /// The key belongs to another certificate.
    #[error("the key does not belong to the first certificate of the chain")]
    KeyMismatch,
    /// The leaf is a CA.
    #[error("the first certificate is a certificate authority's own")]
    LeafIsAuthority,
    /// No DNS name in the subjectAltName.
    #[error("the certificate names no host (subjectAltName, RFC 6125)")]
    NoNames,
    /// Too many names.
    #[error("the certificate names {0} hosts: at most {NAMES_MAX}")]
    NamesMany(usize),
    /// None of the names is the site's.
    #[error("the certificate is for {names}, none of which is a host name of the site")]
    OtherNames {
        /// What it is for.
        names: String,
    },
    /// Over.
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    /// Not begun.
    #[error("the certificate is not valid before {0}")]
    NotYet(Timestamp),
}

impl CertificateError {
    /// The rule's name, for programs.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "size",
            Self::NoCertificate | Self::Unreadable(_) => "pem",
            Self::ChainLong(_) | Self::Order { .. } | Self::Signature(_) => "chain",
            Self::Key => "key",
            Self::KeyMismatch => "key-mismatch",
            Self::LeafIsAuthority => "leaf",
            Self::NoNames | Self::NamesMany(_) | Self::OtherNames { .. } => "names",
            Self::Expired(_) | Self::NotYet(_) => "validity",
        }
    }

    /// Which of the two uploads it is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Key | Self::KeyMismatch | Self::TooLarge("key") => "key_pem",
            _ => "chain_pem",
        }
    }
}

/// What a certificate says, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Described {
    /// DNS names, lower case.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// SHA-256 of the leaf, in hexadecimal.
    pub sha256: String,
}

/// Checks an upload for a site with `hosts` at `now`.
///
/// # Errors
/// The first [`CertificateError`] found.
pub fn check(
    chain_pem: &str,
    key_pem: &str,
    hosts: &[String],
    now: Timestamp,
) -> Result<(Described, EdgeCertificate), CertificateError> {
    if chain_pem.len() > PEM_BYTES_MAX {
        return Err(CertificateError::TooLarge("chain"));
    }
    if key_pem.len() > PEM_BYTES_MAX {
        return Err(CertificateError::TooLarge("key"));
    }
    let ders = read_chain(chain_pem)?;
    let mut chain = Vec::with_capacity(ders.len());
    for (index, der) in ders.iter().enumerate() {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Unreadable(index + 1))?;
        if !rest.is_empty() {
            return Err(CertificateError::Unreadable(index + 1));
        }
        chain.push(certificate);
    }
    let leaf = &chain[0];
    check_order(&chain)?;
    check_key(key_pem, leaf)?;
    if leaf.is_ca() {
        return Err(CertificateError::LeafIsAuthority);
    }
    let described = describe(leaf, &ders[0])?;
    if !hosts
        .iter()
        .any(|host| described.names.iter().any(|name| covers(name, host)))
    {
        return Err(CertificateError::OtherNames {
            names: described
                .names
                .iter()
                .take(5)
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
        });
    }
    if described.not_after <= now {
        return Err(CertificateError::Expired(described.not_after));
    }
    if described.not_before > now {
        return Err(CertificateError::NotYet(described.not_before));
    }
    Ok((
        described,
        EdgeCertificate {
            chain_pem: chain_pem.to_owned(),
            key_pem: key_pem.to_owned(),
        },
    ))
}

fn read_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let mut ders = Vec::new();
    for item in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        ders.push(item.map_err(|_| CertificateError::Unreadable(ders.len() + 1))?);
        if ders.len() > CHAIN_MAX {
            return Err(CertificateError::ChainLong(ders.len()));
        }
    }
    if ders.is_empty() {
        Err(CertificateError::NoCertificate)
    } else {
        Ok(ders)
    }
}

fn check_order(chain: &[X509Certificate<'_>]) -> Result<(), CertificateError> {
    for (index, pair) in chain.windows(2).enumerate() {
        let (certificate, next) = (&pair[0], &pair[1]);
        if certificate.issuer().as_raw() != next.subject().as_raw() {
            return Err(CertificateError::Order {
                position: index + 1,
                issuer: certificate.issuer().to_string(),
                next: next.subject().to_string(),
            });
        }
        if !signed_by(certificate, next) {
            return Err(CertificateError::Signature(index + 1));
        }
    }
    Ok(())
}

/// Whether `issuer` signed `certificate`; true for algorithms that cannot be checked here.
fn signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let key = issuer.public_key();
    let mut known = false;
    for algorithm in algorithms.all {
        // An AlgorithmIdentifier begins with its OID; parameters follow or are absent.
        let identifier = algorithm.signature_alg_id();
        if !begins_with_oid(
            identifier.as_ref(),
            certificate.signature_algorithm.algorithm.as_bytes(),
        ) {
            continue;
        }
        known = true;
        if algorithm
            .verify_signature(
                &key.subject_public_key.data,
                certificate.tbs_certificate.as_ref(),
                &certificate.signature_value.data,
            )
            .is_ok()
        {
            return true;
        }
    }
    !known
}

fn begins_with_oid(identifier: &[u8], oid: &[u8]) -> bool {
    identifier.len() >= 2 + oid.len()
        && identifier[0] == 0x06
        && usize::from(identifier[1]) == oid.len()
        && &identifier[2..2 + oid.len()] == oid
}

fn check_key(key_pem: &str, leaf: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let key =
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| CertificateError::Key)?;
    let signer =
        rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| CertificateError::Key)?;
    let public = signer.public_key().ok_or(CertificateError::Key)?;
    if public.as_ref() == leaf.public_key().raw {
        Ok(())
    } else {
        Err(CertificateError::KeyMismatch)
    }
}

fn describe(leaf: &X509Certificate<'_>, der: &[u8]) -> Result<Described, CertificateError> {
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = leaf.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    if names.is_empty() {
        return Err(CertificateError::NoNames);
    }
    if names.len() > NAMES_MAX {
        return Err(CertificateError::NamesMany(names.len()));
    }
    let validity = leaf.validity();
    Ok(Described {
        names,
        issuer: leaf.issuer().to_string(),
        not_before: Timestamp::from_seconds(validity.not_before.timestamp()),
        not_after: Timestamp::from_seconds(validity.not_after.timestamp()),
        sha256: hex::encode(ring::digest::digest(&ring::digest::SHA256, der)),
    })
}

/// Whether a certificate's name is for `host`: equal, or with one left-most
/// wildcard label (RFC 6125 section 6.4.3).
pub fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Authority;

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    fn hosts() -> Vec<String> {
        vec!["www.agency.example".into()]
    }

    fn issued() -> EdgeCertificate {
        let authority = Authority::create("test", now()).expect("an authority");
        authority.issue(&hosts(), now(), 90).expect("a certificate")
    }

    #[test]
    fn a_right_upload_is_described() {
        let issued = issued();
        let (described, _) =
            check(&issued.chain_pem, &issued.key_pem, &hosts(), now()).expect("right");
        assert_eq!(described.names, ["www.agency.example"]);
        assert_eq!(described.sha256.len(), 64);
        assert!(described.not_after > now());
    }

    #[test]
    fn wrong_uploads_are_refused_for_their_own_reason() {
        let one = issued();
        let other = issued();
        let hosts = hosts();
        let reason = |chain: &str, key: &str, hosts: &[String], at: Timestamp| {
            check(chain, key, hosts, at).expect_err("wrong").rule()
        };
        assert_eq!(
            reason(&one.chain_pem, &other.key_pem, &hosts, now()),
            "key-mismatch"
        );
        assert_eq!(reason(&one.chain_pem, "no key", &hosts, now()), "key");
        assert_eq!(reason("no chain", &one.key_pem, &hosts, now()), "pem");
        assert_eq!(
            reason(&one.chain_pem, &one.key_pem, &["x.example".into()], now()),
            "names"
        );
        let later = now().plus(std::time::Duration::from_secs(91 * 86_400));
        assert_eq!(
            reason(&one.chain_pem, &one.key_pem, &hosts, later),
            "validity"
        );
        let earlier = now().minus(std::time::Duration::from_secs(86_400));
        assert_eq!(
            reason(&one.chain_pem, &one.key_pem, &hosts, earlier),
            "validity"
        );
        let split = one
            .chain_pem
            .find("-----BEGIN CERTIFICATE-----")
            .map(|_| one.chain_pem[1..].find("-----BEGIN").expect("a second") + 1)
            .expect("a first");
        let (leaf, root) = one.chain_pem.split_at(split);
        assert_eq!(
            reason(&format!("{root}{leaf}"), &one.key_pem, &hosts, now()),
            "chain"
        );
        let stranger = other.chain_pem.split_at(split).1;
        assert_eq!(
            reason(&format!("{leaf}{stranger}"), &one.key_pem, &hosts, now()),
            "chain"
        );
        assert_eq!(
            reason(&"x".repeat(PEM_BYTES_MAX + 1), &one.key_pem, &hosts, now()),
            "size"
        );
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.agency.example", "www.agency.example"));
        assert!(!covers("*.agency.example", "a.b.agency.example"));
        assert!(!covers("*.agency.example", "agency.example"));
        assert!(covers("agency.example", "agency.example"));
    }

    #[test]
    fn mutated_uploads_never_panic() {
        let issued = issued();
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut chain = issued.chain_pem.clone().into_bytes();
            for _ in 0..=random() % 3 {
                let at = (random() as usize) % chain.len();
                chain[at] = (random() % 128) as u8;
            }
            let chain = String::from_utf8_lossy(&chain);
            refused += usize::from(check(&chain, &issued.key_pem, &hosts(), now()).is_err());
        }
        assert!(refused > 10_000, "only {refused} mutations were refused");
    }
}
