//! Settings: edit, look at what would change and what an edge would do, save, go
//! back to any version.

use axum::extract::{Path, State};
use casework::api::page_request;
use casework::body::{Body, hidden, other_errors, show, show_with};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, Frame, Level, PageForm, Paging, Visit, WebError, WebResult};

use super::{AGAIN, site_frame};
use crate::engine::{Site, Version};
use crate::error::CdnError;
use crate::room::{Desk, by, form_errors, tell};
use crate::settings::{self, Change, Explanation, SiteConfig};
use crate::settings_form::SettingsForm;

/// The fields of the form, which show their own errors.
const FIELDS: [&str; 17] = [
    "origins",
    "host_header",
    "health_path",
    "connect_timeout_ms",
    "first_byte_timeout_ms",
    "idle_timeout_ms",
    "path_rules",
    "ignore_query",
    "stale_while_revalidate_s",
    "stale_if_error_s",
    "negative_ttl_s",
    "object_bytes_max",
    "redirect_to_https",
    "hsts_s",
    "set_headers",
    "client_rps_max",
    "request_bytes_max",
];

pub(super) async fn edit(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let version = desk
        .cdn
        .version(&scope, site.id, None)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let (frame, tabs) = site_frame(&visit, &site, "settings");
    let body = Body::new().add(tabs);
    let body = edit_body(
        &visit,
        &frame,
        body,
        &site,
        version.version,
        &SettingsForm::of(&version.config),
        "",
        &[],
    );
    show(frame, body)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one page")]
fn edit_body(
    visit: &Visit,
    frame: &Frame,
    body: Body,
    site: &Site,
    base: i64,
    form: &SettingsForm,
    note: &str,
    errors: &[FieldError],
) -> Body {
    let base_path = format!("/sites/{}", site.id);
    let explain = Body::new().search(
        &format!("{base_path}/explain"),
        Body::new()
            .add(
                Field::input("url", "url", visit.t("explain-url")).attribute(
                    "placeholder",
                    format!("https://{}/", site.hosts.first().map_or("", String::as_str)),
                ),
            )
            .add(ui::button(visit.t("explain-button"))),
    );
    let body = body.section(
        visit.t("explain"),
        Body::new()
            .text(visit.t("explain-text"))
            .add(explain.markup()),
    );
    let text = |name: &'static str| visit.t(&format!("set-{}", name.replace('_', "-")));
    let help = |name: &'static str| visit.t(&format!("set-{}-help", name.replace('_', "-")));
    let line = |name: &'static str, value: &str| {
        Field::text(name, text(name))
            .value(value)
            .help(help(name))
            .errors(errors)
            .markup()
    };
    let number = |name: &'static str, value: &str| {
        Field::input("number", name, text(name))
            .value(value)
            .help(help(name))
            .errors(errors)
            .attribute("min", "0")
            .markup()
    };
    let area = |name: &'static str, rows: u8, value: &str| {
        Field::area(name, text(name), rows)
            .value(value)
            .help(help(name))
            .errors(errors)
            .attribute("spellcheck", "false")
            .markup()
    };
    let origin = Body::new()
        .add(area("origins", 3, &form.origins))
        .add(line("host_header", &form.host_header))
        .add(line("health_path", &form.health_path))
        .add(number("connect_timeout_ms", &form.connect_timeout_ms))
        .add(number("first_byte_timeout_ms", &form.first_byte_timeout_ms))
        .add(number("idle_timeout_ms", &form.idle_timeout_ms));
    let cache = Body::new()
        .add(area("path_rules", 5, &form.path_rules))
        .add(area("ignore_query", 3, &form.ignore_query))
        .add(number(
            "stale_while_revalidate_s",
            &form.stale_while_revalidate_s,
        ))
        .add(number("stale_if_error_s", &form.stale_if_error_s))
        .add(number("negative_ttl_s", &form.negative_ttl_s))
        .add(number("object_bytes_max", &form.object_bytes_max));
    let delivery = Body::new()
        .add(
            Field::check(
                "redirect_to_https",
                text("redirect_to_https"),
                form.redirect_to_https,
            )
            .help(help("redirect_to_https")),
        )
        .add(number("hsts_s", &form.hsts_s))
        .add(area("set_headers", 3, &form.set_headers))
        .add(number("client_rps_max", &form.client_rps_max))
        .add(number("request_bytes_max", &form.request_bytes_max));
    let mut inner = Body::new()
        .add(hidden("base", base))
        .section(visit.t("set-origin"), origin)
        .section(visit.t("set-cache"), cache)
        .section(visit.t("set-delivery"), delivery);
    if visit.principal.may("site:edit", site.org) {
        inner = inner
            .add(
                Field::text("note", visit.t("set-note"))
                    .value(note)
                    .attribute("maxlength", "100"),
            )
            .add(ui::button(visit.t("set-preview")));
    }
    body.add_some(other_errors(visit, errors, &FIELDS)).form(
        frame,
        &format!("{base_path}/settings/preview"),
        inner,
    )
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Sent {
    base: i64,
    #[serde(default)]
    note: String,
}

