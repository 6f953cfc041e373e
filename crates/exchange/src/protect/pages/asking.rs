//! Asking for a rule: the form, a look at the effect, and only then the rule.

use axum::extract::State as Shared;
use casework::body::{Body, hidden, other_errors, show, show_with};
use serde::Deserialize;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, Frame, Level, PageForm, Visit, WebResult};

use super::LIST;
use crate::portal::room::{Desk, by, told};
use crate::protect::asked::Asked;
use crate::protect::dry::DryRun;
use crate::protect::engine::{Owner, State};
use crate::protect::policy;

/// The status of a form that is shown again with its errors.
const AGAIN: axum::http::StatusCode = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
const FIELDS: [&str; 14] = [
    "asn",
    "kind",
    "destination",
    "source",
    "protocols",
    "destination_ports",
    "source_ports",
    "lengths",
    "fragments",
    "action",
    "rate_mbit",
    "sites",
    "hours",
    "reason",
];

pub(super) async fn new(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiQuery(start): ApiQuery<Start>,
) -> WebResult {
    let asked = Asked {
        asn: start.asn.unwrap_or_default(),
        kind: "blackhole".into(),
        destination: start.destination.unwrap_or_default(),
        action: "discard".into(),
        hours: "24".into(),
        ..Asked::default()
    };
    let frame = form_frame(&visit);
    let body = form(&desk, &visit, &asked, &[]).await?;
    show(frame, body)
}

/// What a link into the form fills in.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Start {
    #[serde(default)]
    asn: Option<String>,
    #[serde(default)]
    destination: Option<String>,
}

fn form_frame(visit: &Visit) -> Frame {
    visit
        .frame("protection-new")
        .crumb(LIST, visit.t("nav-protection"))
}

pub(super) async fn owners(desk: &Desk, visit: &Visit) -> WebResult<Vec<Owner>> {
    desk.portal
        .protect
        .owners(&visit.principal.chosen_scope("protection:ask"))
        .await
        .map_err(|e| told(e, visit))
}

