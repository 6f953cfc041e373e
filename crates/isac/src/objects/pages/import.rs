//! Import in two steps: a file is read and shown (what would be added, what is left out
//! and by which rule), and put into a collection when the person says so, with progress.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Multipart, Path, State};
use axum::http::StatusCode;
use base::{Timestamp, UserId};
use casework::body::{Body, other_errors, show, show_with};
use futures::StreamExt as _;
use tokio::sync::watch;
use uuid::Uuid;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{FieldError, PageForm, Update, Visit, WebError, WebResult};

use super::{Intel, kind_name, seen, tell, tlp_badge, tlp_options, writable, writes_as};
use crate::objects::import::{self, About, Imported};
use crate::objects::prepare::{self, Batch, Prepared};
use crate::objects::search::See;
use crate::objects::{Collection, Outcome, Source};
use crate::stix::Tlp;

/// Bytes of a file that is imported in the browser.
pub(super) const UPLOAD_BYTES_MAX: usize = 16 << 20;
/// Imports that wait for a decision or run, in the whole house.
const IMPORTS_MAX: usize = 16;
/// A preview that nobody decides on is forgotten after this.
const WAITS: Duration = Duration::from_secs(30 * 60);
/// Objects and complaints that a preview shows.
const SHOWN_MAX: usize = 100;
/// Objects stored at once.
const TOGETHER: usize = 2_000;
/// Days that a made indicator may be valid.
pub(super) const DAYS_MAX: u32 = 3_650;
const FORMATS: [&str; 6] = ["stix21", "stix20", "stix1", "openioc", "misp", "csv"];

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// Shown, not decided.
    Waits,
    /// So many of so many are stored.
    Runs(usize, usize),
    /// Added, and there already.
    Done(usize, usize),
    /// It could not go on; what was stored stays.
    Failed(usize),
}

#[derive(Debug)]
struct Import {
    owner: UserId,
    name: String,
    collection: Collection,
    source: Source,
    batch: Mutex<Option<Vec<Prepared>>>,
    total: usize,
    /// Name, type, marking of the first.
    first: Vec<(String, String, Tlp)>,
    left_out: Vec<String>,
    at: Timestamp,
    progress: watch::Sender<Progress>,
}

/// Imports by their id. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Imports(Arc<Mutex<HashMap<Uuid, Arc<Import>>>>);

impl Imports {
    fn keep(&self, import: Import, now: Timestamp) -> Option<Uuid> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| {
            let runs = matches!(*one.progress.borrow(), Progress::Runs(..));
            runs || now.since(one.at) < WAITS
        });
        // A person's earlier preview makes room for the new one.
        all.retain(|_, one| one.owner != import.owner || *one.progress.borrow() != Progress::Waits);
        if all.len() >= IMPORTS_MAX {
            return None;
        }
        let id = Uuid::new_v4();
        all.insert(id, Arc::new(import));
        Some(id)
    }

    /// An import of this person.
    fn of(&self, visit: &Visit, id: &str) -> WebResult<Arc<Import>> {
        let missing = || WebError::not_found("import", id);
        let owner = visit.principal.signed_in()?;
        let id = Uuid::try_parse(id).map_err(|_| missing())?;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id)
            .filter(|one| one.owner == owner)
            .cloned()
            .ok_or_else(missing)
    }
}

/// What the form sends besides the file.
#[derive(Debug, Default)]
struct Wanted {
    collection: String,
    format: String,
    tlp: String,
    confidence: String,
    days: String,
    name: String,
    bytes: Vec<u8>,
}

pub(super) async fn ask(State(intel): State<Intel>, visit: Visit) -> WebResult {
    let collections = writable(&intel, &visit).await?;
    let wanted = Wanted {
        tlp: "green".to_owned(),
        confidence: "50".to_owned(),
        days: "30".to_owned(),
        ..Wanted::default()
    };
    show(frame(&visit), form(&visit, &collections, &wanted, &[]))
}

