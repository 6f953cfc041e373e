//! Forms: new things, changes, deletion that asks first, restoring, undoing.

use axum::extract::{Path, State};
use casework::body::{Body, hidden, other_errors, show, show_with};
use serde_json::Value;
use store::PageRequest;
use uuid::Uuid;
use web::ui::{self, Field as Input, Markup};
use web::{ApiQuery, FieldError, FormPairs, Level, PageForm, Paging, Visit, WebError, WebResult};

use super::parts;
use crate::room::kind::{Field, SPEEDS, Ty};
use crate::room::shell::{AGAIN, Desk, by, kind_of};
use crate::room::{Kind, Record, Values, Wanted, value};

/// Things that a select offers; with more, the label is typed.
const OPTIONS_MAX: u32 = 500;
/// What stands in a form for a secret that stays.
const CLEAR: &str = "clear-";

/// A new thing; fields in the query are filled in: `?member=<id>`.
pub(super) async fn new(
    State(desk): State<Desk>,
    visit: Visit,
    Path(kind): Path<String>,
    ApiQuery(pairs): ApiQuery<Vec<(String, String)>>,
) -> WebResult {
    let kind = kind_of(&kind)?;
    let mut values = Values::new();
    for field in kind.fields() {
        let given = pairs.iter().find(|(name, _)| name == field.name);
        let text = given.map_or(field.default, |(_, value)| value.as_str());
        values.insert(field.name.to_owned(), text.into());
    }
    let body = form(&desk, &visit, kind, None, &values, &[]).await?;
    show(new_frame(&visit, kind), body)
}

fn new_frame(visit: &Visit, kind: Kind) -> web::Frame {
    visit
        .frame_titled(visit.ta("x-new-title", &[("kind", &parts::kind_name(visit, kind))]))
        .crumb("/exchange", visit.t("nav-exchange"))
        .crumb(
            format!("/exchange/{}", kind.path()),
            parts::kind_names(visit, kind),
        )
}

fn edit_frame(visit: &Visit, record: &Record) -> web::Frame {
    visit
        .frame_titled(visit.ta("x-edit-title", &[("name", &record.label)]))
        .crumb("/exchange", visit.t("nav-exchange"))
        .crumb(
            format!("/exchange/{}", record.kind.path()),
            parts::kind_names(visit, record.kind),
        )
        .crumb(record.path(), &record.label)
}

pub(super) async fn edit(
    State(desk): State<Desk>,
    visit: Visit,
    Path((kind, id)): Path<(String, String)>,
) -> WebResult {
    let record = desk.thing(&visit, &kind, &id).await?;
    if record.deleted_at.is_some() {
        return Err(WebError::conflict(visit.t("x-deleted-title")));
    }
    let body = form(
        &desk,
        &visit,
        record.kind,
        Some(&record),
        &record.values,
        &[],
    )
    .await?;
    show(edit_frame(&visit, &record), body)
}

/// The form of a kind with `values`, in place of `record` or as a new thing.
async fn form(
    desk: &Desk,
    visit: &Visit,
    kind: Kind,
    record: Option<&Record>,
    values: &Values,
    errors: &[FieldError],
) -> WebResult<Body> {
    let mut inner = Body::new();
    if let Some(record) = record {
        inner = inner.add(hidden("revision", record.revision));
    }
    for field in kind.fields() {
        let value = values.get(field.name).unwrap_or(&Value::Null);
        let text = match value {
            Value::Bool(true) if field.ty.is_sealed() => String::new(),
            value => value::text(field, value),
        };
        let kept = record.is_some_and(|record| !record.values[field.name].is_null());
        inner = inner.add(input(desk, visit, field, &text, kept, errors).await?);
        if field.ty == Ty::Secret && kept {
            inner = inner.add(Input::check(
                format!("{CLEAR}{}", field.name),
                visit.t("x-secret-clear"),
                false,
            ));
        }
    }
    let (path, back) = match record {
        Some(record) => (format!("{}/edit", record.path()), record.path()),
        None => (
            format!("/exchange/{}/new", kind.path()),
            format!("/exchange/{}", kind.path()),
        ),
    };
    let inner = inner.group(
        "actions",
        [
            ui::button(visit.t("x-save")),
            ui::button_link(back, visit.t("x-cancel")),
        ],
    );
    let names: Vec<&str> = kind.fields().iter().map(|field| field.name).collect();
    Ok(Body::new()
        .add_some(other_errors(visit, errors, &names))
        .form(&visit.frame_titled(""), &path, inner))
}

