//! How switches are read: a list, and a form for each.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use casework::body::{Body, show, show_with};
use serde::Deserialize;
use uuid::Uuid;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{FieldError, Level, PageForm, Visit, WebError, WebResult};

use super::super::access::{Form, Watched};
use super::super::catalogue::Subject;
use super::super::faults::told;
use super::super::room::Desk;
use super::super::seams::{Ask, Last};
use super::{Seen, tabs};
use crate::room::{By, RoomError, tell};

/// How far back a last reading is looked for.
const DAY: Duration = Duration::from_secs(86_400);
const LIST: &str = "/exchange/traffic/collection";

pub(super) async fn list(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let all = desk.traffic.watched().await.map_err(told(visit.lang))?;
    let frame = visit
        .frame_titled(visit.t("traffic-tab-collection"))
        .crumb("/exchange/traffic", visit.t("nav-traffic"));
    let mut table = Table::new(visit.t("traffic-switches"))
        .column(Column::text(visit.t("traffic-switch")))
        .column(Column::text(visit.t("traffic-address")))
        .column(Column::text(visit.t("traffic-version")))
        .column(Column::number(visit.t("traffic-interval")))
        .column(Column::text(visit.t("traffic-last")))
        .column(Column::number(visit.t("traffic-ports-read")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("traffic-switches-none-title"),
            visit.t("traffic-switches-none-text"),
            None,
        ));
    let seen = Seen::of(&desk, &visit, Subject::Total).await?;
    // Without the lake the list is still of use.
    let last = last_of(&desk, &visit, &seen).await.unwrap_or_default();
    for watched in &all {
        let ports = seen.catalogue.ports.iter();
        let ports: Vec<_> = ports
            .filter(|port| port.switch == watched.switch)
            .map(|port| port.id)
            .collect();
        let read: Vec<_> = last
            .iter()
            .filter(|last| ports.contains(&last.port))
            .collect();
        let newest = read.iter().map(|last| last.at).max();
        let address = match watched.address {
            Some(address) => Markup::code(format!("{address}:{}", watched.port)),
            None => ui::badge(Level::Warn, visit.t("traffic-address-none")),
        };
        table.push(vec![
            Markup::link(format!("{LIST}/{}", watched.switch), &watched.name),
            address,
            version(&visit, watched),
            Markup::text(match watched.version.as_str() {
                "v2c" | "v3" => format!("{} s", watched.interval_s),
                _ => "–".to_owned(),
            }),
            newest.map_or_else(|| Markup::text("–"), |at| ui::ago(&visit, at)),
            Markup::text(format!("{}/{}", read.len(), ports.len())),
        ]);
    }
    let body = Body::new()
        .add(tabs(&visit, "collection"))
        .text(visit.t("traffic-collection-intro"))
        .add(table);
    show(frame, body)
}

/// The last readings of all ports within a day.
async fn last_of(desk: &Desk, visit: &Visit, seen: &Seen) -> Option<Vec<Last>> {
    let ask = Ask {
        ports: seen.catalogue.ports.iter().map(|port| port.id).collect(),
        orgs: None,
        from: visit.now.minus(DAY),
        to: visit.now.plus(Duration::from_secs(1)),
        step_s: 60,
    };
    match desk.traffic.inner.figures.last(&ask).await {
        Ok(last) => Some(last),
        Err(error) => {
            tracing::warn!(error = %runtime::error_chain(error.as_ref()), "Last readings cannot be had");
            None
        }
    }
}

fn version(visit: &Visit, watched: &Watched) -> Markup {
    match watched.version.as_str() {
        "v3" if watched.privacy => ui::badge(Level::Good, visit.t("traffic-version-v3-priv")),
        "v3" => ui::badge(Level::Info, visit.t("traffic-version-v3")),
        "v2c" => ui::badge(Level::Warn, visit.t("traffic-version-v2c")),
        "none" => ui::badge(Level::Neutral, visit.t("traffic-version-none")),
        _ => ui::badge(Level::Neutral, visit.t("traffic-version-unset")),
    }
}

/// The form as it is sent: all text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sent {
    version: String,
    port: String,
    interval_s: String,
    community: String,
    user: String,
    auth_protocol: String,
    auth_password: String,
    priv_password: String,
    agents: String,
}

fn id_of(switch: &str) -> WebResult<Uuid> {
    Uuid::try_parse(switch).map_err(|_| WebError::not_found("switch", switch))
}

async fn one(desk: &Desk, visit: &Visit, id: Uuid) -> WebResult<Watched> {
    let all = desk.traffic.watched().await.map_err(told(visit.lang))?;
    all.into_iter()
        .find(|watched| watched.switch == id)
        .ok_or_else(|| WebError::not_found("switch", id))
}

