//! What is refused, with filters; what waits for a second person.

use axum::extract::State as Shared;
use base::enforcement::TargetKind;
use casework::api::page_request;
use casework::body::{Body, show};
use serde::Deserialize;
use web::ui::{self, Field, Icon};
use web::{ApiQuery, Paging, Visit, WebError, WebResult};

use super::{Desk, table, tabs, tell};
use crate::enforce::engine::State;
use crate::enforce::manage::Wanted;
use crate::stix::simple;

/// Bytes of the beginning of a target.
const TARGET_BYTES_MAX: usize = 2_100;

/// What the filters send.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    state: String,
    kind: String,
    from: String,
    target: String,
    cursor: Option<String>,
}

impl Asked {
    fn wanted(&self, visit: &Visit) -> WebResult<Wanted> {
        let wrong =
            |field: &'static str| WebError::field(field, "enum", visit.t("intel-filter-wrong"));
        let mut wanted = Wanted::default();
        match self.state.as_str() {
            // What is in force is what people come for.
            "" => wanted.state = Some(State::Active),
            "all" => {}
            "doubted" => wanted.doubted = true,
            "ended" => wanted.ended = true,
            name => wanted.state = Some(State::from_name(name).ok_or_else(|| wrong("state"))?),
        }
        if !self.kind.is_empty() {
            wanted.kind = Some(self.kind.parse::<TargetKind>().map_err(|_| wrong("kind"))?);
        }
        wanted.from_indicator = match self.from.as_str() {
            "" => None,
            "indicator" => Some(true),
            "person" => Some(false),
            _ => return Err(wrong("from")),
        };
        let target = self.target.trim();
        if target.len() > TARGET_BYTES_MAX {
            return Err(wrong("target"));
        }
        // Names in other scripts are kept as resolvers ask for them.
        let written = match target.is_ascii() {
            true => None,
            false => simple::typed(target).ok(),
        };
        wanted.target = (!target.is_empty()).then(|| match written {
            Some(written) => written.to_string(),
            None => target.to_ascii_lowercase(),
        });
        Ok(wanted)
    }

    fn kept(&self) -> String {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("state", &self.state),
            ("kind", &self.kind),
            ("from", &self.from),
            ("target", &self.target),
        ] {
            if !value.is_empty() {
                out.append_pair(name, value);
            }
        }
        out.finish()
    }
}

pub(super) async fn list(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult {
    let wanted = asked.wanted(&visit)?;
    let paging = Paging {
        limit: None,
        cursor: asked.cursor.clone(),
    };
    let page = desk
        .enforcements()
        .search(&wanted, &page_request(&paging)?)
        .await
        .map_err(tell)?;
    let frame = visit.frame("nav-enforcements");
    let queue = wanted.state == Some(State::Proposed);
    let mut body = Body::new().add(tabs(
        &visit,
        if queue {
            "/enforcements?state=proposed"
        } else {
            "/enforcements"
        },
    ));
    let waiting = desk.enforcements().waiting(1_000).await.map_err(tell)?;
    body = body.text(visit.ta("enforce-waiting", &[("count", &waiting.to_string())]));
    if frame.could("enforcement:edit") {
        body = body.group(
            "actions",
            [ui::button_link("/enforcements/new", visit.t("enforce-new"))],
        );
    }
    let empty = match queue {
        true => ui::empty(
            Icon::Check,
            visit.t("enforce-queue-empty-title"),
            visit.t("enforce-queue-empty"),
            None,
        ),
        false => ui::empty(
            Icon::Shield,
            visit.t("enforce-none-title"),
            visit.t("enforce-none"),
            None,
        ),
    };
    body = body
        .search("/enforcements", filters(&visit, &asked))
        .add(table(&visit, &page.items, empty))
        .add(ui::pager(&frame, &asked.kept(), page.next.as_deref()));
    show(frame, body)
}

fn filters(visit: &Visit, asked: &Asked) -> Body {
    let mut states = vec![(String::new(), visit.t("enforce-in-force"))];
    states.extend(State::ALL.into_iter().map(|state| {
        (
            state.name().to_owned(),
            visit.t(&format!("enforce-{}", state.name())),
        )
    }));
    states.push(("doubted".to_owned(), visit.t("enforce-doubted")));
    states.push(("ended".to_owned(), visit.t("enforce-ended")));
    states.push(("all".to_owned(), visit.t("intel-any")));
    let mut kinds = vec![(String::new(), visit.t("intel-any"))];
    kinds.extend(TargetKind::ALL.into_iter().map(|kind| {
        (
            kind.name().to_owned(),
            visit.t(&format!("target-{}", kind.name())),
        )
    }));
    let from = vec![
        (String::new(), visit.t("intel-any")),
        ("indicator".to_owned(), visit.t("enforce-from-indicator")),
        ("person".to_owned(), visit.t("enforce-from-person")),
    ];
    Body::new()
        .add(
            Field::input("search", "target", visit.t("enforce-target-begins")).value(&asked.target),
        )
        .add(Field::select("state", visit.t("enforce-state"), states).value(&asked.state))
        .add(Field::select("kind", visit.t("enforce-kind"), kinds).value(&asked.kind))
        .add(Field::select("from", visit.t("enforce-source"), from).value(&asked.from))
        .add(ui::button(visit.t("intel-search")))
}
