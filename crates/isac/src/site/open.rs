//! Pages for everybody below `/open/{language}`: the same for all readers, without
//! cookies or forms, and so for caches to keep.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use casework::api::page_request;
use casework::body::Body;
use casework::form::Text;
use store::PageRequest;
use web::ui::{self, Icon, Markup, escape};
use web::{ApiQuery, Lang, Pages, Paging, Visit, WebError, WebResult};

use super::articles::{Article, ArticleKind};
use super::feed::{self, About, Entry};
use super::markdown;
use crate::alert::{Alert, pages as alerts};
use crate::cert::error::tell;
use crate::cert::{CertError, Desk};

/// How long caches may keep a page, and show it while they ask for a new one.
pub(super) const CACHE: &str =
    "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400";
/// Entries of a feed.
const FEED_ENTRIES: u32 = 50;
/// Entries of each part of the first page.
const FRONT_ENTRIES: u32 = 5;

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/open", "public:view", enter)
        .get("/open/{lang}", "public:view", front)
        .get("/open/{lang}/news", "public:view", list)
        .get("/open/{lang}/news/{slug}", "public:view", article)
        .get("/open/{lang}/advisories", "public:view", advisories)
        .get("/open/{lang}/advisories/{number}", "public:view", advisory)
        .get("/open/{lang}/feed.atom", "public:view", atom)
        .get("/open/{lang}/feed.rss", "public:view", rss)
        .with_state(desk)
}

fn language(visit: &mut Visit, lang: &str) -> WebResult<&'static str> {
    let (lang, tag) = match lang {
        "zh" => (Lang::ZhTw, "zh"),
        "en" => (Lang::En, "en"),
        other => return Err(WebError::not_found("language", other)),
    };
    visit.lang = lang;
    Ok(tag)
}

async fn enter(visit: Visit) -> WebResult {
    let tag = if visit.lang == Lang::En { "en" } else { "zh" };
    Ok(visit.to(&format!("/open/{tag}")))
}

/// A page in the public frame.
fn page(visit: &Visit, tag: &str, title: &str, body: Body) -> Response {
    let other = if tag == "zh" { "en" } else { "zh" };
    let rest = visit
        .path
        .strip_prefix("/open/")
        .and_then(|path| path.split_once('/'))
        .map_or(String::new(), |(_, rest)| format!("/{rest}"));
    let t = |key: &str| escape(&visit.t(key));
    let nav: String = [
        ("", "open-home"),
        ("/advisories", "open-advisories"),
        ("/news?kind=news", "open-news"),
        ("/news?kind=awareness", "open-awareness"),
        ("/news?kind=event", "open-events"),
    ]
    .iter()
    .map(|(path, key)| format!("<li><a href=\"/open/{tag}{path}\">{}</a></li>", t(key)))
    .collect();
    let html = format!(
        "<!doctype html>\n<html lang=\"{lang}\" data-theme=\"system\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>{title} · {site}</title><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"{style}\"><link rel=\"alternate\" type=\"application/atom+xml\" title=\"{site}\" href=\"/open/{tag}/feed.atom\"></head><body class=\"plain\"><a class=\"skip\" href=\"#content\">{skip}</a><header class=\"top\"><a class=\"brand\" href=\"/open/{tag}\"><span>{site}</span></a><div class=\"tools\"><a class=\"button\" lang=\"{other_lang}\" href=\"/open/{other}{rest}\">{other_name}</a><a class=\"button\" href=\"/public/report\">{report}</a></div></header><div class=\"frame\"><main id=\"content\" class=\"content\" tabindex=\"-1\"><nav class=\"tabs\" aria-label=\"{site}\"><ul>{nav}</ul></nav><div class=\"heading\"><h1>{title}</h1></div>{body}</main></div><footer class=\"foot\"><a href=\"/open/{tag}/feed.atom\">Atom</a> <a href=\"/open/{tag}/feed.rss\">RSS</a> <a href=\"/public/follow\">{follow}</a></footer></body></html>",
        lang = visit.lang.tag(),
        title = escape(title),
        site = t("open-site"),
        style = escape(&visit.frame_titled("").asset("style.css")),
        skip = t("skip"),
        other_lang = if tag == "zh" { "en" } else { "zh-TW" },
        other_name = if tag == "zh" { "English" } else { "中文" },
        rest = escape(&rest),
        report = t("open-report"),
        follow = t("open-follow"),
        body = body.markup(),
    );
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, CACHE),
        ],
        html,
    )
        .into_response()
}

fn article_item(visit: &Visit, tag: &str, article: &Article) -> Markup {
    let language = visit.lang.tag();
    let at = article.published_at.unwrap_or(article.updated_at);
    Markup::new(format!(
        "<article class=\"panel\"><h2><a href=\"/open/{tag}/news/{}\">{}</a></h2><p class=\"help\">{} · {}</p><p>{}</p></article>",
        escape(&article.slug),
        escape(article.title.of(language)),
        escape(&visit.t(&format!("article-{}", article.kind.tag()))),
        escape(&ui::day(visit.lang, at)),
        escape(article.summary.of(language)),
    ))
}

