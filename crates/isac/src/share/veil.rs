//! What a reader is not shown does not show by what others say about it, and what is meant
//! for some is shown to these alone.
//!
//! - An object that refers to a hidden one is shown without the reference; a relationship,
//!   a sighting, a note, a translation that is about hidden ones alone is hidden with them.
//! - An alert of this house is shown to those members whom it was sent to, as everywhere.
//! - The reply to an alert is shown to its sender and to whoever sent the alert.
//! - Who keeps a word of its own beside another's ([`crate::objects::place::ASIDE`]) reads its own.
//!
//! For one page all of that is looked up together: which of the ids that the page names are
//! there, and of those in reach, the latest version. Ids that are not there are left alone:
//! much refers to what is published elsewhere.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use base::OrgId;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::lens::{Lens, Seen};
use super::policy::{Names, Tier};
use super::{ShareError, Sharing};
use crate::kinds;
use crate::objects::{Origin, hash64, place};
use crate::stix::{Tlp, check, json as reader};

/// Ids looked up by one statement.
const TOGETHER: usize = 200;
/// References that are looked up for one page; what is beyond counts as hidden.
const REFERENCES_MAX: usize = 50_000;

/// What of the store somebody could see, were it not for policy and references.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    /// Of each of these collections, by number, what is marked up to that.
    Collections(Vec<(i64, Tlp)>),
    /// Of every collection.
    Everywhere(Tlp),
}

impl Reach {
    fn holds(&self, collection: i64, place: i64) -> bool {
        let within = |most: Tlp| place::up_to(most).contains(&place::band(place));
        match self {
            Self::Collections(all) => all
                .iter()
                .any(|(number, most)| *number == collection && within(*most)),
            Self::Everywhere(most) => within(*most),
        }
    }

    fn reads(&self, collection: i64) -> bool {
        match self {
            Self::Collections(all) => all.iter().any(|(number, _)| *number == collection),
            Self::Everywhere(_) => true,
        }
    }
}

/// Somebody who does not run the house.
#[derive(Debug, Clone)]
pub(crate) struct Onlooker {
    /// Whose words are shown as they were sent.
    pub(crate) own: Vec<OrgId>,
    /// What they could see.
    pub(crate) reach: Reach,
}

/// A version of an object that somebody looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word<'a> {
    pub(crate) collection: i64,
    pub(crate) id: &'a str,
    pub(crate) source: Option<OrgId>,
    /// Whether another house sent it.
    pub(crate) fetched: bool,
    pub(crate) json: &'a str,
}

/// What is hidden of what a page names.
#[derive(Debug, Default)]
pub(crate) struct Veil {
    own: Vec<OrgId>,
    hidden: HashSet<String>,
    /// Alerts for others.
    untold: HashSet<String>,
    /// Reports that came from the reader.
    theirs: HashSet<String>,
    /// Ids, with collections, under which the reader keeps a word of its own.
    aside: HashSet<(i64, String)>,
}

/// What is there under an id.
struct There {
    seq: i64,
    collection: i64,
    place: i64,
    source: String,
    id: String,
}

