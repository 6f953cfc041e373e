//! Reading: pages of a collection, versions of an object, the change feed; and
//! deletion, which is a change too.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use base::OrgId;
use sqlx::AssertSqlSafe;

use super::writer::latest;
use super::{Collection, Objects, ObjectsError, Origin, Source, Via, hash64, place};
use crate::stix::Tlp;

/// Rows of one page at most.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// Ids or types in one filter.
pub const FILTER_VALUES_MAX: usize = 50;
/// Rows looked at together when versions are asked for by their time alone.
const SCAN_ROWS_MAX: u32 = 1_000;
/// After this no further rows are looked at for one page, found or not.
const SCAN_TIME_MAX: Duration = Duration::from_millis(20);
/// Changes read at once.
pub const CHANGES_MAX: u32 = 5_000;

/// Which versions of objects (TAXII 2.1 section 3.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMatch {
    /// The latest.
    Last,
    /// The earliest.
    First,
    /// All.
    All,
    /// The one of this time, in microseconds.
    At(i64),
}

/// What is wanted of a collection. Empty lists want everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Added after this time, in microseconds.
    pub added_after: Option<i64>,
    /// These objects only.
    pub ids: Vec<String>,
    /// These types only.
    pub kinds: Vec<String>,
    /// These versions; empty: the latest.
    pub versions: Vec<VersionMatch>,
    /// Nothing: a version of STIX is asked for that is not kept here.
    pub nothing: bool,
}

/// Whose eyes a page is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The most closed marking that they see of others.
    pub clearance: Tlp,
    /// Organisations whose own words they see, whatever the marking.
    pub own: Vec<OrgId>,
    /// Whether they run the house: then they see what is confidential, too.
    pub staff: bool,
    /// Whether replies to alerts are among it: whoever asks looks which are theirs.
    pub replies: bool,
}

impl Reader {
    /// Those who run the house.
    pub const fn staff() -> Self {
        Self {
            clearance: Tlp::Red,
            own: Vec::new(),
            staff: true,
            replies: false,
        }
    }

    /// The bands that they see, whoever sent it.
    fn bands(&self) -> Vec<i64> {
        match self.staff {
            true => place::all().collect(),
            false => {
                let replies = self.replies.then_some(place::REPLY);
                place::up_to(self.clearance).chain(replies).collect()
            }
        }
    }

    /// Whether they see what stands at `place`, whoever sent it.
    pub(crate) fn holds(&self, place: i64) -> bool {
        self.staff
            || place::up_to(self.clearance).contains(&place::band(place))
            || (self.replies && place::band(place) == place::REPLY)
    }

    fn sees(&self, place: i64, source: &str) -> bool {
        self.holds(place) || source.parse().is_ok_and(|org| self.own.contains(&org))
    }
}

impl From<Tlp> for Reader {
    fn from(clearance: Tlp) -> Self {
        Self {
            clearance,
            own: Vec::new(),
            staff: false,
            replies: false,
        }
    }
}

/// What rows an organisation sent are found by, as a condition: it names the index of these
/// (`isac_object_own`). Others than of the most open marking are there.
pub(super) fn own_sql(own: &[OrgId]) -> String {
    let list: Vec<String> = own.iter().map(|org| format!("'{org}'")).collect();
    let of = match list.as_slice() {
        [one] => format!("= {one}"),
        some => format!("IN ({})", some.join(",")),
    };
    format!("source {of} AND place >= 4 AND length(source) = 36")
}

/// A version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number: when it was added, in microseconds.
    pub seq: i64,
    /// The object.
    pub id: String,
    /// Its version in microseconds.
    pub version: i64,
    /// The organisation that it came from; `None`: the house.
    pub source: Option<OrgId>,
    /// The house that it was fetched from.
    pub via: Option<Via>,
    /// The object as it was received; empty when it was not asked for.
    pub json: String,
}

/// A row as it is read: number, object, version, source, text.
type Columns = (i64, String, i64, String, String);

