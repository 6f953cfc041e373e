//! What people do: block by hand, undo after a question, extend, approve or refuse.

use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use base::Timestamp;
use base::enforcement::{Action, REASON_CHARS_MAX};
use casework::body::{Body, other_errors, show, show_with};
use serde::Deserialize;
use store::Actor;
use web::ui::{self, Field};
use web::{FieldError, PageForm, Visit, WebResult};

use super::{Desk, one, tabs, tell};
use crate::enforce::engine::{EnforceError, New, State};

/// Hours that a person can enforce for.
const HOURS_MAX: u64 = 24 * 3_650;
/// Targets in one form.
const TARGETS_MAX: usize = 200;
const AGAIN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

/// What the form sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wish {
    targets: String,
    action: String,
    hours: String,
    reason: String,
}

const ACTIONS: [Action; 3] = [Action::Refuse, Action::Drop, Action::Observe];

fn form(visit: &Visit, wish: &Wish, errors: &[FieldError]) -> Body {
    let actions = ACTIONS
        .iter()
        .map(|action| {
            (
                action.name().to_owned(),
                visit.t(&format!("action-{}", action.name())),
            )
        })
        .collect();
    let inner = Body::new()
        .add(
            Field::area("targets", visit.t("enforce-targets"), 4)
                .value(&wish.targets)
                .help(visit.t("enforce-targets-help"))
                .errors(errors)
                .required(),
        )
        .add(
            Field::select("action", visit.t("enforce-action"), actions)
                .value(&wish.action)
                .errors(errors),
        )
        .add(
            Field::input("number", "hours", visit.t("enforce-hours"))
                .value(&wish.hours)
                .attribute("min", "1")
                .help(visit.t("enforce-hours-help"))
                .errors(errors),
        )
        .add(
            Field::area("reason", visit.t("enforce-reason"), 3)
                .value(&wish.reason)
                .errors(errors)
                .required(),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("enforce-new-do")),
                ui::button_link("/enforcements/simulate", visit.t("enforce-tab-simulate")),
                ui::button_link("/enforcements", visit.t("act-cancel")),
            ],
        );
    Body::new()
        .text(visit.t("enforce-new-intro"))
        .add_some(other_errors(
            visit,
            errors,
            &["targets", "action", "hours", "reason"],
        ))
        .form(&visit.frame_titled(""), "/enforcements/new", inner)
}

