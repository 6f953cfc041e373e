//! The pages of incidents. Drafts, files and comments are on the case's own page.

mod acts;
mod figures;

use axum::extract::{Path, State};
use casework::api::page_request;
use casework::body::{Body, hidden, other_errors, show};
use casework::form::{Form, Values};
use store::PageRequest;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, Frame, Pages, Paging, Visit, WebResult};

use super::incidents::{Filter, Incident, LevelChange, Running};
use super::level::Level;
use super::{DRILL, FORM};
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::{level_badge, press, scope, sector_name};

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/incidents", "incident:view", list)
        .get("/incidents/figures", "incident:view", figures::figures)
        .get("/incidents/{case}", "incident:view", view)
        .post("/incidents/{case}/levels", "incident:edit", acts::propose)
        .post(
            "/incidents/{case}/levels/{change}",
            "incident:review",
            acts::decide,
        )
        .post("/incidents/{case}/log", "incident:edit", acts::log)
        .post(
            "/incidents/{case}/forward",
            "incident:review",
            acts::forward,
        )
        .with_state(desk)
}

/// Which list is shown.
#[derive(Debug, Default, serde::Deserialize)]
struct Show {
    #[serde(default)]
    show: Option<String>,
}

const SHOWN: [&str; 4] = ["open", "late", "all", "drill"];

async fn list(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<Show>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let shown = query
        .show
        .as_deref()
        .and_then(|name| SHOWN.into_iter().find(|shown| *shown == name))
        .unwrap_or("open");
    let filter = Filter {
        open: shown == "open",
        late: shown == "late",
        drill: shown == "drill",
        level: None,
    };
    let told = |e| tell(e, visit.lang);
    let scope = scope(&visit, "incident:view");
    let page = desk
        .cert
        .incidents(&scope, &filter, &page_request(&paging)?)
        .await
        .map_err(told)?;
    let (open, late) = desk.cert.open_incidents(&scope).await.map_err(told)?;
    let frame = visit.frame("nav-incidents");
    let mut tabs: Vec<(String, String, bool)> = SHOWN
        .into_iter()
        .map(|name| {
            (
                format!("/incidents?show={name}"),
                visit.t(&format!("incidents-{name}")),
                name == shown,
            )
        })
        .collect();
    tabs.push((
        "/incidents/figures".into(),
        visit.t("incidents-figures"),
        false,
    ));
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("incident-subject")))
        .column(Column::text(visit.t("incident-level-name")))
        .column(Column::text(visit.t("case-state")))
        .column(Column::text(visit.t("incident-org")))
        .column(Column::text(visit.t("incident-next")))
        .column(Column::text(visit.t("incident-reported")))
        .empty(ui::empty(
            Icon::Warn,
            visit.t("incidents-empty-title"),
            visit.t("incidents-empty-text"),
            None,
        ));
    for incident in &page.items {
        table.push(row(&desk, &visit, incident).await);
    }
    let mut actions = Vec::new();
    if visit.principal.could("incident:report") {
        actions.push(Markup::new(format!(
            "<a class=\"button button-primary\" href=\"/apply/{FORM}\">{}</a>",
            ui::escape(&visit.t("incident-report"))
        )));
        actions.push(ui::button_link(
            format!("/apply/{DRILL}"),
            visit.t("incident-drill"),
        ));
    }
    let body = Body::new()
        .text(visit.ta(
            "incidents-answer",
            &[("open", &open.to_string()), ("late", &late.to_string())],
        ))
        .group("actions", actions)
        .add(ui::tabs(&tabs))
        .add(table)
        .add(ui::pager(
            &frame,
            &format!("show={shown}"),
            page.next.as_deref(),
        ));
    show(frame, body)
}

