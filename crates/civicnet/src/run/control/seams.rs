//! What the CDN asks of other rooms, joined to the rooms that can.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base::delivery::{DispatchSnapshot, EdgeSnapshot};
use base::enforcement::Enforced;
use base::quick::Order;
use base::{NodeName, Role};
use bytes::Bytes;
use cdn::Cdn;
use cdn::seams::{
    NodeVersion, NodeView, Nodes, OrderProgress, Orders, Publisher, SeamError, Statistics,
    StatsPoint, StatsQuery, StatsRow,
};
use fabric::control::NodeState;
use fabric::{Control, EventIngest, IngestError};
use isac::enforce::Enforcements;
use lake::stats::{NamedSums, Span, Subject, Sums};
use lake::{Ingested, Lake, LakeError};
use store::Tx;
use tokio::sync::Mutex;

use super::zones::ZoneFiles;

/// The fabric, as the CDN sees it.
#[derive(Clone)]
pub(super) struct Fabric {
    pub(super) control: Control,
    pub(super) zones: ZoneFiles,
    /// What is in force, folded into every snapshot; set once the rooms are joined.
    pub(super) enforcements: Arc<OnceLock<Enforcements>>,
}

impl Fabric {
    async fn enforced(&self, role: Role) -> Result<Enforced, SeamError> {
        match self.enforcements.get() {
            None => Ok(Enforced::default()),
            Some(enforcements) => enforcements
                .folded(role)
                .await
                .map_err(|e| SeamError::new("enforcements could not be folded in", e)),
        }
    }
}

#[async_trait]
impl Publisher for Fabric {
    async fn edge(&self, snapshot: &EdgeSnapshot) -> Result<u64, SeamError> {
        let whole = EdgeSnapshot {
            enforced: self.enforced(Role::Edge).await?,
            ..snapshot.clone()
        };
        let published = self.control.publish(Role::Edge, &whole).await;
        published.map_err(|e| SeamError::new("the snapshot for edges could not be published", e))
    }

    async fn dispatch(&self, snapshot: &DispatchSnapshot) -> Result<u64, SeamError> {
        let mut whole = self
            .zones
            .beside(snapshot)
            .map_err(|e| SeamError::new("the zone files cannot be used", e))?;
        whole.enforced = self.enforced(Role::Dispatch).await?;
        let published = self.control.publish(Role::Dispatch, &whole).await;
        published.map_err(|e| SeamError::new("the snapshot for dispatch could not be published", e))
    }
}

#[async_trait]
impl Orders for Fabric {
    async fn order(&self, tx: &mut Tx, role: Role, order: Order) -> Result<u64, SeamError> {
        self.control
            .order(tx, role, order)
            .await
            .map_err(|e| SeamError::new("the order could not be given", e))
    }

    async fn progress(&self, seqs: &[u64]) -> Result<Vec<OrderProgress>, SeamError> {
        let mut all = Vec::new();
        for seq in seqs {
            let status =
                self.control.order_status(*seq).await.map_err(|e| {
                    SeamError::new(format!("order {seq} could not be looked up"), e)
                })?;
            all.extend(status.nodes.into_iter().map(|node| OrderProgress {
                seq: *seq,
                node: node.node,
                acked_at: node.acked_at,
                done: node.report.done,
                total: node.report.total,
                failed: node.report.failed,
            }));
        }
        Ok(all)
    }
}

#[async_trait]
impl Nodes for Fabric {
    async fn nodes(&self) -> Result<Vec<NodeView>, SeamError> {
        let nodes = self
            .control
            .nodes()
            .await
            .map_err(|e| SeamError::new("the nodes could not be listed", e))?;
        Ok(nodes
            .into_iter()
            .map(|node| NodeView {
                revoked: node.state == NodeState::Revoked,
                last_seen: node.last_seen_at,
                software: node.software.unwrap_or_default(),
                versions: node
                    .versions
                    .into_iter()
                    .map(|v| NodeVersion {
                        role: v.role,
                        version: v.version,
                        lag_ms: v.lag_ms,
                    })
                    .collect(),
                certificate_until: Some(node.certificate_until),
                name: node.name,
                roles: node.roles,
                health: node.health,
            })
            .collect())
    }
}

