//! Search, with filters, paged by cursor.

use axum::extract::State;
use base::OrgId;
use base::enforcement::TargetKind;
use casework::body::{Body, show};
use serde::Deserialize;
use store::Cursor;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, OrgScope, Visit, WebError, WebResult};

use super::{
    Intel, KINDS, kind_name, path_of, seen, source_name, tell, titles, tlp_badge, tlp_options,
};
use crate::objects::graph::title;
use crate::objects::search::find::TEXT_CHARS_MAX;
use crate::objects::search::terms::CONFIDENCES;
use crate::objects::search::{Found, Query, See};
use crate::stix::Tlp;

/// Rows of a page.
const ROWS: usize = 50;
const LIST: &str = "intelligence";
/// Spans of time that can be asked for, in days.
const DAYS: [u32; 4] = [1, 7, 30, 365];

/// What the search's form sends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    q: String,
    kind: String,
    tlp: String,
    source: String,
    confidence: String,
    value: String,
    days: String,
    cursor: Option<String>,
}

impl Asked {
    pub(super) fn query(&self, visit: &Visit) -> WebResult<Query> {
        let wrong = |field: &'static str, key: &str| WebError::field(field, "enum", visit.t(key));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        if self.q.chars().count() > TEXT_CHARS_MAX {
            return Err(wrong("q", "intel-q-long"));
        }
        let tlp = match some(&self.tlp) {
            None => None,
            Some(name) => {
                Some(Tlp::from_name(&name).ok_or_else(|| wrong("tlp", "intel-filter-wrong"))?)
            }
        };
        let confidence = match some(&self.confidence) {
            None => None,
            Some(text) => Some(
                text.parse()
                    .ok()
                    .filter(|least| CONFIDENCES.contains(least))
                    .ok_or_else(|| wrong("confidence", "intel-filter-wrong"))?,
            ),
        };
        let days: Option<u32> = match some(&self.days) {
            None => None,
            Some(text) => Some(
                text.parse()
                    .ok()
                    .filter(|days| DAYS.contains(days))
                    .ok_or_else(|| wrong("days", "intel-filter-wrong"))?,
            ),
        };
        if !self.value.is_empty() && self.value.parse::<TargetKind>().is_err() {
            return Err(wrong("value", "intel-filter-wrong"));
        }
        let scope = visit.principal.scope("intel:view");
        let source = match (self.source.as_str(), scope) {
            ("", _) => None,
            ("house", OrgScope::All) => Some(None),
            (text, scope) => match text.parse::<OrgId>() {
                // Who else sends is nobody's business.
                Ok(org) if scope.contains(org) => Some(Some(org)),
                _ => return Err(wrong("source", "intel-filter-wrong")),
            },
        };
        Ok(Query {
            text: self.q.trim().to_owned(),
            kinds: some(&self.kind).into_iter().collect(),
            tlp,
            source,
            confidence,
            value: some(&self.value),
            refers_to: None,
            from: days.map(|days| visit.now.micros() - i64::from(days) * 86_400_000_000),
        })
    }

    /// The parameters without the cursor, for links.
    fn kept(&self) -> String {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("q", &self.q),
            ("kind", &self.kind),
            ("tlp", &self.tlp),
            ("source", &self.source),
            ("confidence", &self.confidence),
            ("value", &self.value),
            ("days", &self.days),
        ] {
            if !value.is_empty() {
                out.append_pair(name, value);
            }
        }
        out.finish()
    }
}

/// What a search finds for this reader.
pub(crate) async fn hits(
    intel: &Intel,
    see: &[See],
    query: &Query,
    before: Option<i64>,
    rows: usize,
) -> WebResult<Found> {
    intel
        .objects
        .find(see, query, before, rows)
        .await
        .map_err(tell)
}

