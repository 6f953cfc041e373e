//! One request by a person: who, in which language, from where; and the frame that
//! a page of theirs stands in.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{Html, IntoResponse, Redirect, Response};
use base::{OrgId, Timestamp};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};

use crate::house::House;
use crate::lang::Lang;
use crate::principal::Principal;
use crate::problem::{WebError, WebResult};
use crate::room::{Alert, Level, NavGroup};
use crate::ui::{self, Icon, Markup};

/// Colours of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// As the system says.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// The name in the cookie and on the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// The theme of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::System, Self::Light, Self::Dark]
            .into_iter()
            .find(|theme| theme.name() == name)
    }
}

/// A short message shown once on the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    /// How good or bad the news is.
    pub level: Level,
    /// The news, in the reader's language.
    pub text: String,
}

/// One request by a person. An extractor: take it by value in any handler.
#[derive(Clone)]
pub struct Visit {
    /// Who asks.
    pub principal: Principal,
    /// The language of the answer.
    pub lang: Lang,
    /// The colours of the answer.
    pub theme: Theme,
    /// When the request came.
    pub now: Timestamp,
    /// Names the request in logs and error pages.
    pub request_id: String,
    /// The client's address.
    pub peer: IpAddr,
    /// The path, without the query.
    pub path: String,
    /// The query, without `?`; may be empty.
    pub query: String,
    pub(crate) method: Method,
    pub(crate) house: Arc<House>,
    /// The page of ours that led here, if the browser tells.
    pub(crate) back: Option<String>,
    pub(crate) csrf: String,
    pub(crate) flash: Option<Flash>,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) badges: Vec<(&'static str, u64)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebError> {
        let Some(visit) = parts.extensions.get::<Self>() else {
            return Err(WebError::internal("a route stands outside the frame"));
        };
        let mut visit = visit.clone();
        if visit.method == Method::GET && !visit.path.starts_with("/api/") {
            let house = Arc::clone(&visit.house);
            visit.alerts = house.alerts(&visit.principal, visit.lang).await;
            visit.badges = house.badges(&visit.principal).await;
        }
        Ok(visit)
    }
}

/// Who asks, for handlers of the API.
impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebError> {
        match parts.extensions.get::<Visit>() {
            Some(visit) => Ok(visit.principal.clone()),
            None => Err(WebError::internal("a route stands outside the frame")),
        }
    }
}

impl Visit {
    /// A text in the reader's language.
    pub fn t(&self, key: &str) -> String {
        self.house.catalog.text(self.lang, key, &[])
    }

    /// A text with arguments in the reader's language.
    pub fn ta(&self, key: &str, args: &[(&str, &str)]) -> String {
        self.house.catalog.text(self.lang, key, args)
    }

    /// The house: accounts, sessions, texts, permission table.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// The frame for a page whose title is the text `title`.
    pub fn frame(&self, title: &str) -> Frame {
        let title = self.t(title);
        self.frame_titled(title)
    }

    /// The frame for a page whose title is `title` as it stands: a site's name, …
    pub fn frame_titled(&self, title: impl Into<String>) -> Frame {
        Frame {
            visit: self.clone(),
            title: title.into(),
            crumbs: Vec::new(),
            plain: false,
        }
    }

    /// To `path` (of this house) with a 303, so that reloading repeats nothing.
    pub fn to(&self, path: &str) -> Response {
        Redirect::to(local_path(path)).into_response()
    }

    /// As [`Visit::to`], showing `text` on the next page.
    pub fn to_with(&self, path: &str, level: Level, text: &str) -> Response {
        let mut response = self.to(path);
        let cookie = self.house.cookies.flash(&Flash {
            level,
            text: text.to_owned(),
        });
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        response
    }

    /// As [`Visit::to_with`] with the text `key`: good news.
    pub fn done(&self, path: &str, key: &str) -> Response {
        self.to_with(path, Level::Good, &self.t(key))
    }
}

/// Only paths of this house: an absolute path that is no network-path reference
/// (RFC 3986 section 4.2) and holds no control character; otherwise `/`.
pub fn local_path(path: &str) -> &str {
    let bytes = path.as_bytes();
    let local = bytes.first() == Some(&b'/')
        && !matches!(bytes.get(1), Some(b'/' | b'\\'))
        && bytes
            .iter()
            .all(|b| (0x21..0x7f).contains(b) && *b != b'\\');
    if local { path } else { "/" }
}

