//! What the desk asks of the lake, joined in the binary.

use async_trait::async_trait;
use base::{MemberId, OrgId, PortId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::traffic::forecast::Day;

/// The lake could not do its part.
pub type SeamError = Box<dyn std::error::Error + Send + Sync>;

/// Which readings are asked for. Both lists are conditions: a row counts when its port
/// is in `ports` and its organisation in `orgs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// These ports; empty: none.
    pub ports: Vec<PortId>,
    /// Rows of these organisations; none: of all.
    pub orgs: Option<Vec<OrgId>>,
    /// From this moment on.
    pub from: Timestamp,
    /// Until before this one.
    pub to: Timestamp,
    /// Seconds of one step.
    pub step_s: u32,
}

/// What all ports together carried in one step, on average.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct Rates {
    /// When the step begins, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// Bits per second into the exchange.
    pub in_bps: f64,
    /// Bits per second out of it.
    pub out_bps: f64,
    /// Packets per second in.
    pub in_pps: f64,
    /// Packets per second out.
    pub out_pps: f64,
    /// Packets with errors, both directions.
    pub errors: i64,
    /// Packets dropped, both directions.
    pub discards: i64,
}

/// A port at its last reading.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Last {
    /// The port.
    #[schema(value_type = String)]
    pub port: PortId,
    /// When it was read.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// Whether it is up.
    pub up: bool,
    /// Bits per second in.
    pub in_bps: f64,
    /// Bits per second out.
    pub out_bps: f64,
    /// Packets with errors in the last minutes.
    pub errors: i64,
    /// Packets dropped in the last minutes.
    pub discards: i64,
}

/// What one member sent another.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Pair {
    /// Who sent; none: not known.
    #[schema(value_type = Option<String>)]
    pub from: Option<MemberId>,
    /// To whom; none: not known, or many.
    #[schema(value_type = Option<String>)]
    pub to: Option<MemberId>,
    /// Octets, estimated.
    pub octets: i64,
    /// Octets of IPv6 among them.
    pub octets_v6: i64,
    /// Packets that were sampled.
    pub samples: i64,
}

/// Knows what was measured.
#[async_trait]
pub trait Figures: Send + Sync {
    /// Rates over time; steps without readings are left out.
    async fn series(&self, ask: &Ask) -> Result<Vec<Rates>, SeamError>;
    /// Rates in and out of each interval of five minutes.
    async fn five_minutes(&self, ask: &Ask) -> Result<Vec<(f64, f64)>, SeamError>;
    /// The 95th percentile of each day, of the higher direction.
    async fn days(&self, ask: &Ask) -> Result<Vec<Day>, SeamError>;
    /// Each port at its last reading in the span.
    async fn last(&self, ask: &Ask) -> Result<Vec<Last>, SeamError>;
    /// Who sent to whom; of `members` only, as sender or receiver, when given. Times
    /// are rounded down to the minute, or to the hour when the span is over two days.
    async fn matrix(
        &self,
        members: Option<&[MemberId]>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Pair>, SeamError>;
}
