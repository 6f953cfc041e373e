//! Reading requests of the JSON API: extractors whose refusals are problem
//! documents that name the field, the value and the rule.

mod objects;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::{Code, FieldError, WebError};

/// A JSON body.
///
/// Refusals: 415 unless the media type is `application/json`, 413 for too many
/// bytes, 400 for what is not JSON, 422 for JSON of another shape.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ApiJson<T> {
    type Rejection = WebError;

    async fn from_request(request: Request, state: &S) -> Result<Self, WebError> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(WebError::new(
                Code::UnsupportedMediaType,
                format!(
                    "content type {:?} is not read here: send application/json",
                    cut(kind)
                ),
            ));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(body_refused)?;
        parse_json(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for ApiJson<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Reads JSON; nesting is bounded by the parser (128).
///
/// # Errors
/// 400 for what is not JSON, 422 for JSON of another shape.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WebError> {
    let value: serde_json::Value = serde_json::from_slice(bytes)
        .map_err(|error| WebError::bad_request(format!("the body is not JSON: {error}")))?;
    if holds_nul(&value) {
        return Err(WebError::field(
            "body",
            "characters",
            "text must not hold the character U+0000",
        ));
    }
    if !value.is_object() {
        return Err(WebError::field("body", "type", "must be an object"));
    }
    serde_path_to_error::deserialize(objects::Objects(value)).map_err(|error| {
        let message = error.inner().to_string();
        let path = error.path().to_string();
        let name = named(&message);
        let known = name.is_some_and(|name| path == name || path.ends_with(&format!(".{name}")));
        let field = match (path.as_str(), name) {
            (".", None) => "body".to_owned(),
            (".", Some(name)) => name.to_owned(),
            (path, Some(name)) if !known => format!("{path}.{name}"),
            (path, _) => path.to_owned(),
        };
        let field: String = field.chars().take(PATH_CHARS_MAX).collect();
        WebError::invalid(vec![FieldError::new(field, "type", message)])
    })
}

/// The field that a message names: one that is missing or unknown has no path of its own.
fn named(message: &str) -> Option<&str> {
    ["missing field `", "unknown field `"]
        .iter()
        .find_map(|begin| message.strip_prefix(begin)?.split('`').next())
        .filter(|name| name.len() <= FIELD_BYTES_MAX)
}

/// Bytes of a field's name that are repeated.
const FIELD_BYTES_MAX: usize = 64;
/// Characters of a field's path that are repeated.
const PATH_CHARS_MAX: usize = 200;

/// PostgreSQL cannot hold U+0000 in text, and nobody needs it there.
fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(items) => items.iter().any(holds_nul),
        serde_json::Value::Object(map) => map
            .iter()
            .any(|(key, item)| key.contains('\0') || holds_nul(item)),
        _ => false,
    }
}

fn body_refused(rejection: BytesRejection) -> WebError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            WebError::new(Code::TooLarge, "the body has more bytes than are read here")
        }
        _ => WebError::bad_request(format!("the body could not be read: {rejection}")),
    }
}

/// Parameters in the path. Refusal: 404, because no such thing can exist.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for ApiPath<T> {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, WebError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(inner)) => Err(WebError::new(
                Code::NotFound,
                format!("nothing has this address: {}", cut(&inner.body_text())),
            )),
            Err(other) => Err(WebError::internal(format!("path parameters: {other}"))),
        }
    }
}

/// Parameters in the query. Unknown ones are ignored; a wrong one is a 400. On pages, where
/// the query is a form sent by GET, an empty one is as good as none.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebError> {
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("%00") {
            return Err(WebError::bad_request(
                "the query must not hold the character U+0000",
            ));
        }
        let error = match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => return Ok(Self(value)),
            Err(error) => WebError::bad_request(format!("query: {}", cut(&error.body_text()))),
        };
        let page = parts
            .extensions
            .get::<crate::Visit>()
            .is_some_and(|visit| !visit.path.starts_with("/api/"));
        match page.then(|| parse_form::<T>(query.as_bytes())) {
            None => Err(error),
            Some(Ok(value)) => Ok(Self(value)),
            Some(Err(wrong)) => Err(error.with_unread(wrong.unread().to_vec())),
        }
    }
}

/// A form sent by a page (`application/x-www-form-urlencoded`). The frame has
/// checked its CSRF token.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageForm<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for PageForm<T> {
    type Rejection = WebError;

    async fn from_request(request: Request, state: &S) -> Result<Self, WebError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(body_refused)?;
        parse_form(&bytes).map(Self)
    }
}

/// Fields in one form, as pairs in order, for forms whose fields are data.
pub type FormPairs = Vec<(String, String)>;

/// Fields in a form.
pub const FORM_FIELDS_MAX: usize = 2_000;

