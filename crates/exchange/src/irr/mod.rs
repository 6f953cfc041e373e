//! What the Internet routing registries say: which networks a member announces, and which prefixes
//! they may originate.
//!
//! A [`Registry`] answers two questions of RPSL (RFC 2622, RFC 4012): the members of an AS set, and the
//! prefixes with a route object of an origin. It is a set of files ([`rpsl`]) or a server ([`whois`]).
//! [`expand`] follows sets into sets, [`aggregate`] makes the prefixes few, and [`resolve`] does it for
//! every member of a document, keeping the last good answer on disk ([`cache`]).

pub mod aggregate;
pub mod cache;
pub mod rpsl;
pub mod whois;

use std::collections::{BTreeMap, BTreeSet};

use base::Prefix;
use serde::{Deserialize, Serialize};

use crate::document::Document;
pub use aggregate::Pattern;
pub use cache::Cache;

/// Sets inside each other.
pub const SET_DEPTH_MAX: usize = 16;
/// Sets that one member's set leads to.
pub const SETS_MAX: usize = 20_000;
/// AS numbers that one member's set leads to.
pub const ASNS_MAX: usize = 100_000;
/// Prefixes of one member and family, before they are aggregated.
pub const PREFIXES_MAX: usize = 2_000_000;

/// Why the registries' data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IrrError {
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The server cannot be reached, or the conversation broke.
    #[error("registry server {server} does not answer")]
    Server {
        /// Its address.
        server: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The server answers what no registry answers.
    #[error(
        "registry server {server} answers {said:?} to {query:?}: must be A, C, D or F (IRRd protocol)"
    )]
    Protocol {
        /// Its address.
        server: String,
        /// What was asked.
        query: String,
        /// The beginning of its answer.
        said: String,
    },
    /// Something is larger than it may be.
    #[error("{what} exceeds {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// A set is unknown and there is no earlier answer.
    #[error("no registry of {sources:?} knows {set}")]
    Unknown {
        /// The set.
        set: String,
        /// The registries asked.
        sources: Vec<String>,
    },
}

/// A place that knows RPSL objects.
pub trait Registry {
    /// The direct members (sets and `AS` numbers) of a set; nothing when the set is unknown.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn members(&mut self, set: &str, sources: &[String]) -> Result<Option<Vec<String>>, IrrError>;

    /// The prefixes of one family with a route object of origin `asn`.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn prefixes(&mut self, asn: u32, v6: bool, sources: &[String])
    -> Result<Vec<Prefix>, IrrError>;
}

/// A registry that cannot be asked: only earlier answers help.
#[derive(Debug, Clone)]
pub struct Unreachable(pub String);

impl Registry for Unreachable {
    fn members(&mut self, _: &str, _: &[String]) -> Result<Option<Vec<String>>, IrrError> {
        Err(self.error())
    }
    fn prefixes(&mut self, _: u32, _: bool, _: &[String]) -> Result<Vec<Prefix>, IrrError> {
        Err(self.error())
    }
}

impl Unreachable {
    fn error(&self) -> IrrError {
        IrrError::Server {
            server: self.0.clone(),
            source: std::io::ErrorKind::NotConnected.into(),
        }
    }
}

/// What a member may announce in one family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// AS numbers that may originate, ascending.
    pub asns: Vec<u32>,
    /// Registered prefixes, each once, ascending, not aggregated.
    pub prefixes: Vec<Prefix>,
}

/// What every member may announce, by AS number and whether IPv6.
pub type AllowedByMember = BTreeMap<(u32, bool), Allowed>;

/// Something that the operator should know, and that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub String);