fn advisory_item(desk: &Desk, visit: &Visit, tag: &str, alert: &Alert) -> Markup {
    Markup::new(format!(
        "<article class=\"panel\"><h2><a href=\"/open/{tag}/advisories/{}\">{}</a></h2><p>{} {}</p><p>{}</p></article>",
        alert.number.get(),
        escape(&alert.subject),
        alerts::severity_badge(desk, visit, alert),
        escape(&ui::day(visit.lang, alert.published_at)),
        escape(crate::alert::grant::text(&alert.document, "summary")),
    ))
}

async fn front(State(desk): State<Desk>, mut visit: Visit, Path(lang): Path<String>) -> WebResult {
    let tag = language(&mut visit, &lang)?;
    let told = |e| tell(e, visit.lang);
    let few = PageRequest::first(FRONT_ENTRIES);
    let alerts = desk.cert.public_alerts(&few).await.map_err(told)?;
    let articles = desk.cert.articles(None, false, &few).await.map_err(told)?;
    let mut body = Body::new().text(visit.t("open-intro"));
    body = body.heading(visit.t("open-advisories"));
    if alerts.items.is_empty() {
        body = body.text(visit.t("open-no-advisories"));
    }
    for alert in &alerts.items {
        body = body.add(advisory_item(&desk, &visit, tag, alert));
    }
    body = body.heading(visit.t("open-news"));
    if articles.items.is_empty() {
        body = body.text(visit.t("open-no-articles"));
    }
    for article in &articles.items {
        body = body.add(article_item(&visit, tag, article));
    }
    let title = visit.t("open-home");
    Ok(page(&visit, tag, &title, body))
}

#[derive(Debug, Default, serde::Deserialize)]
struct Kind {
    #[serde(default)]
    kind: Option<String>,
}

fn more(path: &str, visit: &Visit, next: Option<&str>) -> Option<Markup> {
    next.map(|next| ui::button_link(format!("{path}cursor={next}"), visit.t("open-more")))
}

