//! Follows the change feed of the STIX store: every indicator that comes, changes or goes
//! is put to the policy.
//!
//! The place in the feed is kept after what was read has been acted on, so that a process
//! that dies in between acts again, which changes nothing: a source's target that is in
//! force already is passed over.
//!
//! A source is an indicator together with the organisation that sent it or the house that it
//! was fetched from, so that nobody can undo what another said by sending a revoked version
//! under its id: of versions of an object, each sender's newest counts for what that sender's
//! earlier ones made, and for nothing else. Only a version that this house itself sends (an
//! operator's) replaces what others said of the object before it, until they say so anew. No
//! trust, however high, lets one sender speak for another: a peer that is right says so by
//! opinions, or an operator does. Each decides by the trust in itself: of several that say the
//! same, the most trusted is heard. The house's own word on a pattern is no better than the
//! best of those on whose word it stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::enforcement::{Rule, Target};
use runtime::CancellationToken;
use serde::Deserialize;
use store::Actor;

use super::disbelief::Made;
use super::engine::{EnforceError, Enforcements, New};
use super::own::Own;
use super::policy::{Fate, Indicator, Policy};
use super::seams::{Belief, Said};
use crate::objects::read::{Change, What};
use crate::objects::search::terms::target_of;
use crate::objects::senders::Word;
use crate::objects::{Objects, ObjectsError, Origin, Senders, Via};
use crate::stix::simple::Simple;
use crate::stix::{Tlp, pattern, simple, time};

/// Steps of the feed read at once.
const CHANGES: u32 = 500;
/// Targets of one indicator that are acted on.
const TARGETS_MAX: usize = 1_000;
/// Time between two looks when nothing is heard of the feed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pause after a look that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Shortest time between two looks for what becomes valid.
const LOOK_SOONEST: Duration = Duration::from_millis(20);
const MARK: &str = "feed";
const ACTOR: Actor = Actor::System("enforcement policy");

/// Why the feed was not followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The feed.
    #[error("the feed of STIX objects")]
    Objects(#[from] ObjectsError),
    /// The decisions.
    #[error("decisions of the policy")]
    Enforce(#[from] EnforceError),
}

/// The properties of an indicator that matter here.
#[derive(Debug, Deserialize)]
struct Text {
    #[serde(default)]
    name: Option<String>,
    pattern: String,
    pattern_type: String,
    #[serde(default)]
    confidence: Option<u8>,
    #[serde(default)]
    valid_from: Option<String>,
    #[serde(default)]
    valid_until: Option<String>,
    #[serde(default)]
    indicator_types: Vec<String>,
    #[serde(default)]
    modified: Option<String>,
    #[serde(default)]
    created_by_ref: Option<String>,
    #[serde(default)]
    revoked: bool,
}

impl Text {
    /// When it says so, in microseconds.
    fn said_at(&self) -> i64 {
        let modified = self.modified.as_deref().and_then(time::parse);
        modified.unwrap_or_default()
    }

    /// It says of what it names that it is good (`indicator-type-ov`), and nothing else.
    fn is_benign(&self) -> bool {
        !self.indicator_types.is_empty() && self.indicator_types.iter().all(|one| one == "benign")
    }

    fn said(self, object: &str, sender: Option<String>) -> Said {
        Said {
            object: object.to_owned(),
            sender,
            at: self.said_at(),
            confidence: self.confidence,
            until: self.valid_until.as_deref().and_then(time::parse),
            author: self.created_by_ref,
            pattern: self.pattern,
        }
    }
}

/// What an indicator asks for.
#[derive(Debug, Default)]
struct Wanted {
    news: Vec<New>,
    /// Everything it still names, whatever the policy makes of it.
    targets: Vec<Target>,
    /// What of it the policy leaves alone, and why.
    left: Vec<(Target, String)>,
    /// When it says so, in microseconds.
    said_at: i64,
    /// When it begins to be valid, if that lies ahead.
    due: Option<Timestamp>,
}

impl Wanted {
    /// Why what was made of an earlier word, said at `said_at`, ends with this one.
    fn ends(&self, target: &Target, said_at: i64) -> Option<String> {
        if !self.targets.contains(target) {
            return Some("the indicator no longer says so".to_owned());
        }
        // The same word was decided on before: another policy since then undoes nothing.
        let left = self.left.iter().find(|(left, _)| left == target);
        left.filter(|_| said_at < self.said_at)
            .map(|(_, why)| format!("a newer version of the indicator is not enforced: {why}"))
    }
}

/// What a source asks for today.
pub(super) struct Wish {
    /// To be enforced, or proposed.
    pub(super) news: Vec<New>,
    /// Left alone, and why.
    pub(super) left: Vec<(Target, String)>,
    /// Its marking.
    pub(super) tlp: Tlp,
    /// Percent of its word that it is believed.
    pub(super) trust: u8,
    /// Whether it is the house's own word, which follows what it believes.
    pub(super) follows: bool,
    /// What it says.
    pub(super) said: Said,
}

/// With what the feed is looked at.
pub(super) struct Eyes<'a> {
    pub(super) policy: Arc<Policy>,
    pub(super) own: Arc<Own>,
    /// Percent of their word that other houses are believed.
    pub(super) peers: BTreeMap<Via, u8>,
    objects: &'a Objects,
}