impl Sharing {
    /// What `who`, looking through `lens`, is not shown of what `words` name.
    ///
    /// # Errors
    /// When the database cannot be read: then nothing is shown.
    pub(crate) async fn veil(
        &self,
        lens: &Lens,
        who: &Onlooker,
        words: &[Word<'_>],
    ) -> Result<Veil, ShareError> {
        let mut veil = Veil {
            own: who.own.clone(),
            ..Veil::default()
        };
        let others = words.iter().filter(|word| !veil.is_own(word.source));
        let mut named: HashSet<String> = HashSet::new();
        let (mut reports, mut ids): (HashSet<String>, Vec<&str>) = (HashSet::new(), Vec::new());
        for word in others {
            ids.push(word.id);
            if word.id.starts_with("report--") {
                reports.insert(word.id.to_owned());
            }
            named.extend(references(lens, word.json));
        }
        if !who.own.is_empty() {
            for there in self.there(&ids).await? {
                if place::is_aside(there.place) && veil.is_own(there.source.parse().ok()) {
                    veil.aside.insert((there.collection, there.id));
                }
            }
        }
        // What is named by what is named decides about relationships and the like; no deeper.
        let mut seen = self.named(lens, who, named, &mut veil).await?;
        let mut deeper: HashSet<String> = HashSet::new();
        for (_, json, _) in &seen {
            deeper.extend(references(lens, json));
        }
        deeper.retain(|id| !veil.hidden.contains(id));
        let below = self.named(lens, who, deeper, &mut veil).await?;
        reports.extend(
            seen.iter()
                .chain(&below)
                .map(|(id, ..)| id)
                .filter(|id| id.starts_with("report--"))
                .cloned(),
        );
        self.untold(lens, who, &reports, &mut veil).await?;
        seen.retain(|(id, json, own)| {
            let word = Word {
                collection: 0,
                id,
                source: None,
                fetched: false,
                json,
            };
            !own && (veil.untold.contains(id) || veil.strip(lens, &word).is_none())
        });
        veil.hidden.extend(seen.into_iter().map(|(id, ..)| id));
        Ok(veil)
    }

    /// Looks up `ids`: hides in `veil` what is there and not shown, and returns the text of
    /// the rest, with whether it is the reader's own.
    async fn named(
        &self,
        lens: &Lens,
        who: &Onlooker,
        mut ids: HashSet<String>,
        veil: &mut Veil,
    ) -> Result<Vec<(String, String, bool)>, ShareError> {
        if ids.len() > REFERENCES_MAX {
            let beyond: HashSet<String> = ids.iter().skip(REFERENCES_MAX).cloned().collect();
            ids.retain(|id| !beyond.contains(id));
            veil.hidden.extend(beyond);
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut best: HashMap<String, (i64, bool)> = HashMap::new();
        let mut closed: HashSet<String> = HashSet::new();
        for there in self.there(&ids).await? {
            let own = veil.is_own(there.source.parse().ok()) && who.reach.reads(there.collection);
            if there.id.starts_with("report--") {
                let theirs = match Origin::from_column(&there.source) {
                    Origin::Peer(via) => lens.there == Some(via),
                    Origin::Organisation(org) => veil.own.contains(&org),
                    Origin::House => false,
                };
                if theirs {
                    veil.theirs.insert(there.id.clone());
                }
            }
            if !own && !who.reach.holds(there.collection, there.place) {
                closed.insert(there.id);
                continue;
            }
            let better = best
                .get(&there.id)
                .is_none_or(|(seq, was)| (own, there.seq) > (*was, *seq));
            if better {
                best.insert(there.id, (there.seq, own));
            }
        }
        closed.retain(|id| !best.contains_key(id));
        veil.hidden.extend(closed);
        let mut seqs: Vec<i64> = best.values().map(|(seq, _)| *seq).collect();
        seqs.sort_unstable();
        let mut shown = Vec::with_capacity(seqs.len());
        for some in seqs.chunks(TOGETHER) {
            let list: Vec<String> = some.iter().map(i64::to_string).collect();
            let sql = format!(
                "SELECT id, source, json FROM isac_object WHERE seq IN ({})",
                list.join(",")
            );
            let rows: Vec<(String, String, String)> = sqlx::query_as(AssertSqlSafe(sql))
                .persistent(false)
                .fetch_all(self.db().pool())
                .await?;
            for (id, source, json) in rows {
                let source = source.parse().ok();
                let own = veil.is_own(source);
                match own || lens.goes(&json, source) {
                    true => shown.push((id, json, own)),
                    false => drop(veil.hidden.insert(id)),
                }
            }
        }
        Ok(shown)
    }

    /// Everything that is there under `ids`.
    async fn there(&self, ids: &[&str]) -> Result<Vec<There>, ShareError> {
        let mut hashes: Vec<i64> = ids.iter().map(|id| hash64(id.as_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let wanted: HashSet<&str> = ids.iter().copied().collect();
        let mut found = Vec::new();
        for some in hashes.chunks(TOGETHER) {
            let list: Vec<String> = some.iter().map(i64::to_string).collect();
            let sql = format!(
                "SELECT seq, collection, place, source, id FROM isac_object WHERE id_hash IN ({})",
                list.join(",")
            );
            let rows: Vec<(i64, i64, i64, String, String)> = sqlx::query_as(AssertSqlSafe(sql))
                .persistent(false)
                .fetch_all(self.db().pool())
                .await?;
            let rows = rows.into_iter().map(|row| There {
                seq: row.0,
                collection: row.1,
                place: row.2,
                source: row.3,
                id: row.4,
            });
            found.extend(rows.filter(|row| wanted.contains(row.id.as_str())));
        }
        Ok(found)
    }

    /// Of `reports`, those that are alerts of this house which were not sent to the reader.
    /// Houses that read here are told by the policy.
    async fn untold(
        &self,
        lens: &Lens,
        who: &Onlooker,
        reports: &HashSet<String>,
        veil: &mut Veil,
    ) -> Result<(), ShareError> {
        if lens.tier != Tier::Member || reports.is_empty() {
            return Ok(());
        }
        let reports: Vec<&String> = reports.iter().collect();
        for some in reports.chunks(TOGETHER) {
            let marks: Vec<String> = (1..=some.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT object, case_id FROM share_report WHERE object IN ({})",
                marks.join(",")
            );
            let mut query = sqlx::query_as::<_, (String, String)>(AssertSqlSafe(sql));
            for id in some {
                query = query.bind(id.as_str());
            }
            let alerts = query.fetch_all(self.db().pool()).await?;
            if alerts.is_empty() {
                continue;
            }
            let marks: Vec<String> = (1..=alerts.len()).map(|n| format!("${n}")).collect();
            let own: Vec<String> = who.own.iter().map(|org| format!("'{org}'")).collect();
            let sent = match own.is_empty() {
                true => "1 = 0".to_owned(),
                false => format!(
                    "EXISTS (SELECT 1 FROM isac_recipient r WHERE r.alert = a.case_id AND r.org IN ({}))",
                    own.join(",")
                ),
            };
            let sql = format!(
                "SELECT case_id FROM isac_alert a WHERE case_id IN ({}) AND ({sent} OR (a.public = 1 AND a.tlp = 'clear' AND a.retracted_at IS NULL))",
                marks.join(",")
            );
            let mut query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql));
            for (_, case) in &alerts {
                query = query.bind(case);
            }
            let told = query.fetch_all(self.db().pool()).await?;
            let others = alerts.into_iter().filter(|(_, case)| !told.contains(case));
            veil.untold.extend(others.map(|(object, _)| object));
        }
        Ok(())
    }
}

impl Veil {
    fn is_own(&self, source: Option<OrgId>) -> bool {
        source.is_some_and(|org| self.own.contains(&org))
    }

    /// What `lens` shows of `word`.
    pub(crate) fn look<'a>(&self, lens: &Lens, word: &Word<'a>) -> Seen<'a> {
        if self.is_own(word.source) {
            return Seen::Whole(Cow::Borrowed(word.json));
        }
        let stays = |why: &str| Seen::Withheld {
            rule: None,
            why: why.to_owned(),
        };
        if self.aside.contains(&(word.collection, word.id.to_owned())) {
            return stays("the reader says something else under this id");
        }
        if self.untold.contains(word.id) {
            return stays("the alert was sent to others");
        }
        match self.strip(lens, word) {
            None => stays("what it is about is not shown"),
            Some(Cow::Borrowed(text)) => lens.look(text, word.source),
            Some(Cow::Owned(text)) => match lens.look(&text, word.source) {
                Seen::Whole(text) => Seen::Whole(Cow::Owned(text.into_owned())),
                Seen::Withheld { rule, why } => Seen::Withheld { rule, why },
            },
        }
    }

