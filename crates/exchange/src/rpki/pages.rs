//! The pages: is this route valid, the list of payloads, how validation goes, the exceptions.

use axum::extract::State;
use base::Timestamp;
use casework::body::{Body, show, show_with};
use serde::Deserialize;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, Frame, Level, Pages, Thing, Visit, WebError, WebResult};

use super::picture::picture;
use super::room::{Desk, cursor_of, parse_cursor, parse_route, parse_search};
use super::service::Rpki;
use super::validator::{Fetch, RunReport, Tally};
use super::{Decision, InvalidReason, Validity, Vrp};

/// Payloads on a page.
const PAYLOADS: usize = 100;
/// Refused objects on a page.
const REFUSALS: usize = 100;

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/rpki", "rpki:view", ask)
        .get("/rpki/payloads", "rpki:view", payloads)
        .get("/rpki/state", "rpki:view", state)
        .get("/rpki/exceptions", "rpki:view", exceptions)
        .post("/rpki/runs", "rpki:validate", run)
        .with_state(desk)
}

/// The four pages, as tabs.
fn tabs(visit: &Visit, here: &str) -> Markup {
    let entries: Vec<(String, String, bool)> = [
        ("/rpki", "rpki-tab-ask"),
        ("/rpki/payloads", "rpki-tab-payloads"),
        ("/rpki/state", "rpki-tab-state"),
        ("/rpki/exceptions", "rpki-tab-exceptions"),
    ]
    .into_iter()
    .map(|(path, key)| (path.to_owned(), visit.t(key), path == here))
    .collect();
    ui::tabs(&entries)
}

fn frame(visit: &Visit, here: &str) -> Frame {
    let frame = visit.frame("nav-rpki");
    match here {
        "/rpki" => frame,
        _ => frame.crumb("/rpki", visit.t("nav-rpki")),
    }
}

