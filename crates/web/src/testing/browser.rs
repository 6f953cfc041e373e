//! Somebody at the console, for test suites: pages, forms and the API, with the
//! cookies and tokens that a browser would send.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use base::UserId;
use http::{HeaderMap, Method, Request, StatusCode, header};
use tower::ServiceExt as _;

use crate::accounts::{By, secret};
use crate::app::Web;
use crate::lang::Lang;
use crate::problem::WebError;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 24;
/// Between the parts of an upload.
const BOUNDARY: &str = "civicnet-test-part";

/// A session of one person, or of a visitor.
#[derive(Debug)]
pub struct Browser<'a> {
    web: &'a Web,
    cookie: String,
    csrf: String,
    /// The language asked for.
    pub lang: Lang,
}

/// What the console answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// Where a redirect leads; empty when it is none.
    pub fn location(&self) -> &str {
        let to = self.headers.get(header::LOCATION);
        to.and_then(|to| to.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// What the page's form to `action` would send as it stands: hidden and typed
    /// values, ticked boxes, chosen options; without its token.
    pub fn fields(&self, action: &str) -> Vec<(String, String)> {
        let begin = format!("action=\"{action}\"");
        let Some((_, rest)) = self.text.split_once(&begin) else {
            return Vec::new();
        };
        let form = rest.split("</form>").next().unwrap_or_default();
        let mut fields = Vec::new();
        let mut select: Option<(String, Option<String>)> = None;
        for piece in form.split('<').skip(1) {
            let (tag, text) = piece.split_once('>').unwrap_or((piece, ""));
            let given = |name: &str| attribute(tag, name);
            let name = given("name").unwrap_or_default();
            if tag.starts_with("input") {
                let kind = given("type").unwrap_or_default();
                let off =
                    matches!(kind.as_str(), "checkbox" | "radio") && !tag.contains(" checked");
                if !off && !name.is_empty() && name != "csrf" && kind != "file" {
                    let value = given("value").unwrap_or_else(|| "on".to_owned());
                    let value = match kind.as_str() {
                        "checkbox" | "radio" => value,
                        _ => given("value").unwrap_or_default(),
                    };
                    fields.push((name, value));
                }
            } else if tag.starts_with("textarea") {
                fields.push((name, plain(text.trim_start_matches('\n'))));
            } else if tag.starts_with("select") {
                select = Some((name, None));
            } else if tag.starts_with("option") {
                if let Some((_, chosen)) = &mut select
                    && (chosen.is_none() || tag.contains(" selected"))
                {
                    *chosen = Some(given("value").unwrap_or_default());
                }
            } else if tag.starts_with("/select")
                && let Some((name, Some(value))) = select.take()
            {
                fields.push((name, value));
            }
        }
        fields
    }
}

/// The value of an attribute in a tag of our own making.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split('"').next().map(plain)
}

/// Text as it was before it was escaped for HTML.
fn plain(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

impl<'a> Browser<'a> {
    /// A fresh session of `user`; none: a visitor without a login.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn new(web: &'a Web, user: Option<UserId>) -> Result<Self, WebError> {
        let house = web.house();
        let (name, value) = match user {
            Some(user) => {
                let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let by = By::system("walk");
                let session = house
                    .accounts
                    .begin_session(user, "walk", address, "walk", &by)
                    .await?;
                (house.cookies.session_name(), session)
            }
            None => (house.cookies.visitor_name(), secret()?),
        };
        Ok(Self {
            web,
            csrf: house.cookies.csrf(&value),
            cookie: format!("{name}={value}"),
            lang: Lang::En,
        })
    }

    /// A page.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], String::new()).await
    }

    /// A form sent by one of the console's pages.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", &self.csrf);
        self.form(path, form.extend_pairs(fields).finish()).await
    }

    /// A form sent by a page of somebody else, which does not know the token.
    pub async fn forge(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        self.form(path, form.extend_pairs(fields).finish()).await
    }

    async fn form(&self, path: &str, body: String) -> Answer {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, path, &kind, body).await
    }

    /// A form with one file in its part `file`, and other parts before it.
    pub async fn upload(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        name: &str,
        content: &str,
    ) -> Answer {
        let mut body = String::new();
        for (field, value) in fields {
            body.push_str(&format!(
                "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
            ));
        }
        body.push_str(&format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{content}\r\n--{BOUNDARY}--\r\n"
        ));
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let path = match path.starts_with("/api/") {
            true => path.to_owned(),
            false => format!("{path}?csrf={}", self.csrf),
        };
        let headers = [
            ("content-type", kind.as_str()),
            ("x-csrf-token", self.csrf.as_str()),
        ];
        self.send(Method::POST, &path, &headers, body).await
    }

    /// The API, as the console's own scripts call it. Null sends no body.
    pub async fn api(&self, method: Method, path: &str, body: serde_json::Value) -> Answer {
        let headers = [
            ("content-type", "application/json"),
            ("x-csrf-token", self.csrf.as_str()),
        ];
        let body = match body {
            serde_json::Value::Null => String::new(),
            body => body.to_string(),
        };
        self.send(method, path, &headers, body).await
    }

    /// Anything, as it stands.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::COOKIE, &self.cookie)
            .header(header::ACCEPT_LANGUAGE, self.lang.tag());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let failed = |text: String| Answer {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            headers: HeaderMap::new(),
            text,
        };
        let request = match request.body(Body::from(body)) {
            Ok(request) => request,
            Err(error) => return failed(error.to_string()),
        };
        let response = match self.web.router().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        // A stream of events has no end to wait for.
        let streams = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let text = match streams {
            true => String::new(),
            false => match axum::body::to_bytes(body, ANSWER_BYTES_MAX).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => return failed(error.to_string()),
            },
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }
}
