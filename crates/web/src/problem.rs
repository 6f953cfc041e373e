//! What a request can fail with: a small closed set of kinds, mapped once to a
//! status code, to an RFC 9457 problem document on the API and to a page in the
//! reader's language elsewhere.
//!
//! A kind carries two messages: one for the person outside, which names the thing,
//! the value and the rule, and one for the log, which never leaves the house.

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Media type of RFC 9457 section 3.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The kinds of failure; each has one status code and one `type` on the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// 400: the request cannot be read.
    BadRequest,
    /// 401: who asks is not known.
    Unauthenticated,
    /// 403: who asks may not do this.
    Forbidden,
    /// 404: no such thing, or none that may be seen.
    NotFound,
    /// 405: the path has no such method.
    MethodNotAllowed,
    /// 406: the answer cannot be given in a form that the request accepts.
    NotAcceptable,
    /// 409: the thing has changed, or exists already.
    Conflict,
    /// 413: too many bytes.
    TooLarge,
    /// 415: not a media type that is read here.
    UnsupportedMediaType,
    /// 422: understood, and against a rule.
    Invalid,
    /// 429: too many requests.
    TooMany,
    /// 500: our fault.
    Internal,
    /// 503: try again later.
    Unavailable,
}

impl Code {
    /// All codes, in order of status.
    pub const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::TooMany,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The status code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The name used in `type` and in message keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotAcceptable => "not-acceptable",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::Invalid => "invalid",
            Self::TooMany => "too-many",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The code for a status made by a library; anything unknown is [`Code::Internal`]
    /// or [`Code::BadRequest`], by its class.
    pub fn of_status(status: StatusCode) -> Self {
        Self::ALL
            .into_iter()
            .find(|code| code.status() == status)
            .unwrap_or(if status.is_server_error() {
                Self::Internal
            } else {
                Self::BadRequest
            })
    }
}

/// One field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The field's name as sent; `a.b[2]` inside nested documents.
    pub field: String,
    /// The value given, cut to 100 characters; absent for secrets and for missing fields.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<String>,
    /// The rule, as a name that programs can compare: `required`, `length`, `format`, `range`, …
    pub rule: Cow<'static, str>,
    /// The rule in words.
    pub message: String,
}

impl FieldError {
    /// Characters of a value that are repeated to the sender.
    pub const VALUE_CHARS_MAX: usize = 100;

    /// A field that breaks a rule.
    pub fn new(
        field: impl Into<String>,
        rule: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: None,
            rule: rule.into(),
            message: message.into(),
        }
    }

    /// With the value that was given (cut; never for secrets).
    #[must_use]
    pub fn value(mut self, value: &str) -> Self {
        self.value = Some(value.chars().take(Self::VALUE_CHARS_MAX).collect());
        self
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:civicnet:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// This failure in words.
    pub detail: String,
    /// Names this request in the log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
    /// The fields that break a rule.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldError>,
}

/// A failed request. Handlers return it; the frame turns it into a problem
/// document or a page.
#[derive(Debug, Clone)]
pub struct WebError {
    /// The kind.
    pub code: Code,
    /// For the person outside, in English; pages show the kind's text in the
    /// reader's language, and this below it.
    pub detail: String,
    /// Fields that break a rule.
    pub fields: Vec<FieldError>,
    /// Seconds until trying again makes sense (429 and 503).
    pub retry_after_s: Option<u32>,
    /// Methods that the path has (405).
    pub allow: Option<String>,
    /// What only pages say.
    page: Option<Box<OnPage>>,
    /// For the log only.
    inside: Option<String>,
}

/// What a page says of a failure beyond the API's document; apart, so that a result stays small.
#[derive(Debug, Clone, Default)]
struct OnPage {
    /// Fields that could not be read at all. The API's document says it in `detail`.
    unread: Vec<FieldError>,
    /// The texts (`KEY`, `KEY-text`) in place of the kind's.
    words: Option<&'static str>,
}

/// What handlers return.
pub type WebResult<T = Response> = Result<T, WebError>;