/// A step of the feed as it is read: number, collection, type, object, place, source, text,
/// whether it was there already.
type Step = (i64, i64, i64, String, i64, String, String, i64);

/// Part of a collection, in the order of adding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Read on after this number; `None`: this is the end.
    pub next: Option<i64>,
}

/// A step of the change feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its number; greater ones were committed later.
    pub seq: i64,
    /// The collection's number.
    pub collection: i64,
    /// The object.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// What happened.
    pub what: What,
}

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A version was added.
    Added {
        /// The object as it was received.
        json: String,
        /// Its most closed marking.
        tlp: Tlp,
        /// The organisation that it came from; `None`: the house.
        source: Option<OrgId>,
        /// Where it came from.
        origin: Origin,
        /// Whether it is the latest version that is there.
        latest: bool,
        /// Whether it was there already, from another.
        again: bool,
    },
    /// Versions of it were deleted from the collection.
    Gone,
}

impl Filter {
    /// The low bits of `place` that are wanted: first × 2 + last.
    fn bits(&self) -> Vec<i64> {
        let wants = |version| self.versions.contains(&version);
        (0..4)
            .filter(|bits| {
                wants(VersionMatch::All)
                    || self.times().next().is_some()
                    || ((self.versions.is_empty() || wants(VersionMatch::Last)) && bits & 1 == 1)
                    || (wants(VersionMatch::First) && bits & 2 == 2)
            })
            .collect()
    }

    fn times(&self) -> impl Iterator<Item = i64> + '_ {
        self.versions.iter().filter_map(|version| match version {
            VersionMatch::At(at) => Some(*at),
            _ => None,
        })
    }

    /// Whether a row is wanted, once its place may be.
    fn wants(&self, place: i64, version: i64) -> bool {
        let wants = |version| self.versions.contains(&version);
        (self.versions.is_empty() && place & 1 == 1)
            || wants(VersionMatch::All)
            || (wants(VersionMatch::Last) && place & 1 == 1)
            || (wants(VersionMatch::First) && place & 2 == 2)
            || self.times().any(|at| at == version)
    }
}