async fn form(desk: &Desk, visit: &Visit, asked: &Asked, errors: &[FieldError]) -> WebResult<Body> {
    let owners = owners(desk, visit).await?;
    if owners.is_empty() {
        return Ok(Body::new().add(ui::empty(
            Icon::Shield,
            visit.t("protection-no-member-title"),
            visit.t("protection-no-member-text"),
            Some(("/apply/ix-join", &visit.t("peering-join"))),
        )));
    }
    let mut own = Body::new();
    for owner in owners.iter().take(20) {
        let space = desk
            .portal
            .protect
            .space_of(owner.asn)
            .await
            .map_err(|e| told(e, visit))?;
        let names: Vec<String> = space
            .iter()
            .take(30)
            .map(|own| own.prefix.to_string())
            .collect();
        let text = match names.is_empty() {
            true => visit.t("protection-space-none"),
            false => names.join(", "),
        };
        own = own.text(format!("AS{}: {text}", owner.asn));
    }
    let members = owners
        .iter()
        .map(|owner| {
            (
                owner.asn.to_string(),
                format!("AS{} {}", owner.asn, owner.name),
            )
        })
        .collect();
    let sites = desk.sites(visit).await?;
    let t = |key: &str| visit.t(key);
    let choice = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(value, key)| ((*value).to_owned(), visit.t(key)))
            .collect()
    };
    let optional = visit.t("case-optional");
    let text = |name: &'static str, value: &str| {
        Field::text(name, t(&format!("protection-{}", name.replace('_', "-"))))
            .value(value)
            .errors(errors)
    };
    let flow = Body::new()
        .add(
            text("source", &asked.source)
                .help(t("protection-source-help"))
                .optional(&optional),
        )
        .add(
            Field::checks(
                "protocols",
                t("protection-protocols"),
                vec![
                    ("tcp".into(), "TCP".into()),
                    ("udp".into(), "UDP".into()),
                    ("icmp".into(), "ICMP".into()),
                ],
                asked.protocols.clone(),
            )
            .errors(errors),
        )
        .add(
            text("destination_ports", &asked.destination_ports)
                .help(t("protection-ports-help"))
                .optional(&optional),
        )
        .add(text("source_ports", &asked.source_ports).optional(&optional))
        .add(
            text("lengths", &asked.lengths)
                .help(t("protection-lengths-help"))
                .optional(&optional),
        )
        .add(Field::check(
            "syn",
            t("protection-syn"),
            asked.syn.is_some(),
        ))
        .add(
            Field::select(
                "fragments",
                t("protection-fragments"),
                choice(&[
                    ("", "protection-fragments-all"),
                    ("any", "protection-fragments-any"),
                    ("first", "protection-fragments-first"),
                    ("last", "protection-fragments-last"),
                    ("none", "protection-fragments-none"),
                ]),
            )
            .value(&asked.fragments)
            .errors(errors),
        )
        .add(
            Field::radio(
                "action",
                t("protection-action"),
                choice(&[
                    ("discard", "protection-action-discard"),
                    ("limit", "protection-action-limit"),
                ]),
            )
            .value(&asked.action)
            .errors(errors),
        )
        .add(
            text("rate_mbit", &asked.rate_mbit)
                .attribute("inputmode", "decimal")
                .optional(&optional),
        );
    let inner = Body::new()
        .add(
            Field::select("asn", t("protection-member"), members)
                .value(&asked.asn)
                .errors(errors)
                .required(),
        )
        .add(
            Field::radio(
                "kind",
                t("protection-kind"),
                choice(&[
                    ("blackhole", "protection-kind-blackhole"),
                    ("flow", "protection-kind-flow"),
                ]),
            )
            .value(&asked.kind)
            .errors(errors)
            .required(),
        )
        .add(
            text("destination", &asked.destination)
                .help(t("protection-destination-help"))
                .required(),
        )
        .add(
            Field::checks("sites", t("protection-sites"), sites, asked.sites.clone())
                .help(t("protection-sites-help"))
                .errors(errors),
        )
        .add(
            Field::input("number", "hours", t("protection-hours"))
                .value(&asked.hours)
                .attribute("min", "1")
                .attribute("max", policy::HOURS_MAX.to_string())
                .help(t("protection-hours-help"))
                .errors(errors)
                .required(),
        )
        .add(
            Field::area("reason", t("protection-reason"), 3)
                .value(&asked.reason)
                .help(t("protection-reason-help"))
                .errors(errors)
                .required(),
        )
        .section(t("protection-flow-part"), flow)
        .group(
            "actions",
            [
                ui::button(t("protection-preview")),
                ui::button_link(LIST, t("act-cancel")),
            ],
        );
    Ok(Body::new()
        .text(t("protection-new-text"))
        .add_some(other_errors(visit, errors, &FIELDS))
        .fold(t("protection-space"), own)
        .form(
            &visit.frame_titled(""),
            "/peering/protection/preview",
            inner,
        ))
}

async fn again(
    desk: &Desk,
    visit: &Visit,
    asked: &Asked,
    error: crate::room::RoomError,
) -> WebResult {
    let told = told(error, visit);
    if told.fields.is_empty() {
        return Err(told);
    }
    let body = form(desk, visit, asked, &told.fields).await?;
    show_with(AGAIN, form_frame(visit), body)
}

