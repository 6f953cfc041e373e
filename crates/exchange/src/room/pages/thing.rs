//! The page of one thing: its fields, what belongs to it, its history.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::extract::{Path, State};
use base::Prefix;
use casework::api::page_request;
use casework::body::{Body, show};
use serde_json::Value;
use store::PageRequest;
use web::ui::{self, Column, Icon, Markup, Table};
use web::{ApiQuery, Frame, Level, Paging, Visit, WebResult};

use super::{list, parts};
use crate::room::history::{Change, SEALED};
use crate::room::kind::Ty;
use crate::room::plan::Plan;
use crate::room::shell::{Desk, sees_personal};
use crate::room::{Kind, Record, Wanted};

/// Things of another kind that are shown on a page.
const RELATED_MAX: u32 = 20;
/// Changes that are shown on a page.
const CHANGES_MAX: u32 = 10;

pub(super) async fn view(
    State(desk): State<Desk>,
    visit: Visit,
    Path((kind, id)): Path<(String, String)>,
) -> WebResult {
    let record = desk.thing(&visit, &kind, &id).await?;
    let kind = record.kind;
    let tell = desk.tell(&visit);
    let title = match kind {
        Kind::Member => format!("{} (AS{})", record.text("name"), record.values["asn"]),
        _ => record.label.clone(),
    };
    let frame = visit
        .frame_titled(title)
        .crumb("/exchange", visit.t("nav-exchange"))
        .crumb(
            format!("/exchange/{}", kind.path()),
            parts::kind_names(&visit, kind),
        );
    let mut body = Body::new();
    if let Some(at) = record.deleted_at {
        body = body.add(ui::notice(
            Level::Warn,
            visit.t("x-deleted-title"),
            visit.ta("x-deleted-text", &[("at", &at.taipei())]).as_str(),
        ));
    }
    body = body.add_some(buttons(&visit, &frame, &record));
    let labels = desk.exchange.labels(kind).await.map_err(&tell)?;
    let mut facts = Vec::new();
    for field in kind.fields() {
        let value = &record.values[field.name];
        let shown = match (field.ty, value.as_str().map(str::parse)) {
            (Ty::Org, Some(Ok(org))) => Markup::text(desk.org_name(&visit, org).await),
            _ => parts::shown(&visit, field, value, &labels),
        };
        facts.push((parts::field_name(&visit, field.name), shown));
    }
    body = body.section(
        parts::kind_name(&visit, kind),
        Body::new().add(ui::definition_list(facts)),
    );
    if kind == Kind::Member
        && record.deleted_at.is_none()
        && let Some(inner) = super::prefer::section(&desk, &visit, &frame, &record).await?
    {
        body = body.section(visit.t("x-prefer"), inner);
    }
    if kind == Kind::Lan {
        body = plan(&desk, &visit, &record, body).await?;
    }
    for (other, field) in kind.referrers() {
        let wanted = Wanted {
            personal: sees_personal(&visit),
            ..Wanted::by(field.name, record.id)
        };
        let page = desk
            .exchange
            .list(other, &wanted, &PageRequest::first(RELATED_MAX))
            .await
            .map_err(&tell)?;
        if page.items.is_empty() {
            continue;
        }
        let mut inner =
            Body::new().add(list::table(&desk, &visit, other, &page.items, true).await?);
        if page.next.is_some() {
            inner = inner.add(ui::button_link(
                format!("/exchange/{}?{}={}", other.path(), field.name, record.id),
                visit.t("x-all"),
            ));
        }
        let heading = match field.name.replace('_', "-") == kind.name() {
            true => parts::kind_names(&visit, other),
            false => format!(
                "{} ({})",
                parts::kind_names(&visit, other),
                parts::field_name(&visit, field.name)
            ),
        };
        body = body.section(heading, inner);
    }
    let changes = desk
        .exchange
        .history(Some(record.id), &PageRequest::first(CHANGES_MAX))
        .await
        .map_err(&tell)?;
    let table = history_table(&desk, &visit, &frame, &changes.items, Some(&record)).await?;
    let mut inner = Body::new().add(table);
    if changes.next.is_some() {
        inner = inner.add(ui::button_link(
            format!("/exchange/history?thing={}", record.id),
            visit.t("x-all"),
        ));
    }
    show(frame, body.section(visit.t("x-history"), inner))
}

fn buttons(visit: &Visit, frame: &Frame, record: &Record) -> Option<Markup> {
    let path = record.path();
    let mut buttons = Vec::new();
    if record.kind == Kind::Switch {
        buttons.push(ui::button_link(
            format!("{path}/text"),
            visit.t("x-switch-text"),
        ));
    }
    if visit.principal.could("exchange:edit") {
        if record.deleted_at.is_some() {
            let restore = Body::new().form(
                frame,
                &format!("{path}/restore"),
                Body::new().add(ui::button(visit.t("x-restore"))),
            );
            buttons.push(restore.markup());
        } else {
            buttons.push(ui::button_link(format!("{path}/edit"), visit.t("x-edit")));
            if record.kind != Kind::Profile {
                buttons.push(ui::button_link(
                    format!("{path}/delete"),
                    visit.t("x-delete"),
                ));
            }
        }
    }
    (!buttons.is_empty()).then(|| Body::new().group("actions", buttons).markup())
}