/// Reads a form.
///
/// # Errors
/// 400 when a field is missing or unreadable, or holds U+0000.
pub fn parse_form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WebError> {
    if bytes.iter().filter(|b| **b == b'&').count() >= FORM_FIELDS_MAX {
        return Err(WebError::bad_request(format!(
            "the form has more than {FORM_FIELDS_MAX} fields"
        )));
    }
    let pairs = url::form_urlencoded::parse(bytes);
    if pairs
        .clone()
        .any(|(name, value)| name.contains('\0') || value.contains('\0'))
    {
        return Err(WebError::bad_request("a field holds the character U+0000"));
    }
    let deserializer = FormDeserializer::new(pairs);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let message = cut(&error.inner().to_string());
        let path = error.path().to_string();
        let field = match named(&message) {
            Some(name) => name,
            None => path.split(['.', '[']).next().unwrap_or_default(),
        };
        let empty = pairs
            .filter(|(name, _)| name == field)
            .all(|(_, value)| value.trim().is_empty());
        let rule = match () {
            () if field.is_empty() => None,
            () if empty => Some("required"),
            () if WHOLE.iter().any(|kind| message.ends_with(kind)) => Some("number"),
            () => Some("type"),
        };
        let unread = rule.map(|rule| FieldError::new(field, rule, message.clone()));
        WebError::bad_request(format!("form: {message}")).with_unread(unread.into_iter().collect())
    })
}

/// How a refusal ends when a whole number is wanted.
const WHOLE: [&str; 8] = [
    "expected i8",
    "expected i16",
    "expected i32",
    "expected i64",
    "expected u8",
    "expected u16",
    "expected u32",
    "expected u64",
];

/// Reads pairs into a struct; a name that comes several times becomes a list where
/// the field is one.
struct FormDeserializer {
    names: Vec<(String, Vec<String>)>,
    pairs: FormPairs,
}

impl FormDeserializer {
    fn new(pairs: url::form_urlencoded::Parse<'_>) -> Self {
        let pairs: FormPairs = pairs.into_owned().collect();
        let mut index = std::collections::HashMap::new();
        let mut names: Vec<(String, Vec<String>)> = Vec::new();
        for (name, value) in &pairs {
            let at = *index.entry(name.clone()).or_insert_with(|| {
                names.push((name.clone(), Vec::new()));
                names.len() - 1
            });
            names[at].1.push(value.clone());
        }
        Self { names, pairs }
    }
}

impl<'de> serde::Deserializer<'de> for FormDeserializer {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let entries = self
            .names
            .into_iter()
            .map(|(name, values)| (name, FormValue(values)));
        visitor.visit_map(serde::de::value::MapDeserializer::new(entries))
    }

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_seq(serde::de::value::MapDeserializer::new(
            self.pairs.into_iter(),
        ))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes
        byte_buf option unit unit_struct newtype_struct tuple tuple_struct enum
        identifier ignored_any
    }
}

struct FormValue(Vec<String>);

impl<'de> serde::de::IntoDeserializer<'de> for FormValue {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! scalar {
    ($($method:ident $visit:ident $kind:ty,)*) => {$(
        fn $method<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            let text = self.one();
            match text.trim().parse::<$kind>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(serde::de::Error::invalid_value(
                    serde::de::Unexpected::Str(&text),
                    &stringify!($kind),
                )),
            }
        }
    )*};
}

impl FormValue {
    fn one(self) -> String {
        self.0.into_iter().next_back().unwrap_or_default()
    }
}

impl<'de> serde::Deserializer<'de> for FormValue {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_string(self.one())
    }

    scalar! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64,
    }

    fn deserialize_bool<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let text = self.one();
        match text.as_str() {
            "on" | "true" | "1" => visitor.visit_bool(true),
            "" | "off" | "false" | "0" => visitor.visit_bool(false),
            _ => Err(serde::de::Error::invalid_value(
                serde::de::Unexpected::Str(&text),
                &"on or off",
            )),
        }
    }

    /// An empty field is no value.
    fn deserialize_option<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if self.0.iter().all(|text| text.trim().is_empty()) {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_seq(serde::de::value::SeqDeserializer::new(
            self.0.into_iter().map(|text| FormValue(vec![text])),
        ))
    }

    fn deserialize_newtype_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        use serde::de::IntoDeserializer;
        visitor.visit_enum(self.one().into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// Parameters of a list: how many, and from where on.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Entries on a page.
    #[serde(default)]
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(default)]
    #[param(max_length = 512)]
    pub cursor: Option<String>,
}

impl Paging {
    /// Entries on a page when nothing is said.
    pub const LIMIT_DEFAULT: u32 = 50;
    /// Entries on a page at most.
    pub const LIMIT_MAX: u32 = 200;

