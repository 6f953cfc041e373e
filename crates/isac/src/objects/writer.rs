//! The one task that writes objects. It takes what is queued, up to a bound, into one
//! transaction: many small pushes cost one write to disk.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Weak};

use sqlx::AssertSqlSafe;
use store::{AuditEntry, Db, StoreError, Tx};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::whose::{Side, side};
use super::{Inner, ObjectsError, Outcome, Prepared, Source, Status, place};
use crate::share::lens::identity_of;

/// Objects in one transaction, unless one push alone has more.
const OBJECTS_TOGETHER_MAX: usize = 20_000;
/// Types that the store knows; each custom type is one.
pub(super) const KINDS_MAX: usize = 5_000;
/// Ids asked for in one statement; two sizes, so that statements stay prepared. Some 200
/// parameters are best: SQLite looks up the name of each among all of the statement's, so
/// that a thousand cost a quarter of the whole writing.
const IDS: [usize; 2] = [200, 20];
/// Rows inserted by one statement.
const ROWS: [usize; 3] = [20, 5, 1];
const COLUMNS: usize = 10;
/// Objects of which every further source is kept: those that become enforcements. Of
/// others, organisations that sent them too are.
const HELD_KIND: &str = "indicator";

pub(super) struct Job {
    pub(super) collection: i64,
    pub(super) collection_id: Uuid,
    pub(super) source: Source,
    pub(super) objects: Vec<Prepared>,
    pub(super) status: Option<Status>,
    pub(super) reply: oneshot::Sender<Result<Vec<Outcome>, ObjectsError>>,
}

/// A version that exists or is about to.
pub(super) struct Version {
    pub(super) seq: i64,
    pub(super) version: i64,
    pub(super) digest: i64,
    pub(super) place: i64,
    pub(super) source: String,
    /// Where it stands among the rows to insert; `None`: in the table.
    pub(super) new: Option<usize>,
}

struct NewRow {
    seq: i64,
    collection: i64,
    kind: i64,
    place: i64,
    id_hash: i64,
    version: i64,
    digest: i64,
    source: String,
    id: String,
    json: String,
}

pub(super) async fn run(inner: Weak<Inner>, db: Db, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let mut count = first.objects.len();
        let mut group = vec![first];
        while count < OBJECTS_TOGETHER_MAX {
            let Ok(job) = jobs.try_recv() else { break };
            count += job.objects.len();
            group.push(job);
        }
        let Some(inner) = inner.upgrade() else { return };
        match write(&inner, &db, &mut group).await {
            Ok((outcomes, last)) => {
                inner.last.send_if_modified(|known| {
                    let grown = last > *known;
                    *known = last.max(*known);
                    grown
                });
                for (job, outcomes) in group.into_iter().zip(outcomes) {
                    // A client that went away has its objects all the same.
                    drop(job.reply.send(Ok(outcomes)));
                }
            }
            Err(error) => {
                tracing::error!(error = %runtime::error_chain(&error), "objects could not be stored");
                for job in group {
                    drop(
                        job.reply
                            .send(Err(ObjectsError::Store(StoreError::Busy(None)))),
                    );
                }
            }
        }
    }
}

type Written = (Vec<Vec<Outcome>>, i64);

