//! The steps of a rule: asked for, approved, extended, undone, put back, ended. Each is one transaction with
//! its history and its audit entry.

use base::{Timestamp, UserId};
use serde_json::json;
use store::Tx;
use web::OrgScope;

use super::engine::{New, State, hours, one};
use super::rows::{COLUMNS, Kept, insert, kept_of};
use super::{Protect, REASON_CHARS_MAX, entry};
use crate::room::{By, RoomError};

impl Protect {
    /// Keeps what a member asks for: announced from now on, or proposed, as the policy wants it.
    ///
    /// # Errors
    /// As [`Self::check`]; [`RoomError::Refused`] when the same rule is there, or there are too many.
    pub async fn ask(&self, by: &By, scope: &OrgScope, new: &New) -> Result<Kept, RoomError> {
        let (mut kept, policy) = self.check(scope, new).await?;
        kept.made_by = by.actor.to_string();
        let mut tx = self.inner.db.begin().await?;
        let open = open_of(&mut tx, new.asn).await?;
        if open.len() >= policy.active_max as usize {
            return Err(RoomError::refused(
                format!(
                    "AS{} 的防護規則已達上限 {} 條:請先解除不需要的規則",
                    new.asn, policy.active_max
                ),
                format!(
                    "AS{} has {} rules already: lift those that are not needed",
                    new.asn, policy.active_max
                ),
            ));
        }
        let same = open.iter().find(|other| {
            other.rule.destination == kept.rule.destination
                && other.rule.flow == kept.rule.flow
                && other.rule.sites == kept.rule.sites
                && other.until.is_none_or(|until| until > kept.made_at)
        });
        if same.is_some() {
            return Err(RoomError::refused(
                "同樣的規則已經存在:可以延長它的時間",
                "the same rule is there already: extend it instead",
            ));
        }
        insert(&mut tx, &kept).await?;
        let action = if kept.state == State::Active {
            "announce"
        } else {
            "propose"
        };
        self.record(&mut tx, by, &kept, action, &kept.reason)
            .await?;
        tx.commit().await?;
        self.tell_changed();
        Ok(kept)
    }

    /// Approves or rejects what is proposed: by another person than the one who asked.
    ///
    /// # Errors
    /// [`RoomError::Refused`] when it is not proposed, or by the same person.
    pub async fn decide(
        &self,
        by: UserId,
        request: Option<String>,
        id: &str,
        approve: bool,
        why: &str,
    ) -> Result<Kept, RoomError> {
        let by = By {
            request,
            ..By::user(by)
        };
        let mut tx = self.inner.db.begin().await?;
        let mut kept = one(&mut tx, &OrgScope::All, id).await?;
        expect(&kept, State::Proposed)?;
        if kept.made_by == by.actor.to_string() {
            return Err(RoomError::refused(
                "四眼原則:須由另一位人員決定",
                "another person must decide than the one who asked",
            ));
        }
        let now = self.now();
        if approve && kept.until.is_some_and(|until| until <= now) {
            return Err(RoomError::refused(
                "申請的時間已過:請重新提出",
                "the time that was asked for is over: ask again",
            ));
        }
        let (state, action) = if approve {
            (State::Active, "approve")
        } else {
            (State::Rejected, "reject")
        };
        self.settle(&mut tx, &by, &mut kept, state, action, why)
            .await?;
        tx.commit().await?;
        self.tell_changed();
        Ok(kept)
    }

    /// Undoes a rule, or takes back what is proposed.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] outside `scope`; [`RoomError::Refused`] when it is over.
    pub async fn lift(
        &self,
        by: &By,
        scope: &OrgScope,
        id: &str,
        why: &str,
    ) -> Result<Kept, RoomError> {
        let mut tx = self.inner.db.begin().await?;
        let mut kept = one(&mut tx, scope, id).await?;
        if !matches!(kept.state, State::Active | State::Proposed) {
            expect(&kept, State::Active)?;
        }
        self.settle(&mut tx, by, &mut kept, State::Lifted, "lift", why)
            .await?;
        tx.commit().await?;
        self.tell_changed();
        Ok(kept)
    }

