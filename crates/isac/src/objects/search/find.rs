//! Questions: the lists of all clauses walked together from the newest number down, and
//! what they propose looked at in the table, where it is decided who sees it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use base::OrgId;
use base::enforcement::Target;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::{postings, rare, terms};
use crate::enforce::covering;
use crate::objects::read::own_sql;
use crate::objects::{Collection, Objects, ObjectsError, Prepared, hash64, place};
use crate::stix::Tlp;

/// Rows of one page at most.
pub const HITS_MAX: usize = 1_000;
/// Characters of a question.
pub const TEXT_CHARS_MAX: usize = 200;
/// Words of a question.
const CLAUSES_MAX: usize = 24;
/// Blocks read for one page; beyond, the page ends and says where to go on.
const BLOCKS_MAX: usize = 20_000;
/// Blocks read at once.
const BLOCKS_TOGETHER: i64 = 64;
/// Proposals looked at together.
const PROPOSALS: usize = 64;
/// Proposals looked at for one page that turn out to be none.
const LOOKS_MAX: usize = 40;

/// How those who do not run the house are shown what others said: without what the sharing
/// policy keeps back, and without names.
#[async_trait]
pub trait Glass: Send + Sync + std::fmt::Debug {
    /// What is shown of these, in their order; what is kept back is not there.
    async fn shown(&self, hits: Vec<Hit>) -> Result<Vec<Hit>, ObjectsError>;

    /// Organisations whose own words they see, whatever the marking.
    fn own(&self) -> &[OrgId] {
        &[]
    }
}

/// A collection that somebody may read, and up to which marking.
#[derive(Debug, Clone)]
pub struct See {
    /// The collection.
    pub collection: Collection,
    /// The most closed marking that they see.
    pub clearance: Tlp,
    /// Through what they look; none: they see what is stored.
    pub glass: Option<Arc<dyn Glass>>,
}

impl See {
    /// Those who run the house see what is confidential, too.
    fn is_staff(&self) -> bool {
        self.glass.is_none() && self.clearance == Tlp::Red
    }

    fn own(&self) -> &[OrgId] {
        self.glass.as_deref().map_or(&[], Glass::own)
    }

    async fn shown(&self, hits: Vec<Hit>) -> Result<Vec<Hit>, ObjectsError> {
        match &self.glass {
            Some(glass) if !hits.is_empty() => glass.shown(hits).await,
            _ => Ok(hits),
        }
    }
}

/// What is looked for; empty parts want everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Words, values, names.
    pub text: String,
    /// One of these types.
    pub kinds: Vec<String>,
    /// Exactly this marking.
    pub tlp: Option<Tlp>,
    /// From this organisation; `Some(None)`: the house. Ask only for those whose
    /// names the reader may know.
    pub source: Option<Option<OrgId>>,
    /// A stated confidence of at least this; one of [`terms::CONFIDENCES`].
    pub confidence: Option<u8>,
    /// About a value of this kind (`address`, `domain`, …).
    pub value: Option<String>,
    /// Refers to this object.
    pub refers_to: Option<String>,
    /// Added at or after this time, in microseconds.
    pub from: Option<i64>,
}

/// A version of an object that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its number: when it was added, in microseconds.
    pub seq: i64,
    /// The collection's number.
    pub collection: i64,
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// Its most closed marking.
    pub tlp: Tlp,
    /// Its version in microseconds.
    pub version: i64,
    /// Whether it is the latest version there.
    pub latest: bool,
    /// The organisation that it came from; `None`: the house.
    pub source: Option<OrgId>,
    /// The object as it was received.
    pub json: String,
}

impl Hit {
    /// The object's members; null for what is damaged.
    pub fn object(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// A page of what was found, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The objects.
    pub hits: Vec<Hit>,
    /// Go on before this number; `None`: that was all.
    pub next: Option<i64>,
}

/// The clauses of a question: of each, one term must be there. And texts that must stand
/// in the object as they are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Clauses {
    any: Vec<Vec<String>>,
    phrases: Vec<String>,
}

