//! The audit trail as auditors and operators read it, and whether its chain holds.

use std::collections::HashMap;

use base::{OrgId, Timestamp, UserId};
use serde::Deserialize;

use super::plain;
use crate::api::{ApiQuery, Paging};
use crate::chain::Standing;
use crate::home::{Panel, Place};
use crate::policy::Thing;
use crate::problem::{FieldError, WebError, WebResult};
use crate::room::{Level, Pages};
use crate::ui::{self, Column, Field, Icon, Markup, Table};
use crate::visit::{Frame, Visit};

pub(super) fn pages() -> Pages {
    Pages::new().get("/audit", "audit:view", audit)
}

/// What a reader looks for; the page and the API take the same.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// `user:…`, `node:…` or `system:…`.
    #[serde(default)]
    pub(crate) actor: Option<String>,
    /// Actions that begin so: `site.`.
    #[serde(default)]
    pub(crate) action: Option<String>,
    /// What it was done to: `site:…`.
    #[serde(default)]
    pub(crate) subject: Option<String>,
    /// Of this organisation.
    #[serde(default)]
    pub(crate) org: Option<String>,
    /// From this day on, in Asia/Taipei: `2026-11-21`.
    #[serde(default)]
    pub(crate) from: Option<String>,
    /// Up to and including this day.
    #[serde(default)]
    pub(crate) until: Option<String>,
}

impl Wanted {
    /// As the store takes it.
    ///
    /// # Errors
    /// 422 naming the field.
    pub(crate) fn filter(&self) -> Result<store::audit::AuditFilter, WebError> {
        let given = |text: &Option<String>| {
            text.as_deref()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let mut errors = Vec::new();
        let org = given(&self.org).and_then(|text| match text.parse::<OrgId>() {
            Ok(org) => Some(org),
            Err(_) => {
                let rule = "must be an organisation's id";
                errors.push(FieldError::new("org", "format", rule).value(&text));
                None
            }
        });
        let mut day = |field: &str, text: Option<String>, add: i64| {
            let text = text?;
            let start = text
                .parse::<jiff::civil::Date>()
                .and_then(|day| day.in_tz("Asia/Taipei"))
                .map(|start| start.timestamp().as_microsecond());
            match start {
                Ok(start) => Some(Timestamp(start.saturating_add(add))),
                Err(_) => {
                    let rule = "must be a day: 2026-11-21";
                    errors.push(FieldError::new(field, "format", rule).value(&text));
                    None
                }
            }
        };
        let from = day("from", given(&self.from), 0);
        // Taiwan keeps no summer time: a day has 24 hours.
        let until = day("until", given(&self.until), 86_400_000_000);
        if !errors.is_empty() {
            return Err(WebError::invalid(errors));
        }
        Ok(store::audit::AuditFilter {
            org,
            actor: given(&self.actor),
            action: given(&self.action),
            subject: given(&self.subject),
            from,
            until,
        })
    }

    fn query(&self) -> String {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("actor", &self.actor),
            ("action", &self.action),
            ("subject", &self.subject),
            ("org", &self.org),
            ("from", &self.from),
            ("until", &self.until),
        ] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                out.append_pair(name, value);
            }
        }
        out.finish()
    }
}

/// One page of the trail.
///
/// # Errors
/// 422 for a limit, a cursor or a filter.
pub(crate) async fn trail(
    visit: &Visit,
    wanted: &Wanted,
    paging: &Paging,
) -> Result<store::Page<store::audit::AuditRecord>, WebError> {
    let filter = wanted.filter()?;
    let request = store::PageRequest {
        cursor: paging.cursor.clone(),
        limit: Some(paging.limit()?),
    };
    Ok(store::audit::page(&visit.house().db, &filter, &request).await?)
}

async fn audit(
    visit: Visit,
    ApiQuery(wanted): ApiQuery<Wanted>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let page = trail(&visit, &wanted, &paging).await?;
    let house = visit.house();
    let standing = house.chain.standing(&house.db, visit.now).await;
    let frame = visit.frame("audit-title");
    let filtered = !wanted.query().is_empty();
    let mut table = Table::new(frame.t("audit-title"))
        .column(Column::number(frame.t("audit-number")))
        .column(Column::text(frame.t("audit-time")))
        .column(Column::text(frame.t("audit-actor")))
        .column(Column::text(frame.t("audit-action")))
        .column(Column::text(frame.t("audit-subject")))
        .column(Column::text(frame.t("audit-detail")))
        .empty(ui::empty(
            Icon::List,
            frame.t("audit-none"),
            frame.t(match filtered {
                true => "audit-none-filtered",
                false => "audit-none-text",
            }),
            None,
        ));
    let mut names = HashMap::new();
    for record in &page.items {
        let actor = actor(&visit, &mut names, &record.actor).await?;
        let detail = match record.detail.as_str() {
            "null" | "{}" => Markup::default(),
            text => Markup::code(text),
        };
        table.push(vec![
            ui::number(record.seq).into(),
            frame.time(&record.at),
            actor,
            Markup::code(&record.action),
            Markup::code(&record.subject),
            detail,
        ]);
    }
    let parts = [
        standing_notice(&frame, &standing),
        filters(&frame, &wanted),
        table.markup(),
        ui::pager(&frame, &wanted.query(), page.next.as_deref()),
    ];
    plain(frame, parts)
}

