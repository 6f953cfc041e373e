//! The officers' side of the public site: articles and citizens' reports.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use casework::api::page_request;
use casework::body::{Body, hidden, other_errors, show, show_with};
use casework::form::Text;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, Frame, PageForm, Pages, Paging, Visit, WebError, WebResult};

use super::articles::{Article, ArticleKind, NewArticle};
use super::markdown;
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::{AGAIN, by, press};

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/articles", "article:manage", list)
        .get("/articles/new", "article:manage", new)
        .post("/articles", "article:manage", create)
        .get("/articles/{article}", "article:manage", edit)
        .post("/articles/{article}", "article:manage", save)
        .post("/articles/{article}/publish", "article:manage", publish)
        .get("/citizens", "citizen:answer", citizens)
        .post("/citizens/{report}", "citizen:answer", answer)
        .get("/citizens/{report}/file", "citizen:answer", file)
        .with_state(desk)
}

async fn list(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let page = desk
        .cert
        .articles(None, true, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit.frame("nav-articles");
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("article-title")))
        .column(Column::text(visit.t("article-kind")))
        .column(Column::text(visit.t("article-published")))
        .empty(ui::empty(
            Icon::Info,
            visit.t("articles-empty-title"),
            visit.t("articles-empty-text"),
            None,
        ));
    for article in &page.items {
        table.push(vec![
            Markup::link(
                format!("/articles/{}", article.id),
                article.title.of(visit.lang.tag()),
            ),
            Markup::text(visit.t(&format!("article-{}", article.kind.tag()))),
            match article.published_at {
                Some(at) => ui::time(at),
                None => ui::badge(web::Level::Neutral, visit.t("article-draft")),
            },
        ]);
    }
    let body = Body::new()
        .text(visit.t("articles-intro"))
        .group(
            "actions",
            [
                ui::button_link("/articles/new", visit.t("article-new")),
                ui::button_link("/open", visit.t("open-site")),
            ],
        )
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    show(frame, body)
}

#[derive(Debug, Default, serde::Deserialize)]
struct Written {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    slug: String,
    #[serde(default)]
    title_zh: String,
    #[serde(default)]
    title_en: String,
    #[serde(default)]
    summary_zh: String,
    #[serde(default)]
    summary_en: String,
    #[serde(default)]
    body_zh: String,
    #[serde(default)]
    body_en: String,
}

impl Written {
    fn of(article: &Article) -> Self {
        Self {
            kind: article.kind.tag().into(),
            slug: article.slug.clone(),
            title_zh: article.title.zh.clone(),
            title_en: article.title.en.clone(),
            summary_zh: article.summary.zh.clone(),
            summary_en: article.summary.en.clone(),
            body_zh: article.body.zh.clone(),
            body_en: article.body.en.clone(),
        }
    }

    fn article(&self) -> WebResult<NewArticle> {
        Ok(NewArticle {
            kind: ArticleKind::from_tag(&self.kind).ok_or_else(|| {
                WebError::field("kind", "enum", "must be news, awareness or event")
            })?,
            slug: self.slug.clone(),
            title: Text::new(&self.title_zh, &self.title_en),
            summary: Text::new(&self.summary_zh, &self.summary_en),
            body: Text::new(&self.body_zh, &self.body_en),
        })
    }
}

fn form(visit: &Visit, path: &str, written: &Written, errors: &[FieldError]) -> Body {
    let kinds = ArticleKind::ALL
        .into_iter()
        .map(|kind| {
            (
                kind.tag().to_owned(),
                visit.t(&format!("article-{}", kind.tag())),
            )
        })
        .collect();
    let text = |name: &str, value: &str| {
        Field::text(
            name,
            visit.t(&format!("article-{}", name.replace('_', "-"))),
        )
        .value(value)
        .errors(errors)
        .required()
    };
    let area = |name: &str, value: &str, rows: u8| {
        Field::area(
            name,
            visit.t(&format!("article-{}", name.replace('_', "-"))),
            rows,
        )
        .value(value)
        .errors(errors)
        .required()
    };
    let inner = Body::new()
        .add(
            Field::select("kind", visit.t("article-kind"), kinds)
                .value(&written.kind)
                .errors(errors)
                .required(),
        )
        .add(
            Field::text("slug", visit.t("article-slug"))
                .value(&written.slug)
                .help(visit.t("article-slug-help"))
                .errors(errors)
                .required(),
        )
        .add(text("title_zh", &written.title_zh))
        .add(text("title_en", &written.title_en))
        .add(area("summary_zh", &written.summary_zh, 2))
        .add(area("summary_en", &written.summary_en, 2))
        .add(area("body_zh", &written.body_zh, 12).help(visit.t("article-body-help")))
        .add(area("body_en", &written.body_en, 12))
        .group(
            "actions",
            [
                ui::button(visit.t("article-save")),
                ui::button_link("/articles", visit.t("act-cancel")),
            ],
        );
    Body::new()
        .add_some(other_errors(
            visit,
            errors,
            &[
                "kind",
                "slug",
                "title_zh",
                "title_en",
                "summary_zh",
                "summary_en",
                "body_zh",
                "body_en",
            ],
        ))
        .form(&visit.frame_titled(""), path, inner)
}

async fn new(visit: Visit) -> WebResult {
    let frame = visit
        .frame("article-new")
        .crumb("/articles", visit.t("nav-articles"));
    show(frame, form(&visit, "/articles", &Written::default(), &[]))
}