impl Query {
    fn clauses(&self) -> Clauses {
        let mut out = Clauses::default();
        for chunk in self.text.split_whitespace() {
            let folded = terms::fold(chunk);
            if let Ok(target) = chunk.parse::<Target>() {
                let mut any: Vec<String> = covering(&target)
                    .into_iter()
                    .map(|text| format!("v:{text}"))
                    .collect();
                if let Target::Domain { name, .. } = &target {
                    any.push(format!("d:{name}"));
                }
                out.any.push(any);
                continue;
            }
            if folded.contains("--") && !folded.starts_with("--") {
                out.any
                    .push(vec![format!("i:{folded}"), format!("r:{folded}")]);
                continue;
            }
            let words = terms::words(&folded);
            if words.len() > 1 || words.first().is_some_and(|word| *word != folded) {
                out.phrases.push(folded);
            }
            out.any
                .extend(words.into_iter().map(|word| vec![format!("w:{word}")]));
        }
        out.any.truncate(CLAUSES_MAX);
        if !out.any.is_empty() || self.needs_lists() {
            let facet = |name: &str, value: &str| vec![format!("f:{name}={value}")];
            if !self.kinds.is_empty() {
                let kinds = self.kinds.iter().map(|kind| format!("f:type={kind}"));
                out.any.push(kinds.collect());
            }
            if let Some(source) = &self.source {
                let source = source.map(|org| org.to_string()).unwrap_or_default();
                out.any.push(facet("source", &source));
            }
            if let Some(confidence) = self.confidence {
                out.any.push(facet("confidence", &confidence.to_string()));
            }
            if let Some(value) = &self.value {
                out.any.push(facet("value", value));
            }
            if let Some(id) = &self.refers_to {
                out.any.push(vec![format!("r:{id}")]);
            }
        }
        out
    }

    fn needs_lists(&self) -> bool {
        self.source.is_some()
            || self.confidence.is_some()
            || self.value.is_some()
            || self.refers_to.is_some()
    }

    /// Whether a question has words that can be looked for.
    pub fn is_answerable(&self) -> bool {
        self.text.trim().is_empty() || !self.clauses().any.is_empty()
    }
}

/// A list walked from its end.
struct List {
    key: i64,
    /// Numbers that lie among those of other terms, ascending.
    rare: Vec<i64>,
    /// Blocks that were read and not used up, the newest first.
    blocks: VecDeque<Vec<i64>>,
    /// Blocks before this number are not read yet; `None`: all are.
    rest: Option<i64>,
}

struct Walk<'a> {
    objects: &'a Objects,
    read: usize,
}

impl Walk<'_> {
    /// The greatest number of a list that is not above `at`.
    async fn seek(&mut self, list: &mut List, at: i64) -> Result<Option<i64>, ObjectsError> {
        let keep = list.rare.partition_point(|number| *number <= at);
        list.rare.truncate(keep);
        let rare = list.rare.last().copied();
        if rare == Some(at) {
            return Ok(rare);
        }
        Ok(rare.max(self.seek_blocks(list, at).await?))
    }

    async fn seek_blocks(&mut self, list: &mut List, at: i64) -> Result<Option<i64>, ObjectsError> {
        loop {
            while let Some(block) = list.blocks.front_mut() {
                let keep = block.partition_point(|number| *number <= at);
                block.truncate(keep);
                match block.last() {
                    Some(last) => return Ok(Some(*last)),
                    None => drop(list.blocks.pop_front()),
                }
            }
            let Some(before) = list.rest else {
                return Ok(None);
            };
            let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
                "SELECT first, block FROM isac_posting WHERE term = $1 AND first < $2 ORDER BY first DESC LIMIT $3",
            )
            .bind(list.key)
            .bind(before.min(at.saturating_add(1)))
            .bind(BLOCKS_TOGETHER)
            .fetch_all(self.objects.db().pool())
            .await?;
            self.read += rows.len().max(1);
            list.rest = rows
                .last()
                .map(|row| row.0)
                .filter(|_| rows.len() as i64 == BLOCKS_TOGETHER);
            list.blocks.extend(
                rows.iter()
                    .map(|(first, block)| postings::numbers(*first, block)),
            );
        }
    }

    /// The greatest number not above `at` that is in some list of each clause.
    async fn meet(
        &mut self,
        clauses: &mut [Vec<List>],
        mut at: i64,
    ) -> Result<Option<i64>, ObjectsError> {
        'again: loop {
            for clause in clauses.iter_mut() {
                let mut best = None;
                for list in clause.iter_mut() {
                    best = best.max(self.seek(list, at).await?);
                    if best == Some(at) {
                        break;
                    }
                }
                match best {
                    None => return Ok(None),
                    Some(number) if number < at => {
                        at = number;
                        if self.read > BLOCKS_MAX {
                            return Ok(Some(at));
                        }
                        continue 'again;
                    }
                    Some(_) => {}
                }
            }
            return Ok(Some(at));
        }
    }
}

