//! Why an object did not come through: the library is asked again about each, with the same rules.
//!
//! The engine counts refused objects and keeps the reasons of a publication point only when it rejects it
//! whole. The objects of a point that was otherwise good are in the engine's store, so the question can
//! be repeated for the few that matter.

use routinator::config::Config;
use routinator::engine::CaCert;
use routinator::metrics::Metrics;
use routinator::store::{Store, StoredObject};
use rpki::repository::aspa::Aspa;
use rpki::repository::cert::{Cert, KeyUsage};
use rpki::repository::crl::Crl;
use rpki::repository::error::{InspectionError, ValidationError};
use rpki::repository::roa::Roa;
use rpki::repository::sigobj::SignedObject;

use super::report::{REFUSALS_MAX, Refusal};
use super::watch::Watched;

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 300;

/// The refused objects and rejected publication points, at most [`REFUSALS_MAX`] of them, and how many there are.
pub(super) fn find(
    config: &Config,
    watched: Vec<Watched>,
    metrics: &Metrics,
) -> (Vec<Refusal>, usize) {
    let count = watched.iter().map(|one| one.missing.len().max(1)).sum();
    let mut all = Vec::new();
    let store = Store::new(config).ok();
    for one in watched {
        if all.len() >= REFUSALS_MAX {
            break;
        }
        if one.missing.is_empty() {
            all.push(rejected(&one.authority, metrics));
            continue;
        }
        let mut reasons = store
            .as_ref()
            .map(|store| ask(config, store, &one))
            .unwrap_or_default();
        for uri in &one.missing {
            let reason = reasons
                .iter()
                .position(|(known, _)| known == uri)
                .map(|at| reasons.swap_remove(at).1);
            all.push(Refusal {
                tal: one.authority.cert().tal().name().to_owned(),
                uri: uri.clone(),
                reason: cut(reason.unwrap_or_else(|| "the object was refused".into())),
                whole_point: false,
            });
        }
    }
    all.sort_by(|a, b| a.uri.cmp(&b.uri));
    all.truncate(REFUSALS_MAX);
    (all, count)
}

fn cut(reason: String) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

/// A publication point that was rejected whole, with what the engine wrote down about it.
fn rejected(authority: &CaCert, metrics: &Metrics) -> Refusal {
    let mut said: Vec<String> = metrics
        .pub_point_logs
        .iter()
        .filter(|(uri, _)| uri == authority.ca_repository())
        .flat_map(|(_, book)| book)
        .map(|message| message.content.trim_end_matches('.').to_owned())
        .collect();
    said.dedup();
    let reason = match said.is_empty() {
        true => {
            "the publication point was rejected; with the log filter at \"info\" the reason is kept"
                .into()
        }
        false => said.join("; "),
    };
    Refusal {
        tal: authority.cert().tal().name().to_owned(),
        uri: authority.ca_repository().to_string(),
        reason: cut(reason),
        whole_point: true,
    }
}

/// Reasons by address, for the missing objects of one publication point.
fn ask(config: &Config, store: &Store, one: &Watched) -> Vec<(String, String)> {
    let Ok(mut point) = store.start().pub_point(&one.authority) else {
        return Vec::new();
    };
    let crl = point.manifest().and_then(|manifest| {
        let mut crl = Crl::decode(manifest.crl.clone()).ok()?;
        crl.cache_serials();
        Some((manifest.crl_uri.clone(), crl))
    });
    let check = |cert: &Cert| -> Result<(), ValidationError> {
        let Some((uri, crl)) = &crl else {
            return Err(InspectionError::new("no revocation list").into());
        };
        if cert.crl_uri() != Some(uri) {
            return Err(InspectionError::new("certificate names another revocation list").into());
        }
        match crl.contains(cert.serial_number()) {
            true => Err(InspectionError::new("certificate has been revoked").into()),
            false => Ok(()),
        }
    };
    let mut reasons = Vec::new();
    for object in &mut point {
        let Ok(object) = object else {
            break;
        };
        if one.missing.contains(object.uri.as_str())
            && let Some(reason) = judge(config, &one.authority, &object, check)
        {
            reasons.push((object.uri.to_string(), reason));
        }
    }
    reasons
}

fn judge(
    config: &Config,
    authority: &CaCert,
    object: &StoredObject,
    check: impl Fn(&Cert) -> Result<(), ValidationError>,
) -> Option<String> {
    let (issuer, strict) = (authority.cert(), config.strict);
    let content = object.content.clone();
    let unreadable = |what: &str| Some(format!("does not decode as {what}"));
    if object.uri.ends_with(".roa") {
        match Roa::decode(content, strict) {
            Ok(roa) => roa
                .process(issuer, strict, check)
                .err()
                .map(|e| e.to_string()),
            Err(_) => unreadable("a ROA"),
        }
    } else if object.uri.ends_with(".asa") {
        match Aspa::decode(content, strict) {
            Ok(aspa) => aspa
                .process(issuer, strict, check)
                .err()
                .map(|e| e.to_string()),
            Err(_) => unreadable("an ASPA"),
        }
    } else if object.uri.ends_with(".gbr") {
        match SignedObject::decode(content, strict) {
            Ok(signed) => signed
                .process(issuer, strict, check)
                .err()
                .map(|e| e.to_string()),
            Err(_) => unreadable("a signed object"),
        }
    } else {
        let Ok(cert) = Cert::decode(content) else {
            return unreadable("a certificate");
        };
        let ca = cert.key_usage() == KeyUsage::Ca;
        if ca && authority.check_loop(&cert).is_err() {
            return Some("the certificates go round in a circle".into());
        }
        let checked = check(&cert);
        let valid = match ca {
            true => cert.validate_ca(issuer, strict).map(|_| ()),
            false => cert.validate_router(issuer, strict),
        };
        match valid.and(checked) {
            Err(error) => Some(error.to_string()),
            Ok(()) => Some("too many certificates up to the trust anchor".into()),
        }
    }
}