/// How organisations are known, as sharing hides it; joined after the accounts are made.
pub(super) struct MemberNames {
    accounts: OnceLock<web::Accounts>,
    /// One that publishes nothing of enforcement: what holds each other would never end.
    cdn: Cdn,
    addresses: Mutex<Option<(Instant, Addresses)>>,
}

/// E-mail addresses and hosts by organisation.
type Addresses = Vec<(base::OrgId, Vec<String>)>;

/// Pages of organisations that are read.
const ORG_PAGES_MAX: usize = 100;
/// E-mail addresses that are read.
const MAIL_ADDRESSES_MAX: u32 = 100_000;
/// For how long addresses that were read are good: each is sealed, and opened for this.
const ADDRESSES_PERIOD: Duration = Duration::from_secs(10);

impl MemberNames {
    pub(super) fn new(cdn: Cdn) -> Self {
        Self {
            accounts: OnceLock::new(),
            cdn,
            addresses: Mutex::default(),
        }
    }

    /// Joins the accounts; the first time counts.
    pub(super) fn join(&self, accounts: web::Accounts) {
        self.accounts.get_or_init(|| accounts);
    }

    async fn read(&self) -> anyhow::Result<Addresses> {
        let mut all: Addresses = Vec::new();
        if let Some(accounts) = self.accounts.get() {
            let mailboxes = accounts.member_addresses(MAIL_ADDRESSES_MAX).await?;
            all.extend(mailboxes.into_iter().map(|(org, one)| (org, vec![one])));
        }
        let hosts = self.cdn.hosts().await?.into_iter();
        all.extend(hosts.map(|one| (one.org, vec![one.host])));
        Ok(all)
    }
}

#[async_trait]
impl isac::share::Members for MemberNames {
    async fn names(&self) -> Vec<(base::OrgId, Vec<String>)> {
        let mut all = Vec::new();
        let Some(accounts) = self.accounts.get() else {
            return all;
        };
        let mut paging = web::Paging {
            limit: Some(web::Paging::LIMIT_MAX),
            cursor: None,
        };
        for _ in 0..ORG_PAGES_MAX {
            let page = match accounts.orgs(&web::OrgScope::All, &paging).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "Organisations could not be listed");
                    break;
                }
            };
            let orgs = page.items.into_iter();
            all.extend(orgs.map(|org| (org.id, vec![org.name_zh, org.name_en])));
            match page.next {
                Some(next) => paging.cursor = Some(next),
                None => break,
            }
        }
        all
    }

    async fn addresses(&self) -> Addresses {
        let mut kept = self.addresses.lock().await;
        if let Some((at, all)) = &*kept
            && at.elapsed() < ADDRESSES_PERIOD
        {
            return all.clone();
        }
        match self.read().await {
            Ok(all) => {
                *kept = Some((Instant::now(), all.clone()));
                all
            }
            Err(error) => {
                tracing::warn!(error = %runtime::error_chain(&*error), "Addresses of organisations could not be read; they stay as they were read before");
                kept.as_ref()
                    .map(|(_, all)| all.clone())
                    .unwrap_or_default()
            }
        }
    }
}

/// The lake, as nodes and the CDN see it.
pub(super) struct Figures(pub(super) Lake);

#[async_trait]
impl EventIngest for Figures {
    async fn ingest(&self, node: &NodeName, seq: u64, batch: Bytes) -> Result<(), IngestError> {
        match self.0.ingest(node, seq, batch).await {
            Ok(Ingested::Refused) => {
                Err(IngestError::Refused("it is no batch of events".to_owned()))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(IngestError::Busy(runtime::error_chain(&error))),
        }
    }
}

#[async_trait]
impl Statistics for Figures {
    async fn series(&self, query: &StatsQuery) -> Result<Vec<StatsPoint>, SeamError> {
        let series = self
            .0
            .series(subject(query), span(query), u64::from(query.step_s))
            .await
            .map_err(failed)?;
        Ok(points(query, &series.points))
    }