async fn input(
    desk: &Desk,
    visit: &Visit,
    field: &Field,
    text: &str,
    kept: bool,
    errors: &[FieldError],
) -> WebResult<Markup> {
    let label = parts::field_name(visit, field.name);
    let none = || (String::new(), visit.t("x-none"));
    let mut options = Vec::new();
    if !field.required {
        options.push(none());
    }
    let mut input = match field.ty {
        Ty::Bool => {
            let on = matches!(text, "true" | "on");
            return Ok(Input::check(field.name, label, on).errors(errors).markup());
        }
        Ty::Choice(choices) => {
            options.extend(
                choices
                    .iter()
                    .map(|value| ((*value).to_owned(), parts::choice(visit, value))),
            );
            Input::select(field.name, label, options)
        }
        Ty::Speed => {
            options.extend(
                SPEEDS
                    .iter()
                    .map(|mbps| (mbps.to_string(), parts::speed(*mbps))),
            );
            Input::select(field.name, label, options)
        }
        Ty::Ref(other) => match things(desk, visit, other).await? {
            Some(things) => {
                if field.required {
                    options.push(none());
                }
                options.extend(things);
                Input::select(field.name, label, options)
            }
            None => Input::text(field.name, label).help(visit.t("x-help-label")),
        },
        Ty::Org => match orgs(visit).await? {
            Some(orgs) => {
                options.extend(orgs);
                Input::select(field.name, label, options)
            }
            None => Input::text(field.name, label),
        },
        Ty::Area(_) => Input::area(field.name, label, 4),
        Ty::Policy => Input::area(field.name, label, 24)
            .attribute("spellcheck", "false")
            .help(visit.t("x-help-policy")),
        Ty::Int(..) => Input::text(field.name, label).attribute("inputmode", "numeric"),
        Ty::Moment => {
            Input::input("datetime-local", field.name, label).help(visit.t("x-help-moment"))
        }
        Ty::Date => Input::input("date", field.name, label),
        Ty::Email => Input::input("email", field.name, label),
        Ty::Url => Input::input("url", field.name, label),
        Ty::Secret => Input::password(field.name, label)
            .attribute("autocomplete", "new-password")
            .help(visit.t(if kept {
                "x-help-secret-kept"
            } else {
                "x-help-secret"
            })),
        Ty::V4 | Ty::V6 if matches!(field.name, "v4" | "v6") => {
            Input::text(field.name, label).help(visit.t("x-help-auto"))
        }
        Ty::AsSet => Input::text(field.name, label).help(visit.t("x-help-as-set")),
        Ty::Asn => Input::text(field.name, label).attribute("inputmode", "numeric"),
        _ => Input::text(field.name, label),
    };
    input = input.value(text).errors(errors);
    input = match field.required {
        true => input.required(),
        false => input.optional(visit.t("x-optional")),
    };
    Ok(input.markup())
}

/// Things that a select offers; none: there are too many.
async fn things(
    desk: &Desk,
    visit: &Visit,
    kind: Kind,
) -> WebResult<Option<Vec<(String, String)>>> {
    let page = desk
        .exchange
        .list(kind, &Wanted::default(), &PageRequest::first(OPTIONS_MAX))
        .await
        .map_err(desk.tell(visit))?;
    if page.next.is_some() {
        return Ok(None);
    }
    let named = |record: Record| {
        let name = match kind {
            Kind::Member => format!("{} (AS{})", record.label, record.values["asn"]),
            _ => record.label.clone(),
        };
        (record.id.to_string(), name)
    };
    Ok(Some(page.items.into_iter().map(named).collect()))
}

/// Organisations that a select offers; none: there are too many.
async fn orgs(visit: &Visit) -> WebResult<Option<Vec<(String, String)>>> {
    let paging = Paging {
        limit: Some(Paging::LIMIT_MAX),
        cursor: None,
    };
    let page = visit
        .house()
        .accounts
        .orgs(&web::OrgScope::All, &paging)
        .await?;
    if page.next.is_some() {
        return Ok(None);
    }
    let zh = visit.lang == web::Lang::ZhTw;
    let named = |org: web::accounts::Org| {
        let name = if zh { org.name_zh } else { org.name_en };
        (org.id.to_string(), name)
    };
    Ok(Some(page.items.into_iter().map(named).collect()))
}

