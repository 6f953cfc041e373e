//! How a run went, for people and for metrics.

use routinator::collector::HttpStatus;
use routinator::metrics::{Metrics, PayloadMetrics, PublicationMetrics};

/// Refused objects that are named; the rest is counted.
pub const REFUSALS_MAX: usize = 1_000;
/// Messages of one fetch.
const MESSAGES_MAX: usize = 5;
/// Characters of one message.
const MESSAGE_CHARS_MAX: usize = 300;

/// One run.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct RunReport {
    /// When it began, in Unix seconds.
    pub began_at: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Route origins it found.
    pub vrps: usize,
    /// Provider authorisations (ASPA) it found, which are counted and not served.
    pub aspas: usize,
    /// BGPsec router keys it found, which are counted and not served.
    pub router_keys: usize,
    /// By trust anchor.
    pub tals: Vec<Tally>,
    /// By repository.
    pub repositories: Vec<Tally>,
    /// What was fetched.
    pub fetches: Vec<Fetch>,
    /// Refused objects and rejected publication points, the first [`REFUSALS_MAX`].
    pub refused: Vec<Refusal>,
    /// How many there are.
    pub refused_count: usize,
}

/// Counts of a trust anchor or a repository.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct Tally {
    /// Name of the trust anchor, or address of the repository.
    pub name: String,
    /// Publication points that were taken.
    pub points: u32,
    /// Publication points that were rejected whole.
    pub points_rejected: u32,
    /// Manifests and revocation lists that were missing, stale, too early or wrong.
    pub manifests_refused: u32,
    /// Objects that were taken: certificates, ROAs and others.
    pub objects: u32,
    /// Objects that were refused.
    pub objects_refused: u32,
    /// ROAs that were taken.
    pub roas: u32,
    /// ROAs that were refused.
    pub roas_refused: u32,
    /// Route origins it gives to the set.
    pub vrps: u32,
}

impl Tally {
    /// Whether it gave anything.
    pub fn is_up(&self) -> bool {
        self.points > 0
    }
}

/// One fetch.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct Fetch {
    /// Where from.
    pub uri: String,
    /// `rrdp` or `rsync`.
    pub transport: String,
    /// Whether the local copy is up to date.
    pub ok: bool,
    /// An HTTP status, how rsync ended, or what else happened.
    pub status: String,
    /// RRDP serial number.
    pub serial: Option<u64>,
    /// Why the whole repository was fetched rather than what changed.
    pub snapshot: Option<String>,
    /// How long it took.
    pub took_ms: u64,
    /// What went wrong on the way.
    pub messages: Vec<String>,
}

/// An object that was refused, or a publication point that was rejected whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Refusal {
    /// Name of the trust anchor.
    pub tal: String,
    /// Its address.
    pub uri: String,
    /// Why.
    pub reason: String,
    /// Whether it is a whole publication point.
    pub whole_point: bool,
}

/// The report of a run that ended well; times and totals are left to the caller.
pub(super) fn make(metrics: &Metrics, refused: (Vec<Refusal>, usize)) -> RunReport {
    let rrdp = metrics.rrdp.iter().map(|one| {
        let status = one.status();
        Fetch {
            uri: one.notify_uri.to_string(),
            transport: "rrdp".into(),
            ok: status.is_success() || status.is_not_modified(),
            status: match status {
                HttpStatus::Response(code) => code.to_string(),
                HttpStatus::Rejected => "the address is not allowed".into(),
                HttpStatus::Error => "no answer".into(),
            },
            serial: one.serial,
            snapshot: one.snapshot_reason.map(|reason| reason.code().to_owned()),
            took_ms: one
                .duration
                .as_ref()
                .map_or(0, |took| took.as_millis() as u64),
            messages: one
                .log_book
                .iter()
                .flatten()
                .take(MESSAGES_MAX)
                .map(message)
                .collect(),
        }
    });
    let rsync = metrics.rsync.iter().map(|one| Fetch {
        uri: one.module.to_string(),
        transport: "rsync".into(),
        ok: one.status.as_ref().is_ok_and(|status| status.success()),
        status: match &one.status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
        took_ms: one
            .duration
            .as_ref()
            .map_or(0, |took| took.as_millis() as u64),
        messages: one
            .log_book
            .iter()
            .flatten()
            .take(MESSAGES_MAX)
            .map(message)
            .collect(),
        ..Fetch::default()
    });
    let mut fetches: Vec<Fetch> = rrdp.chain(rsync).collect();
    fetches.sort_by(|a, b| (a.ok, &a.uri).cmp(&(b.ok, &b.uri)));
    let mut repositories: Vec<Tally> = metrics
        .repositories
        .iter()
        .map(|one| tally(&one.uri, &one.publication, &one.payload))
        .collect();
    repositories.sort_by(|a, b| a.name.cmp(&b.name));
    RunReport {
        tals: metrics
            .tals
            .iter()
            .map(|one| tally(one.name(), &one.publication, &one.payload))
            .collect(),
        repositories,
        fetches,
        refused: refused.0,
        refused_count: refused.1,
        ..RunReport::default()
    }
}

fn message(message: &routinator::log::LogMessage) -> String {
    message.content.chars().take(MESSAGE_CHARS_MAX).collect()
}

fn tally(name: &str, points: &PublicationMetrics, payload: &PayloadMetrics) -> Tally {
    Tally {
        name: name.to_owned(),
        points: points.valid_points,
        points_rejected: points.rejected_points,
        manifests_refused: points.invalid_manifests
            + points.premature_manifests
            + points.stale_manifests
            + points.missing_manifests
            + points.invalid_crls
            + points.stale_crls
            + points.stray_crls,
        objects: points.valid_ca_certs
            + points.valid_router_certs
            + points.valid_roas
            + points.valid_gbrs
            + points.valid_aspas
            + points.others,
        objects_refused: points.invalid_certs
            + points.invalid_roas
            + points.invalid_gbrs
            + points.invalid_aspas,
        roas: points.valid_roas,
        roas_refused: points.invalid_roas,
        vrps: payload.origins.contributed,
    }
}
