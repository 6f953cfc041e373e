//! The log of quick entries: numbered without gaps in the caller's transaction.

use base::enforcement::Rule;
use base::quick::{Order, Preload, QuickEntry};
use base::{NodeName, Role, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use store::{Actor, AuditEntry, Tx};
use tracing::Instrument as _;

use super::{Control, ControlError, parse_node, parse_role, signed, unsigned};
use crate::api::{OrderReport, QuickLine};

/// Bytes of one order as JSON at most.
const ORDER_BYTES_MAX: usize = 1024 * 1024;
/// Entries given to a node at once at most.
const PAGE: i64 = 16;

/// An order and how far each node has got with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderStatus {
    /// Its number.
    pub seq: u64,
    /// Which nodes it concerns.
    pub role: Role,
    /// When it was given.
    pub at: Timestamp,
    /// Every enrolled node of the role.
    pub nodes: Vec<NodeProgress>,
}

impl OrderStatus {
    /// Whether every node that is present has it durably.
    pub fn acked_by_all(&self) -> bool {
        self.nodes.iter().all(|node| node.acked)
    }

    /// Whether every node has done all its parts, well or badly.
    pub fn is_done(&self) -> bool {
        self.nodes
            .iter()
            .all(|node| node.acked && node.report.done >= node.report.total)
    }
}

/// How far one node has got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeProgress {
    /// The node.
    pub node: NodeName,
    /// Whether the order is durable there.
    pub acked: bool,
    /// When it said so, if that was seen.
    pub acked_at: Option<Timestamp>,
    /// Milliseconds from the order to that.
    pub lag_ms: Option<u64>,
    /// Parts to do, done and failed.
    pub report: OrderReport,
}

/// What a quick stream says next.
pub(super) struct QuickPage {
    pub(super) lines: Vec<QuickLine>,
    /// Where the stream then stands.
    pub(super) after: u64,
}

impl Control {
    /// Gives `order` to all nodes of `role`, in the caller's transaction: it goes out
    /// when that is committed, at once. Returns its number.
    ///
    /// # Errors
    /// When the order is too large or the database fails; roll back then.
    pub async fn order(&self, tx: &mut Tx, role: Role, order: Order) -> Result<u64, ControlError> {
        if let Order::Preload(preload) = &order
            && preload.urls.len() > Preload::URLS_MAX
        {
            return Err(ControlError::Invalid(format!(
                "preload has {} URLs: must have at most {} in one order",
                preload.urls.len(),
                Preload::URLS_MAX
            )));
        }
        let listed = match &order {
            Order::Enforce(rules) => rules.len(),
            Order::Lift(ids) => ids.len(),
            Order::Purge(_) | Order::Preload(_) => 0,
        };
        if listed > Rule::ORDER_MAX {
            return Err(ControlError::Invalid(format!(
                "order has {listed} enforcements: must have at most {} in one order",
                Rule::ORDER_MAX
            )));
        }
        let body = serde_json::to_string(&order).map_err(|source| ControlError::Json {
            what: "the order",
            source,
        })?;
        if body.len() > ORDER_BYTES_MAX {
            return Err(ControlError::Invalid(format!(
                "order has {} bytes: must have at most {ORDER_BYTES_MAX}",
                body.len()
            )));
        }
        let span = if runtime::telemetry::exports() {
            tracing::info_span!("order given", %role, bytes = body.len())
        } else {
            tracing::Span::none()
        };
        self.number(tx, role, body).instrument(span).await
    }

    async fn number(&self, tx: &mut Tx, role: Role, body: String) -> Result<u64, ControlError> {
        let seq: i64 = sqlx::query_scalar(
            "UPDATE fabric_counter SET value = value + 1 WHERE name = 'orders' RETURNING value",
        )
        .fetch_one(&mut **tx)
        .await?;
        sqlx::query("INSERT INTO fabric_order (seq, role, at, body) VALUES ($1, $2, $3, $4)")
            .bind(seq)
            .bind(role.name())
            .bind(self.now().micros())
            .bind(body)
            .execute(&mut **tx)
            .await?;
        let seq = unsigned(seq);
        self.0.expected.send_if_modified(|expected| {
            let more = seq > *expected;
            *expected = seq.max(*expected);
            more
        });
        Ok(seq)
    }

    /// As [`order`](Self::order), in a transaction of its own.
    ///
    /// # Errors
    /// As [`order`](Self::order).
    pub async fn order_now(&self, role: Role, order: Order) -> Result<u64, ControlError> {
        let mut tx = self.0.db.begin().await?;
        let seq = self.order(&mut tx, role, order).await?;
        tx.commit().await?;
        Ok(seq)
    }

