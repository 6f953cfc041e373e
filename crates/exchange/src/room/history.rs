//! The history of every thing: who changed what, when, from what to what; and taking
//! the last change back where that is safe.
//!
//! Sealed fields stand in the history as `"sealed"`: their values are kept nowhere but
//! in their own row, and a change of one cannot be taken back.

use base::Timestamp;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::{Page, PageRequest, Tx};
use uuid::Uuid;

use super::keep::By;
use super::things::{Record, Values};
use super::{Exchange, Kind, RoomError};

/// What stands for a value that is sealed.
pub const SEALED: &str = "sealed";

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its number; later ones sort later.
    pub id: Uuid,
    /// What was changed.
    pub kind: Kind,
    /// Which.
    pub thing: Uuid,
    /// What it was called after the change.
    pub label: String,
    /// Its revision after the change.
    pub revision: i64,
    /// When.
    pub at: Timestamp,
    /// `user:…`, `node:…` or `system:…`.
    pub actor: String,
    /// `create`, `update`, `delete`, `restore`.
    pub action: String,
    /// Each field that changed: before and after.
    pub fields: Vec<(String, Value, Value)>,
}

/// The fields of a new thing.
pub(super) fn created(kind: Kind, values: &Values) -> Values {
    let nothing = Values::new();
    changed(kind, &nothing, values)
}

/// The fields that differ: name, and `[before, after]`.
pub(super) fn changed(kind: Kind, before: &Values, after: &Values) -> Values {
    let mut all = Values::new();
    for field in kind.fields() {
        let old = before.get(field.name).unwrap_or(&Value::Null);
        let new = after.get(field.name).unwrap_or(&Value::Null);
        if field.ty.is_sealed() {
            let cover = |value: &Value| match value {
                Value::Null => Value::Null,
                _ => SEALED.into(),
            };
            // `true` stands for the value that is kept already.
            if *new != Value::Bool(true) && !(old.is_null() && new.is_null()) {
                all.insert(field.name.to_owned(), json!([cover(old), cover(new)]));
            }
        } else if old != new {
            all.insert(field.name.to_owned(), json!([old, new]));
        }
    }
    all
}

/// Adds a change to the history.
pub(super) async fn write(
    tx: &mut Tx,
    by: &By,
    record: &Record,
    action: &str,
    fields: &Values,
) -> Result<(), RoomError> {
    sqlx::query(
        "INSERT INTO exchange_change (id, kind, thing, label, revision, at, actor, action, fields)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(record.kind.name())
    .bind(record.id.to_string())
    .bind(&record.label)
    .bind(record.revision)
    .bind(record.updated_at.micros())
    .bind(by.actor.to_string())
    .bind(action)
    .bind(Value::Object(fields.clone()).to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn change_of(row: &AnyRow) -> Result<Change, RoomError> {
    let unreadable = |what: &str| RoomError::Data(format!("a change holds an unknown {what}"));
    let kind: String = row.try_get("kind")?;
    let fields: String = row.try_get("fields")?;
    let fields: Values = serde_json::from_str(&fields).map_err(|_| unreadable("list of fields"))?;
    let parse = |text: String| text.parse::<Uuid>().map_err(|_| unreadable("id"));
    Ok(Change {
        id: parse(row.try_get("id")?)?,
        kind: Kind::from_name(&kind).ok_or_else(|| unreadable("kind"))?,
        thing: parse(row.try_get("thing")?)?,
        label: row.try_get("label")?,
        revision: row.try_get("revision")?,
        at: Timestamp(row.try_get("at")?),
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        fields: fields
            .into_iter()
            .map(|(name, pair)| {
                let old = pair.get(0).cloned().unwrap_or_default();
                let new = pair.get(1).cloned().unwrap_or_default();
                (name, old, new)
            })
            .collect(),
    })
}

const COLUMNS: &str = "id, kind, thing, label, revision, at, actor, action, fields";

impl Exchange {
    /// A page of changes, newest first: of one thing, or of all.
    ///
    /// # Errors
    /// [`RoomError::Store`], also for a wrong cursor.
    pub async fn history(
        &self,
        thing: Option<Uuid>,
        request: &PageRequest,
    ) -> Result<Page<Change>, RoomError> {
        const LIST: &str = "exchange-history";
        let before: String = request.after(LIST)?.unwrap_or_else(|| "g".to_owned());
        let sql = match thing {
            Some(_) => format!(
                "SELECT {COLUMNS} FROM exchange_change WHERE thing = $3 AND id < $1 ORDER BY id DESC LIMIT $2"
            ),
            None => format!(
                "SELECT {COLUMNS} FROM exchange_change WHERE id < $1 ORDER BY id DESC LIMIT $2"
            ),
        };
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(before)
            .bind(request.fetch());
        if let Some(thing) = thing {
            query = query.bind(thing.to_string());
        }
        let rows = query.fetch_all(self.db().pool()).await?;
        let changes: Vec<Change> = rows.iter().map(change_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, changes, |change| change.id.to_string())?)
    }

    /// One change.
    ///
    /// # Errors
    /// [`RoomError::NotFound`].
    pub async fn one_change(&self, id: Uuid) -> Result<Change, RoomError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM exchange_change WHERE id = $1"
        )))
        .bind(id.to_string())
        .fetch_optional(self.db().pool())
        .await?
        .ok_or_else(|| RoomError::not_found("change", id))?;
        change_of(&row)
    }

    /// Takes a change back, if it is the last one of its thing and touched nothing that
    /// is sealed: a creation by deleting, a deletion by restoring, a change by giving the
    /// fields their former values. This is a change itself.
    ///
    /// # Errors
    /// [`RoomError::Refused`] when it is not the last one; rules as for any change.
    pub async fn undo(&self, tx: &mut Tx, by: &By, id: Uuid) -> Result<Record, RoomError> {
        let change = self.one_change(id).await?;
        let Change { kind, thing, .. } = change;
        let record = self.read_in(tx, kind, thing, false).await?;
        if record.revision != change.revision {
            return Err(RoomError::refused(
                "之後還有其他變更,不能直接復原這一次",
                "it was changed again since: only the last change can be undone",
            ));
        }
        match change.action.as_str() {
            "create" | "restore" => self.delete(tx, by, kind, thing, None).await,
            "delete" => self.restore(tx, by, kind, thing).await,
            _ => {
                let sealed = change
                    .fields
                    .iter()
                    .find(|(name, ..)| kind.field(name).is_none_or(|field| field.ty.is_sealed()));
                if let Some((name, ..)) = sealed {
                    return Err(RoomError::refused(
                        format!("{name} 是密封欄位,舊值沒有保留,請直接修改"),
                        format!("{name} is sealed: its former value is not kept, set it anew"),
                    ));
                }
                let before: Vec<(&str, Value)> = change
                    .fields
                    .iter()
                    .map(|(name, old, _)| (name.as_str(), old.clone()))
                    .collect();
                self.change(tx, by, kind, thing, &before).await
            }
        }
    }
}
