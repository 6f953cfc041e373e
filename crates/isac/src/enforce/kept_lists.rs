//! Warning lists in the database: made, brought, changed and thrown away by operators, each
//! with its entry in the audit trail; the built-in ones, of which only the effect can be changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::Timestamp;
use serde_json::json;
use sqlx::AssertSqlSafe;
use store::{Actor, Page, PageRequest, Tx};

use super::engine::{EnforceError, Enforcements, audit};
use super::lists::{
    self, ABOUT_CHARS_MAX, ALL_ENTRIES_MAX, BUILT_IN, Document, ENTRIES_MAX, Effect, LISTS_MAX,
    List, ListKind, Lists, TITLE_CHARS_MAX,
};

/// Entries written by one statement.
const ROWS: usize = 100;
/// Entries that break rules which are named.
const WRONG_MAX: usize = 20;

/// A list as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Under which name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it is for.
    pub about: String,
    /// How entries are compared.
    pub kind: ListKind,
    /// What a hit means.
    pub effect: Effect,
    /// Its version, as its document says.
    pub version: i64,
    /// How many entries it has.
    pub entries: u64,
    /// Whether it comes with the program: then only its effect can be changed.
    pub is_built_in: bool,
    /// Who changed it last; nobody, when it is as it came.
    pub made_by: Option<String>,
    /// When.
    pub made_at: Option<Timestamp>,
}

/// A list that was read last, with the number of the change that it was read after.
#[derive(Default)]
pub(super) struct Shelf {
    changes: AtomicU64,
    kept: Mutex<Option<(u64, Arc<Lists>)>>,
}

impl Shelf {
    /// How many changes there were.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<(u64, Arc<Lists>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row: name, title, about, kind, effect, version, entries, who, when.
type Row = (
    String,
    String,
    String,
    String,
    String,
    i64,
    i64,
    String,
    i64,
);

fn bad(field: &'static str, rule: impl Into<String>) -> EnforceError {
    EnforceError::Policy(vec![(field, rule.into())])
}

fn built_in(name: &str) -> Option<&'static lists::BuiltIn> {
    BUILT_IN.iter().find(|one| one.name == name)
}

