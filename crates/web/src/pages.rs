//! Web's own pages: landing, sign-in, one's account, organisations, people, audit,
//! search, errors.

mod account;
pub(crate) mod audit;
mod login;
mod oidc;
mod orgs;
mod passkeys;
mod people;
mod welcome;

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, header};
use std::sync::Arc;

use crate::api::{ApiQuery, PageForm};
use crate::house::House;
use crate::lang::{Lang, Locales};
use crate::principal::Via;
use crate::problem::{Code, FieldError, WebError, WebResult};
use crate::room::{Level, NavEntry, NavGroup, Pages, Room};
use crate::ui::{self, Icon, Markup, escape};
use crate::visit::{Frame, Theme, Visit, local_path, page};

/// A page whose content is made of components.
#[derive(askama::Template)]
#[template(path = "body.html")]
pub(crate) struct Plain {
    pub(crate) frame: Frame,
    pub(crate) body: Markup,
}

#[derive(askama::Template)]
#[template(path = "landing.html")]
struct Landing {
    frame: Frame,
    /// What is open to everybody: path and text.
    doors: Vec<(&'static str, String)>,
}

#[derive(askama::Template)]
#[template(path = "bare.html")]
struct Bare {
    lang: Lang,
    title: String,
    text: String,
    request_id: String,
    style: String,
}

pub(crate) fn room() -> Room {
    let pages = Pages::new()
        .get("/", "public:view", landing)
        .get("/home/live", "self:view", crate::home::live)
        .get("/assets/{name}", "public:view", crate::assets::serve)
        .get("/api/openapi.json", "public:view", openapi)
        .get("/api", "public:view", api_page)
        .get("/search", "self:view", search)
        .post("/settings/display", "display:set", display)
        .post("/settings/organisation", "self:view", organisation);
    Room {
        nav: vec![
            NavEntry {
                label: "nav-home",
                path: "/",
                icon: Icon::Home,
                action: "self:view",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-account",
                path: "/account",
                icon: Icon::User,
                action: "self:view",
                group: NavGroup::Govern,
            },
            NavEntry {
                label: "orgs-title",
                path: "/organisations",
                icon: Icon::Building,
                action: "org:view",
                group: NavGroup::Govern,
            },
            NavEntry {
                label: "people-title",
                path: "/people",
                icon: Icon::Users,
                action: "user:view",
                group: NavGroup::Govern,
            },
            NavEntry {
                label: "audit-title",
                path: "/audit",
                icon: Icon::Shield,
                action: "audit:view",
                group: NavGroup::Govern,
            },
        ],
        pages: pages
            .merge(login::pages())
            .merge(oidc::pages())
            .merge(passkeys::pages())
            .merge(welcome::pages())
            .merge(account::pages())
            .merge(orgs::pages())
            .merge(people::pages())
            .merge(audit::pages()),
        api: crate::rest::router(),
        api_permissions: crate::rest::permissions(),
        locales: Some(Locales {
            room: "web",
            zh_tw: include_str!("../locales/zh-TW.ftl"),
            en: include_str!("../locales/en.ftl"),
        }),
        ..Room::new("web")
    }
}

/// A page made of components.
pub(crate) fn plain(frame: Frame, parts: impl IntoIterator<Item = Markup>) -> WebResult {
    page(&Plain {
        frame,
        body: parts.into_iter().collect(),
    })
}

/// A form: its parts and its button.
pub(crate) fn form(frame: &Frame, action: &str, parts: Vec<Markup>, button: Markup) -> Markup {
    let mut html = format!(
        "<form method=\"post\" action=\"{}\">{}",
        escape(action),
        frame.csrf()
    );
    for part in parts {
        html.push_str(part.as_str());
    }
    html.push_str(&format!("<p class=\"actions\">{button}</p></form>"));
    Markup::new(html)
}

/// A titled part of a page.
pub(crate) fn section(title: &str, parts: Vec<Markup>) -> Markup {
    let body: Markup = parts.into_iter().collect();
    Markup::new(format!(
        "<section class=\"card\"><h2>{}</h2>{body}</section>",
        escape(title)
    ))
}

/// Asks before something that cannot be taken back at once: `text`, a button named
/// `button`, and the way back.
pub(crate) fn confirm(
    frame: Frame,
    text: &str,
    action: &str,
    hidden: Markup,
    button: &str,
    back: &str,
) -> WebResult {
    let text = Markup::new(format!("<p>{}</p>", escape(text)));
    let ask = form(
        &frame,
        action,
        vec![text, hidden],
        ui::danger_button(frame.t(button)),
    );
    let back = Markup::new(format!(
        "<p>{}</p>",
        Markup::link(back, frame.t("confirm-back"))
    ));
    plain(frame, [ask, back])
}

/// `path` of the console as somebody elsewhere reaches it.
pub(crate) fn absolute(house: &House, path: &str) -> String {
    format!("{}{path}", house.config.public_url.trim_end_matches('/'))
}

/// What is wrong with a form, above it.
pub(crate) fn refusal(frame: &Frame, errors: &[FieldError]) -> Markup {
    match errors {
        [] => Markup::default(),
        _ => ui::notice(
            Level::Bad,
            frame.t("form-refused"),
            errors
                .iter()
                .map(|error| {
                    Markup::new(format!(
                        "<p>{}: {}</p>",
                        label(frame, &error.field).as_str(),
                        crate::said(error).markup().as_str()
                    ))
                })
                .collect::<Markup>(),
        ),
    }
}

/// A field by its label, where the texts know one, or by its name as it was sent.
fn label(frame: &Frame, field: &str) -> Markup {
    let key = format!("field-{field}");
    match frame.visit.house().catalog.has(&key) {
        true => Markup::text(frame.t(&key)),
        false => Markup::code(field),
    }
}

/// What this is, for visitors; what is wrong and how much is served, for those who
/// are signed in.
async fn landing(visit: Visit) -> WebResult {
    if visit.principal.user().is_some() {
        let content = crate::home::content(&visit).await;
        return plain(visit.frame("home-title"), [content]);
    }
    let frame = visit.frame("landing-title").plain();
    // Other rooms' pages: only those that this console has.
    let doors = [
        ("/open", "landing-open"),
        ("/public/report", "landing-report"),
        ("/glass", "landing-glass"),
    ]
    .into_iter()
    .filter(|(path, _)| {
        let routes = visit.house().table.get(path);
        routes.is_some_and(|all| all.iter().any(|(_, action)| visit.principal.could(action)))
    })
    .map(|(path, key)| (path, frame.t(key)))
    .collect();
    page(&Landing { frame, doors })
}

async fn openapi(visit: Visit) -> Response {
    axum::Json(visit.house().openapi.clone()).into_response()
}

/// The API as a page: every operation with what it says of itself.
async fn api_page(visit: Visit) -> WebResult {
    let frame = visit.frame("api-title");
    let mut table = ui::Table::new(frame.t("api-title"))
        .column(ui::Column::text(frame.t("api-operation")))
        .column(ui::Column::text(frame.t("api-summary")));
    if let Some(paths) = visit.house().openapi["paths"].as_object() {
        for (path, item) in paths {
            for method in ["get", "post", "put", "patch", "delete"] {
                if let Some(operation) = item.get(method) {
                    let said = operation["summary"]
                        .as_str()
                        .or(operation["description"].as_str())
                        .unwrap_or("–");
                    table.push(vec![
                        Markup::code(format!("{} {path}", method.to_uppercase())),
                        said.into(),
                    ]);
                }
            }
        }
    }
    let intro = ui::notice(
        Level::Info,
        frame.t("api-how"),
        Markup::link("/api/openapi.json", "openapi.json"),
    );
    plain(frame, [intro, table.markup()])
}

#[derive(serde::Deserialize)]
struct Query {
    #[serde(default)]
    q: String,
}

async fn search(visit: Visit, ApiQuery(query): ApiQuery<Query>) -> WebResult {
    let frame = visit.frame("search-title");
    let text: String = query.q.trim().chars().take(200).collect();
    if text.is_empty() {
        let empty = ui::empty(
            Icon::Search,
            frame.t("search-title"),
            frame.t("search-how"),
            None,
        );
        return plain(frame, [empty]);
    }
    let hits = visit
        .house()
        .hits(&visit.principal, visit.lang, &text)
        .await;
    let mut table = ui::Table::new(frame.t("search-title"))
        .column(ui::Column::text(frame.t("search-kind")))
        .column(ui::Column::text(frame.t("search-name")))
        .column(ui::Column::text(frame.t("search-detail")))
        .empty(ui::empty(
            Icon::Search,
            frame.t1("search-none", "query", &text),
            frame.t("search-how"),
            None,
        ));
    for hit in hits {
        table.push(vec![
            hit.kind.into(),
            Markup::link(&hit.path, &hit.title),
            hit.detail.into(),
        ]);
    }
    plain(frame, [table.markup()])
}

#[derive(serde::Deserialize)]
struct Display {
    #[serde(default)]
    lang: Option<String>,
    #[serde(default)]
    theme: Option<String>,
    #[serde(default)]
    back: String,
}

async fn display(visit: Visit, PageForm(form): PageForm<Display>) -> WebResult {
    let mut response = visit.to(local_path(&form.back));
    let year = Some(std::time::Duration::from_secs(365 * 86_400));
    let cookies = &visit.house().cookies;
    let lang = form
        .lang
        .as_deref()
        .and_then(Lang::from_tag)
        .map(|lang| cookies.set("cn_lang", lang.tag(), year));
    let theme = form
        .theme
        .as_deref()
        .and_then(Theme::from_name)
        .map(|theme| cookies.set("cn_theme", theme.name(), year));
    for cookie in lang.into_iter().chain(theme) {
        let value = HeaderValue::from_str(&cookie).map_err(WebError::internal)?;
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

#[derive(serde::Deserialize)]
struct Chosen {
    #[serde(default)]
    org: Option<String>,
    #[serde(default)]
    back: String,
}

async fn organisation(visit: Visit, PageForm(form): PageForm<Chosen>) -> WebResult {
    let Via::Session { id, .. } = &visit.principal.via else {
        return Err(WebError::unauthenticated());
    };
    let org = match &form.org {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|error: base::id::InvalidId| WebError::bad_request(error.to_string()))?,
        ),
    };
    if let Some(org) = org
        && !visit.principal.orgs.iter().any(|badge| badge.id == org)
    {
        return Err(WebError::not_found("organisation", org));
    }
    visit.house().accounts.choose_org(*id, org).await?;
    Ok(visit.to(local_path(&form.back)))
}

/// A failure as a page, in the frame where there is one.
pub(crate) async fn error(
    house: &Arc<House>,
    visit: Option<&Visit>,
    lang: Lang,
    error: &WebError,
    request_id: &str,
) -> Response {
    let lang = visit.map_or(lang, |visit| visit.lang);
    let key = match error.words() {
        Some(key) => key.to_owned(),
        None => format!("error-{}", error.code.name()),
    };
    let title = house.catalog.text(lang, &key, &[]);
    let text = house.catalog.text(lang, &format!("{key}-text"), &[]);
    let html = match visit {
        // The frame's layer, which knows the reader, has been left.
        Some(visit) => {
            let render = async { framed(visit, title, &text, error, request_id) };
            crate::said::reading(house.catalog.clone(), lang, render).await
        }
        None => askama::Template::render(&Bare {
            lang,
            title,
            text,
            request_id: request_id.to_owned(),
            style: crate::assets::href("style.css"),
        }),
    };
    match html {
        Ok(html) => (error.code.status(), Html(html)).into_response(),
        Err(failure) => {
            tracing::error!(%failure, "could not render an error page");
            (error.code.status(), error.code.name()).into_response()
        }
    }
}

/// The kind's text, the fields, a way back; what the failure says of itself, small and last.
fn framed(
    visit: &Visit,
    title: String,
    text: &str,
    error: &WebError,
    request_id: &str,
) -> Result<String, askama::Error> {
    let frame = visit.frame_titled(title).plain();
    let mut parts = vec![Markup::new(format!("<p>{}</p>", escape(text)))];
    let fields = match error.fields.as_slice() {
        [] => error.unread(),
        fields => fields,
    };
    parts.push(refusal(&frame, fields));
    let mut ways = format!(
        "<a class=\"button\" href=\"/\">{}</a>",
        escape(&frame.t("error-home"))
    );
    if let Some(back) = way_back(visit, error) {
        ways = format!(
            "<a class=\"button button-primary\" href=\"{}\">{}</a> {ways}",
            escape(&back),
            escape(&frame.t("error-back"))
        );
    }
    parts.push(Markup::new(format!("<p class=\"actions\">{ways}</p>")));
    // Fields say it already, in the reader's language.
    if error.code != Code::Internal && fields.is_empty() {
        let english = error.detail.is_ascii();
        parts.push(Markup::new(format!(
            "<p class=\"soft\"><small{}>{}</small></p>",
            if english { " lang=\"en\"" } else { "" },
            escape(&error.detail)
        )));
    }
    parts.push(Markup::new(format!(
        "<p class=\"soft\">{} <code>{}</code></p>",
        escape(&frame.t("error-request")),
        escape(request_id),
    )));
    askama::Template::render(&Plain {
        frame,
        body: parts.into_iter().collect(),
    })
}

/// Where what was refused can be corrected: the page that it was sent from, or this one
/// without its query.
fn way_back(visit: &Visit, error: &WebError) -> Option<String> {
    let correctable = matches!(
        error.code,
        Code::BadRequest | Code::Invalid | Code::Conflict | Code::TooLarge | Code::TooMany
    ) || error.words().is_some();
    if !correctable {
        return None;
    }
    match (visit.method == http::Method::GET, &visit.back) {
        (true, _) if !visit.query.is_empty() => Some(visit.path.clone()),
        (_, back) => back
            .clone()
            .filter(|back| *back != visit.path || visit.method != http::Method::GET),
    }
}