/// Renders a page.
///
/// # Errors
/// [`crate::Code::Internal`] when the template fails.
pub fn page(template: &impl askama::Template) -> WebResult {
    Ok(Html(template.render()?).into_response())
}

/// Renders a page with a status of its own: a form shown again with its errors (422).
///
/// # Errors
/// [`crate::Code::Internal`] when the template fails.
pub fn page_with(status: StatusCode, template: &impl askama::Template) -> WebResult {
    Ok((status, Html(template.render()?)).into_response())
}

/// Everything around a page's content. A page's template struct has a field
/// `frame: Frame`, and its template begins with `{% extends "frame.html" %}`.
#[derive(Clone)]
pub struct Frame {
    pub(crate) visit: Visit,
    /// The page's title, in the reader's language.
    pub title: String,
    crumbs: Vec<(String, String)>,
    plain: bool,
}

/// An entry of the left rail as the template shows it.
pub struct NavItem {
    /// Its text.
    pub label: String,
    /// Where it leads.
    pub path: &'static str,
    /// Its picture.
    pub icon: Icon,
    /// Whether the present page belongs to it.
    pub here: bool,
    /// A small count; 0: none.
    pub count: u64,
}

/// A part of the left rail as the template shows it.
pub struct NavPart {
    /// Its heading.
    pub label: String,
    /// Its entries; at least one.
    pub items: Vec<NavItem>,
}

impl Frame {
    /// With one more step of the path above the title.
    #[must_use]
    pub fn crumb(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.crumbs.push((path.into(), text.into()));
        self
    }

    /// Without the left rail: sign-in and landing pages.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Whether the left rail is left out.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// A text in the reader's language.
    pub fn t(&self, key: &str) -> String {
        self.visit.t(key)
    }

    /// A text with one argument.
    pub fn t1(&self, key: &str, name: &str, value: impl std::fmt::Display) -> String {
        self.visit.ta(key, &[(name, &value.to_string())])
    }

    /// A text with two arguments.
    pub fn t2(
        &self,
        key: &str,
        name_a: &str,
        a: impl std::fmt::Display,
        name_b: &str,
        b: impl std::fmt::Display,
    ) -> String {
        self.visit
            .ta(key, &[(name_a, &a.to_string()), (name_b, &b.to_string())])
    }

    /// The language's tag.
    pub fn lang(&self) -> Lang {
        self.visit.lang
    }

    /// Whether the page is in Chinese.
    pub fn is_zh(&self) -> bool {
        self.visit.lang == Lang::ZhTw
    }