async fn row(desk: &Desk, visit: &Visit, incident: &Incident) -> Vec<Markup> {
    let link = Markup::link(
        format!("/incidents/{}", incident.case),
        format!("#{} {}", incident.number, incident.subject),
    );
    let next = match incident.next_due {
        Some(due) if due < visit.now => {
            ui::badge(web::Level::Bad, visit.t("clock-late")).and(&ui::ago(visit, due))
        }
        Some(due) => ui::ago(visit, due),
        None => Markup::text("–"),
    };
    vec![
        drill_badge(visit, incident).map_or(link.clone(), |badge| badge.and(&link)),
        level_badge(visit, incident.level),
        state_badge(visit, &incident.state),
        Markup::text(desk.org(visit, incident.org).await),
        next,
        ui::ago(visit, incident.reported_at),
    ]
}

fn drill_badge(visit: &Visit, incident: &Incident) -> Option<Markup> {
    incident
        .drill
        .then(|| ui::badge(web::Level::Info, visit.t("incident-is-drill")))
}

fn state_badge(visit: &Visit, state: &str) -> Markup {
    let level = match state {
        "closed" => web::Level::Good,
        "submitted" | "accepted" => web::Level::Info,
        "returned" => web::Level::Warn,
        _ => web::Level::Neutral,
    };
    let text = match state {
        "submitted" | "returned" | "closed" | "accepted" | "dismissed" | "recovered"
        | "improved" => visit.t(&format!("case-state-{state}")),
        other => other.to_owned(),
    };
    ui::badge(level, text)
}

/// What a form that is shown again held.
#[derive(Default)]
struct Again {
    errors: Vec<FieldError>,
    level: String,
    reason: String,
    log: String,
    happened: String,
    forward: String,
}

async fn view(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let incident = desk.incident(&visit, &case).await?;
    let log = page_request(&paging)?;
    let (frame, body) = whole(&desk, &visit, &incident, &Again::default(), &log).await?;
    show(frame, body)
}

async fn whole(
    desk: &Desk,
    visit: &Visit,
    incident: &Incident,
    again: &Again,
    log: &PageRequest,
) -> WebResult<(Frame, Body)> {
    let told = |e| tell(e, visit.lang);
    let id = incident.case;
    let who = casework::room::who(visit)?;
    let case_told = |e| casework::room::tell(e, visit.lang);
    let opened = desk.casework.open(&who, id).await.map_err(case_told)?;
    let values = desk.casework.values(&who, id).await.map_err(case_told)?;
    let clocks = desk.cert.clocks(id).await.map_err(told)?;
    let changes = desk.cert.level_changes(id).await.map_err(told)?;
    let frame = visit
        .frame_titled(format!("#{} {}", incident.number, incident.subject))
        .crumb("/incidents", visit.t("nav-incidents"));
    let mut body = Body::new();
    if incident.drill {
        body = body.add(ui::notice(
            web::Level::Info,
            visit.t("incident-is-drill"),
            visit.t("incident-drill-text"),
        ));
    }
    body = body
        .text(answer(visit, incident, &clocks))
        .add_some(other_errors(
            visit,
            &again.errors,
            &["level", "reason", "text", "happened_at", "to"],
        ))
        .add(facts(desk, visit, incident).await)
        .group("actions", steps(visit, &opened));
    body = body.section(
        visit.t("incident-clocks"),
        Body::new()
            .add(clock_table(visit, incident, &clocks))
            .add(law(desk, visit, incident)),
    );
    let open = incident.closed_at.is_none();
    if visit.principal.may("incident:review", incident.org)
        && clocks
            .iter()
            .any(|clock| clock.kind == super::rules::Clock::Forward && clock.met_at.is_none())
    {
        let inner = Body::new()
            .add(
                Field::text("to", visit.t("incident-forward-to"))
                    .value(&again.forward)
                    .help(visit.t("incident-forward-help"))
                    .errors(&again.errors)
                    .required(),
            )
            .group("actions", [ui::button(visit.t("incident-forward"))]);
        body = body.section(
            visit.t("incident-forward"),
            Body::new().form(&frame, &format!("/incidents/{id}/forward"), inner),
        );
    }
    if visit.principal.may("incident:review", incident.org) && !incident.drill {
        let link = ui::button_link(format!("/incidents/{id}/handover"), visit.t("handover-do"));
        body = body.group("actions", [link]);
    }
    body = body.section(
        visit.t("incident-levels"),
        levels(desk, visit, &frame, incident, &changes, again, open).await,
    );
    body = body.section(visit.t("case-values"), report(visit, &opened.form, &values));
    body = body.section(
        visit.t("incident-log"),
        evidence(desk, visit, &frame, incident, again, log).await?,
    );
    Ok((frame, body))
}

