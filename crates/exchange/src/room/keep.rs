//! Reading things of every kind by the table of their fields; [`super::write`] is the
//! other half.

use base::Timestamp;
use serde_json::Value;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _};
use store::{Actor, Page, PageRequest};
use uuid::Uuid;

use super::kind::{Field, Ty};
use super::things::{Id, Record, Stored, Thing, Values};
use super::{Exchange, Kind, RoomError};

/// Things of one kind that are read at once.
pub const ALL_MAX: i64 = 100_000;

/// Who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The person, node or task.
    pub actor: Actor,
    /// Names the request in the audit trail.
    pub request: Option<String>,
}

impl By {
    /// A task or command of the house.
    pub fn system(name: &'static str) -> Self {
        Self {
            actor: Actor::System(name),
            request: None,
        }
    }

    /// A person.
    pub fn user(user: base::UserId) -> Self {
        Self {
            actor: Actor::User(user),
            request: None,
        }
    }
}

/// Which things are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Words that the label or a text holds.
    pub words: Option<String>,
    /// Fields and the values that they must have.
    pub fields: Vec<(&'static str, String)>,
    /// Deleted ones, instead of those that are there.
    pub deleted: bool,
    /// Open personal data.
    pub personal: bool,
}

impl Wanted {
    /// Those whose `field` is `value`.
    pub fn by(field: &'static str, value: impl ToString) -> Self {
        Self {
            fields: vec![(field, value.to_string())],
            ..Self::default()
        }
    }
}

