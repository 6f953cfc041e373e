//! The policy: what it says, its former versions, a form with a preview before a new
//! version is put in force, and the warning list of what is never blocked.

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use base::enforcement::TargetKind;
use casework::api::page_request;
use casework::body::{Body, hidden, show, show_with};
use store::{Actor, PageRequest};
use web::ui::{self, Column, Icon, Markup, Table};
use web::{ApiQuery, FieldError, FormPairs, Level, PageForm, Paging, Visit, WebError, WebResult};

use super::policy_form::{form, one, pairs, read};
use super::{Desk, actor, tabs, tell};
use crate::enforce::engine::{EnforceError, State};
use crate::enforce::follow::FollowError;
use crate::enforce::manage::Wanted;
use crate::enforce::policy::{NEVER, Policy};
use crate::enforce::review::{Effect, Verdict};

/// Decisions by hand that a preview looks at.
const PREVIEW_ROWS: u32 = 200;

pub(super) async fn view(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let (version, policy) = desk.enforcements().policy().await.map_err(tell)?;
    let versions = desk
        .enforcements()
        .policies(&page_request(&paging)?)
        .await
        .map_err(tell)?;
    let frame = visit
        .frame("enforce-tab-policy")
        .crumb("/enforcements", visit.t("nav-enforcements"));
    let mut body = Body::new()
        .add(tabs(&visit, "/enforcements/policy"))
        .text(visit.ta(
            "enforce-policy-version",
            &[("version", &version.to_string())],
        ));
    if frame.could("enforcement:policy") {
        body = body.group(
            "actions",
            [ui::button_link(
                "/enforcements/policy/edit",
                visit.t("enforce-policy-edit"),
            )],
        );
    }
    if let Some(review) = reviewed(&desk, &visit).await? {
        body = body.add(review);
    }
    body = body
        .section(visit.t("enforce-policy-says"), says(&visit, &policy))
        .section(visit.t("enforce-never"), never(&visit, &policy));
    let mut table = Table::new(visit.t("enforce-policy-versions"))
        .column(Column::number(visit.t("enforce-version")))
        .column(Column::text(visit.t("enforce-made-by")))
        .column(Column::text(visit.t("enforce-made-at")))
        .empty(ui::empty(
            Icon::List,
            visit.t("enforce-policy-built-in"),
            "",
            None,
        ));
    for one in &versions.items {
        table.push(vec![
            Markup::link(
                format!("/enforcements/policy/{}", one.version),
                one.version.to_string(),
            ),
            Markup::text(actor(&visit, &one.made_by).await),
            ui::time(one.made_at),
        ]);
    }
    body = body.section(
        visit.t("enforce-policy-versions"),
        Body::new()
            .add(table)
            .add(ui::pager(&frame, "", versions.next.as_deref())),
    );
    show(frame, body)
}

pub(super) async fn version(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(version): Path<String>,
) -> WebResult {
    let missing = || WebError::not_found("policy", &version);
    let number: i64 = version.parse().map_err(|_| missing())?;
    let request = PageRequest {
        cursor: Some(
            store::Cursor::encode("enforcement policies", &number.saturating_add(1))
                .map_err(casework::room::tell_store)?,
        ),
        limit: Some(2),
    };
    let page = desk.enforcements().policies(&request).await.map_err(tell)?;
    let one = page
        .items
        .first()
        .filter(|one| one.version == number)
        .ok_or_else(missing)?;
    let frame = visit
        .frame_titled(visit.ta("enforce-policy-of", &[("version", &version)]))
        .crumb("/enforcements", visit.t("nav-enforcements"))
        .crumb("/enforcements/policy", visit.t("enforce-tab-policy"));
    let mut body = Body::new().text(visit.ta(
        "enforce-policy-made",
        &[
            ("who", &actor(&visit, &one.made_by).await),
            ("at", &one.made_at.taipei()),
        ],
    ));
    let built_in = Policy::default();
    let before = page.items.get(1).map_or(&built_in, |one| &one.policy);
    body = body
        .section(
            visit.t("enforce-policy-changed"),
            changed(&visit, before, &one.policy),
        )
        .section(visit.t("enforce-policy-says"), says(&visit, &one.policy))
        .section(visit.t("enforce-never"), never(&visit, &one.policy));
    show(frame, body)
}