pub(super) async fn list(
    State(intel): State<Intel>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult {
    let query = asked.query(&visit)?;
    let before = asked
        .cursor
        .as_deref()
        .map(|cursor| Cursor::decode::<i64>(LIST, cursor))
        .transpose()
        .map_err(casework::room::tell_store)?;
    let see = seen(&intel, &visit).await?;
    let found = match query.is_answerable() {
        true => hits(&intel, &see, &query, before, ROWS).await?,
        false => Found::default(),
    };
    let next = found
        .next
        .map(|next| Cursor::encode(LIST, &next))
        .transpose()
        .map_err(casework::room::tell_store)?;
    let frame = visit.frame("nav-intelligence");
    let mut actions = Vec::new();
    if frame.could("intel:edit") {
        actions.push(ui::button_link("/intelligence/new", visit.t("intel-new")));
        actions.push(ui::button_link(
            "/intelligence/import",
            visit.t("intel-import"),
        ));
    }
    let kept = asked.kept();
    if !found.hits.is_empty() {
        actions.push(ui::button_link(
            format!("/intelligence/export?{kept}"),
            visit.t("intel-export"),
        ));
    }
    let mut body = Body::new()
        .text(visit.ta("intel-intro", &[("count", &see.len().to_string())]))
        .group("actions", actions)
        .search("/intelligence", filters(&visit, &asked).await);
    if !query.is_answerable() {
        body = body.add(ui::notice(
            web::Level::Warn,
            visit.t("intel-q-none-title"),
            visit.t("intel-q-none"),
        ));
    }
    let indexed = intel.objects.indexed().await.map_err(tell)?;
    let last = intel.objects.last_added().await.map_err(tell)?;
    if last.saturating_sub(indexed) > 60_000_000 && query != Query::default() {
        body = body.add(ui::notice(
            web::Level::Info,
            visit.t("intel-indexing-title"),
            visit.t("intel-indexing"),
        ));
    }
    if let Some(again) = intel.objects.indexed_again().await.map_err(tell)? {
        body = body.add(ui::notice(
            web::Level::Info,
            visit.t("intel-again-title"),
            visit.ta(
                "intel-again",
                &[
                    ("walked", &ui::number(again.walked)),
                    ("of", &ui::number(again.of)),
                ],
            ),
        ));
    }
    let table = table(&visit, &see, &found).await;
    show(
        frame.clone(),
        body.add(table)
            .add(ui::pager(&frame, &kept, next.as_deref())),
    )
}

async fn table(visit: &Visit, see: &[See], found: &Found) -> Table {
    let titles = titles(see);
    let mut table = Table::new(visit.t("nav-intelligence"))
        .column(Column::text(visit.t("intel-name")))
        .column(Column::text(visit.t("intel-kind")))
        .column(Column::text(visit.t("intel-tlp")))
        .column(Column::number(visit.t("intel-confidence")))
        .column(Column::text(visit.t("intel-source")))
        .column(Column::text(visit.t("intel-collection")))
        .column(Column::text(visit.t("intel-added")))
        .empty(match found.next {
            Some(_) => ui::empty(
                Icon::Search,
                visit.t("intel-partial-title"),
                visit.t("intel-partial"),
                None,
            ),
            None => ui::empty(
                Icon::Search,
                visit.t("intel-empty-title"),
                visit.t("intel-empty"),
                None,
            ),
        });
    let mut names = std::collections::HashMap::new();
    for hit in &found.hits {
        let source = match names.get(&hit.source) {
            Some(name) => String::clone(name),
            None => {
                let name = source_name(visit, hit.source).await;
                names.insert(hit.source, name.clone());
                name
            }
        };
        let object = hit.object();
        let mut name = Markup::link(path_of(&hit.id), title(hit));
        if object["revoked"] == true {
            name = name.and(&ui::badge(web::Level::Neutral, visit.t("intel-revoked")));
        }
        table.push(vec![
            name,
            Markup::text(kind_name(visit, &hit.kind)),
            tlp_badge(hit.tlp),
            Markup::text(
                object["confidence"]
                    .as_u64()
                    .map_or("–".to_owned(), |n| n.to_string()),
            ),
            Markup::text(source),
            Markup::text(titles.get(&hit.collection).map_or("", String::as_str)),
            ui::ago(visit, base::Timestamp(hit.seq)),
        ]);
    }
    table
}

async fn filters(visit: &Visit, asked: &Asked) -> Body {
    let any = || (String::new(), visit.t("intel-any"));
    let with_any =
        |rest: Vec<(String, String)>| std::iter::once(any()).chain(rest).collect::<Vec<_>>();
    let kinds = KINDS
        .iter()
        .map(|kind| ((*kind).to_owned(), kind_name(visit, kind)))
        .collect();
    let values = TargetKind::ALL
        .into_iter()
        .map(|kind| {
            (
                kind.name().to_owned(),
                visit.t(&format!("target-{}", kind.name())),
            )
        })
        .collect();
    let confidences = CONFIDENCES
        .iter()
        .map(|least| (least.to_string(), format!("≥ {least}")))
        .collect();
    let days = DAYS
        .iter()
        .map(|days| {
            (
                days.to_string(),
                visit.ta("intel-last-days", &[("days", &days.to_string())]),
            )
        })
        .collect();
    let mut body = Body::new()
        .add(
            Field::input("search", "q", visit.t("intel-q"))
                .value(&asked.q)
                .help(visit.t("intel-q-help")),
        )
        .add(Field::select("kind", visit.t("intel-kind"), with_any(kinds)).value(&asked.kind))
        .add(Field::select("tlp", visit.t("intel-tlp"), with_any(tlp_options())).value(&asked.tlp))
        .add(
            Field::select(
                "confidence",
                visit.t("intel-confidence"),
                with_any(confidences),
            )
            .value(&asked.confidence),
        )
        .add(Field::select("value", visit.t("intel-value"), with_any(values)).value(&asked.value))
        .add(Field::select("days", visit.t("intel-added"), with_any(days)).value(&asked.days));
    let mut sources = Vec::new();
    let scope = visit.principal.scope("intel:view");
    if scope == OrgScope::All {
        sources.push(("house".to_owned(), visit.t("intel-source-house")));
        let paging = web::Paging {
            limit: None,
            cursor: None,
        };
        // Without the names the filter is left out; the list is there all the same.
        if let Ok(orgs) = visit.house().accounts.orgs(&OrgScope::All, &paging).await {
            for org in orgs.items {
                let name = match visit.lang {
                    web::Lang::ZhTw => org.name_zh,
                    web::Lang::En => org.name_en,
                };
                sources.push((org.id.to_string(), name));
            }
        }
    } else {
        for org in visit.principal.orgs.iter() {
            let name = match visit.lang {
                web::Lang::ZhTw => &org.name_zh,
                web::Lang::En => &org.name_en,
            };
            sources.push((org.id.to_string(), name.clone()));
        }
    }
    if !sources.is_empty() {
        body = body.add(
            Field::select("source", visit.t("intel-source"), with_any(sources))
                .value(&asked.source),
        );
    }
    body.add(ui::button(visit.t("intel-search")))
}
