//! Enforcements: what intelligence, or a person, has decided to refuse, as it crosses
//! from the domain that decides to the roles that obey.
//!
//! An [`Enforcement`] is the whole decision, with its source and its reason. Nodes are
//! told only its [`Rule`]: what to look for, what to do, until when. It reaches them at
//! once as a quick entry ([`crate::quick::Order::Enforce`], [`crate::quick::Order::Lift`])
//! and is folded into the next snapshot ([`Enforced`]). A role that comes later (a
//! resolver, a gateway, a route server) subscribes by following the same two.
//!
//! Nodes obey an expiry by their own clock, so that nothing stays refused because the
//! control plane is dead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EnforcementId, Prefix, Role, Timestamp};

/// Rules in one snapshot at most; a snapshot beyond is refused whole.
pub const RULES_MAX: usize = 200_000;
/// Bytes of a domain name (RFC 1035 section 2.3.4, without the final dot).
pub const DOMAIN_BYTES_MAX: usize = 253;
/// Bytes of a URL.
pub const URL_BYTES_MAX: usize = 2_048;
/// Characters of a reason.
pub const REASON_CHARS_MAX: usize = 500;

/// A text that is not a target of the kind named.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {kind} to enforce: {rule}")]
pub struct InvalidTarget {
    /// What was expected, in words.
    pub kind: &'static str,
    /// What was given, shortened.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// What is refused. [`Display`](fmt::Display) and [`FromStr`] are its one canonical text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Clients in this prefix; a host prefix is one address.
    Network(Prefix),
    /// A host name; with `below`, also every name under it (`*.name`).
    Domain {
        /// Lower case, ASCII (A-labels), no final dot.
        name: Box<str>,
        /// Names under it, too.
        below: bool,
    },
    /// A URL, whatever its scheme and port: `host/path` or `host/path?query`, normal
    /// form. Without a query it stands for every query.
    Url(Box<str>),
    /// A file, by the digest of its content.
    File {
        /// Which digest.
        algorithm: Digest,
        /// Lower-case hex.
        hex: Box<str>,
    },
}

/// Digests by which files are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// MD5 (RFC 1321); 32 hex digits.
    Md5,
    /// SHA-1; 40 hex digits.
    Sha1,
    /// SHA-256; 64 hex digits.
    Sha256,
}

impl Digest {
    const ALL: [Self; 3] = [Self::Md5, Self::Sha1, Self::Sha256];

    /// Its name in lower case, as [`Target`] writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    const fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
        }
    }
}

/// The kinds of targets, as policies name them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// One address.
    Address,
    /// A prefix of more than one address.
    Prefix,
    /// A domain name.
    Domain,
    /// A URL.
    Url,
    /// A file by its digest.
    File,
}

impl TargetKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Address,
        Self::Prefix,
        Self::Domain,
        Self::Url,
        Self::File,
    ];

    /// As in configuration and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Prefix => "prefix",
            Self::Domain => "domain",
            Self::Url => "url",
            Self::File => "file",
        }
    }
}

impl FromStr for TargetKind {
    type Err = InvalidTarget;
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                invalid(
                    "a kind of target",
                    text,
                    "must be address, prefix, domain, url or file",
                )
            })
    }
}

