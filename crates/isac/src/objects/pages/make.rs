//! New indicators by hand, and what a reader thinks of one: a false alarm goes back to
//! its sender as an opinion of STIX, in the collection in which the indicator is.

use axum::extract::{Path, State};
use casework::body::{Body, hidden, other_errors, show, show_with};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;
use web::ui::{self, Field};
use web::{FieldError, PageForm, Visit, WebError, WebResult};

use super::import::{AGAIN, DAYS_MAX, collection_field, number, put_one};
use super::{Intel, object, one, path_of, seen, tell, tlp_options, writable, writes_as};
use crate::objects::import::{About, observable};
use crate::objects::{Collection, Outcome, prepare};
use crate::stix::{Tlp, time};

/// Characters of a name.
const NAME_CHARS_MAX: usize = 200;
/// Characters of a description or an explanation.
const TEXT_CHARS_MAX: usize = 4_000;
/// Kinds of observables that a person enters.
const KINDS: [&str; 8] = [
    "ip", "domain", "url", "sha256", "sha1", "md5", "email", "filename",
];

/// What the form sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    kind: String,
    value: String,
    name: String,
    description: String,
    tlp: String,
    confidence: String,
    days: String,
    collection: String,
}

fn frame(visit: &Visit) -> web::Frame {
    visit
        .frame("intel-new")
        .crumb("/intelligence", visit.t("nav-intelligence"))
}

pub(super) async fn ask(State(intel): State<Intel>, visit: Visit) -> WebResult {
    let wanted = Wanted {
        tlp: "green".to_owned(),
        confidence: "80".to_owned(),
        days: "30".to_owned(),
        ..Wanted::default()
    };
    let collections = writable(&intel, &visit).await?;
    show(frame(&visit), form(&visit, &collections, &wanted, &[]))
}

fn form(visit: &Visit, collections: &[Collection], wanted: &Wanted, errors: &[FieldError]) -> Body {
    if collections.is_empty() {
        return Body::new().add(ui::empty(
            ui::Icon::Lock,
            visit.t("intel-no-collection-title"),
            visit.t("intel-no-collection"),
            Some(("/intelligence", &visit.t("nav-intelligence"))),
        ));
    }
    let kinds = KINDS
        .iter()
        .map(|kind| ((*kind).to_owned(), visit.t(&format!("observable-{kind}"))))
        .collect();
    let inner = Body::new()
        .add(
            Field::select("kind", visit.t("intel-observable"), kinds)
                .value(&wanted.kind)
                .errors(errors),
        )
        .add(
            Field::text("value", visit.t("intel-value-is"))
                .value(&wanted.value)
                .help(visit.t("intel-value-help"))
                .errors(errors)
                .required(),
        )
        .add(
            Field::text("name", visit.t("intel-name"))
                .value(&wanted.name)
                .errors(errors)
                .required(),
        )
        .add(
            Field::area("description", visit.t("stix-description"), 4)
                .value(&wanted.description)
                .optional(visit.t("case-optional"))
                .errors(errors),
        )
        .add(
            Field::select("tlp", visit.t("intel-tlp"), tlp_options())
                .value(&wanted.tlp)
                .errors(errors),
        )
        .add(
            Field::input("number", "confidence", visit.t("intel-confidence"))
                .value(&wanted.confidence)
                .attribute("min", "0")
                .attribute("max", "100")
                .help(visit.t("intel-confidence-help"))
                .errors(errors),
        )
        .add(
            Field::input("number", "days", visit.t("intel-days"))
                .value(&wanted.days)
                .attribute("min", "1")
                .attribute("max", DAYS_MAX.to_string())
                .errors(errors),
        )
        .add(collection_field(
            visit,
            collections,
            &wanted.collection,
            errors,
        ))
        .group(
            "actions",
            [
                ui::button(visit.t("intel-new-do")),
                ui::button_link("/intelligence", visit.t("act-cancel")),
            ],
        );
    Body::new()
        .text(visit.t("intel-new-intro"))
        .add_some(other_errors(
            visit,
            errors,
            &[
                "kind",
                "value",
                "name",
                "description",
                "tlp",
                "confidence",
                "days",
                "collection",
            ],
        ))
        .form(&visit.frame_titled(""), "/intelligence/new", inner)
}

pub(super) async fn make(
    State(intel): State<Intel>,
    visit: Visit,
    PageForm(wanted): PageForm<Wanted>,
) -> WebResult {
    let collections = writable(&intel, &visit).await?;
    match check(&visit, &collections, &wanted) {
        Ok((collection, json)) => {
            let mut source = writes_as(&visit)?;
            let prepared = prepare::object(&json.to_string())
                .map_err(|error| WebError::field("value", "rule", error.to_string()))?;
            let see = seen(&intel, &visit).await?;
            let sent = [prepared];
            let unseen = intel.objects.unseen(&see, collection, &sent);
            source.unseen = Arc::new(unseen.await.map_err(tell)?);
            let id = json["id"].as_str().unwrap_or_default().to_owned();
            match put_one(&intel, collection, source, &json).await? {
                Outcome::Added(_) => Ok(visit.done(&path_of(&id), "intel-made")),
                Outcome::Known | Outcome::Kept | Outcome::Refused => {
                    Ok(visit.to_with(&path_of(&id), web::Level::Info, &visit.t("intel-known")))
                }
            }
        }
        Err(errors) => show_with(
            AGAIN,
            frame(&visit),
            form(&visit, &collections, &wanted, &errors),
        ),
    }
}

