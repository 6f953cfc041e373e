//! Whose word an object is: one id may be sent by several, each with versions of its own, and
//! what one sends says nothing of what another holds.

use std::collections::{BTreeMap, HashMap};

use sqlx::AssertSqlSafe;
use store::Db;

use super::{Objects, ObjectsError, Origin, hash64};
use crate::stix::Tlp;

/// Ids that are asked about by one statement.
const TOGETHER: usize = 200;

/// Who sent versions of some objects, and when each said so last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Senders(BTreeMap<String, Vec<(Origin, i64)>>);

impl Senders {
    /// The newest version of the object `id` that `origin` sent to any collection, in
    /// microseconds; none: it sent none that is still there.
    pub fn newest(&self, id: &str, origin: Origin) -> Option<i64> {
        let all = self.0.get(id)?.iter();
        all.filter(|(of, _)| *of == origin).map(|(_, at)| *at).max()
    }

    /// Whoever sent a version of the object `id` that is still there, and its newest.
    pub fn of(&self, id: &str) -> &[(Origin, i64)] {
        self.0.get(id).map_or(&[], Vec::as_slice)
    }
}

impl Objects {
    /// Who sent versions of the objects `ids` that are still there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn senders(&self, ids: &[String]) -> Result<Senders, ObjectsError> {
        senders(&self.inner.db, ids).await
    }
}

/// As [`Objects::senders`], for who has the database alone.
pub(crate) async fn senders(db: &Db, ids: &[String]) -> Result<Senders, ObjectsError> {
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut all = Senders::default();
    for some in ids.chunks(TOGETHER) {
        let marks: Vec<String> = (1..=some.len()).map(|n| format!("${n}")).collect();
        let marks = marks.join(",");
        let sql = format!(
            "SELECT id, source, MAX(version) FROM isac_object WHERE id_hash IN ({marks}) GROUP BY id, source
             UNION ALL SELECT o.id, h.source, MAX(o.version) FROM isac_object o JOIN isac_held h ON h.object = o.seq WHERE o.id_hash IN ({marks}) GROUP BY o.id, h.source"
        );
        let mut query = sqlx::query_as::<_, (String, String, i64)>(AssertSqlSafe(sql));
        for id in some {
            query = query.bind(hash64(id.as_bytes()));
        }
        for (id, source, at) in query.fetch_all(db.pool()).await? {
            // Others may share the hash.
            if some.contains(&id.as_str()) {
                let of = Origin::from_column(&source);
                all.0.entry(id).or_default().push((of, at));
            }
        }
    }
    Ok(all)
}

/// The newest word of one sender on an object.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    /// Number of its row.
    pub(crate) seq: i64,
    /// Who sent it.
    pub(crate) origin: Origin,
    /// Its most closed marking.
    pub(crate) tlp: Tlp,
    /// The object as it was received.
    pub(crate) json: String,
}

type Sent = (i64, i64, String, String, i64, i64);

/// The newest word of each sender on the object `id`, in all collections but the one that is
/// numbered `but`.
///
/// # Errors
/// When the database fails.
pub(crate) async fn words(
    db: &mut sqlx::AnyConnection,
    id: &str,
    but: Option<i64>,
) -> Result<Vec<Word>, ObjectsError> {
    let rows: Vec<Sent> = sqlx::query_as(
        "SELECT seq, collection, id, source, version, place FROM isac_object WHERE id_hash = $1
         UNION ALL SELECT o.seq, o.collection, o.id, h.source, o.version, o.place FROM isac_object o JOIN isac_held h ON h.object = o.seq WHERE o.id_hash = $1",
    )
    .bind(hash64(id.as_bytes()))
    .fetch_all(&mut *db)
    .await?;
    let mut newest: HashMap<String, (i64, i64, i64)> = HashMap::new();
    for (seq, collection, of, source, version, place) in rows {
        if of != id || Some(collection) == but {
            continue;
        }
        let row = (version, seq, place);
        let kept = newest.entry(source).or_insert(row);
        *kept = (*kept).max(row);
    }
    let mut words = Vec::with_capacity(newest.len());
    for (source, (_, seq, place)) in newest {
        let (json,): (String,) = sqlx::query_as("SELECT json FROM isac_object WHERE seq = $1")
            .bind(seq)
            .fetch_one(&mut *db)
            .await?;
        words.push(Word {
            seq,
            origin: Origin::from_column(&source),
            tlp: super::place::tlp(place),
            json,
        });
    }
    Ok(words)
}
