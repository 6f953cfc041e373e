//! Warning lists: which there are and what they mean, what is on them, whether something is
//! on one; lists made by hand or brought from MISP; changes of their entries and effects.

use axum::extract::{Multipart, Path, State as Shared};
use axum::http::StatusCode;
use base::enforcement::Target;
use casework::api::page_request;
use casework::body::{Body, hidden, other_errors, show, show_with};
use serde::Deserialize;
use store::{Actor, PageRequest};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, Level, PageForm, Paging, Visit, WebError, WebResult};

use super::{Desk, actor, tabs, tell};
use crate::enforce::engine::EnforceError;
use crate::enforce::kept_lists::Kept;
use crate::enforce::lists::{self, Document, Effect, ListKind};

/// Bytes of a list that is brought in the browser.
pub(super) const UPLOAD_BYTES_MAX: usize = 16 << 20;
/// Characters of what is looked for.
const TEXT_CHARS_MAX: usize = 2_100;
/// Entries of one list that a search shows.
const FOUND_MAX: u32 = 20;
const AGAIN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
const HOME: &str = "/enforcements/lists";

/// What is asked of the lists.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
}

fn frame(visit: &Visit) -> web::Frame {
    visit
        .frame("enforce-tab-lists")
        .crumb("/enforcements", visit.t("nav-enforcements"))
}

fn effect_badge(visit: &Visit, effect: Effect) -> Markup {
    let level = match effect {
        Effect::Never => Level::Good,
        Effect::Ask => Level::Warn,
        Effect::Off => Level::Neutral,
    };
    ui::badge(level, visit.t(&format!("list-effect-{}", effect.name())))
}

fn path_of(name: &str) -> String {
    format!("{HOME}/{name}")
}

