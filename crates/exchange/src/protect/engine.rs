//! What a rule is as it is asked for and kept: checked, listed, read, put into the document. Its steps are in
//! the module beside this one.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{OrgId, Prefix, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::AnyConnection;
use store::{Actor, Page, PageRequest, Tx};
use web::OrgScope;

use super::policy::Policy;
use super::rows::{COLUMNS, Kept, kept_of, read, write};
use super::{Protect, REASON_CHARS_MAX, entry};
use crate::document::{Document, Flow, PROTECTIONS_MAX, Protection};
use crate::room::error::problem;
use crate::room::{By, RoomError};

/// Entries of one rule's history that are shown.
const EVENTS_MAX: i64 = 200;

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a second person.
    Proposed,
    /// Announced, unless its end has come.
    Active,
    /// Undone.
    Lifted,
    /// Not approved.
    Rejected,
    /// Ended by itself.
    Expired,
}

impl State {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: [Self; 5] = [
        Self::Active,
        Self::Proposed,
        Self::Lifted,
        Self::Expired,
        Self::Rejected,
    ];

    /// As in tables and texts' keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Lifted => "lifted",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A rule that a member asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// The member.
    pub asn: u32,
    /// Whose addresses.
    pub destination: Prefix,
    /// What else must match; none: a blackhole.
    pub flow: Option<Flow>,
    /// Sites; empty: all.
    pub sites: Vec<String>,
    /// For how many hours.
    pub hours: u32,
    /// Why.
    pub reason: String,
    /// `console` or `api`.
    pub source: &'static str,
}

/// Which rules a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those in this state.
    pub state: Option<State>,
}

/// A step of a rule's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// What was written with it.
    pub text: String,
}

/// A member as far as protection looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its AS number.
    pub asn: u32,
    /// Its name.
    pub name: String,
    /// Its organisation.
    pub org: OrgId,
}

