//! The console's scripts and styles, embedded; addressed by their content's hash,
//! so that browsers may keep them for ever.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use crate::problem::WebError;

/// An embedded file.
pub(crate) struct File {
    name: &'static str,
    hashed: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The address of a file: `/assets/style-0123456789abcdef.css`.
pub fn href(name: &str) -> String {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => format!("/assets/{}", file.hashed),
        None => format!("/assets/{name}"),
    }
}

pub(crate) async fn serve(Path(name): Path<String>) -> Result<Response, WebError> {
    let Some(file) = FILES.iter().find(|file| file.hashed == name) else {
        return Err(WebError::not_found("file", name));
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(file.media_type),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
    ];
    Ok((headers, file.bytes).into_response())
}