/// The same form holds the settings and what is said about them.
type Pairs = web::FormPairs;

fn read(pairs: &Pairs) -> WebResult<(Sent, SettingsForm)> {
    let find = |name: &str| {
        pairs
            .iter()
            .rfind(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let base = find("base")
        .parse()
        .map_err(|_| WebError::bad_request("form: base must be a version"))?;
    let form = SettingsForm {
        origins: find("origins"),
        host_header: find("host_header"),
        health_path: find("health_path"),
        connect_timeout_ms: find("connect_timeout_ms"),
        first_byte_timeout_ms: find("first_byte_timeout_ms"),
        idle_timeout_ms: find("idle_timeout_ms"),
        path_rules: find("path_rules"),
        ignore_query: find("ignore_query"),
        stale_while_revalidate_s: find("stale_while_revalidate_s"),
        stale_if_error_s: find("stale_if_error_s"),
        negative_ttl_s: find("negative_ttl_s"),
        object_bytes_max: find("object_bytes_max"),
        redirect_to_https: !find("redirect_to_https").is_empty(),
        hsts_s: find("hsts_s"),
        set_headers: find("set_headers"),
        client_rps_max: find("client_rps_max"),
        request_bytes_max: find("request_bytes_max"),
    };
    Ok((
        Sent {
            base,
            note: find("note"),
        },
        form,
    ))
}

/// Shows what would change, and what an edge would do with the front page.
pub(super) async fn preview(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    PageForm(pairs): PageForm<Pairs>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    let (sent, form) = read(&pairs)?;
    let again = |errors: Vec<FieldError>| {
        let (frame, tabs) = site_frame(&visit, &site, "settings");
        let body = edit_body(
            &visit,
            &frame,
            Body::new().add(tabs),
            &site,
            sent.base,
            &form,
            &sent.note,
            &errors,
        );
        show_with(AGAIN, frame, body)
    };
    let config = match form.read() {
        Ok(config) => config,
        Err(problems) => {
            return again(form_errors(
                &tell(CdnError::Invalid(problems), visit.lang).fields,
            ));
        }
    };
    let problems = settings::problems(&config);
    if !problems.is_empty() {
        return again(form_errors(
            &tell(CdnError::Invalid(problems), visit.lang).fields,
        ));
    }
    let active = desk
        .cdn
        .version(&scope, site.id, None)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let changes = settings::difference(&active.config, &config);
    let (frame, tabs) = site_frame(&visit, &site, "settings");
    let mut body = Body::new().add(tabs);
    if active.version != sent.base {
        body = body.add(ui::notice(
            Level::Warn,
            visit.t("set-changed-title"),
            visit.ta(
                "set-changed-text",
                &[("version", &active.version.to_string())],
            ),
        ));
    }
    body = body.section(
        visit.t("set-changes"),
        Body::new().add(change_table(&visit, &changes)),
    );
    if let Some(host) = site.hosts.first()
        && let Ok(explained) = settings::explain(&config, &site.hosts, &format!("https://{host}/"))
    {
        body = body.section(visit.t("explain"), explanation(&visit, &explained));
    }
    // What was typed goes along, to be saved or to be typed on.
    let mut inner = Body::new();
    for (name, value) in pairs.iter().filter(|(name, _)| name != "csrf") {
        inner = inner.add(hidden(name, value));
    }
    if !changes.is_empty() {
        inner = inner.add(Field::check("activate", visit.t("set-activate"), true));
        inner = inner.group(
            "actions",
            [
                ui::button(visit.t("set-save")),
                ui::button_link(
                    format!("/sites/{}/settings", site.id),
                    visit.t("act-cancel"),
                ),
            ],
        );
    } else {
        inner = inner.group(
            "actions",
            [ui::button_link(
                format!("/sites/{}/settings", site.id),
                visit.t("act-cancel"),
            )],
        );
    }
    show(
        frame.clone(),
        body.form(&frame, &format!("/sites/{}/settings", site.id), inner),
    )
}

pub(super) async fn save(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    PageForm(pairs): PageForm<Pairs>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    let (sent, form) = read(&pairs)?;
    let activate = pairs
        .iter()
        .any(|(name, value)| name == "activate" && value == "on");
    let outcome = match form.read() {
        Ok(config) => {
            desk.cdn
                .save(
                    &scope,
                    &by(&visit)?,
                    site.id,
                    sent.base,
                    &config,
                    &sent.note,
                    activate,
                )
                .await
        }
        Err(problems) => Err(CdnError::Invalid(problems)),
    };
    match outcome {
        Ok(_) => Ok(visit.done(
            &format!("/sites/{}/versions", site.id),
            if activate { "set-active" } else { "set-saved" },
        )),
        Err(CdnError::Conflict(_)) => Ok(visit.to_with(
            &format!("/sites/{}/settings", site.id),
            Level::Warn,
            &visit.t("set-conflict"),
        )),
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.fields.is_empty() {
                return Err(told);
            }
            let (frame, tabs) = site_frame(&visit, &site, "settings");
            let body = edit_body(
                &visit,
                &frame,
                Body::new().add(tabs),
                &site,
                sent.base,
                &form,
                &sent.note,
                &form_errors(&told.fields),
            );
            show_with(AGAIN, frame, body)
        }
    }
}

fn change_table(visit: &Visit, changes: &[Change]) -> Table {
    let mut table = Table::new(visit.t("set-changes"))
        .column(Column::text(visit.t("change-path")))
        .column(Column::text(visit.t("change-before")))
        .column(Column::text(visit.t("change-after")))
        .empty(ui::empty(
            Icon::Check,
            visit.t("changes-none-title"),
            visit.t("changes-none-text"),
            None,
        ));
    let value = |value: &Option<serde_json::Value>| match value {
        None => Markup::text("–"),
        Some(serde_json::Value::String(text)) => Markup::code(text),
        Some(other) => Markup::code(other.to_string()),
    };
    for change in changes {
        table.push(vec![
            Markup::code(&change.path),
            value(&change.before),
            value(&change.after),
        ]);
    }
    table
}

fn explanation(visit: &Visit, explained: &Explanation) -> Body {
    let language = visit.lang.tag();
    let steps: String = explained
        .steps
        .iter()
        .map(|step| format!("<li>{}</li>", ui::escape(step.of(language))))
        .collect();
    let origins: String = explained
        .origins
        .iter()
        .map(|origin| format!("<li><code>{}</code></li>", ui::escape(origin)))
        .collect();
    Body::new()
        .add(ui::definition_list(vec![
            (visit.t("host-name"), Markup::code(&explained.host)),
            (visit.t("explain-path"), Markup::code(&explained.path)),
            (
                visit.t("explain-key"),
                explained
                    .cache_key
                    .as_ref()
                    .map_or_else(|| Markup::text(visit.t("explain-no-key")), Markup::code),
            ),
            (
                visit.t("site-origins"),
                Markup::new(format!("<ol>{origins}</ol>")),
            ),
        ]))
        .add(Markup::new(format!("<ol>{steps}</ol>")))
}

#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Explain {
    #[serde(default)]
    url: String,
}