/// The address plan of a LAN.
async fn plan(desk: &Desk, visit: &Visit, lan: &Record, body: Body) -> WebResult<Body> {
    let tell = desk.tell(visit);
    let mut inner = Body::new();
    for v4 in [true, false] {
        let mut connection = desk.exchange.connection().await.map_err(&tell)?;
        let plan = desk
            .exchange
            .plan(&mut connection, lan.id, v4)
            .await
            .map_err(&tell)?;
        if let Some(plan) = plan {
            inner = inner.add(plan_line(visit, &plan, plan.prefix));
        }
    }
    Ok(body.section(visit.t("x-plan"), inner))
}

fn plan_line(visit: &Visit, plan: &Plan, prefix: Prefix) -> Markup {
    let used = plan
        .used
        .iter()
        .filter(|address| plan.unfit(**address).is_none())
        .count();
    let capacity = plan.capacity();
    let share = match capacity {
        0 => 1.0,
        capacity => used as f64 / capacity as f64,
    };
    let next = plan
        .next()
        .map_or_else(|| visit.t("x-plan-full"), |address| address.to_string());
    // Nobody reads thirty digits.
    let room = match u64::try_from(capacity) {
        Ok(room) if room < 1_000_000_000_000 => ui::number(room),
        _ => format!("2^{}", 127 - capacity.leading_zeros()),
    };
    ui::definition_list(vec![
        (
            prefix.to_string(),
            ui::bar(
                share,
                visit.ta(
                    "x-plan-used",
                    &[("used", &used.to_string()), ("room", &room)],
                ),
            ),
        ),
        (visit.t("x-plan-next"), Markup::code(next)),
    ])
}

pub(super) async fn history_table(
    desk: &Desk,
    visit: &Visit,
    frame: &Frame,
    changes: &[Change],
    thing: Option<&Record>,
) -> WebResult<Table> {
    let mut table = Table::new(visit.t("x-history"))
        .column(Column::text(visit.t("x-when")))
        .column(Column::text(visit.t("x-who")))
        .column(Column::text(visit.t("x-what")))
        .column(Column::text(visit.t("x-changed")))
        .empty(ui::empty(
            Icon::List,
            visit.t("x-history-empty-title"),
            visit.t("x-history-empty-text"),
            None,
        ));
    let mut labels: BTreeMap<Kind, BTreeMap<String, String>> = BTreeMap::new();
    for change in changes {
        let names: &BTreeMap<String, String> = match labels.entry(change.kind) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(none) => {
                let of = desk.exchange.labels(change.kind).await;
                none.insert(of.map_err(desk.tell(visit))?)
            }
        };
        let mut lines = String::new();
        for (name, before, after) in &change.fields {
            lines.push_str(&line(visit, change.kind, name, before, after, names));
        }
        let mut cell = match lines.is_empty() {
            true => Markup::text("–"),
            false => Markup::new(format!("<ul>{lines}</ul>")),
        };
        let last = thing.is_some_and(|thing| thing.revision == change.revision);
        let open = !change.fields.iter().any(|(_, old, new)| {
            [old, new]
                .iter()
                .any(|value| value.as_str() == Some(SEALED))
        }) || change.action != "update";
        if last && open && visit.principal.could("exchange:edit") {
            let undo = Body::new().form(
                frame,
                &format!("/exchange/history/{}/undo", change.id),
                Body::new().add(ui::button(visit.t("x-undo"))),
            );
            cell = cell.and(&undo.markup());
        }
        let action = visit.t(&format!("x-action-{}", change.action));
        let what = match thing {
            Some(_) => Markup::text(action),
            None => Markup::text(action).and(&Markup::link(
                format!("/exchange/{}/{}", change.kind.path(), change.thing),
                format!("{} {}", parts::kind_name(visit, change.kind), change.label),
            )),
        };
        table.push(vec![
            ui::time(change.at),
            Markup::text(desk.actor(visit, &change.actor).await),
            what,
            cell,
        ]);
    }
    Ok(table)
}

fn line(
    visit: &Visit,
    kind: Kind,
    name: &str,
    before: &Value,
    after: &Value,
    labels: &BTreeMap<String, String>,
) -> String {
    let Some(field) = kind.field(name) else {
        return String::new();
    };
    let name = ui::escape(&parts::field_name(visit, name));
    if field.ty.is_sealed() || field.ty == Ty::Policy {
        return format!(
            "<li>{name}: {}</li>",
            ui::escape(&visit.t("x-changed-only"))
        );
    }
    let after = parts::shown(visit, field, after, labels);
    match before {
        Value::Null => format!("<li>{name}: {after}</li>"),
        before => {
            let before = parts::shown(visit, field, before, labels);
            format!("<li>{name}: <del>{before}</del> → <ins>{after}</ins></li>")
        }
    }
}

/// Whose history the page shows.
#[derive(Debug, serde::Deserialize)]
pub(super) struct HistoryQuery {
    thing: Option<uuid::Uuid>,
}

pub(super) async fn all_history(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<HistoryQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let page = desk
        .exchange
        .history(query.thing, &page_request(&paging)?)
        .await
        .map_err(desk.tell(&visit))?;
    let frame = visit
        .frame("x-history")
        .crumb("/exchange", visit.t("nav-exchange"));
    let table = history_table(&desk, &visit, &frame, &page.items, None).await?;
    let keep = query
        .thing
        .map(|thing| format!("thing={thing}"))
        .unwrap_or_default();
    let body = Body::new()
        .add(parts::tabs(&visit, "/exchange/history"))
        .add(table)
        .add(ui::pager(&frame, &keep, page.next.as_deref()));
    show(frame, body)
}
