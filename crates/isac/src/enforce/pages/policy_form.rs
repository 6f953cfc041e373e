//! The form of the policy: the document as fields, fields as the document.

use std::collections::BTreeMap;

use base::Role;
use base::enforcement::{Action, TargetKind};
use casework::body::{Body, hidden, other_errors};
use web::ui::{self, Field, Markup};
use web::{FieldError, FormPairs, Visit};

use crate::enforce::policy::{Policy, Unbelieved};
use crate::stix::Tlp;

const ROLES: [Role; 2] = [Role::Edge, Role::Dispatch];
const FIELDS: [&str; 16] = [
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
    "unbelieved",
    "never",
];

/// The document as the form's fields.
pub(super) fn pairs(policy: &Policy) -> FormPairs {
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
    put("unbelieved", policy.unbelieved.name().to_owned());
    let never = policy.never.iter().map(ToString::to_string);
    put("never", never.collect::<Vec<_>>().join("\n"));
    out
}

pub(super) fn one<'a>(pairs: &'a FormPairs, name: &str) -> &'a str {
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

pub(super) fn form(visit: &Visit, version: i64, pairs: &FormPairs, errors: &[FieldError]) -> Body {
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
    let unbelieved = Unbelieved::ALL
        .into_iter()
        .map(|one| {
            (
                one.name().to_owned(),
                visit.t(&format!("policy-unbelieved-{}", one.name())),
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
        .add(
            number("trust_default", "policy-trust-default")
                .help(visit.t("policy-trust-default-help")),
        )
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
            Field::select("unbelieved", visit.t("policy-unbelieved"), unbelieved)
                .value(one(pairs, "unbelieved"))
                .help(visit.t("policy-unbelieved-help"))
                .errors(errors),
        )
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
pub(super) fn read(visit: &Visit, pairs: &FormPairs) -> Result<Policy, Vec<FieldError>> {
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
    match Unbelieved::ALL
        .into_iter()
        .find(|known| known.name() == one(pairs, "unbelieved"))
    {
        Some(unbelieved) => policy.unbelieved = unbelieved,
        None => errors.push(FieldError::new(
            "unbelieved",
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
        match super::typed(visit, "never", line) {
            Ok(target) => policy.never.push(target),
            Err(error) => errors.push(error),
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