    /// The text without references to what is hidden; none when nothing is left to say.
    fn strip<'a>(&self, lens: &Lens, word: &Word<'a>) -> Option<Cow<'a, str>> {
        let hidden = |id: &str| self.hidden.contains(id) || self.untold.contains(id);
        let kind = word.id.split("--").next().unwrap_or_default();
        if matches!(kind, "note" | "opinion")
            && (word.source.is_some() || word.fetched)
            && reader::parse(word.json.as_bytes()).is_ok_and(|node| kinds::is_feedback(&node))
            && !references(lens, word.json)
                .iter()
                .any(|id| self.theirs.contains(id))
        {
            return None;
        }
        if !references(lens, word.json).iter().any(|id| hidden(id)) {
            return Some(Cow::Borrowed(word.json));
        }
        let Ok(Value::Object(mut object)) = serde_json::from_str(word.json) else {
            return None;
        };
        let mut gone = Vec::new();
        for (name, value) in &mut object {
            if !is_followed(name) {
                continue;
            }
            match value {
                Value::String(id) if hidden(id) => gone.push(name.clone()),
                Value::Array(list) => {
                    let before = list.len();
                    list.retain(|id| !id.as_str().is_some_and(hidden));
                    if list.len() < before && list.is_empty() {
                        gone.push(name.clone());
                    }
                }
                _ => {}
            }
        }
        if gone.iter().any(|name| is_essential(name)) {
            return None;
        }
        for name in gone {
            object.remove(&name);
        }
        let text = Value::Object(object).to_string();
        let good = reader::parse(text.as_bytes()).is_ok_and(|node| check(&node).is_ok());
        good.then_some(Cow::Owned(text))
    }
}