impl Target {
    /// Its kind.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Network(prefix) if *prefix == Prefix::host(prefix.address()) => {
                TargetKind::Address
            }
            Self::Network(_) => TargetKind::Prefix,
            Self::Domain { .. } => TargetKind::Domain,
            Self::Url(_) => TargetKind::Url,
            Self::File { .. } => TargetKind::File,
        }
    }

    /// A client address or prefix; IPv4-mapped IPv6 becomes IPv4.
    pub fn network(prefix: Prefix) -> Self {
        let canonical = prefix.address().to_canonical();
        if canonical.is_ipv4()
            && !prefix.address().is_ipv4()
            && prefix.length() >= 96
            && let Ok(v4) = Prefix::new(canonical, prefix.length() - 96)
        {
            return Self::Network(v4);
        }
        Self::Network(prefix)
    }

    /// A domain name; `*.name` stands for it and every name under it.
    ///
    /// # Errors
    /// When it is not a host name of letters, digits, `-` and `_` in ASCII, or an address.
    pub fn domain(text: &str) -> Result<Self, InvalidTarget> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        check_domain(&name).map_err(|rule| invalid("a domain", text, rule))?;
        Ok(Self::Domain {
            name: name.into(),
            below,
        })
    }

    /// A URL of scheme `http` or `https`.
    ///
    /// # Errors
    /// When it is not an absolute URL with a host.
    pub fn url(text: &str) -> Result<Self, InvalidTarget> {
        let fail = |rule| invalid("a URL", text, rule);
        if text.len() > URL_BYTES_MAX {
            return Err(fail("must have at most 2,048 bytes"));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| fail("must begin with http:// or https://"))?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(fail("must begin with http:// or https://"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        if authority.contains('@') {
            return Err(fail("must not name a user"));
        }
        let host = host_of(authority).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let is_address = literal.is_some_and(|h| h.parse::<Ipv6Addr>().is_ok())
            || host.parse::<Ipv4Addr>().is_ok();
        if !is_address {
            check_domain(host).map_err(fail)?;
        }
        if target.bytes().any(|b| !(0x21..0x7f).contains(&b)) {
            return Err(fail("must be printable ASCII: encode the rest in percent"));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut normal = String::with_capacity(text.len());
        normal.push_str(host);
        normal_path(path, &mut normal);
        if let Some(query) = query {
            normal.push('?');
            normal.push_str(query);
        }
        Ok(Self::Url(normal.into()))
    }

    /// A file by its digest in hex.
    ///
    /// # Errors
    /// When the digest has another length, or is not hex.
    pub fn file(algorithm: Digest, hex: &str) -> Result<Self, InvalidTarget> {
        if hex.len() != algorithm.digits() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid(
                "a file digest",
                hex,
                "must be 32 (MD5), 40 (SHA-1) or 64 (SHA-256) hex digits",
            ));
        }
        Ok(Self::File {
            algorithm,
            hex: hex.to_ascii_lowercase().into(),
        })
    }
}

fn invalid(kind: &'static str, text: &str, rule: &'static str) -> InvalidTarget {
    InvalidTarget {
        kind,
        text: text.chars().take(80).collect(),
        rule,
    }
}

fn check_domain(name: &str) -> Result<(), &'static str> {
    if name.len() > DOMAIN_BYTES_MAX {
        return Err("must have at most 253 bytes");
    }
    let mut labels = 0;
    for label in name.split('.') {
        labels += 1;
        if label.is_empty() || label.len() > 63 {
            return Err("each label must have 1 to 63 bytes");
        }
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if !label.bytes().all(plain) {
            return Err("labels must be letters, digits, - and _ (other scripts as xn-- labels)");
        }
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("must not be an address");
    }
    if labels < 2 {
        return Err("must have at least two labels");
    }
    Ok(())
}

/// The host of an authority, without its port.
pub fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if !authority.ends_with(']') => &authority[..at],
        _ => authority,
    }
}

/// Appends the normal form of a path (RFC 3986 section 6.2.2): unreserved characters
/// not encoded, hex digits in upper case, no dot segments, at least `/`.
pub fn normal_path(path: &str, into: &mut String) {
    let start = into.len();
    let mut segments: Vec<usize> = Vec::new();
    let bytes = path.as_bytes();
    let mut at = usize::from(bytes.first() == Some(&b'/'));
    loop {
        let end = bytes[at..]
            .iter()
            .position(|b| *b == b'/')
            .map_or(bytes.len(), |n| at + n);
        let mark = into.len();
        into.push('/');
        normal_segment(&bytes[at..end], into);
        let last = end == bytes.len();
        match &into[mark + 1..] {
            "." => into.truncate(mark + usize::from(last)),
            ".." => {
                let back = segments.pop().unwrap_or(start);
                into.truncate(back);
                if last {
                    into.push('/');
                }
            }
            _ => segments.push(mark),
        }
        if last {
            break;
        }
        at = end + 1;
    }
    if into.len() == start {
        into.push('/');
    }
}

fn normal_segment(segment: &[u8], into: &mut String) {
    let mut at = 0;
    while let Some(&byte) = segment.get(at) {
        let encoded = (byte == b'%')
            .then(|| {
                Some((
                    nibble(*segment.get(at + 1)?)?,
                    nibble(*segment.get(at + 2)?)?,
                ))
            })
            .flatten();
        match encoded {
            Some((high, low)) => {
                let value = high << 4 | low;
                if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
                    into.push(char::from(value));
                } else {
                    into.push('%');
                    into.push(char::from(b"0123456789ABCDEF"[usize::from(high)]));
                    into.push(char::from(b"0123456789ABCDEF"[usize::from(low)]));
                }
                at += 3;
            }
            None => {
                // Bytes beyond ASCII, which no valid target has, compare as their own code.
                into.push(char::from(byte));
                at += 1;
            }
        }
    }
}