impl Enforcements {
    /// All lists, the built-in ones first.
    ///
    /// # Errors
    /// [`EnforceError::Store`]; [`EnforceError::Row`] for what cannot be read.
    pub async fn lists(&self) -> Result<Vec<Kept>, EnforceError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT name, title, about, kind, effect, version, entries, made_by, made_at FROM enforce_list ORDER BY name",
        )
        .fetch_all(self.inner.db.pool())
        .await?;
        let mut stored: BTreeMap<String, Row> =
            rows.into_iter().map(|row| (row.0.clone(), row)).collect();
        let mut all = Vec::with_capacity(BUILT_IN.len() + stored.len());
        for one in &BUILT_IN {
            let document = one.document().map_err(EnforceError::Row)?;
            let changed = stored.remove(one.name);
            let effect = match &changed {
                Some(row) => effect_of(&row.4)?,
                None => one.effect,
            };
            all.push(Kept {
                name: one.name.to_owned(),
                title: document.name,
                about: document.description,
                kind: document.kind,
                effect,
                version: document.version,
                entries: document.list.len() as u64,
                is_built_in: true,
                made_by: changed.as_ref().map(|row| row.7.clone()),
                made_at: changed.as_ref().map(|row| Timestamp(row.8)),
            });
        }
        for (name, title, about, kind, effect, version, entries, made_by, made_at) in
            stored.into_values()
        {
            all.push(Kept {
                kind: ListKind::from_name(&kind)
                    .ok_or_else(|| EnforceError::Row(format!("kind {kind:?} of a warning list")))?,
                effect: effect_of(&effect)?,
                entries: u64::try_from(entries).unwrap_or(0),
                is_built_in: false,
                made_by: Some(made_by),
                made_at: Some(Timestamp(made_at)),
                name,
                title,
                about,
                version,
            });
        }
        Ok(all)
    }

    /// The list of that name.
    ///
    /// # Errors
    /// [`EnforceError::NoList`].
    pub async fn list(&self, name: &str) -> Result<Kept, EnforceError> {
        let all = self.lists().await?.into_iter();
        all.into_iter()
            .find(|one| one.name == name)
            .ok_or_else(|| EnforceError::NoList(name.chars().take(80).collect()))
    }

    /// A page of a list's entries in their order, those that hold `part`.
    ///
    /// # Errors
    /// [`EnforceError::NoList`].
    pub async fn list_entries(
        &self,
        name: &str,
        part: &str,
        request: &PageRequest,
    ) -> Result<Page<String>, EnforceError> {
        const LIST: &str = "entries of a warning list";
        let after: String = request.after(LIST)?.unwrap_or_default();
        let part = part.trim().to_lowercase();
        if let Some(one) = built_in(name) {
            let document = one.document().map_err(EnforceError::Row)?;
            let all: BTreeSet<String> = document.list.into_iter().collect();
            let some = all
                .into_iter()
                .filter(|text| *text > after && text.to_lowercase().contains(&part))
                .take(usize::try_from(request.fetch()).unwrap_or(0))
                .collect();
            return Ok(request.page(LIST, some, |text: &String| text.clone())?);
        }
        self.list(name).await?;
        let some: Vec<String> = sqlx::query_scalar(
            "SELECT value FROM enforce_list_entry WHERE list = $1 AND value > $2 AND LOWER(value) LIKE $3 ESCAPE '\\' ORDER BY value LIMIT $4",
        )
        .bind(name)
        .bind(after)
        .bind(format!("%{}%", escaped(&part)))
        .bind(request.fetch())
        .fetch_all(self.inner.db.pool())
        .await?;
        Ok(request.page(LIST, some, |text: &String| text.clone())?)
    }

    /// Makes a list, or puts another in the place of the one of that name; returns how many
    /// entries it has. Entries that break a rule are named, and nothing is changed.
    ///
    /// # Errors
    /// [`EnforceError::Policy`] with what is wrong.
    pub async fn put_list(
        &self,
        actor: Actor,
        request: Option<&str>,
        name: &str,
        effect: Effect,
        document: &Document,
    ) -> Result<u64, EnforceError> {
        if lists::slug(name) != name || name.is_empty() {
            return Err(bad("name", "must be of a-z, 0-9 and hyphens, at most 60"));
        }
        if built_in(name).is_some() {
            return Err(bad(
                "name",
                "is a built-in list: only its effect can be changed",
            ));
        }
        let title = document.name.trim();
        if title.is_empty() || title.chars().count() > TITLE_CHARS_MAX {
            let rule = format!("must have 1 to {TITLE_CHARS_MAX} characters");
            return Err(bad("title", rule));
        }
        let entries = checked(document.kind, &document.list)?;
        let count = entries.len() as i64;
        let about: String = document.description.chars().take(ABOUT_CHARS_MAX).collect();
        let mut tx = self.inner.db.begin().await?;
        self.room(&mut tx, name, count).await?;
        sqlx::query("DELETE FROM enforce_list_entry WHERE list = $1")
            .bind(name)
            .execute(&mut *tx)
            .await?;
        add(&mut tx, name, &entries).await?;
        sqlx::query(
            "INSERT INTO enforce_list (name, title, about, kind, effect, version, entries, made_by, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (name) DO UPDATE SET title = excluded.title, about = excluded.about, kind = excluded.kind, effect = excluded.effect,
             version = excluded.version, entries = excluded.entries, made_by = excluded.made_by, made_at = excluded.made_at",
        )
        .bind(name)
        .bind(title)
        .bind(about)
        .bind(document.kind.name())
        .bind(effect.name())
        .bind(document.version)
        .bind(count)
        .bind(actor.to_string())
        .bind(self.now().micros())
        .execute(&mut *tx)
        .await?;
        let detail = json!({ "title": title, "kind": document.kind, "effect": effect, "entries": count, "version": document.version });
        let subject = format!("warning-list:{name}");
        audit(&mut tx, actor, request, "enforcement.list", subject, detail).await?;
        tx.commit().await?;
        self.inner.shelf.changed();
        Ok(entries.len() as u64)
    }

    /// Says what a hit on a list means from here on.
    ///
    /// # Errors
    /// [`EnforceError::NoList`].
    pub async fn set_list_effect(
        &self,
        actor: Actor,
        request: Option<&str>,
        name: &str,
        effect: Effect,
    ) -> Result<(), EnforceError> {
        let before = self.list(name).await?;
        let mut tx = self.inner.db.begin().await?;
        // Of a built-in list the row says nothing but its effect.
        sqlx::query(
            "INSERT INTO enforce_list (name, title, about, kind, effect, version, entries, made_by, made_at) VALUES ($1, '', '', $2, $3, 0, 0, $4, $5)
             ON CONFLICT (name) DO UPDATE SET effect = excluded.effect, made_by = excluded.made_by, made_at = excluded.made_at",
        )
        .bind(name)
        .bind(before.kind.name())
        .bind(effect.name())
        .bind(actor.to_string())
        .bind(self.now().micros())
        .execute(&mut *tx)
        .await?;
        let detail = json!({ "from": before.effect, "to": effect });
        let subject = format!("warning-list:{name}");
        audit(
            &mut tx,
            actor,
            request,
            "enforcement.list-effect",
            subject,
            detail,
        )
        .await?;
        tx.commit().await?;
        self.inner.shelf.changed();
        Ok(())
    }

    /// Adds entries to a list of the house's own, and takes others from it; returns how
    /// many were added and taken.
    ///
    /// # Errors
    /// [`EnforceError::Policy`] with what is wrong; [`EnforceError::Conflict`] for a built-in list.
    pub async fn change_list(
        &self,
        actor: Actor,
        request: Option<&str>,
        name: &str,
        more: &[String],
        less: &[String],
    ) -> Result<(u64, u64), EnforceError> {
        let kept = self.own_list(name).await?;
        let more = checked(kept.kind, more)?;
        let mut tx = self.inner.db.begin().await?;
        let mut taken = 0;
        for value in less {
            let done = sqlx::query("DELETE FROM enforce_list_entry WHERE list = $1 AND value = $2")
                .bind(name)
                .bind(value)
                .execute(&mut *tx)
                .await?;
            taken += done.rows_affected();
        }
        let added = add(&mut tx, name, &more).await?;
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM enforce_list_entry WHERE list = $1")
                .bind(name)
                .fetch_one(&mut *tx)
                .await?;
        self.room(&mut tx, name, count).await?;
        sqlx::query(
            "UPDATE enforce_list SET entries = $2, made_by = $3, made_at = $4 WHERE name = $1",
        )
        .bind(name)
        .bind(count)
        .bind(actor.to_string())
        .bind(self.now().micros())
        .execute(&mut *tx)
        .await?;
        let some = |all: &[String]| all.iter().take(WRONG_MAX).cloned().collect::<Vec<_>>();
        let detail = json!({ "added": added, "taken": taken, "entries": some(&more), "without": some(less) });
        let subject = format!("warning-list:{name}");
        audit(
            &mut tx,
            actor,
            request,
            "enforcement.list-entries",
            subject,
            detail,
        )
        .await?;
        tx.commit().await?;
        self.inner.shelf.changed();
        Ok((added, taken))
    }

    /// Throws a list of the house's own away.
    ///
    /// # Errors
    /// [`EnforceError::Conflict`] for a built-in list.
    pub async fn drop_list(
        &self,
        actor: Actor,
        request: Option<&str>,
        name: &str,
    ) -> Result<(), EnforceError> {
        let kept = self.own_list(name).await?;
        let mut tx = self.inner.db.begin().await?;
        for table in ["enforce_list_entry WHERE list", "enforce_list WHERE name"] {
            sqlx::query(AssertSqlSafe(format!("DELETE FROM {table} = $1")))
                .bind(name)
                .execute(&mut *tx)
                .await?;
        }
        let detail = json!({ "title": kept.title, "entries": kept.entries });
        let subject = format!("warning-list:{name}");
        audit(
            &mut tx,
            actor,
            request,
            "enforcement.list-drop",
            subject,
            detail,
        )
        .await?;
        tx.commit().await?;
        self.inner.shelf.changed();
        Ok(())
    }

    async fn own_list(&self, name: &str) -> Result<Kept, EnforceError> {
        let kept = self.list(name).await?;
        if kept.is_built_in {
            return Err(EnforceError::Conflict(format!(
                "the warning list {name} is built in: only its effect can be changed"
            )));
        }
        Ok(kept)
    }

    /// Whether there is room for `count` entries in the list `name`.
    async fn room(&self, tx: &mut Tx, name: &str, count: i64) -> Result<(), EnforceError> {
        let (lists, entries): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), CAST(COALESCE(SUM(entries), 0) AS BIGINT) FROM enforce_list WHERE name <> $1",
        )
        .bind(name)
        .fetch_one(&mut **tx)
        .await?;
        let most = |what, count: i64, max: usize| match usize::try_from(count).unwrap_or(0) {
            count if count > max => Err(EnforceError::TooMany { what, count, max }),
            _ => Ok(()),
        };
        most("warning lists", lists + 1, LISTS_MAX)?;
        most("entries of a warning list", count, ENTRIES_MAX)?;
        most(
            "entries of all warning lists",
            entries + count,
            ALL_ENTRIES_MAX,
        )
    }

    /// The lists that are obeyed, and after which change they were read.
    pub(super) async fn obeyed(&self) -> Result<(u64, Arc<Lists>), EnforceError> {
        let changes = self.inner.shelf.changes();
        let kept = self.inner.shelf.place().clone();
        if let Some(kept) = kept.filter(|(at, _)| *at == changes) {
            return Ok(kept);
        }
        let mut all = Vec::new();
        for kept in self.lists().await? {
            if kept.effect == Effect::Off {
                continue;
            }
            let entries = match built_in(&kept.name) {
                Some(one) => one.document().map_err(EnforceError::Row)?.list,
                None => {
                    sqlx::query_scalar("SELECT value FROM enforce_list_entry WHERE list = $1")
                        .bind(&kept.name)
                        .fetch_all(self.inner.db.pool())
                        .await?
                }
            };
            all.push(List {
                title: kept.title,
                kind: kept.kind,
                effect: kept.effect,
                entries,
            });
        }
        let (lists, left) = tokio::task::spawn_blocking(move || Lists::of(all))
            .await
            .map_err(|error| EnforceError::Row(error.to_string()))?;
        if left > 0 {
            tracing::warn!(
                left,
                "Entries of warning lists are not obeyed: there are too many"
            );
        }
        let fresh = (changes, Arc::new(lists));
        *self.inner.shelf.place() = Some(fresh.clone());
        Ok(fresh)
    }
}