pub(super) async fn view(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult {
    let q: String = asked.q.trim().chars().take(TEXT_CHARS_MAX).collect();
    let all = desk.enforcements().lists().await.map_err(tell)?;
    let frame = frame(&visit);
    let mut body = Body::new()
        .add(tabs(&visit, HOME))
        .text(visit.t("list-intro"));
    if frame.could("enforcement:policy") {
        body = body.group(
            "actions",
            [ui::button_link(format!("{HOME}/new"), visit.t("list-new"))],
        );
    }
    let form = Body::new()
        .add(
            Field::input("search", "q", visit.t("list-search"))
                .value(&q)
                .help(visit.t("list-search-help")),
        )
        .add(ui::button(visit.t("intel-search")));
    body = body.search(HOME, form);
    if !q.is_empty() {
        body = body.section(visit.t("list-found"), found(&desk, &visit, &all, &q).await?);
    }
    let mut table = Table::new(visit.t("enforce-tab-lists"))
        .column(Column::text(visit.t("list-title")))
        .column(Column::text(visit.t("list-effect")))
        .column(Column::text(visit.t("list-kind")))
        .column(Column::number(visit.t("list-entries")))
        .column(Column::text(visit.t("enforce-source")));
    for one in &all {
        let from = match one.is_built_in {
            true => visit.t("list-built-in"),
            false => visit.t("list-own"),
        };
        table.push(vec![
            Markup::link(path_of(&one.name), title(&visit, one)),
            effect_badge(&visit, one.effect),
            Markup::text(visit.t(&format!("list-kind-{}", one.kind.name()))),
            Markup::text(ui::number(one.entries)),
            Markup::text(from),
        ]);
    }
    show(frame, body.add(table))
}

/// A list's title: of a built-in one in the reader's language.
fn title(visit: &Visit, kept: &Kept) -> String {
    match kept.is_built_in {
        true => visit.t(&format!("list-{}", kept.name)),
        false => kept.title.clone(),
    }
}

/// What a list is for.
fn about(visit: &Visit, kept: &Kept) -> String {
    match kept.is_built_in {
        true => visit.t(&format!("list-{}-about", kept.name)),
        false => kept.about.clone(),
    }
}

/// What of the lists a value hits, and the entries that hold the text.
async fn found(desk: &Desk, visit: &Visit, all: &[Kept], q: &str) -> WebResult<Body> {
    let mut body = Body::new();
    if let Ok(target) = q.parse::<Target>() {
        for (effect, hit) in desk.enforcements().listed(&target).await.map_err(tell)? {
            let key = format!("list-hit-{}", effect.name());
            body = body.text(visit.ta(
                &key,
                &[("target", q), ("entry", &hit.entry), ("list", &hit.list)],
            ));
        }
    }
    let mut table = Table::new(visit.t("list-found"))
        .column(Column::text(visit.t("list-entry")))
        .column(Column::text(visit.t("list-title")))
        .empty(ui::empty(Icon::List, visit.t("list-found-none"), "", None));
    for one in all {
        let some = desk
            .enforcements()
            .list_entries(&one.name, q, &PageRequest::first(FOUND_MAX))
            .await
            .map_err(tell)?;
        for entry in some.items {
            table.push(vec![
                Markup::code(&entry),
                Markup::link(path_of(&one.name), title(visit, one)),
            ]);
        }
    }
    Ok(body.add(table))
}

/// What the form of a new list sends.
#[derive(Debug, Default)]
struct Wish {
    title: String,
    about: String,
    kind: String,
    effect: String,
    entries: String,
    file: Vec<u8>,
}

fn effects(visit: &Visit) -> Vec<(String, String)> {
    let of = |effect: Effect| {
        let name = effect.name();
        (name.to_owned(), visit.t(&format!("list-effect-{name}")))
    };
    Effect::ALL.into_iter().map(of).collect()
}

fn form(visit: &Visit, wish: &Wish, errors: &[FieldError]) -> Body {
    let kinds = ListKind::ALL.into_iter().map(|kind| {
        let name = kind.name();
        (name.to_owned(), visit.t(&format!("list-kind-{name}")))
    });
    let inner = Body::new()
        .add(
            Field::input("file", "file", visit.t("list-file"))
                .attribute("accept", ".json,application/json")
                .help(visit.t("list-file-help"))
                .errors(errors),
        )
        .add(
            Field::select("effect", visit.t("list-effect"), effects(visit))
                .value(&wish.effect)
                .help(visit.t("list-effect-help"))
                .errors(errors),
        )
        .add(
            Field::text("title", visit.t("list-title"))
                .value(&wish.title)
                .help(visit.t("list-by-hand"))
                .errors(errors),
        )
        .add(
            Field::text("about", visit.t("list-about"))
                .value(&wish.about)
                .optional(visit.t("case-optional"))
                .errors(errors),
        )
        .add(
            Field::select("kind", visit.t("list-kind"), kinds.collect())
                .value(&wish.kind)
                .errors(errors),
        )
        .add(
            Field::area("entries", visit.t("list-entries"), 8)
                .value(&wish.entries)
                .help(visit.t("list-entries-help"))
                .errors(errors),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("list-new-do")),
                ui::button_link(HOME, visit.t("act-cancel")),
            ],
        );
    Body::new()
        .add(tabs(visit, HOME))
        .add_some(other_errors(
            visit,
            errors,
            &["file", "effect", "title", "about", "kind", "entries"],
        ))
        .upload(&visit.frame_titled(""), &format!("{HOME}/new"), inner)
}

fn new_frame(visit: &Visit) -> web::Frame {
    visit
        .frame("list-new")
        .crumb("/enforcements", visit.t("nav-enforcements"))
        .crumb(HOME, visit.t("enforce-tab-lists"))
}

pub(super) async fn ask(visit: Visit) -> WebResult {
    let wish = Wish {
        effect: Effect::Ask.name().to_owned(),
        kind: ListKind::Hostname.name().to_owned(),
        ..Wish::default()
    };
    show(new_frame(&visit), form(&visit, &wish, &[]))
}

async fn read(mut parts: Multipart) -> WebResult<Wish> {
    let broken = |error: axum::extract::multipart::MultipartError| {
        WebError::bad_request(format!(
            "the upload could not be read: {}",
            error.body_text()
        ))
    };
    let mut wish = Wish::default();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        if name == "file" {
            wish.file = part.bytes().await.map_err(broken)?.to_vec();
            continue;
        }
        let text = part.text().await.map_err(broken)?;
        match name.as_str() {
            "title" => wish.title = text,
            "about" => wish.about = text,
            "kind" => wish.kind = text,
            "effect" => wish.effect = text,
            "entries" => wish.entries = text,
            _ => {}
        }
    }
    Ok(wish)
}