fn frame(visit: &Visit) -> web::Frame {
    visit
        .frame("intel-import")
        .crumb("/intelligence", visit.t("nav-intelligence"))
}

/// The collections for a select.
pub(super) fn collection_field(
    visit: &Visit,
    collections: &[Collection],
    value: &str,
    errors: &[FieldError],
) -> Field {
    let options = collections
        .iter()
        .map(|one| (one.id.to_string(), one.title.clone()))
        .collect();
    Field::select("collection", visit.t("intel-collection"), options)
        .value(value)
        .errors(errors)
        .required()
}

fn form(visit: &Visit, collections: &[Collection], wanted: &Wanted, errors: &[FieldError]) -> Body {
    if collections.is_empty() {
        return Body::new().add(ui::empty(
            Icon::Lock,
            visit.t("intel-no-collection-title"),
            visit.t("intel-no-collection"),
            Some(("/intelligence", &visit.t("nav-intelligence"))),
        ));
    }
    let formats = FORMATS
        .iter()
        .map(|format| {
            (
                (*format).to_owned(),
                visit.t(&format!("intel-format-{format}")),
            )
        })
        .collect();
    let inner = Body::new()
        .add(
            Field::input("file", "file", visit.t("intel-file"))
                .help(visit.t("intel-file-help"))
                .errors(errors)
                .required(),
        )
        .add(
            Field::select("format", visit.t("intel-format"), formats)
                .value(&wanted.format)
                .errors(errors),
        )
        .add(collection_field(
            visit,
            collections,
            &wanted.collection,
            errors,
        ))
        .add(
            Field::select("tlp", visit.t("intel-tlp"), tlp_options())
                .value(&wanted.tlp)
                .help(visit.t("intel-import-tlp-help"))
                .errors(errors),
        )
        .add(
            Field::input("number", "confidence", visit.t("intel-confidence"))
                .value(&wanted.confidence)
                .attribute("min", "0")
                .attribute("max", "100")
                .errors(errors),
        )
        .add(
            Field::input("number", "days", visit.t("intel-days"))
                .value(&wanted.days)
                .attribute("min", "1")
                .attribute("max", DAYS_MAX.to_string())
                .help(visit.t("intel-days-help"))
                .errors(errors),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("intel-preview")),
                ui::button_link("/intelligence", visit.t("act-cancel")),
            ],
        );
    Body::new()
        .text(visit.t("intel-import-intro"))
        .add_some(other_errors(
            visit,
            errors,
            &["file", "format", "collection", "tlp", "confidence", "days"],
        ))
        .upload(&visit.frame_titled(""), "/intelligence/import", inner)
}

/// A number of a field between bounds.
pub(super) fn number(
    visit: &Visit,
    field: &'static str,
    text: &str,
    from: u32,
    to: u32,
) -> Result<u32, FieldError> {
    text.trim()
        .parse()
        .ok()
        .filter(|number| (from..=to).contains(number))
        .ok_or_else(|| {
            let rule = visit.ta(
                "intel-number-wrong",
                &[("from", &from.to_string()), ("to", &to.to_string())],
            );
            FieldError::new(field, "range", rule).value(text)
        })
}

async fn read(mut parts: Multipart) -> WebResult<Wanted> {
    let broken = |error: axum::extract::multipart::MultipartError| {
        WebError::bad_request(format!(
            "the upload could not be read: {}",
            error.body_text()
        ))
    };
    let mut wanted = Wanted::default();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "file" => {
                wanted.name = part
                    .file_name()
                    .unwrap_or_default()
                    .chars()
                    .take(200)
                    .collect();
                wanted.bytes = part.bytes().await.map_err(broken)?.to_vec();
            }
            other => {
                let text = part.text().await.map_err(broken)?;
                match other {
                    "collection" => wanted.collection = text,
                    "format" => wanted.format = text,
                    "tlp" => wanted.tlp = text,
                    "confidence" => wanted.confidence = text,
                    "days" => wanted.days = text,
                    _ => {}
                }
            }
        }
    }
    Ok(wanted)
}

