//! Files of a case: added, given out as downloads, taken away.

use axum::body::Body as HttpBody;
use axum::extract::{Multipart, Path, State};
use axum::http::header;
use axum::response::Response;
use uuid::Uuid;
use web::{Level, Visit, WebError, WebResult};

use crate::case::CaseError;
use crate::engine::Casework;
use crate::room::{case_id, tell, who};

pub(in crate::pages) async fn attach(
    State(casework): State<Casework>,
    visit: Visit,
    Path(case): Path<String>,
    mut parts: Multipart,
) -> WebResult {
    let broken = |error: axum::extract::multipart::MultipartError| {
        WebError::bad_request(format!(
            "the upload could not be read: {}",
            error.body_text()
        ))
    };
    let (mut field, mut file) = (String::new(), None);
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name().unwrap_or_default() {
            "field" => field = part.text().await.map_err(broken)?,
            "file" => {
                let name = part.file_name().unwrap_or_default().to_owned();
                file = Some((name, part.bytes().await.map_err(broken)?));
            }
            _ => {}
        }
    }
    let Some((name, bytes)) = file.filter(|(name, bytes)| !name.is_empty() && !bytes.is_empty())
    else {
        return Ok(visit.to_with(
            &format!("/cases/{case}"),
            Level::Warn,
            &visit.t("file-none"),
        ));
    };
    match casework
        .attach(
            &who(&visit)?,
            case_id(&case)?,
            &field,
            &name,
            bytes.to_vec(),
        )
        .await
    {
        Ok(_) => Ok(visit.done(&format!("/cases/{case}"), "file-kept")),
        Err(error @ (CaseError::File { .. } | CaseError::Limit { .. })) => Ok(visit.to_with(
            &format!("/cases/{case}"),
            Level::Bad,
            &tell(error, visit.lang).detail,
        )),
        Err(error) => Err(tell(error, visit.lang)),
    }
}

fn file_id(text: &str) -> WebResult<Uuid> {
    Uuid::try_parse(text).map_err(|_| WebError::not_found("file", text))
}

/// A download that no browser opens as a page of this house.
pub(in crate::pages) async fn download(
    State(casework): State<Casework>,
    visit: Visit,
    Path((case, file)): Path<(String, String)>,
) -> WebResult {
    let (file, bytes) = casework
        .read_attachment(&who(&visit)?, case_id(&case)?, file_id(&file)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let encoded: String = file
        .name
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"._-".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    Response::builder()
        .header(header::CONTENT_TYPE, file.media)
        .header(
            header::CONTENT_DISPOSITION,
            format!("attachment; filename*=UTF-8''{encoded}"),
        )
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        )
        .header(header::CACHE_CONTROL, "private, no-store")
        .body(HttpBody::from(bytes))
        .map_err(WebError::internal)
}

pub(in crate::pages) async fn remove(
    State(casework): State<Casework>,
    visit: Visit,
    Path((case, file)): Path<(String, String)>,
) -> WebResult {
    casework
        .remove_attachment(&who(&visit)?, case_id(&case)?, file_id(&file)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done(&format!("/cases/{case}"), "file-removed"))
}
