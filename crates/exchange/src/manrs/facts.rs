//! Counting what is kept.

use serde::Serialize;
use store::Db;

use super::CONTACT_DAYS_MAX;
use crate::document::Policy;
use crate::room::{Exchange, Kind, RoomError, Wanted};

/// A report of a route server counts while it is not older than this: microseconds.
const REPORT_FRESH_US: i64 = 600 * 1_000_000;

/// What the system holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[expect(missing_docs, reason = "each name says what is counted")]
pub struct Facts {
    pub sites_active: u64,
    pub servers_active: u64,
    pub servers_with_blackhole: u64,
    pub servers_reporting: u64,
    pub lans: u64,
    pub switches: u64,
    pub switches_with_text: u64,
    pub members: u64,
    pub members_with_set: u64,
    pub members_with_space: u64,
    pub members_with_limits: u64,
    pub members_with_noc: u64,
    pub members_with_technical: u64,
    pub members_with_security: u64,
    pub members_accepted: u64,
    pub routers: u64,
    pub routers_with_mac: u64,
    pub sessions_wanted: u64,
    pub sessions_seen_up: u64,
    pub sessions_with_secret: u64,
    pub contacts: u64,
    pub contacts_fresh: u64,
    pub irr_on: bool,
    pub rpki_on: bool,
    pub own_contact: bool,
    pub rules_published: bool,
    pub manrs_document: bool,
}