fn effect_of(name: &str) -> Result<Effect, EnforceError> {
    Effect::from_name(name)
        .ok_or_else(|| EnforceError::Row(format!("effect {name:?} of a warning list")))
}

/// Text as part of a `LIKE`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Entries as they are kept, each once.
fn checked(kind: ListKind, all: &[String]) -> Result<Vec<String>, EnforceError> {
    let mut good = BTreeSet::new();
    let mut wrong = Vec::new();
    for text in all.iter().filter(|text| !text.trim().is_empty()) {
        match lists::entry(kind, text) {
            Ok(entry) => drop(good.insert(entry)),
            Err(rule) if wrong.len() < WRONG_MAX => {
                let short: String = text.chars().take(80).collect();
                wrong.push(("entries", format!("{short:?} {rule}")));
            }
            Err(_) => {}
        }
    }
    let slow = matches!(kind, ListKind::Substring | ListKind::Regex);
    let max = if slow {
        lists::SLOW_ENTRIES_MAX
    } else {
        ENTRIES_MAX
    };
    if good.len() > max {
        wrong.push((
            "entries",
            format!("{} entries: must be at most {max}", good.len()),
        ));
    }
    if good.is_empty() && wrong.is_empty() && !all.is_empty() {
        wrong.push(("entries", "must have at least one entry".to_owned()));
    }
    match wrong.is_empty() {
        true => Ok(good.into_iter().collect()),
        false => Err(EnforceError::Policy(wrong)),
    }
}

async fn add(tx: &mut Tx, name: &str, entries: &[String]) -> Result<u64, EnforceError> {
    let mut added = 0;
    for some in entries.chunks(ROWS) {
        let marks: Vec<String> = (0..some.len())
            .map(|n| format!("($1, ${})", n + 2))
            .collect();
        let sql = format!(
            "INSERT INTO enforce_list_entry (list, value) VALUES {} ON CONFLICT (list, value) DO NOTHING",
            marks.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(name);
        for value in some {
            query = query.bind(value);
        }
        added += query.execute(&mut **tx).await?.rows_affected();
    }
    Ok(added)
}
