//! A member checked end to end from the console: every site's agent is asked, the findings are kept, and,
//! when it was for a case, put into the case's time-line.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Method;
use base::CaseId;
use casework::body::{Body, hidden, show};
use casework::room::{case_id, who};
use futures::future::join_all;
use serde::Deserialize;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{Frame, Lang, PageForm, Pages, Visit, WebError, WebResult};

use super::incident::{case_cell, verdict};
use super::{Desk, keep};
use crate::glass::console::{Door, Doors};
use crate::health::{self, Checked};
use crate::room::shell::by;
use crate::room::{Kind, Wanted};

/// Checks in the list.
const LISTED: i64 = 50;
/// Where the findings come from, in a case's time-line.
const SOURCE: &str = "civicnet";

/// The pages' routes.
pub(super) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/exchange/checks", "exchange:view", overview)
        .post("/exchange/checks", "exchange:check", run)
        .get("/exchange/checks/{id}", "exchange:view", view)
        .with_state(desk)
}

async fn overview(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let frame = visit
        .frame_titled(visit.t("op-checks"))
        .crumb("/exchange", visit.t("nav-exchange"));
    let kept = keep::checks(&desk.room.exchange, None, LISTED)
        .await
        .map_err(desk.room.tell(&visit))?;
    let mut body = Body::new().text(visit.t("op-checks-text"));
    if visit.principal.could("exchange:check") {
        body = body.add(form(&desk, &visit, &frame, None).await?.markup());
    }
    let list = Body::new().add(list(&desk, &visit, &kept).await);
    show(frame, body.section(visit.t("op-checks-kept"), list))
}

/// The form that checks a member, for a case if one is given.
pub(super) async fn form(
    desk: &Desk,
    visit: &Visit,
    frame: &Frame,
    case: Option<CaseId>,
) -> WebResult<Body> {
    let members = desk
        .room
        .exchange
        .all_of(Kind::Member, &Wanted::default())
        .await
        .map_err(desk.room.tell(visit))?;
    let choices: Vec<(String, String)> = members
        .iter()
        .filter(|member| matches!(member.text("state"), "active" | "suspended"))
        .filter_map(|member| {
            let asn = member.number("asn")?;
            Some((asn.to_string(), format!("AS{asn} {}", member.text("name"))))
        })
        .collect();
    if choices.is_empty() {
        return Ok(Body::new().text(visit.t("op-no-members")));
    }
    let mut inner = Body::new().add(
        Field::select("asn", visit.t("op-check-member"), choices)
            .help(visit.t("op-check-help"))
            .required()
            .markup(),
    );
    if let Some(case) = case {
        inner = inner.add(hidden("case", case.to_string()));
    }
    inner = inner.add(ui::button(visit.t("op-check-run")));
    Ok(Body::new().form(frame, "/exchange/checks", inner))
}

/// A list of checks.
pub(super) async fn list(desk: &Desk, visit: &Visit, kept: &[keep::KeptCheck]) -> Table {
    let mut table = Table::new(visit.t("op-checks"))
        .column(Column::text(visit.t("op-member")))
        .column(Column::text(visit.t("op-verdict")))
        .column(Column::text(visit.t("op-by")))
        .column(Column::text(visit.t("op-when")))
        .empty(ui::empty(
            Icon::Search,
            visit.t("op-checks-none"),
            visit.t("op-checks-none-text"),
            None,
        ));
    for one in kept {
        let name = format!("AS{} {}", one.checked.asn, one.checked.name);
        table.push(vec![
            Markup::link(format!("/exchange/checks/{}", one.id), name),
            verdict(visit, one.checked.verdict),
            Markup::text(desk.room.actor(visit, &one.by).await),
            case_cell(visit, one.case, one.at),
        ]);
    }
    table
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    asn: String,
    #[serde(default)]
    case: String,
}