impl WebError {
    /// A failure of a kind, with the words for the person outside.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            fields: Vec::new(),
            retry_after_s: None,
            allow: None,
            page: None,
            inside: None,
        }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// 401.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "sign in, or send a valid token")
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Code::Forbidden, detail)
    }

    /// 404: `no site "x"`.
    pub fn not_found(kind: &str, value: impl std::fmt::Display) -> Self {
        let value: String = value.to_string().chars().take(100).collect();
        Self::new(Code::NotFound, format!("no {kind} {value:?}"))
    }

    /// 409.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Code::Conflict, detail)
    }

    /// 422 with the fields that break a rule.
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let detail = match fields.as_slice() {
            [] => "the request breaks a rule".to_owned(),
            [one] => format!("{}: {}", one.field, one.message),
            [one, ..] => format!(
                "{}: {} (and {} more)",
                one.field,
                one.message,
                fields.len() - 1
            ),
        };
        Self {
            fields,
            ..Self::new(Code::Invalid, detail)
        }
    }

    /// 422 for one field.
    pub fn field(field: &str, rule: &'static str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(field, rule, message)])
    }

    /// 429.
    pub fn too_many(retry_after_s: u32) -> Self {
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::new(
                Code::TooMany,
                format!("too many requests: try again in {retry_after_s} s"),
            )
        }
    }

    /// 500; `cause` goes to the log only.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self {
            inside: Some(cause.to_string()),
            ..Self::new(Code::Internal, "something went wrong on our side")
        }
    }

    /// 503; `cause` goes to the log only.
    pub fn unavailable(cause: impl std::fmt::Display) -> Self {
        Self {
            inside: Some(cause.to_string()),
            retry_after_s: Some(5),
            ..Self::new(
                Code::Unavailable,
                "not available at the moment: try again soon",
            )
        }
    }

    /// With a message for the log only.
    #[must_use]
    pub fn with_inside(mut self, cause: impl std::fmt::Display) -> Self {
        self.inside = Some(cause.to_string());
        self
    }

    /// With fields that could not be read, which a page names.
    #[must_use]
    pub(crate) fn with_unread(mut self, fields: Vec<FieldError>) -> Self {
        self.page.get_or_insert_default().unread = fields;
        self
    }

    /// With texts of its own for a page: title `key`, sentence `key-text`.
    #[must_use]
    pub fn with_words(mut self, key: &'static str) -> Self {
        self.page.get_or_insert_default().words = Some(key);
        self
    }

    /// Fields that could not be read at all, for pages.
    pub(crate) fn unread(&self) -> &[FieldError] {
        self.page.as_ref().map_or(&[], |page| &page.unread)
    }

    /// The texts that a page shows in place of the kind's.
    pub(crate) fn words(&self) -> Option<&'static str> {
        self.page.as_ref().and_then(|page| page.words)
    }

    /// The message for the log.
    pub fn inside(&self) -> Option<&str> {
        self.inside.as_deref()
    }

    /// As a problem document.
    pub fn problem(&self, request_id: Option<String>) -> Problem {
        let status = self.code.status();
        Problem {
            kind: format!("urn:civicnet:problem:{}", self.code.name()),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            request_id,
            errors: self.fields.clone(),
        }
    }
}

impl std::fmt::Display for WebError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)?;
        match &self.inside {
            Some(inside) => write!(f, " ({inside})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for WebError {}

/// A bare problem document; the frame's outermost layer adds the request id, and
/// puts a page in its place outside `/api/`.
impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem(None)).unwrap_or_default();
        let mut response = (self.code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self
            .allow
            .as_deref()
            .and_then(|a| HeaderValue::from_str(a).ok())
        {
            headers.insert(header::ALLOW, allow);
        }
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<askama::Error> for WebError {
    fn from(error: askama::Error) -> Self {
        Self::internal(format!("could not render a page: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_status_and_name() {
        for (i, a) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::of_status(a.status()), *a);
            for b in &Code::ALL[i + 1..] {
                assert_ne!(a.status(), b.status());
                assert_ne!(a.name(), b.name());
            }
        }
    }

    #[test]
    fn the_inside_message_stays_inside() {
        let error = WebError::internal("password=hunter2");
        let document = serde_json::to_string(&error.problem(None)).expect("a document");
        assert!(!document.contains("hunter2"));
        assert!(error.to_string().contains("hunter2"));
    }
}