/// Whether `text` names an AS (`AS1659`) or an AS set (`AS-TWAREN`, `AS7539:AS-MEMBERS`).
pub fn is_as_or_set(text: &str) -> bool {
    let part = |part: &str| {
        asn(part).is_some()
            || (part.len() > 3
                && part.len() <= 100
                && part
                    .get(..3)
                    .is_some_and(|head| head.eq_ignore_ascii_case("AS-"))
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
    };
    text.split(':').count() <= 8 && text.split(':').all(part)
}

/// The number in `AS1659`.
pub fn asn(text: &str) -> Option<u32> {
    let (head, digits) = text.split_at_checked(2)?;
    let plain = head.eq_ignore_ascii_case("AS") && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// The AS numbers that `set` leads to. Cycles are walked once; unknown inner sets are empty.
///
/// # Errors
/// When the registry cannot be asked, does not know `set`, or a limit is passed.
pub fn expand(
    registry: &mut dyn Registry,
    set: &str,
    sources: &[String],
) -> Result<BTreeSet<u32>, IrrError> {
    let (set, sources) = match set.split_once("::") {
        Some((source, name)) => (name, vec![source.to_owned()]),
        None => (set, sources.to_vec()),
    };
    let mut asns = BTreeSet::new();
    let mut seen = BTreeSet::from([set.to_ascii_uppercase()]);
    let mut level = vec![set.to_ascii_uppercase()];
    for depth in 0..=SET_DEPTH_MAX {
        let mut next = Vec::new();
        for name in level {
            if let Some(asn) = asn(&name) {
                asns.insert(asn);
                continue;
            }
            let Some(members) = registry.members(&name, &sources)? else {
                if depth == 0 {
                    return Err(IrrError::Unknown { set: name, sources });
                }
                continue;
            };
            for member in members {
                let member = member.to_ascii_uppercase();
                match asn(&member) {
                    Some(asn) => {
                        asns.insert(asn);
                    }
                    None if is_as_or_set(&member) && seen.insert(member.clone()) => {
                        next.push(member)
                    }
                    None => {}
                }
            }
            limit(seen.len(), SETS_MAX, || {
                format!("number of sets inside {set}")
            })?;
            limit(asns.len(), ASNS_MAX, || {
                format!("number of AS numbers inside {set}")
            })?;
        }
        if next.is_empty() {
            return Ok(asns);
        }
        level = next;
    }
    Err(IrrError::TooLarge {
        what: format!("depth of sets inside {set}"),
        limit: SET_DEPTH_MAX,
    })
}

/// What `set` may announce in one family.
///
/// # Errors
/// As [`expand`].
pub fn allowed(
    registry: &mut dyn Registry,
    set: &str,
    v6: bool,
    sources: &[String],
) -> Result<Allowed, IrrError> {
    let asns = expand(registry, set, sources)?;
    let mut prefixes = BTreeSet::new();
    for asn in &asns {
        prefixes.extend(registry.prefixes(*asn, v6, sources)?);
        limit(prefixes.len(), PREFIXES_MAX, || {
            format!("number of prefixes of {set}")
        })?;
    }
    Ok(Allowed {
        asns: asns.into_iter().collect(),
        prefixes: prefixes.into_iter().collect(),
    })
}

/// What every member with a router at `site` may announce. Where the registry fails or does not know
/// a set, the last good answer in `cache` stands, with a warning; a set that nobody ever knew leads to
/// nothing, so that one member's mistake is that member's alone. `before` is what was found earlier by
/// somebody who goes on whatever happens: where the registry fails and nothing at all is known, nothing
/// may be announced.
///
/// # Errors
/// Without `before`, when there is no answer and no earlier one: a filter that nobody has data for is
/// not guessed.
pub fn resolve(
    document: &Document,
    site: &str,
    registry: &mut dyn Registry,
    cache: Option<&Cache>,
    before: Option<&AllowedByMember>,
) -> Result<(AllowedByMember, Vec<Warning>), IrrError> {
    let mut found = BTreeMap::new();
    let mut warnings = Vec::new();
    for member in &document.members {
        let sources = if member.irr_sources.is_empty() {
            &document.policy.irr.sources
        } else {
            &member.irr_sources
        };
        for v6 in [false, true] {
            let is_here = document
                .site(site)
                .is_some_and(|site| document.routers_at(site, member, v6).next().is_some());
            if !is_here {
                continue;
            }
            let set = member.set_name(v6);
            let answer = match allowed(registry, &set, v6, sources) {
                Ok(allowed) => {
                    if let Some(cache) = cache {
                        cache.keep(&set, sources, v6, &allowed)?;
                    }
                    allowed
                }
                Err(error) => {
                    let told = runtime::error_chain(&error);
                    let last_good = cache
                        .and_then(|cache| cache.last_good(&set, sources, v6))
                        .or_else(|| before?.get(&(member.asn, v6)).cloned());
                    match last_good {
                        Some(allowed) => {
                            warnings.push(Warning(format!(
                                "AS{} {set}: {told}; the last good answer is used",
                                member.asn
                            )));
                            allowed
                        }
                        None if before.is_some() || matches!(error, IrrError::Unknown { .. }) => {
                            warnings.push(Warning(format!("AS{} {set}: {told}", member.asn)));
                            Allowed::default()
                        }
                        None => return Err(error),
                    }
                }
            };
            if answer.asns.is_empty() || answer.prefixes.is_empty() {
                let family = if v6 { "IPv6" } else { "IPv4" };
                warnings.push(Warning(format!(
                    "AS{} {set}: no {family} prefix is registered: everything is refused",
                    member.asn
                )));
            }
            found.insert((member.asn, v6), answer);
        }
    }
    Ok((found, warnings))
}

fn limit(size: usize, limit: usize, what: impl Fn() -> String) -> Result<(), IrrError> {
    if size > limit {
        return Err(IrrError::TooLarge {
            what: what(),
            limit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
