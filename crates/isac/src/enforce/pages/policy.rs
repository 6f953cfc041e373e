//! The policy: what it says, its former versions, a form with a preview before a new
//! version is put in force, and the warning list of what is never blocked.

use std::collections::BTreeMap;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use base::Role;
use base::enforcement::{Action, Target, TargetKind};
use casework::api::page_request;
use casework::body::{Body, hidden, other_errors, show, show_with};
use store::{Actor, PageRequest};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, FormPairs, Level, PageForm, Paging, Visit, WebError, WebResult};

use super::{Desk, actor, tabs, tell};
use crate::enforce::engine::{EnforceError, State};
use crate::enforce::manage::Wanted;
use crate::enforce::policy::{Fate, Indicator, NEVER, Policy};
use crate::stix::Tlp;

/// Decisions in force that a preview looks at.
const PREVIEW_ROWS: u32 = 200;
const ROLES: [Role; 2] = [Role::Edge, Role::Dispatch];

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

const FIELDS: [&str; 15] = [
    "on",
    "kinds",
    "approval_kinds",
    "confidence_min",
    "automatic_min",
    "confidence_unstated",
    "tlp_max",
    "trust_default",
    "trust",
    "action",
    "roles",
    "days",
    "prefix_v4_min",
    "prefix_v6_min",
    "never",
];

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

/// The document as the form's fields.
fn pairs(policy: &Policy) -> FormPairs {
    let mut out: FormPairs = Vec::new();
    let mut put = |name: &str, value: String| out.push((name.to_owned(), value));
    if policy.on {
        put("on", "1".to_owned());
    }
    if policy.manual_approval {
        put("manual_approval", "1".to_owned());
    }
    for kind in &policy.kinds {
        put("kinds", kind.name().to_owned());
    }
    for kind in &policy.approval_kinds {
        put("approval_kinds", kind.name().to_owned());
    }
    for role in &policy.roles {
        put("roles", role.to_string());
    }
    put("confidence_min", policy.confidence_min.to_string());
    put("automatic_min", policy.automatic_min.to_string());
    put(
        "confidence_unstated",
        policy.confidence_unstated.to_string(),
    );
    put("tlp_max", policy.tlp_max.clone());
    put("trust_default", policy.trust_default.to_string());
    let trust = policy
        .trust
        .iter()
        .map(|(org, percent)| format!("{org} {percent}"));
    put("trust", trust.collect::<Vec<_>>().join("\n"));
    put("action", policy.action.name().to_owned());
    put("days", policy.days.to_string());
    put("prefix_v4_min", policy.prefix_v4_min.to_string());
    put("prefix_v6_min", policy.prefix_v6_min.to_string());
    let never = policy.never.iter().map(ToString::to_string);
    put("never", never.collect::<Vec<_>>().join("\n"));
    out
}

fn one<'a>(pairs: &'a FormPairs, name: &str) -> &'a str {
    pairs
        .iter()
        .find(|(key, _)| key == name)
        .map_or("", |(_, value)| value.as_str())
}

fn all<'a>(pairs: &'a FormPairs, name: &str) -> Vec<&'a str> {
    pairs
        .iter()
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
        .collect()
}

fn form(visit: &Visit, version: i64, pairs: &FormPairs, errors: &[FieldError]) -> Body {
    let number = |name: &'static str, key: &str| {
        Field::input("number", name, visit.t(key))
            .value(one(pairs, name))
            .attribute("min", "0")
            .errors(errors)
            .required()
    };
    let kinds = |name: &'static str, key: &str| {
        let chosen = all(pairs, name);
        let options = TargetKind::ALL
            .into_iter()
            .map(|kind| {
                (
                    kind.name().to_owned(),
                    visit.t(&format!("target-{}", kind.name())),
                )
            })
            .collect();
        let on = chosen.into_iter().map(str::to_owned).collect();
        Field::checks(name, visit.t(key), options, on).errors(errors)
    };
    let roles = ROLES
        .into_iter()
        .map(|role| (role.to_string(), role.to_string()))
        .collect();
    let on = all(pairs, "roles").into_iter().map(str::to_owned).collect();
    let actions = [Action::Refuse, Action::Drop, Action::Observe]
        .into_iter()
        .map(|action| {
            (
                action.name().to_owned(),
                visit.t(&format!("action-{}", action.name())),
            )
        })
        .collect();
    let markings = Tlp::ALL
        .into_iter()
        .map(|tlp| {
            (
                tlp.name().to_owned(),
                format!("TLP:{}", tlp.name().to_uppercase()),
            )
        })
        .collect();
    let inner = Body::new()
        .add(hidden("version", version))
        .add(Field::check(
            "on",
            visit.t("policy-on"),
            !one(pairs, "on").is_empty(),
        ))
        .add(kinds("kinds", "policy-kinds"))
        .add(kinds("approval_kinds", "policy-approval-kinds"))
        .add(number("confidence_min", "policy-confidence-min"))
        .add(number("automatic_min", "policy-automatic-min").help(visit.t("policy-automatic-help")))
        .add(number("confidence_unstated", "policy-confidence-unstated"))
        .add(
            Field::select("tlp_max", visit.t("policy-tlp-max"), markings)
                .value(one(pairs, "tlp_max"))
                .errors(errors),
        )
        .add(number("trust_default", "policy-trust-default"))
        .add(
            Field::area("trust", visit.t("policy-trust"), 3)
                .value(one(pairs, "trust"))
                .help(visit.t("policy-trust-help"))
                .optional(visit.t("case-optional"))
                .errors(errors),
        )
        .add(
            Field::select("action", visit.t("policy-action"), actions)
                .value(one(pairs, "action"))
                .errors(errors),
        )
        .add(
            Field::checks("roles", visit.t("policy-roles"), roles, on)
                .help(visit.t("policy-roles-help"))
                .errors(errors),
        )
        .add(number("days", "policy-days"))
        .add(number("prefix_v4_min", "policy-prefix-v4"))
        .add(number("prefix_v6_min", "policy-prefix-v6"))
        .add(Field::check(
            "manual_approval",
            visit.t("policy-manual"),
            !one(pairs, "manual_approval").is_empty(),
        ))
        .add(
            Field::area("never", visit.t("enforce-never"), 8)
                .value(one(pairs, "never"))
                .help(visit.t("policy-never-help"))
                .optional(visit.t("case-optional"))
                .errors(errors),
        )
        .group(
            "actions",
            [
                Markup::new(format!(
                    "<button class=\"button\" name=\"step\" value=\"preview\">{}</button>",
                    ui::escape(&visit.t("intel-preview"))
                )),
                ui::button_link("/enforcements/policy", visit.t("act-cancel")),
            ],
        );
    Body::new()
        .text(visit.t("enforce-policy-intro"))
        .add_some(other_errors(visit, errors, &FIELDS))
        .form(&visit.frame_titled(""), "/enforcements/policy/edit", inner)
}