/// Changes shown on the home.
const CHANGES: u32 = 8;

/// What was done lately, for those who may read the trail; none for others.
pub(crate) async fn changes(visit: &Visit) -> Option<Panel> {
    if !visit.principal.may("audit:view", Thing::HOUSE) {
        return None;
    }
    let body = match change_table(visit).await {
        Ok(table) => table.markup(),
        Err(error) => {
            tracing::warn!(%error, "the latest changes could not be read");
            ui::notice(Level::Warn, visit.t("home-away"), visit.t("home-away-text"))
        }
    };
    let panel = Panel::new(Place::Changes, visit.t("home-changes"), body);
    Some(panel.more("/audit", visit.t("audit-title")))
}

async fn change_table(visit: &Visit) -> Result<Table, WebError> {
    let filter = store::audit::AuditFilter::default();
    let request = store::PageRequest::first(CHANGES);
    let page = store::audit::page(&visit.house().db, &filter, &request).await?;
    let mut table = Table::new(visit.t("home-changes"))
        .column(Column::text(visit.t("audit-time")))
        .column(Column::text(visit.t("audit-actor")))
        .column(Column::text(visit.t("audit-action")))
        .column(Column::text(visit.t("audit-subject")))
        .empty(ui::empty(
            Icon::List,
            visit.t("audit-none"),
            visit.t("audit-none-text"),
            None,
        ));
    let mut names = HashMap::new();
    for record in &page.items {
        let subject = match record.subject.split_once(':') {
            // An id says little: its beginning tells two lines apart.
            Some((kind, id)) if id.len() == 36 => {
                format!("{kind}:{}…", id.get(..8).unwrap_or(id))
            }
            _ => record.subject.clone(),
        };
        table.push(vec![
            ui::ago(visit, record.at),
            actor(visit, &mut names, &record.actor).await?,
            Markup::code(&record.action),
            Markup::code(subject),
        ]);
    }
    Ok(table)
}

/// A person's name, linked for those who may see people; anything else as it is.
async fn actor(
    visit: &Visit,
    names: &mut HashMap<String, Option<String>>,
    actor: &str,
) -> Result<Markup, WebError> {
    let Some(id) = actor.strip_prefix("user:") else {
        return Ok(Markup::code(actor));
    };
    let Ok(user) = id.parse::<UserId>() else {
        return Ok(Markup::code(actor));
    };
    if !names.contains_key(id) {
        let name = match visit.house().accounts.user(user).await {
            Ok(user) => Some(user.name),
            Err(error) if error.code == crate::Code::NotFound => None,
            Err(error) => return Err(error),
        };
        names.insert(id.to_owned(), name);
    }
    Ok(match names.get(id) {
        Some(Some(name)) if visit.principal.could("user:view") => {
            Markup::link(format!("/people/{id}"), name)
        }
        Some(Some(name)) => name.as_str().into(),
        _ => Markup::code(actor),
    })
}

fn standing_notice(frame: &Frame, standing: &Standing) -> Markup {
    match standing {
        Standing::Checking => ui::notice(
            Level::Info,
            frame.t("audit-checking"),
            frame.t("audit-checking-text"),
        ),
        Standing::Verified {
            entries,
            anchors,
            at,
        } => {
            let agreeing = match anchors {
                0 => Markup::default(),
                count => Markup::text(frame.t1("audit-anchors", "count", count)),
            };
            ui::notice(
                Level::Good,
                frame.t1("audit-verified", "count", ui::number(*entries)),
                agreeing.and(&frame.ago(at)),
            )
        }
        Standing::Broken { seq, what, at } => ui::notice(
            Level::Bad,
            frame.t1("audit-broken", "number", ui::number(*seq)),
            Markup::text(what)
                .and(&Markup::text(" · "))
                .and(&frame.ago(at)),
        ),
        Standing::Unreadable { at } => {
            ui::notice(Level::Warn, frame.t("audit-unreadable"), frame.ago(at))
        }
    }
}

fn filters(frame: &Frame, wanted: &Wanted) -> Markup {
    let text = |name: &'static str, label: &str, value: &Option<String>, hint: &'static str| {
        Field::text(name, frame.t(label))
            .value(value.clone().unwrap_or_default())
            .attribute("placeholder", hint)
            .attribute("maxlength", "200")
            .markup()
    };
    let day = |name: &'static str, label: &str, value: &Option<String>| {
        Field::input("date", name, frame.t(label))
            .value(value.clone().unwrap_or_default())
            .markup()
    };
    let fields: Markup = [
        text("actor", "audit-actor", &wanted.actor, "user:…"),
        text("action", "audit-action", &wanted.action, "site."),
        text("subject", "audit-subject", &wanted.subject, "site:…"),
        text("org", "audit-org", &wanted.org, ""),
        day("from", "audit-from", &wanted.from),
        day("until", "audit-until", &wanted.until),
    ]
    .into_iter()
    .collect();
    Markup::new(format!(
        "<form class=\"filters\" method=\"get\" action=\"/audit\">{fields}<p class=\"actions\">{} {}</p></form>",
        ui::button(frame.t("audit-filter")),
        Markup::link("/audit", frame.t("audit-all")),
    ))
}