    /// Puts back a rule that was lifted, while its time is not over.
    ///
    /// # Errors
    /// As [`Self::lift`].
    pub async fn restore(&self, by: &By, scope: &OrgScope, id: &str) -> Result<Kept, RoomError> {
        let mut tx = self.inner.db.begin().await?;
        let mut kept = one(&mut tx, scope, id).await?;
        expect(&kept, State::Lifted)?;
        let now = self.now();
        if kept.until.is_some_and(|until| until <= now) {
            return Err(RoomError::refused(
                "規則的時間已過:請重新提出",
                "the rule's time is over: ask for a new one",
            ));
        }
        let (_, policy) = self.policy().await?;
        self.still_own(&kept).await?;
        // Lifted while it waited: it goes on waiting. The history tells whether it was ever announced.
        let was_announced: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM exchange_protection_event WHERE protection = $1 AND action IN ('announce', 'approve')",
        )
        .bind(id)
        .fetch_one(&mut *tx)
        .await?;
        let state = if was_announced == 0 && policy.needs_approval(&kept.rule) {
            State::Proposed
        } else {
            State::Active
        };
        self.settle(&mut tx, by, &mut kept, state, "restore", "")
            .await?;
        tx.commit().await?;
        self.tell_changed();
        Ok(kept)
    }

    /// Gives a rule more time, counted from now.
    ///
    /// # Errors
    /// As [`Self::lift`]; [`RoomError::Invalid`] for more hours than the policy allows.
    pub async fn extend(
        &self,
        by: &By,
        scope: &OrgScope,
        id: &str,
        more: u32,
    ) -> Result<Kept, RoomError> {
        let (_, policy) = self.policy().await?;
        if !(1..=policy.hours_max).contains(&more) {
            return Err(RoomError::invalid(
                "hours",
                &more.to_string(),
                "range",
                format!("必須是 1 到 {} 小時", policy.hours_max),
                format!("must be 1 to {} hours", policy.hours_max),
            ));
        }
        let mut tx = self.inner.db.begin().await?;
        let mut kept = one(&mut tx, scope, id).await?;
        expect(&kept, State::Active)?;
        let now = self.now();
        if kept.until.is_some_and(|until| until <= now) {
            return Err(RoomError::refused(
                "規則已到期:請重新提出",
                "the rule has ended: ask for a new one",
            ));
        }
        self.still_own(&kept).await?;
        kept.until = Some(now.plus(hours(more)));
        sqlx::query("UPDATE exchange_protection SET until = $2 WHERE id = $1")
            .bind(id)
            .bind(kept.until.map(Timestamp::micros))
            .execute(&mut *tx)
            .await?;
        self.record(&mut tx, by, &kept, "extend", &format!("{more} h"))
            .await?;
        tx.commit().await?;
        self.tell_changed();
        Ok(kept)
    }

    /// The registries' data may have changed since the rule was made.
    async fn still_own(&self, kept: &Kept) -> Result<(), RoomError> {
        let (Some(asn), Some(to)) = (kept.rule.asn, kept.rule.destination) else {
            return Ok(());
        };
        let space = self.space_of(asn).await?;
        if space.iter().any(|own| own.prefix.covers(&to)) {
            return Ok(());
        }
        Err(RoomError::refused(
            format!("{to} 已不在 AS{asn} 登錄的位址範圍內"),
            format!("{to} is no longer inside the registered address space of AS{asn}"),
        ))
    }

    /// Ends every rule of a member that is in force or proposed, in the caller's transaction.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn end_all(
        &self,
        tx: &mut Tx,
        by: &By,
        asn: u32,
        state: State,
        why: &str,
    ) -> Result<usize, RoomError> {
        let open = open_of(tx, asn).await?;
        let count = open.len();
        for mut kept in open {
            self.settle(tx, by, &mut kept, state, "lift", why).await?;
        }
        Ok(count)
    }

    /// Ends what has had its time. Idempotent; the binary calls it every few seconds.
    ///
    /// # Errors
    /// [`RoomError::Store`]; the next look tries again.
    pub async fn look(&self) -> Result<usize, RoomError> {
        const ONCE: i64 = 500;
        let now = self.now();
        let (due,): (i64,) = sqlx::query_as("SELECT count(*) FROM exchange_protection WHERE state IN ('active', 'proposed') AND until IS NOT NULL AND until <= $1")
            .bind(now.micros())
            .fetch_one(self.inner.db.pool())
            .await?;
        if due == 0 {
            return Ok(0);
        }
        let mut tx = self.inner.db.begin().await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM exchange_protection WHERE state IN ('active', 'proposed') AND until IS NOT NULL AND until <= $1 ORDER BY id LIMIT $2")))
            .bind(now.micros())
            .bind(ONCE)
            .fetch_all(&mut *tx)
            .await?;
        let by = By::system("protection");
        for row in &rows {
            let mut kept = kept_of(row)?;
            self.settle(&mut tx, &by, &mut kept, State::Expired, "expire", "")
                .await?;
        }
        tx.commit().await?;
        if !rows.is_empty() {
            self.tell_changed();
        }
        Ok(rows.len())
    }

    pub(super) async fn settle(
        &self,
        tx: &mut Tx,
        by: &By,
        kept: &mut Kept,
        state: State,
        action: &str,
        why: &str,
    ) -> Result<(), RoomError> {
        kept.state = state;
        kept.decided_by = Some(by.actor.to_string());
        kept.decided_at = Some(self.now());
        kept.decided_why = why.trim().chars().take(REASON_CHARS_MAX).collect();
        sqlx::query("UPDATE exchange_protection SET state = $2, decided_by = $3, decided_at = $4, decided_why = $5 WHERE id = $1")
            .bind(&kept.rule.id)
            .bind(state.name())
            .bind(kept.decided_by.clone())
            .bind(kept.decided_at.map(Timestamp::micros))
            .bind(&kept.decided_why)
            .execute(&mut **tx)
            .await?;
        let why = kept.decided_why.clone();
        self.record(tx, by, kept, action, &why).await
    }

    pub(super) async fn record(
        &self,
        tx: &mut Tx,
        by: &By,
        kept: &Kept,
        action: &str,
        text: &str,
    ) -> Result<(), RoomError> {
        sqlx::query("INSERT INTO exchange_protection_event (id, protection, at, actor, action, text) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(&kept.rule.id)
            .bind(self.now().micros())
            .bind(by.actor.to_string())
            .bind(action)
            .bind(text)
            .execute(&mut **tx)
            .await?;
        tx.audit(entry(
            by,
            kept.org,
            &format!("protection.{action}"),
            format!("protection:{}", kept.rule.id),
            json!({
                "rule": super::words::sentence(&kept.rule).en,
                "asn": kept.rule.asn,
                "state": kept.state.name(),
                "until": kept.until.map(Timestamp::micros),
                "text": text,
            }),
        ))
        .await?;
        Ok(())
    }
}

fn expect(kept: &Kept, state: State) -> Result<(), RoomError> {
    if kept.state == state {
        return Ok(());
    }
    Err(RoomError::refused(
        format!("規則目前的狀態是 {},不能這樣做", kept.state.name()),
        format!("the rule is {}, not {}", kept.state.name(), state.name()),
    ))
}

async fn open_of(tx: &mut Tx, asn: u32) -> Result<Vec<Kept>, RoomError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM exchange_protection WHERE asn = $1 AND state IN ('active', 'proposed')")))
        .bind(i64::from(asn))
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(kept_of).collect()
}