async fn list(
    State(desk): State<Desk>,
    mut visit: Visit,
    Path(lang): Path<String>,
    ApiQuery(kind): ApiQuery<Kind>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let tag = language(&mut visit, &lang)?;
    let kind = kind.kind.as_deref().and_then(ArticleKind::from_tag);
    let found = desk
        .cert
        .articles(kind, false, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let title = match kind {
        Some(ArticleKind::Awareness) => visit.t("open-awareness"),
        Some(ArticleKind::Event) => visit.t("open-events"),
        _ => visit.t("open-news"),
    };
    let mut body = Body::new();
    if found.items.is_empty() {
        body = body.add(ui::empty(
            Icon::Info,
            visit.t("open-no-articles"),
            visit.t("open-no-articles-text"),
            None,
        ));
    }
    for article in &found.items {
        body = body.add(article_item(&visit, tag, article));
    }
    let path = format!(
        "/open/{tag}/news?kind={}&",
        kind.map_or("", ArticleKind::tag)
    );
    body = body.add_some(more(&path, &visit, found.next.as_deref()));
    Ok(page(&visit, tag, &title, body))
}

async fn article(
    State(desk): State<Desk>,
    mut visit: Visit,
    Path((lang, slug)): Path<(String, String)>,
) -> WebResult {
    let tag = language(&mut visit, &lang)?;
    let article = desk
        .cert
        .published_article(&slug)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let language = visit.lang.tag();
    let at = article.published_at.unwrap_or(article.updated_at);
    let body = Body::new()
        .text(format!(
            "{} · {}",
            visit.t(&format!("article-{}", article.kind.tag())),
            ui::day(visit.lang, at)
        ))
        .text(article.summary.of(language))
        .add(Markup::new(format!(
            "<div class=\"prose\">{}</div>",
            markdown::html(article.body.of(language))
        )));
    Ok(page(&visit, tag, article.title.of(language), body))
}

async fn advisories(
    State(desk): State<Desk>,
    mut visit: Visit,
    Path(lang): Path<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let tag = language(&mut visit, &lang)?;
    let found = desk
        .cert
        .public_alerts(&page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let mut body = Body::new();
    if found.items.is_empty() {
        body = body.text(visit.t("open-no-advisories"));
    }
    for alert in &found.items {
        body = body.add(advisory_item(&desk, &visit, tag, alert));
    }
    let path = format!("/open/{tag}/advisories?");
    body = body.add_some(more(&path, &visit, found.next.as_deref()));
    let title = visit.t("open-advisories");
    Ok(page(&visit, tag, &title, body))
}

async fn advisory(
    State(desk): State<Desk>,
    mut visit: Visit,
    Path((lang, number)): Path<(String, String)>,
) -> WebResult {
    let tag = language(&mut visit, &lang)?;
    let wanted: i64 = number
        .parse()
        .map_err(|_| WebError::not_found("advisory", &number))?;
    let alert = match desk.cert.public_alert(wanted).await {
        Ok(alert) => alert,
        Err(CertError::NotFound { .. }) => return withdrawn(&desk, &visit, tag, wanted).await,
        Err(error) => return Err(tell(error, visit.lang)),
    };
    let body = Body::new()
        .add(alerts::severity_badge(&desk, &visit, &alert))
        .text(ui::day(visit.lang, alert.published_at))
        .written(crate::alert::grant::text(&alert.document, "summary"));
    let body = alerts::content(&desk, &visit, body, &alert);
    let csaf = format!("/open/csaf/{}", super::csaf::place(&alert));
    let body = body.group("actions", [ui::button_link(csaf, visit.t("alert-csaf"))]);
    Ok(page(&visit, tag, &alert.subject, body))
}

/// What is left of an advisory that was taken back: that it was there, and is no longer true.
pub(super) async fn withdrawn(desk: &Desk, visit: &Visit, tag: &str, number: i64) -> WebResult {
    let alert = desk
        .cert
        .withdrawn_alert(number)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let day = ui::day(visit.lang, alert.retracted_at.unwrap_or(alert.published_at));
    let body = Body::new().add(ui::notice(
        web::Level::Warn,
        visit.t("alert-retracted"),
        visit.ta("open-withdrawn", &[("day", &day)]).as_str(),
    ));
    let mut answer = page(visit, tag, &alert.subject, body);
    *answer.status_mut() = StatusCode::GONE;
    Ok(answer)
}

async fn entries(desk: &Desk, visit: &Visit, tag: &str) -> WebResult<(About, Vec<Entry>)> {
    let told = |e| tell(e, visit.lang);
    let many = PageRequest::first(FEED_ENTRIES);
    let house = address(
        &visit.house().config.open_hosts,
        &desk.casework.config().console_url,
    );
    let language = visit.lang.tag();
    let alerts = desk.cert.public_alerts(&many).await.map_err(told)?;
    let articles = desk.cert.articles(None, false, &many).await.map_err(told)?;
    let mut entries: Vec<Entry> = alerts
        .items
        .iter()
        .map(|alert| Entry {
            title: alert.subject.clone(),
            summary: crate::alert::grant::text(&alert.document, "summary").to_owned(),
            link: format!("{house}/open/{tag}/advisories/{}", alert.number.get()),
            at: alert.published_at,
        })
        .chain(articles.items.iter().map(|article| Entry {
            title: article.title.of(language).to_owned(),
            summary: article.summary.of(language).to_owned(),
            link: format!("{house}/open/{tag}/news/{}", article.slug),
            at: article.published_at.unwrap_or(article.updated_at),
        }))
        .collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    entries.truncate(FEED_ENTRIES as usize);
    let site = Text::new("資安公告", "Security advisories and news");
    let about = About {
        title: format!("civicnet {}", site.of(language)),
        link: format!("{house}/open/{tag}"),
        here: format!("{house}{}", visit.path),
        language: language.to_owned(),
    };
    Ok((about, entries))
}

/// Where the public site is reached: by its own name where it has one, wherever the feed is
/// read, so that an entry has one id.
pub(super) fn address(open_hosts: &[String], console: &str) -> String {
    match open_hosts.first() {
        Some(host) => format!("https://{host}"),
        None => console.trim_end_matches('/').to_owned(),
    }
}

async fn atom(State(desk): State<Desk>, mut visit: Visit, Path(lang): Path<String>) -> WebResult {
    let tag = language(&mut visit, &lang)?;
    let (about, entries) = entries(&desk, &visit, tag).await?;
    let kind = [
        (header::CONTENT_TYPE, "application/atom+xml; charset=utf-8"),
        (header::CACHE_CONTROL, CACHE),
    ];
    Ok((kind, feed::atom(&about, &entries)).into_response())
}

async fn rss(State(desk): State<Desk>, mut visit: Visit, Path(lang): Path<String>) -> WebResult {
    let tag = language(&mut visit, &lang)?;
    let (about, entries) = entries(&desk, &visit, tag).await?;
    let kind = [
        (header::CONTENT_TYPE, "application/rss+xml; charset=utf-8"),
        (header::CACHE_CONTROL, CACHE),
    ];
    Ok((kind, feed::rss(&about, &entries)).into_response())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn feeds_carry_the_public_sites_name_where_it_has_one() {
        let console = "https://console.cert.test/";
        assert_eq!(address(&[], console), "https://console.cert.test");
        let hosts = ["www.cert.test".to_owned(), "cert.test".to_owned()];
        assert_eq!(address(&hosts, console), "https://www.cert.test");
    }
}
