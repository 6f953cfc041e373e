//! Enrolment tokens: made by an operator, used once by a node.

use std::time::Duration;

use base::{NodeName, Role, Timestamp};
use serde::Serialize;
use sqlx::Row as _;
use store::{Actor, AuditEntry};

use super::error::EnrolRefusal;
use super::{Change, Control, ControlError, NODE_TOPIC, parse_node, parse_roles, roles_text};
use crate::api::{EnrolReply, EnrolRequest};
use crate::token::{EnrolToken, hash_of_secret_text};

/// Tokens that may wait to be used at one time.
const TOKENS_WAITING_MAX: i64 = 10_000;
/// How long a token that has ended is told apart from one that never was.
const TOKENS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// A token just made. Its text is shown once and kept nowhere.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The token; `to_string` gives what the operator carries to the node.
    pub token: EnrolToken,
    /// Until when it may be used.
    pub expires_at: Timestamp,
}

/// A token that may still be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingToken {
    /// The node that it enrols.
    pub node: NodeName,
    /// With which roles.
    pub roles: Vec<Role>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it may be used.
    pub expires_at: Timestamp,
}

impl Control {
    /// Makes a token for `node`. It replaces tokens for the same node that were not
    /// used. A node that exists may be enrolled again (its disk was lost, or it was
    /// revoked); its old certificate then ends.
    ///
    /// # Errors
    /// When no role is given, or the control role is; when too many tokens wait.
    pub async fn create_token(
        &self,
        actor: Actor,
        node: &NodeName,
        roles: &[Role],
    ) -> Result<NewToken, ControlError> {
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        if roles.is_empty() || roles.contains(&Role::Control) {
            return Err(ControlError::Invalid(format!(
                "node {node} cannot be given roles {:?}: must be one or more of edge, dispatch, exchange",
                roles_text(&roles)
            )));
        }
        let token = EnrolToken::generate(self.pin())?;
        let now = self.now();
        let expires_at = now.plus(self.0.config.token_life());
        let mut tx = self.0.db.begin().await?;
        sqlx::query(
            "DELETE FROM fabric_token WHERE used_at IS NULL AND (node = $1 OR expires_at < $2)",
        )
        .bind(node.as_str())
        .bind(now.micros())
        .execute(&mut *tx)
        .await?;
        let waiting: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM fabric_token WHERE used_at IS NULL")
                .fetch_one(&mut *tx)
                .await?;
        if waiting >= TOKENS_WAITING_MAX {
            return Err(ControlError::Invalid(format!(
                "{TOKENS_WAITING_MAX} enrolment tokens wait to be used already"
            )));
        }
        sqlx::query(
            "INSERT INTO fabric_token (hash, node, roles, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(token.secret_hash())
        .bind(node.as_str())
        .bind(roles_text(&roles))
        .bind(now.micros())
        .bind(expires_at.micros())
        .execute(&mut *tx)
        .await?;
        let entry = AuditEntry::new(actor, "fabric.enrolment.offer", format!("node:{node}"))
            .detail(serde_json::json!({ "roles": roles, "expires_at": expires_at.to_string() }));
        tx.audit(entry).await?;
        tx.commit().await?;
        Ok(NewToken { token, expires_at })
    }

    /// Tokens that may still be used, by node name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pending_tokens(&self) -> Result<Vec<PendingToken>, ControlError> {
        let rows = sqlx::query(
            "SELECT node, roles, created_at, expires_at FROM fabric_token
             WHERE used_at IS NULL AND expires_at >= $1 ORDER BY node",
        )
        .bind(self.now().micros())
        .fetch_all(self.0.db.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(PendingToken {
                    node: parse_node(row.try_get(0)?)?,
                    roles: parse_roles(row.try_get(1)?)?,
                    created_at: Timestamp(row.try_get(2)?),
                    expires_at: Timestamp(row.try_get(3)?),
                })
            })
            .collect()
    }

    /// Withdraws the unused token for `node`; whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn withdraw_token(
        &self,
        actor: Actor,
        node: &NodeName,
    ) -> Result<bool, ControlError> {
        let mut tx = self.0.db.begin().await?;
        let gone = sqlx::query("DELETE FROM fabric_token WHERE node = $1 AND used_at IS NULL")
            .bind(node.as_str())
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if gone > 0 {
            let subject = format!("node:{node}");
            tx.audit(AuditEntry::new(actor, "fabric.enrolment.withdraw", subject))
                .await?;
        }
        tx.commit().await?;
        Ok(gone > 0)
    }

    /// Forgets tokens that ended long ago.
    pub(super) async fn prune_tokens(&self) -> Result<(), ControlError> {
        let mut tx = self.0.db.begin().await?;
        sqlx::query("DELETE FROM fabric_token WHERE expires_at < $1")
            .bind(self.now().minus(TOKENS_KEPT).micros())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Enrols the bearer of a token.
    pub(super) async fn enrol(
        &self,
        request: &EnrolRequest,
        address: String,
    ) -> Result<EnrolReply, ControlError> {
        let hash = hash_of_secret_text(&request.secret).ok_or(EnrolRefusal::Unknown)?;
        let now = self.now();
        let mut tx = self.0.db.begin().await?;
        let row = sqlx::query(
            "SELECT node, roles, expires_at, used_at FROM fabric_token WHERE hash = $1",
        )
        .bind(&hash)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(EnrolRefusal::Unknown)?;
        let node = parse_node(row.try_get(0)?)?;
        let roles_kept: String = row.try_get(1)?;
        let roles = parse_roles(&roles_kept)?;
        let expires_at = Timestamp(row.try_get(2)?);
        let used_at: Option<i64> = row.try_get(3)?;
        if used_at.is_some() {
            return Err(EnrolRefusal::Used.into());
        }
        if expires_at < now {
            return Err(EnrolRefusal::Expired.into());
        }
        if request.node.as_ref().is_some_and(|name| *name != node) {
            return Err(EnrolRefusal::OtherNode.into());
        }
        let issued = self.0.authority.issue_node(
            &request.csr_pem,
            &node,
            &roles,
            now,
            self.0.config.certificate_life(),
        )?;
        sqlx::query("UPDATE fabric_token SET used_at = $1 WHERE hash = $2")
            .bind(now.micros())
            .bind(&hash)
            .execute(&mut *tx)
            .await?;
        // A node enrolled again begins anew: what it ran and heard is forgotten.
        for sql in [
            "DELETE FROM fabric_node_version WHERE node = $1",
            "DELETE FROM fabric_node_quick WHERE node = $1",
        ] {
            sqlx::query(sql)
                .bind(node.as_str())
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(
            "INSERT INTO fabric_node
                (name, roles, state, draining, serial, certificate_until, enrolled_at, address)
             VALUES ($1, $2, 'enrolled', 0, $3, $4, $5, $6)
             ON CONFLICT (name) DO UPDATE SET roles = $2, state = 'enrolled', draining = 0,
                serial = $3, certificate_until = $4, next_serial = NULL, next_until = NULL,
                enrolled_at = $5, address = $6, part = NULL",
        )
        .bind(node.as_str())
        .bind(&roles_kept)
        .bind(&issued.serial)
        .bind(issued.not_after.micros())
        .bind(now.micros())
        .bind(&address)
        .execute(&mut *tx)
        .await?;
        let entry = AuditEntry::new(
            Actor::Node(node.clone()),
            "fabric.enrolment.use",
            format!("node:{node}"),
        )
        .detail(serde_json::json!({ "serial": issued.serial, "address": address }));
        tx.audit(entry).await?;
        let change = Change::Enrolled { node: node.clone() };
        tx.outbox(NODE_TOPIC, &change).await?;
        tx.commit().await?;
        tracing::info!(%node, address, "Node enrolled");
        self.changed(change);
        Ok(EnrolReply {
            node,
            roles,
            certificate_pem: issued.pem,
            ca_pem: self.0.authority.pem().to_owned(),
            snapshot_key: self.snapshot_key().to_text(),
        })
    }
}
