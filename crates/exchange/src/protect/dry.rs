//! What a rule would do, before it is asked for: in words, in BIRD's form, where it would be announced and
//! to whom, and what it would have met where traffic is measured.

use casework::form::Text;
use serde::Serialize;
use web::OrgScope;

use super::engine::{New, State};
use super::words::sentence;
use super::{Matched, Protect};
use crate::document::Protection;
use crate::render::flow_text;
use crate::room::RoomError;

/// A site as far as a rule is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct At {
    /// The site.
    pub site: String,
    /// Whether its route server would announce the rule.
    pub announces: bool,
    /// Why not, as a text's key.
    pub why: &'static str,
    /// Members there that would be told.
    pub to: Vec<u32>,
}

/// What a rule would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DryRun {
    /// In a sentence.
    #[serde(skip)]
    pub sentence: Text,
    /// As BIRD announces it.
    pub bird: String,
    /// Whether it waits for a second person.
    pub waits: bool,
    /// Site by site.
    pub sites: Vec<At>,
    /// What it would have met; none when no traffic is measured.
    #[serde(skip)]
    pub matched: Option<Matched>,
}

/// A rule as BIRD announces it.
pub fn bird_form(rule: &Protection) -> String {
    match (&rule.flow, rule.destination) {
        (Some(flow), to) => flow_text(to, flow, rule.is_v6()),
        (None, Some(to)) => format!("route {to} blackhole"),
        (None, None) => String::new(),
    }
}

impl Protect {
    /// What a rule would do, when it may be asked for.
    ///
    /// # Errors
    /// As [`Protect::check`].
    pub async fn dry_run(&self, scope: &OrgScope, new: &New) -> Result<DryRun, RoomError> {
        let (kept, _) = self.check(scope, new).await?;
        let mut run = self.effect(&kept.rule).await?;
        run.waits = kept.state == State::Proposed;
        Ok(run)
    }

    /// What a rule does at each site.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn effect(&self, rule: &Protection) -> Result<DryRun, RoomError> {
        let matched = match &self.inner.evidence {
            Some(evidence) => evidence.matched(rule).await,
            None => None,
        };
        Ok(DryRun {
            sentence: sentence(rule),
            bird: bird_form(rule),
            waits: false,
            sites: self.sites_of(rule).await?,
            matched,
        })
    }

    async fn sites_of(&self, rule: &Protection) -> Result<Vec<At>, RoomError> {
        let pool = self.inner.db.pool();
        let v6 = rule.is_v6();
        let (own, hole) = if v6 {
            ("v6", "blackhole_v6")
        } else {
            ("v4", "blackhole_v4")
        };
        let servers: Vec<(String, String, Option<String>, Option<String>)> = sqlx::query_as(
            sqlx::AssertSqlSafe(format!("SELECT r.id, s.name, r.{own}, r.{hole} FROM exchange_route_server r JOIN exchange_site s ON s.id = r.site WHERE r.deleted_at IS NULL AND s.deleted_at IS NULL AND r.state = 'active' ORDER BY s.name LIMIT 64")),
        )
        .fetch_all(pool)
        .await?;
        let mut all = Vec::with_capacity(servers.len());
        for (server, name, own_address, hole) in servers {
            let peers: Vec<(i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT DISTINCT m.asn, m.flowspec FROM exchange_session x JOIN exchange_router r ON r.id = x.router JOIN exchange_member m ON m.id = r.member WHERE x.route_server = $1 AND x.family = $2 AND x.wanted = 'up' AND x.deleted_at IS NULL AND r.deleted_at IS NULL AND m.deleted_at IS NULL AND m.state = 'active' AND r.{own} IS NOT NULL ORDER BY m.asn LIMIT 10000")))
                .bind(&server)
                .bind(if v6 { "ipv6" } else { "ipv4" })
                .fetch_all(pool)
                .await?;
            let is_owner = |asn: i64| rule.asn.is_some_and(|own| i64::from(own) == asn);
            let here = rule.asn.is_none() || peers.iter().any(|(asn, _)| is_owner(*asn));
            let to: Vec<u32> = peers
                .iter()
                .filter(|(asn, flowspec)| {
                    !is_owner(*asn) && (rule.is_blackhole() || *flowspec != 0)
                })
                .filter_map(|(asn, _)| u32::try_from(*asn).ok())
                .collect();
            let why = if !(rule.sites.is_empty() || rule.sites.contains(&name)) {
                "protection-why-site"
            } else if own_address.is_none() || !here {
                "protection-why-router"
            } else if rule.is_blackhole() && hole.is_none() {
                "protection-why-hop"
            } else if to.is_empty() {
                "protection-why-taker"
            } else {
                ""
            };
            all.push(At {
                site: name,
                announces: why.is_empty(),
                why,
                to: if why.is_empty() { to } else { Vec::new() },
            });
        }
        Ok(all)
    }
}
