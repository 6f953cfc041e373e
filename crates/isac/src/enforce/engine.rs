//! Decisions: made, approved, undone and asked about. Each is one transaction with its
//! audit entry and the orders that carry it to nodes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use base::enforcement::{
    Action, InvalidTarget, REASON_CHARS_MAX, RULES_MAX, Rule, Target, TargetKind,
};
use base::quick::Order;
use base::{EnforcementId, Role, Timestamp, UserId};
use serde_json::json;
use sqlx::Row as _;
use store::{Actor, AuditEntry, Db, StoreError, Tx};

use super::kept_lists::Shelf;
use super::own::{Own, Owned};
use super::policy::Policy;
use super::rows::{COLUMNS, decided_of, insert, one};
use super::seams::{Beliefs, Hits, Orders, OwnAddresses, Past, SeamError};
use super::sites::Served;
use crate::stix::Tlp;

/// Targets of one step that the audit trail names.
const TARGETS_TOLD: usize = 50;
/// Different reasons of one withdrawal that the audit trail names.
const REASONS_TOLD: usize = 10;

/// Roles that obey today, with the kinds that each can.
pub(super) const OBEY: [(Role, &[TargetKind]); 2] = [
    (
        Role::Edge,
        &[
            TargetKind::Address,
            TargetKind::Prefix,
            TargetKind::Domain,
            TargetKind::Url,
        ],
    ),
    (
        Role::Dispatch,
        &[TargetKind::Address, TargetKind::Prefix, TargetKind::Domain],
    ),
];

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The database.
    #[error("the table of enforcements")]
    Store(#[from] StoreError),
    /// Not there.
    #[error("no enforcement {0}")]
    NotFound(EnforcementId),
    /// Not there.
    #[error("no warning list {0:?}")]
    NoList(String),
    /// Not a target.
    #[error(transparent)]
    Target(#[from] InvalidTarget),
    /// The policy forbids it.
    #[error("{target} is not enforced: {why}")]
    Forbidden {
        /// What.
        target: Target,
        /// Why not.
        why: String,
    },
    /// Not possible in this state, or by this person.
    #[error("{0}")]
    Conflict(String),
    /// Beyond a bound.
    #[error("{count} {what}: at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A policy breaks rules.
    #[error("the policy breaks {} rules", .0.len())]
    Policy(Vec<(&'static str, String)>),
    /// A row that this program did not write.
    #[error("a row of enforcements cannot be read: {0}")]
    Row(String),
    /// Another room.
    #[error("another part of the system")]
    Seam(#[source] SeamError),
}

impl From<sqlx::Error> for EnforceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Where a decision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for approval.
    Proposed,
    /// In force, unless its end has come.
    Active,
    /// Undone.
    Lifted,
    /// Not approved.
    Rejected,
}

impl State {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Proposed, Self::Active, Self::Lifted, Self::Rejected];

    /// As in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Lifted => "lifted",
            Self::Rejected => "rejected",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A decision with its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// What nodes are told.
    pub rule: Rule,
    /// Roles that obey; empty: all that can.
    pub roles: Vec<Role>,
    /// `stix:indicator--…` or `user:…`.
    pub source: String,
    /// Why.
    pub reason: String,
    /// 0 to 100.
    pub confidence: u8,
    /// Where it stands.
    pub state: State,
    /// The version of the policy by which it was decided.
    pub policy: i64,
    /// Who began it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// Who approved, rejected or lifted it.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// Why.
    pub decided_why: String,
    /// The marking of the indicator that it was made from; none for what people made.
    pub tlp: Option<Tlp>,
    /// Why its indicator is no longer believed, when a person was asked whether to lift it
    /// therefore and has not kept it; else empty.
    pub doubt: String,
    /// Why a person was asked though the policy alone would have enforced it; else empty.
    pub asked: String,
}

impl Decided {
    /// Whether it was made from what `sender` sent.
    pub(super) fn is_of(&self, sender: &str) -> bool {
        let of = self.source.rsplit_once('@');
        self.source.starts_with("stix:") && of.is_some_and(|(_, of)| of == sender)
    }

    /// Whether a person is asked to lift it, or to keep it.
    pub fn is_doubted(&self) -> bool {
        self.state == State::Active && !self.doubt.is_empty()
    }
}

/// A decision to make.
#[derive(Debug, Clone)]
pub struct New {
    /// What is refused.
    pub target: Target,
    /// How.
    pub action: Action,
    /// Roles that obey; empty: all that can.
    pub roles: Vec<Role>,
    /// Where it comes from.
    pub source: String,
    /// Why.
    pub reason: String,
    /// 0 to 100.
    pub confidence: u8,
    /// When it ends; none: never.
    pub until: Option<Timestamp>,
    /// Whether it waits for approval.
    pub proposed: bool,
    /// The marking of the indicator that it is made from; none for what people make.
    pub tlp: Option<Tlp>,
    /// When the indicator says so, in microseconds; 0 for what people make.
    pub said_at: i64,
}

/// Why something is blocked, or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// What was asked, in canonical form.
    pub target: Target,
    /// What meets it, in force or in the past, newest first.
    pub decisions: Vec<(Decided, Hits)>,
    /// Why it could not be enforced, if so.
    pub forbidden: Option<String>,
    /// Why it is enforced only when a person approves, if so.
    pub asked: Option<String>,
}

/// Enforcements of this house. Cheap to clone.
#[derive(Clone)]
pub struct Enforcements {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) db: Db,
    orders: Arc<dyn Orders>,
    pub(super) past: Arc<dyn Past>,
    pub(super) beliefs: OnceLock<Arc<dyn Beliefs>>,
    pub(super) own: Owned,
    pub(super) shelf: Shelf,
    pub(super) sites: Served,
    policy: Mutex<Option<(i64, Arc<Policy>)>>,
}