impl Objects {
    /// The greatest number so far; 0 when there is nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_seq(&self) -> Result<i64, ObjectsError> {
        let (last,): (i64,) = sqlx::query_as(
            "SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) FROM
             (SELECT MAX(seq) AS seq FROM isac_object UNION ALL SELECT MAX(seq) AS seq FROM isac_gone UNION ALL SELECT MAX(seq) AS seq FROM isac_held) AS all_of_them",
        )
        .fetch_one(self.inner.db.pool())
        .await?;
        Ok(last)
    }

    /// The number of the latest object; 0 when there is none. What was deleted or sent again
    /// since has greater numbers, and is nothing to index.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_added(&self) -> Result<i64, ObjectsError> {
        let (last,): (i64,) =
            sqlx::query_as("SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) FROM isac_object")
                .fetch_one(self.inner.db.pool())
                .await?;
        Ok(last)
    }

    /// A page of `collection` after number `after`: what `filter` wants of what `reader`
    /// sees, with or without the objects themselves.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page(
        &self,
        collection: &Collection,
        reader: impl Into<Reader>,
        filter: &Filter,
        after: i64,
        limit: u32,
        whole: bool,
    ) -> Result<Page, ObjectsError> {
        let reader: Reader = reader.into();
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let after = after.max(filter.added_after.unwrap_or(i64::MIN));
        if filter.nothing {
            return Ok(Page::default());
        }
        if !filter.ids.is_empty() {
            return self
                .page_of_ids(collection, &reader, filter, after, limit, whole)
                .await;
        }
        let Some(ranges) = self.ranges(&reader, filter) else {
            return Ok(Page::default());
        };
        if filter.times().next().is_some() && !filter.versions.contains(&VersionMatch::All) {
            return self
                .page_of_times(collection, filter, &ranges, after, limit, whole)
                .await;
        }
        let json = if whole { "o.json" } else { "''" };
        let sql = format!(
            "SELECT o.seq, o.id, o.version, o.source, {json} FROM ({}) AS p JOIN isac_object o ON o.seq = p.seq ORDER BY o.seq",
            merged(&ranges, "")
        );
        let mut rows = sqlx::query_as::<_, Columns>(AssertSqlSafe(sql))
            .bind(collection.number)
            .bind(after)
            .bind(i64::from(limit) + 1)
            .fetch_all(self.inner.db.pool())
            .await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Ok(page_of(rows, more))
    }

    /// The index ranges that hold what is wanted; `None` when there is nothing.
    fn ranges(&self, reader: &Reader, filter: &Filter) -> Option<Ranges> {
        let kinds: Vec<i64> = filter
            .kinds
            .iter()
            .filter_map(|kind| self.inner.kind_number(kind))
            .collect();
        if kinds.is_empty() && !filter.kinds.is_empty() {
            return None;
        }
        let mut ranges = Vec::new();
        for band in reader.bands() {
            for bits in filter.bits() {
                let place = band << 2 | bits;
                match kinds.as_slice() {
                    [] => ranges.push(format!("place = {place}")),
                    kinds => ranges.extend(
                        kinds
                            .iter()
                            .map(|kind| format!("kind = {kind} AND place = {place}")),
                    ),
                }
            }
        }
        let own = reader.own.chunks(1).map(|one| {
            let bits: Vec<String> = filter.bits().iter().map(i64::to_string).collect();
            let mut own = format!("{} AND (place & 3) IN ({})", own_sql(one), bits.join(","));
            if !kinds.is_empty() {
                let kinds: Vec<String> = kinds.iter().map(i64::to_string).collect();
                // By its sender it is found best, not by its kind.
                own.push_str(&format!(" AND +kind IN ({})", kinds.join(",")));
            }
            own
        });
        Some(Ranges {
            own: own.collect(),
            all: ranges,
        })
    }

    /// By id: versions of a few objects, found by the index of ids. (A sign before the other
    /// columns keeps SQLite from walking the whole table in the order asked for instead.)
    async fn page_of_ids(
        &self,
        collection: &Collection,
        reader: &Reader,
        filter: &Filter,
        after: i64,
        limit: u32,
        whole: bool,
    ) -> Result<Page, ObjectsError> {
        let marks: Vec<String> = (1..=filter.ids.len())
            .map(|n| format!("${}", n + 2))
            .collect();
        let sql = format!(
            "SELECT seq, kind, place, id, version, source FROM isac_object
             WHERE id_hash IN ({}) AND +collection = $1 AND +seq > $2",
            marks.join(",")
        );
        let mut query =
            sqlx::query_as::<_, (i64, i64, i64, String, i64, String)>(AssertSqlSafe(sql))
                .bind(collection.number)
                .bind(after);
        for id in &filter.ids {
            query = query.bind(hash64(id.as_bytes()));
        }
        let kinds: Vec<i64> = filter
            .kinds
            .iter()
            .filter_map(|kind| self.inner.kind_number(kind))
            .collect();
        let mut seqs: Vec<i64> = query
            .fetch_all(self.inner.db.pool())
            .await?
            .into_iter()
            .filter(|(_, kind, place, id, version, source)| {
                filter.ids.contains(id)
                    && (filter.kinds.is_empty() || kinds.contains(kind))
                    && reader.sees(*place, source)
                    && filter.wants(*place, *version)
            })
            .map(|row| row.0)
            .collect();
        seqs.sort_unstable();
        let more = seqs.len() > limit as usize;
        seqs.truncate(limit as usize);
        let rows = self.rows(&seqs, whole).await?;
        Ok(page_of(rows, more))
    }

    /// By versions' times alone, which no index holds: a bounded look at what follows.
    async fn page_of_times(
        &self,
        collection: &Collection,
        filter: &Filter,
        ranges: &Ranges,
        after: i64,
        limit: u32,
        whole: bool,
    ) -> Result<Page, ObjectsError> {
        let sql = format!(
            "SELECT o.seq, o.place, o.version FROM ({}) AS p JOIN isac_object o ON o.seq = p.seq ORDER BY o.seq",
            merged(ranges, "")
        );
        let begin = Instant::now();
        let (mut seqs, mut from) = (Vec::new(), after);
        let cut = loop {
            let scanned = sqlx::query_as::<_, (i64, i64, i64)>(AssertSqlSafe(sql.clone()))
                .bind(collection.number)
                .bind(from)
                .bind(i64::from(SCAN_ROWS_MAX))
                .fetch_all(self.inner.db.pool())
                .await?;
            let cut = scanned.len() == SCAN_ROWS_MAX as usize;
            from = scanned.last().map_or(from, |row| row.0);
            seqs.extend(
                scanned
                    .into_iter()
                    .filter(|(_, place, version)| filter.wants(*place, *version))
                    .map(|row| row.0),
            );
            // A page that is empty and not the last costs its reader a round: not before it must.
            if !cut || seqs.len() > limit as usize || begin.elapsed() >= SCAN_TIME_MAX {
                break cut;
            }
        };
        let more = seqs.len() > limit as usize;
        seqs.truncate(limit as usize);
        let mut page = page_of(self.rows(&seqs, whole).await?, more);
        if !more && cut {
            page.next = Some(from);
        }
        Ok(page)
    }

    /// Everything in `collection` under these ids, with its place.
    pub(crate) async fn rows_of(
        &self,
        collection: &Collection,
        ids: &[&str],
    ) -> Result<Vec<(i64, Row)>, ObjectsError> {
        let hashes: Vec<String> = ids
            .iter()
            .map(|id| hash64(id.as_bytes()).to_string())
            .collect();
        let sql = format!(
            "SELECT place, seq, id, version, source, json FROM isac_object WHERE id_hash IN ({}) AND +collection = $1",
            hashes.join(",")
        );
        type Placed = (i64, i64, String, i64, String, String);
        let rows: Vec<Placed> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(collection.number)
            .fetch_all(self.inner.db.pool())
            .await?;
        let rows = rows.into_iter().filter(|row| ids.contains(&row.2.as_str()));
        Ok(rows
            .map(|(place, seq, id, version, source, json)| {
                (place, row_of((seq, id, version, source, json)))
            })
            .collect())
    }

    async fn rows(&self, seqs: &[i64], whole: bool) -> Result<Vec<Columns>, ObjectsError> {
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = seqs.iter().map(i64::to_string).collect();
        let json = if whole { "json" } else { "''" };
        let sql = format!(
            "SELECT seq, id, version, source, {json} FROM isac_object WHERE seq IN ({}) ORDER BY seq",
            list.join(",")
        );
        // The numbers differ each time: such a statement is not worth keeping.
        Ok(sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_all(self.inner.db.pool())
            .await?)
    }

    /// The newest rows of `collection` that `filter` wants, up to marking `clearance`,
    /// the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest(
        &self,
        collection: &Collection,
        clearance: Tlp,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Row>, ObjectsError> {
        let Some(ranges) = self.ranges(&clearance.into(), filter) else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT o.seq, o.id, o.version, o.source, o.json FROM ({}) AS p JOIN isac_object o ON o.seq = p.seq ORDER BY o.seq DESC",
            merged(&ranges, " DESC")
        );
        let rows = sqlx::query_as::<_, Columns>(AssertSqlSafe(sql))
            .bind(collection.number)
            .bind(i64::MIN)
            .bind(i64::from(limit.clamp(1, PAGE_ROWS_MAX)))
            .fetch_all(self.inner.db.pool())
            .await?;
        Ok(page_of(rows, false).rows)
    }

    /// Whether `collection` has any version of the object `id` that `reader` sees.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has(
        &self,
        collection: &Collection,
        reader: impl Into<Reader>,
        id: &str,
    ) -> Result<bool, ObjectsError> {
        let filter = Filter {
            ids: vec![id.to_owned()],
            versions: vec![VersionMatch::All],
            ..Filter::default()
        };
        let page = self
            .page(collection, reader, &filter, i64::MIN, 1, false)
            .await?;
        Ok(!page.rows.is_empty())
    }

    /// What happened after number `after`, oldest first, in all collections.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn changes(&self, after: i64, limit: u32) -> Result<Vec<Change>, ObjectsError> {
        self.changes_where(after, i64::MAX, "", limit).await
    }

    /// What happened to objects of type `kind` after number `after`, oldest first, and
    /// the number to go on from. Objects of other types are passed over unread.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn changes_of(
        &self,
        kind: &str,
        after: i64,
        limit: u32,
    ) -> Result<(Vec<Change>, i64), ObjectsError> {
        // What is committed later has a greater number.
        let last = self.last_seq().await?;
        let number = match self.inner.kind_number(kind) {
            Some(number) => Some(number),
            // It may have been stored a moment ago, or by another process.
            None => {
                sqlx::query_scalar("SELECT number FROM isac_kind WHERE name = $1")
                    .bind(kind)
                    .fetch_optional(self.inner.db.pool())
                    .await?
            }
        };
        let Some(number): Option<i64> = number else {
            return Ok((Vec::new(), last.max(after)));
        };
        let limit = limit.clamp(1, CHANGES_MAX);
        let wanted = format!("AND kind = {number}");
        let changes = self.changes_where(after, last, &wanted, limit).await?;
        let on = match changes.last() {
            Some(change) if changes.len() == limit as usize => change.seq,
            _ => last.max(after),
        };
        Ok((changes, on))
    }

    async fn changes_where(
        &self,
        after: i64,
        to: i64,
        wanted: &str,
        limit: u32,
    ) -> Result<Vec<Change>, ObjectsError> {
        let limit = limit.clamp(1, CHANGES_MAX);
        // One statement sees one moment, so that nothing slips between the tables.
        let sql = format!(
            "SELECT seq, collection, kind, id, place, source, json, CAST(0 AS BIGINT) AS again FROM
               (SELECT seq, collection, kind, id, place, source, json FROM isac_object WHERE seq > $1 AND seq <= $3 {wanted} ORDER BY seq LIMIT $2) AS there
             UNION ALL
             SELECT seq, collection, kind, id, place, source, json, CAST(1 AS BIGINT) FROM
               (SELECT h.seq AS seq, collection, kind, id, place, h.source AS source, json FROM isac_held h JOIN isac_object o ON o.seq = h.object
                WHERE h.seq > $1 AND h.seq <= $3 {wanted} ORDER BY h.seq LIMIT $2) AS held
             UNION ALL
             SELECT seq, collection, kind, id, CAST(-1 AS BIGINT), '', '', CAST(0 AS BIGINT) FROM
               (SELECT seq, collection, kind, id FROM isac_gone WHERE seq > $1 AND seq <= $3 {wanted} ORDER BY seq LIMIT $2) AS gone
             ORDER BY seq LIMIT $2"
        );
        let rows: Vec<Step> = sqlx::query_as(AssertSqlSafe(sql))
            .bind(after)
            .bind(i64::from(limit))
            .bind(to)
            .fetch_all(self.inner.db.pool())
            .await?;
        let changes = rows.into_iter().map(|row| Change {
            seq: row.0,
            collection: row.1,
            kind: self.inner.kind_name(row.2).unwrap_or_default(),
            id: row.3,
            what: match row.4 {
                at if at < 0 => What::Gone,
                at => What::Added {
                    tlp: place::tlp(at),
                    latest: at & 1 == 1,
                    source: row.5.parse().ok(),
                    origin: Origin::from_column(&row.5),
                    json: row.6,
                    again: row.7 == 1,
                },
            },
        });
        Ok(changes.collect())
    }

    /// Deletes the versions of object `id` that `filter` wants (all, when it names
    /// none); returns how many. This house deletes what anybody sent; an organisation what it
    /// sent itself: of what others sent too, its own sending alone.
    ///
    /// # Errors
    /// [`ObjectsError::Foreign`] when others sent all of it; else when the database fails.
    pub async fn delete(
        &self,
        collection: &Collection,
        clearance: Tlp,
        id: &str,
        filter: &Filter,
        source: &Source,
    ) -> Result<u64, ObjectsError> {
        let mut tx = self.inner.db.begin().await?;
        let rows: Vec<Held> = sqlx::query_as(
            "SELECT seq, kind, place, version, id, source FROM isac_object WHERE id_hash = $1 AND +collection = $2 ORDER BY version, seq",
        )
        .bind(hash64(id.as_bytes()))
        .bind(collection.number)
        .fetch_all(&mut *tx)
        .await?;
        let own = source.org.map(|org| org.to_string());
        let mut left = Vec::new();
        let mut gone = Vec::new();
        let (mut of_others, mut given) = (false, Vec::new());
        for row in rows.into_iter().filter(|row| row.4 == id) {
            let of_own = own.as_ref() == Some(&row.5);
            let wanted = !filter.nothing
                && (place::tlp(row.2) <= clearance || of_own)
                && (filter.versions.is_empty() || filter.wants(row.2, row.3));
            let whole = match &own {
                Some(own) if wanted => {
                    let own = give_up(&mut tx, &row, own).await?;
                    of_others |= own == Own::Nothing;
                    given.extend((own == Own::Part).then_some(row.1));
                    own == Own::All
                }
                _ => wanted,
            };
            if whole { &mut gone } else { &mut left }.push(row);
        }
        let Some(kind) = gone.first().map(|row| row.1).or(given.first().copied()) else {
            tx.rollback().await?;
            return match of_others {
                true => Err(ObjectsError::Foreign {
                    name: id.chars().take(80).collect(),
                }),
                false => Ok(0),
            };
        };
        for row in &gone {
            for sql in [
                "DELETE FROM isac_held WHERE object = $1",
                "DELETE FROM isac_object WHERE seq = $1",
            ] {
                sqlx::query(sql).bind(row.0).execute(&mut *tx).await?;
            }
        }
        let mut left: Vec<Said> = left
            .into_iter()
            .map(|row: Held| Said {
                seq: row.0,
                place: row.2,
                source: row.5,
            })
            .collect();
        settle(&mut left);
        for row in &left {
            sqlx::query("UPDATE isac_object SET place = $2 WHERE seq = $1")
                .bind(row.seq)
                .bind(row.place)
                .execute(&mut *tx)
                .await?;
        }
        let now = self.inner.db.clock().now().micros();
        let seq = latest(&mut tx)
            .await?
            .max(gone.iter().map(|row| row.0).max().unwrap_or(0));
        let seq = seq.saturating_add(1).max(now);
        sqlx::query("INSERT INTO isac_gone (seq, collection, kind, id) VALUES ($1, $2, $3, $4)")
            .bind(seq)
            .bind(collection.number)
            .bind(kind)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let mut entry = store::AuditEntry::new(
            source.actor.clone(),
            "collection.delete",
            format!("collection:{}", collection.id),
        )
        .detail(serde_json::json!({ "object": id, "versions": gone.len() + given.len() }));
        entry.org = source.org;
        entry.request_id.clone_from(&source.request);
        tx.audit(entry).await?;
        tx.commit().await?;
        self.inner.last.send_if_modified(|known| {
            let grown = seq > *known;
            *known = seq.max(*known);
            grown
        });
        Ok((gone.len() + given.len()) as u64)
    }
}

