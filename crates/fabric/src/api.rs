//! What nodes and the control plane say to each other: JSON over HTTP/1.1 over TLS.
//!
//! | request | who | what |
//! | --- | --- | --- |
//! | `POST /v1/enrol` | a token's bearer | [`EnrolRequest`] → [`EnrolReply`] |
//! | `POST /v1/renew` | node | [`RenewRequest`] → [`RenewReply`] |
//! | `GET /v1/keys` | node | the chain of [`crate::envelope::Handover`] |
//! | `GET /v1/snapshots/{role}?after=V&part=P` | node | waits up to [`POLL_WAIT`]; an envelope (of that part), or 204 |
//! | `POST /v1/snapshots/{role}` | node | [`SnapshotReport`] → 204 |
//! | `GET /v1/quick/{role}?after=N` | node | endless NDJSON of [`QuickLine`] |
//! | `POST /v1/quick` | node | list of [`QuickReport`] → 204 |
//! | `POST /v1/heartbeat` | node | [`Heartbeat`] → [`HeartbeatReply`] |
//! | `POST /v1/reports/{role}` | node | any JSON, the newest of its kind → 204 |
//! | `POST /v1/events` | node | frames (`seq` u64, length u32, bytes; big-endian) → [`EventsReply`] |
//!
//! Every answer carries `civicnet-version`. Errors are [`ErrorBody`] with a fitting
//! status: 401 no or unusable certificate, 403 revoked or not for this node, 409
//! token used, 410 token expired, 429 later, 413 too large.

use std::collections::BTreeMap;
use std::time::Duration;

use base::quick::QuickEntry;
use base::{NodeName, Role, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Name in the control server's certificate. Nodes check this name whatever host
/// the URL has, because their CA issues it to control servers only.
pub const SERVER_NAME: &str = "control.civicnet.internal";
/// Header with the control plane's program version.
pub const VERSION_HEADER: &str = "civicnet-version";

/// How long a snapshot request waits for something new.
pub const POLL_WAIT: Duration = Duration::from_secs(20);
/// How often a quick stream says that it lives.
pub const QUICK_BEAT: Duration = Duration::from_secs(2);
/// Silence on a quick stream after which a node dials again.
pub const QUICK_SILENCE_MAX: Duration = Duration::from_secs(7);
/// How often a node reports itself.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(2);

/// Bytes of a small JSON request or answer at most.
pub const SMALL_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one line of a quick stream at most: a preload of 1,000 URLs of 2 KiB.
pub const QUICK_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of event frames in one request at most.
pub const EVENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a report in one request at most.
pub const REPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a node's health report at most.
pub const HEALTH_BYTES_MAX: usize = 64 * 1024;
/// Quick reports in one request at most.
pub const QUICK_REPORTS_MAX: usize = 1_000;

/// A new node presents its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The token's secret part.
    pub secret: String,
    /// The name that the token must be bound to; none: take the token's.
    pub node: Option<NodeName>,
    /// PEM certificate signing request (RFC 2986); only its key is used.
    pub csr_pem: String,
}

/// What an enrolled node starts its life with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolReply {
    /// Its name.
    pub node: NodeName,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// The CA, PEM; the node checks it against the token's pin.
    pub ca_pem: String,
    /// The key that signs snapshots, base64url.
    pub snapshot_key: String,
}

/// A node asks for its next certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// PEM certificate signing request with the new key.
    pub csr_pem: String,
}

/// The next certificate; the present one works until the next is first used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewReply {
    /// PEM.
    pub certificate_pem: String,
}

/// What became of a snapshot on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "result")]
pub enum SnapshotReport {
    /// In force, and on disk.
    Accepted {
        /// Its version.
        version: u64,
        /// Microseconds from the last byte's arrival to its being in force.
        took_us: u64,
    },
    /// Refused whole; the one before stays in force.
    Refused {
        /// Version in force.
        version: u64,
        /// Version that the refused one claims, if it could be read.
        refused: Option<u64>,
        /// Why.
        reason: String,
    },
}

/// A line of a quick stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuickLine {
    /// The next entry for this role.
    Entry {
        /// The number that the one before had: nothing for this role lies between.
        after: u64,
        /// The entry.
        entry: QuickEntry,
    },
    /// The log no longer holds what followed the node's number.
    Gap {
        /// First number that may be missing.
        from: u64,
        /// Last number that may be missing.
        to: u64,
    },
    /// Nothing new.
    Beat {
        /// The control plane's clock.
        at: Timestamp,
    },
}

/// How far an order has got on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct OrderReport {
    /// Parts to do: URLs of a preload, 1 for a purge.
    pub total: u64,
    /// Parts done, well or badly.
    pub done: u64,
    /// Of these, badly.
    pub failed: u64,
    /// The first failure in words, at most 500 characters.
    pub message: Option<String>,
}

impl OrderReport {
    /// A thing of one part that is done.
    pub fn complete() -> Self {
        Self {
            total: 1,
            done: 1,
            ..Self::default()
        }
    }
}

/// A node's word on one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuickReport {
    /// Which.
    pub seq: u64,
    /// Whether it is durable on the node: never again sent.
    pub durable: bool,
    /// How far it has got.
    pub report: OrderReport,
}

/// A node tells how it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Program version.
    pub software: String,
    /// Snapshot version in force by role.
    pub snapshots: BTreeMap<Role, u64>,
    /// Last durable quick entry by role.
    pub quick: BTreeMap<Role, u64>,
    /// Load, cache, queues: whatever the roles report, at most 64 KiB.
    pub health: serde_json::Value,
}

/// What the control plane has to say to a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// Whether an operator is draining it.
    pub draining: bool,
    /// The control plane's clock.
    pub now: Timestamp,
}

/// How much of the events is safe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventsReply {
    /// Number of the last batch that need not be sent again.
    pub acked: u64,
    /// Batches that could not be understood and are dropped, with the reason.
    #[serde(default)]
    pub refused: Vec<(u64, String)>,
}

/// Any error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorBody {
    /// One sentence.
    pub error: String,
}

/// Splits the body of `POST /v1/events` into its frames.
///
/// # Errors
/// When a frame is cut short.
pub fn split_frames(mut body: Bytes) -> Result<Vec<(u64, Bytes)>, &'static str> {
    let mut batches = Vec::new();
    while !body.is_empty() {
        let (seq, rest) = body
            .split_first_chunk::<8>()
            .ok_or("event frame ends in its number")?;
        let (length, rest) = rest
            .split_first_chunk::<4>()
            .ok_or("event frame ends in its length")?;
        let (seq, length) = (
            u64::from_be_bytes(*seq),
            u32::from_be_bytes(*length) as usize,
        );
        if rest.len() < length {
            return Err("event frame is cut short");
        }
        batches.push((seq, body.slice(12..12 + length)));
        body = body.slice(12 + length..);
    }
    Ok(batches)
}
