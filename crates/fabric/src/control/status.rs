//! The inventory as operators see it.

use std::collections::BTreeMap;

use base::{NodeName, Role, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::nodes::is_online;
use super::{Control, ControlError, parse_node, parse_role, parse_roles, unsigned};

/// Whether a node belongs to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It does.
    Enrolled,
    /// It did.
    Revoked,
}

/// A node in the inventory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Whether it belongs to the network.
    pub state: NodeState,
    /// Whether an operator is draining it.
    pub draining: bool,
    /// Whether it was heard within the last four heartbeats.
    pub online: bool,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// When it was last heard.
    pub last_seen_at: Option<Timestamp>,
    /// From which address it calls.
    pub address: Option<String>,
    /// Its program and version.
    pub software: Option<String>,
    /// Hex serial number of its certificate.
    pub certificate_serial: String,
    /// End of its certificate.
    pub certificate_until: Timestamp,
    /// What it runs, by role.
    pub versions: Vec<RoleVersion>,
    /// Its last durable quick entry, by role.
    pub quick: BTreeMap<Role, u64>,
    /// What it reports of itself: load, cache, queues.
    pub health: serde_json::Value,
}

/// What a node runs for one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoleVersion {
    /// The role.
    pub role: Role,
    /// Snapshot version in force there; 0: none yet.
    pub version: u64,
    /// The newest version there is; 0: none yet.
    pub latest: u64,
    /// When the node said that it runs `version`.
    pub acked_at: Option<Timestamp>,
    /// Milliseconds from publication to that, if both were seen.
    pub lag_ms: Option<u64>,
    /// Microseconds that the node took to verify, keep and switch.
    pub took_us: Option<u64>,
    /// Why it last refused a snapshot, if it did so since.
    pub refused: Option<String>,
}

impl Control {
    /// All nodes, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, ControlError> {
        let pool = self.0.db.pool();
        let rows = sqlx::query(
            "SELECT name, roles, state, draining, serial, certificate_until, enrolled_at,
                last_seen_at, address, software, health
             FROM fabric_node ORDER BY name",
        )
        .fetch_all(pool)
        .await?;
        let mut versions = self.versions().await?;
        let quick = sqlx::query("SELECT node, role, seq FROM fabric_node_quick")
            .fetch_all(pool)
            .await?;
        let latest = self.latest_versions();
        let now = self.now();
        let mut nodes = rows
            .iter()
            .map(|row| node(row, now))
            .collect::<Result<Vec<_>, ControlError>>()?;
        for node in &mut nodes {
            let mut running = versions.remove(&node.name).unwrap_or_default();
            node.versions = node
                .roles
                .iter()
                .map(|role| {
                    let newest = latest.get(role).copied().unwrap_or(0);
                    RoleVersion {
                        latest: newest,
                        ..running.remove(role).unwrap_or(RoleVersion {
                            role: *role,
                            version: 0,
                            latest: newest,
                            acked_at: None,
                            lag_ms: None,
                            took_us: None,
                            refused: None,
                        })
                    }
                })
                .collect();
        }
        for row in &quick {
            let name = parse_node(row.try_get(0)?)?;
            if let Some(node) = nodes.iter_mut().find(|node| node.name == name) {
                let seq: i64 = row.try_get(2)?;
                node.quick
                    .insert(parse_role(row.try_get(1)?)?, unsigned(seq));
            }
        }
        Ok(nodes)
    }

    /// One node.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn node(&self, name: &NodeName) -> Result<NodeStatus, ControlError> {
        self.nodes()
            .await?
            .into_iter()
            .find(|node| node.name == *name)
            .ok_or_else(|| ControlError::NoSuchNode(name.clone()))
    }

    async fn versions(
        &self,
    ) -> Result<BTreeMap<NodeName, BTreeMap<Role, RoleVersion>>, ControlError> {
        let rows = sqlx::query(
            "SELECT node, role, version, acked_at, lag_us, took_us, refused_reason
             FROM fabric_node_version",
        )
        .fetch_all(self.0.db.pool())
        .await?;
        let mut versions: BTreeMap<NodeName, BTreeMap<Role, RoleVersion>> = BTreeMap::new();
        for row in &rows {
            let role = parse_role(row.try_get(1)?)?;
            let version: i64 = row.try_get(2)?;
            let acked_at: i64 = row.try_get(3)?;
            let (lag_us, took_us): (Option<i64>, Option<i64>) = (row.try_get(4)?, row.try_get(5)?);
            versions
                .entry(parse_node(row.try_get(0)?)?)
                .or_default()
                .insert(
                    role,
                    RoleVersion {
                        role,
                        version: unsigned(version),
                        latest: 0,
                        acked_at: (version > 0).then_some(Timestamp(acked_at)),
                        lag_ms: lag_us.map(|lag| unsigned(lag) / 1_000),
                        took_us: took_us.map(unsigned),
                        refused: row.try_get(6)?,
                    },
                );
        }
        Ok(versions)
    }
}

fn node(row: &AnyRow, now: Timestamp) -> Result<NodeStatus, ControlError> {
    let state: String = row.try_get(2)?;
    let draining: i64 = row.try_get(3)?;
    let last_seen_at: Option<i64> = row.try_get(7)?;
    let last_seen_at = last_seen_at.map(Timestamp);
    let health: Option<String> = row.try_get(10)?;
    let enrolled = state == "enrolled";
    Ok(NodeStatus {
        name: parse_node(row.try_get(0)?)?,
        roles: parse_roles(row.try_get(1)?)?,
        state: if enrolled {
            NodeState::Enrolled
        } else {
            NodeState::Revoked
        },
        draining: draining != 0,
        online: enrolled && is_online(last_seen_at, now),
        enrolled_at: Timestamp(row.try_get(6)?),
        last_seen_at,
        address: row.try_get(8)?,
        software: row.try_get(9)?,
        certificate_serial: row.try_get(4)?,
        certificate_until: Timestamp(row.try_get(5)?),
        versions: Vec::new(),
        quick: BTreeMap::new(),
        health: health
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
    })
}