/// What of a version is needed to say which is first and last.
struct Said {
    seq: i64,
    place: i64,
    source: String,
}

/// Says anew which versions are first and last. Where nothing is left that others see, what
/// stood beside it first steps forward.
fn settle(rows: &mut [Said]) {
    if rows.iter().all(|row| place::is_aside(row.place)) {
        let first = rows.iter().min_by_key(|row| row.seq);
        let heir = first.map(|row| row.source.clone());
        for row in rows.iter_mut() {
            if heir.as_ref() == Some(&row.source) {
                row.place -= place::ASIDE << 2;
            }
        }
    }
    // They come in the order of their versions.
    let chain = |row: &Said| place::is_aside(row.place).then(|| row.source.clone());
    let chains: Vec<Option<String>> = rows.iter().map(chain).collect();
    for (index, of) in chains.iter().enumerate() {
        let first = !chains[..index].contains(of);
        let last = !chains[index + 1..].contains(of);
        rows[index].place = rows[index].place & !3 | i64::from(first) << 1 | i64::from(last);
    }
}

/// A version of an object: number, type, place, version, id, whoever sent it first.
type Held = (i64, i64, i64, i64, String, String);

/// How much of a version an organisation sent.
#[derive(PartialEq, Eq)]
enum Own {
    /// It alone.
    All,
    /// Others too, whose it is from here on.
    Part,
    /// Nothing.
    Nothing,
}

