//! When the policy changes, or the trust in a peer: what was decided automatically by what
//! counted before is decided again, by the newest word of each sender.
//!
//! What is no longer accepted is lifted, or refused while it waits; what waits for approval
//! and is now sure enough is put in force; what an earlier review ended and is accepted again
//! comes back, so that a policy put in force by mistake is undone by the one before. What a
//! person decided stays, and so does what is in force and would now merely be proposed. Ends,
//! actions and roles stay as they were decided.
//!
//! Nobody begins a review: its row says by which policy and which trust it went, and where
//! these are others than today's, the next one begins. It goes in steps between which the
//! feed is read, and its place is kept with what each step did.

use std::collections::{BTreeMap, HashMap};

use base::Timestamp;
use base::enforcement::RULES_MAX;
use serde_json::json;
use store::Actor;

use super::engine::{Decided, EnforceError, Enforcements, State, audit};
use super::follow::{Eyes, FollowError, Wish};
use super::policy::Policy;
use super::rows::{COLUMNS, decided_of, one};
use super::seams::Belief;
use crate::objects::senders::words;
use crate::objects::{Objects, Origin, Via, hash64};

/// Decisions in one step.
const ROWS: i64 = 200;
/// Decisions that a preview looks at.
pub const PREVIEW_MAX: u64 = 5_000;
/// Decisions that a preview names.
pub const EXAMPLES_MAX: usize = 50;
/// Targets of one step that the audit trail names.
const TARGETS_TOLD: usize = 50;
const ACTOR: Actor = Actor::System("enforcement policy");

/// What becomes of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is lifted, or refused if it waits, for this reason.
    End(String),
    /// It waits for approval again.
    Propose,
    /// It is put in force.
    Enforce,
}

/// What a policy, or trust, would change of what was decided before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effect {
    /// Decisions looked at.
    pub looked_at: u64,
    /// In force, and would be lifted.
    pub lift: u64,
    /// Wait, and would be refused.
    pub refuse: u64,
    /// Wait or were ended by a former policy, and would be in force.
    pub enforce: u64,
    /// Were ended by a former policy, and would wait again.
    pub propose: u64,
    /// Whether there are more decisions than were looked at.
    pub more: bool,
    /// Some of them.
    pub examples: Vec<(Decided, Verdict)>,
}

impl Effect {
    fn count(&mut self, decided: &Decided, verdict: &Verdict) {
        *match (verdict, decided.state) {
            (Verdict::End(_), State::Active) => &mut self.lift,
            (Verdict::End(_), _) => &mut self.refuse,
            (Verdict::Enforce, _) => &mut self.enforce,
            (Verdict::Propose, _) => &mut self.propose,
        } += 1;
    }

    /// Whether nothing would change.
    pub fn is_none(&self) -> bool {
        self.lift + self.refuse + self.enforce + self.propose == 0
    }
}

/// A review as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The version of the policy by which it went.
    pub policy: i64,
    /// Decisions looked at.
    pub looked_at: i64,
    /// Lifted.
    pub lifted: i64,
    /// Refused while they waited.
    pub refused: i64,
    /// Put in force.
    pub enforced: i64,
    /// Put before a person again.
    pub proposed: i64,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended; none: it runs.
    pub ended_at: Option<Timestamp>,
}

/// The review that is under way, or was last.
struct Last {
    number: i64,
    policy: i64,
    trust: i64,
    place: String,
    ended: bool,
}

impl Enforcements {
    /// The last review, if there was any.
    ///
    /// # Errors
    /// [`EnforceError::Store`].
    pub async fn last_review(&self) -> Result<Option<Review>, EnforceError> {
        type Row = (i64, i64, i64, i64, i64, i64, i64, Option<i64>);
        // The first row says by what was decided when there were no reviews.
        let row: Option<Row> = sqlx::query_as(
            "SELECT policy, looked_at, lifted, refused, enforced, proposed, begun_at, ended_at FROM enforce_review WHERE number > 0 ORDER BY number DESC LIMIT 1",
        )
        .fetch_optional(self.inner.db.pool())
        .await?;
        Ok(row.map(|row| Review {
            policy: row.0,
            looked_at: row.1,
            lifted: row.2,
            refused: row.3,
            enforced: row.4,
            proposed: row.5,
            begun_at: Timestamp(row.6),
            ended_at: row.7.map(Timestamp),
        }))
    }