type Row = (i64, i64, i64, i64, i64, String, String, String);
const COLUMNS: &str = "seq, collection, kind, place, version, source, id, json";

impl Objects {
    /// What somebody who sees `see` finds by `query`, newest first, before number `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(
        &self,
        see: &[See],
        query: &Query,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Found, ObjectsError> {
        let limit = limit.clamp(1, HITS_MAX);
        let clauses = query.clauses();
        let top = before.map_or(i64::MAX, |before| before.saturating_sub(1));
        let (mut hits, mut next) = (Vec::new(), None::<i64>);
        for one in see {
            let found = match clauses.any.is_empty() {
                true => self.newest_seen(one, query, top, limit + 1).await?,
                false => self.walk(one, query, &clauses, top, limit + 1).await?,
            };
            hits.extend(found.hits);
            next = next.max(found.next);
        }
        hits.sort_unstable_by_key(|hit| std::cmp::Reverse(hit.seq));
        // What lies below where one collection stopped may miss some of it.
        if let Some(stop) = next {
            hits.retain(|hit| hit.seq >= stop);
        }
        if hits.len() > limit {
            hits.truncate(limit);
            next = hits.last().map(|hit| hit.seq);
        }
        Ok(Found { hits, next })
    }

    async fn walk(
        &self,
        see: &See,
        query: &Query,
        clauses: &Clauses,
        mut at: i64,
        limit: usize,
    ) -> Result<Found, ObjectsError> {
        let keys: Vec<i64> = clauses
            .any
            .iter()
            .flatten()
            .map(|term| terms::key(see.collection.number, term))
            .collect();
        let mut rare = rare::of(self.db(), &keys).await?.into_iter();
        let mut all = keys.into_iter().map(|key| List {
            key,
            rare: rare.next().unwrap_or_default(),
            blocks: VecDeque::new(),
            rest: Some(i64::MAX),
        });
        let mut lists: Vec<Vec<List>> = clauses
            .any
            .iter()
            .map(|any| all.by_ref().take(any.len()).collect())
            .collect();
        let mut walk = Walk {
            objects: self,
            read: 0,
        };
        let mut found = Found::default();
        for _ in 0..LOOKS_MAX {
            let mut proposals = Vec::new();
            while proposals.len() < PROPOSALS && walk.read <= BLOCKS_MAX {
                match walk.meet(&mut lists, at).await? {
                    Some(number) if number >= query.from.unwrap_or(i64::MIN) => {
                        proposals.push(number);
                        at = number.saturating_sub(1);
                    }
                    _ => {
                        at = i64::MIN;
                        break;
                    }
                }
            }
            for hit in self.look(see, query, clauses, &proposals).await? {
                found.hits.push(hit);
                if found.hits.len() == limit {
                    return Ok(found);
                }
            }
            if at == i64::MIN {
                return Ok(found);
            }
            if walk.read > BLOCKS_MAX {
                break;
            }
        }
        found.next = Some(at.saturating_add(1));
        Ok(found)
    }

