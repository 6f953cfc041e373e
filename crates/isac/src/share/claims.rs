//! Who says what about which pattern: follows the change feed of the store, keeps each
//! source's word, and publishes what the house believes of a pattern that several name,
//! that somebody disputes, or that has aged away.
//!
//! A claim belongs to whoever sent it: an organisation, a peer, this house. Several may send
//! an object under the same id and author; a newer version, also one that takes it back,
//! changes the claim of its own sender alone, since authors are what anybody may write into
//! an object. So a revocation by somebody who never claimed it takes nothing from anybody:
//! who holds another's word wrong says so by an opinion. This house's own version alone
//! replaces what others said of the object before it, until they say so anew.
//! Sources are counted by author all the same: one word that comes by several ways is one.
//!
//! Who calls a pattern a false positive has one voice: an organisation; a peer, whatever
//! authors it names, for it answers for them and could name any number; of what this house
//! itself enters, each author. A peer that is believed by nothing has none. An opinion is such
//! a voice, and so is an indicator that calls what it names `benign` and nothing else, which
//! claims nothing bad of it: by whichever of them, and however often, a voice counts once.
//!
//! What is believed stands in the collection [`ALIAS`] as an indicator of the house, one
//! for a pattern, whatever it is called elsewhere. The place in the feed is kept in the
//! transaction that acts on it; what is published afterwards has an id and a version
//! made from the belief, so that doing it again changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use base::Timestamp;
use runtime::CancellationToken;
use serde_json::{Value, json};
use store::{Page, PageRequest, Tx};

use super::belief::{Belief, Claim, Decay};
use super::{ShareError, Sharing};
use crate::objects::collections::ROOT;
use crate::objects::read::{Change, What};
use crate::objects::{
    Collection, Objects, ObjectsError, Origin, Source, Via, hash64, import, prepare, senders,
};
use crate::stix::{Tlp, time};

/// Alias of the collection of beliefs.
pub const ALIAS: &str = "beliefs";
/// Steps of the feed read at once.
const CHANGES: u32 = 1_000;
/// Beliefs looked at again at once.
const AGEING_ROWS: i64 = 1_000;
/// Claims on one pattern that are counted.
pub(super) const CLAIMS_MAX: i64 = 500;
/// Characters of a pattern that are kept.
const PATTERN_CHARS_MAX: usize = 10_000;
/// Time between two looks when nothing is heard of the feed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Place in the feed.
const MARK: &str = "claims";
/// Objects at once whose claims were kept without their senders, and get them.
const UNSENT: i64 = 1_000;
/// As [`Claim::sender`]: this house.
pub(super) const HOUSE: &str = "house";
/// Place in the feed up to which opinions are read again, for whose voice they are.
const VOICES: &str = "voices";
/// Voices that are counted; by then nothing is left of any belief.
const VOICES_MAX: i64 = 1_000;
/// In place of [`Claim::revoked`] in rows: calls what it names good.
const BENIGN: i64 = 2;
/// How the sender begins of claims that were kept without one.
const UNKNOWN: &str = "unknown:";

/// A belief as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    /// Names it: the hash of its pattern.
    pub id: i64,
    /// The pattern.
    pub pattern: String,
    /// 0 to 100.
    pub confidence: u8,
    /// Sources that count.
    pub sources: i64,
    /// Organisations that call it a false positive.
    pub disputes: i64,
    /// Whether it is believed.
    pub stands: bool,
    /// The most closed marking among the claims.
    pub tlp: Tlp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// A dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// Who disputes.
    pub source: String,
    /// What they hold of it.
    pub opinion: String,
    /// When, in microseconds.
    pub at: i64,
}

/// The kind of object that a pattern begins with.
pub(super) fn kind_of(pattern: &str) -> &str {
    let start = pattern.trim_start_matches(['[', '(', ' ']);
    start.split(':').next().unwrap_or_default()
}

/// Patterns that differ in spaces alone are one.
pub(super) fn hash_of(pattern: &str) -> i64 {
    let mut plain = String::with_capacity(pattern.len());
    let mut quoted = false;
    for c in pattern.chars() {
        if c == '\'' {
            quoted = !quoted;
        }
        if quoted || !c.is_whitespace() {
            plain.push(c);
        }
    }
    hash64(plain.as_bytes())
}