pub(super) async fn preview(
    State(intel): State<Intel>,
    visit: Visit,
    parts: Multipart,
) -> WebResult {
    let mut wanted = read(parts).await?;
    let collections = writable(&intel, &visit).await?;
    let source = writes_as(&visit)?;
    let mut errors = Vec::new();
    let mut wrong = |field: &'static str, key: &str| {
        errors.push(FieldError::new(field, "required", visit.t(key)))
    };
    let collection = collections
        .iter()
        .find(|one| one.id.to_string() == wanted.collection);
    if collection.is_none() {
        wrong("collection", "intel-collection-wrong");
    }
    let tlp = Tlp::from_name(&wanted.tlp);
    if tlp.is_none() {
        wrong("tlp", "intel-filter-wrong");
    }
    if !FORMATS.contains(&wanted.format.as_str()) {
        wrong("format", "intel-filter-wrong");
    }
    if wanted.bytes.is_empty() {
        wrong("file", "intel-file-missing");
    }
    let text = import::text_of(std::mem::take(&mut wanted.bytes), wanted.format == "csv");
    if text.is_err() {
        wrong("file", "intel-file-text");
    }
    let confidence = number(&visit, "confidence", &wanted.confidence, 0, 100)
        .map_err(|error| errors.push(error));
    let days = match wanted.days.trim() {
        "" => Ok(None),
        days => number(&visit, "days", days, 1, DAYS_MAX)
            .map(Some)
            .map_err(|error| errors.push(error)),
    };
    let (Some(collection), Some(tlp), Ok(text), Ok(confidence), Ok(days)) =
        (collection, tlp, text, confidence, days)
    else {
        return show_with(
            AGAIN,
            frame(&visit),
            form(&visit, &collections, &wanted, &errors),
        );
    };
    if !errors.is_empty() {
        return show_with(
            AGAIN,
            frame(&visit),
            form(&visit, &collections, &wanted, &errors),
        );
    }
    let about = About {
        now: visit.now.micros(),
        tlp,
        confidence: u8::try_from(confidence).unwrap_or(100),
        days,
    };
    let format = wanted.format.clone();
    let batch = tokio::task::spawn_blocking(move || parse(&format, &text, &about))
        .await
        .map_err(WebError::internal)?;
    let (batch, left_out) = match batch {
        Ok(read) => read,
        Err(rule) => {
            let error = FieldError::new("file", "format", rule);
            return show_with(
                AGAIN,
                frame(&visit),
                form(&visit, &collections, &wanted, &[error]),
            );
        }
    };
    let first = batch
        .iter()
        .take(SHOWN_MAX)
        .map(|one| {
            let json: serde_json::Value = serde_json::from_str(&one.json).unwrap_or_default();
            let text = |name: &str| json[name].as_str().map(str::to_owned);
            let name = text("name")
                .or_else(|| text("value"))
                .unwrap_or_else(|| one.id.clone());
            (name.chars().take(200).collect(), one.kind.clone(), one.tlp)
        })
        .collect();
    let import = Import {
        owner: visit.principal.signed_in()?,
        name: wanted.name,
        collection: collection.clone(),
        source,
        total: batch.len(),
        batch: Mutex::new(Some(batch)),
        first,
        left_out,
        at: visit.now,
        progress: watch::Sender::new(Progress::Waits),
    };
    match intel.imports.keep(import, visit.now) {
        Some(id) => Ok(visit.to(&format!("/intelligence/import/{id}"))),
        None => Err(WebError::too_many(60)),
    }
}

/// The status of a form that is shown again with its errors.
pub(super) const AGAIN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