    /// Those of `proposals` that `see` may read and `query` wants, newest first.
    async fn look(
        &self,
        see: &See,
        query: &Query,
        clauses: &Clauses,
        proposals: &[i64],
    ) -> Result<Vec<Hit>, ObjectsError> {
        if proposals.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = proposals.iter().map(i64::to_string).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM isac_object WHERE seq IN ({}) AND {} ORDER BY seq DESC",
            list.join(","),
            latest_sql(see, query)
        );
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_all(self.db().pool())
            .await?;
        let found: Vec<Hit> = rows.into_iter().map(|row| self.hit(row)).collect();
        let mut hits = Vec::with_capacity(found.len());
        // Looked at as they are shown: what is left out cannot be found by asking for it.
        for hit in see.shown(found).await? {
            let source = hit.source.map(|org| org.to_string()).unwrap_or_default();
            let object = hit.object();
            let there: HashSet<String> = terms::of(&object, &source).into_iter().collect();
            let meant = clauses
                .any
                .iter()
                .all(|any| any.iter().any(|term| there.contains(term)));
            if meant && (clauses.phrases.is_empty() || says(&object, &clauses.phrases)) {
                hits.push(hit);
            }
        }
        Ok(hits)
    }

    /// The newest, without lists.
    async fn newest_seen(
        &self,
        see: &See,
        query: &Query,
        top: i64,
        limit: usize,
    ) -> Result<Found, ObjectsError> {
        let mut kinds = Vec::new();
        for kind in &query.kinds {
            kinds.extend(self.inner.kind_number(kind));
        }
        if kinds.is_empty() && !query.kinds.is_empty() {
            return Ok(Found::default());
        }
        let kinds = match kinds.as_slice() {
            [] => vec![String::new()],
            some => some
                .iter()
                .map(|kind| format!("kind = {kind} AND "))
                .collect(),
        };
        let mut ranges = Vec::new();
        for kind in &kinds {
            for place in places(see, query) {
                ranges.push(format!("SELECT seq FROM (SELECT seq FROM isac_object WHERE collection = $1 AND {kind}place = {place} AND seq <= $2 AND seq >= $3 ORDER BY seq DESC LIMIT $4) AS s{}", ranges.len()));
            }
        }
        if ranges.is_empty() {
            if see.own().is_empty() {
                return Ok(Found::default());
            }
            ranges.push("SELECT seq FROM isac_object WHERE seq IS NULL".to_owned());
        }
        let mut together = ranges.join(" UNION ALL ");
        for one in see.own().chunks(1) {
            let kinds = match kinds.as_slice() {
                [all] if all.is_empty() => String::new(),
                _ => {
                    let numbers = query
                        .kinds
                        .iter()
                        .filter_map(|kind| self.inner.kind_number(kind));
                    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
                    format!(" AND +kind IN ({})", numbers.join(","))
                }
            };
            // Some of it is in the others as well.
            together.push_str(&format!(
                " UNION SELECT seq FROM (SELECT seq FROM isac_object WHERE collection = $1 AND {} AND +place IN ({}){kinds} AND seq <= $2 AND seq >= $3 ORDER BY seq DESC LIMIT $4) AS o{}",
                own_sql(one),
                own_places(query),
                one[0].0.simple()
            ));
        }
        let sql = format!(
            "SELECT {} FROM ({together} ORDER BY seq DESC LIMIT $4) AS p JOIN isac_object o ON o.seq = p.seq ORDER BY o.seq DESC",
            COLUMNS
                .split(", ")
                .map(|name| format!("o.{name}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let (mut found, mut top) = (Found::default(), top);
        for _ in 0..LOOKS_MAX {
            let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql.clone()))
                .bind(see.collection.number)
                .bind(top)
                .bind(query.from.unwrap_or(i64::MIN))
                .bind(limit as i64)
                .fetch_all(self.db().pool())
                .await?;
            let whole = rows.len() == limit;
            let last = rows.last().map_or(i64::MIN, |row| row.0);
            let hits = rows.into_iter().map(|row| self.hit(row)).collect();
            found.hits.extend(see.shown(hits).await?);
            found.hits.truncate(limit);
            if !whole || found.hits.len() == limit {
                return Ok(found);
            }
            top = last.saturating_sub(1);
        }
        found.next = Some(top.saturating_add(1));
        Ok(found)
    }

    /// All versions of the object `id` that `see` may read, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions_of(&self, see: &[See], id: &str) -> Result<Vec<Hit>, ObjectsError> {
        let mut hits = self.of_ids(see, &[id.to_owned()], false).await?;
        hits.sort_by_key(|hit| (std::cmp::Reverse(hit.version), hit.collection));
        Ok(hits)
    }

    /// The latest versions of objects that `see` may read, one an id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn latest_of(
        &self,
        see: &[See],
        ids: &[String],
    ) -> Result<HashMap<String, Hit>, ObjectsError> {
        let mut out: HashMap<String, Hit> = HashMap::new();
        for hit in self.of_ids(see, ids, true).await? {
            match out.get(&hit.id) {
                Some(known) if known.version >= hit.version => {}
                _ => drop(out.insert(hit.id.clone(), hit)),
            }
        }
        Ok(out)
    }

    /// Numbers of the rows of `collection` under the ids of `sent` that somebody who sees
    /// `see` is not shown: what they send is answered as if these were not there.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn unseen(
        &self,
        see: &[See],
        collection: &Collection,
        sent: &[Prepared],
    ) -> Result<HashSet<i64>, ObjectsError> {
        let here: Vec<See> = see
            .iter()
            .filter(|one| one.collection.number == collection.number)
            .cloned()
            .collect();
        let mut unseen = HashSet::new();
        if here.iter().any(See::is_staff) {
            return Ok(unseen);
        }
        for some in sent.chunks(PROPOSALS) {
            let ids: Vec<String> = some.iter().map(|object| object.id.clone()).collect();
            let shown = self.of_ids(&here, &ids, false).await?;
            let shown: HashSet<i64> = shown.iter().map(|hit| hit.seq).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let there = self.rows_of(collection, &ids).await?.into_iter();
            unseen.extend(
                there
                    .map(|(_, row)| row.seq)
                    .filter(|seq| !shown.contains(seq)),
            );
        }
        Ok(unseen)
    }

    async fn of_ids(
        &self,
        see: &[See],
        ids: &[String],
        latest: bool,
    ) -> Result<Vec<Hit>, ObjectsError> {
        if see.is_empty() || ids.is_empty() {
            return Ok(Vec::new());
        }
        let hashes: Vec<String> = ids
            .iter()
            .take(HITS_MAX)
            .map(|id| hash64(id.as_bytes()).to_string())
            .collect();
        // The index of ids is the one to use: see `Objects::page_of_ids`.
        let allowed: Vec<String> = see
            .iter()
            .map(|one| {
                let within = format!("+place < {}", (i64::from(one.clearance as u8) + 1) * 4);
                let within = match one.own() {
                    _ if one.is_staff() => "1 = 1".to_owned(),
                    [] => within,
                    own => format!("({within} OR {})", own_sql(own)),
                };
                format!("(+collection = {} AND {within})", one.collection.number)
            })
            .collect();
        let last = if latest { " AND +place % 2 = 1" } else { "" };
        let sql = format!(
            "SELECT {COLUMNS} FROM isac_object WHERE id_hash IN ({}) AND ({}){last} LIMIT {HITS_MAX}",
            hashes.join(","),
            allowed.join(" OR ")
        );
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_all(self.db().pool())
            .await?;
        let found: Vec<Hit> = rows
            .into_iter()
            .filter(|row| ids.contains(&row.6))
            .map(|row| self.hit(row))
            .collect();
        let mut hits = Vec::with_capacity(found.len());
        for one in see {
            let here = |hit: &&Hit| hit.collection == one.collection.number;
            let found = found.iter().filter(here).cloned().collect();
            // Nobody is told which name stands behind a pseudonym.
            let shown = one.shown(found).await?.into_iter();
            hits.extend(shown.filter(|hit| ids.contains(&hit.id)));
        }
        hits.sort_unstable_by_key(|hit| std::cmp::Reverse(hit.seq));
        Ok(hits)
    }

    fn hit(&self, row: Row) -> Hit {
        Hit {
            seq: row.0,
            collection: row.1,
            kind: self.inner.kind_name(row.2).unwrap_or_default(),
            tlp: place::tlp(row.3),
            latest: row.3 & 1 == 1,
            version: row.4,
            source: row.5.parse().ok(),
            id: row.6,
            json: row.7,
        }
    }
}