/// The values of a sent form; sealed fields left empty stay as they are.
fn values_of(kind: Kind, record: Option<&Record>, pairs: &FormPairs) -> Values {
    let sent = |name: &str| {
        pairs
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    let mut values = Values::new();
    for field in kind.fields() {
        let text = sent(field.name).unwrap_or_default();
        let kept = record.is_some_and(|record| !record.values[field.name].is_null());
        let clear = sent(&format!("{CLEAR}{}", field.name)).is_some();
        let value = match (field.ty, text) {
            (Ty::Secret, "") if kept && !clear => Value::Bool(true),
            (Ty::Bool, "") => Value::Bool(false),
            (_, text) => text.into(),
        };
        values.insert(field.name.to_owned(), value);
    }
    values
}

pub(super) async fn create(
    State(desk): State<Desk>,
    visit: Visit,
    Path(kind): Path<String>,
    PageForm(pairs): PageForm<FormPairs>,
) -> WebResult {
    let kind = kind_of(&kind)?;
    let values = values_of(kind, None, &pairs);
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    match desk
        .exchange
        .create(&mut tx, &by(&visit)?, kind, &values)
        .await
    {
        Ok(record) => {
            tx.commit().await.map_err(|e| tell(e.into()))?;
            Ok(visit.done(&record.path(), "x-created"))
        }
        Err(error) => {
            let told = tell(error);
            if told.fields.is_empty() {
                return Err(told);
            }
            // The form reads names and accounts: not while holding the writers' turn.
            drop(tx);
            let body = form(&desk, &visit, kind, None, &values, &told.fields).await?;
            show_with(AGAIN, new_frame(&visit, kind), body)
        }
    }
}

pub(super) async fn save(
    State(desk): State<Desk>,
    visit: Visit,
    Path((kind, id)): Path<(String, String)>,
    PageForm(pairs): PageForm<FormPairs>,
) -> WebResult {
    let record = desk.thing(&visit, &kind, &id).await?;
    let kind = record.kind;
    let revision = pairs
        .iter()
        .find(|(name, _)| name == "revision")
        .and_then(|(_, value)| value.parse().ok());
    let values = values_of(kind, Some(&record), &pairs);
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    match desk
        .exchange
        .update(&mut tx, &by(&visit)?, kind, record.id, revision, &values)
        .await
    {
        Ok(saved) => {
            tx.commit().await.map_err(|e| tell(e.into()))?;
            Ok(visit.done(&saved.path(), "x-saved"))
        }
        Err(error) => {
            let told = tell(error);
            if told.fields.is_empty() {
                return Err(told);
            }
            drop(tx);
            let body = form(&desk, &visit, kind, Some(&record), &values, &told.fields).await?;
            show_with(AGAIN, edit_frame(&visit, &record), body)
        }
    }
}

/// Asks before deleting.
pub(super) async fn ask(
    State(desk): State<Desk>,
    visit: Visit,
    Path((kind, id)): Path<(String, String)>,
) -> WebResult {
    let record = desk.thing(&visit, &kind, &id).await?;
    let frame = visit
        .frame_titled(visit.ta("x-delete-title", &[("name", &record.label)]))
        .crumb("/exchange", visit.t("nav-exchange"))
        .crumb(record.path(), &record.label);
    let inner = Body::new().add(hidden("revision", record.revision)).group(
        "actions",
        [
            ui::danger_button(visit.t("x-delete")),
            ui::button_link(record.path(), visit.t("x-cancel")),
        ],
    );
    let body = Body::new()
        .add(ui::notice(
            Level::Warn,
            visit.ta("x-delete-title", &[("name", &record.label)]),
            visit.t("x-delete-text").as_str(),
        ))
        .form(&frame, &format!("{}/delete", record.path()), inner);
    show(frame, body)
}

pub(super) async fn delete(
    State(desk): State<Desk>,
    visit: Visit,
    Path((kind, id)): Path<(String, String)>,
    PageForm(pairs): PageForm<FormPairs>,
) -> WebResult {
    let record = desk.thing(&visit, &kind, &id).await?;
    let revision = pairs
        .iter()
        .find(|(name, _)| name == "revision")
        .and_then(|(_, value)| value.parse().ok());
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    desk.exchange
        .delete(&mut tx, &by(&visit)?, record.kind, record.id, revision)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(visit.done(&record.path(), "x-deleted"))
}

pub(super) async fn restore(
    State(desk): State<Desk>,
    visit: Visit,
    Path((kind, id)): Path<(String, String)>,
) -> WebResult {
    let record = desk.thing(&visit, &kind, &id).await?;
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    desk.exchange
        .restore(&mut tx, &by(&visit)?, record.kind, record.id)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(visit.done(&record.path(), "x-restored"))
}

pub(super) async fn undo(
    State(desk): State<Desk>,
    visit: Visit,
    Path(change): Path<String>,
) -> WebResult {
    let id: Uuid = change
        .parse()
        .map_err(|_| WebError::not_found("change", &change))?;
    let tell = desk.tell(&visit);
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    let record = desk
        .exchange
        .undo(&mut tx, &by(&visit)?, id)
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(visit.done(&record.path(), "x-undone"))
}
