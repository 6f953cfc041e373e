//! Pages and API of the rules of beliefs: what is in force, a change tried before it is
//! made, earlier versions and the way back to one.

use axum::extract::{Path, State};
use casework::body::{Body, hidden, show, show_with};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{
    ApiJson, FieldError, Frame, Level, Listing, PageForm, Pages, Thing, Visit, WebError, WebResult,
};

use super::api::tell;
use super::belief::{Ageing, Decay};
use super::decay::{DecayVersion, Trial, Tried};
use super::pages::{tabs, version_row, versions_table};
use super::room::Parts;
use super::{ShareError, policies};
use crate::cert::shell::{AGAIN, by};

/// Characters of a document in the form.
const DOCUMENT_CHARS_MAX: usize = 100_000;

/// The pages' routes.
pub(super) fn pages(parts: Parts) -> Pages<()> {
    Pages::new()
        .get("/sharing/decay", "share:view", overview)
        .get("/sharing/decay/edit", "share:rules", edit)
        .post("/sharing/decay", "share:rules", save)
        .get("/sharing/decay/{version}/back", "share:rules", ask_back)
        .post("/sharing/decay/{version}/back", "share:rules", back)
        .with_state(parts)
}

/// The API's routes.
pub(super) fn router(parts: Parts) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(get_decay, put_decay))
        .routes(routes!(list_decay_versions))
        .routes(routes!(try_decay))
        .routes(routes!(restore_decay))
        .with_state(parts)
}

/// The rules of beliefs.
#[derive(Debug, Serialize, ToSchema)]
struct DecayView {
    /// Their version; 0 is the one that is built in.
    version: i64,
    /// The document.
    #[schema(value_type = Object)]
    rules: Decay,
}

/// A version of the rules.
#[derive(Debug, Serialize, ToSchema)]
struct DecayVersionView {
    /// 1, 2, 3 …
    version: i64,
    /// The document.
    #[schema(value_type = Object)]
    rules: Decay,
    /// Who made it.
    made_by: String,
    /// When, in microseconds since 1970.
    made_at: i64,
    /// The version whose document it brought back.
    back_to: Option<i64>,
}

impl From<DecayVersion> for DecayVersionView {
    fn from(one: DecayVersion) -> Self {
        Self {
            version: one.version,
            rules: one.rules,
            made_by: one.made_by,
            made_at: one.made_at.micros(),
            back_to: one.back_to,
        }
    }
}

/// Rules to put in force.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDecay {
    /// The version that the change was made from.
    seen: i64,
    /// The document; its `version` and `since` are set by the house.
    #[schema(value_type = Object)]
    rules: Decay,
}

/// An earlier version to put in force again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BackTo {
    /// The version in force, as it was seen.
    seen: i64,
    /// Which; 0 is the one that is built in.
    version: i64,
}

/// What other rules would change.
#[derive(Debug, Serialize, ToSchema)]
struct TrialView {
    /// Beliefs looked at: those that changed last.
    looked_at: usize,
    /// Believed, and then no more: what they block would be undone.
    fall: usize,
    /// Not believed, and then again.
    rise: usize,
    /// Of those that stay, whose confidence would differ.
    differ: usize,
    /// Some of these.
    examples: Vec<TriedView>,
}

/// A belief as it is and as it would be.
#[derive(Debug, Serialize, ToSchema)]
struct TriedView {
    /// The pattern.
    pattern: String,
    /// Its confidence by the rules in force.
    confidence: u8,
    /// Whether it is believed.
    stands: bool,
    /// Its confidence by the rules that are tried.
    then_confidence: u8,
    /// Whether it would be believed.
    then_stands: bool,
}

impl From<Trial> for TrialView {
    fn from(trial: Trial) -> Self {
        Self {
            looked_at: trial.looked_at,
            fall: trial.fall,
            rise: trial.rise,
            differ: trial.differ,
            examples: trial
                .examples
                .into_iter()
                .map(|one| TriedView {
                    pattern: one.pattern,
                    confidence: one.now.0,
                    stands: one.now.1,
                    then_confidence: one.then.0,
                    then_stands: one.then.1,
                })
                .collect(),
        }
    }
}