pub(super) async fn edit(
    State(desk): State<Desk>,
    visit: Visit,
    Path(switch): Path<String>,
) -> WebResult {
    let watched = one(&desk, &visit, id_of(&switch)?).await?;
    let sent = Sent {
        version: match watched.version.as_str() {
            "" => "v3".to_owned(),
            version => version.to_owned(),
        },
        port: watched.port.to_string(),
        interval_s: watched.interval_s.to_string(),
        user: watched.user.clone(),
        auth_protocol: match watched.auth_protocol.as_str() {
            "" => "sha256".to_owned(),
            protocol => protocol.to_owned(),
        },
        agents: watched.agents.clone(),
        ..Sent::default()
    };
    draw(&visit, &watched, &sent, &[], StatusCode::OK)
}

fn draw(
    visit: &Visit,
    watched: &Watched,
    sent: &Sent,
    errors: &[FieldError],
    status: StatusCode,
) -> WebResult {
    let frame = visit
        .frame_titled(visit.ta("traffic-watch-title", &[("name", &watched.name)]))
        .crumb("/exchange/traffic", visit.t("nav-traffic"))
        .crumb(LIST, visit.t("traffic-tab-collection"));
    let choice = |values: &[&str], prefix: &str| {
        values
            .iter()
            .map(|value| ((*value).to_owned(), visit.t(&format!("{prefix}-{value}"))))
            .collect::<Vec<_>>()
    };
    let kept = visit.t("traffic-secret-help");
    let fields = Body::new()
        .add(
            Field::select(
                "version",
                visit.t("traffic-version"),
                choice(&["v3", "v2c", "none"], "traffic-version"),
            )
            .value(&sent.version)
            .help(visit.t("traffic-version-help"))
            .errors(errors),
        )
        .add(
            Field::text("port", visit.t("traffic-udp-port"))
                .value(&sent.port)
                .errors(errors),
        )
        .add(
            Field::text("interval_s", visit.t("traffic-interval"))
                .value(&sent.interval_s)
                .help(visit.t("traffic-interval-help"))
                .errors(errors),
        )
        .add(
            Field::text("user", visit.t("traffic-user"))
                .value(&sent.user)
                .errors(errors),
        )
        .add(
            Field::select(
                "auth_protocol",
                visit.t("traffic-auth"),
                choice(&["sha256", "sha1", "none"], "traffic-auth"),
            )
            .value(&sent.auth_protocol)
            .errors(errors),
        )
        .add(
            Field::password("auth_password", visit.t("traffic-auth-password"))
                .help(&kept)
                .errors(errors),
        )
        .add(
            Field::password("priv_password", visit.t("traffic-priv-password"))
                .help(&kept)
                .errors(errors),
        )
        .add(
            Field::password("community", visit.t("traffic-community"))
                .help(&kept)
                .errors(errors),
        )
        .add(
            Field::text("agents", visit.t("traffic-agents"))
                .value(&sent.agents)
                .help(visit.t("traffic-agents-help"))
                .errors(errors),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("traffic-save")),
                ui::button_link(LIST, visit.t("traffic-cancel")),
            ],
        );
    let path = format!("{LIST}/{}", watched.switch);
    let mut body = Body::new();
    if watched.address.is_none() {
        body = body.add(ui::notice(
            Level::Warn,
            visit.t("traffic-address-none"),
            visit.t("traffic-address-none-text"),
        ));
    }
    let body = body.form(&frame, &path, fields);
    match status {
        StatusCode::OK => show(frame, body),
        status => show_with(status, frame, body),
    }
}

pub(super) async fn save(
    State(desk): State<Desk>,
    visit: Visit,
    Path(switch): Path<String>,
    PageForm(sent): PageForm<Sent>,
) -> WebResult {
    let id = id_of(&switch)?;
    let watched = one(&desk, &visit, id).await?;
    let mut errors = Vec::new();
    let mut number = |field: &str, text: &str| match text.trim() {
        "" => None,
        text => match text.parse::<i64>() {
            Ok(number) => Some(number),
            Err(_) => {
                errors.push(FieldError::new(
                    field,
                    "number",
                    visit.t("traffic-number-wrong"),
                ));
                None
            }
        },
    };
    let form = Form {
        port: number("port", &sent.port),
        interval_s: number("interval_s", &sent.interval_s),
        version: sent.version.clone(),
        community: sent.community.clone(),
        user: sent.user.trim().to_owned(),
        auth_protocol: sent.auth_protocol.clone(),
        auth_password: sent.auth_password.clone(),
        priv_password: sent.priv_password.clone(),
        agents: sent.agents.clone(),
    };
    if !errors.is_empty() {
        return draw(
            &visit,
            &watched,
            &sent,
            &errors,
            StatusCode::UNPROCESSABLE_ENTITY,
        );
    }
    let mut by = By::user(visit.principal.signed_in()?);
    by.request = Some(visit.request_id.clone());
    match desk.traffic.watch(&by, id, &form).await {
        Ok(()) => Ok(visit.done(LIST, "traffic-saved")),
        Err(RoomError::Invalid(problems)) => {
            let errors: Vec<FieldError> = problems
                .iter()
                .map(|problem| casework::room::field_error(problem, visit.lang))
                .collect();
            draw(
                &visit,
                &watched,
                &sent,
                &errors,
                StatusCode::UNPROCESSABLE_ENTITY,
            )
        }
        Err(error) => Err(tell(error, visit.lang)),
    }
}