/// Without which an object says nothing.
fn is_essential(name: &str) -> bool {
    matches!(
        name,
        "source_ref" | "target_ref" | "sighting_of_ref" | "object_ref" | "object_refs"
    )
}

/// Markings have rules of their own.
fn is_followed(name: &str) -> bool {
    (name.ends_with("_ref") || name.ends_with("_refs")) && name != "object_marking_refs"
}

/// The ids that an object names, but for identities that become pseudonyms.
fn references(lens: &Lens, text: &str) -> Vec<String> {
    let names_stay = lens.policy.names(lens.tier) == Names::Keep;
    if !may_refer(text, names_stay) {
        return Vec::new();
    }
    let Ok(node) = reader::parse(text.as_bytes()) else {
        return Vec::new();
    };
    let mut ids = Vec::new();
    let mut add = |id: &str| {
        if names_stay || !id.starts_with("identity--") {
            ids.push(id.to_owned());
        }
    };
    for (name, value) in node.map().unwrap_or_default() {
        if !is_followed(name) {
            continue;
        }
        match (value.text(), value.list()) {
            (Some(id), _) => add(id),
            (None, Some(list)) => list
                .iter()
                .filter_map(reader::Node::text)
                .for_each(&mut add),
            _ => {}
        }
    }
    ids
}

/// A quick look, because most objects name nothing but their author and their marking.
fn may_refer(text: &str, names_stay: bool) -> bool {
    // A name may be written with escapes.
    text.contains("\\u")
        || text.match_indices("_ref").any(|(at, _)| {
            let before = &text.as_bytes()[..at];
            !before.ends_with(b"marking") && (names_stay || !before.ends_with(b"created_by"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_objects_are_told_from_those_that_refer_at_a_glance() {
        let plain = r#"{"created_by_ref":"identity--1","object_marking_refs":[],"granular_markings":[{"marking_ref":"m"}]}"#;
        assert!(!may_refer(plain, false) && may_refer(plain, true));
        for text in [
            r#"{"object_refs":[]}"#,
            r#"{"target_ref":"a"}"#,
            r#"{"target\u005fref":"a"}"#,
        ] {
            assert!(may_refer(text, false), "{text}");
        }
        assert!(is_followed("object_refs") && !is_followed("object_marking_refs"));
    }
}
