//! Writing things of every kind by the table of their fields. Every change is one
//! transaction with its entry in the history and in the audit trail.

use base::{OrgId, Timestamp};
use casework::validate::Problem;
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use store::{AuditEntry, Tx};
use uuid::Uuid;

use super::error::problem;
use super::keep::{Bind, By, Wanted, bind, columns, context};
use super::kind::{Field, Ty};
use super::things::{Id, Record, Thing, Values};
use super::{Exchange, Kind, RoomError, history, label, rules, value};

/// Things of one kind that an exchange may hold, deleted ones too.
const THINGS_MAX: i64 = 100_000;

/// Fields whose values no two things of the kind may share, besides the label.
fn uniques(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Member => &["asn"],
        Kind::Vlan => &["tag"],
        Kind::Router => &["mac"],
        Kind::RouteServer => &["router_id"],
        _ => &[],
    }
}

impl Exchange {
    /// Makes a `T` inside the transaction of the caller.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] with every field that breaks a rule.
    pub async fn add<T: Thing>(&self, tx: &mut Tx, by: &By, thing: &T) -> Result<Id<T>, RoomError> {
        let record = self.create(tx, by, T::KIND, &values_of(thing)?).await?;
        Ok(Id::new(record.id))
    }

    /// Changes a `T` inside the transaction of the caller.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] with every field that breaks a rule.
    pub async fn set<T: Thing>(
        &self,
        tx: &mut Tx,
        by: &By,
        id: Id<T>,
        thing: &T,
    ) -> Result<(), RoomError> {
        let values = values_of(thing)?;
        self.update(tx, by, T::KIND, id.0, None, &values).await?;
        Ok(())
    }