pub(super) async fn explain(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    ApiQuery(query): ApiQuery<Explain>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let version = desk
        .cdn
        .version(&scope, site.id, None)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let (frame, tabs) = site_frame(&visit, &site, "settings");
    let url = query.url.trim();
    let outcome = settings::explain(&version.config, &site.hosts, url);
    let error = outcome
        .as_ref()
        .err()
        .filter(|_| !url.is_empty())
        .map(|text| text.of(visit.lang.tag()).to_owned());
    let search = Body::new()
        .add(
            Field::input("url", "url", visit.t("explain-url"))
                .value(url)
                .error(error),
        )
        .add(ui::button(visit.t("explain-button")));
    let mut body = Body::new()
        .add(tabs)
        .text(visit.t("explain-text"))
        .search(&format!("/sites/{}/explain", site.id), search);
    if let Ok(explained) = &outcome {
        body = body.section(visit.t("explain"), explanation(&visit, explained));
    }
    show(frame, body)
}

// ------------------------------------------------------------- versions

pub(super) async fn versions(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let page = desk
        .cdn
        .versions(&scope, site.id, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let (frame, tabs) = site_frame(&visit, &site, "versions");
    let mut table = Table::new(visit.t("site-tab-versions"))
        .column(Column::number(visit.t("site-version")))
        .column(Column::text(visit.t("set-note")))
        .column(Column::text(visit.t("made-by")))
        .column(Column::text(visit.t("made-at")))
        .column(Column::text(visit.t("site-state")));
    for version in &page.items {
        let active = if version.version == site.active {
            ui::badge(Level::Good, visit.t("version-active"))
        } else {
            Markup::text("–")
        };
        table.push(vec![
            Markup::link(
                format!("/sites/{}/versions/{}", site.id, version.version),
                version.version.to_string(),
            ),
            Markup::text(&version.note),
            Markup::text(desk.person(&visit, version.by).await),
            ui::ago(&visit, version.at),
            active,
        ]);
    }
    let body = Body::new()
        .add(tabs)
        .text(visit.t("versions-text"))
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    show(frame, body)
}

pub(super) async fn version(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, version)): Path<(String, i64)>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let told = |e| tell(e, visit.lang);
    let shown: Version = desk
        .cdn
        .version(&scope, site.id, Some(version))
        .await
        .map_err(told)?;
    let active = desk
        .cdn
        .version(&scope, site.id, None)
        .await
        .map_err(told)?;
    let (frame, tabs) = site_frame(&visit, &site, "versions");
    let mut body = Body::new()
        .add(tabs)
        .heading(visit.ta("version-title", &[("version", &version.to_string())]))
        .add(ui::definition_list(vec![
            (visit.t("set-note"), Markup::text(&shown.note)),
            (
                visit.t("made-by"),
                Markup::text(desk.person(&visit, shown.by).await),
            ),
            (visit.t("made-at"), ui::time(shown.at)),
        ]));
    if shown.version == active.version {
        body = body.add(ui::notice(
            Level::Good,
            visit.t("version-active"),
            visit.t("version-active-text"),
        ));
    } else {
        body = body.section(
            visit.t("version-compare"),
            Body::new()
                .text(visit.ta(
                    "version-compare-text",
                    &[("version", &active.version.to_string())],
                ))
                .add(change_table(
                    &visit,
                    &settings::difference(&active.config, &shown.config),
                )),
        );
        if visit.principal.may("site:edit", site.org) {
            let inner = Body::new()
                .add(hidden("base", active.version))
                .add(ui::button(visit.ta(
                    "version-activate",
                    &[("version", &version.to_string())],
                )));
            body = body.form(
                &frame,
                &format!("/sites/{}/versions/{version}/activate", site.id),
                inner,
            );
        }
    }
    body = body.fold(
        visit.t("version-document"),
        Body::new().add(document(&shown.config)),
    );
    show(frame, body)
}

fn document(config: &SiteConfig) -> Markup {
    let text = serde_json::to_string_pretty(config).unwrap_or_default();
    Markup::new(format!(
        "<pre tabindex=\"0\"><code>{}</code></pre>",
        ui::escape(&text)
    ))
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Base {
    base: i64,
}

pub(super) async fn activate(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, version)): Path<(String, i64)>,
    PageForm(form): PageForm<Base>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    match desk
        .cdn
        .activate(&scope, &by(&visit)?, site.id, form.base, version)
        .await
    {
        Ok(()) => Ok(visit.done(&format!("/sites/{}/versions", site.id), "set-active")),
        Err(CdnError::Conflict(_)) => Ok(visit.to_with(
            &format!("/sites/{}/versions/{version}", site.id),
            Level::Warn,
            &visit.t("set-conflict"),
        )),
        Err(error) => Err(tell(error, visit.lang)),
    }
}
