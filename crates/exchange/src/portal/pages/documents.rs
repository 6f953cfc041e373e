//! Rules and documents: read by everybody, written in versions by officers.

use axum::extract::{Path, State};
use casework::body::{Body, hidden, other_errors, show, show_with};
use casework::form::Text;
use serde::Deserialize;
use web::ui::{self, Column, Field, Icon, Markup, Table, escape};
use web::{ApiQuery, FieldError, Level, PageForm, Pages, Visit, WebResult};

use crate::portal::room::{Desk, by, told};
use crate::portal::rules::Rules;

/// The status of a form that is shown again with its errors.
const AGAIN: axum::http::StatusCode = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
/// Where the list is.
const LIST: &str = "/peering/rules";

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get(LIST, "public:view", list)
        .get("/peering/rules/new", "ixrules:manage", new)
        .post(LIST, "ixrules:manage", write)
        .post("/peering/rules/begin", "ixrules:manage", begin)
        .get("/peering/rules/{slug}", "public:view", read)
        .get("/peering/rules/{slug}/edit", "ixrules:manage", edit)
        .post("/peering/rules/{slug}/publish", "ixrules:manage", publish)
        .with_state(desk)
}

fn manages(visit: &Visit) -> bool {
    visit.principal.may("ixrules:manage", web::Thing::HOUSE)
}

async fn list(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let manages = manages(&visit);
    let documents = desk
        .portal
        .documents(manages)
        .await
        .map_err(|e| told(e, &visit))?;
    let frame = visit.frame("nav-ix-rules");
    let language = visit.lang.tag();
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("ixrules-title")))
        .column(Column::number(visit.t("ixrules-version")))
        .column(Column::text(visit.t("ixrules-published")))
        .empty(ui::empty(
            Icon::List,
            visit.t("ixrules-empty-title"),
            visit.t("ixrules-empty-text"),
            None,
        ));
    for document in &documents {
        table.push(vec![
            Markup::link(
                format!("{LIST}/{}?version={}", document.slug, document.version),
                document.title.of(language),
            ),
            Markup::text(document.version.to_string()),
            published(&visit, document),
        ]);
    }
    let mut body = Body::new().text(visit.t("ixrules-intro"));
    let mut links = Vec::new();
    if manages {
        links.push(ui::button_link(
            "/peering/rules/new",
            visit.t("ixrules-new"),
        ));
    }
    if visit.principal.could("case:apply") {
        links.push(ui::button_link("/apply/ix-join", visit.t("peering-join")));
    }
    body = body.group("actions", links).add(table);
    if manages && documents.is_empty() {
        let inner = Body::new()
            .text(visit.t("ixrules-begin-text"))
            .add(ui::button(visit.t("ixrules-begin")));
        body = body.form(&frame, "/peering/rules/begin", inner);
    }
    let free = desk
        .portal
        .free_by_site()
        .await
        .map_err(|e| told(e, &visit))?;
    let sites = desk.sites(&visit).await?;
    let mut places = Table::new(visit.t("ixrules-sites"))
        .column(Column::text(visit.t("peering-site")))
        .column(Column::text(visit.t("ixrules-site-title")))
        .column(Column::text(visit.t("ixrules-free")))
        .empty(ui::empty(
            Icon::Map,
            visit.t("ixrules-no-sites-title"),
            visit.t("ixrules-no-sites-text"),
            None,
        ));
    for (name, title) in &sites {
        let speeds: Vec<String> = free
            .iter()
            .filter(|((site, _), _)| site == name)
            .map(|((_, speed), count)| format!("{}G × {count}", speed / 1_000))
            .collect();
        places.push(vec![
            Markup::code(name),
            Markup::text(title),
            Markup::text(if speeds.is_empty() {
                "–".to_owned()
            } else {
                speeds.join(", ")
            }),
        ]);
    }
    show(
        frame,
        body.section(visit.t("ixrules-sites"), Body::new().add(places)),
    )
}

fn published(visit: &Visit, document: &Rules) -> Markup {
    match document.published_at {
        Some(at) => ui::time(at),
        None => ui::badge(Level::Neutral, visit.t("ixrules-draft")),
    }
}