fn parse(format: &str, text: &str, about: &About) -> Result<(Vec<Prepared>, Vec<String>), String> {
    let imported = |result: Result<Imported, import::ImportError>| {
        result.map(prepared).map_err(|error| error.to_string())
    };
    match format {
        "stix20" => imported(import::stix20(text)),
        "stix1" => imported(import::stix1(text, about)),
        "openioc" => imported(import::openioc(text, about)),
        "misp" => imported(import::misp(text, about)),
        "csv" => imported(import::csv(text, about)),
        _ => {
            let Batch { objects, refused } =
                prepare::envelope(text.as_bytes()).map_err(|error| error.to_string())?;
            let lines = refused
                .into_iter()
                .map(|one| format!("objects[{}] {}: {}", one.index, one.id, one.wrong))
                .collect();
            Ok((objects, lines))
        }
    }
}

fn prepared(imported: Imported) -> (Vec<Prepared>, Vec<String>) {
    let (mut objects, mut lines) = (Vec::new(), imported.left_out);
    for (index, object) in imported.objects.into_iter().enumerate() {
        match prepare::object(&object.to_string()) {
            Ok(object) => objects.push(object),
            Err(error) => lines.push(format!(
                "objects[{index}] {}: {error}",
                object["id"].as_str().unwrap_or("?")
            )),
        }
    }
    (objects, lines)
}

pub(super) async fn show_one(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let import = intel.imports.of(&visit, &id)?;
    let path = format!("/intelligence/import/{id}");
    let progress = import.progress.borrow().clone();
    let frame = visit
        .frame_titled(visit.ta("intel-import-of", &[("name", &import.name)]))
        .crumb("/intelligence", visit.t("nav-intelligence"))
        .crumb("/intelligence/import", visit.t("intel-import"));
    let mut body = Body::new();
    if progress == Progress::Waits {
        body = body.text(visit.ta(
            "intel-preview-answer",
            &[
                ("count", &import.total.to_string()),
                ("left", &import.left_out.len().to_string()),
                ("collection", &import.collection.title),
            ],
        ));
        let mut buttons = vec![ui::button_link(
            "/intelligence/import",
            visit.t("act-cancel"),
        )];
        if import.total > 0 {
            buttons.insert(0, ui::button(visit.t("intel-import-do")));
        }
        body = body.form(&frame, &path, Body::new().group("actions", buttons));
    } else {
        let inner = Markup::new(format!(
            "<div id=\"import\">{}</div>",
            state(&visit, &progress)
        ));
        body = body.add(match progress {
            Progress::Runs(..) => ui::live(format!("{path}/live"), inner),
            _ => inner,
        });
    }
    let mut table = Table::new(visit.t("intel-import-first"))
        .column(Column::text(visit.t("intel-name")))
        .column(Column::text(visit.t("intel-kind")))
        .column(Column::text(visit.t("intel-tlp")))
        .empty(ui::empty(
            Icon::Inbox,
            visit.t("intel-import-nothing"),
            "",
            None,
        ));
    for (name, kind, tlp) in &import.first {
        table.push(vec![
            Markup::text(name),
            Markup::text(kind_name(&visit, kind)),
            tlp_badge(*tlp),
        ]);
    }
    body = body.section(visit.t("intel-import-first"), Body::new().add(table));
    if !import.left_out.is_empty() {
        let mut list = String::from("<ul>");
        for line in import.left_out.iter().take(SHOWN_MAX) {
            list.push_str(&format!(
                "<li><code>{}</code></li>",
                ui::escape(&line.chars().take(300).collect::<String>())
            ));
        }
        list.push_str("</ul>");
        let mut inner = Body::new().add(Markup::new(list));
        if import.left_out.len() > SHOWN_MAX {
            let more = (import.left_out.len() - SHOWN_MAX).to_string();
            inner = inner.text(visit.ta("intel-more", &[("count", &more)]));
        }
        body = body.section(visit.t("intel-import-left"), inner);
    }
    show(frame, body)
}