fn kinds(visit: &Visit, kinds: &[TargetKind]) -> String {
    let names: Vec<String> = kinds
        .iter()
        .map(|kind| visit.t(&format!("target-{}", kind.name())))
        .collect();
    match names.is_empty() {
        true => visit.t("enforce-nothing"),
        false => names.join(", "),
    }
}

/// The document in words: label and value.
fn lines(visit: &Visit, policy: &Policy) -> Vec<(String, String)> {
    let roles = match policy.roles.is_empty() {
        true => visit.t("enforce-everywhere"),
        false => policy
            .roles
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    let yes = |on: bool| visit.t(if on { "intel-yes" } else { "intel-no" });
    let trust = policy
        .trust
        .iter()
        .map(|(org, percent)| format!("{org}: {percent} %"))
        .collect::<Vec<_>>()
        .join("; ");
    vec![
        (visit.t("policy-on"), yes(policy.on)),
        (visit.t("policy-kinds"), kinds(visit, &policy.kinds)),
        (
            visit.t("policy-approval-kinds"),
            kinds(visit, &policy.approval_kinds),
        ),
        (
            visit.t("policy-confidence-min"),
            policy.confidence_min.to_string(),
        ),
        (
            visit.t("policy-automatic-min"),
            policy.automatic_min.to_string(),
        ),
        (
            visit.t("policy-confidence-unstated"),
            policy.confidence_unstated.to_string(),
        ),
        (
            visit.t("policy-tlp-max"),
            format!("TLP:{}", policy.tlp_max.to_uppercase()),
        ),
        (
            visit.t("policy-trust-default"),
            format!("{} %", policy.trust_default),
        ),
        (visit.t("policy-trust"), trust),
        (
            visit.t("policy-action"),
            visit.t(&format!("action-{}", policy.action.name())),
        ),
        (visit.t("policy-roles"), roles),
        (visit.t("policy-days"), policy.days.to_string()),
        (
            visit.t("policy-prefix-v4"),
            format!("/{}", policy.prefix_v4_min),
        ),
        (
            visit.t("policy-prefix-v6"),
            format!("/{}", policy.prefix_v6_min),
        ),
        (visit.t("policy-manual"), yes(policy.manual_approval)),
        (
            visit.t("policy-unbelieved"),
            visit.t(&format!("policy-unbelieved-{}", policy.unbelieved.name())),
        ),
    ]
}

fn says(visit: &Visit, policy: &Policy) -> Body {
    let facts = lines(visit, policy)
        .into_iter()
        .map(|(label, value)| (label, Markup::text(value)))
        .collect();
    Body::new().add(ui::definition_list(facts))
}

fn never(visit: &Visit, policy: &Policy) -> Body {
    let list = |items: Vec<String>| {
        let items: String = items
            .iter()
            .map(|item| format!("<li><code>{}</code></li>", ui::escape(item)))
            .collect();
        Markup::new(format!("<ul>{items}</ul>"))
    };
    let mut body = Body::new().text(visit.t("enforce-never-text"));
    body = match policy.never.is_empty() {
        true => body.text(visit.t("enforce-never-none")),
        false => body.add(list(policy.never.iter().map(ToString::to_string).collect())),
    };
    body.fold(
        visit.t("enforce-never-built-in"),
        Body::new().add(list(NEVER.iter().map(|text| (*text).to_owned()).collect())),
    )
}

/// What differs between two versions.
fn changed(visit: &Visit, before: &Policy, after: &Policy) -> Body {
    let mut table = Table::new(visit.t("enforce-policy-changed"))
        .column(Column::text(visit.t("intel-diff-path")))
        .column(Column::text(visit.t("intel-diff-old")))
        .column(Column::text(visit.t("intel-diff-new")))
        .empty(Markup::text(visit.t("intel-diff-none")));
    for ((label, old), (_, new)) in lines(visit, before).into_iter().zip(lines(visit, after)) {
        if old != new {
            table.push(vec![
                Markup::text(label),
                Markup::text(old),
                Markup::text(new),
            ]);
        }
    }
    let names = |of: &Policy, other: &Policy| {
        of.never
            .iter()
            .filter(|target| !other.never.contains(target))
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (gone, come) = (names(before, after), names(after, before));
    if !gone.is_empty() || !come.is_empty() {
        table.push(vec![
            Markup::text(visit.t("enforce-never")),
            Markup::text(gone),
            Markup::text(come),
        ]);
    }
    Body::new().add(table)
}

pub(super) async fn ask(Shared(desk): Shared<Desk>, visit: Visit) -> WebResult {
    let (version, policy) = desk.enforcements().policy().await.map_err(tell)?;
    show(frame(&visit), form(&visit, version, &pairs(&policy), &[]))
}

fn frame(visit: &Visit) -> web::Frame {
    visit
        .frame("enforce-policy-edit")
        .crumb("/enforcements", visit.t("nav-enforcements"))
        .crumb("/enforcements/policy", visit.t("enforce-tab-policy"))
}

pub(super) async fn save(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    PageForm(pairs): PageForm<FormPairs>,
) -> WebResult {
    let by = visit.principal.signed_in()?;
    let (version, present) = desk.enforcements().policy().await.map_err(tell)?;
    let again = |errors: Vec<FieldError>| {
        show_with(
            StatusCode::UNPROCESSABLE_ENTITY,
            frame(&visit),
            form(&visit, version, &pairs, &errors),
        )
    };
    let policy = match read(&visit, &pairs) {
        Ok(policy) => policy,
        Err(errors) => return again(errors),
    };
    // Somebody else may have put a version in force since the form was opened.
    if one(&pairs, "version") != version.to_string() {
        return again(vec![FieldError::new(
            "version",
            "stale",
            visit.t("policy-stale"),
        )]);
    }
    if one(&pairs, "step") != "save" {
        let body = preview(&desk, &visit, version, &present, &policy, &pairs).await?;
        return show(frame(&visit), body);
    }
    match desk
        .enforcements()
        .set_policy(Actor::User(by), Some(&visit.request_id), policy)
        .await
    {
        Ok(_) => Ok(visit.done("/enforcements/policy", "policy-saved")),
        Err(EnforceError::Policy(problems)) => again(
            problems
                .into_iter()
                .map(|(field, rule)| FieldError::new(field, "policy", rule))
                .collect(),
        ),
        Err(error) => Err(tell(error)),
    }
}

/// What the new version would change, in the document and for what is in force.
async fn preview(
    desk: &Desk,
    visit: &Visit,
    version: i64,
    present: &Policy,
    policy: &Policy,
    pairs: &FormPairs,
) -> WebResult<Body> {
    let effect = desk
        .enforcements()
        .effect(&desk.intel.objects, Some(policy), &[])
        .await
        .map_err(tell_follow)?;
    let table = by_hand(desk, visit, policy).await?;
    let mut inner = Body::new().add(hidden("step", "save"));
    for (name, value) in pairs
        .iter()
        .filter(|(name, _)| name != "step" && name != "csrf")
    {
        inner = match value.contains('\n') {
            // A hidden field would lose the ends of lines.
            true => inner.add(Markup::new(format!(
                "<textarea name=\"{}\" hidden>{}</textarea>",
                ui::escape(name),
                ui::escape(value)
            ))),
            false => inner.add(hidden(name, value)),
        };
    }
    inner = inner.group(
        "actions",
        [
            ui::button(visit.t("policy-save")),
            ui::button_link("/enforcements/policy", visit.t("act-cancel")),
        ],
    );
    Ok(Body::new()
        .add(ui::notice(
            Level::Info,
            visit.ta("policy-preview", &[("version", &(version + 1).to_string())]),
            visit.t("policy-preview-text"),
        ))
        .section(
            visit.t("enforce-policy-changed"),
            changed(visit, present, policy),
        )
        .section(visit.t("policy-effect"), effect_body(visit, &effect))
        .section(visit.t("policy-would"), Body::new().add(table))
        .form(&visit.frame_titled(""), "/enforcements/policy/edit", inner))
}

/// What people put in force that the new version would not allow: it stays.
async fn by_hand(desk: &Desk, visit: &Visit, policy: &Policy) -> WebResult<Table> {
    let wanted = Wanted {
        state: Some(State::Active),
        from_indicator: Some(false),
        ..Wanted::default()
    };
    let page = desk
        .enforcements()
        .search(&wanted, &PageRequest::first(PREVIEW_ROWS))
        .await
        .map_err(tell)?;
    let mut table = Table::new(visit.t("policy-would"))
        .column(Column::text(visit.t("enforce-target")))
        .column(Column::text(visit.t("policy-would-be")))
        .empty(ui::empty(
            Icon::Check,
            visit.t("policy-would-none"),
            "",
            None,
        ));
    for (decided, _) in &page.items {
        if let Err(why) = policy.permits(&decided.rule.target) {
            table.push(vec![
                Markup::link(super::path_of(decided), decided.rule.target.to_string()),
                Markup::text(why),
            ]);
        }
    }
    Ok(table)
}

/// What a policy or a trust would change of what was decided automatically.
pub(crate) fn effect_body(visit: &Visit, effect: &Effect) -> Body {
    let tile = |key: &str, count: u64| ui::tile(visit.t(key), ui::number(count), "").markup();
    let mut body = Body::new()
        .group(
            "tiles",
            [
                tile("policy-effect-lift", effect.lift),
                tile("policy-effect-refuse", effect.refuse),
                tile("policy-effect-enforce", effect.enforce),
                tile("policy-effect-propose", effect.propose),
                tile("policy-effect-looked", effect.looked_at),
            ],
        )
        .text(visit.t("policy-effect-stays"));
    if effect.more {
        let count = effect.looked_at.to_string();
        body = body.text(visit.ta("policy-effect-more", &[("count", &count)]));
    }
    let mut table = Table::new(visit.t("policy-effect"))
        .column(Column::text(visit.t("enforce-target")))
        .column(Column::text(visit.t("policy-effect-today")))
        .column(Column::text(visit.t("policy-would-be")))
        .empty(ui::empty(
            Icon::Check,
            visit.t("policy-effect-none"),
            "",
            None,
        ));
    for (decided, verdict) in &effect.examples {
        let then = match verdict {
            Verdict::End(why) => why.clone(),
            Verdict::Propose => visit.t("enforce-proposed"),
            Verdict::Enforce => visit.t("enforce-active"),
        };
        table.push(vec![
            Markup::link(super::path_of(decided), decided.rule.target.to_string()),
            super::state_badge(visit, decided),
            Markup::text(then),
        ]);
    }
    body.add(table)
}

/// How far decisions have been made again by another policy or trust.
async fn reviewed(desk: &Desk, visit: &Visit) -> WebResult<Option<Markup>> {
    let Some(review) = desk.enforcements().last_review().await.map_err(tell)? else {
        return Ok(None);
    };
    let count = |value: i64| ui::number(u64::try_from(value).unwrap_or_default());
    let text = visit.ta(
        "policy-review-text",
        &[
            ("looked", &count(review.looked_at)),
            ("lifted", &count(review.lifted)),
            ("refused", &count(review.refused)),
            ("enforced", &count(review.enforced)),
            ("proposed", &count(review.proposed)),
            ("at", &review.ended_at.unwrap_or(review.begun_at).taipei()),
        ],
    );
    let key = match review.ended_at {
        Some(_) => "policy-review-done",
        None => "policy-review-runs",
    };
    let title = visit.ta(key, &[("version", &review.policy.to_string())]);
    Ok(Some(ui::notice(Level::Info, title, text.as_str())))
}

pub(crate) fn tell_follow(error: FollowError) -> WebError {
    match error {
        FollowError::Objects(error) => crate::objects::pages::tell(error),
        FollowError::Enforce(error) => tell(error),
    }
}