fn nibble(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// `192.0.2.1`, `192.0.2.0/24`, `a.example`, `*.example.net`, `url:a.example/x?y`,
/// `sha256:…`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(prefix) if *prefix == Prefix::host(prefix.address()) => {
                prefix.address().fmt(f)
            }
            Self::Network(prefix) => prefix.fmt(f),
            Self::Domain { name, below: false } => f.write_str(name),
            Self::Domain { name, below: true } => write!(f, "*.{name}"),
            Self::Url(url) => write!(f, "url:{url}"),
            Self::File { algorithm, hex } => write!(f, "{}:{hex}", algorithm.name()),
        }
    }
}

/// Reads what [`Display`](fmt::Display) writes, and what people type: a URL with its
/// scheme, an address, a prefix, a domain, `sha256:…` or a bare digest.
impl FromStr for Target {
    type Err = InvalidTarget;
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let text = text.trim();
        if let Some(url) = text.strip_prefix("url:") {
            // Another URL may stand in its path or query.
            let has_scheme = url
                .split_once("://")
                .is_some_and(|(scheme, _)| !scheme.contains(['/', '?']));
            return match has_scheme {
                true => Self::url(url),
                false => Self::url(&format!("http://{url}")),
            };
        }
        if text.contains("://") {
            return Self::url(text);
        }
        for digest in Digest::ALL {
            if let Some(hex) = text
                .split_once(':')
                .filter(|(name, _)| name.eq_ignore_ascii_case(digest.name()))
                .map(|(_, hex)| hex)
            {
                return Self::file(digest, hex);
            }
            if text.len() == digest.digits() && text.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Self::file(digest, text);
            }
        }
        if text.contains('/') || text.parse::<IpAddr>().is_ok() {
            return text.parse().map(Self::network).map_err(|_| {
                invalid(
                    "an address or prefix",
                    text,
                    "must be address/length with the bits beyond the length zero",
                )
            });
        }
        Self::domain(text)
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Target {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Target".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "address, prefix, domain (*.name: with all names under it), URL, or digest of a file",
            "examples": ["192.0.2.1", "2001:db8::/32", "*.example.net", "url:example.net/x", "sha256:…"]
        })
    }
}

/// What is done to whatever meets a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Say no: 403 (RFC 9110 section 15.5.4) with the enforcement's id; NXDOMAIN to a
    /// question for the name, REFUSED to a client.
    #[default]
    Refuse,
    /// Say nothing: close the connection, leave the question without an answer.
    Drop,
    /// Send users of a name to another address; elsewhere as `refuse`.
    Sinkhole {
        /// Answer to questions of type A and, when IPv6, AAAA.
        address: IpAddr,
    },
    /// Let pass and count.
    Observe,
}

impl Action {
    /// As in tables and on pages, without a sinkhole's address.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Drop => "drop",
            Self::Sinkhole { .. } => "sinkhole",
            Self::Observe => "observe",
        }
    }
}

/// Where an enforcement is in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Roles that obey it; empty: all that can.
    #[serde(default)]
    pub roles: Vec<Role>,
}

impl Scope {
    /// Whether nodes of `role` obey it.
    pub fn has(&self, role: Role) -> bool {
        self.roles.is_empty() || self.roles.contains(&role)
    }
}

/// The whole decision, as the domain that decides keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Enforcement {
    /// What nodes are told.
    #[serde(flatten)]
    pub rule: Rule,
    /// Where it is in force.
    pub scope: Scope,
    /// Where it comes from: `stix:indicator--…`, `person:…`.
    pub source: String,
    /// Why, for people; at most [`REASON_CHARS_MAX`] characters.
    pub reason: String,
    /// 0 to 100 (STIX 2.1 appendix A).
    pub confidence: u8,
    /// When it was decided.
    pub made_at: Timestamp,
}

/// The part of an enforcement that a node obeys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Names it everywhere.
    pub id: EnforcementId,
    /// What is refused.
    pub target: Target,
    /// How.
    #[serde(default)]
    pub action: Action,
    /// Not in force from this moment on; none: until lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Rule {
    /// Rules in one quick entry at most; more become several entries.
    pub const ORDER_MAX: usize = 2_000;

    /// Whether it is in force at `now`.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The folded form of all quick entries on enforcements up to one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enforced {
    /// Quick entries up to this number are in `rules` already.
    pub through: u64,
    /// What is in force, by id.
    pub rules: Vec<Rule>,
}

impl Enforced {
    /// Whether nothing was ever enforced: older nodes are then told nothing of it.
    pub fn is_unused(&self) -> bool {
        self.through == 0 && self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests;
