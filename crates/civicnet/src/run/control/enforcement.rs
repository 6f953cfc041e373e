//! Enforcement joined to the fabric and the lake: orders to nodes, hits and past requests,
//! and the folding of what is in force into snapshots.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base::quick::Order;
use base::{EnforcementId, Role, Timestamp};
use cdn::Cdn;
use cdn::seams::Publisher;
use isac::enforce::Enforcements;
use isac::enforce::seams::{Grouping, Hits, NodeHits, Orders, Past, SeamError, Seen};
use isac::objects::Objects;
use lake::Lake;
use lake::query::{QueryOptions, output};
use serde_json::Value;
use store::Tx;

use super::seams::Fabric;
use crate::run::process::Process;

/// How often what has changed is folded into snapshots: quick entries carry it at once,
/// so that this only keeps their log short.
const FOLD_PERIOD: Duration = Duration::from_secs(60);

/// Nodes whose hits are told apart.
const NODES_MAX: usize = 1_000;

#[async_trait]
impl Orders for Fabric {
    async fn order(&self, tx: &mut Tx, role: Role, order: Order) -> Result<u64, SeamError> {
        Ok(self.control.order(tx, role, order).await?)
    }
}

/// The lake, as enforcement sees it.
pub(super) struct Met(pub(super) Lake);

impl Met {
    async fn rows(
        &self,
        sql: &str,
        rows_max: Option<usize>,
    ) -> Result<(Vec<Value>, bool), SeamError> {
        let options = QueryOptions {
            rows_max,
            ..QueryOptions::default()
        };
        let result = self.0.query(sql, options).await?;
        Ok((output::objects(&result)?, result.truncated))
    }
}

#[async_trait]
impl Past for Met {
    async fn hits(&self, ids: &[EnforcementId]) -> Result<Vec<Hits>, SeamError> {
        // Ids are UUIDs: nothing to quote.
        let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        let sql = format!(
            "SELECT enforcement_id AS id, CAST(SUM(hits) AS BIGINT) AS hits, CAST(MAX(timestamp) AS BIGINT) AS last FROM enforced WHERE enforcement_id IN ({}) GROUP BY enforcement_id",
            list.join(", ")
        );
        let (rows, _) = self.rows(&sql, Some(ids.len())).await?;
        let found: HashMap<String, Hits> = rows
            .iter()
            .filter_map(|row| {
                let hits = Hits {
                    count: row["hits"].as_u64()?,
                    last: row["last"].as_i64().map(Timestamp),
                };
                Some((row["id"].as_str()?.to_owned(), hits))
            })
            .collect();
        let of = |id: &EnforcementId| found.get(&id.to_string()).copied().unwrap_or_default();
        Ok(ids.iter().map(of).collect())
    }

    async fn hits_by_node(&self, id: EnforcementId) -> Result<Vec<NodeHits>, SeamError> {
        // An id is a UUID: nothing to quote.
        let sql = format!(
            "SELECT node, role, CAST(SUM(hits) AS BIGINT) AS hits, CAST(MAX(timestamp) AS BIGINT) AS last FROM enforced WHERE enforcement_id = '{id}' GROUP BY node, role ORDER BY hits DESC"
        );
        let (rows, _) = self.rows(&sql, Some(NODES_MAX)).await?;
        let met = rows.iter().filter_map(|row| {
            Some(NodeHits {
                node: row["node"].as_str()?.to_owned(),
                role: row["role"].as_str()?.to_owned(),
                hits: Hits {
                    count: row["hits"].as_u64()?,
                    last: row["last"].as_i64().map(Timestamp),
                },
            })
        });
        Ok(met.collect())
    }

    async fn requests(
        &self,
        by: Grouping,
        from: Timestamp,
        to: Timestamp,
        rows: usize,
    ) -> Result<(Vec<Seen>, bool), SeamError> {
        let what = match by {
            Grouping::Client => "client_address",
            Grouping::Host => "server_address",
            Grouping::Url => "concat(server_address, url_path)",
        };
        let sql = format!(
            "SELECT {what} AS what, COUNT(*) AS requests FROM access WHERE timestamp >= to_timestamp_micros({}) AND timestamp < to_timestamp_micros({}) AND {what} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC",
            from.micros(),
            to.micros()
        );
        let (rows, more) = self.rows(&sql, Some(rows)).await?;
        let seen = rows.iter().filter_map(|row| {
            Some(Seen {
                what: row["what"].as_str()?.to_owned(),
                requests: row["requests"].as_u64()?,
            })
        });
        Ok((seen.collect(), more))
    }
}

/// Puts indicators to the policy as they come, and folds what is in force into snapshots.
pub(super) fn start(
    process: &Process,
    enforcements: &Enforcements,
    objects: Objects,
    cdn: &Cdn,
    fabric: &Fabric,
) {
    let (follower, stop) = (enforcements.clone(), process.supervisor.soft());
    process
        .supervisor
        .spawn_essential("enforcement", async move {
            follower.follow_until(objects, stop).await;
        });
    let (enforcements, cdn, fabric) = (enforcements.clone(), cdn.clone(), fabric.clone());
    let folded = Arc::new([AtomicI64::new(-1), AtomicI64::new(-1)]);
    process
        .supervisor
        .every("fold enforcements", FOLD_PERIOD, move || {
            let (enforcements, cdn, fabric, folded) = (
                enforcements.clone(),
                cdn.clone(),
                fabric.clone(),
                folded.clone(),
            );
            async move {
                for (role, done) in [Role::Edge, Role::Dispatch].into_iter().zip(folded.iter()) {
                    let ordered = enforcements.ordered(role).await?;
                    if done.load(Ordering::Relaxed) == ordered {
                        continue;
                    }
                    // Publishing adds what is in force (see `Fabric`).
                    if role == Role::Edge {
                        Publisher::edge(&fabric, &cdn.compile_edge().await?).await?;
                    } else {
                        Publisher::dispatch(&fabric, &cdn.compile_dispatch().await?).await?;
                    }
                    done.store(ordered, Ordering::Relaxed);
                }
                Ok::<(), anyhow::Error>(())
            }
        });
}