async fn number(db: &Db, sql: &'static str, binds: &[&str]) -> Result<u64, RoomError> {
    let mut query = sqlx::query_as::<_, (i64,)>(sql);
    for bind in binds {
        query = query.bind(*bind);
    }
    let (count,) = query.fetch_one(db.pool()).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Counts everything.
///
/// # Errors
/// [`RoomError::Store`].
pub async fn gather(exchange: &Exchange) -> Result<Facts, RoomError> {
    let db = exchange.db();
    let now = db.clock().now();
    let profile = exchange.all_of(Kind::Profile, &Wanted::default()).await?;
    let policy: Option<Policy> = match profile.first() {
        Some(profile) => Some(crate::protect::rows::read(profile.text("policy"))?),
        None => None,
    };
    let day_min = crate::room::value::day(now.minus(std::time::Duration::from_secs(
        CONTACT_DAYS_MAX.unsigned_abs() * 86_400,
    )));
    let (reporting,): (i64,) = sqlx::query_as("SELECT count(DISTINCT s.id) FROM exchange_route_server r JOIN exchange_site s ON s.id = r.site JOIN exchange_session_state e ON e.site = s.name WHERE r.deleted_at IS NULL AND r.state = 'active' AND e.reported_at > $1")
        .bind(now.micros() - REPORT_FRESH_US)
        .fetch_one(db.pool())
        .await?;
    Ok(Facts {
        sites_active: number(db, "SELECT count(*) FROM exchange_site WHERE deleted_at IS NULL AND state = 'active'", &[]).await?,
        servers_active: number(db, "SELECT count(*) FROM exchange_route_server WHERE deleted_at IS NULL AND state = 'active'", &[]).await?,
        servers_with_blackhole: number(db, "SELECT count(*) FROM exchange_route_server WHERE deleted_at IS NULL AND state = 'active' AND (blackhole_v4 IS NOT NULL OR blackhole_v6 IS NOT NULL)", &[]).await?,
        servers_reporting: u64::try_from(reporting).unwrap_or(0),
        lans: number(db, "SELECT count(*) FROM exchange_lan WHERE deleted_at IS NULL", &[]).await?,
        switches: number(db, "SELECT count(*) FROM exchange_switch WHERE deleted_at IS NULL AND state <> 'retired'", &[]).await?,
        switches_with_text: number(db, "SELECT count(*) FROM exchange_switch w WHERE w.deleted_at IS NULL AND w.state <> 'retired' AND EXISTS (SELECT 1 FROM exchange_switch_text t WHERE t.switch = w.id)", &[]).await?,
        members: number(db, "SELECT count(*) FROM exchange_member WHERE deleted_at IS NULL AND state = 'active'", &[]).await?,
        members_with_set: number(db, "SELECT count(*) FROM exchange_member WHERE deleted_at IS NULL AND state = 'active' AND as_set IS NOT NULL", &[]).await?,
        members_with_space: number(db, "SELECT count(*) FROM exchange_member m WHERE m.deleted_at IS NULL AND m.state = 'active' AND EXISTS (SELECT 1 FROM exchange_space p WHERE p.asn = m.asn)", &[]).await?,
        members_with_limits: number(db, "SELECT count(*) FROM exchange_member WHERE deleted_at IS NULL AND state = 'active' AND max_prefix_v4 IS NOT NULL AND max_prefix_v6 IS NOT NULL", &[]).await?,
        members_with_noc: number(db, "SELECT count(*) FROM exchange_member WHERE deleted_at IS NULL AND state = 'active' AND noc_email IS NOT NULL AND noc_phone IS NOT NULL", &[]).await?,
        members_with_technical: with_role(db, "technical").await?,
        members_with_security: with_role(db, "security").await?,
        members_accepted: number(db, "SELECT count(*) FROM exchange_member m WHERE m.deleted_at IS NULL AND m.state = 'active' AND EXISTS (SELECT 1 FROM exchange_rules_accepted a WHERE a.org = m.org)", &[]).await?,
        routers: number(db, "SELECT count(*) FROM exchange_router WHERE deleted_at IS NULL AND disabled = 0", &[]).await?,
        routers_with_mac: number(db, "SELECT count(*) FROM exchange_router WHERE deleted_at IS NULL AND disabled = 0 AND mac IS NOT NULL", &[]).await?,
        sessions_wanted: number(db, "SELECT count(*) FROM exchange_session WHERE deleted_at IS NULL AND type = 'route-server' AND wanted = 'up'", &[]).await?,
        sessions_seen_up: sessions_up(db).await?,
        sessions_with_secret: number(db, "SELECT count(*) FROM exchange_session s JOIN exchange_router r ON r.id = s.router JOIN exchange_member m ON m.id = r.member WHERE s.deleted_at IS NULL AND s.type = 'route-server' AND s.wanted = 'up' AND (s.password IS NOT NULL OR r.password IS NOT NULL OR m.password IS NOT NULL)", &[]).await?,
        contacts: number(db, "SELECT count(*) FROM exchange_contact WHERE deleted_at IS NULL", &[]).await?,
        contacts_fresh: number(db, "SELECT count(*) FROM exchange_contact WHERE deleted_at IS NULL AND checked_on >= $1", &[&day_min]).await?,
        irr_on: policy.as_ref().is_some_and(|policy| policy.irr.enabled),
        rpki_on: policy.as_ref().is_some_and(|policy| policy.rpki.is_used()),
        own_contact: profile
            .first()
            .is_some_and(|profile| !profile.text("support_email").is_empty() && !profile.text("support_phone").is_empty()),
        rules_published: published(db, crate::portal::rules::RULES).await?,
        manrs_document: published(db, "manrs").await?,
    })
}

async fn with_role(db: &Db, role: &str) -> Result<u64, RoomError> {
    number(db, "SELECT count(*) FROM exchange_member m WHERE m.deleted_at IS NULL AND m.state = 'active' AND EXISTS (SELECT 1 FROM exchange_contact c WHERE c.member = m.id AND c.deleted_at IS NULL AND c.role = $1)", &[role]).await
}

async fn published(db: &Db, slug: &str) -> Result<bool, RoomError> {
    Ok(number(
        db,
        "SELECT count(*) FROM exchange_rules WHERE slug = $1 AND published_at IS NOT NULL",
        &[slug],
    )
    .await?
        > 0)
}

async fn sessions_up(db: &Db) -> Result<u64, RoomError> {
    number(db, "SELECT count(*) FROM exchange_session s JOIN exchange_router r ON r.id = s.router JOIN exchange_route_server v ON v.id = s.route_server JOIN exchange_site p ON p.id = v.site JOIN exchange_session_state e ON e.site = p.name AND ((s.family = 'ipv4' AND e.address = r.v4) OR (s.family = 'ipv6' AND e.address = r.v6)) WHERE s.deleted_at IS NULL AND s.type = 'route-server' AND s.wanted = 'up' AND e.state = 'up'", &[]).await
}
