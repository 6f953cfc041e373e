//! What people do on the page of an incident.

use axum::extract::{Path, State};
use base::Timestamp;
use casework::body::show_with;
use web::{PageForm, Visit, WebError, WebResult};

use super::{Again, Incident, Level, whole};
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::{AGAIN, by};

/// Shows the page again with what was typed, or tells what failed.
async fn again(
    desk: &Desk,
    visit: &Visit,
    incident: &Incident,
    told: WebError,
    mut typed: Again,
) -> WebResult {
    let path = format!("/incidents/{}", incident.case);
    if told.code == web::Code::Conflict {
        return Ok(visit.to_with(&path, web::Level::Warn, &told.detail));
    }
    if told.fields.is_empty() {
        return Err(told);
    }
    typed.errors = told.fields;
    // The latest of the log.
    let log = store::PageRequest {
        cursor: None,
        limit: None,
    };
    let (frame, body) = whole(desk, visit, incident, &typed, &log).await?;
    show_with(AGAIN, frame, body)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Propose {
    #[serde(default)]
    level: String,
    #[serde(default)]
    reason: String,
}

pub(super) async fn propose(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
    PageForm(new): PageForm<Propose>,
) -> WebResult {
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:edit", incident.org)?;
    let proposed = match new.level.parse().ok().and_then(Level::new) {
        Some(to) => desk
            .cert
            .propose_level(&by(&visit)?, &incident, to, &new.reason)
            .await
            .map_err(|error| tell(error, visit.lang)),
        None => Err(WebError::field("level", "range", visit.t("level-wrong"))),
    };
    match proposed {
        Ok(_) => Ok(visit.done(&format!("/incidents/{case}"), "level-proposed")),
        Err(told) => {
            let typed = Again {
                level: new.level,
                reason: new.reason,
                ..Again::default()
            };
            again(&desk, &visit, &incident, told, typed).await
        }
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Decide {
    verdict: String,
    #[serde(default)]
    remark: String,
}

pub(super) async fn decide(
    State(desk): State<Desk>,
    visit: Visit,
    Path((case, change)): Path<(String, String)>,
    PageForm(decision): PageForm<Decide>,
) -> WebResult {
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:review", incident.org)?;
    let agreed = match decision.verdict.as_str() {
        "agree" => true,
        "refuse" => false,
        _ => {
            return Err(WebError::field(
                "verdict",
                "enum",
                visit.t("level-verdict-wrong"),
            ));
        }
    };
    let decided = desk
        .cert
        .decide_level(&by(&visit)?, &incident, &change, agreed, &decision.remark)
        .await;
    match decided {
        Ok(()) => Ok(visit.done(&format!("/incidents/{case}"), "level-decided")),
        Err(error) => {
            again(
                &desk,
                &visit,
                &incident,
                tell(error, visit.lang),
                Again::default(),
            )
            .await
        }
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Log {
    text: String,
    #[serde(default)]
    happened_at: String,
}

/// A moment as a browser's control sends it, in Asia/Taipei.
fn typed_moment(visit: &Visit, text: &str) -> WebResult<Option<Timestamp>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || WebError::field("happened_at", "format", visit.t("log-happened-wrong"));
    let moment = casework::validate::moment(text).ok_or_else(wrong)?;
    let at: jiff::Timestamp = moment.parse().map_err(|_| wrong())?;
    Ok(Some(Timestamp(at.as_microsecond())))
}

pub(super) async fn log(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
    PageForm(entry): PageForm<Log>,
) -> WebResult {
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:edit", incident.org)?;
    let added = match typed_moment(&visit, &entry.happened_at) {
        Ok(happened) => desk
            .cert
            .add_evidence(&by(&visit)?, &incident, happened, &entry.text)
            .await
            .map_err(|error| tell(error, visit.lang)),
        Err(told) => Err(told),
    };
    match added {
        Ok(()) => Ok(visit.done(&format!("/incidents/{case}"), "log-added")),
        Err(told) => {
            let typed = Again {
                log: entry.text,
                happened: entry.happened_at,
                ..Again::default()
            };
            again(&desk, &visit, &incident, told, typed).await
        }
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Forward {
    to: String,
}

pub(super) async fn forward(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
    PageForm(forward): PageForm<Forward>,
) -> WebResult {
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:review", incident.org)?;
    match desk
        .cert
        .forward(&by(&visit)?, &incident, &forward.to)
        .await
    {
        Ok(()) => Ok(visit.done(&format!("/incidents/{case}"), "incident-forwarded")),
        Err(error) => {
            let typed = Again {
                forward: forward.to,
                ..Again::default()
            };
            again(&desk, &visit, &incident, tell(error, visit.lang), typed).await
        }
    }
}