    /// What `policy` (none: the one in force) would change, with `trust` in the peers that it
    /// names; nothing is changed.
    ///
    /// # Errors
    /// What database, store or beliefs say.
    pub async fn effect(
        &self,
        objects: &Objects,
        policy: Option<&Policy>,
        trust: &[(Via, u8)],
    ) -> Result<Effect, FollowError> {
        let mut eyes = Eyes::of(self, objects).await?;
        if let Some(policy) = policy {
            eyes.policy = std::sync::Arc::new(policy.clone());
        }
        eyes.peers.extend(trust.iter().copied());
        let (mut effect, mut place) = (Effect::default(), String::new());
        loop {
            let rows = self.to_review(&place).await?;
            let Some(last) = rows.last() else {
                return Ok(effect);
            };
            if effect.looked_at >= PREVIEW_MAX {
                effect.more = true;
                return Ok(effect);
            }
            place = last.rule.id.to_string();
            effect.looked_at += rows.len() as u64;
            for (decided, verdict, _) in self.verdicts(&eyes, rows).await? {
                effect.count(&decided, &verdict);
                if effect.examples.len() < EXAMPLES_MAX {
                    effect.examples.push((decided, verdict));
                }
            }
        }
    }

    /// Does one step of a review, if policy or trust are others than at the last one; returns
    /// whether there is more to do.
    pub(super) async fn review(&self, objects: &Objects) -> Result<bool, FollowError> {
        let (version, _) = self.policy().await?;
        let trust = trust_in_short(&self.peers().await?);
        let Some(last) = self.begun(version, trust).await? else {
            return Ok(false);
        };
        let eyes = Eyes::of(self, objects).await?;
        let rows = self.to_review(&last.place).await?;
        let looked_at = rows.len();
        let place = rows.last().map(|row| row.rule.id.to_string());
        let verdicts = self.verdicts(&eyes, rows).await?;
        self.judge(&last, version, looked_at, place, verdicts)
            .await?;
        Ok(true)
    }

    /// The review that is to go on; none: all is decided by what counts today.
    async fn begun(&self, policy: i64, trust: i64) -> Result<Option<Last>, EnforceError> {
        let row: Option<(i64, i64, i64, String, Option<i64>)> = sqlx::query_as(
            "SELECT number, policy, trust, place, ended_at FROM enforce_review ORDER BY number DESC LIMIT 1",
        )
        .fetch_optional(self.inner.db.pool())
        .await?;
        let last = row.map(|(number, policy, trust, place, ended_at)| Last {
            number,
            policy,
            trust,
            place,
            ended: ended_at.is_some(),
        });
        let same = |last: &Last| last.policy == policy && last.trust == trust;
        let now = self.now().micros();
        let (number, ended_at) = match last {
            Some(last) if same(&last) => return Ok((!last.ended).then_some(last)),
            Some(last) => (last.number + 1, None),
            // What was decided before reviews were made was decided by what counts today, for
            // all that is known.
            None => (0, Some(now)),
        };
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("UPDATE enforce_review SET ended_at = $1 WHERE ended_at IS NULL")
            .bind(now)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO enforce_review (number, policy, trust, place, looked_at, lifted, refused, enforced, proposed, begun_at, ended_at)
             VALUES ($1, $2, $3, '', 0, 0, 0, 0, 0, $4, $5)",
        )
        .bind(number)
        .bind(policy)
        .bind(trust)
        .bind(now)
        .bind(ended_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(ended_at.is_none().then_some(Last {
            number,
            policy,
            trust,
            place: String::new(),
            ended: false,
        }))
    }