    /// The number of entries asked for.
    ///
    /// # Errors
    /// 422 unless it is 1 to 200.
    pub fn limit(&self) -> Result<u32, WebError> {
        match self.limit {
            None => Ok(Self::LIMIT_DEFAULT),
            Some(limit @ 1..=Self::LIMIT_MAX) => Ok(limit),
            Some(limit) => Err(WebError::invalid(vec![
                FieldError::new(
                    "limit",
                    "range",
                    format!("must be 1 to {}", Self::LIMIT_MAX),
                )
                .value(&limit.to_string()),
            ])),
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Listing<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sample {
        name: String,
        #[serde(default)]
        count: Option<u32>,
        #[serde(default)]
        soft: bool,
        #[serde(default)]
        tags: Vec<String>,
    }

    #[test]
    fn forms_become_structs() {
        let sample: Sample =
            parse_form("name=%E6%96%B0%E7%AB%B9&count=3&soft=on&tags=a&tags=b&csrf=x".as_bytes())
                .expect("a form");
        assert_eq!(
            sample,
            Sample {
                name: "新竹".into(),
                count: Some(3),
                soft: true,
                tags: vec!["a".into(), "b".into()]
            }
        );
        let sample: Sample = parse_form(b"name=&count=").expect("a form");
        assert_eq!(
            sample,
            Sample {
                name: String::new(),
                count: None,
                soft: false,
                tags: vec![]
            }
        );
        let pairs: FormPairs = parse_form(b"b=1&a=2&b=3").expect("pairs");
        assert_eq!(pairs.len(), 3);
    }

    #[test]
    fn wrong_forms_are_refused_with_a_reason() {
        for bad in ["", "name=x&count=-1", "name=x&soft=maybe", "name=x%00"] {
            let error = parse_form::<Sample>(bad.as_bytes()).expect_err(bad);
            assert_eq!(error.code, Code::BadRequest, "{bad}");
        }
        #[derive(Debug, Deserialize)]
        struct Hours {
            #[serde(rename = "hours")]
            _hours: u32,
        }
        for (sent, rule) in [
            ("hours=", "required"),
            ("hours=x", "number"),
            ("", "required"),
        ] {
            let error = parse_form::<Hours>(sent.as_bytes()).expect_err(sent);
            let unread = error.unread().first().expect("the field");
            assert_eq!(
                (unread.field.as_str(), &*unread.rule),
                ("hours", rule),
                "{sent}"
            );
            assert!(error.problem(None).errors.is_empty());
        }
        let many = "a=1&".repeat(FORM_FIELDS_MAX + 1);
        assert!(parse_form::<FormPairs>(many.as_bytes()).is_err());
    }

    #[test]
    fn wrong_json_is_told_from_wrong_shape() {
        assert_eq!(
            parse_json::<Sample>(b"{").expect_err("cut").code,
            Code::BadRequest
        );
        assert_eq!(
            parse_json::<Sample>(b"\"\xff\"").expect_err("UTF-8").code,
            Code::BadRequest
        );
        assert_eq!(
            parse_json::<Sample>(b"{\"name\":\"\\ud800\"}")
                .expect_err("surrogate")
                .code,
            Code::BadRequest
        );
        for other in ["[\"x\"]", "\"x\"", "7", "null"] {
            let error = parse_json::<Sample>(other.as_bytes()).expect_err(other);
            assert_eq!(error.code, Code::Invalid, "{other}");
        }
        let error = parse_json::<Sample>(b"{\"count\":1}").expect_err("no name");
        assert_eq!(
            (error.code, error.fields[0].field.as_str()),
            (Code::Invalid, "name")
        );
        assert_eq!(
            parse_json::<Sample>(b"{\"name\":\"\\u0000\"}")
                .expect_err("NUL")
                .code,
            Code::Invalid
        );
        let deep = "[".repeat(100_000);
        assert_eq!(
            parse_json::<Sample>(deep.as_bytes())
                .expect_err("deep")
                .code,
            Code::BadRequest
        );
    }

    #[test]
    fn limits_are_checked() {
        assert_eq!(
            Paging {
                limit: None,
                cursor: None
            }
            .limit()
            .ok(),
            Some(50)
        );
        assert!(
            Paging {
                limit: Some(0),
                cursor: None
            }
            .limit()
            .is_err()
        );
        assert!(
            Paging {
                limit: Some(201),
                cursor: None
            }
            .limit()
            .is_err()
        );
    }

    #[test]
    fn a_hundred_thousand_mutated_bodies_do_no_harm() {
        let seeds: [&[u8]; 3] = [
            b"name=%E6%96%B0&count=3&soft=on&tags=a&tags=b",
            b"{\"name\":\"x\",\"count\":1,\"tags\":[\"a\"]}",
            b"limit=5&cursor=abc",
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut read = 0_u32;
        for i in 0..100_000 {
            let mut bytes = seeds[i % seeds.len()].to_vec();
            for _ in 0..=next() % 4 {
                let at = (next() % bytes.len().max(1) as u64) as usize;
                match next() % 3 {
                    0 => bytes[at] = next() as u8,
                    1 => bytes.insert(at, next() as u8),
                    _ if bytes.len() > 1 => {
                        bytes.remove(at);
                    }
                    _ => {}
                }
            }
            read += u32::from(parse_form::<Sample>(&bytes).is_ok());
            read += u32::from(parse_json::<Sample>(&bytes).is_ok());
        }
        assert!(
            read > 1_000,
            "the mutations should leave some readable: {read}"
        );
    }
}