impl std::fmt::Debug for Enforcements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enforcements")
    }
}

impl Enforcements {
    /// Joins the rooms that it stands on.
    pub fn new(db: Db, orders: Arc<dyn Orders>, past: Arc<dyn Past>) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                orders,
                past,
                beliefs: OnceLock::new(),
                own: Owned::default(),
                shelf: Shelf::default(),
                sites: Served::default(),
                policy: Mutex::default(),
            }),
        }
    }

    /// From here on indicators are held against what the house believes, and what was made
    /// from those that are no longer believed is undone. The first call counts.
    pub fn believe(&self, beliefs: Arc<dyn Beliefs>) {
        if self.inner.beliefs.set(beliefs).is_err() {
            tracing::warn!("What the house believes is joined to enforcement already");
        }
    }

    /// From here on what the house itself stands on is never enforced. The first call counts.
    pub fn spare(&self, own: Arc<dyn OwnAddresses>) {
        if !self.inner.own.join(own) {
            tracing::warn!("What the house stands on is joined to enforcement already");
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.db.clock().now()
    }

    /// The policy in force with its version; version 0 is the built-in one.
    ///
    /// # Errors
    /// [`EnforceError::Store`].
    pub async fn policy(&self) -> Result<(i64, Arc<Policy>), EnforceError> {
        let kept = self
            .inner
            .policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let row: Option<(i64, String)> = sqlx::query_as(
            "SELECT version, document FROM enforce_policy ORDER BY version DESC LIMIT 1",
        )
        .fetch_optional(self.inner.db.pool())
        .await?;
        let policy = match row {
            None => (0, Arc::new(Policy::default())),
            Some((version, document)) => {
                let policy = serde_json::from_str(&document)
                    .map_err(|error| EnforceError::Row(format!("policy {version}: {error}")))?;
                (version, Arc::new(policy))
            }
        };
        self.remember(&policy);
        Ok(policy)
    }

    fn remember(&self, policy: &(i64, Arc<Policy>)) {
        let mut place = self
            .inner
            .policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(policy.clone());
    }

    /// Puts a new version of the policy in force; what was decided automatically is decided
    /// again by it soon after ([`super::review`]).
    ///
    /// # Errors
    /// [`EnforceError::Policy`] with what is wrong; [`EnforceError::Store`].
    pub async fn set_policy(
        &self,
        actor: Actor,
        request: Option<&str>,
        policy: Policy,
    ) -> Result<i64, EnforceError> {
        let problems = policy.problems();
        if !problems.is_empty() {
            return Err(EnforceError::Policy(problems));
        }
        let document =
            serde_json::to_string(&policy).map_err(|error| EnforceError::Row(error.to_string()))?;
        let mut tx = self.inner.db.begin().await?;
        let version: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) + 1 FROM enforce_policy")
                .fetch_one(&mut *tx)
                .await?;
        sqlx::query("INSERT INTO enforce_policy (version, document, made_by, made_at) VALUES ($1, $2, $3, $4)")
            .bind(version)
            .bind(&document)
            .bind(actor.to_string())
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        audit(
            &mut tx,
            actor,
            request,
            "enforcement.policy",
            format!("policy:{version}"),
            json!({ "policy": policy }),
        )
        .await?;
        tx.commit().await?;
        self.remember(&(version, Arc::new(policy)));
        Ok(version)
    }

    /// Makes decisions; those not merely proposed are in force at every node about as
    /// soon as this returns. A target that its source has in force or proposed already is
    /// passed over, unless it says so anew: then the decision follows the newer word. What the
    /// house asks about ([`super::seams::Guard::Ask`]) is proposed, whoever wants it; names of
    /// sites in service are when an indicator alone wants it.
    ///
    /// # Errors
    /// [`EnforceError::Forbidden`] when the policy's warning lists, or what the house stands
    /// on, forbid one: none is made.
    pub async fn enforce(
        &self,
        actor: Actor,
        request: Option<&str>,
        wanted: Vec<New>,
    ) -> Result<Vec<Decided>, EnforceError> {
        if wanted.len() > Rule::ORDER_MAX {
            return Err(EnforceError::TooMany {
                what: "targets at once",
                count: wanted.len(),
                max: Rule::ORDER_MAX,
            });
        }
        let (version, policy) = self.policy().await?;
        let own = self.own().await?;
        let names = self.own_names().await?;
        let mut asked = Vec::with_capacity(wanted.len());
        for new in &wanted {
            permitted(&policy, &own, &new.target)?;
            // Only indicators have a marking.
            let by_indicator = new.tlp.is_some();
            let named = names.asks(&new.target).filter(|_| by_indicator);
            asked.push(named.or_else(|| own.asks(&new.target)));
        }
        let now = self.now();
        let mut tx = self.inner.db.begin().await?;
        // What has ended takes no place at the nodes.
        let there: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM enforce_rule WHERE state = 'active' AND (until IS NULL OR until > $1)",
        )
        .bind(now.micros())
        .fetch_one(&mut *tx)
        .await?;
        let mut made = Vec::with_capacity(wanted.len());
        let mut renewed = Vec::new();
        for (mut new, asked) in wanted.into_iter().zip(asked) {
            new.proposed |= asked.is_some();
            if let Some((old, said_at)) = known(&mut tx, &new, now).await? {
                // What is only sent again changes nothing, so that what a person has
                // decided in between stays.
                if new.said_at > said_at {
                    renewed.extend(renew(&mut tx, actor.clone(), old, new, version, now).await?);
                }
                continue;
            }
            let decided = Decided {
                rule: Rule {
                    id: EnforcementId::generate(),
                    target: new.target,
                    action: new.action,
                    until: new.until,
                },
                roles: new.roles,
                source: new.source,
                reason: new.reason.chars().take(REASON_CHARS_MAX).collect(),
                confidence: new.confidence.min(100),
                state: if new.proposed {
                    State::Proposed
                } else {
                    State::Active
                },
                policy: version,
                made_by: actor.to_string(),
                made_at: now,
                decided_by: None,
                decided_at: None,
                decided_why: String::new(),
                tlp: new.tlp,
                doubt: String::new(),
                asked: asked.unwrap_or_default(),
            };
            insert(&mut tx, &decided, new.said_at).await?;
            made.push(decided);
        }
        let begin = made.iter().filter(|d| d.state == State::Active).count()
            + renewed.iter().filter(|one| one.begins).count();
        let count = usize::try_from(there).unwrap_or(0) + begin;
        if begin > 0 && count > RULES_MAX {
            return Err(EnforceError::TooMany {
                what: "enforcements",
                count,
                max: RULES_MAX,
            });
        }
        self.order_enforce(
            &mut tx,
            renewed.iter().filter(|one| one.is_told).map(|one| &one.to),
        )
        .await?;
        if let Some(detail) = Renewed::detail(&renewed) {
            let subject = match renewed.as_slice() {
                [one] => format!("enforcement:{}", one.to.rule.id),
                many => format!("enforcements:{}", many.len()),
            };
            let actor = actor.clone();
            audit(
                &mut tx,
                actor,
                request,
                "enforcement.renew",
                subject,
                detail,
            )
            .await?;
        }
        if made.is_empty() {
            // Also when none differs: the rows hold when their word was said last.
            tx.commit().await?;
            return Ok(made);
        }
        self.order_enforce(&mut tx, made.iter().filter(|d| d.state == State::Active))
            .await?;
        for (state, action) in [
            (State::Active, "enforcement.enforce"),
            (State::Proposed, "enforcement.propose"),
        ] {
            let some: Vec<&Decided> = made.iter().filter(|one| one.state == state).collect();
            let subject = match some.as_slice() {
                [] => continue,
                [one] => format!("enforcement:{}", one.rule.id),
                many => format!("enforcements:{}", many.len()),
            };
            let mut detail = json!({
                "targets": some.iter().take(TARGETS_TOLD).map(|d| d.rule.target.to_string()).collect::<Vec<_>>(),
                "source": some[0].source, "state": state.name(), "policy": version,
            });
            let asked: BTreeSet<&str> = some.iter().map(|one| one.asked.as_str()).collect();
            let asked: Vec<&str> = asked.into_iter().filter(|why| !why.is_empty()).collect();
            if !asked.is_empty() {
                detail["asked"] = json!(asked.iter().take(REASONS_TOLD).collect::<Vec<_>>());
            }
            audit(&mut tx, actor.clone(), request, action, subject, detail).await?;
        }
        tx.commit().await?;
        Ok(made)
    }

    /// Approves or rejects what is proposed: by another person than whoever proposed it.
    /// Of what is in force but no longer believed, approval keeps it and rejection lifts it.
    ///
    /// # Errors
    /// [`EnforceError::Conflict`] when nothing is to be decided, or by the same person.
    pub async fn decide(
        &self,
        by: UserId,
        request: Option<&str>,
        id: EnforcementId,
        approve: bool,
        why: &str,
    ) -> Result<Decided, EnforceError> {
        let actor = Actor::User(by);
        let mut tx = self.inner.db.begin().await?;
        let mut decided = one(&mut tx, id).await?;
        if decided.is_doubted() {
            if approve {
                self.keep(&mut tx, &mut decided).await?;
            } else {
                self.settle(&mut tx, &mut decided, State::Lifted, &actor, why)
                    .await?;
                self.order_lift(&mut tx, vec![id]).await?;
            }
            let action = match approve {
                true => "enforcement.keep",
                false => "enforcement.lift",
            };
            let why: String = why.chars().take(REASON_CHARS_MAX).collect();
            let detail = json!({ "why": why, "target": decided.rule.target.to_string() });
            let subject = format!("enforcement:{id}");
            audit(&mut tx, actor, request, action, subject, detail).await?;
            tx.commit().await?;
            return Ok(decided);
        }
        if decided.state != State::Proposed {
            return Err(EnforceError::Conflict(format!(
                "the enforcement is {}, not proposed",
                decided.state.name()
            )));
        }
        if decided.made_by == actor.to_string() {
            return Err(EnforceError::Conflict(
                "another person must decide than the one who proposed it".to_owned(),
            ));
        }
        if approve {
            let (_, policy) = self.policy().await?;
            permitted(&policy, &*self.own().await?, &decided.rule.target)?;
        }
        let state = if approve {
            State::Active
        } else {
            State::Rejected
        };
        self.settle(&mut tx, &mut decided, state, &actor, why)
            .await?;
        if approve {
            self.order_enforce(&mut tx, std::iter::once(&decided))
                .await?;
        }
        let action = if approve {
            "enforcement.approve"
        } else {
            "enforcement.reject"
        };
        audit(
            &mut tx,
            actor,
            request,
            action,
            format!("enforcement:{id}"),
            json!({ "why": decided.decided_why }),
        )
        .await?;
        tx.commit().await?;
        Ok(decided)
    }

    /// Undoes an enforcement.
    ///
    /// # Errors
    /// [`EnforceError::Conflict`] when it is not in force.
    pub async fn lift(
        &self,
        actor: Actor,
        request: Option<&str>,
        id: EnforcementId,
        why: &str,
    ) -> Result<Decided, EnforceError> {
        let mut tx = self.inner.db.begin().await?;
        let mut decided = one(&mut tx, id).await?;
        if decided.state != State::Active {
            return Err(EnforceError::Conflict(format!(
                "the enforcement is {}, not active",
                decided.state.name()
            )));
        }
        self.settle(&mut tx, &mut decided, State::Lifted, &actor, why)
            .await?;
        self.order_lift(&mut tx, vec![id]).await?;
        audit(
            &mut tx,
            actor,
            request,
            "enforcement.lift",
            format!("enforcement:{id}"),
            json!({ "why": decided.decided_why, "target": decided.rule.target.to_string() }),
        )
        .await?;
        tx.commit().await?;
        Ok(decided)
    }

    /// Withdraws what a source has in force or proposed and `why` names a reason for, which
    /// is asked with the target and when the source said so, in microseconds. What ends by a
    /// newer word, said `at`, is not made again by an older one.
    ///
    /// # Errors
    /// [`EnforceError::Store`].
    pub async fn withdraw(
        &self,
        actor: Actor,
        source: &str,
        at: Option<i64>,
        why: impl Fn(&Target, i64) -> Option<String>,
    ) -> Result<usize, EnforceError> {
        let mut tx = self.inner.db.begin().await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS}, said_at FROM enforce_rule WHERE source = $1 AND state IN ('active', 'proposed')")))
            .bind(source)
            .fetch_all(&mut *tx)
            .await?;
        let mut lifted = Vec::new();
        let mut count = 0;
        let mut said: BTreeSet<String> = BTreeSet::new();
        for row in &rows {
            let mut decided = decided_of(row)?;
            let Some(why) = why(&decided.rule.target, row.try_get("said_at")?) else {
                continue;
            };
            count += 1;
            let state = match decided.state {
                State::Active => {
                    lifted.push(decided.rule.id);
                    State::Lifted
                }
                _ => State::Rejected,
            };
            self.settle(&mut tx, &mut decided, state, &actor, &why)
                .await?;
            if let Some(at) = at {
                sqlx::query("UPDATE enforce_rule SET said_at = $2 WHERE id = $1 AND said_at < $2")
                    .bind(decided.rule.id.to_string())
                    .bind(at)
                    .execute(&mut *tx)
                    .await?;
            }
            if said.len() < REASONS_TOLD {
                said.insert(why);
            }
        }
        if count == 0 {
            return Ok(0);
        }
        self.order_lift(&mut tx, lifted).await?;
        audit(
            &mut tx,
            actor,
            None,
            "enforcement.withdraw",
            source.to_owned(),
            json!({ "why": said, "count": count }),
        )
        .await?;
        tx.commit().await?;
        Ok(count)
    }

    /// A person keeps what is no longer believed: asked again only when more call it a
    /// false positive. No review ends it.
    pub(super) async fn keep(
        &self,
        tx: &mut Tx,
        decided: &mut Decided,
    ) -> Result<(), EnforceError> {
        decided.doubt.clear();
        sqlx::query("UPDATE enforce_rule SET doubt = '', kept = 1 WHERE id = $1")
            .bind(decided.rule.id.to_string())
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// What ends while it is no longer believed is spent: the same word of its
    /// indicator does not make it again.
    pub(super) async fn settle(
        &self,
        tx: &mut Tx,
        decided: &mut Decided,
        state: State,
        actor: &Actor,
        why: &str,
    ) -> Result<(), EnforceError> {
        decided.state = state;
        decided.doubt.clear();
        decided.decided_by = Some(actor.to_string());
        decided.decided_at = Some(self.now());
        decided.decided_why = why.chars().take(REASON_CHARS_MAX).collect();
        sqlx::query("UPDATE enforce_rule SET state = $2, decided_by = $3, decided_at = $4, decided_why = $5, spent = CASE WHEN doubt <> '' THEN 1 ELSE spent END, doubt = '' WHERE id = $1")
            .bind(decided.rule.id.to_string())
            .bind(state.name())
            .bind(decided.decided_by.clone())
            .bind(decided.decided_at.map(Timestamp::micros))
            .bind(&decided.decided_why)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    pub(super) async fn order_enforce(
        &self,
        tx: &mut Tx,
        decided: impl Iterator<Item = &Decided> + Clone,
    ) -> Result<(), EnforceError> {
        for (role, kinds) in OBEY {
            let rules: Vec<Rule> = decided
                .clone()
                .filter(|d| obeys(&d.roles, role) && kinds.contains(&d.rule.target.kind()))
                .map(|d| d.rule.clone())
                .collect();
            if !rules.is_empty() {
                self.order(tx, role, Order::Enforce(rules)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn order_lift(
        &self,
        tx: &mut Tx,
        ids: Vec<EnforcementId>,
    ) -> Result<(), EnforceError> {
        for chunk in ids.chunks(Rule::ORDER_MAX) {
            for (role, _) in OBEY {
                self.order(tx, role, Order::Lift(chunk.to_vec())).await?;
            }
        }
        Ok(())
    }

    async fn order(&self, tx: &mut Tx, role: Role, order: Order) -> Result<(), EnforceError> {
        let seq = self
            .inner
            .orders
            .order(tx, role, order)
            .await
            .map_err(EnforceError::Seam)?;
        set_mark(tx, &through(role), i64::try_from(seq).unwrap_or(i64::MAX)).await
    }

    pub(super) async fn mark(&self, name: &str) -> Result<i64, EnforceError> {
        let value: Option<i64> =
            sqlx::query_scalar("SELECT value FROM enforce_mark WHERE name = $1")
                .bind(name)
                .fetch_optional(self.inner.db.pool())
                .await?;
        Ok(value.unwrap_or(0))
    }

    pub(super) async fn keep_mark(&self, name: &str, value: i64) -> Result<(), EnforceError> {
        let mut tx = self.inner.db.begin().await?;
        set_mark(&mut tx, name, value).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// What its source has in force or proposed on the same target, and when it said so.
async fn known(
    tx: &mut Tx,
    new: &New,
    now: Timestamp,
) -> Result<Option<(Decided, i64)>, EnforceError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS}, said_at FROM enforce_rule
         WHERE source = $1 AND target = $2 AND state IN ('active', 'proposed') AND (until IS NULL OR until > $3)
         ORDER BY state, id LIMIT 1"
    )))
    .bind(&new.source)
    .bind(new.target.to_string())
    .bind(now.micros())
    .fetch_optional(&mut **tx)
    .await?;
    match row {
        None => Ok(None),
        Some(row) => Ok(Some((decided_of(&row)?, row.try_get("said_at")?))),
    }
}

/// A decision that followed a newer word of its source.
struct Renewed {
    to: Decided,
    from: (State, Option<Timestamp>, u8),
    /// It comes into force.
    begins: bool,
    /// Nodes are told.
    is_told: bool,
}

impl Renewed {
    fn detail(renewed: &[Self]) -> Option<serde_json::Value> {
        let told = renewed.iter().take(TARGETS_TOLD).map(|one| {
            let part = |state: State, until: Option<Timestamp>, confidence: u8| {
                json!({ "state": state.name(), "until": until.map(Timestamp::micros), "confidence": confidence })
            };
            let (state, until, confidence) = one.from;
            json!({
                "target": one.to.rule.target.to_string(),
                "from": part(state, until, confidence),
                "to": part(one.to.state, one.to.rule.until, one.to.confidence),
            })
        });
        let source = &renewed.first()?.to.source;
        Some(json!({ "source": source, "renewed": told.collect::<Vec<_>>() }))
    }
}

/// Lets a decision follow a newer word; none when that says the same. What is in force
/// stays so when the newer word alone would only be proposed: a person may undo it.
async fn renew(
    tx: &mut Tx,
    actor: Actor,
    old: Decided,
    new: New,
    policy: i64,
    now: Timestamp,
) -> Result<Option<Renewed>, EnforceError> {
    let from = (old.state, old.rule.until, old.confidence);
    let begins = old.state == State::Proposed && !new.proposed;
    let mut to = old;
    to.rule.until = new.until;
    to.confidence = new.confidence.min(100);
    to.reason = new.reason.chars().take(REASON_CHARS_MAX).collect();
    to.tlp = new.tlp;
    to.policy = policy;
    if begins {
        to.state = State::Active;
        to.decided_by = Some(actor.to_string());
        to.decided_at = Some(now);
        to.decided_why = "a newer version of the indicator".to_owned();
    }
    sqlx::query("UPDATE enforce_rule SET state = $2, until = $3, confidence = $4, reason = $5, tlp = $6, policy = $7, decided_by = $8, decided_at = $9, decided_why = $10, said_at = $11 WHERE id = $1")
        .bind(to.rule.id.to_string())
        .bind(to.state.name())
        .bind(to.rule.until.map(Timestamp::micros))
        .bind(i64::from(to.confidence))
        .bind(&to.reason)
        .bind(to.tlp.map_or("", Tlp::name))
        .bind(to.policy)
        .bind(to.decided_by.clone())
        .bind(to.decided_at.map(Timestamp::micros))
        .bind(&to.decided_why)
        .bind(new.said_at)
        .execute(&mut **tx)
        .await?;
    let is_told = begins || (to.state == State::Active && to.rule.until != from.1);
    let same = from == (to.state, to.rule.until, to.confidence);
    Ok((!same).then_some(Renewed {
        to,
        from,
        begins,
        is_told,
    }))
}

/// Whether policy and house let a target be enforced.
pub(super) fn permitted(policy: &Policy, own: &Own, target: &Target) -> Result<(), EnforceError> {
    policy
        .permits(target)
        .and_then(|()| own.permits(target))
        .map_err(|why| EnforceError::Forbidden {
            target: target.clone(),
            why,
        })
}

pub(super) fn obeys(roles: &[Role], role: Role) -> bool {
    roles.is_empty() || roles.contains(&role)
}

pub(super) fn through(role: Role) -> String {
    format!("through:{role}")
}

async fn set_mark(tx: &mut Tx, name: &str, value: i64) -> Result<(), EnforceError> {
    sqlx::query("INSERT INTO enforce_mark (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn audit(
    tx: &mut Tx,
    actor: Actor,
    request: Option<&str>,
    action: &str,
    subject: String,
    detail: serde_json::Value,
) -> Result<(), EnforceError> {
    let mut entry = AuditEntry::new(actor, action, subject).detail(detail);
    entry.request_id = request.map(str::to_owned);
    tx.audit(entry).await?;
    Ok(())
}