/// Paragraphs, `#` headings and `-` lists; everything escaped.
fn prose(text: &str) -> Markup {
    let mut out = "<div class=\"prose\">".to_owned();
    let mut in_list = false;
    let mut paragraph: Vec<String> = Vec::new();
    let flush = |out: &mut String, paragraph: &mut Vec<String>| {
        if !paragraph.is_empty() {
            out.push_str(&format!("<p>{}</p>", paragraph.join("<br>")));
            paragraph.clear();
        }
    };
    for line in text.lines().map(str::trim) {
        let item = line.strip_prefix("- ");
        if in_list && item.is_none() {
            out.push_str("</ul>");
            in_list = false;
        }
        if let Some(item) = item {
            flush(&mut out, &mut paragraph);
            if !in_list {
                out.push_str("<ul>");
                in_list = true;
            }
            out.push_str(&format!("<li>{}</li>", escape(item)));
        } else if let Some(heading) = line.strip_prefix('#') {
            flush(&mut out, &mut paragraph);
            let heading = heading.trim_start_matches('#').trim();
            out.push_str(&format!("<h2>{}</h2>", escape(heading)));
        } else if line.is_empty() {
            flush(&mut out, &mut paragraph);
        } else {
            paragraph.push(escape(line));
        }
    }
    if in_list {
        out.push_str("</ul>");
    }
    flush(&mut out, &mut paragraph);
    out.push_str("</div>");
    Markup::new(out)
}

#[derive(Debug, Default, Deserialize)]
struct Version {
    #[serde(default)]
    version: Option<i64>,
}

async fn read(
    State(desk): State<Desk>,
    visit: Visit,
    Path(slug): Path<String>,
    ApiQuery(asked): ApiQuery<Version>,
) -> WebResult {
    let manages = manages(&visit);
    let document = desk
        .portal
        .document(&slug, asked.version, manages)
        .await
        .map_err(|e| told(e, &visit))?;
    let versions = desk
        .portal
        .versions(&slug, manages)
        .await
        .map_err(|e| told(e, &visit))?;
    let language = visit.lang.tag();
    let frame = visit
        .frame_titled(document.title.of(language))
        .crumb(LIST, visit.t("nav-ix-rules"));
    let newest = versions.iter().find(|other| other.published_at.is_some());
    let mut body = Body::new();
    if newest.is_some_and(|newest| newest.version > document.version) {
        body = body.add(ui::notice(
            Level::Info,
            visit.t("ixrules-older"),
            Markup::link(format!("{LIST}/{slug}"), visit.t("ixrules-newest")),
        ));
    }
    if manages {
        let action = match document.published_at {
            None => Body::new()
                .add(hidden("version", document.version))
                .add(hidden("publish", true))
                .add(ui::button(visit.t("ixrules-publish"))),
            Some(_) => Body::new()
                .add(hidden("version", document.version))
                .add(hidden("publish", false))
                .add(ui::danger_button(visit.t("ixrules-withdraw"))),
        };
        body = body
            .group(
                "actions",
                [ui::button_link(
                    format!("{LIST}/{slug}/edit"),
                    visit.t("ixrules-edit"),
                )],
            )
            .form(&frame, &format!("{LIST}/{slug}/publish"), action);
    }
    body = body.add(prose(document.body.of(language)));
    let mut table = Table::new(visit.t("ixrules-versions"))
        .column(Column::number(visit.t("ixrules-version")))
        .column(Column::text(visit.t("ixrules-published")));
    for version in &versions {
        table.push(vec![
            Markup::link(
                format!("{LIST}/{slug}?version={}", version.version),
                version.version.to_string(),
            ),
            published(&visit, version),
        ]);
    }
    show(
        frame,
        body.section(visit.t("ixrules-versions"), Body::new().add(table)),
    )
}

#[derive(Debug, Default, Deserialize)]
struct Written {
    #[serde(default)]
    slug: String,
    #[serde(default)]
    title_zh: String,
    #[serde(default)]
    title_en: String,
    #[serde(default)]
    body_zh: String,
    #[serde(default)]
    body_en: String,
    #[serde(default)]
    publish: Option<String>,
}