fn check<'a>(
    visit: &Visit,
    collections: &'a [Collection],
    wanted: &Wanted,
) -> Result<(&'a Collection, serde_json::Value), Vec<FieldError>> {
    let mut errors = Vec::new();
    let collection = collections
        .iter()
        .find(|one| one.id.to_string() == wanted.collection);
    if collection.is_none() {
        errors.push(FieldError::new(
            "collection",
            "required",
            visit.t("intel-collection-wrong"),
        ));
    }
    let tlp = Tlp::from_name(&wanted.tlp);
    if tlp.is_none() {
        errors.push(FieldError::new(
            "tlp",
            "enum",
            visit.t("intel-filter-wrong"),
        ));
    }
    let name = wanted.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        let rule = visit.ta("intel-text-wrong", &[("max", &NAME_CHARS_MAX.to_string())]);
        errors.push(FieldError::new("name", "length", rule));
    }
    if wanted.description.chars().count() > TEXT_CHARS_MAX {
        let rule = visit.ta("intel-text-wrong", &[("max", &TEXT_CHARS_MAX.to_string())]);
        errors.push(FieldError::new("description", "length", rule));
    }
    let confidence =
        number(visit, "confidence", &wanted.confidence, 0, 100).map_err(|error| errors.push(error));
    let days = match wanted.days.trim() {
        "" => Ok(None),
        days => number(visit, "days", days, 1, DAYS_MAX)
            .map(Some)
            .map_err(|error| errors.push(error)),
    };
    if !KINDS.contains(&wanted.kind.as_str()) {
        errors.push(FieldError::new(
            "kind",
            "enum",
            visit.t("intel-filter-wrong"),
        ));
    }
    let (Some(collection), Some(tlp), Ok(confidence), Ok(days)) =
        (collection, tlp, confidence, days)
    else {
        return Err(errors);
    };
    let about = About {
        now: visit.now.micros(),
        tlp,
        confidence: u8::try_from(confidence).unwrap_or(100),
        days,
    };
    match observable(&wanted.kind, wanted.value.trim(), name, &about) {
        Ok(mut json) if errors.is_empty() => {
            if !wanted.description.trim().is_empty() {
                json["description"] = wanted.description.trim().into();
            }
            Ok((collection, json))
        }
        Ok(_) => Err(errors),
        Err(rule) => {
            errors.push(FieldError::new("value", "format", rule).value(&wanted.value));
            Err(errors)
        }
    }
}

/// What a reader thinks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Thought {
    opinion: String,
    explanation: String,
}

const OPINIONS: [&str; 4] = ["strongly-disagree", "disagree", "agree", "strongly-agree"];

fn feedback_form(visit: &Visit, id: &str, thought: &Thought, errors: &[FieldError]) -> Body {
    let opinions = OPINIONS
        .iter()
        .map(|word| ((*word).to_owned(), visit.t(&format!("opinion-{word}"))))
        .collect();
    let inner = Body::new()
        .add(hidden("about", id))
        .add(
            Field::select("opinion", visit.t("stix-opinion"), opinions)
                .value(&thought.opinion)
                .errors(errors),
        )
        .add(
            Field::area("explanation", visit.t("stix-explanation"), 5)
                .value(&thought.explanation)
                .help(visit.t("intel-feedback-help"))
                .errors(errors)
                .required(),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("intel-feedback-do")),
                ui::button_link(path_of(id), visit.t("act-cancel")),
            ],
        );
    Body::new().text(visit.t("intel-feedback-intro")).form(
        &visit.frame_titled(""),
        &format!("{}/feedback", path_of(id)),
        inner,
    )
}

pub(super) async fn ask_feedback(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (_, versions) = object(&intel, &visit, &id).await?;
    let frame = one::frame(&visit, &versions[0]).crumb(path_of(&id), visit.t("intel-tab-overview"));
    show(frame, feedback_form(&visit, &id, &Thought::default(), &[]))
}

pub(super) async fn feedback(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(thought): PageForm<Thought>,
) -> WebResult {
    let (see, versions) = object(&intel, &visit, &id).await?;
    let hit = &versions[0];
    let mut errors = Vec::new();
    if !OPINIONS.contains(&thought.opinion.as_str()) {
        errors.push(FieldError::new(
            "opinion",
            "enum",
            visit.t("intel-filter-wrong"),
        ));
    }
    let text = thought.explanation.trim();
    if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
        let rule = visit.ta("intel-text-wrong", &[("max", &TEXT_CHARS_MAX.to_string())]);
        errors.push(FieldError::new("explanation", "length", rule));
    }
    if !errors.is_empty() {
        let frame = one::frame(&visit, hit).crumb(path_of(&id), visit.t("intel-tab-overview"));
        return show_with(AGAIN, frame, feedback_form(&visit, &id, &thought, &errors));
    }
    let collection = see
        .into_iter()
        .map(|one| one.collection)
        .find(|one| one.number == hit.collection)
        .ok_or_else(|| WebError::not_found("object", &id))?;
    let at = time::format(visit.now.micros() - visit.now.micros().rem_euclid(1_000));
    // It carries the marking of what it is about, and no name of who thinks so.
    let opinion = json!({
        "type": "opinion", "spec_version": "2.1", "id": format!("opinion--{}", Uuid::new_v4()), "created": at, "modified": at,
        "opinion": thought.opinion, "explanation": text, "object_refs": [id], "object_marking_refs": [hit.tlp.marking()],
    });
    put_one(&intel, &collection, writes_as(&visit)?, &opinion).await?;
    Ok(visit.done(&path_of(&id), "intel-feedback-done"))
}