pub(super) async fn preview(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    PageForm(asked): PageForm<Asked>,
) -> WebResult {
    let scope = visit.principal.scope("protection:ask");
    let run = match asked.read("console") {
        Ok(new) => desk.portal.protect.dry_run(&scope, &new).await,
        Err(error) => Err(error),
    };
    let run = match run {
        Ok(run) => run,
        Err(error) => return again(&desk, &visit, &asked, error).await,
    };
    let frame = visit
        .frame("protection-preview-title")
        .crumb(LIST, visit.t("nav-protection"));
    let mut inner = Body::new();
    let single = [
        ("asn", &asked.asn),
        ("kind", &asked.kind),
        ("destination", &asked.destination),
        ("source", &asked.source),
        ("destination_ports", &asked.destination_ports),
        ("source_ports", &asked.source_ports),
        ("lengths", &asked.lengths),
        ("fragments", &asked.fragments),
        ("action", &asked.action),
        ("rate_mbit", &asked.rate_mbit),
        ("hours", &asked.hours),
        ("reason", &asked.reason),
    ];
    for (name, value) in single {
        inner = inner.add(hidden(name, value));
    }
    if asked.syn.is_some() {
        inner = inner.add(hidden("syn", "on"));
    }
    for (name, list) in [("protocols", &asked.protocols), ("sites", &asked.sites)] {
        for value in list {
            inner = inner.add(hidden(name, value));
        }
    }
    let button = match run.waits {
        true => "protection-propose",
        false => "protection-announce",
    };
    let inner = inner.group(
        "actions",
        [
            ui::button(visit.t(button)),
            ui::button_link("/peering/protection/new", visit.t("protection-back")),
        ],
    );
    let mut body = Body::new();
    if run.waits {
        body = body.add(ui::notice(
            Level::Warn,
            visit.t("protection-waits"),
            visit.t("protection-waits-text"),
        ));
    }
    let body = effect(&visit, body, &run).form(&frame, LIST, inner);
    show(frame, body)
}

/// What a rule does, in words, in BIRD's form, site by site, and what it would have met.
pub(super) fn effect(visit: &Visit, body: Body, run: &DryRun) -> Body {
    let mut table = Table::new(visit.t("protection-effect"))
        .column(Column::text(visit.t("protection-site")))
        .column(Column::text(visit.t("protection-announced")))
        .column(Column::text(visit.t("protection-to")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("protection-no-sites-title"),
            visit.t("protection-no-sites-text"),
            None,
        ));
    for at in &run.sites {
        let asns: Vec<String> = at.to.iter().map(|asn| format!("AS{asn}")).collect();
        let state = match at.announces {
            true => ui::badge(Level::Good, visit.t("protection-announced-yes")),
            false => ui::badge(Level::Neutral, visit.t(at.why)),
        };
        table.push(vec![
            Markup::text(&at.site),
            state,
            Markup::text(if asns.is_empty() {
                "–".to_owned()
            } else {
                asns.join(", ")
            }),
        ]);
    }
    let mut body = body
        .section(
            visit.t("protection-in-words"),
            Body::new()
                .text(run.sentence.of(visit.lang.tag()))
                .add(ui::copyable(visit.t("protection-bird"), &run.bird)),
        )
        .section(visit.t("protection-effect"), Body::new().add(table));
    body = body.section(
        visit.t("protection-met"),
        match &run.matched {
            None => Body::new().text(visit.t("protection-met-unknown")),
            Some(matched) => {
                let mut rows = Table::new(visit.t("protection-met"))
                    .column(Column::text(visit.t("protection-source")))
                    .column(Column::number(visit.t("protection-bytes")))
                    .empty(Markup::text(visit.t("protection-met-nothing")));
                for (source, bytes) in &matched.sources {
                    rows.push(vec![Markup::code(source), Markup::text(ui::bytes(*bytes))]);
                }
                Body::new()
                    .text(visit.ta(
                        "protection-met-text",
                        &[
                            ("bytes", &ui::bytes(matched.bytes_max)),
                            ("samples", &ui::number(matched.samples)),
                            ("minutes", &(matched.seconds / 60).to_string()),
                        ],
                    ))
                    .add(rows)
            }
        },
    );
    body
}

pub(super) async fn ask(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    PageForm(asked): PageForm<Asked>,
) -> WebResult {
    let scope = visit.principal.scope("protection:ask");
    let made = match asked.read("console") {
        Ok(new) => desk.portal.protect.ask(&by(&visit)?, &scope, &new).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(kept) => {
            let key = match kept.state {
                State::Proposed => "protection-is-proposed",
                _ => "protection-is-announced",
            };
            Ok(visit.done(&format!("{LIST}/{}", kept.rule.id), key))
        }
        Err(error) => again(&desk, &visit, &asked, error).await,
    }
}
