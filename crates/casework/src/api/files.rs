//! Attachments of cases: what their pages do with files.

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;
use uuid::Uuid;
use web::{ApiJson, ApiPath, ApiQuery, Visit, WebError, WebResult};

use super::at_most;
use crate::case::Attachment;
use crate::engine::Casework;
use crate::files::NAME_CHARS_MAX;
use crate::room::{case_id, tell, who};

/// Characters of a form's field.
const FIELD_CHARS_MAX: usize = 60;
/// Bytes of a body that are read; the configuration may allow less.
const UPLOAD_BYTES_MAX: usize = 32 * 1024 * 1024;

pub(super) fn router() -> OpenApiRouter<Casework> {
    let upload = routes!(add_file).layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX));
    OpenApiRouter::new()
        .routes(routes!(list_files))
        .routes(upload)
        .routes(routes!(get_file, remove_file))
}

/// A file of a case.
#[derive(Debug, Serialize, ToSchema)]
struct FileView {
    /// Names it within the case.
    #[schema(format = "uuid")]
    id: String,
    /// The form's field that it answers; empty: a free one.
    field: String,
    /// Its name.
    name: String,
    /// Its media type.
    media: String,
    /// Bytes.
    size: i64,
    /// SHA-256 of its content, in hexadecimal.
    sha256: String,
    /// Who added it.
    added_by: String,
    /// When, in microseconds since 1970.
    added_at: i64,
}

impl From<Attachment> for FileView {
    fn from(file: Attachment) -> Self {
        Self {
            id: file.id.to_string(),
            field: file.field,
            name: file.name,
            media: file.media,
            size: file.size,
            sha256: file.sha256,
            added_by: file.added_by.to_string(),
            added_at: file.added_at.micros(),
        }
    }
}

/// What a file is called and which question it answers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct FileQuery {
    /// Its name; the ending says its kind: pdf, png, jpg, odt, ods, docx, xlsx or txt.
    #[param(min_length = 1, max_length = 120)]
    name: String,
    /// The form's field that it answers; absent: none.
    #[serde(default)]
    #[param(max_length = 60)]
    field: String,
}

/// The files of a case.
#[utoipa::path(get, path = "/api/v1/cases/{case}/files", tag = "cases", params(("case" = String, Path, format = "uuid")), responses(
    (status = 200, body = Vec<FileView>)))]
async fn list_files(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
) -> WebResult<ApiJson<Vec<FileView>>> {
    let files = casework
        .attachments(&who(&visit)?, case_id(&case)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(files.into_iter().map(FileView::from).collect()))
}

/// Adds a file to a case; the body is the file.
#[utoipa::path(post, path = "/api/v1/cases/{case}/files", tag = "cases", request_body(content = Vec<u8>, content_type = "application/octet-stream"), params(("case" = String, Path, format = "uuid"), FileQuery), responses(
    (status = 201, body = FileView)))]
async fn add_file(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath(case): ApiPath<String>,
    ApiQuery(query): ApiQuery<FileQuery>,
    body: Bytes,
) -> WebResult<(StatusCode, ApiJson<FileView>)> {
    at_most("name", &query.name, NAME_CHARS_MAX)?;
    at_most("field", &query.field, FIELD_CHARS_MAX)?;
    if body.is_empty() {
        return Err(WebError::field("body", "required", "the file is empty"));
    }
    let file = casework
        .attach(
            &who(&visit)?,
            case_id(&case)?,
            &query.field,
            &query.name,
            body.to_vec(),
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::CREATED, ApiJson(file.into())))
}

/// A file's name in an address.
fn file_id(text: &str) -> WebResult<Uuid> {
    Uuid::try_parse(text).map_err(|_| WebError::not_found("file", text))
}

/// The content of a file; the reading is recorded when it is not the applicant's own.
#[utoipa::path(get, path = "/api/v1/cases/{case}/files/{file}", tag = "cases", params(("case" = String, Path, format = "uuid"), ("file" = String, Path, format = "uuid")), responses(
    (status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn get_file(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath((case, file)): ApiPath<(String, String)>,
) -> WebResult<Response> {
    let (_, bytes) = casework
        .read_attachment(&who(&visit)?, case_id(&case)?, file_id(&file)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_DISPOSITION, "attachment")
        .body(Body::from(bytes))
        .map_err(WebError::internal)
}

/// Takes a file out of a draft or returned case.
#[utoipa::path(delete, path = "/api/v1/cases/{case}/files/{file}", tag = "cases", params(("case" = String, Path, format = "uuid"), ("file" = String, Path, format = "uuid")), responses(
    (status = 204)))]
async fn remove_file(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath((case, file)): ApiPath<(String, String)>,
) -> WebResult<StatusCode> {
    casework
        .remove_attachment(&who(&visit)?, case_id(&case)?, file_id(&file)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}