/// Takes `own` from those who sent `row`, unless it is the only one.
async fn give_up(tx: &mut store::Tx, row: &Held, own: &str) -> Result<Own, ObjectsError> {
    let others: Vec<(String,)> =
        sqlx::query_as("SELECT source FROM isac_held WHERE object = $1 ORDER BY seq")
            .bind(row.0)
            .fetch_all(&mut **tx)
            .await?;
    let first = row.5 == own;
    if !first && others.iter().all(|other| other.0 != own) {
        return Ok(Own::Nothing);
    }
    let heir = match others.iter().find(|other| other.0 != own) {
        _ if !first => &row.5,
        Some((heir,)) => heir,
        None => return Ok(Own::All),
    };
    sqlx::query("UPDATE isac_object SET source = $2 WHERE seq = $1")
        .bind(row.0)
        .bind(heir)
        .execute(&mut **tx)
        .await?;
    for gone in [own, heir] {
        sqlx::query("DELETE FROM isac_held WHERE object = $1 AND source = $2")
            .bind(row.0)
            .bind(gone)
            .execute(&mut **tx)
            .await?;
    }
    Ok(Own::Part)
}

/// Index ranges, as conditions.
struct Ranges {
    /// Apart from each other: by kind and place.
    all: Vec<String>,
    /// What somebody sent, some of which is in the others as well.
    own: Vec<String>,
}