impl Sharing {
    /// Follows the feed and lets beliefs age until `stop`.
    pub async fn follow_until(&self, objects: Objects, stop: CancellationToken) {
        let mut heard = objects.subscribe();
        loop {
            heard.mark_unchanged();
            if let Err(error) = self.believe(&objects).await {
                tracing::error!(error = %runtime::error_chain(&error), "What sources say could not be kept; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                changed = heard.changed() => if changed.is_err() { return },
            }
            // Many small pushes make one look.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }

    /// Acts on all that has come since the last look, and on what has aged.
    ///
    /// # Errors
    /// What database or store say; the place in the feed stays before what was not done.
    pub async fn believe(&self, objects: &Objects) -> Result<(), ShareError> {
        let (_, rules) = self.decay().await?;
        let own = own_collection(objects).await?;
        self.find_voices(objects, &rules, own.number).await?;
        loop {
            let (found, left) = self.find_senders(&rules, own.number).await?;
            self.hear(objects, &rules, own.number, left).await?;
            self.age(&rules).await?;
            self.publish(objects, &own).await?;
            if found > 0 {
                tracing::info!(found, left, "Looked up who sent what is claimed");
            }
            if !left {
                return Ok(());
            }
        }
    }

    /// Acts on what has come; `unsent`: of some claims it is not known yet who sent them.
    async fn hear(
        &self,
        objects: &Objects,
        rules: &Decay,
        own: i64,
        unsent: bool,
    ) -> Result<(), ShareError> {
        loop {
            let after = self.place(MARK).await?;
            let changes = objects.changes(after, CHANGES).await?;
            let Some(last) = changes.last().map(|change| change.seq) else {
                return Ok(());
            };
            let mut tx = self.db().begin().await?;
            let mut touched = BTreeSet::new();
            // Of its own words the house hears only what is held of them.
            let heard = |one: &&Change| one.collection != own || one.kind == "opinion";
            for change in changes.iter().filter(heard) {
                if unsent && change.kind == "indicator" {
                    find_senders_of(&mut tx, own, &change.id, &mut touched).await?;
                }
                heed(&mut tx, own, change, &mut touched).await?;
            }
            for id in touched {
                self.weigh(&mut tx, rules, id).await?;
            }
            keep_place(&mut tx, MARK, last).await?;
            tx.commit().await?;
        }
    }

    /// Reads opinions again that were kept without whose voice they are.
    async fn find_voices(
        &self,
        objects: &Objects,
        rules: &Decay,
        own: i64,
    ) -> Result<(), ShareError> {
        let kept: Option<(i64,)> = sqlx::query_as("SELECT value FROM share_mark WHERE name = $1")
            .bind(VOICES)
            .fetch_optional(self.db().pool())
            .await?;
        let Some((mut after,)) = kept else {
            return Ok(());
        };
        let to = self.place(MARK).await?;
        while after < to {
            let (changes, on) = objects.changes_of("opinion", after, CHANGES).await?;
            let mut tx = self.db().begin().await?;
            let mut touched = BTreeSet::new();
            for change in changes.iter().filter(|change| change.seq <= to) {
                heed(&mut tx, own, change, &mut touched).await?;
            }
            for id in touched {
                self.weigh(&mut tx, rules, id).await?;
            }
            // At the end of the feed it goes no further.
            after = if on == after { to } else { on };
            keep_place(&mut tx, VOICES, after).await?;
            tx.commit().await?;
        }
        let mut tx = self.db().begin().await?;
        sqlx::query("DELETE FROM share_mark WHERE name = $1")
            .bind(VOICES)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Gives claims their senders that were kept without, a step of them: how many objects,
    /// and whether there are more.
    async fn find_senders(&self, rules: &Decay, own: i64) -> Result<(usize, bool), ShareError> {
        let objects: Vec<(String,)> =
            sqlx::query_as("SELECT object FROM share_claim_unsent ORDER BY object LIMIT $1")
                .bind(UNSENT)
                .fetch_all(self.db().pool())
                .await?;
        if objects.is_empty() {
            return Ok((0, false));
        }
        let mut tx = self.db().begin().await?;
        let mut touched = BTreeSet::new();
        for (object,) in &objects {
            find_senders_of(&mut tx, own, object, &mut touched).await?;
        }
        for id in touched {
            self.weigh(&mut tx, rules, id).await?;
        }
        tx.commit().await?;
        let more = i64::try_from(objects.len()).unwrap_or(UNSENT) == UNSENT;
        Ok((objects.len(), more))
    }

    /// Weighs again what is due.
    async fn age(&self, rules: &Decay) -> Result<(), ShareError> {
        loop {
            let now = self.now().micros();
            let due: Vec<(i64,)> = sqlx::query_as(
                "SELECT id FROM share_belief WHERE look_at <= $1 ORDER BY look_at LIMIT $2",
            )
            .bind(now)
            .bind(AGEING_ROWS)
            .fetch_all(self.db().pool())
            .await?;
            if due.is_empty() {
                return Ok(());
            }
            let mut tx = self.db().begin().await?;
            for (id,) in due {
                self.weigh(&mut tx, rules, id).await?;
            }
            tx.commit().await?;
        }
    }

    async fn weigh(&self, tx: &mut Tx, rules: &Decay, id: i64) -> Result<(), ShareError> {
        let rows: Vec<ClaimRow> = sqlx::query_as(SELECT_CLAIMS)
            .bind(id)
            .bind(CLAIMS_MAX)
            .fetch_all(&mut **tx)
            .await?;
        let Some(pattern) = rows.first().map(|row| row.0.clone()) else {
            // What was published of it is taken back, and what was enforced by it.
            sqlx::query("UPDATE share_belief SET confidence = 0, sources = 0, stands = 0, look_at = $2, changed_at = $3, fell = $3, fell_at = $3, waits = CASE WHEN published > 0 THEN 1 ELSE waits END WHERE id = $1 AND (stands = 1 OR sources > 0)")
                .bind(id)
                .bind(i64::MAX)
                .bind(self.now().micros())
                .execute(&mut **tx)
                .await?;
            sqlx::query("UPDATE share_belief SET look_at = $2 WHERE id = $1")
                .bind(id)
                .bind(i64::MAX)
                .execute(&mut **tx)
                .await?;
            return Ok(());
        };
        // What is taken back closes nothing.
        let counts = |row: &&ClaimRow| row.7 == 0;
        let tlp = match rows.iter().filter(counts).map(|row| row.8).max() {
            Some(tlp) => tlp,
            None => rows.iter().map(|row| row.8).max().unwrap_or_default(),
        };
        let all_benign = rows.iter().all(|row| row.7 == BENIGN);
        let claims: Vec<Claim> = rows.into_iter().map(claim_of).collect();
        let now = self.now();
        let disputes = voices_against(tx, id, now).await?;
        let count = usize::try_from(disputes).unwrap_or_default();
        let belief: Belief = rules.belief(kind_of(&pattern), &claims, count, now);
        let before: Option<(i64, i64, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT confidence, sources, stands, disputes, published, fell_at FROM share_belief WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
        if all_benign && before.is_none() {
            // Nobody says anything bad of it.
            return Ok(());
        }
        let sources = i64::try_from(belief.sources).unwrap_or(i64::MAX);
        let confidence = i64::from(belief.confidence);
        let changed = match before {
            None => true,
            Some((was, of, stood, disputed, ..)) => {
                (was - confidence).abs() >= i64::from(rules.published_step)
                    || of != sources
                    || (stood == 1) != belief.stands
                    || disputed != disputes
            }
        };
        // Every look at what is not believed is told: somebody may have named it anew.
        let fell = match belief.stands {
            true => 0,
            false => now.micros(),
        };
        let fell_at = match before {
            Some((_, _, 0, _, _, fell_at)) => fell_at,
            Some((_, _, _, _, _, fell_at)) if belief.stands => fell_at,
            _ => fell,
        };
        if !changed {
            sqlx::query("UPDATE share_belief SET look_at = $2, fell = $3 WHERE id = $1")
                .bind(id)
                .bind(belief.look_at)
                .bind(fell)
                .execute(&mut **tx)
                .await?;
            return Ok(());
        }
        // One source that nobody disputes speaks for itself; what was published stays so.
        let speaks = sources > 1 || (disputes > 0 && sources > 0);
        let published = before.is_some_and(|row| row.4 > 0);
        let wanted = i64::from(speaks || published);
        sqlx::query(
            "INSERT INTO share_belief (id, pattern, confidence, sources, disputes, stands, tlp, look_at, changed_at, published, waits, fell, fell_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12)
             ON CONFLICT (id) DO UPDATE SET confidence = excluded.confidence, sources = excluded.sources, disputes = excluded.disputes,
               stands = excluded.stands, tlp = excluded.tlp, look_at = excluded.look_at, changed_at = excluded.changed_at, waits = excluded.waits,
               fell = excluded.fell, fell_at = excluded.fell_at",
        )
        .bind(id)
        .bind(&pattern)
        .bind(confidence)
        .bind(sources)
        .bind(disputes)
        .bind(i64::from(belief.stands))
        .bind(tlp)
        .bind(belief.look_at)
        .bind(now.micros())
        .bind(wanted)
        .bind(fell)
        .bind(fell_at)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// Publishes what waits for it.
    async fn publish(&self, objects: &Objects, own: &Collection) -> Result<(), ShareError> {
        loop {
            let rows: Vec<(i64, String, i64, i64, i64, i64, i64)> = sqlx::query_as(
                "SELECT id, pattern, confidence, sources, stands, tlp, changed_at FROM share_belief WHERE waits = 1 ORDER BY id LIMIT $1",
            )
            .bind(AGEING_ROWS)
            .fetch_all(self.db().pool())
            .await?;
            if rows.is_empty() {
                return Ok(());
            }
            let made = rows.iter().filter_map(|row| {
                let object = indicator(row);
                match prepare::object(&object.to_string()) {
                    Ok(object) => Some(object),
                    Err(error) => {
                        tracing::warn!(%error, "a belief makes no good indicator");
                        None
                    }
                }
            });
            objects
                .put(own, Source::house("beliefs"), made.collect(), None)
                .await?;
            let mut tx = self.db().begin().await?;
            for row in &rows {
                sqlx::query("UPDATE share_belief SET waits = 0, published = $2 WHERE id = $1 AND changed_at = $2")
                    .bind(row.0)
                    .bind(row.6)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
        }
    }

    /// A page of what is believed of patterns that several sources name or somebody
    /// disputes, the latest change first.
    ///
    /// # Errors
    /// What the database says, also of a wrong cursor.
    pub async fn beliefs(&self, request: &PageRequest) -> Result<Page<Believed>, ShareError> {
        const LIST: &str = "beliefs";
        let (at, id): (i64, i64) = request.after(LIST)?.unwrap_or((i64::MAX, i64::MAX));
        let rows: Vec<BeliefRow> = sqlx::query_as(
            "SELECT id, pattern, confidence, sources, disputes, stands, tlp, changed_at FROM share_belief
             WHERE (sources > 1 OR disputes > 0) AND (changed_at < $1 OR (changed_at = $1 AND id < $2))
             ORDER BY changed_at DESC, id DESC LIMIT $3",
        )
        .bind(at)
        .bind(id)
        .bind(request.fetch())
        .fetch_all(self.db().pool())
        .await?;
        let rows: Vec<Believed> = rows.into_iter().map(believed_of).collect();
        Ok(request.page(LIST, rows, |row| (row.changed_at.micros(), row.id))?)
    }

    /// What is believed of one pattern, with every claim and dispute.
    ///
    /// # Errors
    /// What the database says.
    pub async fn believed(
        &self,
        id: i64,
    ) -> Result<Option<(Believed, Vec<Claim>, Vec<Dispute>)>, ShareError> {
        let row: Option<BeliefRow> = sqlx::query_as(
            "SELECT id, pattern, confidence, sources, disputes, stands, tlp, changed_at FROM share_belief WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.db().pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let claims: Vec<ClaimRow> = sqlx::query_as(SELECT_CLAIMS)
            .bind(id)
            .bind(CLAIMS_MAX)
            .fetch_all(self.db().pool())
            .await?;
        let disputes: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT source, opinion, at FROM share_dispute WHERE object IN (SELECT object FROM share_claim WHERE pattern_hash = $1) ORDER BY at LIMIT $2",
        )
        .bind(id)
        .bind(CLAIMS_MAX)
        .fetch_all(self.db().pool())
        .await?;
        let (good, bad): (Vec<ClaimRow>, Vec<ClaimRow>) =
            claims.into_iter().partition(|row| row.7 == BENIGN);
        let good = good
            .into_iter()
            .map(|row| (row.1, "benign".to_owned(), row.4));
        let disputes = disputes
            .into_iter()
            .chain(good)
            .map(|(source, opinion, at)| Dispute {
                source,
                opinion,
                at,
            })
            .collect();
        let claims = bad.into_iter().map(claim_of).collect();
        Ok(Some((believed_of(row), claims, disputes)))
    }

    /// A place in the feed; 0: the beginning.
    pub(crate) async fn place(&self, name: &str) -> Result<i64, ShareError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT value FROM share_mark WHERE name = $1")
            .bind(name)
            .fetch_optional(self.db().pool())
            .await?;
        Ok(row.map_or(0, |row| row.0))
    }
}

/// How many call a pattern a false positive; see the head of this file for who has a voice.
pub(super) async fn voices_against(
    db: &mut sqlx::AnyConnection,
    pattern: i64,
    now: Timestamp,
) -> Result<i64, ShareError> {
    let voices: Vec<(String,)> = sqlx::query_as(
        "SELECT CASE WHEN d.voice = '' THEN d.source ELSE d.voice END AS voice FROM share_dispute d
           WHERE d.opinion IN ('disagree', 'strongly-disagree') AND d.object IN (SELECT object FROM share_claim WHERE pattern_hash = $1)
         UNION SELECT CASE WHEN c.sender = 'house' THEN c.source ELSE c.sender END FROM share_claim c
           WHERE c.pattern_hash = $1 AND c.revoked = $2 AND (c.until = 0 OR c.until > $3)
             AND (c.sender = 'house' OR NOT EXISTS (SELECT 1 FROM share_claim h WHERE h.object = c.object AND h.sender = 'house' AND h.said_at > c.said_at))
         LIMIT $4",
    )
    .bind(pattern)
    .bind(BENIGN)
    .bind(now.micros())
    .bind(VOICES_MAX)
    .fetch_all(&mut *db)
    .await?;
    let mut voices: Vec<String> = voices.into_iter().map(|row| row.0).collect();
    if voices.iter().any(|voice| voice.starts_with("peer:")) {
        let mute: Vec<(i64,)> = sqlx::query_as("SELECT via FROM share_peer_trust WHERE trust = 0")
            .fetch_all(&mut *db)
            .await?;
        for (via,) in mute {
            let mute = Origin::Peer(Via::from_number(via)).to_string();
            voices.retain(|voice| *voice != mute);
        }
    }
    Ok(i64::try_from(voices.len()).unwrap_or(VOICES_MAX))
}

/// Keeps a place in the feed.
pub(crate) async fn keep_place(tx: &mut Tx, name: &str, value: i64) -> Result<(), ShareError> {
    sqlx::query("INSERT INTO share_mark (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Pattern, author, object, confidence, said, seen, until, revoked, marking, sender.
pub(super) type ClaimRow = (String, String, String, i64, i64, i64, i64, i64, i64, String);
type BeliefRow = (i64, String, i64, i64, i64, i64, i64, i64);

/// Claims on a pattern, the surest first: of more than are counted, those are left out that
/// say least, so that nobody buries another's word under many of their own. What this house
/// said of an object since replaces it.
pub(super) const SELECT_CLAIMS: &str = "SELECT c.pattern, c.source, c.object, c.confidence, c.said_at, c.seen_at, c.until,
  CASE WHEN c.sender <> 'house' AND EXISTS (SELECT 1 FROM share_claim h WHERE h.object = c.object AND h.sender = 'house' AND h.said_at > c.said_at) THEN 1 ELSE c.revoked END AS gone,
  c.tlp, c.sender FROM share_claim c WHERE c.pattern_hash = $1
  ORDER BY gone, CASE WHEN c.confidence < 0 THEN 50 ELSE c.confidence END DESC, c.object, c.sender LIMIT $2";

pub(super) fn claim_of(row: ClaimRow) -> Claim {
    Claim {
        source: row.1,
        sender: row.9,
        object: row.2,
        confidence: u8::try_from(row.3).ok(),
        said_at: row.4,
        seen_at: row.5,
        until: (row.6 > 0).then_some(row.6),
        revoked: row.7 != 0,
    }
}

fn believed_of(row: BeliefRow) -> Believed {
    Believed {
        id: row.0,
        pattern: row.1,
        confidence: u8::try_from(row.2).unwrap_or_default(),
        sources: row.3,
        disputes: row.4,
        stands: row.5 == 1,
        tlp: Tlp::from_number(row.6),
        changed_at: Timestamp(row.7),
    }
}

/// Names the house's own word on a pattern.
pub(super) fn own_word_on(pattern: &str) -> String {
    let id = import::named(&format!("belief {pattern}"));
    format!("indicator--{id}")
}

/// The house's own word on a pattern.
fn indicator(row: &(i64, String, i64, i64, i64, i64, i64)) -> Value {
    let (_, pattern, confidence, sources, stands, tlp, changed_at) = row;
    // STIX counts in milliseconds where it can.
    let at = time::format(changed_at - changed_at.rem_euclid(1_000));
    let mut object = json!({
        "type": "indicator", "spec_version": "2.1", "id": own_word_on(pattern),
        "created": "2026-01-01T00:00:00.000Z", "modified": at, "valid_from": "2026-01-01T00:00:00.000Z",
        "pattern": pattern, "pattern_type": "stix", "confidence": confidence,
        "name": pattern.chars().take(200).collect::<String>(),
        "labels": [format!("civicnet-sources:{sources}")],
        "object_marking_refs": [Tlp::from_number(*tlp).marking()],
    });
    if *stands == 0 {
        object["revoked"] = true.into();
    }
    object
}

/// The collection of beliefs, made when it is not there.
async fn own_collection(objects: &Objects) -> Result<Collection, ShareError> {
    match objects.collection(ROOT, ALIAS).await {
        Err(ObjectsError::NotFound { .. }) => {}
        other => return Ok(other?),
    }
    let made = objects
        .create_collection(
            "綜合研判 Combined beliefs",
            "多個來源共同指出的指標,信心值依規則合併 Indicators that several sources name, their confidence combined by rule",
            Some(ALIAS),
            &[],
            &Source::house("beliefs"),
        )
        .await?;
    Ok(made)
}

/// Keeps what one step of the feed says; patterns that it touches go to `touched`.
async fn heed(
    tx: &mut Tx,
    own: i64,
    change: &Change,
    touched: &mut BTreeSet<i64>,
) -> Result<(), ShareError> {
    match (&change.what, change.kind.as_str()) {
        (What::Gone, "indicator") => from_store(tx, own, &change.id, touched).await,
        (
            What::Added {
                json, tlp, origin, ..
            },
            "indicator",
        ) => {
            let word = Word {
                seq: change.seq,
                origin: *origin,
                tlp: *tlp,
                json,
            };
            claimed(tx, &change.id, &word, touched).await
        }
        // What is sent again is another's claim, but the same sighting and the same opinion.
        (What::Added { again: true, .. }, _) => Ok(()),
        (What::Added { json, .. }, "sighting") => seen(tx, json, touched).await,
        (What::Added { json, origin, .. }, "opinion") => {
            disputed(tx, own, json, *origin, touched).await
        }
        _ => Ok(()),
    }
}

/// The source of what names `author` and came from `sender`; none: from this house.
pub(super) fn said_by(author: Option<&str>, sender: Option<&str>) -> String {
    match (author, sender) {
        (Some(author), _) => author.chars().take(60).collect(),
        (None, Some(sender)) => sender.to_owned(),
        (None, None) => HOUSE.to_owned(),
    }
}

fn moment(value: &Value) -> Option<i64> {
    time::parse(value.as_str()?)
}

/// It says of what it names that it is good (`indicator-type-ov`), and nothing else.
fn is_benign(object: &Value) -> bool {
    let types = object["indicator_types"].as_array();
    types.is_some_and(|types| !types.is_empty() && types.iter().all(|one| one == "benign"))
}

/// One sender's word on an object.
struct Word<'a> {
    seq: i64,
    origin: Origin,
    tlp: Tlp,
    json: &'a str,
}

/// Keeps what a sender says of the object `id`: in place of what it said before.
async fn claimed(
    tx: &mut Tx,
    id: &str,
    word: &Word<'_>,
    touched: &mut BTreeSet<i64>,
) -> Result<(), ShareError> {
    let object: Value = serde_json::from_str(word.json).unwrap_or_default();
    let sender = word.origin.to_string();
    let said_at = moment(&object["modified"]).unwrap_or(word.seq);
    // An object that changed its mind is no longer a claim on what it said before.
    let before: Option<(i64, i64)> = sqlx::query_as(
        "SELECT pattern_hash, said_at FROM share_claim WHERE object = $1 AND sender = $2",
    )
    .bind(id)
    .bind(&sender)
    .fetch_optional(&mut **tx)
    .await?;
    if before.is_some_and(|(_, at)| at > said_at) {
        return Ok(());
    }
    touched.extend(before.map(|(before, _)| before));
    if word.origin == Origin::House {
        // It replaces what others said, whatever that was about.
        touched.extend(patterns_of(tx, id).await?.into_iter().map(|row| row.0));
    }
    let pattern = object["pattern"].as_str().filter(|text| {
        object["pattern_type"] == "stix" && text.chars().count() <= PATTERN_CHARS_MAX
    });
    let Some(pattern) = pattern else {
        if before.is_some() {
            sqlx::query("DELETE FROM share_claim WHERE object = $1 AND sender = $2")
                .bind(id)
                .bind(&sender)
                .execute(&mut **tx)
                .await?;
        }
        return Ok(());
    };
    let hash = hash_of(pattern);
    touched.insert(hash);
    let author = object["created_by_ref"].as_str();
    sqlx::query(
        "INSERT INTO share_claim (object, sender, source, pattern_hash, pattern, confidence, said_at, seen_at, until, revoked, tlp)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10)
         ON CONFLICT (object, sender) DO UPDATE SET source = excluded.source, pattern_hash = excluded.pattern_hash, pattern = excluded.pattern,
           confidence = excluded.confidence, said_at = excluded.said_at, until = excluded.until, revoked = excluded.revoked, tlp = excluded.tlp",
    )
    .bind(id)
    .bind(&sender)
    .bind(said_by(author, Some(&sender)))
    .bind(hash)
    .bind(pattern)
    .bind(object["confidence"].as_i64().filter(|value| (0..=100).contains(value)).unwrap_or(-1))
    .bind(said_at)
    .bind(moment(&object["valid_until"]).unwrap_or(0))
    .bind(match object["revoked"] == Value::Bool(true) {
        true => 1,
        false if is_benign(&object) => BENIGN,
        false => 0,
    })
    .bind(i64::from(word.tlp as u8))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Reads anew what everybody says of the object `id` who still says something of it.
async fn from_store(
    tx: &mut Tx,
    own: i64,
    id: &str,
    touched: &mut BTreeSet<i64>,
) -> Result<(), ShareError> {
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("SELECT pattern_hash, seen_at FROM share_claim WHERE object = $1")
            .bind(id)
            .fetch_all(&mut **tx)
            .await?;
    let seen_at = rows.iter().map(|row| row.1).max().unwrap_or(0);
    touched.extend(rows.into_iter().map(|row| row.0));
    sqlx::query("DELETE FROM share_claim WHERE object = $1")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    for word in senders::words(tx, id, Some(own)).await? {
        let word = Word {
            seq: word.seq,
            origin: word.origin,
            tlp: word.tlp,
            json: &word.json,
        };
        claimed(tx, id, &word, touched).await?;
    }
    if seen_at > 0 {
        sqlx::query("UPDATE share_claim SET seen_at = $2 WHERE object = $1")
            .bind(id)
            .bind(seen_at)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Gives the claims by the object `id` their senders, if they were kept without.
async fn find_senders_of(
    tx: &mut Tx,
    own: i64,
    id: &str,
    touched: &mut BTreeSet<i64>,
) -> Result<(), ShareError> {
    let done = sqlx::query("DELETE FROM share_claim_unsent WHERE object = $1")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    from_store(tx, own, id, touched).await
}

/// Whether it is not known yet who sent a claim.
pub(super) fn is_unknown(sender: &str) -> bool {
    sender.starts_with(UNKNOWN)
}

async fn patterns_of(tx: &mut Tx, object: &str) -> Result<Vec<(i64,)>, ShareError> {
    Ok(
        sqlx::query_as("SELECT DISTINCT pattern_hash FROM share_claim WHERE object = $1")
            .bind(object)
            .fetch_all(&mut **tx)
            .await?,
    )
}

async fn seen(tx: &mut Tx, text: &str, touched: &mut BTreeSet<i64>) -> Result<(), ShareError> {
    let object: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(of) = object["sighting_of_ref"].as_str() else {
        return Ok(());
    };
    // A count of nought says that it was looked for and not seen.
    if object["count"].as_i64() == Some(0) || object["revoked"] == Value::Bool(true) {
        return Ok(());
    }
    let at = moment(&object["last_seen"])
        .or_else(|| moment(&object["first_seen"]))
        .or_else(|| moment(&object["modified"]))
        .unwrap_or_default();
    sqlx::query("UPDATE share_claim SET seen_at = $2 WHERE object = $1 AND seen_at < $2")
        .bind(of)
        .bind(at)
        .execute(&mut **tx)
        .await?;
    touched.extend(patterns_of(tx, of).await?.into_iter().map(|row| row.0));
    Ok(())
}

/// The indicator that an opinion on `object` is about: of the house's own word, one of those on
/// which it stands.
async fn meant(tx: &mut Tx, own: i64, object: &str) -> Result<String, ShareError> {
    let words: Vec<(String, String)> = sqlx::query_as(
        "SELECT id, json FROM isac_object WHERE id_hash = $1 AND collection = $2 ORDER BY seq DESC",
    )
    .bind(hash64(object.as_bytes()))
    .bind(own)
    .fetch_all(&mut **tx)
    .await?;
    let Some((_, word)) = words.into_iter().find(|(id, _)| id == object) else {
        return Ok(object.to_owned());
    };
    let word: Value = serde_json::from_str(&word).unwrap_or_default();
    let pattern = word["pattern"].as_str().unwrap_or_default();
    let claim: Option<(String,)> = sqlx::query_as(
        "SELECT object FROM share_claim WHERE pattern_hash = $1 ORDER BY object LIMIT 1",
    )
    .bind(hash_of(pattern))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(claim.map_or_else(|| object.to_owned(), |(claim,)| claim))
}

async fn disputed(
    tx: &mut Tx,
    own: i64,
    text: &str,
    origin: Origin,
    touched: &mut BTreeSet<i64>,
) -> Result<(), ShareError> {
    let object: Value = serde_json::from_str(text).unwrap_or_default();
    let sender = origin.to_string();
    let author = said_by(object["created_by_ref"].as_str(), Some(&sender));
    // Whose word is changed by this one, and as whose voice it counts.
    let (source, voice) = match origin {
        Origin::Organisation(_) => (sender.clone(), sender),
        Origin::Peer(_) => (author, sender),
        Origin::House => (author.clone(), author),
    };
    let opinion = match object["revoked"] == Value::Bool(true) {
        true => "neutral",
        false => object["opinion"].as_str().unwrap_or("neutral"),
    };
    let at = moment(&object["modified"]).unwrap_or_default();
    let refs = object["object_refs"].as_array();
    for of in refs.into_iter().flatten().filter_map(Value::as_str) {
        if !of.starts_with("indicator--") {
            continue;
        }
        let of = meant(tx, own, of).await?;
        sqlx::query(
            "INSERT INTO share_dispute (object, voice, source, opinion, at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (object, voice, source) DO UPDATE SET opinion = excluded.opinion, at = excluded.at WHERE share_dispute.at <= excluded.at",
        )
        .bind(&of)
        .bind(&voice)
        .bind(&source)
        .bind(opinion)
        .bind(at)
        .execute(&mut **tx)
        .await?;
        // As it was kept before voices were.
        sqlx::query("DELETE FROM share_dispute WHERE object = $1 AND voice = '' AND source = $2")
            .bind(&of)
            .bind(&source)
            .execute(&mut **tx)
            .await?;
        touched.extend(patterns_of(tx, &of).await?.into_iter().map(|row| row.0));
    }
    Ok(())
}