impl Protect {
    /// The members in `scope` that may ask for rules.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn owners(&self, scope: &OrgScope) -> Result<Vec<Owner>, RoomError> {
        let (condition, binds) = scope.sql("org", 1);
        let text = format!(
            "SELECT asn, name, org FROM exchange_member WHERE org IS NOT NULL AND deleted_at IS NULL AND state = 'active' AND {condition} ORDER BY asn LIMIT 1000"
        );
        let mut query = sqlx::query_as::<_, (i64, String, String)>(sqlx::AssertSqlSafe(text));
        for bind in binds {
            query = query.bind(bind);
        }
        let rows = query.fetch_all(self.inner.db.pool()).await?;
        rows.into_iter()
            .map(|(asn, name, org)| {
                Ok(Owner {
                    asn: u32::try_from(asn)
                        .map_err(|_| RoomError::Data(format!("a row holds AS{asn}")))?,
                    name,
                    org: super::rows::parse(&org)?,
                })
            })
            .collect()
    }

    /// The policy in force with its version; version 0 is the built-in one.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn policy(&self) -> Result<(i64, Policy), RoomError> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "SELECT version, document FROM exchange_protection_policy ORDER BY version DESC LIMIT 1",
        )
        .fetch_optional(self.inner.db.pool())
        .await?;
        match row {
            None => Ok((0, Policy::default())),
            Some((version, document)) => Ok((version, read(&document)?)),
        }
    }

    /// Puts a new version of the policy in force; rules that are in force stay.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] with what is wrong.
    pub async fn set_policy(&self, by: &By, policy: Policy) -> Result<i64, RoomError> {
        let problems = policy.problems();
        if !problems.is_empty() {
            return Err(RoomError::Invalid(
                problems
                    .into_iter()
                    .map(|(field, text)| problem(field, "", "policy", text.clone(), text))
                    .collect(),
            ));
        }
        let mut tx = self.inner.db.begin().await?;
        let version: i64 = sqlx::query_scalar(
            "SELECT coalesce(max(version), 0) + 1 FROM exchange_protection_policy",
        )
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO exchange_protection_policy (version, document, made_by, made_at) VALUES ($1, $2, $3, $4)")
            .bind(version)
            .bind(write(&policy)?)
            .bind(by.actor.to_string())
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        tx.audit(entry(
            by,
            None,
            "protection.policy",
            format!("protection-policy:{version}"),
            json!({ "policy": policy }),
        ))
        .await?;
        tx.commit().await?;
        self.tell_changed();
        Ok(version)
    }

    /// Checks what a member asks for, without keeping it: whose it is, whether it is well made, and
    /// whether it would wait for a second person.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] with every problem by field, [`RoomError::NotFound`] for a member outside `scope`.
    pub async fn check(&self, scope: &OrgScope, new: &New) -> Result<(Kept, Policy), RoomError> {
        let owner = self
            .owners(scope)
            .await?
            .into_iter()
            .find(|owner| owner.asn == new.asn)
            .ok_or_else(|| RoomError::not_found("member", format!("AS{}", new.asn)))?;
        let (version, policy) = self.policy().await?;
        let now = self.now();
        let id = uuid::Uuid::now_v7().to_string();
        let rule = Protection {
            id,
            asn: Some(new.asn),
            destination: Some(new.destination),
            sites: new.sites.clone(),
            flow: new.flow.clone(),
        };
        let mut problems: Vec<_> = rule
            .problems()
            .into_iter()
            .map(|(field, text)| problem(field, "", "flow", format!("不合規則:{text}"), text))
            .collect();
        let space = self.space_of(new.asn).await?;
        if !space.iter().any(|own| own.prefix.covers(&new.destination)) {
            let to = new.destination.to_string();
            problems.push(problem(
                "destination",
                &to,
                "own",
                format!("{to} 不在 AS{} 已登錄的位址範圍內:只能保護自己的位址", new.asn),
                format!("{to} is not inside the registered address space of AS{}: only your own addresses can be protected", new.asn),
            ));
        }
        if !(1..=policy.hours_max).contains(&new.hours) {
            problems.push(problem(
                "hours",
                &new.hours.to_string(),
                "range",
                format!("必須是 1 到 {} 小時", policy.hours_max),
                format!("must be 1 to {} hours", policy.hours_max),
            ));
        }
        let reason = new.reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
            problems.push(problem(
                "reason",
                reason,
                "required",
                format!("請以 1 到 {REASON_CHARS_MAX} 個字說明原因"),
                format!("must say why in 1 to {REASON_CHARS_MAX} characters"),
            ));
        }
        let known: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM exchange_site WHERE deleted_at IS NULL")
                .fetch_all(self.inner.db.pool())
                .await?;
        for site in &new.sites {
            if !known.iter().any(|(name,)| name == site) {
                problems.push(problem(
                    "sites",
                    site,
                    "site",
                    "沒有這個站點",
                    "is no site of the exchange",
                ));
            }
        }
        if !problems.is_empty() {
            return Err(RoomError::Invalid(problems));
        }
        let state = if policy.needs_approval(&rule) {
            State::Proposed
        } else {
            State::Active
        };
        let kept = Kept {
            rule,
            org: Some(owner.org),
            source: new.source.to_owned(),
            reason: reason.to_owned(),
            state,
            until: Some(now.plus(hours(new.hours))),
            policy: version,
            made_by: String::new(),
            made_at: now,
            decided_by: None,
            decided_at: None,
            decided_why: String::new(),
        };
        Ok((kept, policy))
    }

    /// A page of rules in `scope`, newest first.
    ///
    /// # Errors
    /// [`RoomError::Store`], also for a wrong cursor.
    pub async fn list(
        &self,
        scope: &OrgScope,
        wanted: &Wanted,
        request: &PageRequest,
    ) -> Result<Page<Kept>, RoomError> {
        const LIST: &str = "exchange-protection";
        let before: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let (condition, binds) = scope.sql("org", 4);
        let text = format!(
            "SELECT {COLUMNS} FROM exchange_protection WHERE id < $1 AND ($2 = '' OR state = $2) AND {condition} ORDER BY id DESC LIMIT $3"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(before)
            .bind(wanted.state.map_or("", State::name))
            .bind(request.fetch());
        for bind in binds {
            query = query.bind(bind);
        }
        let rows = query.fetch_all(self.inner.db.pool()).await?;
        let kept: Vec<Kept> = rows.iter().map(kept_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, kept, |kept: &Kept| kept.rule.id.clone())?)
    }

    /// How many rules in `scope` are in each state.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn counts(&self, scope: &OrgScope) -> Result<Vec<(State, u64)>, RoomError> {
        let (condition, binds) = scope.sql("org", 1);
        let text = format!(
            "SELECT state, count(*) FROM exchange_protection WHERE {condition} GROUP BY state"
        );
        let mut query = sqlx::query_as::<_, (String, i64)>(sqlx::AssertSqlSafe(text));
        for bind in binds {
            query = query.bind(bind);
        }
        let rows = query.fetch_all(self.inner.db.pool()).await?;
        Ok(State::ALL
            .into_iter()
            .map(|state| {
                let count = rows.iter().find(|(name, _)| name == state.name());
                (
                    state,
                    count.map_or(0, |(_, n)| u64::try_from(*n).unwrap_or(0)),
                )
            })
            .collect())
    }

    /// One rule in `scope`.
    ///
    /// # Errors
    /// [`RoomError::NotFound`].
    pub async fn get(&self, scope: &OrgScope, id: &str) -> Result<Kept, RoomError> {
        let (condition, binds) = scope.sql("org", 2);
        let text =
            format!("SELECT {COLUMNS} FROM exchange_protection WHERE id = $1 AND {condition}");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id.to_owned());
        for bind in binds {
            query = query.bind(bind);
        }
        let row = query.fetch_optional(self.inner.db.pool()).await?;
        kept_of(&row.ok_or_else(|| RoomError::not_found("protection", id))?)
    }

    /// A rule's history, newest first.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn history(&self, id: &str) -> Result<Vec<Event>, RoomError> {
        let rows: Vec<(i64, String, String, String)> = sqlx::query_as("SELECT at, actor, action, text FROM exchange_protection_event WHERE protection = $1 ORDER BY id DESC LIMIT $2")
            .bind(id)
            .bind(EVENTS_MAX)
            .fetch_all(self.inner.db.pool())
            .await?;
        Ok(rows
            .into_iter()
            .map(|(at, actor, action, text)| Event {
                at: Timestamp(at),
                actor,
                action,
                text,
            })
            .collect())
    }

    /// Everything in force now, at most as much as a document holds.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn in_force(&self) -> Result<Vec<Kept>, RoomError> {
        let mut connection = self.connection().await?;
        in_force(&mut connection, self.now()).await
    }

    /// Puts what is in force into a members' document, and says which members want rules from
    /// intelligence. A rule of a network that is no member of the document is left out.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn fill(&self, document: &mut Document) -> Result<(), RoomError> {
        let mut connection = self.connection().await?;
        fill(&mut connection, document, self.now()).await.map(drop)
    }

    async fn connection(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Any>, RoomError> {
        Ok(self.inner.db.pool().acquire().await?)
    }
}