fn state(visit: &Visit, progress: &Progress) -> Markup {
    let notice = |level, key: &str, args: &[(&str, &str)]| {
        ui::notice(
            level,
            visit.ta(key, args),
            Markup::link("/intelligence", visit.t("nav-intelligence")),
        )
    };
    match progress {
        Progress::Waits => Markup::default(),
        Progress::Runs(done, of) => ui::bar(
            *done as f64 / (*of).max(1) as f64,
            visit.ta(
                "intel-import-runs",
                &[("done", &done.to_string()), ("of", &of.to_string())],
            ),
        ),
        Progress::Done(added, known) => notice(
            web::Level::Good,
            "intel-import-done",
            &[("added", &added.to_string()), ("known", &known.to_string())],
        ),
        Progress::Failed(done) => notice(
            web::Level::Bad,
            "intel-import-failed",
            &[("done", &done.to_string())],
        ),
    }
}

pub(super) async fn begin(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(_): PageForm<HashMap<String, String>>,
) -> WebResult {
    let import = intel.imports.of(&visit, &id)?;
    // What one may write may have changed since the preview.
    let still = writable(&intel, &visit).await?;
    if !still
        .iter()
        .any(|one| one.number == import.collection.number)
    {
        return Err(WebError::not_found("collection", import.collection.id));
    }
    let batch = import
        .batch
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let path = format!("/intelligence/import/{id}");
    let Some(batch) = batch else {
        return Ok(visit.to(&path));
    };
    import
        .progress
        .send_replace(Progress::Runs(0, import.total));
    let see = seen(&intel, &visit).await?;
    tokio::spawn(run(intel, see, import, batch));
    Ok(visit.to(&path))
}

async fn run(intel: Intel, see: Vec<See>, import: Arc<Import>, batch: Vec<Prepared>) {
    let (mut added, mut known) = (0, 0);
    let mut rest = batch.into_iter();
    loop {
        let some: Vec<Prepared> = rest.by_ref().take(TOGETHER).collect();
        if some.is_empty() {
            break;
        }
        let put = async {
            let mut source = import.source.clone();
            let unseen = intel.objects.unseen(&see, &import.collection, &some);
            source.unseen = Arc::new(unseen.await?);
            let objects = &intel.objects;
            objects.put(&import.collection, source, some, None).await
        };
        match put.await {
            Ok(outcomes) => {
                for outcome in outcomes {
                    match outcome {
                        Outcome::Added(_) => added += 1,
                        Outcome::Known | Outcome::Kept | Outcome::Refused => known += 1,
                    }
                }
            }
            Err(error) => {
                tracing::error!(error = %runtime::error_chain(&error), "An import could not go on");
                import
                    .progress
                    .send_replace(Progress::Failed(added + known));
                return;
            }
        }
        import
            .progress
            .send_replace(Progress::Runs(added + known, import.total));
    }
    import.progress.send_replace(Progress::Done(added, known));
}

pub(super) async fn live(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let import = intel.imports.of(&visit, &id)?;
    let updates = futures::stream::unfold(
        (import.progress.subscribe(), true),
        |(mut progress, first)| async move {
            if !first {
                progress.changed().await.ok()?;
            }
            let now = progress.borrow_and_update().clone();
            Some((now, (progress, false)))
        },
    );
    let updates = updates.map(move |progress| Update::Fragment {
        target: "import".into(),
        html: state(&visit, &progress),
    });
    intel.streams.open(updates.boxed(), std::future::pending())
}

/// Stores one object that a person made.
pub(super) async fn put_one(
    intel: &Intel,
    collection: &Collection,
    source: Source,
    json: &serde_json::Value,
) -> WebResult<Outcome> {
    let prepared = prepare::object(&json.to_string())
        .map_err(|error| WebError::field("value", "rule", error.to_string()))?;
    let outcomes = intel
        .objects
        .put(collection, source, vec![prepared], None)
        .await
        .map_err(tell)?;
    outcomes
        .first()
        .copied()
        .ok_or_else(|| WebError::internal("a put without an outcome"))
}