impl<'a> Eyes<'a> {
    pub(super) async fn of(
        enforcements: &Enforcements,
        objects: &'a Objects,
    ) -> Result<Self, EnforceError> {
        Ok(Self {
            policy: enforcements.policy().await?.1,
            own: enforcements.own().await?,
            peers: enforcements.peers().await?,
            objects,
        })
    }
}

impl Eyes<'_> {
    /// Whether a target is left alone however sure anybody is.
    fn refuses(&self, target: &Target, tlp: Tlp) -> bool {
        self.refuses_by(target, tlp, 100)
    }

    /// Whether a target is left alone however sure somebody is who is believed by `trust`.
    pub(super) fn refuses_by(&self, target: &Target, tlp: Tlp, trust: u8) -> bool {
        let sure = Indicator {
            confidence: Some(100),
            tlp,
            trust,
        };
        let fate = self.policy.decide(target, &sure);
        matches!(fate, Fate::Leave(_)) || self.own.permits(target).is_err()
    }
}

impl Enforcements {
    /// Follows the feed until `stop`.
    pub async fn follow_until(&self, objects: Objects, stop: CancellationToken) {
        let mut heard = objects.subscribe();
        loop {
            heard.mark_unchanged();
            let pause = match self.look(&objects).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(error = %runtime::error_chain(&error), "Indicators could not be put to the policy; trying again");
                    FAILED_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                changed = heard.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Acts on what there is; returns how long until there is more to do.
    async fn look(&self, objects: &Objects) -> Result<Duration, FollowError> {
        self.follow(objects).await?;
        let due = self.next_due().await?;
        Ok(due.map_or(LOOK_EVERY, |due| due.clamp(LOOK_SOONEST, LOOK_EVERY)))
    }

    /// Acts on all that has come since the last look, and on what has become valid.
    ///
    /// # Errors
    /// [`FollowError`]: the place in the feed stays before what was not acted on.
    pub async fn follow(&self, objects: &Objects) -> Result<(), FollowError> {
        let mut after = self.mark(MARK).await?;
        loop {
            let (changes, on) = objects.changes_of("indicator", after, CHANGES).await?;
            if on == after {
                // After the feed, so that a newer word is known by then.
                self.begin_due(objects).await?;
                self.disbelieve().await?;
                // Between two steps of it the feed is read.
                match self.review(objects).await? {
                    true => continue,
                    false => return Ok(()),
                }
            }
            let eyes = Eyes::of(self, objects).await?;
            self.heed(&eyes, &changes).await?;
            self.keep_mark(MARK, on).await?;
            after = on;
        }
    }

    /// Puts changes to the policy, in their order.
    pub(super) async fn heed(
        &self,
        eyes: &Eyes<'_>,
        changes: &[Change],
    ) -> Result<(), FollowError> {
        let mut news = Vec::new();
        let ids: Vec<String> = changes.iter().map(|change| change.id.clone()).collect();
        let senders = eyes.objects.senders(&ids).await?;
        let beliefs = self.beliefs(&senders, changes).await?;
        for (change, belief) in changes.iter().zip(beliefs) {
            self.change(eyes, &senders, change, &belief, &mut news)
                .await?;
        }
        Ok(self.make(&mut news).await?)
    }

    /// What the house makes of each; what is no indicator to enforce is not asked about.
    async fn beliefs(
        &self,
        senders: &Senders,
        changes: &[Change],
    ) -> Result<Vec<Belief>, EnforceError> {
        let (mut said, mut places) = (Vec::new(), Vec::new());
        for (place, change) in changes.iter().enumerate() {
            let What::Added { json, origin, .. } = &change.what else {
                continue;
            };
            match serde_json::from_str::<Text>(json) {
                Ok(text)
                    if !text.revoked
                        && text.pattern_type == "stix"
                        && is_heard(senders, &change.id, *origin, text.said_at()) =>
                {
                    places.push(place);
                    let sender = (*origin != Origin::House).then(|| origin.to_string());
                    said.push(text.said(&change.id, sender));
                }
                _ => {}
            }
        }
        let mut all = vec![Belief::Stands; changes.len()];
        for (place, belief) in places.into_iter().zip(self.weighed(&said).await?) {
            all[place] = belief;
        }
        Ok(all)
    }

    async fn change(
        &self,
        eyes: &Eyes<'_>,
        senders: &Senders,
        change: &Change,
        belief: &Belief,
        news: &mut Vec<New>,
    ) -> Result<(), FollowError> {
        let (json, tlp, origin) = match &change.what {
            What::Added {
                json, tlp, origin, ..
            } => (json, *tlp, *origin),
            What::Gone => {
                self.make(news).await?;
                return self.gone(senders, &change.id).await;
            }
        };
        let source = source_of(&change.id, origin);
        let trust = self.trust_in(eyes, &change.id, origin, json).await?;
        let wanted = wanted(
            (&eyes.policy, &eyes.own),
            &source,
            json,
            tlp,
            trust,
            self.now(),
        );
        let mut wanted = wanted;
        if !is_heard(senders, &change.id, origin, wanted.said_at) {
            return Ok(());
        }
        let follows = origin == Origin::House
            && serde_json::from_str::<Text>(json)
                .is_ok_and(|text| self.follows_belief(&change.id, &text.pattern));
        if follows {
            // What it made follows the belief itself: there a person may have to be asked.
            if wanted.targets.is_empty() {
                return Ok(());
            }
            wanted.left.retain(|(target, _)| eyes.refuses(target, tlp));
        }
        let made = self.made(&change.id, &source).await?;
        if wanted.said_at < made.heard {
            // An older word than one that was acted on: sent late, or by another collection.
            return Ok(());
        }
        self.wait(&source, change.seq, wanted.said_at, wanted.due)
            .await?;
        // Of two words that are looked at together, too, the newer one counts.
        news.retain(|new| new.source != source || new.said_at > wanted.said_at);
        let mut wanted = believed(wanted, belief, &made);
        if follows {
            // The belief in it rises and falls by itself: whoever was asked still decides.
            for new in &mut wanted.news {
                new.proposed |= made.waits_for(&new.target);
            }
        }
        if made.as_house && matches!(origin, Origin::Peer(_)) {
            self.disown(senders, &change.id).await?;
        }
        if made.has {
            let why = |target: &Target, said_at| wanted.ends(target, said_at);
            self.withdraw(ACTOR, &source, Some(wanted.said_at), why)
                .await?;
        }
        if origin == Origin::House && !follows {
            // What waits to be made of others' older words was not heard, as this is newer.
            self.overrule(&change.id, &source, &wanted).await?;
        }
        if news.len() + wanted.news.len() > Rule::ORDER_MAX {
            self.make(news).await?;
        }
        news.extend(wanted.news);
        Ok(())
    }

    /// Percent of its word that whoever says it is believed.
    async fn trust_in(
        &self,
        eyes: &Eyes<'_>,
        id: &str,
        origin: Origin,
        json: &str,
    ) -> Result<u8, FollowError> {
        let of = |origin| eyes.policy.trust_in(origin, &eyes.peers);
        let Ok(text) = serde_json::from_str::<Text>(json) else {
            return Ok(0);
        };
        if origin != Origin::House || !self.follows_belief(id, &text.pattern) {
            return Ok(of(origin));
        }
        let voices = self.voices(&text.pattern).await?;
        Ok(voices.into_iter().map(of).max().unwrap_or(0))
    }

    /// What the newest word of a sender on the object `id` asks for today, beside this house's
    /// own; none: nothing that counts.
    pub(super) async fn wished(
        &self,
        eyes: &Eyes<'_>,
        id: &str,
        word: &Word,
        house: Option<&Word>,
    ) -> Result<Option<Wish>, FollowError> {
        let read = |word: &Word| serde_json::from_str::<Text>(&word.json).ok();
        let Some(text) = read(word) else {
            return Ok(None);
        };
        let newer = |house: Text| house.said_at() > text.said_at();
        if house.and_then(read).is_some_and(newer) {
            return Ok(None);
        }
        let source = source_of(id, word.origin);
        let trust = self.trust_in(eyes, id, word.origin, &word.json).await?;
        let by = (&*eyes.policy, &*eyes.own);
        let wanted = wanted(by, &source, &word.json, word.tlp, trust, self.now());
        if wanted.targets.is_empty() {
            return Ok(None);
        }
        let sender = (word.origin != Origin::House).then(|| word.origin.to_string());
        Ok(Some(Wish {
            news: wanted.news,
            left: wanted.left,
            tlp: word.tlp,
            trust,
            follows: word.origin == Origin::House && self.follows_belief(id, &text.pattern),
            said: text.said(id, sender),
        }))
    }

    /// What others said of an object before this house itself did counts no more: what was
    /// made of it ends where the house's own word does not name it, or is not enforced.
    async fn overrule(&self, id: &str, own: &str, wanted: &Wanted) -> Result<(), EnforceError> {
        for source in self.sources_of(id).await? {
            if source == own {
                continue;
            }
            let why = |target: &Target, said_at| {
                let ends = wanted
                    .ends(target, said_at)
                    .filter(|_| said_at < wanted.said_at);
                ends.map(|why| format!("this house's own version of the indicator: {why}"))
            };
            self.withdraw(ACTOR, &source, Some(wanted.said_at), why)
                .await?;
        }
        Ok(())
    }

    /// What was fetched used to count as this house's own word: what was made of it so goes,
    /// and the peer's word counts by the trust in the peer.
    async fn disown(&self, senders: &Senders, id: &str) -> Result<(), FollowError> {
        // Whoever else sent a newer version: what the house said it has said.
        if senders.newest(id, Origin::House).is_none() {
            let why = "the indicator is the word of another house, not of this one";
            let why = |_: &Target, _| Some(why.to_owned());
            self.withdraw(ACTOR, &source_of(id, Origin::House), None, why)
                .await?;
        }
        Ok(())
    }

    /// Versions of the indicator `id` were deleted: what they made goes; what is still said
    /// by somebody stays.
    async fn gone(&self, senders: &Senders, id: &str) -> Result<(), FollowError> {
        for source in self.sources_of(id).await? {
            let says = said_by(senders, id, &source);
            let why = |_: &Target, said_at| {
                let gone = says.is_none_or(|says| says < said_at);
                gone.then(|| "the indicator was deleted".to_owned())
            };
            self.withdraw(ACTOR, &source, None, why).await?;
        }
        Ok(self.forget(senders, id).await?)
    }

    /// Makes what has gathered. More than nodes hold is told and left: the feed goes on.
    async fn make(&self, news: &mut Vec<New>) -> Result<(), EnforceError> {
        let (proposed, active): (Vec<New>, Vec<New>) = std::mem::take(news)
            .into_iter()
            .partition(|new| new.proposed);
        for some in [active, proposed] {
            if some.is_empty() {
                continue;
            }
            match self.enforce(ACTOR, None, some).await {
                Ok(_) => {}
                Err(error @ (EnforceError::TooMany { .. } | EnforceError::Forbidden { .. })) => {
                    tracing::error!(%error, "Indicators are not enforced");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What was deleted may be said anew, also in an older version. What was lifted because
    /// nobody believed it is not forgotten.
    async fn forget(&self, senders: &Senders, id: &str) -> Result<(), EnforceError> {
        let mut heard: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT source FROM enforce_rule WHERE source >= $1 AND source < $2 AND spent = 0 AND said_at > 0",
        )
        .bind(format!("stix:{id}@"))
        .bind(format!("stix:{id}@~"))
        .fetch_all(self.inner.db.pool())
        .await?;
        heard.retain(|source| said_by(senders, id, source).is_none());
        if heard.is_empty() {
            return Ok(());
        }
        let mut tx = self.inner.db.begin().await?;
        for source in heard {
            sqlx::query("UPDATE enforce_rule SET said_at = 0 WHERE source = $1 AND spent = 0")
                .bind(source)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn sources_of(&self, id: &str) -> Result<Vec<String>, EnforceError> {
        // `~` follows every character of an organisation's id.
        Ok(sqlx::query_scalar("SELECT DISTINCT source FROM enforce_rule WHERE source >= $1 AND source < $2 AND state IN ('active', 'proposed')")
            .bind(format!("stix:{id}@"))
            .bind(format!("stix:{id}@~"))
            .fetch_all(self.inner.db.pool())
            .await?)
    }
}

/// Names whoever says it, in the rows made from it.
fn source_of(id: &str, origin: Origin) -> String {
    format!("stix:{id}@{origin}")
}

/// When the sender that `source` names said something of the object `id` last that is still
/// there.
fn said_by(senders: &Senders, id: &str, source: &str) -> Option<i64> {
    let mut all = senders.of(id).iter();
    all.find(|(origin, _)| source_of(id, *origin) == source)
        .map(|(_, at)| *at)
}

/// Whether a word of `origin` on the object `id` counts: the newest of its sender, and not
/// older than what this house says of the object itself.
fn is_heard(senders: &Senders, id: &str, origin: Origin, said_at: i64) -> bool {
    [origin, Origin::House]
        .into_iter()
        .filter_map(|of| senders.newest(id, of))
        .all(|newest| newest <= said_at)
}

fn wanted(
    (policy, own): (&Policy, &Own),
    source: &str,
    json: &str,
    tlp: Tlp,
    trust: u8,
    now: Timestamp,
) -> Wanted {
    let mut wanted = Wanted::default();
    // The store has checked it; what is missing all the same makes nothing to enforce.
    let Ok(text) = serde_json::from_str::<Text>(json) else {
        return wanted;
    };
    wanted.said_at = text.said_at();
    if text.revoked || text.is_benign() || text.pattern_type != "stix" {
        return wanted;
    }
    let until = match text.valid_until.as_deref() {
        None => now.plus(policy.lasts()),
        Some(text) => match time::parse(text) {
            Some(until) => Timestamp(until),
            None => return wanted,
        },
    };
    if until <= now {
        return wanted;
    }
    let from = text.valid_from.as_deref().and_then(time::parse);
    if let Some(from) = from.map(Timestamp).filter(|from| *from > now) {
        wanted.due = Some(from);
        return wanted;
    }
    let Ok(tree) = pattern::parse(&text.pattern) else {
        return wanted;
    };
    let indicator = Indicator {
        confidence: text.confidence,
        tlp,
        trust,
    };
    let said_at = wanted.said_at;
    for target in simple::extract(&tree)
        .into_iter()
        .filter_map(target_of)
        .take(TARGETS_MAX)
    {
        let fate = match own.permits(&target) {
            Ok(()) => policy.decide(&target, &indicator),
            Err(why) => Fate::Leave(why),
        };
        wanted.targets.push(target.clone());
        let proposed = match fate {
            Fate::Enforce => false,
            Fate::Propose => true,
            Fate::Leave(why) => {
                tracing::debug!(%target, source, why, "An indicator is not enforced");
                wanted.left.push((target, why));
                continue;
            }
        };
        wanted.news.push(New {
            target,
            action: policy.action,
            roles: policy.roles.clone(),
            source: source.to_owned(),
            reason: text.name.clone().unwrap_or_default(),
            confidence: policy.confidence(&indicator),
            until: Some(until),
            proposed,
            tlp: Some(tlp),
            said_at,
        });
    }
    wanted
}

/// Why nothing, or not all, that an indicator names alone can become an enforcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is written in another language than STIX patterns.
    Language(String),
    /// Nothing that it names is by itself a reason to act.
    NotSimple,
    /// These are no targets.
    Texts(Vec<String>),
}

/// What an officer must know of an indicator that cannot be followed to the letter.
pub(crate) fn unfit(pattern: &str, pattern_type: &str) -> Option<Unfit> {
    if pattern_type != "stix" {
        return Some(Unfit::Language(pattern_type.to_owned()));
    }
    let looked = simple::look(&pattern::parse(pattern).ok()?);
    let mut bad = looked.bad;
    let mut good = 0;
    for one in looked.good {
        let text = match &one {
            Simple::Prefix(prefix) => prefix.to_string(),
            Simple::Domain(text) | Simple::Url(text) | Simple::Hash(_, text) => text.clone(),
        };
        match target_of(one) {
            Some(_) => good += 1,
            None => bad.push(text),
        }
    }
    match (good, bad.is_empty()) {
        (0, true) => Some(Unfit::NotSimple),
        (_, true) => None,
        (_, false) => Some(Unfit::Texts(bad)),
    }
}

/// What is left of it by what the house believes and what was lifted before.
fn believed(mut wanted: Wanted, belief: &Belief, made: &Made) -> Wanted {
    match belief {
        Belief::Stands => {}
        Belief::Again(why) => {
            for new in &mut wanted.news {
                tracing::debug!(target = %new.target, source = new.source, why, "An indicator waits for a person");
                new.proposed = true;
            }
        }
        Belief::Fell(why) => {
            for new in wanted.news.drain(..) {
                tracing::debug!(target = %new.target, source = new.source, why, "An indicator is not enforced");
            }
        }
    }
    wanted
        .news
        .retain(|new| !made.is_spent(&new.target, new.said_at));
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Wanted {
        wanted(
            (&Policy::default(), &Own::default()),
            "stix:x@org",
            json,
            Tlp::Green,
            100,
            Timestamp(1),
        )
    }

    #[test]
    fn what_begins_later_waits_and_what_is_benign_is_left() {
        let later = of(
            r#"{"pattern":"[ipv4-addr:value = '192.0.2.1']","pattern_type":"stix","confidence":90,"valid_from":"2026-01-01T00:00:00Z"}"#,
        );
        assert!(later.news.is_empty() && later.targets.is_empty());
        assert_eq!(
            later.due.map(|due| due.micros()),
            time::parse("2026-01-01T00:00:00Z")
        );
        let begun = of(
            r#"{"pattern":"[ipv4-addr:value = '192.0.2.1']","pattern_type":"stix","confidence":90,"valid_from":"1960-01-01T00:00:00Z"}"#,
        );
        assert_eq!((begun.news.len(), begun.due), (1, None));
        for (types, count) in [
            (r#"["benign"]"#, 0),
            (r#"["benign","malicious-activity"]"#, 1),
            (r#"["anomalous-activity"]"#, 1),
        ] {
            let made = of(&format!(
                r#"{{"pattern":"[ipv4-addr:value = '192.0.2.1']","pattern_type":"stix","confidence":90,"indicator_types":{types}}}"#
            ));
            assert_eq!(made.news.len(), count, "{types}");
        }
    }

    #[test]
    fn a_newer_word_ends_what_it_no_longer_names_and_what_the_policy_now_leaves() {
        let made = of(
            r#"{"pattern":"[ipv4-addr:value IN ('192.0.2.1','8.8.8.8')]","pattern_type":"stix","confidence":90,"modified":"2026-01-01T00:00:00Z"}"#,
        );
        let target = |text: &str| text.parse::<Target>().expect("a target");
        assert_eq!(made.ends(&target("192.0.2.1"), 0), None);
        assert!(made.ends(&target("192.0.2.2"), 0).is_some());
        assert!(
            made.ends(&target("8.8.8.8"), 0)
                .is_some_and(|why| why.contains("warning list"))
        );
        assert_eq!(made.ends(&target("8.8.8.8"), made.said_at), None);
    }

    #[test]
    fn an_indicator_becomes_what_the_policy_makes_of_it() {
        let made = of(
            r#"{"pattern":"[ipv4-addr:value IN ('192.0.2.1','8.8.8.8')] OR [url:value = 'http://a.example/x']","pattern_type":"stix","confidence":90,"name":"C2"}"#,
        );
        let texts: Vec<String> = made.news.iter().map(|new| new.target.to_string()).collect();
        assert_eq!(texts, ["192.0.2.1", "url:a.example/x"]);
        assert_eq!(made.targets.len(), 3);
        assert!(
            made.news
                .iter()
                .all(|new| !new.proposed && new.reason == "C2" && new.until.is_some())
        );
        let proposed =
            of(r#"{"pattern":"[domain-name:value = 'a.example']","pattern_type":"stix"}"#);
        assert!(proposed.news[0].proposed, "no confidence stated");
    }

    #[test]
    fn what_cannot_be_followed_is_told() {
        assert_eq!(unfit("[ipv4-addr:value = '192.0.2.1']", "stix"), None);
        assert_eq!(
            unfit("rule x {}", "yara"),
            Some(Unfit::Language("yara".into()))
        );
        assert_eq!(
            unfit("[file:name = 'x' AND file:size = 5]", "stix"),
            Some(Unfit::NotSimple)
        );
        let texts = |all: &[&str]| {
            let all = all.iter().map(|text| (*text).to_owned());
            Some(Unfit::Texts(all.collect()))
        };
        assert_eq!(
            unfit(
                "[domain-name:value IN ('惡 意.example','a.example')]",
                "stix"
            ),
            texts(&["惡 意.example"])
        );
        assert_eq!(
            unfit("[url:value = 'ftp://a.example/']", "stix"),
            texts(&["ftp://a.example/"])
        );
    }

    #[test]
    fn what_is_revoked_past_or_conjoined_makes_nothing() {
        for json in [
            r#"{"pattern":"[ipv4-addr:value = '192.0.2.1']","pattern_type":"stix","confidence":90,"revoked":true}"#,
            r#"{"pattern":"[ipv4-addr:value = '192.0.2.1']","pattern_type":"stix","confidence":90,"valid_until":"1960-01-01T00:00:00Z"}"#,
            r#"{"pattern":"[ipv4-addr:value = '192.0.2.1' AND ipv4-addr:value = '192.0.2.2']","pattern_type":"stix","confidence":90}"#,
            r#"{"pattern":"rule x {}","pattern_type":"yara","confidence":90}"#,
            r#"{}"#,
            "",
        ] {
            assert!(of(json).news.is_empty(), "{json}");
        }
    }
}