    async fn top_urls(&self, query: &StatsQuery, limit: usize) -> Result<Vec<StatsRow>, SeamError> {
        let urls = self
            .0
            .top_urls(subject(query), span(query), limit)
            .await
            .map_err(failed)?;
        let rows = urls.into_iter().map(|url| StatsRow {
            name: format!("{}{}", url.host, url.path),
            requests: count(url.requests),
            bytes: count(url.bytes_sent),
            hits: count(url.hits),
            errors: count(url.errors),
        });
        Ok(rows.collect())
    }

    async fn by_edge(&self, query: &StatsQuery) -> Result<Vec<StatsRow>, SeamError> {
        let sums = self
            .0
            .by_edge(subject(query), span(query))
            .await
            .map_err(failed)?;
        Ok(sums.into_iter().map(row).collect())
    }

    async fn series_by_edge(
        &self,
        query: &StatsQuery,
    ) -> Result<Vec<(String, Vec<StatsPoint>)>, SeamError> {
        let all = self
            .0
            .series_by_edge(subject(query), span(query), u64::from(query.step_s))
            .await
            .map_err(failed)?;
        let edges = all.into_iter();
        Ok(edges
            .map(|edge| (edge.name, points(query, &edge.points)))
            .collect())
    }

    async fn live_by_edge(&self, query: &StatsQuery) -> Result<Vec<StatsRow>, SeamError> {
        let sums = self
            .0
            .live_by_edge(subject(query), span(query))
            .await
            .map_err(failed)?;
        Ok(sums.into_iter().map(row).collect())
    }

    async fn by_site(&self, query: &StatsQuery, limit: usize) -> Result<Vec<StatsRow>, SeamError> {
        let sums = self
            .0
            .by_site(subject(query), span(query), limit)
            .await
            .map_err(failed)?;
        Ok(sums.into_iter().map(row).collect())
    }

    async fn by_network(
        &self,
        query: &StatsQuery,
        limit: usize,
    ) -> Result<Vec<StatsRow>, SeamError> {
        let sums = self
            .0
            .by_network(subject(query), span(query), limit)
            .await
            .map_err(failed)?;
        Ok(sums.into_iter().map(row).collect())
    }

    async fn errors(&self, query: &StatsQuery, limit: usize) -> Result<Vec<StatsRow>, SeamError> {
        let errors = self
            .0
            .errors(subject(query), span(query), limit)
            .await
            .map_err(failed)?;
        let rows = errors.into_iter().map(|error| StatsRow {
            name: format!("{} {}{}", error.status, error.host, error.path),
            requests: count(error.requests),
            bytes: 0,
            hits: 0,
            errors: count(error.requests),
        });
        Ok(rows.collect())
    }
}

fn subject(query: &StatsQuery) -> Subject {
    match (query.site, query.org) {
        (Some(site), _) => Subject::Site(site),
        (None, Some(org)) => Subject::Org(org),
        (None, None) => Subject::All,
    }
}

/// Sums as the points of a question's steps.
fn points(query: &StatsQuery, sums: &[Sums]) -> Vec<StatsPoint> {
    let step = std::time::Duration::from_secs(u64::from(query.step_s.max(1)));
    let mut at = query.from;
    let point = |sums: &Sums| {
        let point = StatsPoint {
            at,
            requests: count(sums.requests),
            bytes: count(sums.bytes_sent),
            hits: count(sums.hits),
            errors: count(sums.errors),
        };
        at = at.plus(step);
        point
    };
    sums.iter().map(point).collect()
}

fn span(query: &StatsQuery) -> Span {
    Span {
        from: query.from,
        to: query.to,
    }
}

fn row(sums: NamedSums) -> StatsRow {
    StatsRow {
        name: sums.name,
        requests: count(sums.requests),
        bytes: count(sums.bytes_sent),
        hits: count(sums.hits),
        errors: count(sums.errors),
    }
}

fn count(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

fn failed(error: LakeError) -> SeamError {
    SeamError::new("the figures could not be read", error)
}