/// A page where no source is set up.
fn nothing(visit: &Visit, here: &str) -> WebResult {
    let empty = ui::empty(
        Icon::Shield,
        visit.t("rpki-none-title"),
        visit.t("rpki-none-text"),
        None,
    );
    let body = Body::new().add(tabs(visit, here)).add(empty);
    show(frame(visit, here), body)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// What is wrong now, if anything is.
fn problems(visit: &Visit, rpki: &Rpki) -> Option<Markup> {
    let health = rpki.health();
    let lines: Vec<String> = health.problems().map(ui::escape).collect();
    if lines.is_empty() {
        return None;
    }
    let list = format!("<ul><li>{}</li></ul>", lines.join("</li><li>"));
    Some(ui::notice(
        Level::Warn,
        visit.t("rpki-problem-title"),
        Markup::new(list),
    ))
}

/// How much there is, and how fresh.
fn tiles(visit: &Visit, rpki: &Rpki) -> Vec<Markup> {
    let cache = rpki.cache().borrow().clone();
    let health = rpki.health();
    let count = cache.set().map_or(0, |set| set.len()) as u64;
    let mut all = vec![
        ui::tile(visit.t("rpki-tile-payloads"), ui::number(count), "")
            .path("/rpki/payloads")
            .markup(),
    ];
    if let Some(renewed) = health.renewed_at {
        let ago = visit.now.since(at(renewed));
        let text = ui::duration(visit.lang, ago);
        all.push(ui::tile(visit.t("rpki-tile-age"), text, "").markup());
    }
    if let Some(report) = &health.report {
        let refused = ui::number(report.refused_count as u64);
        all.push(
            ui::tile(visit.t("rpki-tile-refused"), refused, "")
                .path("/rpki/state#refused")
                .markup(),
        );
    }
    let serial = cache.serial().to_string();
    all.push(
        ui::tile(visit.t("rpki-tile-serial"), serial, "")
            .detail(visit.ta("rpki-session", &[("session", &cache.session().to_string())]))
            .markup(),
    );
    all
}

#[derive(Debug, Default, Deserialize)]
struct Question {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    asn: String,
}

async fn ask(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(question): ApiQuery<Question>,
) -> WebResult {
    let Some(rpki) = &desk.rpki else {
        return nothing(&visit, "/rpki");
    };
    let asked = !(question.prefix.is_empty() && question.asn.is_empty());
    let parsed = asked.then(|| parse_route(&question.prefix, &question.asn));
    let wrong = |name: &str| match &parsed {
        Some(Err(error)) => error
            .fields
            .iter()
            .find(|one| one.field == name)
            .map(|one| visit.ta(&format!("rpki-{name}-wrong"), &[("why", &one.message)])),
        _ => None,
    };
    let form = Body::new()
        .add(
            Field::text("prefix", visit.t("rpki-prefix"))
                .value(&question.prefix)
                .attribute("placeholder", "140.110.0.0/16")
                .error(wrong("prefix"))
                .required(),
        )
        .add(
            Field::text("asn", visit.t("rpki-origin"))
                .value(&question.asn)
                .attribute("placeholder", "AS1659")
                .error(wrong("asn"))
                .required(),
        )
        .add(ui::button(visit.t("rpki-ask")));
    let mut body = Body::new()
        .add(tabs(&visit, "/rpki"))
        .add_some(problems(&visit, rpki))
        .text(visit.t("rpki-intro"))
        .search("/rpki", form);
    match (&parsed, rpki.set()) {
        (Some(Ok((prefix, origin))), Some(set)) => {
            let decision = set.decide(*prefix, Some(*origin));
            body = body.section(
                visit.t("rpki-answer"),
                answer(&visit, rpki, *prefix, *origin, &decision),
            );
        }
        (Some(Ok(_)), None) => {
            let text = visit.t("rpki-no-data");
            body = body.add(ui::notice(Level::Info, text, Markup::default()));
        }
        _ => {}
    }
    let body = body.group("tiles", tiles(&visit, rpki));
    match parsed {
        Some(Err(_)) => {
            let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
            show_with(status, frame(&visit, "/rpki"), body)
        }
        _ => show(frame(&visit, "/rpki"), body),
    }
}

/// The verdict, in a sentence, a picture, and the payloads that had a say.
fn answer(
    visit: &Visit,
    rpki: &Rpki,
    prefix: base::Prefix,
    origin: u32,
    decision: &Decision,
) -> Body {
    let (level, key) = match (decision.validity, decision.reason()) {
        (Validity::Valid, _) => (Level::Good, "rpki-is-valid"),
        (Validity::Invalid, Some(InvalidReason::Length)) => (Level::Bad, "rpki-is-long"),
        (Validity::Invalid, _) => (Level::Bad, "rpki-is-other"),
        (Validity::NotFound, _) => (Level::Neutral, "rpki-is-unknown"),
    };
    let (shown_prefix, shown_origin) = (prefix.to_string(), format!("AS{origin}"));
    let mut body = Body::new()
        .add(ui::badge(
            level,
            visit.t(&format!("rpki-{}", decision.validity.name())),
        ))
        .text(visit.ta(key, &[("prefix", &shown_prefix), ("origin", &shown_origin)]));
    let groups = [
        (&decision.matched, "rpki-say-matched", Level::Good),
        (&decision.too_long, "rpki-say-long", Level::Bad),
        (&decision.other_origin, "rpki-say-other", Level::Bad),
    ];
    let all: Vec<(Vrp, bool)> = groups
        .iter()
        .flat_map(|(list, key, _)| list.iter().map(|vrp| (*vrp, *key == "rpki-say-matched")))
        .collect();
    if all.is_empty() {
        return body;
    }
    body = body.add(picture(visit, prefix, &all));
    let mut table = payload_table(visit).column(Column::text(visit.t("rpki-says")));
    for (list, key, level) in groups {
        for vrp in list {
            let mut cells = payload_cells(visit, rpki, vrp);
            cells.push(ui::badge(level, visit.t(key)));
            table.push(cells);
        }
    }
    body.add(table)
}

fn payload_table(visit: &Visit) -> Table {
    Table::new(visit.t("rpki-payloads"))
        .column(Column::text(visit.t("rpki-prefix")))
        .column(Column::number(visit.t("rpki-max-length")))
        .column(Column::text(visit.t("rpki-origin")))
        .column(Column::text(visit.t("rpki-source")))
        .column(Column::text(visit.t("rpki-expires")))
}

fn payload_cells(visit: &Visit, rpki: &Rpki, vrp: &Vrp) -> Vec<Markup> {
    let (source, expires) = match rpki.source_of(vrp) {
        Some(source) => (
            Markup::text(source.tal.as_ref())
                .and(&Markup::new("<br>"))
                .and(&Markup::code(source.uri.as_ref())),
            ui::time(Timestamp::from_seconds(source.expires_at)),
        ),
        None if rpki.slurm().assertions().contains(vrp) => {
            let path = Markup::link("/rpki/exceptions", visit.t("rpki-local"));
            (path, Markup::text("–"))
        }
        None => (Markup::text("–"), Markup::text("–")),
    };
    vec![
        Markup::code(vrp.prefix.to_string()),
        Markup::text(vrp.max_length.to_string()),
        Markup::link(
            format!("/rpki/payloads?q=AS{}", vrp.asn),
            format!("AS{}", vrp.asn),
        ),
        source,
        expires,
    ]
}

#[derive(Debug, Default, Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
    cursor: Option<String>,
}