fn frame(visit: &Visit) -> web::Frame {
    visit
        .frame("enforce-new")
        .crumb("/enforcements", visit.t("nav-enforcements"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    target: String,
}

pub(super) async fn ask(visit: Visit, web::ApiQuery(asked): web::ApiQuery<Asked>) -> WebResult {
    let wish = Wish {
        targets: asked.target.chars().take(2_100).collect(),
        hours: "24".to_owned(),
        ..Wish::default()
    };
    show(frame(&visit), form(&visit, &wish, &[]))
}

/// Hours of a field; empty: no end.
fn end(visit: &Visit, text: &str) -> Result<Option<Timestamp>, FieldError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match text
        .parse::<u64>()
        .ok()
        .filter(|hours| (1..=HOURS_MAX).contains(hours))
    {
        Some(hours) => Ok(Some(visit.now.plus(Duration::from_secs(hours * 3_600)))),
        None => {
            let rule = visit.ta(
                "intel-number-wrong",
                &[("from", "1"), ("to", &HOURS_MAX.to_string())],
            );
            Err(FieldError::new("hours", "range", rule).value(text))
        }
    }
}

fn reason(visit: &Visit, field: &'static str, text: &str) -> Result<String, FieldError> {
    let text = text.trim();
    match text.is_empty() || text.chars().count() > REASON_CHARS_MAX {
        true => Err(FieldError::new(
            field,
            "length",
            visit.ta(
                "intel-text-wrong",
                &[("max", &REASON_CHARS_MAX.to_string())],
            ),
        )),
        false => Ok(text.to_owned()),
    }
}

pub(super) async fn make(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    PageForm(wish): PageForm<Wish>,
) -> WebResult {
    let by = visit.principal.signed_in()?;
    let mut errors = Vec::new();
    let mut targets = Vec::new();
    for line in wish
        .targets
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        match super::typed(&visit, "targets", line) {
            Ok(target) => targets.push(target),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() && (targets.is_empty() || targets.len() > TARGETS_MAX) {
        let rule = visit.ta(
            "enforce-targets-wrong",
            &[("max", &TARGETS_MAX.to_string())],
        );
        errors.push(FieldError::new("targets", "limit", rule));
    }
    let action = ACTIONS
        .into_iter()
        .find(|action| action.name() == wish.action);
    if action.is_none() {
        errors.push(FieldError::new(
            "action",
            "enum",
            visit.t("intel-filter-wrong"),
        ));
    }
    let until = end(&visit, &wish.hours).map_err(|error| errors.push(error));
    let why = reason(&visit, "reason", &wish.reason).map_err(|error| errors.push(error));
    if let (Some(action), Ok(until), Ok(why), true) = (action, until, why, errors.is_empty()) {
        let (_, policy) = desk.enforcements().policy().await.map_err(tell)?;
        let wanted = targets
            .into_iter()
            .map(|target| New {
                target,
                action,
                roles: Vec::new(),
                source: format!("user:{by}"),
                reason: why.clone(),
                confidence: 100,
                until,
                proposed: policy.manual_approval,
                tlp: None,
                said_at: 0,
            })
            .collect();
        let made = desk
            .enforcements()
            .enforce(Actor::User(by), Some(&visit.request_id), wanted)
            .await;
        match made {
            Ok(made) => {
                let waiting = made.iter().filter(|one| one.state == State::Proposed);
                let key = match (made.len(), waiting.count()) {
                    (0, _) => "enforce-made-known",
                    (_, 0) => "enforce-made",
                    (all, waiting) if all == waiting => "enforce-made-proposed",
                    _ => "enforce-made-some",
                };
                let path = match made.as_slice() {
                    [one] => format!("/enforcements/{}", one.rule.id),
                    _ => "/enforcements".to_owned(),
                };
                return Ok(visit.done(&path, key));
            }
            Err(error @ (EnforceError::Forbidden { .. } | EnforceError::TooMany { .. })) => {
                errors.push(FieldError::new(
                    "targets",
                    "warning-list",
                    error.to_string(),
                ));
            }
            Err(error) => return Err(tell(error)),
        }
    }
    show_with(AGAIN, frame(&visit), form(&visit, &wish, &errors))
}

pub(super) async fn ask_undo(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (decided, hits) = one::decided(&desk, &id).await?;
    if decided.state != State::Active {
        return Ok(visit.to(&format!("/enforcements/{id}")));
    }
    undo_page(
        &visit,
        &super::readable(&decided.rule.target),
        &id,
        hits.count,
        &[],
    )
}

fn undo_page(visit: &Visit, target: &str, id: &str, hits: u64, errors: &[FieldError]) -> WebResult {
    let frame = visit
        .frame_titled(visit.ta("enforce-undo-title", &[("target", target)]))
        .crumb("/enforcements", visit.t("nav-enforcements"))
        .crumb(format!("/enforcements/{id}"), target);
    let inner = Body::new()
        .add(
            Field::area("why", visit.t("enforce-reason"), 3)
                .errors(errors)
                .required(),
        )
        .group(
            "actions",
            [
                ui::danger_button(visit.t("enforce-undo-do")),
                ui::button_link(format!("/enforcements/{id}"), visit.t("act-cancel")),
            ],
        );
    let body = Body::new()
        .add(tabs(visit, ""))
        .text(visit.ta("enforce-undo-text", &[("hits", &ui::number(hits))]))
        .form(&frame, &format!("/enforcements/{id}/undo"), inner);
    match errors.is_empty() {
        true => show(frame, body),
        false => show_with(AGAIN, frame, body),
    }
}

/// A word on a decision.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Word {
    why: String,
    choice: String,
    hours: String,
}

pub(super) async fn undo(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(word): PageForm<Word>,
) -> WebResult {
    let by = visit.principal.signed_in()?;
    let why = match reason(&visit, "why", &word.why) {
        Ok(why) => why,
        Err(error) => {
            let (decided, hits) = one::decided(&desk, &id).await?;
            return undo_page(
                &visit,
                &decided.rule.target.to_string(),
                &id,
                hits.count,
                &[error],
            );
        }
    };
    desk.enforcements()
        .lift(
            Actor::User(by),
            Some(&visit.request_id),
            one::id_of(&id)?,
            &why,
        )
        .await
        .map_err(tell)?;
    Ok(visit.done(&format!("/enforcements/{id}"), "enforce-undone"))
}

pub(super) async fn extend(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(word): PageForm<Word>,
) -> WebResult {
    let by = visit.principal.signed_in()?;
    let (until, why) = match (end(&visit, &word.hours), reason(&visit, "why", &word.why)) {
        (Ok(until), Ok(why)) => (until, why),
        (until, why) => {
            let errors: Vec<FieldError> = [until.err(), why.err()].into_iter().flatten().collect();
            return one::again(&desk, &visit, &id, &errors).await;
        }
    };
    desk.enforcements()
        .extend(
            Actor::User(by),
            Some(&visit.request_id),
            one::id_of(&id)?,
            until,
            &why,
        )
        .await
        .map_err(tell)?;
    Ok(visit.done(&format!("/enforcements/{id}"), "enforce-extended"))
}

pub(super) async fn decide(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(word): PageForm<Word>,
) -> WebResult {
    let by = visit.principal.signed_in()?;
    let approve = match word.choice.as_str() {
        "approve" => Ok(true),
        "reject" => Ok(false),
        _ => Err(FieldError::new(
            "choice",
            "required",
            visit.t("intel-filter-wrong"),
        )),
    };
    let (approve, why) = match (approve, reason(&visit, "why", &word.why)) {
        (Ok(approve), Ok(why)) => (approve, why),
        (approve, why) => {
            let errors: Vec<FieldError> =
                [approve.err(), why.err()].into_iter().flatten().collect();
            return one::again(&desk, &visit, &id, &errors).await;
        }
    };
    let (before, _) = one::decided(&desk, &id).await?;
    desk.enforcements()
        .decide(by, Some(&visit.request_id), one::id_of(&id)?, approve, &why)
        .await
        .map_err(tell)?;
    let key = match (before.is_doubted(), approve) {
        (true, true) => "enforce-kept",
        (true, false) => "enforce-undone",
        (false, true) => "enforce-approved",
        (false, false) => "enforce-refused",
    };
    Ok(visit.done(&format!("/enforcements/{id}"), key))
}