/// The first rows of several index ranges together, in order, or from the end.
fn merged(ranges: &Ranges, order: &str) -> String {
    let some = |ranges: &[String], name: &str| {
        let mut sql = String::new();
        for (index, range) in ranges.iter().enumerate() {
            let join = if index == 0 { "" } else { " UNION ALL " };
            // Writing to a string does not fail.
            let _ok = write!(
                sql,
                "{join}SELECT seq FROM (SELECT seq FROM isac_object WHERE collection = $1 AND {range} AND seq > $2 ORDER BY seq{order} LIMIT $3) AS {name}{index}"
            );
        }
        let _ok = write!(sql, " ORDER BY seq{order} LIMIT $3");
        sql
    };
    let all = some(&ranges.all, "s");
    match ranges.own.is_empty() {
        true => all,
        false => format!(
            "SELECT seq FROM ({all}) AS a UNION SELECT seq FROM ({}) AS o ORDER BY seq{order} LIMIT $3",
            some(&ranges.own, "o")
        ),
    }
}

fn page_of(rows: Vec<Columns>, more: bool) -> Page {
    let rows: Vec<Row> = rows.into_iter().map(row_of).collect();
    Page {
        next: rows.last().map(|row| row.seq).filter(|_| more),
        rows,
    }
}

fn row_of((seq, id, version, source, json): Columns) -> Row {
    Row {
        seq,
        id,
        version,
        source: source.parse().ok(),
        via: Via::from_column(&source),
        json,
    }
}