/// The rules of beliefs in force.
#[utoipa::path(get, path = "/api/v1/sharing/decay", tag = "sharing", responses((status = 200, body = DecayView)))]
async fn get_decay(State(parts): State<Parts>, _: Visit) -> WebResult<ApiJson<DecayView>> {
    let (version, rules) = parts.sharing.decay().await.map_err(tell)?;
    Ok(ApiJson(DecayView { version, rules }))
}

/// Puts rules of beliefs in force; beliefs are weighed anew by them.
#[utoipa::path(put, path = "/api/v1/sharing/decay", tag = "sharing", request_body = NewDecay, responses((status = 200, body = DecayView)))]
async fn put_decay(
    State(parts): State<Parts>,
    visit: Visit,
    ApiJson(new): ApiJson<NewDecay>,
) -> WebResult<ApiJson<DecayView>> {
    parts
        .sharing
        .set_decay(&by(&visit)?, &new.rules, new.seen, None)
        .await
        .map_err(tell)?;
    let (version, rules) = parts.sharing.decay().await.map_err(tell)?;
    Ok(ApiJson(DecayView { version, rules }))
}

/// Versions of the rules of beliefs, the newest first.
#[utoipa::path(get, path = "/api/v1/sharing/decay/versions", tag = "sharing", responses((status = 200, body = Listing<DecayVersionView>)))]
async fn list_decay_versions(
    State(parts): State<Parts>,
    _: Visit,
) -> WebResult<ApiJson<Listing<DecayVersionView>>> {
    let versions = parts.sharing.decay_versions().await.map_err(tell)?;
    Ok(ApiJson(Listing {
        items: versions.into_iter().map(DecayVersionView::from).collect(),
        next: None,
    }))
}

/// What rules would change, without putting them in force.
#[utoipa::path(post, path = "/api/v1/sharing/decay/trial", tag = "sharing", request_body = Object, responses((status = 200, body = TrialView)))]
async fn try_decay(
    State(parts): State<Parts>,
    _: Visit,
    ApiJson(rules): ApiJson<Decay>,
) -> WebResult<ApiJson<TrialView>> {
    let problems = rules.problems();
    if !problems.is_empty() {
        return Err(tell(ShareError::Policy(
            problems
                .into_iter()
                .map(|(path, rule)| (path, rule.to_owned()))
                .collect(),
        )));
    }
    let trial = parts.sharing.try_decay(&rules).await.map_err(tell)?;
    Ok(ApiJson(trial.into()))
}

/// Puts an earlier version of the rules in force again, as a new one.
#[utoipa::path(post, path = "/api/v1/sharing/decay/back", tag = "sharing", request_body = BackTo, responses((status = 200, body = DecayView)))]
async fn restore_decay(
    State(parts): State<Parts>,
    visit: Visit,
    ApiJson(wanted): ApiJson<BackTo>,
) -> WebResult<ApiJson<DecayView>> {
    restore(&parts, &visit, wanted.version, wanted.seen).await?;
    let (version, rules) = parts.sharing.decay().await.map_err(tell)?;
    Ok(ApiJson(DecayView { version, rules }))
}

async fn restore(parts: &Parts, visit: &Visit, version: i64, seen: i64) -> WebResult<()> {
    let rules = parts.sharing.decay_version(version).await.map_err(tell)?;
    let rules = rules.ok_or_else(|| WebError::not_found("version", version))?;
    parts
        .sharing
        .set_decay(&by(visit)?, &rules, seen, Some(version))
        .await
        .map_err(tell)?;
    Ok(())
}