/// The document that the form's fields make.
fn read(visit: &Visit, pairs: &FormPairs) -> Result<Policy, Vec<FieldError>> {
    let mut errors = Vec::new();
    fn number<T: std::str::FromStr>(
        visit: &Visit,
        pairs: &FormPairs,
        name: &str,
        errors: &mut Vec<FieldError>,
    ) -> Option<T> {
        let text = one(pairs, name).trim();
        match text.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                errors.push(
                    FieldError::new(name, "number", visit.t("policy-number-wrong")).value(text),
                );
                None
            }
        }
    }
    let mut policy = Policy {
        on: !one(pairs, "on").is_empty(),
        manual_approval: !one(pairs, "manual_approval").is_empty(),
        tlp_max: one(pairs, "tlp_max").to_owned(),
        kinds: all(pairs, "kinds")
            .into_iter()
            .filter_map(|kind| kind.parse().ok())
            .collect(),
        approval_kinds: all(pairs, "approval_kinds")
            .into_iter()
            .filter_map(|kind| kind.parse().ok())
            .collect(),
        roles: all(pairs, "roles")
            .into_iter()
            .filter_map(|role| role.parse().ok())
            .collect(),
        trust: BTreeMap::new(),
        never: Vec::new(),
        ..Policy::default()
    };
    let mut set = |name: &'static str, into: &mut u8| {
        if let Some(value) = number(visit, pairs, name, &mut errors) {
            *into = value;
        }
    };
    set("confidence_min", &mut policy.confidence_min);
    set("automatic_min", &mut policy.automatic_min);
    set("confidence_unstated", &mut policy.confidence_unstated);
    set("trust_default", &mut policy.trust_default);
    set("prefix_v4_min", &mut policy.prefix_v4_min);
    set("prefix_v6_min", &mut policy.prefix_v6_min);
    if let Some(days) = number(visit, pairs, "days", &mut errors) {
        policy.days = days;
    }
    match [Action::Refuse, Action::Drop, Action::Observe]
        .into_iter()
        .find(|action| action.name() == one(pairs, "action"))
    {
        Some(action) => policy.action = action,
        None => errors.push(FieldError::new(
            "action",
            "enum",
            visit.t("intel-filter-wrong"),
        )),
    }
    for line in lines_of(pairs, "trust") {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let read = match parts.as_slice() {
            [org, percent] => org
                .parse::<base::OrgId>()
                .ok()
                .zip(percent.trim_end_matches('%').parse::<u8>().ok()),
            _ => None,
        };
        match read {
            Some((org, percent)) => drop(policy.trust.insert(org.to_string(), percent)),
            None => errors
                .push(FieldError::new("trust", "format", visit.t("policy-trust-help")).value(line)),
        }
    }
    for line in lines_of(pairs, "never") {
        match line.parse::<Target>() {
            Ok(target) => policy.never.push(target),
            Err(error) => {
                errors.push(FieldError::new("never", "target", error.to_string()).value(line))
            }
        }
    }
    let problems = policy.problems().into_iter();
    errors.extend(problems.map(|(field, rule)| FieldError::new(field, "policy", rule)));
    if errors.is_empty() {
        Ok(policy)
    } else {
        Err(errors)
    }
}

fn lines_of<'a>(pairs: &'a FormPairs, name: &str) -> impl Iterator<Item = &'a str> {
    one(pairs, name)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
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
    let wanted = Wanted {
        state: Some(State::Active),
        in_force: true,
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
        let fate = match decided.source.starts_with("stix:") {
            true => {
                let indicator = Indicator {
                    confidence: Some(decided.confidence),
                    tlp: decided.tlp.unwrap_or_default(),
                    // Trust was taken into account when its confidence was kept.
                    source: None,
                };
                policy.decide(&decided.rule.target, &indicator)
            }
            false => policy
                .permits(&decided.rule.target)
                .map_or_else(Fate::Leave, |()| Fate::Enforce),
        };
        let said = match fate {
            Fate::Enforce => continue,
            Fate::Propose => visit.t("policy-would-propose"),
            Fate::Leave(why) => why,
        };
        table.push(vec![
            Markup::link(super::path_of(decided), decided.rule.target.to_string()),
            Markup::text(said),
        ]);
    }
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
        .section(visit.t("policy-would"), Body::new().add(table))
        .form(&visit.frame_titled(""), "/enforcements/policy/edit", inner))
}