/// The list that the form's fields, or its file, make.
fn document(visit: &Visit, wish: &Wish) -> Result<(Effect, Document), FieldError> {
    let wrong = |field: &'static str| FieldError::new(field, "enum", visit.t("intel-filter-wrong"));
    let effect = Effect::from_name(&wish.effect).ok_or_else(|| wrong("effect"))?;
    if !wish.file.is_empty() {
        let text = std::str::from_utf8(&wish.file)
            .map_err(|_| FieldError::new("file", "text", visit.t("intel-file-text")))?;
        let document =
            Document::parse(text).map_err(|rule| FieldError::new("file", "misp", rule))?;
        return Ok((effect, document));
    }
    let kind = ListKind::from_name(&wish.kind).ok_or_else(|| wrong("kind"))?;
    Ok((
        effect,
        Document {
            name: wish.title.trim().to_owned(),
            description: wish.about.trim().to_owned(),
            version: 0,
            kind,
            list: wish.entries.lines().map(str::to_owned).collect(),
        },
    ))
}

/// What a person can put right in the form.
fn to_fields(error: EnforceError, field: &'static str) -> Result<Vec<FieldError>, WebError> {
    match error {
        EnforceError::Policy(problems) => Ok(problems
            .into_iter()
            .map(|(name, rule)| {
                let name = if name == "entries" { field } else { name };
                FieldError::new(name, "list", rule)
            })
            .collect()),
        EnforceError::TooMany { .. } => {
            Ok(vec![FieldError::new(field, "limit", error.to_string())])
        }
        error => Err(tell(error)),
    }
}

pub(super) async fn make(Shared(desk): Shared<Desk>, visit: Visit, parts: Multipart) -> WebResult {
    let by = visit.principal.signed_in()?;
    let wish = read(parts).await?;
    let again =
        |errors: Vec<FieldError>| show_with(AGAIN, new_frame(&visit), form(&visit, &wish, &errors));
    let field = if wish.file.is_empty() {
        "entries"
    } else {
        "file"
    };
    let (effect, document) = match document(&visit, &wish) {
        Ok(made) => made,
        Err(error) => return again(vec![error]),
    };
    let name = lists::slug(&document.name);
    if name.is_empty() {
        let rule = visit.t("list-title-wrong");
        let field = if wish.file.is_empty() {
            "title"
        } else {
            "file"
        };
        return again(vec![FieldError::new(field, "name", rule)]);
    }
    if document.list.iter().all(|text| text.trim().is_empty()) {
        return again(vec![FieldError::new(
            field,
            "required",
            visit.t("list-entries-wrong"),
        )]);
    }
    let made = desk
        .enforcements()
        .put_list(
            Actor::User(by),
            Some(&visit.request_id),
            &name,
            effect,
            &document,
        )
        .await;
    match made {
        Ok(_) => Ok(visit.done(&path_of(&name), "list-made")),
        Err(error) => again(to_fields(error, field)?),
    }
}

/// What is wanted of one list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    q: String,
    cursor: Option<String>,
}

pub(super) async fn one(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(name): Path<String>,
    ApiQuery(part): ApiQuery<Part>,
) -> WebResult {
    let (frame, body) = whole(&desk, &visit, &name, &part, "", &[]).await?;
    show(frame, body)
}