async fn overview(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let (version, rules) = parts.sharing.decay().await.map_err(tell)?;
    let frame = visit
        .frame("decay-title")
        .crumb("/sharing", visit.t("nav-sharing"));
    let mut body = Body::new()
        .add(tabs(&visit, "/sharing/decay"))
        .text(match version {
            0 => visit.t("decay-built-in"),
            version => visit.ta("sharing-version", &[("version", &version.to_string())]),
        })
        .text(visit.ta("belief-rule", &[("version", &version.to_string())]))
        .add(rules_table(&visit, &rules))
        .add(ui::definition_list(vec![
            (
                visit.t("decay-unstated"),
                Markup::text(rules.confidence_unstated.to_string()),
            ),
            (
                visit.t("decay-false-positive"),
                Markup::text(format!("{} %", rules.false_positive_percent)),
            ),
            (
                visit.t("decay-step"),
                Markup::text(rules.published_step.to_string()),
            ),
        ]));
    let may = visit.principal.may("share:rules", Thing::HOUSE);
    if may {
        body = body.group(
            "actions",
            [ui::button_link(
                "/sharing/decay/edit",
                visit.t("decay-edit"),
            )],
        );
    }
    let what = Column::text(visit.t("decay-what"));
    let mut table = versions_table(&visit, what, "decay-built-in");
    let mut versions = parts.sharing.decay_versions().await.map_err(tell)?;
    for one in versions.drain(..) {
        let what = match one.back_to {
            Some(back_to) => visit.ta("decay-back-to", &[("version", &back_to.to_string())]),
            None => visit.t("decay-changed"),
        };
        let mut what = Markup::text(what);
        if may && one.version != version {
            let path = format!("/sharing/decay/{}/back", one.version);
            what = what
                .and(&Markup::text(" "))
                .and(&Markup::link(path, visit.t("decay-back")));
        }
        let made = (one.version, one.made_at, one.made_by.as_str());
        table.push(version_row(&parts, &visit, made, what).await);
    }
    let mut history = Body::new().add(table);
    if may && version > 0 {
        history = history.group(
            "actions",
            [ui::button_link(
                "/sharing/decay/0/back",
                visit.t("decay-back-built-in"),
            )],
        );
    }
    show(frame, body.section(visit.t("sharing-versions"), history))
}

fn rules_table(visit: &Visit, rules: &Decay) -> Table {
    let mut table = Table::new(visit.t("decay-title"))
        .column(Column::text(visit.t("decay-kind")))
        .column(Column::number(visit.t("decay-half-life")))
        .column(Column::number(visit.t("decay-floor")));
    let mut row = |kind: Markup, ageing: &Ageing| {
        table.push(vec![
            kind,
            Markup::text(ageing.half_life_days.to_string()),
            Markup::text(ageing.floor.to_string()),
        ]);
    };
    for (kind, ageing) in &rules.kinds {
        row(Markup::code(kind), ageing);
    }
    row(Markup::text(visit.t("decay-otherwise")), &rules.otherwise);
    table
}

fn edit_frame(visit: &Visit) -> Frame {
    visit
        .frame("decay-edit")
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb("/sharing/decay", visit.t("decay-title"))
}

async fn edit(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let (version, rules) = parts.sharing.decay().await.map_err(tell)?;
    let text = serde_json::to_string_pretty(&rules).map_err(WebError::internal)?;
    let frame = edit_frame(&visit);
    let body = form(&visit, &frame, version, &text, &[]);
    show(frame, body)
}