async fn payloads(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(search): ApiQuery<Search>,
) -> WebResult {
    let here = "/rpki/payloads";
    let Some(rpki) = &desk.rpki else {
        return nothing(&visit, here);
    };
    let asked = parse_search(&search.q);
    let after = search.cursor.as_deref().map(parse_cursor).transpose()?;
    let wrong = asked.as_ref().err().map(|_| visit.t("rpki-search-wrong"));
    let form = Body::new()
        .add(
            Field::text("q", visit.t("rpki-search"))
                .value(&search.q)
                .help(visit.t("rpki-search-help"))
                .error(wrong),
        )
        .add(ui::button(visit.t("rpki-search-button")));
    let mut body = Body::new().add(tabs(&visit, here)).search(here, form);
    let frame = frame(&visit, here);
    let Ok(asked) = asked else {
        return show_with(axum::http::StatusCode::UNPROCESSABLE_ENTITY, frame, body);
    };
    let mut page = match rpki.set() {
        Some(set) => set.page(&asked, after.as_ref(), PAYLOADS + 1),
        None => Vec::new(),
    };
    let more = page.len() > PAYLOADS;
    page.truncate(PAYLOADS);
    let (title, text) = match (rpki.set().is_some(), search.q.is_empty()) {
        (false, _) => ("rpki-no-data", "rpki-no-data-text"),
        (true, true) => ("rpki-empty", "rpki-empty-text"),
        (true, false) => ("rpki-found-none", "rpki-found-none-text"),
    };
    let empty = ui::empty(Icon::Search, visit.t(title), visit.t(text), None);
    let mut table = payload_table(&visit).empty(empty);
    for vrp in &page {
        table.push(payload_cells(&visit, rpki, vrp));
    }
    let next = page.last().filter(|_| more).map(cursor_of);
    let query = match search.q.is_empty() {
        true => String::new(),
        false => url::form_urlencoded::Serializer::new(String::new())
            .append_pair("q", &search.q)
            .finish(),
    };
    let pager = ui::pager(&frame, &query, next.as_deref());
    body = body.add(table).add(pager);
    show(frame, body)
}

#[derive(Debug, Default, Deserialize)]
struct From {
    cursor: Option<String>,
}

async fn state(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(from): ApiQuery<From>,
) -> WebResult {
    let here = "/rpki/state";
    let Some(rpki) = &desk.rpki else {
        return nothing(&visit, here);
    };
    let frame = frame(&visit, here);
    let mut body = Body::new()
        .add(tabs(&visit, here))
        .add_some(problems(&visit, rpki));
    if let Some(running) = rpki.running() {
        let text = visit.ta(
            "rpki-running-text",
            &[
                ("points", &ui::number(running.points)),
                ("objects", &ui::number(running.objects)),
            ],
        );
        let title = visit.t("rpki-running");
        body = body.add(ui::notice(Level::Info, title, Markup::text(text)));
    }
    if rpki.validates() && visit.principal.may("rpki:validate", Thing::HOUSE) {
        let button = Body::new().group("actions", [ui::button(visit.t("rpki-run-now"))]);
        body = body.form(&frame, "/rpki/runs", button);
    }
    body = body.group("tiles", tiles(&visit, rpki));
    body = match rpki.health().report {
        Some(report) => run_parts(&visit, &frame, body, &report, &from)?,
        None => {
            let key = match rpki.validates() {
                true => "rpki-no-run",
                false => "rpki-elsewhere",
            };
            let title = visit.t(key);
            body.add(ui::empty(
                Icon::Clock,
                title,
                visit.t(&format!("{key}-text")),
                None,
            ))
        }
    };
    show(frame, body)
}