/// Where the incident stands, in a sentence.
fn answer(visit: &Visit, incident: &Incident, clocks: &[Running]) -> String {
    let level = incident.level.number().to_string();
    if incident.closed_at.is_some() {
        return visit.ta("incident-answer-closed", &[("level", &level)]);
    }
    let next = clocks
        .iter()
        .filter(|clock| clock.met_at.is_none())
        .min_by_key(|clock| clock.due_at);
    let Some(next) = next else {
        return visit.ta("incident-answer-idle", &[("level", &level)]);
    };
    let what = next.kind.name().of(visit.lang.tag()).to_owned();
    let key = if next.due_at < visit.now {
        "incident-answer-late"
    } else {
        "incident-answer"
    };
    let span = if next.due_at < visit.now {
        visit.now.since(next.due_at)
    } else {
        next.due_at.since(visit.now)
    };
    visit.ta(
        key,
        &[
            ("level", &level),
            ("what", &what),
            ("time", &ui::duration(visit.lang, span)),
        ],
    )
}

async fn facts(desk: &Desk, visit: &Visit, incident: &Incident) -> Markup {
    ui::definition_list(vec![
        (
            visit.t("incident-level-name"),
            level_badge(visit, incident.level),
        ),
        (visit.t("case-state"), state_badge(visit, &incident.state)),
        (
            visit.t("incident-org"),
            Markup::text(desk.org(visit, incident.org).await),
        ),
        (
            visit.t("member-sector"),
            Markup::text(sector_name(visit, incident.sector)),
        ),
        (visit.t("incident-known"), ui::time(incident.known_at)),
        (visit.t("incident-reported"), ui::time(incident.reported_at)),
        (
            visit.t("incident-case"),
            Markup::link(
                format!("/cases/{}", incident.case),
                visit.t("incident-case-open"),
            ),
        ),
    ])
}

/// The steps of the case that the reader may take; each asks on its own page.
fn steps(visit: &Visit, opened: &casework::Opened) -> Vec<Markup> {
    let id = opened.case.id;
    let mut buttons: Vec<Markup> = opened
        .offered
        .iter()
        .map(|step| {
            ui::button_link(
                format!("/cases/{id}/do/{}", step.action),
                match step.action.as_str() {
                    "submit" | "return" | "close" | "withdraw" | "accept" | "dismiss"
                    | "recover" | "reopen" | "improve" | "return-improvement" => {
                        visit.t(&format!("case-action-{}", step.action))
                    }
                    other => other.to_owned(),
                },
            )
        })
        .collect();
    if opened.editable {
        buttons.insert(
            0,
            ui::button_link(format!("/cases/{id}/edit/1"), visit.t("incident-correct")),
        );
    }
    buttons
}