async fn edit(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let article = desk
        .cert
        .article(&id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit
        .frame_titled(article.title.of(visit.lang.tag()))
        .crumb("/articles", visit.t("nav-articles"));
    let path = format!("/articles/{id}/publish");
    let button = match article.published_at {
        Some(_) => press(
            &visit,
            &path,
            &[("on", "false")],
            ui::danger_button(visit.t("article-withdraw")),
        ),
        None => press(
            &visit,
            &path,
            &[("on", "true")],
            ui::button(visit.t("article-publish")),
        ),
    };
    let preview = Markup::new(format!(
        "<div class=\"prose\">{}</div>",
        markdown::html(article.body.of(visit.lang.tag()))
    ));
    let body = Body::new()
        .add(button)
        .section(visit.t("article-preview"), Body::new().add(preview));
    let written = form(
        &visit,
        &format!("/articles/{id}"),
        &Written::of(&article),
        &[],
    );
    show(frame, body.section(visit.t("article-text"), written))
}

async fn create(
    State(desk): State<Desk>,
    visit: Visit,
    PageForm(written): PageForm<Written>,
) -> WebResult {
    write(&desk, &visit, None, &written).await
}

async fn save(
    State(desk): State<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(written): PageForm<Written>,
) -> WebResult {
    write(&desk, &visit, Some(&id), &written).await
}

async fn write(desk: &Desk, visit: &Visit, id: Option<&str>, written: &Written) -> WebResult {
    let kept = match written.article() {
        Ok(article) => desk
            .cert
            .write_article(&by(visit)?, id, &article)
            .await
            .map_err(|e| tell(e, visit.lang)),
        Err(error) => Err(error),
    };
    match kept {
        Ok(id) => Ok(visit.done(&format!("/articles/{id}"), "article-saved")),
        Err(told) if told.fields.is_empty() => Err(told),
        Err(told) => {
            let frame = visit
                .frame("article-text")
                .crumb("/articles", visit.t("nav-articles"));
            let path = id.map_or_else(|| "/articles".to_owned(), |id| format!("/articles/{id}"));
            show_with(AGAIN, frame, form(visit, &path, written, &told.fields))
        }
    }
}

#[derive(Debug, serde::Deserialize)]
struct Publish {
    on: bool,
}

async fn publish(
    State(desk): State<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(publish): PageForm<Publish>,
) -> WebResult {
    desk.cert
        .publish_article(&by(&visit)?, &id, publish.on)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let key = if publish.on {
        "article-is-published"
    } else {
        "article-is-withdrawn"
    };
    Ok(visit.done(&format!("/articles/{id}"), key))
}

async fn citizens(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let (frame, body) = reports(&desk, &visit, &paging, None).await?;
    show(frame, body)
}

/// A page of what citizens reported; `again` is the report whose answer was refused, what
/// was typed, and why.
async fn reports(
    desk: &Desk,
    visit: &Visit,
    paging: &Paging,
    again: Option<(&str, &Answer, &[FieldError])>,
) -> WebResult<(Frame, Body)> {
    let page = desk
        .cert
        .citizens(&by(visit)?, &page_request(paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit.frame("nav-citizens");
    let mut body = Body::new().text(visit.t("citizens-intro"));
    if page.items.is_empty() {
        body = body.add(ui::empty(
            Icon::Inbox,
            visit.t("citizens-empty-title"),
            visit.t("citizens-empty-text"),
            None,
        ));
    }
    for report in &page.items {
        let mut inner = Body::new().written(&report.told.text);
        if !report.told.contact.is_empty() {
            inner = inner.text(format!(
                "{}: {}",
                visit.t("citizen-contact"),
                report.told.contact
            ));
        }
        if !report.told.file.is_empty() {
            inner = inner.add(Markup::link(
                format!("/citizens/{}/file", report.id),
                &report.told.file,
            ));
        }
        let (typed, errors) = match again {
            Some((id, typed, errors)) if id == report.id => (typed.answer.clone(), errors),
            _ => (report.answer.clone().unwrap_or_default(), &[][..]),
        };
        let form = Body::new()
            .add(hidden(
                "cursor",
                paging.cursor.as_deref().unwrap_or_default(),
            ))
            .add(
                Field::area("answer", visit.t("citizen-answer"), 3)
                    .value(typed)
                    .errors(errors)
                    .required(),
            )
            .group("actions", [ui::button(visit.t("citizen-send-answer"))]);
        inner = inner.form(&frame, &format!("/citizens/{}", report.id), form);
        body = body.section(report.at.taipei(), inner);
    }
    body = body.add(ui::pager(&frame, "", page.next.as_deref()));
    Ok((frame, body))
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Answer {
    answer: String,
    /// The page on which the report stands.
    cursor: String,
}

async fn answer(
    State(desk): State<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(answer): PageForm<Answer>,
) -> WebResult {
    let kept = desk
        .cert
        .answer_citizen(&by(&visit)?, &id, &answer.answer)
        .await
        .map_err(|e| tell(e, visit.lang));
    match kept {
        Ok(()) => Ok(visit.done("/citizens", "citizen-answered")),
        Err(told) if told.fields.is_empty() => Err(told),
        Err(told) => {
            let paging = Paging {
                limit: None,
                cursor: Some(answer.cursor.clone()).filter(|cursor| !cursor.is_empty()),
            };
            let again = Some((id.as_str(), &answer, told.fields.as_slice()));
            let (frame, body) = reports(&desk, &visit, &paging, again).await?;
            show_with(AGAIN, frame, body)
        }
    }
}

/// A download that no browser opens as a page of this house.
async fn file(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let (name, bytes) = desk
        .cert
        .citizen_file(&by(&visit)?, &id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let encoded: String = name
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"._-".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    Ok((
        [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (
                header::CONTENT_DISPOSITION,
                format!("attachment; filename*=UTF-8''{encoded}"),
            ),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; sandbox".to_owned(),
            ),
        ],
        bytes,
    )
        .into_response())
}