/// The places of latest versions that may be seen and are wanted.
fn places(see: &See, query: &Query) -> Vec<i64> {
    let bands = match see.is_staff() {
        true => place::all().collect(),
        false => place::up_to(see.clearance).collect(),
    };
    latest_in(bands, query)
}

fn latest_in(bands: Vec<i64>, query: &Query) -> Vec<i64> {
    bands
        .into_iter()
        .flat_map(|band| [band << 2 | 1, band << 2 | 3])
        .filter(|at| query.tlp.is_none_or(|wanted| wanted == place::tlp(*at)))
        .collect()
}

/// The places of latest versions of what somebody sent, as a list.
fn own_places(query: &Query) -> String {
    let places = latest_in(place::all().collect(), query);
    let places: Vec<String> = places.iter().map(i64::to_string).collect();
    places.join(",")
}

fn latest_sql(see: &See, query: &Query) -> String {
    let places: Vec<String> = places(see, query).iter().map(i64::to_string).collect();
    let mut within = match places.is_empty() {
        true => "1 = 0".to_owned(),
        false => format!("+place IN ({})", places.join(",")),
    };
    if !see.own().is_empty() {
        let own = own_sql(see.own());
        within = format!(
            "({within} OR ({own} AND +place IN ({})))",
            own_places(query)
        );
    }
    format!("+collection = {} AND {within}", see.collection.number)
}