fn clock_table(visit: &Visit, incident: &Incident, clocks: &[Running]) -> Table {
    let mut table = Table::new(visit.t("incident-clocks"))
        .column(Column::text(visit.t("clock-what")))
        .column(Column::text(visit.t("clock-due")))
        .column(Column::text(visit.t("clock-stands")));
    for clock in clocks {
        let until = incident.closed_at.unwrap_or(visit.now);
        let stands = match (clock.met_at, clock.late(until)) {
            (Some(_), false) => ui::badge(web::Level::Good, visit.t("clock-kept")),
            (Some(_), true) => ui::badge(web::Level::Warn, visit.t("clock-done-late")),
            (None, true) => ui::badge(web::Level::Bad, visit.t("clock-late")),
            (None, false) if incident.closed_at.is_some() => {
                ui::badge(web::Level::Neutral, visit.t("clock-void"))
            }
            (None, false) => ui::badge(web::Level::Info, visit.t("clock-runs")),
        };
        let stands = match clock.met_at {
            Some(at) => stands.and(&ui::time(at)),
            None if incident.closed_at.is_none() => stands.and(&ui::ago(visit, clock.due_at)),
            None => stands,
        };
        table.push(vec![
            Markup::text(clock.kind.name().of(visit.lang.tag())),
            ui::time(clock.due_at),
            stands,
        ]);
    }
    table
}

/// Which version of the law the clocks follow.
fn law(desk: &Desk, visit: &Visit, incident: &Incident) -> Markup {
    let title = desk
        .cert
        .rules_version(incident.rules)
        .map(|rules| rules.title.of(visit.lang.tag()).to_owned())
        .unwrap_or_default();
    Markup::new(format!(
        "<p class=\"help\">{}</p>",
        ui::escape(&visit.ta(
            "incident-law",
            &[("title", &title), ("version", &incident.rules.to_string())]
        ))
    ))
}

async fn levels(
    desk: &Desk,
    visit: &Visit,
    frame: &Frame,
    incident: &Incident,
    changes: &[LevelChange],
    again: &Again,
    open: bool,
) -> Body {
    let id = incident.case;
    let mut body = Body::new().text(visit.ta(
        "incident-levels-text",
        &[
            ("reported", &incident.reported_level.number().to_string()),
            ("level", &incident.level.number().to_string()),
        ],
    ));
    for change in changes {
        let who = desk.person(visit, Some(change.proposed_by)).await;
        body = body.text(visit.ta(
            "level-change",
            &[
                ("from", &change.from.number().to_string()),
                ("to", &change.to.number().to_string()),
                ("who", &who),
                ("at", &change.proposed_at.taipei()),
            ],
        ));
        body = body.written(&change.reason);
        match change.agreed {
            Some(agreed) => {
                let who = desk.person(visit, change.decided_by).await;
                let key = if agreed {
                    "level-agreed"
                } else {
                    "level-refused"
                };
                let mark = if agreed {
                    web::Level::Good
                } else {
                    web::Level::Warn
                };
                body = body
                    .add(ui::badge(mark, visit.ta(key, &[("who", &who)])))
                    .written(&change.remark);
            }
            None => {
                let mine = visit.principal.user() == Some(change.proposed_by);
                if open && !mine && visit.principal.may("incident:review", incident.org) {
                    let path = format!("/incidents/{id}/levels/{}", change.id);
                    let refuse = Body::new()
                        .add(hidden("verdict", "refuse"))
                        .add(Field::text("remark", visit.t("level-remark")).required())
                        .group("actions", [ui::danger_button(visit.t("level-refuse"))]);
                    body = body
                        .add(press(
                            visit,
                            &path,
                            &[("verdict", "agree")],
                            ui::button(visit.t("level-agree")),
                        ))
                        .form(frame, &path, refuse);
                } else {
                    body = body.add(ui::badge(web::Level::Info, visit.t("level-waits")));
                }
            }
        }
    }
    let waiting = changes.iter().any(|change| change.agreed.is_none());
    if open && !waiting && visit.principal.may("incident:edit", incident.org) {
        let options = Level::ALL
            .into_iter()
            .filter(|level| *level != incident.level)
            .map(|level| {
                let number = level.number().to_string();
                let text = visit.ta("incident-level", &[("level", &number)]);
                (number, text)
            })
            .collect();
        let inner = Body::new()
            .add(
                Field::select("level", visit.t("level-to"), options)
                    .value(&again.level)
                    .errors(&again.errors)
                    .required(),
            )
            .add(
                Field::area("reason", visit.t("level-reason"), 3)
                    .value(&again.reason)
                    .errors(&again.errors)
                    .required(),
            )
            .group("actions", [ui::button(visit.t("level-propose"))]);
        body = body.fold(
            visit.t("level-propose-title"),
            Body::new().form(frame, &format!("/incidents/{id}/levels"), inner),
        );
    }
    body
}