fn form(visit: &Visit, frame: &Frame, seen: i64, text: &str, errors: &[FieldError]) -> Body {
    let inner = Body::new()
        .add(hidden("seen", seen))
        .add(
            Field::area("document", visit.t("decay-document"), 24)
                .value(text)
                .help(visit.t("decay-document-help"))
                .errors(errors)
                .required(),
        )
        .group(
            "actions",
            [
                policies::named_button("try", visit.t("sharing-try")),
                policies::named_button("save", visit.t("sharing-save")),
                ui::button_link("/sharing/decay", visit.t("act-cancel")),
            ],
        );
    Body::new().form(frame, "/sharing/decay", inner)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Save {
    document: String,
    seen: i64,
    what: String,
}

async fn save(
    State(parts): State<Parts>,
    visit: Visit,
    PageForm(save): PageForm<Save>,
) -> WebResult {
    let frame = edit_frame(&visit);
    let wrong =
        |path: &str, rule: String| FieldError::new("document", "rule", format!("{path}: {rule}"));
    let again = |errors: &[FieldError]| {
        let body = form(&visit, &frame, save.seen, &save.document, errors);
        show_with(AGAIN, frame.clone(), body)
    };
    if save.document.chars().count() > DOCUMENT_CHARS_MAX {
        let rule = format!("must have at most {DOCUMENT_CHARS_MAX} characters");
        return again(&[wrong("document", rule)]);
    }
    let rules: Decay = match serde_json::from_str(&save.document) {
        Ok(rules) => rules,
        Err(error) => {
            let path = format!("line {} column {}", error.line(), error.column());
            return again(&[wrong(&path, error.to_string())]);
        }
    };
    let problems: Vec<FieldError> = rules
        .problems()
        .into_iter()
        .map(|(path, rule)| wrong(&path, rule.to_owned()))
        .collect();
    if !problems.is_empty() {
        return again(&problems);
    }
    if save.what == "try" {
        let trial = parts.sharing.try_decay(&rules).await.map_err(tell)?;
        let body = Body::new()
            .section(visit.t("sharing-preview"), trial_body(&visit, &trial))
            .add(form(&visit, &frame, save.seen, &save.document, &[]).markup());
        return show(frame.clone(), body);
    }
    match parts
        .sharing
        .set_decay(&by(&visit)?, &rules, save.seen, None)
        .await
    {
        Ok(_) => Ok(visit.done("/sharing/decay", "decay-saved")),
        Err(ShareError::Policy(problems)) => {
            let problems: Vec<FieldError> = problems
                .into_iter()
                .map(|(path, rule)| wrong(&path, rule))
                .collect();
            again(&problems)
        }
        Err(error) => Err(tell(error)),
    }
}

fn trial_body(visit: &Visit, trial: &Trial) -> Body {
    let tile = |key: &str, value: usize, level: Level| {
        ui::tile(visit.t(key), ui::number(value as u64), "")
            .level(level)
            .markup()
    };
    let falls = if trial.fall > 0 {
        Level::Warn
    } else {
        Level::Neutral
    };
    let mut table = Table::new(visit.t("decay-would-change"))
        .column(Column::text(visit.t("belief-pattern")))
        .column(Column::text(visit.t("decay-now")))
        .column(Column::text(visit.t("decay-then")))
        .empty(ui::empty(
            Icon::Check,
            visit.t("decay-nothing-title"),
            visit.t("decay-nothing-text"),
            None,
        ));
    for Tried { pattern, now, then } in &trial.examples {
        let cell = |(confidence, stands): (u8, bool)| {
            let (level, key) = match stands {
                true => (Level::Good, "belief-yes"),
                false => (Level::Neutral, "belief-no"),
            };
            Markup::text(format!("{confidence} ")).and(&ui::badge(level, visit.t(key)))
        };
        table.push(vec![Markup::code(pattern), cell(*now), cell(*then)]);
    }
    Body::new()
        .group(
            "tiles",
            [
                tile("sharing-looked-at", trial.looked_at, Level::Neutral),
                tile("decay-falls", trial.fall, falls),
                tile("decay-rises", trial.rise, Level::Neutral),
                tile("decay-differs", trial.differ, Level::Neutral),
            ],
        )
        .text(visit.t("decay-falls-text"))
        .section(visit.t("decay-would-change"), Body::new().add(table))
}

fn version_of(text: &str) -> WebResult<i64> {
    text.parse()
        .ok()
        .filter(|version| *version >= 0)
        .ok_or_else(|| WebError::not_found("version", text))
}

async fn ask_back(
    State(parts): State<Parts>,
    visit: Visit,
    Path(version): Path<String>,
) -> WebResult {
    let wanted = version_of(&version)?;
    let rules = parts.sharing.decay_version(wanted).await.map_err(tell)?;
    let rules = rules.ok_or_else(|| WebError::not_found("version", &version))?;
    let (seen, _) = parts.sharing.decay().await.map_err(tell)?;
    let trial = parts.sharing.try_decay(&rules).await.map_err(tell)?;
    let frame = visit
        .frame_titled(visit.ta("decay-back-title", &[("version", &version)]))
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb("/sharing/decay", visit.t("decay-title"));
    let inner = Body::new().add(hidden("seen", seen)).group(
        "actions",
        [
            ui::button(visit.t("decay-back")),
            ui::button_link("/sharing/decay", visit.t("act-cancel")),
        ],
    );
    let body = Body::new()
        .add(rules_table(&visit, &rules))
        .section(visit.t("sharing-preview"), trial_body(&visit, &trial))
        .form(&frame, &format!("/sharing/decay/{wanted}/back"), inner);
    show(frame, body)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Seen {
    seen: i64,
}

async fn back(
    State(parts): State<Parts>,
    visit: Visit,
    Path(version): Path<String>,
    PageForm(form): PageForm<Seen>,
) -> WebResult {
    restore(&parts, &visit, version_of(&version)?, form.seen).await?;
    Ok(visit.done("/sharing/decay", "decay-saved"))
}
