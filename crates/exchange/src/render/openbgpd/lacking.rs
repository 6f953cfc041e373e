//! What OpenBGPD 7.7 cannot do, or cannot be told, and a document asks for.

use super::{Part, RenderError, Session, family, protection};
use crate::document::{Document, Site};
use crate::irr::AllowedByMember;

/// Bytes of an MD5 secret (`TCP_MD5_KEY_LEN` less its end).
const SECRET_BYTES_MAX: usize = 79;
/// Names told of one problem.
const NAMES_MAX: usize = 5;

/// Refuses a document that needs it.
pub(super) fn refuse(
    document: &Document,
    site: &Site,
    allowed: &AllowedByMember,
    parts: &[Part<'_>],
) -> Result<(), RenderError> {
    let policy = &document.policy;
    let mut problems = Vec::new();
    let sessions = |is_meant: &dyn Fn(&Session<'_>) -> bool| {
        let found: Vec<String> = parts
            .iter()
            .flat_map(|part| &part.sessions)
            .filter(|session| is_meant(session))
            .map(Session::name)
            .collect();
        (!found.is_empty()).then(|| names(&found))
    };
    if let Some(names) = sessions(&|session| session.has_bfd(policy)) {
        problems.push(format!(
            "policy.bfd: it has no BFD, which {names} would be watched by: set bfd = false for the member, no_bfd for the session, or leave policy.bfd out"
        ));
    }
    let is_too_long = |session: &Session<'_>| {
        session
            .secret()
            .is_some_and(|secret| secret.reveal().len() > SECRET_BYTES_MAX)
    };
    if let Some(names) = sessions(&is_too_long) {
        problems.push(format!(
            "password: it takes {SECRET_BYTES_MAX} bytes at most, and that of {names} is longer"
        ));
    }
    if policy.hold_time_s == 0 {
        problems.push("policy.hold_time_s: it knows no 0 (never): must be at least 3".to_owned());
    }
    let flowspec: Vec<String> = parts
        .iter()
        .filter(|part| part.member.flowspec)
        .map(|part| format!("AS{} {}", part.member.asn, family(part.v6)))
        .collect();
    if !flowspec.is_empty() {
        problems.push(format!(
            "flowspec: it announces no flow rules, which {} would take",
            names(&flowspec)
        ));
    }
    let holes: Vec<String> = protection::announced(document, site, allowed)
        .filter(|rule| rule.is_blackhole())
        .map(|rule| rule.id.clone())
        .collect();
    if !holes.is_empty() {
        problems.push(format!(
            "protection: it announces only networks of its own, with no path of a member: {} would need one",
            names(&holes)
        ));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(RenderError::Unsupported {
        site: site.name.clone(),
        problems,
    })
}

/// A few names, and how many there are besides.
fn names(all: &[String]) -> String {
    let shown = all[..all.len().min(NAMES_MAX)].join(", ");
    match all.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
