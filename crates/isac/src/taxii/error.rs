//! Errors as TAXII says them (section 3.6.1).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::media::TAXII_JSON;
use crate::objects::ObjectsError;

/// What a request is refused with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{title}: {description}")]
pub struct TaxiiError {
    /// The status.
    pub status: StatusCode,
    /// What kind of refusal it is.
    pub title: &'static str,
    /// Thing, value and rule.
    pub description: String,
    /// Methods that are allowed, with 405.
    pub allow: Option<String>,
    /// Seconds to wait, with 429 and 503.
    pub retry_after_s: Option<u32>,
}

impl TaxiiError {
    /// An error.
    pub fn new(status: StatusCode, title: &'static str, description: impl Into<String>) -> Self {
        Self {
            status,
            title,
            description: description.into(),
            allow: None,
            retry_after_s: None,
        }
    }

    /// 400: a parameter or the body is malformed.
    pub fn bad_request(description: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "The request is malformed",
            description,
        )
    }

    /// 401
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Sign in",
            "send an API token: Authorization: Bearer cnt_…, or as the password of Basic",
        )
    }

    /// 403
    pub fn forbidden(description: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not permitted", description)
    }

    /// 404: also for what somebody may not know about.
    pub fn not_found(kind: &str, name: &str) -> Self {
        let name: String = name.chars().take(100).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "Not found",
            format!("there is no {kind} {name:?} for you"),
        )
    }

    /// 503
    pub fn busy(description: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(2),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", description)
        }
    }

    /// 500: what happened stands in the log.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a TAXII request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal error",
            "the cause stands in the server's log",
        )
    }
}

impl From<ObjectsError> for TaxiiError {
    fn from(error: ObjectsError) -> Self {
        match &error {
            ObjectsError::NotFound { kind, name } => Self::not_found(kind, name),
            ObjectsError::Invalid { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Cannot be processed",
                error.to_string(),
            ),
            ObjectsError::Store(inner) => {
                tracing::error!(error = %runtime::error_chain(&error), "the store failed");
                match inner {
                    store::StoreError::Busy(_)
                    | store::StoreError::Unavailable(_)
                    | store::StoreError::Full(_)
                    | store::StoreError::ReadOnly(_) => {
                        Self::busy("the store takes nothing at this moment; nothing was changed")
                    }
                    _ => Self::internal("store"),
                }
            }
            ObjectsError::Foreign { .. } => Self::forbidden(error.to_string()),
            ObjectsError::Closing => Self::busy("the service is about to stop"),
            ObjectsError::Glass(_) => Self::internal(runtime::error_chain(&error)),
        }
    }
}

impl IntoResponse for TaxiiError {
    fn into_response(self) -> Response {
        let id = uuid::Uuid::now_v7();
        let body = serde_json::json!({
            "title": self.title,
            "description": self.description,
            "error_id": id,
            "error_code": self.status.as_u16().to_string(),
            "http_status": self.status.as_u16().to_string(),
        });
        if self.status.is_server_error() {
            tracing::warn!(error_id = %id, error = %self, "refused");
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TAXII_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            for challenge in [
                "Bearer realm=\"taxii\"",
                "Basic realm=\"taxii\", charset=\"UTF-8\"",
            ] {
                headers.append(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(challenge),
                );
            }
        }
        if let Some(allow) = self
            .allow
            .and_then(|allow| HeaderValue::from_str(&allow).ok())
        {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
