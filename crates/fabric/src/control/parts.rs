//! Parts: what of a role's desired state one node is given.
//!
//! A role has one snapshot, which is what is published, kept and numbered. Some of it may be for some of
//! the role's nodes only, such as the secrets of the place where a node stands. A node says which part is
//! its own when it asks; the first answer binds it until it is enrolled anew, so that one that falls into
//! wrong hands cannot ask for another's. What it is given is cut out of the snapshot ([`Control::tailor`])
//! and signed like the whole, under the same number.

use std::sync::Arc;

use base::{NodeName, Role};
use bytes::Bytes;
use serde_json::json;
use store::{Actor, AuditEntry};

use super::snapshots::Latest;
use super::{Control, ControlError, lock};
use crate::envelope::Envelope;

/// Cuts a part out of a snapshot's content; nothing is named by a node that stands nowhere in particular.
pub type Tailor = Arc<dyn Fn(&[u8], Option<&str>) -> Result<Vec<u8>, String> + Send + Sync>;

/// Characters of a part's name.
const PART_CHARS_MAX: usize = 100;
/// Parts that are kept ready for nodes that ask.
const READY_MAX: usize = 1_000;

/// Envelopes that were cut and signed, of the newest version of their role.
#[derive(Default)]
pub(super) struct Ready(Vec<(Role, u64, Option<String>, Bytes)>);

impl Control {
    /// From now on nodes of `role` are given what `tailor` cuts out for their part.
    pub fn tailor(&self, role: Role, tailor: Tailor) {
        lock(&self.0.tailors).insert(role, tailor);
    }

    /// The part that a node is given: the one that it named first since it was enrolled.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] when it names another one, or something that is no name.
    pub(super) async fn part_of(
        &self,
        node: &NodeName,
        named: Option<&str>,
    ) -> Result<Option<String>, ControlError> {
        let is_name = |part: &str| {
            part.len() <= PART_CHARS_MAX
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let Some(named) = named.filter(|part| !part.is_empty()) else {
            return Ok(None);
        };
        if !is_name(named) {
            return Err(ControlError::Invalid(format!(
                "part {named:?}: must be at most {PART_CHARS_MAX} letters, digits, - and _"
            )));
        }
        let known: Option<Option<String>> =
            sqlx::query_scalar("SELECT part FROM fabric_node WHERE name = $1")
                .bind(node.as_str())
                .fetch_optional(self.0.db.pool())
                .await?;
        let Some(bound) = known else {
            return Err(ControlError::NoSuchNode(node.clone()));
        };
        let bound = match bound {
            Some(bound) => bound,
            None => self.bind_part(node, named).await?,
        };
        if bound != named {
            return Err(ControlError::Invalid(format!(
                "node {node} is for {bound:?} and asks for {named:?}: enrol it anew to move it"
            )));
        }
        Ok(Some(bound))
    }

    async fn bind_part(&self, node: &NodeName, named: &str) -> Result<String, ControlError> {
        let mut tx = self.0.db.begin().await?;
        let done = sqlx::query("UPDATE fabric_node SET part = $2 WHERE name = $1 AND part IS NULL")
            .bind(node.as_str())
            .bind(named)
            .execute(&mut *tx)
            .await?;
        let bound: Option<String> =
            sqlx::query_scalar("SELECT part FROM fabric_node WHERE name = $1")
                .bind(node.as_str())
                .fetch_one(&mut *tx)
                .await?;
        if done.rows_affected() > 0 {
            let entry = AuditEntry::new(
                Actor::Node(node.clone()),
                "fabric.node.part",
                format!("node:{node}"),
            )
            .detail(json!({ "part": named }));
            tx.audit(entry).await?;
        }
        tx.commit().await?;
        Ok(bound.unwrap_or_default())
    }

    /// The envelope that a node of `role` is given.
    ///
    /// # Errors
    /// As [`Self::part_of`], and when the part cannot be cut or signed.
    pub(super) async fn envelope_for(
        &self,
        node: &NodeName,
        role: Role,
        latest: &Latest,
        named: Option<&str>,
    ) -> Result<Bytes, ControlError> {
        let tailor = lock(&self.0.tailors).get(&role).cloned();
        let Some(tailor) = tailor else {
            return Ok(latest.envelope.clone());
        };
        let part = self.part_of(node, named).await?;
        let known = lock(&self.0.ready)
            .0
            .iter()
            .find(|one| (one.0, one.1, &one.2) == (role, latest.version, &part))
            .map(|one| one.3.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        let (_, payload) = Envelope::parse(&latest.envelope)?.checked_content(role)?;
        let cut = tailor(payload, part.as_deref()).map_err(|why| {
            ControlError::Row(format!("snapshot {} of {role}: {why}", latest.version))
        })?;
        let signing = self.signing();
        let envelope = signing
            .key
            .seal(role, latest.version, latest.created_at, &cut)?;
        let envelope = Bytes::from(envelope);
        let mut ready = lock(&self.0.ready);
        ready
            .0
            .retain(|one| one.0 != role || one.1 >= latest.version);
        if ready.0.len() < READY_MAX {
            ready.0.push((role, latest.version, part, envelope.clone()));
        }
        Ok(envelope)
    }
}