/// Whether every phrase stands in some text of the object.
fn says(object: &Value, phrases: &[String]) -> bool {
    fn texts(value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::String(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Value::Array(items) if depth < 12 => {
                items.iter().for_each(|item| texts(item, depth + 1, out));
            }
            Value::Object(map) if depth < 12 => {
                map.values().for_each(|item| texts(item, depth + 1, out));
            }
            _ => {}
        }
    }
    let mut all = String::new();
    texts(object, 0, &mut all);
    let all = terms::fold(&all);
    phrases.iter().all(|phrase| all.contains(phrase.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_become_clauses() {
        let of = |text: &str| {
            Query {
                text: text.to_owned(),
                ..Query::default()
            }
            .clauses()
        };
        let two = of("釣魚網站 APT29");
        assert_eq!(
            two.any,
            [["w:釣魚"], ["w:魚網"], ["w:網站"], ["w:apt29"]]
                .map(|one| one.map(str::to_owned).to_vec())
        );
        assert_eq!(two.phrases, ["釣魚網站"]);
        let address = of("198.51.100.7");
        assert_eq!(address.any.len(), 1);
        assert!(address.any[0].contains(&"v:198.51.100.7".to_owned()));
        assert!(address.any[0].contains(&"v:198.51.100.0/24".to_owned()));
        assert!(of("evil.example").any[0].contains(&"d:evil.example".to_owned()));
        assert_eq!(of("  "), Clauses::default());
        assert!(
            !Query {
                text: "!!".into(),
                ..Query::default()
            }
            .is_answerable()
        );
    }
}