/// A value on its way into a statement.
pub(super) enum Bind {
    Number(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

pub(super) type Statement<'q> = Query<'q, Any, AnyArguments>;

pub(super) fn bind(statement: Statement<'_>, value: Bind) -> Statement<'_> {
    match value {
        Bind::Number(value) => statement.bind(value),
        Bind::Text(value) => statement.bind(value),
        Bind::Bytes(value) => statement.bind(value),
    }
}

pub(super) fn columns(kind: Kind) -> String {
    let names: Vec<&str> = kind.fields().iter().map(|field| field.name).collect();
    format!(
        "id, label, revision, created_at, updated_at, deleted_at, {}",
        names.join(", ")
    )
}

pub(super) fn context(kind: Kind, field: &Field, id: Uuid) -> String {
    format!("{}.{}/{id}", kind.table(), field.name)
}

impl Exchange {
    // ------------------------------------------------------------------ reading

    /// A page of things, by label.
    ///
    /// # Errors
    /// [`RoomError::Store`], also for a wrong cursor.
    pub async fn list(
        &self,
        kind: Kind,
        wanted: &Wanted,
        request: &PageRequest,
    ) -> Result<Page<Record>, RoomError> {
        let after: Option<(String, String)> = request.after(kind.path())?;
        let mut connection = self.connection().await?;
        let rows = self
            .select(&mut connection, kind, wanted, after, request.fetch())
            .await?;
        Ok(request.page(kind.path(), rows, |record| {
            (record.label.clone(), record.id.to_string())
        })?)
    }

    pub(super) async fn select(
        &self,
        connection: &mut AnyConnection,
        kind: Kind,
        wanted: &Wanted,
        after: Option<(String, String)>,
        limit: i64,
    ) -> Result<Vec<Record>, RoomError> {
        let mut conditions = vec![match wanted.deleted {
            true => "deleted_at IS NOT NULL".to_owned(),
            false => "deleted_at IS NULL".to_owned(),
        }];
        let mut binds = Vec::new();
        for (name, value) in &wanted.fields {
            let Some(field) = kind.field(name).filter(|field| !field.ty.is_sealed()) else {
                return Err(RoomError::not_found("field", name));
            };
            if field.ty.is_number() {
                let number = match value.as_str() {
                    "true" => 1,
                    "false" => 0,
                    text => match text.parse::<i64>() {
                        Ok(number) => number,
                        // Nothing has such a value.
                        Err(_) => return Ok(Vec::new()),
                    },
                };
                binds.push(Bind::Number(Some(number)));
            } else {
                binds.push(Bind::Text(Some(value.clone())));
            }
            conditions.push(format!("{} = ${}", field.name, binds.len()));
        }
        if let Some(words) = wanted
            .words
            .as_deref()
            .map(str::trim)
            .filter(|w| !w.is_empty())
        {
            let words: String = words.chars().take(100).collect();
            let pattern = words
                .to_lowercase()
                .replace('\\', "\\\\")
                .replace('%', "\\%")
                .replace('_', "\\_");
            binds.push(Bind::Text(Some(format!("%{pattern}%"))));
            let mark = binds.len();
            let mut any = vec![format!("lower(label) LIKE ${mark} ESCAPE '\\'")];
            for field in kind.fields() {
                if matches!(
                    field.ty,
                    Ty::Line(_)
                        | Ty::V4
                        | Ty::V6
                        | Ty::Ip
                        | Ty::Net4
                        | Ty::Net6
                        | Ty::Mac
                        | Ty::AsSet
                ) {
                    any.push(format!("lower({}) LIKE ${mark} ESCAPE '\\'", field.name));
                }
            }
            let digits = pattern.strip_prefix("as").unwrap_or(&pattern);
            if let (Some(field), Ok(asn)) = (kind.field("asn"), digits.parse::<u32>()) {
                any.push(format!("{} = {asn}", field.name));
            }
            conditions.push(format!("({})", any.join(" OR ")));
        }
        if let Some((label, id)) = after {
            binds.push(Bind::Text(Some(label)));
            binds.push(Bind::Text(Some(id)));
            let (a, b) = (binds.len() - 1, binds.len());
            conditions.push(format!("(label > ${a} OR (label = ${a} AND id > ${b}))"));
        }
        binds.push(Bind::Number(Some(limit)));
        let sql = format!(
            "SELECT {} FROM {} WHERE {} ORDER BY label, id LIMIT ${}",
            columns(kind),
            kind.table(),
            conditions.join(" AND "),
            binds.len()
        );
        let mut statement = sqlx::query(AssertSqlSafe(sql));
        for value in binds {
            statement = bind(statement, value);
        }
        let rows = statement.fetch_all(connection).await?;
        rows.iter()
            .map(|row| self.record(kind, row, wanted.personal))
            .collect()
    }

    /// Everything of a kind that is wanted, inside a transaction.
    pub(crate) async fn select_in(
        &self,
        connection: &mut AnyConnection,
        kind: Kind,
        wanted: &Wanted,
    ) -> Result<Vec<Record>, RoomError> {
        self.select(connection, kind, wanted, None, ALL_MAX).await
    }

    pub(crate) async fn connection(&self) -> Result<sqlx::pool::PoolConnection<Any>, RoomError> {
        Ok(self.inner.db.pool().acquire().await?)
    }

    pub(super) fn record(
        &self,
        kind: Kind,
        row: &AnyRow,
        personal: bool,
    ) -> Result<Record, RoomError> {
        let id: String = row.try_get("id")?;
        let id: Uuid = id
            .parse()
            .map_err(|_| RoomError::Data(format!("{} holds the id {id:?}", kind.table())))?;
        let mut values = Values::new();
        for field in kind.fields() {
            let value = match field.ty {
                Ty::Bool => Value::Bool(row.try_get::<i64, _>(field.name)? != 0),
                ty if ty.is_number() => row.try_get::<Option<i64>, _>(field.name)?.into(),
                ty if ty.is_sealed() => {
                    let sealed: Option<Vec<u8>> = row.try_get(field.name)?;
                    match sealed {
                        None => Value::Null,
                        Some(sealed) if personal && ty != Ty::Secret => self
                            .inner
                            .vault
                            .open_text(&context(kind, field, id), &sealed)?
                            .into(),
                        Some(_) => Value::Bool(true),
                    }
                }
                _ => row.try_get::<Option<String>, _>(field.name)?.into(),
            };
            values.insert(field.name.to_owned(), value);
        }
        Ok(Record {
            kind,
            id,
            label: row.try_get("label")?,
            revision: row.try_get("revision")?,
            created_at: Timestamp(row.try_get("created_at")?),
            updated_at: Timestamp(row.try_get("updated_at")?),
            deleted_at: row.try_get::<Option<i64>, _>("deleted_at")?.map(Timestamp),
            values,
        })
    }

    /// One thing, also when it is deleted.
    ///
    /// # Errors
    /// [`RoomError::NotFound`].
    pub async fn read(&self, kind: Kind, id: Uuid, personal: bool) -> Result<Record, RoomError> {
        let mut connection = self.connection().await?;
        self.read_in(&mut connection, kind, id, personal).await
    }

    pub(crate) async fn read_in(
        &self,
        connection: &mut AnyConnection,
        kind: Kind,
        id: Uuid,
        personal: bool,
    ) -> Result<Record, RoomError> {
        let sql = format!(
            "SELECT {} FROM {} WHERE id = $1",
            columns(kind),
            kind.table()
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_string())
            .fetch_optional(connection)
            .await?
            .ok_or_else(|| RoomError::not_found(kind.name(), id))?;
        self.record(kind, &row, personal)
    }

    /// Everything of a kind that is wanted, up to [`ALL_MAX`].
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn all_of(&self, kind: Kind, wanted: &Wanted) -> Result<Vec<Record>, RoomError> {
        let mut connection = self.connection().await?;
        self.select(&mut connection, kind, wanted, None, ALL_MAX)
            .await
    }

    /// As [`Self::all_of`], inside a transaction, typed.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn all_in<T: Thing>(
        &self,
        connection: &mut AnyConnection,
        wanted: &Wanted,
    ) -> Result<Vec<Stored<T>>, RoomError> {
        let rows = self
            .select(connection, T::KIND, wanted, None, ALL_MAX)
            .await?;
        rows.into_iter().map(typed).collect()
    }

    /// All `T` that are wanted, up to [`ALL_MAX`].
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn all<T: Thing>(&self, wanted: &Wanted) -> Result<Vec<Stored<T>>, RoomError> {
        let mut connection = self.connection().await?;
        self.all_in(&mut connection, wanted).await
    }

    /// A page of `T`.
    ///
    /// # Errors
    /// [`RoomError::Store`], also for a wrong cursor.
    pub async fn page<T: Thing>(
        &self,
        wanted: &Wanted,
        request: &PageRequest,
    ) -> Result<Page<Stored<T>>, RoomError> {
        let page = self.list(T::KIND, wanted, request).await?;
        Ok(Page {
            items: page
                .items
                .into_iter()
                .map(typed)
                .collect::<Result<_, _>>()?,
            next: page.next,
        })
    }

    /// One `T` that is not deleted.
    ///
    /// # Errors
    /// [`RoomError::NotFound`].
    pub async fn get<T: Thing>(&self, id: Id<T>) -> Result<Stored<T>, RoomError> {
        let mut connection = self.connection().await?;
        self.get_in(&mut connection, id).await
    }

    /// As [`Self::get`], inside a transaction.
    ///
    /// # Errors
    /// [`RoomError::NotFound`].
    pub async fn get_in<T: Thing>(
        &self,
        connection: &mut AnyConnection,
        id: Id<T>,
    ) -> Result<Stored<T>, RoomError> {
        let record = self.read_in(connection, T::KIND, id.0, false).await?;
        if record.deleted_at.is_some() {
            return Err(RoomError::not_found(T::KIND.name(), id));
        }
        typed(record)
    }

    /// How many things of a kind there are.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn count(&self, kind: Kind) -> Result<i64, RoomError> {
        let sql = format!(
            "SELECT count(*) FROM {} WHERE deleted_at IS NULL",
            kind.table()
        );
        let (count,): (i64,) = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_one(self.inner.db.pool())
            .await?;
        Ok(count)
    }

    /// The thing that `text` names: its id, its label; a member also by its AS number.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn resolve(
        &self,
        connection: &mut AnyConnection,
        kind: Kind,
        text: &str,
    ) -> Result<Option<Uuid>, RoomError> {
        let asn = match kind {
            Kind::Member => text.strip_prefix("AS").unwrap_or(text).parse::<u32>().ok(),
            _ => None,
        };
        let (condition, value) = match (text.parse::<Uuid>(), asn) {
            (Ok(id), _) => ("id = $1", Bind::Text(Some(id.to_string()))),
            (_, Some(asn)) => ("asn = $1", Bind::Number(Some(i64::from(asn)))),
            _ => ("label = $1", Bind::Text(Some(text.to_owned()))),
        };
        let sql = format!(
            "SELECT id FROM {} WHERE {condition} AND deleted_at IS NULL",
            kind.table()
        );
        let row = bind(sqlx::query(AssertSqlSafe(sql)), value)
            .fetch_optional(connection)
            .await?;
        match row {
            None => Ok(None),
            Some(row) => Ok(row.try_get::<String, _>("id")?.parse().ok()),
        }
    }
}

/// A typed thing from a record.
///
/// # Errors
/// [`RoomError::Data`] when what is kept does not fit the type.
pub fn typed<T: Thing>(record: Record) -> Result<Stored<T>, RoomError> {
    let value = serde_json::from_value(Value::Object(record.values)).map_err(|e| {
        RoomError::Data(format!(
            "{} {} cannot be read: {e}",
            record.kind.name(),
            record.id
        ))
    })?;
    Ok(Stored {
        id: Id::new(record.id),
        label: record.label,
        revision: record.revision,
        updated_at: record.updated_at,
        value,
    })
}