/// The last run: trust anchors, repositories, fetches, refused objects.
fn run_parts(
    visit: &Visit,
    frame: &Frame,
    body: Body,
    report: &RunReport,
    from: &From,
) -> WebResult<Body> {
    let took = std::time::Duration::from_millis(report.took_ms);
    let began = at(report.began_at);
    let text = visit.ta(
        "rpki-run-text",
        &[
            ("at", &began.taipei()),
            ("took", &ui::duration(visit.lang, took)),
            ("aspas", &ui::number(report.aspas as u64)),
            ("keys", &ui::number(report.router_keys as u64)),
        ],
    );
    let refused_from: usize = match &from.cursor {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| WebError::field("cursor", "format", "is no cursor of this list"))?,
    };
    let mut refused = Table::new(visit.t("rpki-refused"))
        .column(Column::text(visit.t("rpki-object")))
        .column(Column::text(visit.t("rpki-why")))
        .column(Column::text(visit.t("rpki-tal")))
        .id("refused")
        .empty(ui::empty(
            Icon::Check,
            visit.t("rpki-refused-none"),
            visit.t("rpki-refused-none-text"),
            None,
        ));
    for one in report.refused.iter().skip(refused_from).take(REFUSALS) {
        let mut what = Markup::code(&one.uri);
        if one.whole_point {
            let badge = ui::badge(Level::Bad, visit.t("rpki-whole-point"));
            what = what.and(&Markup::text(" ")).and(&badge);
        }
        refused.push(vec![
            what,
            Markup::text(&one.reason),
            Markup::text(&one.tal),
        ]);
    }
    let next = refused_from.saturating_add(REFUSALS);
    let next = (next < report.refused.len()).then(|| next.to_string());
    let mut refusals = Body::new();
    if report.refused_count > report.refused.len() {
        refusals = refusals.text(visit.ta(
            "rpki-refused-more",
            &[
                ("shown", &ui::number(report.refused.len() as u64)),
                ("count", &ui::number(report.refused_count as u64)),
            ],
        ));
    }
    refusals = refusals
        .add(refused)
        .add(ui::pager(frame, "", next.as_deref()));
    let tals = tallies(visit, "rpki-tals", "rpki-tal", &report.tals);
    let repositories = tallies(
        visit,
        "rpki-repositories",
        "rpki-repository",
        &report.repositories,
    );
    Ok(body
        .text(text)
        .section(visit.t("rpki-tals"), Body::new().add(tals))
        .section(visit.t("rpki-refused"), refusals)
        .section(
            visit.t("rpki-fetches"),
            Body::new().add(fetches(visit, &report.fetches)),
        )
        .section(visit.t("rpki-repositories"), Body::new().add(repositories)))
}

fn tallies(visit: &Visit, caption: &str, name: &str, all: &[Tally]) -> Table {
    let mut table = Table::new(visit.t(caption))
        .column(Column::text(visit.t(name)))
        .column(Column::text(visit.t("rpki-standing")))
        .column(Column::number(visit.t("rpki-payloads")))
        .column(Column::number(visit.t("rpki-roas")))
        .column(Column::number(visit.t("rpki-roas-refused")))
        .column(Column::number(visit.t("rpki-objects")))
        .column(Column::number(visit.t("rpki-objects-refused")))
        .column(Column::number(visit.t("rpki-points")))
        .column(Column::number(visit.t("rpki-points-rejected")))
        .empty(Markup::text(visit.t("rpki-nothing")));
    for one in all {
        let standing = match (one.is_up(), one.objects_refused + one.points_rejected) {
            (false, _) => ui::badge(Level::Bad, visit.t("rpki-standing-none")),
            (true, 0) => ui::badge(Level::Good, visit.t("rpki-standing-good")),
            (true, _) => ui::badge(Level::Warn, visit.t("rpki-standing-some")),
        };
        let number = |value: u32| Markup::text(ui::number(u64::from(value)));
        table.push(vec![
            Markup::text(&one.name),
            standing,
            number(one.vrps),
            number(one.roas),
            number(one.roas_refused),
            number(one.objects),
            number(one.objects_refused),
            number(one.points),
            number(one.points_rejected),
        ]);
    }
    table
}