async fn run(
    State(desk): State<Desk>,
    visit: Visit,
    PageForm(asked): PageForm<Asked>,
) -> WebResult {
    let asn: u32 = asked
        .asn
        .parse()
        .map_err(|_| WebError::field("asn", "format", "must be a member's AS number"))?;
    let case = match asked.case.as_str() {
        "" => None,
        text => Some(case_id(text)?),
    };
    // One's own sight of the case comes before minutes of looking.
    let opened = match case {
        None => None,
        Some(case) => Some(
            desk.casework
                .open(&who(&visit)?, case)
                .await
                .map_err(|error| casework::room::tell(error, visit.lang))?,
        ),
    };
    let members = desk
        .room
        .exchange
        .all_of(Kind::Member, &Wanted::by("asn", asn))
        .await
        .map_err(desk.room.tell(&visit))?;
    let member = members
        .first()
        .ok_or_else(|| WebError::field("asn", "reference", "must be a member's AS number"))?;
    let at_s = u64::try_from(visit.now.micros() / 1_000_000).unwrap_or(0);
    let checked = ask_agents(&desk.doors, asn, member.text("name"), at_s).await;
    let id = keep::keep_check(&desk.room.exchange, &by(&visit)?, case, &checked)
        .await
        .map_err(desk.room.tell(&visit))?;
    let mut key = "op-checked";
    if let Some(opened) = opened {
        // Who may not write into the time-line has the findings beside the case all the same.
        let note = health::note(&checked, SOURCE);
        let written = desk
            .casework
            .comment(&who(&visit)?, opened.case.id, &note, true)
            .await;
        key = match written {
            Ok(_) => "op-checked-noted",
            Err(error) => {
                tracing::info!(error = %runtime::error_chain(&error), "The findings stand beside the case alone");
                "op-checked-beside"
            }
        };
    }
    Ok(visit.done(&format!("/exchange/checks/{id}"), key))
}

/// Asks every site's agent about a member, all at once, and joins what they found.
pub async fn ask_agents(doors: &Arc<dyn Doors>, asn: u32, name: &str, at_s: u64) -> Checked {
    let all = doors.doors().await;
    let asked = all.iter().map(|door| ask(doors, door, asn));
    let parts = join_all(asked).await;
    let mut found = Vec::new();
    let mut silent = Vec::new();
    for (door, part) in all.iter().zip(parts) {
        match part {
            Ok(checked) => found.push(checked),
            Err(why) => silent.push((door.site.clone(), why)),
        }
    }
    health::joined(asn, name, at_s, found, &silent)
}

async fn ask(doors: &Arc<dyn Doors>, door: &Door, asn: u32) -> Result<Checked, String> {
    let body = serde_json::json!({ "asn": asn }).to_string().into_bytes();
    let answer = doors
        .ask(door, Method::POST, "/glass/health", Some(body))
        .await
        .map_err(|error| error.to_string())?;
    match answer {
        (200, body) => {
            serde_json::from_slice(&body).map_err(|error| format!("its answer is none: {error}"))
        }
        (status, body) => {
            let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            Err(format!("{status}: {said}"))
        }
    }
}

async fn view(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let missing = || WebError::not_found("check", &id);
    let key = id.parse().map_err(|_| missing())?;
    let kept = keep::check(&desk.room.exchange, key)
        .await
        .map_err(desk.room.tell(&visit))?;
    let title = format!("AS{} {}", kept.checked.asn, kept.checked.name);
    let frame = visit
        .frame_titled(title)
        .crumb("/exchange", visit.t("nav-exchange"))
        .crumb("/exchange/checks", visit.t("op-checks"));
    let mut table = Table::new(visit.t("op-findings"))
        .column(Column::text(visit.t("op-verdict")))
        .column(Column::text(visit.t("op-site")))
        .column(Column::text(visit.t("op-object")))
        .column(Column::text(visit.t("op-words")))
        .column(Column::text(visit.t("op-seen")))
        .column(Column::text(visit.t("op-expected")));
    let mut findings: Vec<&health::Finding> = kept.checked.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    for finding in findings {
        let words = match visit.lang {
            Lang::ZhTw => &finding.words_zh,
            Lang::En => &finding.words_en,
        };
        table.push(vec![
            verdict(&visit, finding.verdict),
            Markup::text(&finding.site),
            Markup::text(&finding.object),
            Markup::text(words),
            Markup::text(&finding.seen),
            Markup::text(&finding.expected),
        ]);
    }
    let facts = vec![
        (visit.t("op-verdict"), verdict(&visit, kept.checked.verdict)),
        (
            visit.t("op-by"),
            Markup::text(desk.room.actor(&visit, &kept.by).await),
        ),
        (visit.t("op-when"), case_cell(&visit, kept.case, kept.at)),
    ];
    let mut body = Body::new().add(ui::definition_list(facts));
    if let Some(case) = kept.case {
        body = body.group(
            "actions",
            [
                ui::button_link(
                    format!("/exchange/incidents/{case}"),
                    visit.t("op-to-incident"),
                ),
                ui::button_link(format!("/cases/{case}"), visit.t("op-to-case")),
            ],
        );
    }
    show(frame, body.add(table))
}
