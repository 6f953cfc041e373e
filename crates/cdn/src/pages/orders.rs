//! Purge and preload: order, confirm, follow on every edge, look back.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use casework::api::page_request;
use casework::body::{Body, hidden, other_errors, show, show_with};
use futures::stream;
use uuid::Uuid;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, Level, PageForm, Paging, Update, Visit, WebError, WebResult};

use super::{AGAIN, confirm, site_frame};
use crate::engine::Site;
use crate::orders::{Asked, Placed, PurgeKind};
use crate::room::{Desk, by, tell};
use crate::seams::OrderProgress;

/// Time between two looks at an order's progress.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn page(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let (frame, body) = body(
        &desk,
        &visit,
        &site,
        &scope,
        &Purge::default(),
        &[],
        &paging,
    )
    .await?;
    show(frame, body)
}

async fn body(
    desk: &Desk,
    visit: &Visit,
    site: &Site,
    scope: &web::OrgScope,
    typed: &Purge,
    errors: &[FieldError],
    paging: &Paging,
) -> WebResult<(web::Frame, Body)> {
    let (frame, tabs) = site_frame(visit, site, "purge");
    let base = format!("/sites/{}", site.id);
    let page = desk
        .cdn
        .orders(scope, site.id, &page_request(paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let mut body =
        Body::new()
            .add(tabs)
            .add_some(other_errors(visit, errors, &["values", "urls", "sitemap"]));
    if visit.principal.may("site:purge", site.org) {
        let kinds = ["url", "prefix", "tag", "site"]
            .map(|kind| (kind.to_owned(), visit.t(&format!("purge-{kind}"))));
        let inner = Body::new()
            .add(
                Field::radio("what", visit.t("purge-what"), kinds.to_vec()).value(
                    if typed.what.is_empty() {
                        "url"
                    } else {
                        &typed.what
                    },
                ),
            )
            .add(
                Field::area("values", visit.t("purge-values"), 4)
                    .value(&typed.values)
                    .help(visit.t("purge-values-help"))
                    .errors(errors),
            )
            .add(
                Field::check("soft", visit.t("purge-soft"), typed.soft)
                    .help(visit.t("purge-soft-help")),
            )
            .add(
                Field::text("reason", visit.t("order-reason"))
                    .value(&typed.reason)
                    .attribute("maxlength", "100"),
            )
            .add(ui::button(visit.t("purge-send")));
        body = body.section(
            visit.t("purge-title"),
            Body::new()
                .text(visit.t("purge-text"))
                .form(&frame, &format!("{base}/purge"), inner),
        );
        let inner = Body::new()
            .add(
                Field::area("urls", visit.t("preload-urls"), 4)
                    .help(visit.t("preload-urls-help"))
                    .value(&typed.urls)
                    .errors(errors),
            )
            .add(
                Field::input("url", "sitemap", visit.t("preload-sitemap"))
                    .help(visit.t("preload-sitemap-help"))
                    .value(&typed.sitemap)
                    .errors(errors),
            )
            .add(ui::button(visit.t("preload-send")));
        body = body.section(
            visit.t("preload-title"),
            Body::new().text(visit.t("preload-text")).form(
                &frame,
                &format!("{base}/preload"),
                inner,
            ),
        );
    }
    let mut table = Table::new(visit.t("orders-title"))
        .column(Column::text(visit.t("order-what")))
        .column(Column::text(visit.t("order-reason")))
        .column(Column::text(visit.t("made-by")))
        .column(Column::text(visit.t("made-at")))
        .empty(ui::empty(
            Icon::Bolt,
            visit.t("orders-empty-title"),
            visit.t("orders-empty-text"),
            None,
        ));
    for order in &page.items {
        table.push(vec![
            Markup::link(
                format!("{base}/orders/{}", order.id),
                summary(visit, &order.asked),
            ),
            Markup::text(&order.reason),
            Markup::text(desk.person(visit, order.by).await),
            ui::ago(visit, order.at),
        ]);
    }
    body = body.section(
        visit.t("orders-title"),
        Body::new()
            .add(table)
            .add(ui::pager(&frame, "", page.next.as_deref())),
    );
    Ok((frame, body))
}

fn summary(visit: &Visit, asked: &Asked) -> String {
    let count = asked.count.to_string();
    let first = asked.values.first().cloned().unwrap_or_default();
    let key = match asked.what {
        None => "order-preload",
        Some(PurgeKind::Url) => "order-url",
        Some(PurgeKind::Prefix) => "order-prefix",
        Some(PurgeKind::Tag) => "order-tag",
        Some(PurgeKind::Site) => "order-site",
    };
    let text = visit.ta(key, &[("count", &count), ("first", &first)]);
    if asked.soft {
        format!("{text} · {}", visit.t("purge-soft"))
    } else {
        text
    }
}

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Purge {
    what: String,
    values: String,
    soft: bool,
    reason: String,
    /// Sent by the page that asks before everything is purged.
    confirmed: bool,
    #[serde(skip)]
    urls: String,
    #[serde(skip)]
    sitemap: String,
}

fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

pub(super) async fn purge(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    PageForm(form): PageForm<Purge>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:purge").await?;
    let what = match form.what.as_str() {
        "url" => PurgeKind::Url,
        "prefix" => PurgeKind::Prefix,
        "tag" => PurgeKind::Tag,
        "site" => PurgeKind::Site,
        other => {
            return Err(WebError::field(
                "what",
                "enum",
                format!("{other:?} must be url, prefix, tag or site"),
            ));
        }
    };
    let path = format!("/sites/{}/purge", site.id);
    if what == PurgeKind::Site && !form.confirmed {
        let (frame, _) = site_frame(&visit, &site, "purge");
        let mut fields = Body::new()
            .add(hidden("what", "site"))
            .add(hidden("reason", &form.reason))
            .add(hidden("confirmed", "on"));
        if form.soft {
            fields = fields.add(hidden("soft", "on"));
        }
        return confirm(
            &visit,
            frame,
            &visit.ta("purge-site-text", &[("site", &site.slug)]),
            &path,
            &path,
            &visit.t("purge-site"),
            fields,
        );
    }
    let placed = desk
        .cdn
        .purge(
            &scope,
            &by(&visit)?,
            site.id,
            what,
            &lines(&form.values),
            form.soft,
            &form.reason,
        )
        .await;
    answer(&desk, &visit, &site, &scope, form, placed).await
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Preload {
    urls: String,
    sitemap: String,
}

pub(super) async fn preload(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    PageForm(form): PageForm<Preload>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:purge").await?;
    let placed = desk
        .cdn
        .preload(
            &scope,
            &by(&visit)?,
            site.id,
            &lines(&form.urls),
            Some(&form.sitemap),
            "",
        )
        .await;
    let typed = Purge {
        urls: form.urls,
        sitemap: form.sitemap,
        ..Purge::default()
    };
    answer(&desk, &visit, &site, &scope, typed, placed).await
}

async fn answer(
    desk: &Desk,
    visit: &Visit,
    site: &Site,
    scope: &web::OrgScope,
    typed: Purge,
    placed: Result<Placed, crate::CdnError>,
) -> WebResult {
    match placed {
        Ok(placed) => Ok(visit.done(
            &format!("/sites/{}/orders/{}", site.id, placed.id),
            "order-placed",
        )),
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.fields.is_empty() {
                return Err(told);
            }
            let (frame, body) = body(
                desk,
                visit,
                site,
                scope,
                &typed,
                &told.fields,
                &Paging::default(),
            )
            .await?;
            show_with(AGAIN, frame, body)
        }
    }
}

fn order_id(text: &str) -> WebResult<Uuid> {
    Uuid::try_parse(text).map_err(|_| WebError::not_found("order", text))
}

pub(super) async fn order(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, order)): Path<(String, String)>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let (placed, progress) = desk
        .cdn
        .order(&scope, site.id, order_id(&order)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let (frame, tabs) = site_frame(&visit, &site, "purge");
    let values: String = placed
        .asked
        .values
        .iter()
        .map(|value| format!("<li><code>{}</code></li>", ui::escape(value)))
        .collect();
    let mut facts = vec![
        (
            visit.t("order-what"),
            Markup::text(summary(&visit, &placed.asked)),
        ),
        (visit.t("order-reason"), Markup::text(&placed.reason)),
        (
            visit.t("made-by"),
            Markup::text(desk.person(&visit, placed.by).await),
        ),
        (visit.t("made-at"), ui::time(placed.at)),
    ];
    if !values.is_empty() {
        facts.push((
            visit.t("order-values"),
            Markup::new(format!("<ul>{values}</ul>")),
        ));
    }
    let live = ui::live(
        format!("/sites/{}/orders/{}/live", site.id, placed.id),
        Markup::new(format!(
            "<div id=\"order-progress\">{}</div>",
            progress_body(&visit, &placed, &progress)
        )),
    );
    let body = Body::new()
        .add(tabs)
        .add(ui::definition_list(facts))
        .section(visit.t("order-progress"), Body::new().add(live));
    show(frame, body)
}

fn progress_body(visit: &Visit, placed: &Placed, progress: &[OrderProgress]) -> Markup {
    let done = progress.iter().filter(|one| finished(placed, one)).count();
    let text = visit.ta(
        "order-done",
        &[
            ("done", &done.to_string()),
            ("total", &progress.len().to_string()),
        ],
    );
    let mut table = Table::new(visit.t("order-progress"))
        .column(Column::text(visit.t("edge-name")))
        .column(Column::text(visit.t("order-state")))
        .column(Column::number(visit.t("order-after")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("order-no-edge-title"),
            visit.t("order-no-edge-text"),
            None,
        ));
    for one in progress {
        let state = if placed.total > 0 {
            let total = one.total.max(1);
            let mut state = ui::bar(
                (one.done + one.failed) as f64 / total as f64,
                format!("{} / {}", one.done, one.total),
            );
            if one.failed > 0 {
                state = state.and(&ui::badge(
                    Level::Warn,
                    visit.ta("order-failed", &[("count", &one.failed.to_string())]),
                ));
            }
            state
        } else if one.acked_at.is_some() {
            ui::badge(Level::Good, visit.t("order-acked"))
        } else {
            ui::badge(Level::Info, visit.t("order-waiting"))
        };
        let after = one.acked_at.map_or_else(
            || "–".to_owned(),
            |at| format!("{} ms", at.since(placed.at).as_millis()),
        );
        table.push(vec![Markup::text(one.node.as_str()), state, after.into()]);
    }
    Body::new().text(text).add(table).markup()
}

fn finished(placed: &Placed, one: &OrderProgress) -> bool {
    one.acked_at.is_some() && (placed.total == 0 || one.done + one.failed >= one.total.max(1))
}

pub(super) async fn live(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, order)): Path<(String, String)>,
) -> WebResult<Response> {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let id = order_id(&order)?;
    desk.cdn
        .order(&scope, site.id, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let streams = desk.streams.clone();
    let start = (desk, visit, scope, site.id, id, String::new());
    let updates = stream::unfold(start, |(desk, visit, scope, site, id, last)| async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (placed, progress) = desk.cdn.order(&scope, site, id).await.ok()?;
            let html = progress_body(&visit, &placed, &progress);
            if html.as_str() != last {
                let last = html.as_str().to_owned();
                return Some((
                    Update::Fragment {
                        target: "order-progress".into(),
                        html,
                    },
                    (desk, visit, scope, site, id, last),
                ));
            }
        }
    });
    streams.open(updates, std::future::pending())
}