    /// The next decisions after `place` that nobody made by hand: in force, waiting, or ended
    /// by a review.
    async fn to_review(&self, place: &str) -> Result<Vec<Decided>, EnforceError> {
        // In the order of the key: any other index would sort everything for each step.
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM enforce_rule WHERE id > $1 AND source LIKE 'stix:%' AND (until IS NULL OR until > $2)
             AND (((state || '') IN ('active', 'proposed') AND kept = 0 AND (decided_by IS NULL OR decided_by NOT LIKE 'user:%'))
               OR ((state || '') IN ('lifted', 'rejected') AND reviewed = 1 AND spent = 0))
             ORDER BY id LIMIT $3"
        )))
        .bind(place)
        .bind(self.now().micros())
        .bind(ROWS)
        .fetch_all(self.inner.db.pool())
        .await?;
        rows.iter().map(decided_of).collect()
    }

    /// What becomes of those that do not stay as they are, and the confidence by which.
    async fn verdicts(
        &self,
        eyes: &Eyes<'_>,
        rows: Vec<Decided>,
    ) -> Result<Vec<(Decided, Verdict, u8)>, FollowError> {
        let mut wishes: HashMap<String, Option<Wish>> = HashMap::new();
        let mut changed = Vec::new();
        for decided in rows {
            let source = decided.source.clone();
            if !wishes.contains_key(&source) {
                let wish = self.wish(eyes, &source).await?;
                wishes.insert(source.clone(), wish);
            }
            let Some(Some(wish)) = wishes.get(&source) else {
                continue;
            };
            if let Some((verdict, confidence)) = verdict(eyes, &decided, wish) {
                changed.push((decided, verdict, confidence));
            }
        }
        // What is to begin must be believed today.
        let (mut said, mut places) = (Vec::new(), Vec::new());
        for (place, (decided, verdict, _)) in changed.iter().enumerate() {
            if let (Some(Some(wish)), false) = (
                wishes.get(&decided.source),
                matches!(verdict, Verdict::End(_)),
            ) {
                said.push(wish.said.clone());
                places.push(place);
            }
        }
        let mut unbelieved = Vec::new();
        for (place, belief) in places.into_iter().zip(self.weighed(&said).await?) {
            match belief {
                Belief::Stands => {}
                Belief::Again(_) if changed[place].0.state != State::Proposed => {
                    changed[place].1 = Verdict::Propose;
                }
                Belief::Again(_) | Belief::Fell(_) => unbelieved.push(place),
            }
        }
        for place in unbelieved.into_iter().rev() {
            changed.remove(place);
        }
        Ok(changed)
    }

    /// What the newest word of a source asks for; none: it says nothing that counts.
    async fn wish(&self, eyes: &Eyes<'_>, source: &str) -> Result<Option<Wish>, FollowError> {
        let named = source
            .strip_prefix("stix:")
            .and_then(|rest| rest.rsplit_once('@'));
        let Some((id, sender)) = named else {
            return Ok(None);
        };
        let mut db = self
            .inner
            .db
            .pool()
            .acquire()
            .await
            .map_err(EnforceError::from)?;
        let words = words(&mut db, id, None).await?;
        drop(db);
        let origin = Origin::from_text(sender);
        let Some(word) = words.iter().find(|word| word.origin == origin) else {
            return Ok(None);
        };
        let house = words.iter().find(|word| word.origin == Origin::House);
        self.wished(eyes, id, word, house).await
    }

    async fn judge(
        &self,
        last: &Last,
        version: i64,
        looked_at: usize,
        place: Option<String>,
        verdicts: Vec<(Decided, Verdict, u8)>,
    ) -> Result<(), EnforceError> {
        let now = self.now();
        let mut tx = self.inner.db.begin().await?;
        let there: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM enforce_rule WHERE state = 'active' AND (until IS NULL OR until > $1)",
        )
        .bind(now.micros())
        .fetch_one(&mut *tx)
        .await?;
        let mut room = RULES_MAX.saturating_sub(usize::try_from(there).unwrap_or(RULES_MAX));
        let mut done = Effect::default();
        let (mut lifted, mut enforced, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for (seen, verdict, confidence) in verdicts {
            // A person may have decided meanwhile.
            let mut decided = one(&mut tx, seen.rule.id).await?;
            if decided != seen {
                continue;
            }
            let ended = matches!(seen.state, State::Lifted | State::Rejected);
            if ended {
                // A newer word of the source may have made it again.
                let again: i64 = sqlx::query_scalar(
                    "SELECT COUNT(*) FROM enforce_rule WHERE source = $1 AND target = $2 AND state IN ('active', 'proposed')",
                )
                .bind(&seen.source)
                .bind(seen.rule.target.to_string())
                .fetch_one(&mut *tx)
                .await?;
                if again > 0 {
                    continue;
                }
            }
            let (state, why) = match &verdict {
                Verdict::End(why) => (
                    match seen.state {
                        State::Active => State::Lifted,
                        _ => State::Rejected,
                    },
                    format!("policy {version} no longer accepts it: {why}"),
                ),
                Verdict::Propose => (
                    State::Proposed,
                    format!("policy {version} leaves it to a person again"),
                ),
                Verdict::Enforce if room == 0 => {
                    tracing::error!(target = %seen.rule.target, max = RULES_MAX, "An enforcement that the policy accepts is not put in force: nodes hold no more");
                    continue;
                }
                Verdict::Enforce => (State::Active, format!("policy {version} accepts it")),
            };
            self.settle(&mut tx, &mut decided, state, &ACTOR, &why)
                .await?;
            sqlx::query(
                "UPDATE enforce_rule SET policy = $2, confidence = $3, reviewed = $4 WHERE id = $1",
            )
            .bind(decided.rule.id.to_string())
            .bind(version)
            .bind(i64::from(confidence))
            .bind(i64::from(matches!(verdict, Verdict::End(_))))
            .execute(&mut *tx)
            .await?;
            done.count(&seen, &verdict);
            if told.len() < TARGETS_TOLD {
                told.push(json!({ "target": seen.rule.target.to_string(), "to": state.name() }));
            }
            match (&verdict, seen.state) {
                (Verdict::End(_), State::Active) => {
                    room += 1;
                    lifted.push(seen.rule.id);
                }
                (Verdict::Enforce, _) => {
                    room -= 1;
                    enforced.push(decided);
                }
                _ => {}
            }
        }
        self.order_lift(&mut tx, lifted).await?;
        self.order_enforce(&mut tx, enforced.iter()).await?;
        let counts = [done.lift, done.refuse, done.enforce, done.propose];
        let [lift, refuse, enforce, propose] =
            counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        sqlx::query(
            "UPDATE enforce_review SET place = $2, looked_at = looked_at + $3, lifted = lifted + $4, refused = refused + $5,
               enforced = enforced + $6, proposed = proposed + $7, ended_at = $8 WHERE number = $1",
        )
        .bind(last.number)
        .bind(place.as_deref().unwrap_or(&last.place))
        .bind(i64::try_from(looked_at).unwrap_or(i64::MAX))
        .bind(lift)
        .bind(refuse)
        .bind(enforce)
        .bind(propose)
        .bind(place.is_none().then(|| now.micros()))
        .execute(&mut *tx)
        .await?;
        if !done.is_none() {
            let detail = json!({
                "policy": version, "lifted": lift, "refused": refuse, "enforced": enforce, "proposed": propose, "targets": told,
            });
            let subject = format!("policy:{version}");
            audit(&mut tx, ACTOR, None, "enforcement.review", subject, detail).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Names the trust in all peers.
fn trust_in_short(peers: &BTreeMap<Via, u8>) -> i64 {
    let all: Vec<u8> = peers
        .iter()
        .flat_map(|(via, trust)| [via.number().to_be_bytes().as_slice(), &[*trust]].concat())
        .collect();
    hash64(&all)
}

/// What becomes of a decision by what its source wishes today, and the confidence by which;
/// none: it stays.
fn verdict(eyes: &Eyes<'_>, decided: &Decided, wish: &Wish) -> Option<(Verdict, u8)> {
    let target = &decided.rule.target;
    let ended = matches!(decided.state, State::Lifted | State::Rejected);
    if let Some((_, why)) = wish.left.iter().find(|(left, _)| left == target) {
        // The house's own word ages as what it believes does: only what would not be made of
        // it however sure it were ends here.
        let ages = wish.follows && !eyes.refuses_by(target, wish.tlp, wish.trust);
        return (!ended && !ages).then(|| (Verdict::End(why.clone()), decided.confidence));
    }
    // What it does not name any more, or not yet, is the feed's affair.
    let new = wish.news.iter().find(|new| new.target == *target)?;
    let asks = new.proposed || eyes.own.asks(target).is_some() || !decided.asked.is_empty();
    let verdict = match decided.state {
        State::Active => return None,
        // Whoever was asked about the house's own word still decides.
        State::Proposed if asks || wish.follows => return None,
        State::Rejected if wish.follows => Verdict::Propose,
        State::Lifted | State::Rejected if asks => Verdict::Propose,
        State::Proposed | State::Lifted | State::Rejected => Verdict::Enforce,
    };
    Some((verdict, new.confidence))
}