    /// Whether a colour theme is the chosen one.
    pub fn theme(&self) -> &'static str {
        self.visit.theme.name()
    }

    /// Whether the reader may do `action` to something of `org`: to show a button.
    pub fn may(&self, action: &str, org: &OrgId) -> bool {
        self.visit.principal.may(action, *org)
    }

    /// Whether the reader may do `action` somewhere: to show a button.
    pub fn could(&self, action: &str) -> bool {
        self.visit.principal.could(action)
    }

    /// Who reads.
    pub fn principal(&self) -> &Principal {
        &self.visit.principal
    }

    /// Whether the reader is signed in.
    pub fn signed_in(&self) -> bool {
        self.visit.principal.user().is_some()
    }

    /// The hidden field that every form needs: `{{ frame.csrf() }}`.
    pub fn csrf(&self) -> Markup {
        Markup::new(format!(
            "<input type=\"hidden\" name=\"csrf\" value=\"{}\">",
            ui::escape(&self.visit.csrf)
        ))
    }

    /// The token itself, for scripts (header `x-csrf-token`).
    pub fn csrf_token(&self) -> &str {
        &self.visit.csrf
    }

    /// The `action` attribute of a form with files.
    pub fn upload_action(&self, path: &str) -> String {
        format!("{path}?csrf={}", self.visit.csrf)
    }

    /// The address of an embedded asset, with its content's hash.
    pub fn asset(&self, name: &str) -> String {
        crate::assets::href(name)
    }

    /// Steps above the title: path and text.
    pub fn crumbs(&self) -> &[(String, String)] {
        &self.crumbs
    }

    /// What is wrong now.
    pub fn alerts(&self) -> &[Alert] {
        &self.visit.alerts
    }

    /// The message left by the page before.
    pub fn flash(&self) -> Option<&Flash> {
        self.visit.flash.as_ref()
    }

    /// The present path.
    pub fn path(&self) -> &str {
        &self.visit.path
    }

    /// The present path with its query: where the language switch returns to.
    pub fn here(&self) -> String {
        match self.visit.query.is_empty() {
            true => self.visit.path.clone(),
            false => format!("{}?{}", self.visit.path, self.visit.query),
        }
    }

    /// The request's name in the logs.
    pub fn request_id(&self) -> &str {
        &self.visit.request_id
    }

    /// The left rail.
    pub fn nav(&self) -> Vec<NavPart> {
        let visit = &self.visit;
        let entries = &visit.house.nav;
        // The longest entry that the path lies under is the one we are at.
        let under = |path: &str| {
            visit.path == path
                || (path != "/"
                    && visit.path.starts_with(path)
                    && visit.path.as_bytes()[path.len()] == b'/')
        };
        let here = entries
            .iter()
            .map(|entry| entry.path)
            .filter(|path| under(path))
            .max_by_key(|path| path.len());
        NavGroup::ALL
            .into_iter()
            .map(|group| NavPart {
                label: self.t(group.label()),
                items: entries
                    .iter()
                    .filter(|entry| entry.group == group && visit.principal.could(entry.action))
                    .map(|entry| NavItem {
                        label: self.t(entry.label),
                        path: entry.path,
                        icon: entry.icon,
                        here: here == Some(entry.path),
                        count: visit
                            .badges
                            .iter()
                            .find(|(path, _)| *path == entry.path)
                            .map_or(0, |(_, count)| *count),
                    })
                    .collect(),
            })
            .filter(|part| !part.items.is_empty())
            .collect()
    }

    /// An organisation's name in the reader's language, or its id.
    pub fn org_name(&self, org: &OrgId) -> String {
        match self
            .visit
            .principal
            .orgs
            .iter()
            .find(|badge| badge.id == *org)
        {
            Some(badge) => match self.visit.lang {
                Lang::ZhTw => badge.name_zh.clone(),
                Lang::En => badge.name_en.clone(),
            },
            None => org.to_string(),
        }
    }

    /// Whether `org` is the one chosen in the frame.
    pub fn is_chosen(&self, org: &OrgId) -> bool {
        self.visit.principal.org.as_ref() == Some(org)
    }

    /// A moment in Asia/Taipei with the zone shown, as `<time>`.
    pub fn time(&self, at: &Timestamp) -> Markup {
        ui::time(*at)
    }

    /// How long ago, in words, with the moment on hover.
    pub fn ago(&self, at: &Timestamp) -> Markup {
        ui::ago(&self.visit, *at)
    }

    /// A day for citizens: 民國115年11月21日, or 21 November 2026.
    pub fn day(&self, at: &Timestamp) -> String {
        ui::day(self.visit.lang, *at)
    }

    /// The picture of the colour switch.
    pub fn theme_icon(&self) -> Markup {
        ui::icon(match self.visit.theme {
            Theme::Dark => Icon::Moon,
            _ => Icon::Sun,
        })
    }

    /// The picture of the reader's menu.
    pub fn user_icon(&self) -> Markup {
        ui::icon(Icon::User)
    }

    /// The picture of the organisation switch.
    pub fn org_icon(&self) -> Markup {
        ui::icon(Icon::Building)
    }

    /// An icon.
    pub fn icon(&self, icon: &Icon) -> Markup {
        ui::icon(*icon)
    }
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn redirects_stay_in_the_house() {
        for good in ["/", "/sites/1?x=y#z"] {
            assert_eq!(local_path(good), good);
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil",
            "https://evil",
            "/a\r\nSet-Cookie:x",
            "sites",
            "/a b",
            "/站",
        ] {
            assert_eq!(local_path(bad), "/", "{bad:?}");
        }
    }
}