fn fetches(visit: &Visit, all: &[Fetch]) -> Table {
    let mut table = Table::new(visit.t("rpki-fetches"))
        .column(Column::text(visit.t("rpki-repository")))
        .column(Column::text(visit.t("rpki-transport")))
        .column(Column::text(visit.t("rpki-standing")))
        .column(Column::number(visit.t("rpki-serial")))
        .column(Column::number(visit.t("rpki-took")))
        .empty(Markup::text(visit.t("rpki-nothing")));
    for one in all {
        let (level, key) = match one.ok {
            true => (Level::Good, "rpki-fetch-good"),
            false => (Level::Bad, "rpki-fetch-bad"),
        };
        let mut standing =
            ui::badge(level, visit.t(key)).and(&Markup::text(format!(" {}", one.status)));
        for message in &one.messages {
            standing = standing
                .and(&Markup::new("<br>"))
                .and(&Markup::text(message));
        }
        let serial = one
            .serial
            .map_or("–".to_owned(), |serial| serial.to_string());
        table.push(vec![
            Markup::code(&one.uri),
            Markup::text(&one.transport),
            standing,
            Markup::text(serial),
            Markup::text(format!("{:.1}", one.took_ms as f64 / 1_000.0)),
        ]);
    }
    table
}

async fn exceptions(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let here = "/rpki/exceptions";
    let Some(rpki) = &desk.rpki else {
        return nothing(&visit, here);
    };
    let slurm = rpki.slurm();
    let problem = rpki.health().slurm_problem.map(|problem| {
        let title = visit.t("rpki-slurm-problem");
        ui::notice(Level::Bad, title, Markup::text(problem))
    });
    let mut filters = Table::new(visit.t("rpki-filters"))
        .column(Column::text(visit.t("rpki-prefix")))
        .column(Column::text(visit.t("rpki-origin")))
        .empty(Markup::text(visit.t("rpki-filters-none")));
    for one in slurm.filters().iter().take(EXCEPTIONS_SHOWN) {
        let any = || visit.t("rpki-any");
        filters.push(vec![
            Markup::text(one.prefix.map_or_else(any, |prefix| prefix.to_string())),
            Markup::text(one.asn.map_or_else(any, |asn| format!("AS{asn}"))),
        ]);
    }
    let mut assertions = Table::new(visit.t("rpki-assertions"))
        .column(Column::text(visit.t("rpki-prefix")))
        .column(Column::number(visit.t("rpki-max-length")))
        .column(Column::text(visit.t("rpki-origin")))
        .empty(Markup::text(visit.t("rpki-assertions-none")));
    for vrp in slurm.assertions().iter().take(EXCEPTIONS_SHOWN) {
        assertions.push(vec![
            Markup::code(vrp.prefix.to_string()),
            Markup::text(vrp.max_length.to_string()),
            Markup::text(format!("AS{}", vrp.asn)),
        ]);
    }
    let cut = slurm.filters().len().max(slurm.assertions().len()) > EXCEPTIONS_SHOWN;
    let mut body = Body::new()
        .add(tabs(&visit, here))
        .add_some(problem)
        .text(visit.t("rpki-exceptions-intro"));
    if cut {
        let count = EXCEPTIONS_SHOWN.to_string();
        body = body.text(visit.ta("rpki-exceptions-cut", &[("count", &count)]));
    }
    body = body
        .section(visit.t("rpki-filters"), Body::new().add(filters))
        .section(visit.t("rpki-assertions"), Body::new().add(assertions));
    show(frame(&visit, here), body)
}

/// Exceptions of each kind that the page shows; the file shows the rest.
const EXCEPTIONS_SHOWN: usize = 500;

async fn run(State(desk): State<Desk>, visit: Visit) -> WebResult {
    visit.principal.require("rpki:validate", Thing::HOUSE)?;
    let started = desk.rpki.as_ref().is_some_and(Rpki::validate_now);
    match started {
        true => Ok(visit.done("/rpki/state", "rpki-run-asked")),
        false => Err(WebError::not_found("validator", "here")),
    }
}
