//! What a node may do: authorisation of each request, renewal, revocation, draining.

use base::{NodeName, Role, Timestamp};
use sqlx::Row as _;
use store::{Actor, AuditEntry};

use super::error::NodeRefusal;
use super::{Change, Control, ControlError, NODE_TOPIC, parse_roles};
use crate::api::{RenewReply, RenewRequest};
use crate::pki::Identity;

/// What a request needs of the certificate that it comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// In force.
    Valid,
    /// In force, or expired within the grace period.
    Renewable,
}

/// A node whose certificate is honoured.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) node: NodeName,
    pub(super) roles: Vec<Role>,
    pub(super) draining: bool,
}

impl Caller {
    pub(super) fn must_have(&self, role: Role) -> Result<(), NodeRefusal> {
        if self.roles.contains(&role) {
            Ok(())
        } else {
            Err(NodeRefusal::NotItsRole)
        }
    }
}

impl Control {
    /// Whether the bearer of `identity` may do what it asks, now.
    pub(super) async fn authorise(
        &self,
        identity: &Identity,
        need: Need,
    ) -> Result<Caller, ControlError> {
        let row = sqlx::query(
            "SELECT roles, state, draining, serial, next_serial FROM fabric_node WHERE name = $1",
        )
        .bind(identity.node.as_str())
        .fetch_optional(self.0.db.pool())
        .await?
        .ok_or(NodeRefusal::Unknown)?;
        let state: String = row.try_get(1)?;
        let (serial, next): (String, Option<String>) = (row.try_get(3)?, row.try_get(4)?);
        if state != "enrolled" {
            return Err(NodeRefusal::Revoked.into());
        }
        let is_next = next.as_deref() == Some(identity.serial.as_str());
        if serial != identity.serial && !is_next {
            return Err(NodeRefusal::Superseded.into());
        }
        let now = self.now();
        if now > identity.not_after.plus(self.0.config.renew_grace()) {
            return Err(NodeRefusal::ExpiredLong.into());
        }
        if now > identity.not_after && need == Need::Valid {
            return Err(NodeRefusal::Expired.into());
        }
        if is_next {
            self.promote(identity).await?;
        }
        let draining: i64 = row.try_get(2)?;
        Ok(Caller {
            node: identity.node.clone(),
            roles: parse_roles(row.try_get(0)?)?,
            draining: draining != 0,
        })
    }

    /// The next certificate was used: the one before it ends.
    async fn promote(&self, identity: &Identity) -> Result<(), ControlError> {
        let mut tx = self.0.db.begin().await?;
        let changed = sqlx::query(
            "UPDATE fabric_node SET serial = $2, certificate_until = $3,
                next_serial = NULL, next_until = NULL
             WHERE name = $1 AND next_serial = $2",
        )
        .bind(identity.node.as_str())
        .bind(&identity.serial)
        .bind(identity.not_after.micros())
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed > 0 {
            let entry = AuditEntry::new(
                Actor::Node(identity.node.clone()),
                "fabric.certificate.renew",
                format!("node:{}", identity.node),
            )
            .detail(serde_json::json!({ "serial": identity.serial }));
            tx.audit(entry).await?;
        }
        tx.commit().await?;
        self.0.rights.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Issues the next certificate of `caller`; both work until the next is first used.
    pub(super) async fn renew(
        &self,
        caller: &Caller,
        request: &RenewRequest,
    ) -> Result<RenewReply, ControlError> {
        let issued = self.0.authority.issue_node(
            &request.csr_pem,
            &caller.node,
            &caller.roles,
            self.now(),
            self.0.config.certificate_life(),
        )?;
        let mut tx = self.0.db.begin().await?;
        sqlx::query(
            "UPDATE fabric_node SET next_serial = $2, next_until = $3
             WHERE name = $1 AND state = 'enrolled'",
        )
        .bind(caller.node.as_str())
        .bind(&issued.serial)
        .bind(issued.not_after.micros())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(RenewReply {
            certificate_pem: issued.pem,
        })
    }

    /// Revokes a node: its next request is refused, its streams end at once. What it
    /// serves to users it goes on serving; take it out of the answers first.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn revoke(&self, actor: Actor, node: &NodeName) -> Result<(), ControlError> {
        self.change_node(
            actor,
            node,
            "fabric.node.revoke",
            "UPDATE fabric_node SET state = 'revoked', next_serial = NULL, next_until = NULL
             WHERE name = $1",
            Change::Revoked { node: node.clone() },
        )
        .await
    }

    /// Marks a node as draining, or ends that.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn set_draining(
        &self,
        actor: Actor,
        node: &NodeName,
        on: bool,
    ) -> Result<(), ControlError> {
        let (action, sql) = if on {
            (
                "fabric.node.drain",
                "UPDATE fabric_node SET draining = 1 WHERE name = $1",
            )
        } else {
            (
                "fabric.node.undrain",
                "UPDATE fabric_node SET draining = 0 WHERE name = $1",
            )
        };
        let change = Change::Draining {
            node: node.clone(),
            on,
        };
        self.change_node(actor, node, action, sql, change).await
    }

    async fn change_node(
        &self,
        actor: Actor,
        node: &NodeName,
        action: &str,
        sql: &'static str,
        change: Change,
    ) -> Result<(), ControlError> {
        let mut tx = self.0.db.begin().await?;
        let changed = sqlx::query(sql)
            .bind(node.as_str())
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if changed == 0 {
            return Err(ControlError::NoSuchNode(node.clone()));
        }
        tx.audit(AuditEntry::new(actor, action, format!("node:{node}")))
            .await?;
        tx.outbox(NODE_TOPIC, &change).await?;
        tx.commit().await?;
        self.changed(change);
        Ok(())
    }
}

/// Whether a node that was last heard at `last_seen` counts as present.
pub(super) fn is_online(last_seen: Option<Timestamp>, now: Timestamp) -> bool {
    last_seen.is_some_and(|at| now.since(at) <= crate::api::HEARTBEAT_PERIOD * 4)
}