async fn whole(
    desk: &Desk,
    visit: &Visit,
    name: &str,
    part: &Part,
    more: &str,
    errors: &[FieldError],
) -> WebResult<(web::Frame, Body)> {
    let kept = desk.enforcements().list(name).await.map_err(tell)?;
    let paging = Paging {
        limit: None,
        cursor: part.cursor.clone(),
    };
    let q: String = part.q.trim().chars().take(TEXT_CHARS_MAX).collect();
    let page = desk
        .enforcements()
        .list_entries(name, &q, &page_request(&paging)?)
        .await
        .map_err(tell)?;
    let frame = visit
        .frame_titled(title(visit, &kept))
        .crumb("/enforcements", visit.t("nav-enforcements"))
        .crumb(HOME, visit.t("enforce-tab-lists"));
    let may = frame.could("enforcement:policy");
    let mut facts = vec![
        (visit.t("list-effect"), effect_badge(visit, kept.effect)),
        (
            visit.t("list-kind"),
            Markup::text(visit.t(&format!("list-kind-{}", kept.kind.name()))),
        ),
        (
            visit.t("list-entries"),
            Markup::text(ui::number(kept.entries)),
        ),
        (
            visit.t("enforce-version"),
            Markup::text(kept.version.to_string()),
        ),
    ];
    if let (Some(by), Some(at)) = (&kept.made_by, kept.made_at) {
        let who = actor(visit, by).await;
        facts.push((visit.t("enforce-made-by"), Markup::text(who)));
        facts.push((visit.t("enforce-made-at"), ui::time(at)));
    }
    let mut body = Body::new()
        .add(tabs(visit, HOME))
        .text(about(visit, &kept))
        .add(ui::definition_list(facts));
    if may {
        body = body.section(visit.t("list-change"), effect_form(visit, &kept));
    }
    let may_change = may && !kept.is_built_in;
    if may_change {
        body = body.section(visit.t("list-add"), add_form(visit, &kept, more, errors));
    }
    let form = Body::new()
        .add(Field::input("search", "q", visit.t("list-part")).value(&q))
        .add(ui::button(visit.t("intel-search")));
    let mut table = Table::new(visit.t("list-entries"))
        .column(Column::text(visit.t("list-entry")))
        .empty(ui::empty(Icon::List, visit.t("list-found-none"), "", None));
    if may_change {
        table = table.column(Column::text(visit.t("list-take")));
    }
    for entry in &page.items {
        let mut row = vec![Markup::code(entry)];
        if may_change {
            let inner = Body::new()
                .add(hidden("step", "take"))
                .add(hidden("entries", entry))
                .add(ui::button(visit.t("list-take")));
            row.push(
                Body::new()
                    .form(&visit.frame_titled(""), &path_of(name), inner)
                    .markup(),
            );
        }
        table.push(row);
    }
    let kept_query = match q.is_empty() {
        true => String::new(),
        false => url::form_urlencoded::Serializer::new(String::new())
            .append_pair("q", &q)
            .finish(),
    };
    body = body
        .section(
            visit.t("list-entries"),
            Body::new().search(&path_of(name), form),
        )
        .add(table)
        .add(ui::pager(&frame, &kept_query, page.next.as_deref()));
    if may_change {
        let inner = Body::new()
            .add(hidden("step", "drop"))
            .group("actions", [ui::danger_button(visit.t("list-drop"))]);
        body = body.fold(
            visit.t("list-drop"),
            Body::new().text(visit.t("list-drop-text")).form(
                &visit.frame_titled(""),
                &path_of(name),
                inner,
            ),
        );
    }
    Ok((frame, body))
}

fn effect_form(visit: &Visit, kept: &Kept) -> Body {
    let inner = Body::new()
        .add(hidden("step", "effect"))
        .add(
            Field::select("effect", visit.t("list-effect"), effects(visit))
                .value(kept.effect.name())
                .help(visit.t("list-effect-help")),
        )
        .group("actions", [ui::button(visit.t("list-change-do"))]);
    Body::new().form(&visit.frame_titled(""), &path_of(&kept.name), inner)
}

fn add_form(visit: &Visit, kept: &Kept, more: &str, errors: &[FieldError]) -> Body {
    let inner = Body::new()
        .add(hidden("step", "add"))
        .add(
            Field::area("entries", visit.t("list-entries"), 4)
                .value(more)
                .help(visit.t("list-entries-help"))
                .errors(errors)
                .required(),
        )
        .group("actions", [ui::button(visit.t("list-add-do"))]);
    Body::new().form(&visit.frame_titled(""), &path_of(&kept.name), inner)
}

/// A change of one list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    step: String,
    effect: String,
    entries: String,
}

pub(super) async fn change(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(name): Path<String>,
    PageForm(step): PageForm<Step>,
) -> WebResult {
    let by = Actor::User(visit.principal.signed_in()?);
    let (request, all) = (Some(visit.request_id.as_str()), desk.enforcements());
    let lines = || -> Vec<String> {
        let lines = step.entries.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let done = match step.step.as_str() {
        "effect" => {
            let effect = Effect::from_name(&step.effect)
                .ok_or_else(|| WebError::field("effect", "enum", visit.t("intel-filter-wrong")))?;
            all.set_list_effect(by, request, &name, effect).await
        }
        "add" => all
            .change_list(by, request, &name, &lines(), &[])
            .await
            .map(drop),
        "take" => all
            .change_list(by, request, &name, &[], &lines())
            .await
            .map(drop),
        "drop" => {
            all.drop_list(by, request, &name).await.map_err(tell)?;
            return Ok(visit.done(HOME, "list-dropped"));
        }
        _ => {
            return Err(WebError::field(
                "step",
                "enum",
                visit.t("intel-filter-wrong"),
            ));
        }
    };
    match done {
        Ok(()) => Ok(visit.done(&path_of(&name), "list-changed")),
        Err(error) => {
            let errors = to_fields(error, "entries")?;
            let part = Part::default();
            let (frame, body) = whole(&desk, &visit, &name, &part, &step.entries, &errors).await?;
            show_with(AGAIN, frame, body)
        }
    }
}
