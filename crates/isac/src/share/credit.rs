//! How far the word of a peer is believed: a percentage that an operator gives it, by which
//! enforcement weighs what is fetched from there, as the policy weighs what organisations
//! send.
//!
//! It belongs to the house at that address, whatever the peer is called in the configuration;
//! a house at another address begins with [`PEER_TRUST_DEFAULT`]. It counts for what comes
//! from then on, and what was decided automatically is decided again by it.

use std::collections::BTreeMap;

use base::Timestamp;
use serde_json::json;

use super::{ShareError, Sharing};
use crate::cert::By;
pub use crate::enforce::policy::PEER_TRUST_DEFAULT;
use crate::objects::{Origin, Via};

/// The most that a peer can be believed, in percent.
pub const TRUST_MAX: u8 = 100;

/// The trust in a peer, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    /// Percent of its word that it is believed.
    pub trust: u8,
    /// Who gave it: `user:…`; empty: nobody yet.
    pub made_by: String,
    /// When.
    pub made_at: Option<Timestamp>,
}

impl Sharing {
    /// The trust in the house at `url`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn trust_in_peer(&self, url: &str) -> Result<Credit, ShareError> {
        let row: Option<(i64, String, i64)> =
            sqlx::query_as("SELECT trust, made_by, made_at FROM share_peer_trust WHERE via = $1")
                .bind(Via::of(url).number())
                .fetch_optional(self.db().pool())
                .await?;
        Ok(match row {
            Some((trust, made_by, made_at)) => Credit {
                trust: percent(trust),
                made_by,
                made_at: Some(Timestamp(made_at)),
            },
            None => Credit {
                trust: PEER_TRUST_DEFAULT,
                made_by: String::new(),
                made_at: None,
            },
        })
    }

    /// Says how far the house at `url`, the peer called `peer`, is believed.
    ///
    /// # Errors
    /// [`ShareError::Policy`] above [`TRUST_MAX`]; else what the database says.
    pub async fn set_trust_in_peer(
        &self,
        by: &By,
        peer: &str,
        url: &str,
        trust: u8,
    ) -> Result<(), ShareError> {
        if trust > TRUST_MAX {
            let problem = ("trust".to_owned(), "must be 0 to 100".to_owned());
            return Err(ShareError::Policy(vec![problem]));
        }
        let before = self.trust_in_peer(url).await?.trust;
        let mut tx = self.db().begin().await?;
        sqlx::query(
            "INSERT INTO share_peer_trust (via, peer, trust, made_by, made_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (via) DO UPDATE SET peer = excluded.peer, trust = excluded.trust, made_by = excluded.made_by, made_at = excluded.made_at",
        )
        .bind(Via::of(url).number())
        .bind(peer)
        .bind(i64::from(trust))
        .bind(store::Actor::User(by.user).to_string())
        .bind(self.now().micros())
        .execute(&mut *tx)
        .await?;
        if (before == 0) != (trust == 0) {
            // Its voice begins or ceases to count; what it called wrong is weighed again.
            let voice = Origin::Peer(Via::of(url)).to_string();
            sqlx::query(
                "UPDATE share_belief SET look_at = 0 WHERE id IN (SELECT c.pattern_hash FROM share_dispute d JOIN share_claim c ON c.object = d.object WHERE d.voice = $1)
                 OR id IN (SELECT pattern_hash FROM share_claim WHERE sender = $1 AND revoked = 2)",
            )
            .bind(voice)
            .execute(&mut *tx)
            .await?;
        }
        tx.audit(by.entry(
            None,
            "share.trust",
            format!("peer:{peer}"),
            json!({ "from": before, "to": trust }),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The trust in all houses to which somebody gave it.
    pub(super) async fn peers_trusted(&self) -> Result<BTreeMap<Via, u8>, ShareError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as("SELECT via, trust FROM share_peer_trust")
            .fetch_all(self.db().pool())
            .await?;
        let trusts = rows.into_iter();
        Ok(trusts
            .map(|(via, trust)| (Via::from_number(via), percent(trust)))
            .collect())
    }
}

fn percent(trust: i64) -> u8 {
    u8::try_from(trust).unwrap_or_default().min(TRUST_MAX)
}
