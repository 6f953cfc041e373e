//! Pieces of the looking glass's pages: tables of routes and sessions, labels, forms.

use casework::body::Body;
use url::form_urlencoded;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{Frame, Level, Visit};

use super::desk::{AskError, Door};
use super::meaning;
use crate::agent::ApplyState;
use crate::glass::api::SearchQuery;
use crate::glass::view::{RouteView, RoutesView, RpkiView, SessionView};

/// Routes on one page.
pub(super) const ROWS: usize = 50;

/// `text` for a query.
pub(super) fn quoted(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The page of a prefix.
pub(super) fn route_path(site: &str, prefix: &str) -> String {
    format!("/glass/{}/route?prefix={}", quoted(site), quoted(prefix))
}

/// The page of a session.
pub(super) fn session_path(site: &str, session: &str) -> String {
    format!("/glass/{}/sessions/{}", quoted(site), quoted(session))
}

/// What became of a route.
pub(super) fn fate(visit: &Visit, route: &RouteView) -> Markup {
    let level = match route.state.as_str() {
        "best" => Level::Good,
        "filtered" => Level::Bad,
        _ => Level::Info,
    };
    let mut markup = ui::badge(level, visit.t(&format!("glass-state-{}", route.state)));
    for reason in &route.reasons {
        let words = meaning::reason(visit, &reason.key, &reason.text);
        markup = markup.and(&Markup::text(words));
    }
    markup
}

/// What origin validation says, with the payload that decided.
pub(super) fn label(visit: &Visit, rpki: Option<&RpkiView>) -> Markup {
    let Some(rpki) = rpki else {
        return Markup::text(visit.t("glass-rpki-unknown"));
    };
    let level = match rpki.state.as_str() {
        "valid" => Level::Good,
        "invalid" => Level::Bad,
        _ => Level::Neutral,
    };
    let badge = ui::badge(level, visit.t(&format!("glass-rpki-{}", rpki.state)));
    match &rpki.vrp {
        None => badge,
        Some(vrp) => badge.and(&Markup::text(visit.ta(
            "glass-rpki-by",
            &[
                ("prefix", &vrp.prefix),
                ("length", &vrp.max_length.to_string()),
                ("asn", &vrp.asn.to_string()),
            ],
        ))),
    }
}

/// When a route or session last changed.
pub(super) fn since(visit: &Visit, unix_s: u64) -> Markup {
    match i64::try_from(unix_s) {
        Ok(0) | Err(_) => Markup::text("–"),
        Ok(seconds) => ui::ago(visit, base::Timestamp::from_seconds(seconds)),
    }
}

/// A list of routes.
pub(super) fn routes(visit: &Visit, site: &str, routes: &[RouteView]) -> Table {
    let mut table = Table::new(visit.t("glass-routes"))
        .column(Column::text(visit.t("glass-prefix")))
        .column(Column::text(visit.t("glass-from")))
        .column(Column::text(visit.t("glass-path")))
        .column(Column::text(visit.t("glass-fate")))
        .column(Column::text(visit.t("glass-rpki")))
        .column(Column::text(visit.t("glass-since")))
        .empty(ui::empty(
            Icon::Search,
            visit.t("glass-no-routes-title"),
            visit.t("glass-no-routes-text"),
            None,
        ));
    for route in routes {
        table.push(vec![
            Markup::link(route_path(site, &route.network), &route.network),
            Markup::link(
                session_path(site, &route.from_protocol),
                format!("AS{} {}", route.neighbor_as, route.learnt_from),
            ),
            Markup::text(route.bgp.as_path.join(" ")),
            fate(visit, route),
            label(visit, route.rpki.as_ref()),
            since(visit, route.since),
        ]);
    }
    table
}

/// The links below a list: where it goes on is told by number.
pub(super) fn pager(frame: &Frame, query: &str, offset: usize, found: &RoutesView) -> Markup {
    let end = offset + found.routes.len();
    let next = (end < found.total && !found.routes.is_empty()).then(|| end.to_string());
    ui::pager(frame, query, next.as_deref())
}

/// A list of sessions.
pub(super) fn sessions(visit: &Visit, site: &str, sessions: &[SessionView]) -> Table {
    let mut table = Table::new(visit.t("glass-sessions"))
        .column(Column::text(visit.t("glass-neighbor")))
        .column(Column::text(visit.t("glass-session-state")))
        .column(Column::text(visit.t("glass-since")))
        .column(Column::number(visit.t("glass-received")))
        .column(Column::number(visit.t("glass-accepted")))
        .column(Column::number(visit.t("glass-refused")))
        .column(Column::number(visit.t("glass-exported")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("glass-no-sessions-title"),
            visit.t("glass-no-sessions-text"),
            None,
        ));
    for session in sessions {
        let path = session_path(site, &session.protocol);
        let name = match session.description.is_empty() {
            true => session.protocol.clone(),
            false => session.description.clone(),
        };
        let count =
            |list: &str, count: u64| Markup::link(format!("{path}?list={list}"), ui::number(count));
        table.push(vec![
            Markup::link(&path, name).and(&Markup::text(format!(
                "AS{} {}",
                session.neighbor_as, session.neighbor_address
            ))),
            session_state(visit, session),
            since(visit, session.since),
            count("all", session.routes.imported + session.routes.filtered),
            count("accepted", session.routes.imported),
            count("filtered", session.routes.filtered),
            count("exported", session.routes.exported),
        ]);
    }
    table
}

/// The state of a session, with the daemon's words when it is down.
pub(super) fn session_state(visit: &Visit, session: &SessionView) -> Markup {
    if session.state == "up" {
        return ui::badge(Level::Good, visit.t("glass-up"));
    }
    let mut words = session.connection.clone();
    if !session.last_error.is_empty() && !words.contains(&session.last_error) {
        words = format!("{words} {}", session.last_error);
    }
    ui::badge(Level::Bad, visit.t("glass-down")).and(&Markup::text(words.trim()))
}

/// What became of the newest configuration of a site.
pub(super) fn applied(visit: &Visit, door: &Door) -> Markup {
    let (level, key) = match door.applied.state {
        ApplyState::Waiting => (Level::Neutral, "glass-applied-waiting"),
        ApplyState::Running => (Level::Good, "glass-applied-running"),
        ApplyState::Written => (Level::Warn, "glass-applied-written"),
        ApplyState::RolledBack => (Level::Bad, "glass-applied-rolled-back"),
        ApplyState::Refused => (Level::Bad, "glass-applied-refused"),
        ApplyState::Failed => (Level::Bad, "glass-applied-failed"),
    };
    let badge = ui::badge(level, visit.t(key));
    match door.applied.state {
        ApplyState::Running | ApplyState::Waiting => badge,
        _ => badge.and(&Markup::text(&door.applied.detail)),
    }
}

/// An agent that cannot be asked, or a question that cannot be answered.
pub(super) fn trouble(visit: &Visit, error: &AskError) -> Markup {
    match error {
        AskError::Refused { said, .. } if error.is_question() => ui::notice(
            Level::Warn,
            visit.t("glass-question-wrong"),
            Markup::text(said),
        ),
        other => ui::notice(
            Level::Bad,
            visit.t("glass-silent"),
            Markup::text(other.to_string()),
        ),
    }
}

/// The form of the search.
pub(super) fn search_form(
    visit: &Visit,
    sites: &[String],
    site: &str,
    query: &SearchQuery,
) -> Body {
    let options = sites.iter().map(|site| (site.clone(), site.clone()));
    let matching = ["exact", "longest", "inside", "covering"]
        .map(|name| (name.to_owned(), visit.t(&format!("glass-matching-{name}"))));
    let mut states = vec![(String::new(), visit.t("glass-state-any"))];
    states.extend(
        ["best", "accepted", "filtered"]
            .map(|name| (name.to_owned(), visit.t(&format!("glass-state-{name}")))),
    );
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Body::new().search(
        "/glass/search",
        Body::new()
            .add(Field::select("site", visit.t("glass-site"), options.collect()).value(site))
            .add(
                Field::text("prefix", visit.t("glass-prefix-or-address"))
                    .value(text(&query.prefix))
                    .attribute("maxlength", "50"),
            )
            .add(
                Field::select("matching", visit.t("glass-matching"), matching.to_vec())
                    .value(query.matching.clone().unwrap_or_else(|| "longest".into())),
            )
            .add(
                Field::text("origin", visit.t("glass-origin"))
                    .value(text(&query.origin))
                    .attribute("maxlength", "12"),
            )
            .add(
                Field::text("through", visit.t("glass-through"))
                    .value(text(&query.through))
                    .attribute("maxlength", "12"),
            )
            .add(
                Field::text("community", visit.t("glass-community"))
                    .value(text(&query.community))
                    .attribute("maxlength", "40"),
            )
            .add(Field::select("state", visit.t("glass-fate"), states).value(text(&query.state)))
            .add(ui::button(visit.t("glass-search"))),
    )
}