async fn in_force(connection: &mut AnyConnection, now: Timestamp) -> Result<Vec<Kept>, RoomError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM exchange_protection WHERE state = 'active' AND (until IS NULL OR until > $1) ORDER BY id LIMIT $2")))
        .bind(now.micros())
        .bind(PROTECTIONS_MAX as i64)
        .fetch_all(connection)
        .await?;
    rows.iter().map(kept_of).collect()
}

/// As [`Protect::fill`], as things stand at `now` in the caller's transaction; tells when the rules end
/// that end by themselves.
///
/// # Errors
/// [`RoomError::Store`].
pub async fn fill(
    connection: &mut AnyConnection,
    document: &mut Document,
    now: Timestamp,
) -> Result<BTreeMap<String, Timestamp>, RoomError> {
    let wants: Vec<(i64,)> = sqlx::query_as("SELECT asn FROM exchange_intelligence")
        .fetch_all(&mut *connection)
        .await?;
    for member in &mut document.members {
        member.intelligence = wants.iter().any(|(asn,)| *asn == i64::from(member.asn));
    }
    let kept = in_force(connection, now).await?;
    let mut ends: BTreeMap<String, Timestamp> = kept
        .iter()
        .filter_map(|kept| Some((kept.rule.id.clone(), kept.until?)))
        .collect();
    let mut rules: Vec<Protection> = kept.into_iter().map(|kept| kept.rule).collect();
    rules.retain_mut(|rule| {
        // A rule for sites that are gone is for nobody, not for everybody.
        let was_for_some = !rule.sites.is_empty();
        rule.sites.retain(|site| document.site(site).is_some());
        let is_member = |asn| document.members.iter().any(|member| member.asn == asn);
        !(was_for_some && rule.sites.is_empty()) && rule.asn.is_none_or(is_member)
    });
    ends.retain(|id, _| rules.iter().any(|rule| rule.id == *id));
    document.protection = rules;
    Ok(ends)
}

pub(super) fn hours(hours: u32) -> Duration {
    Duration::from_secs(u64::from(hours) * 3_600)
}

pub(super) async fn one(tx: &mut Tx, scope: &OrgScope, id: &str) -> Result<Kept, RoomError> {
    let (condition, binds) = scope.sql("org", 2);
    let text = format!("SELECT {COLUMNS} FROM exchange_protection WHERE id = $1 AND {condition}");
    let mut query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id.to_owned());
    for bind in binds {
        query = query.bind(bind);
    }
    let row = query.fetch_optional(&mut **tx).await?;
    kept_of(&row.ok_or_else(|| RoomError::not_found("protection", id))?)
}

/// Whether a person is the one who asked.
pub fn is_by(kept: &Kept, user: UserId) -> bool {
    kept.made_by == Actor::User(user).to_string()
}