fn form(visit: &Visit, written: &Written, errors: &[FieldError]) -> Body {
    const FIELDS: [&str; 5] = ["slug", "title_zh", "title_en", "body_zh", "body_en"];
    let label = |name: &str| visit.t(&format!("ixrules-{}", name.replace('_', "-")));
    let text = |name: &'static str, value: &str| {
        Field::text(name, label(name))
            .value(value)
            .errors(errors)
            .required()
    };
    let area = |name: &'static str, value: &str| {
        Field::area(name, label(name), 14)
            .value(value)
            .errors(errors)
            .required()
    };
    let inner = Body::new()
        .add(text("slug", &written.slug).help(visit.t("ixrules-slug-help")))
        .add(text("title_zh", &written.title_zh))
        .add(text("title_en", &written.title_en))
        .add(area("body_zh", &written.body_zh).help(visit.t("ixrules-body-help")))
        .add(area("body_en", &written.body_en))
        .add(Field::check(
            "publish",
            visit.t("ixrules-publish-now"),
            written.publish.is_some(),
        ))
        .group(
            "actions",
            [
                ui::button(visit.t("ixrules-save")),
                ui::button_link(LIST, visit.t("act-cancel")),
            ],
        );
    Body::new()
        .add_some(other_errors(visit, errors, &FIELDS))
        .form(&visit.frame_titled(""), LIST, inner)
}

async fn begin(State(desk): State<Desk>, visit: Visit) -> WebResult {
    desk.portal
        .begin_documents(&by(&visit)?)
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(visit.done(LIST, "ixrules-is-published"))
}

async fn new(visit: Visit) -> WebResult {
    let frame = visit
        .frame("ixrules-new")
        .crumb(LIST, visit.t("nav-ix-rules"));
    show(frame, form(&visit, &Written::default(), &[]))
}

async fn edit(State(desk): State<Desk>, visit: Visit, Path(slug): Path<String>) -> WebResult {
    let document = desk
        .portal
        .document(&slug, None, true)
        .await
        .map_err(|e| told(e, &visit))?;
    let written = Written {
        slug: document.slug,
        title_zh: document.title.zh,
        title_en: document.title.en,
        body_zh: document.body.zh,
        body_en: document.body.en,
        publish: None,
    };
    let frame = visit
        .frame("ixrules-edit")
        .crumb(LIST, visit.t("nav-ix-rules"));
    show(frame, form(&visit, &written, &[]))
}

async fn write(
    State(desk): State<Desk>,
    visit: Visit,
    PageForm(written): PageForm<Written>,
) -> WebResult {
    let kept = desk
        .portal
        .write_document(
            &by(&visit)?,
            written.slug.trim(),
            &Text::new(&written.title_zh, &written.title_en),
            &Text::new(&written.body_zh, &written.body_en),
            written.publish.is_some(),
        )
        .await;
    match kept {
        Ok(version) => Ok(visit.done(
            &format!("{LIST}/{}?version={version}", written.slug.trim()),
            "ixrules-saved",
        )),
        Err(error) => {
            let told = told(error, &visit);
            if told.fields.is_empty() {
                return Err(told);
            }
            let frame = visit
                .frame("ixrules-new")
                .crumb(LIST, visit.t("nav-ix-rules"));
            show_with(AGAIN, frame, form(&visit, &written, &told.fields))
        }
    }
}

#[derive(Debug, Deserialize)]
struct Publish {
    version: i64,
    publish: bool,
}

async fn publish(
    State(desk): State<Desk>,
    visit: Visit,
    Path(slug): Path<String>,
    PageForm(publish): PageForm<Publish>,
) -> WebResult {
    desk.portal
        .publish_document(&by(&visit)?, &slug, publish.version, publish.publish)
        .await
        .map_err(|e| told(e, &visit))?;
    let key = match publish.publish {
        true => "ixrules-is-published",
        false => "ixrules-is-withdrawn",
    };
    Ok(visit.done(&format!("{LIST}/{slug}?version={}", publish.version), key))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_becomes_markup_that_holds_nothing_of_its_own() {
        let html = super::prose("# Rules\n\nOne\ntwo <script>\n\n- a\n- b & c\n\nend");
        assert_eq!(
            html.as_str(),
            "<div class=\"prose\"><h2>Rules</h2><p>One<br>two &lt;script&gt;</p><ul><li>a</li><li>b &amp; c</li></ul><p>end</p></div>"
        );
    }
}