/// What was reported; reading personal data is recorded.
fn report(visit: &Visit, form: &Form, values: &Values) -> Body {
    let language = visit.lang.tag();
    let mut body = Body::new();
    for step in &form.layout {
        let facts = step
            .fields
            .iter()
            .filter_map(|question| {
                let value = values.get(&question.name)?;
                let shown = casework::body::value(visit, question, value);
                Some((question.label.of(language).to_owned(), shown))
            })
            .collect();
        body = body.add(ui::definition_list(facts));
    }
    body
}

async fn evidence(
    desk: &Desk,
    visit: &Visit,
    frame: &Frame,
    incident: &Incident,
    again: &Again,
    log: &PageRequest,
) -> WebResult<Body> {
    let open = incident.closed_at.is_none();
    let page = desk
        .cert
        .evidence_page(incident.case, log)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let mut table = Table::new(visit.t("incident-log"))
        .column(Column::text(visit.t("log-at")))
        .column(Column::text(visit.t("log-who")))
        .column(Column::text(visit.t("log-what")));
    for entry in &page.items {
        let what = log_text(visit, &entry.kind, &entry.text);
        table.push(vec![
            ui::time(entry.happened_at),
            Markup::text(desk.person(visit, entry.actor).await),
            what,
        ]);
    }
    let mut body = Body::new()
        .text(visit.t("incident-log-text"))
        .add(table)
        .add(ui::pager(frame, "", page.next.as_deref()));
    if open && visit.principal.may("incident:edit", incident.org) {
        let inner = Body::new()
            .add(
                Field::area("text", visit.t("log-text"), 3)
                    .value(&again.log)
                    .errors(&again.errors)
                    .required(),
            )
            .add(
                Field::input("datetime-local", "happened_at", visit.t("log-happened"))
                    .value(&again.happened)
                    .optional(visit.t("case-optional"))
                    .errors(&again.errors),
            )
            .group(
                "actions",
                [
                    ui::button(visit.t("log-add")),
                    ui::button_link(
                        format!("/cases/{}#files", incident.case),
                        visit.t("log-files"),
                    ),
                ],
            );
        body = body.form(frame, &format!("/incidents/{}/log", incident.case), inner);
    }
    Ok(body)
}

fn log_text(visit: &Visit, kind: &str, text: &str) -> Markup {
    let lines = Markup::new(ui::escape(text).replace('\n', "<br>"));
    match kind {
        "note" => lines,
        "reminder" | "escalation" => {
            let clock = super::rules::Clock::from_tag(text).map_or_else(
                || text.to_owned(),
                |clock| clock.name().of(visit.lang.tag()).to_owned(),
            );
            Markup::text(visit.ta(&format!("log-{kind}"), &[("what", &clock)]))
        }
        "level-proposed" | "level-agreed" | "level-refused" | "forward" | "handover" | "update" => {
            ui::badge(web::Level::Info, visit.t(&format!("log-{kind}"))).and(&lines)
        }
        kind => {
            // What came along from the house that had the incident before.
            let (before, action) = match kind.strip_prefix("handover:") {
                Some(action) => (format!("{} · ", visit.t("log-elsewhere")), action),
                None => (String::new(), kind),
            };
            let keys = [format!("log-{action}"), format!("case-action-{action}")];
            let known = keys.iter().find(|key| visit.house().catalog.has(key));
            let name = match (known, action) {
                (_, "reminder") => visit.t("log-reminded"),
                (_, "escalation") => visit.t("log-escalated"),
                (Some(key), _) => visit.t(key),
                (None, _) => action.to_owned(),
            };
            ui::badge(web::Level::Neutral, format!("{before}{name}")).and(&lines)
        }
    }
}