async fn write(inner: &Inner, db: &Db, group: &mut [Job]) -> Result<Written, ObjectsError> {
    let mut tx = db.begin().await?;
    let now = db.clock().now().micros();
    let mut next = latest(&mut tx).await?.saturating_add(1).max(now);
    let new_kinds = learn_kinds(inner, &mut tx, group).await?;
    let mut known = versions(&mut tx, group).await?;
    let mut rows: Vec<NewRow> = Vec::new();
    let mut moved: HashMap<i64, i64> = HashMap::new();
    let mut held: Vec<(i64, i64, String)> = Vec::new();
    let mut all = Vec::with_capacity(group.len());
    for job in group.iter_mut() {
        let source = job.source.column();
        let mut outcomes = Vec::with_capacity(job.objects.len());
        for object in std::mem::take(&mut job.objects) {
            let kind = new_kinds
                .get(&object.kind)
                .copied()
                .or_else(|| inner.kind_number(&object.kind))
                .ok_or_else(|| ObjectsError::Invalid {
                    field: "type",
                    value: object.kind.chars().take(80).collect(),
                    rule: format!("the store knows {KINDS_MAX} types already"),
                })?;
            let key = (job.collection, object.id.clone());
            let versions = known.entry(key).or_default();
            let mut goes = side(&job.source, &source, &object, versions);
            if let Side::AskCreator(present, yes, no) = goes {
                let names = match job.source.org {
                    Some(org) => names_creator(&mut tx, &versions[present], &rows, org).await?,
                    None => false,
                };
                goes = if names { yes } else { no }.into();
            }
            let aside = match goes {
                Side::There(at) => {
                    let there = &versions[at];
                    let same = there.digest == object.digest;
                    let kept = object.kind == HELD_KIND || job.source.org.is_some();
                    // The house's own word is trusted most; of others, both count.
                    if same && kept && !there.source.is_empty() && there.source != source {
                        held.push((next, there.seq, source.clone()));
                        next += 1;
                    }
                    outcomes.push(if same { Outcome::Known } else { Outcome::Kept });
                    continue;
                }
                Side::Main => false,
                Side::Aside => true,
                Side::AskCreator(..) | Side::Refused => {
                    outcomes.push(Outcome::Refused);
                    continue;
                }
            };
            let (seq, version) = (next, object.version.unwrap_or(next));
            next += 1;
            let beside = |row: &Version| {
                place::is_aside(row.place) == aside && (!aside || row.source == source)
            };
            let mut chain = versions.iter().filter(|row| beside(row));
            let first = chain.clone().all(|row| version < row.version);
            let last = chain.all(|row| version > row.version);
            for row in versions.iter_mut().filter(|row| beside(row)) {
                let keep = !(i64::from(last) | i64::from(first) << 1);
                let place = row.place & keep;
                if place != row.place {
                    row.place = place;
                    match row.new {
                        Some(index) => rows[index].place = place,
                        None => drop(moved.insert(row.seq, place)),
                    }
                }
            }
            // The house's own answers go where its policy lets them.
            let guarded = object
                .guarded
                .filter(|band| *band != place::REPLY || !source.is_empty());
            let band = guarded.unwrap_or(i64::from(object.tlp as u8));
            let band = if aside { band + place::ASIDE } else { band };
            let place = band << 2 | i64::from(first) << 1 | i64::from(last);
            versions.push(Version {
                seq,
                version,
                digest: object.digest,
                place,
                source: source.clone(),
                new: Some(rows.len()),
            });
            rows.push(NewRow {
                seq,
                collection: job.collection,
                kind,
                place,
                id_hash: object.id_hash,
                version,
                digest: object.digest,
                source: source.clone(),
                id: object.id,
                json: object.json,
            });
            outcomes.push(Outcome::Added(seq));
        }
        record(&mut tx, job, &outcomes, now).await?;
        all.push(outcomes);
    }
    for (seq, place) in moved {
        sqlx::query("UPDATE isac_object SET place = $2 WHERE seq = $1")
            .bind(seq)
            .bind(place)
            .execute(&mut *tx)
            .await?;
    }
    insert(&mut tx, rows).await?;
    for (seq, object, source) in held {
        sqlx::query("INSERT INTO isac_held (seq, object, source) VALUES ($1, $2, $3) ON CONFLICT (object, source) DO NOTHING")
            .bind(seq)
            .bind(object)
            .bind(source)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    for (name, number) in new_kinds {
        inner.learn_kind(number, &name);
    }
    Ok((all, next - 1))
}

/// Whether the present version of an object names `org` as its creator.
async fn names_creator(
    tx: &mut Tx,
    present: &Version,
    rows: &[NewRow],
    org: base::OrgId,
) -> Result<bool, StoreError> {
    let text: String = match present.new {
        Some(index) => rows[index].json.clone(),
        None => {
            sqlx::query_scalar("SELECT json FROM isac_object WHERE seq = $1")
                .bind(present.seq)
                .fetch_one(&mut **tx)
                .await?
        }
    };
    let object: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(object["created_by_ref"] == identity_of(org).as_str())
}

/// The greatest number so far, of what is there and what is gone.
pub(super) async fn latest(tx: &mut Tx) -> Result<i64, StoreError> {
    let (there,): (i64,) =
        sqlx::query_as("SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) FROM isac_object")
            .fetch_one(&mut **tx)
            .await?;
    let (gone,): (i64,) =
        sqlx::query_as("SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) FROM isac_gone")
            .fetch_one(&mut **tx)
            .await?;
    let (held,): (i64,) =
        sqlx::query_as("SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) FROM isac_held")
            .fetch_one(&mut **tx)
            .await?;
    Ok(there.max(gone).max(held))
}

/// Numbers for types that were never seen before.
async fn learn_kinds(
    inner: &Inner,
    tx: &mut Tx,
    group: &[Job],
) -> Result<HashMap<String, i64>, StoreError> {
    let mut fresh = HashMap::new();
    let unknown: HashSet<&str> = group
        .iter()
        .flat_map(|job| job.objects.iter().map(|object| object.kind.as_str()))
        .filter(|kind| inner.kind_number(kind).is_none())
        .collect();
    for kind in unknown {
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM isac_kind")
            .fetch_one(&mut **tx)
            .await?;
        if usize::try_from(count).unwrap_or(usize::MAX) >= KINDS_MAX {
            break;
        }
        sqlx::query("INSERT INTO isac_kind (name) VALUES ($1) ON CONFLICT (name) DO NOTHING")
            .bind(kind)
            .execute(&mut **tx)
            .await?;
        let (number,): (i64,) = sqlx::query_as("SELECT number FROM isac_kind WHERE name = $1")
            .bind(kind)
            .fetch_one(&mut **tx)
            .await?;
        fresh.insert(kind.to_owned(), number);
    }
    Ok(fresh)
}

/// `SELECT … IN ($1, … )` for so many ids.
static LOOK_UP: LazyLock<[String; 2]> = LazyLock::new(|| {
    IDS.map(|count| {
        let marks: Vec<String> = (1..=count).map(|n| format!("${n}")).collect();
        format!(
            "SELECT seq, collection, id, version, digest, place, source FROM isac_object WHERE id_hash IN ({})",
            marks.join(",")
        )
    })
});

type VersionRow = (i64, i64, String, i64, i64, i64, String);
type Known = HashMap<(i64, String), Vec<Version>>;

/// What is there already of the ids that come.
async fn versions(tx: &mut Tx, group: &[Job]) -> Result<Known, StoreError> {
    let wanted: HashSet<i64> = group
        .iter()
        .flat_map(|job| job.objects.iter().map(|object| object.id_hash))
        .collect();
    let mut wanted: Vec<i64> = wanted.into_iter().collect();
    // In the index's order, so that its pages are visited once.
    wanted.sort_unstable();
    let mut known: Known = HashMap::new();
    let mut rest = wanted.as_slice();
    while let Some(pad) = rest.first() {
        let size = usize::from(rest.len() <= IDS[1]);
        let (now, later) = rest.split_at(rest.len().min(IDS[size]));
        let mut query = sqlx::query_as::<_, VersionRow>(AssertSqlSafe(LOOK_UP[size].as_str()));
        for place in 0..IDS[size] {
            query = query.bind(now.get(place).copied().unwrap_or(*pad));
        }
        for (seq, collection, id, version, digest, place, source) in
            query.fetch_all(&mut **tx).await?
        {
            known.entry((collection, id)).or_default().push(Version {
                seq,
                version,
                digest,
                place,
                source,
                new: None,
            });
        }
        rest = later;
    }
    Ok(known)
}

/// `INSERT … VALUES (…), …` for so many rows.
static INSERT: LazyLock<[String; 3]> = LazyLock::new(|| {
    ROWS.map(|count| {
        let rows: Vec<String> = (0..count)
            .map(|row| {
                let marks: Vec<String> = (1..=COLUMNS)
                    .map(|column| format!("${}", row * COLUMNS + column))
                    .collect();
                format!("({})", marks.join(","))
            })
            .collect();
        format!(
            "INSERT INTO isac_object (seq, collection, kind, place, id_hash, version, digest, source, id, json) VALUES {}",
            rows.join(",")
        )
    })
});

async fn insert(tx: &mut Tx, rows: Vec<NewRow>) -> Result<(), StoreError> {
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let size = ROWS
            .iter()
            .position(|&size| size <= rows.len())
            .unwrap_or(ROWS.len() - 1);
        let mut query = sqlx::query(AssertSqlSafe(INSERT[size].as_str()));
        for row in rows.by_ref().take(ROWS[size]) {
            query = query
                .bind(row.seq)
                .bind(row.collection)
                .bind(row.kind)
                .bind(row.place)
                .bind(row.id_hash)
                .bind(row.version)
                .bind(row.digest)
                .bind(row.source)
                .bind(row.id)
                .bind(row.json);
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// The status and the audit trail's entry of a push.
async fn record(tx: &mut Tx, job: &Job, outcomes: &[Outcome], now: i64) -> Result<(), StoreError> {
    if let Some(status) = &job.status {
        sqlx::query(
            "INSERT INTO isac_status (id, root, owner, at, body) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(status.id.to_string())
        .bind(&status.root)
        .bind(&status.owner)
        .bind(now)
        .bind((status.body)(outcomes))
        .execute(&mut **tx)
        .await?;
    }
    let added = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Outcome::Added(_)))
        .count();
    let mut entry = AuditEntry::new(
        job.source.actor.clone(),
        "collection.put",
        format!("collection:{}", job.collection_id),
    )
    .detail(serde_json::json!({ "objects": outcomes.len(), "added": added }));
    entry.org = job.source.org;
    entry.request_id.clone_from(&job.source.request);
    tx.audit(entry).await?;
    Ok(())
}