    /// Makes a thing.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] with every field that breaks a rule.
    pub async fn create(
        &self,
        tx: &mut Tx,
        by: &By,
        kind: Kind,
        given: &Values,
    ) -> Result<Record, RoomError> {
        let sql = format!("SELECT count(*) FROM {}", kind.table());
        let (count,): (i64,) = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_one(&mut **tx)
            .await?;
        if count >= THINGS_MAX {
            return Err(RoomError::refused(
                format!("最多 {THINGS_MAX} 筆"),
                format!("there may be at most {THINGS_MAX}"),
            ));
        }
        let id = Uuid::now_v7();
        let mut values = self.prepare(tx, kind, None, given).await?;
        let holds = rules::check(self, tx, kind, id, &mut values).await?;
        let label = label::of(self, tx, kind, id, &values).await?;
        self.unique(tx, kind, id, &label, &values).await?;
        let now = self.now();
        let names: Vec<&str> = kind.fields().iter().map(|field| field.name).collect();
        let marks: Vec<String> = (1..=names.len() + 5).map(|n| format!("${n}")).collect();
        let sql = format!(
            "INSERT INTO {} (id, label, revision, created_at, updated_at, {}) VALUES ({})",
            kind.table(),
            names.join(", "),
            marks.join(", ")
        );
        let mut statement = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_string())
            .bind(&label)
            .bind(1_i64)
            .bind(now.micros())
            .bind(now.micros());
        for field in kind.fields() {
            statement = bind(statement, self.column(kind, field, id, &values)?);
        }
        statement.execute(&mut **tx).await?;
        rules::hold(tx, kind, id, &holds).await?;
        let changed = history::created(kind, &values);
        let record = Record {
            kind,
            id,
            label,
            revision: 1,
            created_at: now,
            updated_at: now,
            deleted_at: None,
            values: covered(kind, values),
        };
        self.record_change(tx, by, &record, "create", &changed)
            .await?;
        Ok(record)
    }

    /// Gives a thing other values: all of them; a secret that is to stay is `true`.
    /// With `revision`, only while that is the present one.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] with every field that breaks a rule; [`RoomError::Refused`]
    /// when somebody else was faster.
    pub async fn update(
        &self,
        tx: &mut Tx,
        by: &By,
        kind: Kind,
        id: Uuid,
        revision: Option<i64>,
        given: &Values,
    ) -> Result<Record, RoomError> {
        let before = self.present(tx, kind, id, revision).await?;
        let mut values = self.prepare(tx, kind, Some(&before), given).await?;
        let holds = rules::check(self, tx, kind, id, &mut values).await?;
        let label = label::of(self, tx, kind, id, &values).await?;
        self.unique(tx, kind, id, &label, &values).await?;
        let changed = history::changed(kind, &before.values, &values);
        if changed.is_empty() {
            return Ok(before);
        }
        let now = self.now();
        let written: Vec<&Field> = kind
            .fields()
            .iter()
            .filter(|field| !field.ty.is_sealed() || !is_kept(&values, field))
            .collect();
        let sets: Vec<String> = written
            .iter()
            .enumerate()
            .map(|(n, field)| format!("{} = ${}", field.name, n + 5))
            .collect();
        let sql = format!(
            "UPDATE {} SET label = $2, revision = $3, updated_at = $4, {} WHERE id = $1",
            kind.table(),
            sets.join(", ")
        );
        let mut statement = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_string())
            .bind(&label)
            .bind(before.revision + 1)
            .bind(now.micros());
        for field in written {
            statement = bind(statement, self.column(kind, field, id, &values)?);
        }
        statement.execute(&mut **tx).await?;
        rules::hold(tx, kind, id, &holds).await?;
        let renamed = before.label != label;
        let record = Record {
            label,
            revision: before.revision + 1,
            updated_at: now,
            values: covered(kind, values),
            ..before
        };
        self.record_change(tx, by, &record, "update", &changed)
            .await?;
        if renamed {
            label::refresh(self, tx, kind, id).await?;
        }
        Ok(record)
    }

    /// Gives some fields of a thing other values; the rest stays.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn change(
        &self,
        tx: &mut Tx,
        by: &By,
        kind: Kind,
        id: Uuid,
        fields: &[(&str, Value)],
    ) -> Result<Record, RoomError> {
        let mut values = self.present(tx, kind, id, None).await?.values;
        for (name, value) in fields {
            values.insert((*name).to_owned(), value.clone());
        }
        self.update(tx, by, kind, id, None, &values).await
    }

    /// Deletes a thing that nothing refers to; it can be restored.
    ///
    /// # Errors
    /// [`RoomError::Refused`] while something refers to it.
    pub async fn delete(
        &self,
        tx: &mut Tx,
        by: &By,
        kind: Kind,
        id: Uuid,
        revision: Option<i64>,
    ) -> Result<Record, RoomError> {
        let before = self.present(tx, kind, id, revision).await?;
        for (other, field) in kind.referrers() {
            let wanted = Wanted::by(field.name, id);
            let users = self.select(tx, other, &wanted, None, 6).await?;
            if let Some(first) = users.first() {
                let names: Vec<&str> = users.iter().take(5).map(|user| &*user.label).collect();
                let more = if users.len() > 5 { " …" } else { "" };
                return Err(RoomError::refused(
                    format!("還有其他資料使用它:{}{more}", names.join("、")),
                    format!(
                        "{} {}{more} still refer to it",
                        first.kind.path(),
                        names.join(", ")
                    ),
                ));
            }
        }
        rules::hold(tx, kind, id, &[]).await?;
        let record = self.mark(tx, before, Some(self.now())).await?;
        let nothing = Values::new();
        self.record_change(tx, by, &record, "delete", &nothing)
            .await?;
        Ok(record)
    }

    /// Brings a deleted thing back, if its place was not taken meanwhile.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] when a rule speaks against it.
    pub async fn restore(
        &self,
        tx: &mut Tx,
        by: &By,
        kind: Kind,
        id: Uuid,
    ) -> Result<Record, RoomError> {
        let record = self.read_in(tx, kind, id, false).await?;
        if record.deleted_at.is_none() {
            return Err(RoomError::refused("它沒有被刪除", "it is not deleted"));
        }
        let mut values = self
            .prepare(tx, kind, Some(&record), &record.values)
            .await?;
        let holds = rules::check(self, tx, kind, id, &mut values).await?;
        self.unique(tx, kind, id, &record.label, &values).await?;
        let record = self.mark(tx, record, None).await?;
        rules::hold(tx, kind, id, &holds).await?;
        let nothing = Values::new();
        self.record_change(tx, by, &record, "restore", &nothing)
            .await?;
        Ok(record)
    }

    async fn mark(
        &self,
        tx: &mut Tx,
        record: Record,
        deleted_at: Option<Timestamp>,
    ) -> Result<Record, RoomError> {
        let now = self.now();
        let sql = format!(
            "UPDATE {} SET deleted_at = $2, revision = $3, updated_at = $4 WHERE id = $1",
            record.kind.table()
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(record.id.to_string())
            .bind(deleted_at.map(Timestamp::micros))
            .bind(record.revision + 1)
            .bind(now.micros())
            .execute(&mut **tx)
            .await?;
        Ok(Record {
            revision: record.revision + 1,
            updated_at: now,
            deleted_at,
            ..record
        })
    }

    /// A thing as it is, if it is there and nobody was faster.
    async fn present(
        &self,
        tx: &mut Tx,
        kind: Kind,
        id: Uuid,
        revision: Option<i64>,
    ) -> Result<Record, RoomError> {
        let record = self.read_in(tx, kind, id, false).await?;
        if record.deleted_at.is_some() {
            return Err(RoomError::not_found(kind.name(), id));
        }
        if revision.is_some_and(|revision| revision != record.revision) {
            return Err(RoomError::refused(
                "這筆資料剛被別人修改,請重新載入後再試",
                format!(
                    "somebody else changed it meanwhile: it is at revision {}",
                    record.revision
                ),
            ));
        }
        Ok(record)
    }

    /// Every field read, references resolved; what is absent takes its default.
    async fn prepare(
        &self,
        tx: &mut Tx,
        kind: Kind,
        before: Option<&Record>,
        given: &Values,
    ) -> Result<Values, RoomError> {
        let mut wrong: Vec<Problem> = Vec::new();
        for name in given.keys() {
            if kind.field(name).is_none() {
                wrong.push(problem(name, "", "unknown", "沒有這個欄位", "is no field"));
            }
        }
        let mut values = Values::new();
        for field in kind.fields() {
            let absent = Value::from(field.default);
            let given = given.get(field.name).unwrap_or(&absent);
            if field.ty.is_sealed() && *given == Value::Bool(true) {
                let kept = before.is_some_and(|b| !b.values[field.name].is_null());
                if kept {
                    values.insert(field.name.to_owned(), Value::Bool(true));
                } else {
                    wrong.push(problem(
                        field.name,
                        "true",
                        "kept",
                        "沒有可保留的值",
                        "there is none to keep",
                    ));
                }
                continue;
            }
            match value::read(field, given) {
                Ok(value) => {
                    values.insert(field.name.to_owned(), value);
                }
                Err(why) => {
                    let shown = match field.ty.is_sealed() {
                        true => "…".to_owned(),
                        false => given
                            .as_str()
                            .map_or_else(|| given.to_string(), str::to_owned),
                    };
                    wrong.push(Problem {
                        field: field.name.to_owned(),
                        value: shown.chars().take(60).collect(),
                        rule: why.rule,
                        message: why.text,
                    });
                }
            }
        }
        for field in kind.fields() {
            let Ty::Ref(other) = field.ty else { continue };
            let Some(Value::String(text)) = values.get(field.name) else {
                continue;
            };
            let text = text.clone();
            match self.resolve(tx, other, &text).await? {
                Some(found) => {
                    values.insert(field.name.to_owned(), found.to_string().into());
                }
                None => wrong.push(problem(
                    field.name,
                    &text,
                    "reference",
                    "沒有這一筆",
                    format!("is no {}", other.name()),
                )),
            }
        }
        if wrong.is_empty() {
            Ok(values)
        } else {
            Err(RoomError::Invalid(wrong))
        }
    }

    /// Names the field in the way when a value is taken already.
    async fn unique(
        &self,
        tx: &mut Tx,
        kind: Kind,
        id: Uuid,
        label: &str,
        values: &Values,
    ) -> Result<(), RoomError> {
        let mut wrong = Vec::new();
        let named = label::naming_field(kind);
        let mut checks = vec![(named, Wanted::default(), Some(label))];
        for name in uniques(kind) {
            let text = match &values[*name] {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            checks.push((*name, Wanted::by(name, text), None));
        }
        for (field, wanted, label) in checks {
            let other = match label {
                Some(label) => {
                    let sql = format!(
                        "SELECT {} FROM {} WHERE label = $1 AND deleted_at IS NULL AND id <> $2 LIMIT 1",
                        columns(kind),
                        kind.table()
                    );
                    let row = sqlx::query(AssertSqlSafe(sql))
                        .bind(label)
                        .bind(id.to_string())
                        .fetch_optional(&mut **tx)
                        .await?;
                    row.map(|row| self.record(kind, &row, false)).transpose()?
                }
                None => self
                    .select(tx, kind, &wanted, None, 2)
                    .await?
                    .into_iter()
                    .find(|other| other.id != id),
            };
            if let Some(other) = other {
                let value = values
                    .get(field)
                    .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                    .unwrap_or_default();
                wrong.push(problem(
                    field,
                    &value,
                    "conflict",
                    format!("已被 {} 使用", other.label),
                    format!("is taken by {} already", other.label),
                ));
            }
        }
        if kind == Kind::Maintenance {
            return Ok(());
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(RoomError::Invalid(wrong))
        }
    }

    fn column(
        &self,
        kind: Kind,
        field: &Field,
        id: Uuid,
        values: &Values,
    ) -> Result<Bind, RoomError> {
        let value = values.get(field.name).unwrap_or(&Value::Null);
        Ok(match field.ty {
            Ty::Bool => Bind::Number(Some(i64::from(value.as_bool().unwrap_or(false)))),
            ty if ty.is_number() => Bind::Number(value.as_i64()),
            ty if ty.is_sealed() => Bind::Bytes(match value.as_str() {
                Some(text) => Some(
                    self.inner
                        .vault
                        .seal_text(&context(kind, field, id), text)?,
                ),
                None => None,
            }),
            _ => Bind::Text(value.as_str().map(str::to_owned)),
        })
    }

    /// A secret in the clear, for the one place that hands it to a route server.
    pub(crate) async fn secret(
        &self,
        connection: &mut AnyConnection,
        kind: Kind,
        id: Uuid,
        name: &str,
    ) -> Result<Option<String>, RoomError> {
        let field = kind
            .field(name)
            .ok_or_else(|| RoomError::not_found("field", name))?;
        let sql = format!("SELECT {} FROM {} WHERE id = $1", field.name, kind.table());
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_string())
            .fetch_one(connection)
            .await?;
        let sealed: Option<Vec<u8>> = row.try_get(field.name)?;
        match sealed {
            None => Ok(None),
            Some(sealed) => Ok(Some(
                self.inner
                    .vault
                    .open_text(&context(kind, field, id), &sealed)?,
            )),
        }
    }

    async fn record_change(
        &self,
        tx: &mut Tx,
        by: &By,
        record: &Record,
        action: &'static str,
        fields: &Values,
    ) -> Result<(), RoomError> {
        history::write(tx, by, record, action, fields).await?;
        let org = self.org_of(tx, record).await?;
        let mut shown = fields.clone();
        if shown.contains_key("policy") {
            // A policy is longer than an entry may be; the history holds it.
            shown.insert("policy".to_owned(), json!("changed"));
        }
        let mut entry = AuditEntry::new(
            by.actor.clone(),
            format!("exchange.{}.{action}", record.kind.name()),
            format!("exchange-{}:{}", record.kind.name(), record.id),
        )
        .detail(json!({ "label": record.label, "revision": record.revision, "fields": shown }));
        entry.org = org;
        entry.request_id.clone_from(&by.request);
        tx.audit(entry).await?;
        Ok(())
    }

    /// The organisation that a thing concerns.
    async fn org_of(&self, tx: &mut Tx, record: &Record) -> Result<Option<OrgId>, RoomError> {
        let member = match record.kind {
            Kind::Member => return Ok(record.text("org").parse().ok()),
            Kind::Session => match record.reference("router") {
                Some(router) => self
                    .read_in(tx, Kind::Router, router, false)
                    .await?
                    .reference("member"),
                None => None,
            },
            _ => record.reference("member"),
        };
        match member {
            None => Ok(None),
            Some(member) => Ok(self
                .read_in(tx, Kind::Member, member, false)
                .await?
                .text("org")
                .parse()
                .ok()),
        }
    }
}

fn is_kept(values: &Values, field: &Field) -> bool {
    values.get(field.name) == Some(&Value::Bool(true))
}

/// Values without what is sealed.
fn covered(kind: Kind, mut values: Values) -> Values {
    for field in kind.fields().iter().filter(|field| field.ty.is_sealed()) {
        if let Some(value) = values.get_mut(field.name)
            && !value.is_null()
        {
            *value = Value::Bool(true);
        }
    }
    values
}

fn values_of<T: Thing>(thing: &T) -> Result<Values, RoomError> {
    match serde_json::to_value(thing) {
        Ok(Value::Object(values)) => Ok(values),
        Ok(_) => Err(RoomError::Data("a thing must be an object".into())),
        Err(error) => Err(RoomError::Data(error.to_string())),
    }
}