    /// How far every node has got with order `seq`.
    ///
    /// # Errors
    /// When it is not in the log (any more).
    pub async fn order_status(&self, seq: u64) -> Result<OrderStatus, ControlError> {
        let pool = self.0.db.pool();
        let row = sqlx::query("SELECT role, at FROM fabric_order WHERE seq = $1")
            .bind(signed(seq))
            .fetch_optional(pool)
            .await?
            .ok_or(ControlError::NoSuchOrder(seq))?;
        let (role, at) = (parse_role(row.try_get(0)?)?, Timestamp(row.try_get(1)?));
        let rows = sqlx::query(
            "SELECT n.name, q.seq, r.durable, r.acked_at, r.total, r.done, r.failed, r.message
             FROM fabric_node n
             LEFT JOIN fabric_node_quick q ON q.node = n.name AND q.role = $2
             LEFT JOIN fabric_order_report r ON r.node = n.name AND r.seq = $1
             WHERE n.state = 'enrolled' AND ',' || n.roles || ',' LIKE '%,' || $2 || ',%'
             ORDER BY n.name",
        )
        .bind(signed(seq))
        .bind(role.name())
        .fetch_all(pool)
        .await?;
        let nodes = rows
            .iter()
            .map(|row| {
                let reached: Option<i64> = row.try_get(1)?;
                let durable: Option<i64> = row.try_get(2)?;
                let acked_at: Option<i64> = row.try_get(3)?;
                let count = |at: usize| -> Result<u64, sqlx::Error> {
                    let value: Option<i64> = row.try_get(at)?;
                    Ok(unsigned(value.unwrap_or(0)))
                };
                let acked_at = acked_at.map(Timestamp);
                Ok(NodeProgress {
                    node: parse_node(row.try_get(0)?)?,
                    acked: durable == Some(1) || reached.is_some_and(|r| unsigned(r) >= seq),
                    acked_at,
                    lag_ms: acked_at.map(|acked| {
                        u64::try_from(acked.since(at).as_millis()).unwrap_or(u64::MAX)
                    }),
                    report: OrderReport {
                        total: count(4)?,
                        done: count(5)?,
                        failed: count(6)?,
                        message: row.try_get(7)?,
                    },
                })
            })
            .collect::<Result<Vec<_>, ControlError>>()?;
        Ok(OrderStatus {
            seq,
            role,
            at,
            nodes,
        })
    }

    /// What a node of `role` that has everything up to `after` must hear next.
    pub(super) async fn quick_page(
        &self,
        role: Role,
        after: u64,
    ) -> Result<QuickPage, ControlError> {
        let rows = sqlx::query(
            "SELECT seq, at, body FROM fabric_order
             WHERE role = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        )
        .bind(role.name())
        .bind(signed(after))
        .bind(PAGE)
        .fetch_all(self.0.db.pool())
        .await?;
        // Read after the rows: what was pruned in between shows as a gap.
        let pruned = self.counter("orders_pruned").await?;
        let mut page = QuickPage {
            lines: Vec::new(),
            after,
        };
        if pruned > after {
            page.lines.push(QuickLine::Gap {
                from: after + 1,
                to: pruned,
            });
            page.after = pruned;
        }
        for row in &rows {
            let (seq, body): (i64, String) = (row.try_get(0)?, row.try_get(2)?);
            let seq = unsigned(seq);
            if seq <= page.after {
                continue;
            }
            let order = serde_json::from_str(&body)
                .map_err(|error| ControlError::Row(format!("order {seq}: {error}")))?;
            page.lines.push(QuickLine::Entry {
                after: page.after,
                entry: QuickEntry {
                    seq,
                    at: Timestamp(row.try_get(1)?),
                    role,
                    order,
                },
            });
            page.after = seq;
        }
        Ok(page)
    }

    /// A node has numbers that this database never gave: the database was restored
    /// from a back-up. Numbers go on above, and every node hears of a gap.
    pub(super) async fn orders_catch_up(
        &self,
        node: &NodeName,
        ahead: u64,
    ) -> Result<(), ControlError> {
        let mut tx = self.0.db.begin().await?;
        let last: i64 =
            sqlx::query_scalar("SELECT value FROM fabric_counter WHERE name = 'orders'")
                .fetch_one(&mut *tx)
                .await?;
        let last = unsigned(last);
        if ahead <= last {
            return Ok(());
        }
        self.check_ahead(node, "order", ahead, last)?;
        tracing::error!(%node, last, ahead,
            "A node has later orders than the database; the log goes on above with a gap");
        let entry = AuditEntry::new(
            Actor::Node(node.clone()),
            "fabric.order.catch-up",
            format!("order:{ahead}"),
        )
        .detail(serde_json::json!({ "last": last, "node_has": ahead }));
        tx.audit(entry).await?;
        // One above, so that the node that is ahead hears of the gap too.
        for (name, value) in [("orders", ahead + 1), ("orders_pruned", ahead + 1)] {
            sqlx::query("UPDATE fabric_counter SET value = $1 WHERE name = $2")
                .bind(signed(value))
                .bind(name)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        self.refresh_orders().await?;
        Ok(())
    }

    /// Forgets orders older than configured.
    pub(super) async fn prune_orders(&self) -> Result<u64, ControlError> {
        let before = self.now().minus(self.0.config.orders_kept()).micros();
        let mut tx = self.0.db.begin().await?;
        let last: Option<i64> =
            sqlx::query_scalar("SELECT MAX(seq) FROM fabric_order WHERE at < $1")
                .bind(before)
                .fetch_one(&mut *tx)
                .await?;
        let Some(last) = last else {
            return Ok(0);
        };
        for sql in [
            "DELETE FROM fabric_order_report WHERE seq <= $1",
            "DELETE FROM fabric_order WHERE seq <= $1",
            "UPDATE fabric_counter SET value = $1 WHERE name = 'orders_pruned' AND value < $1",
        ] {
            sqlx::query(sql).bind(last).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(unsigned(last))
    }

    /// Learns the last committed order; gives it.
    pub(super) async fn refresh_orders(&self) -> Result<u64, ControlError> {
        let last = self.counter("orders").await?;
        self.0.orders.send_if_modified(|orders| {
            let changed = *orders != last;
            *orders = last;
            changed
        });
        Ok(last)
    }

    async fn counter(&self, name: &str) -> Result<u64, ControlError> {
        let value: i64 = sqlx::query_scalar("SELECT value FROM fabric_counter WHERE name = $1")
            .bind(name)
            .fetch_one(self.0.db.pool())
            .await?;
        Ok(unsigned(value))
    }
}
