//! Graphs of a port, a group, a member, a switch, a site, or of everything.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use base::{PortId, Timestamp};
use casework::body::{Body, show};
use futures::stream;
use serde::Deserialize;
use web::ui::{self, Chart, Column, Icon, Markup, Table, Unit};
use web::{ApiQuery, Frame, Level, Update, Visit, WebError, WebResult};

use super::super::api::lake_away;
use super::super::ask::{Range, Span};
use super::super::catalogue::{PortEntry, Subject};
use super::super::export::{file, series_csv};
use super::super::room::Desk;
use super::super::seams::{Last, Pair, Rates};
use super::{DAY_US, Seen, away, bits, chart, matrix_of, spans, tabs};
use crate::traffic::forecast::{Day, Forecast};
use crate::traffic::percentile::Percentile;

/// Ports on one page.
const PORTS_PAGE: usize = 50;
/// Partners of a member that its page shows.
const PARTNERS: usize = 20;
/// Time between two live figures.
const LIVE_EVERY: Duration = Duration::from_secs(5);
/// Seconds within which a reading is the present one.
const PRESENT_S: i64 = 900;
/// Days that the forecast's picture looks ahead.
const AHEAD_DAYS: i64 = 90;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(flatten)]
    range: Strings,
    cursor: Option<String>,
}

/// `Range` as text: numbers do not survive `flatten` in a query.
#[derive(Debug, Default, Deserialize)]
struct Strings {
    from: Option<String>,
    to: Option<String>,
    seconds: Option<String>,
    step: Option<String>,
}

impl Asked {
    fn range(&self) -> WebResult<Range> {
        let number = |field: &str, text: &Option<String>| {
            text.as_deref()
                .filter(|text| !text.is_empty())
                .map(str::parse::<i64>)
                .transpose()
                .map_err(|_| WebError::field(field, "number", "must be a number"))
        };
        let step = number("step", &self.range.step)?
            .map(|step| {
                u32::try_from(step).map_err(|_| {
                    WebError::field("step", "number", "must be 60, 300, 1800, 7200 or 86400")
                })
            })
            .transpose()?;
        Ok(Range {
            from: number("from", &self.range.from)?,
            to: number("to", &self.range.to)?,
            seconds: number("seconds", &self.range.seconds)?,
            step,
        })
    }

    fn offset(&self) -> usize {
        let cursor = self.cursor.as_deref().and_then(|text| text.parse().ok());
        cursor.unwrap_or(0)
    }
}

fn parse(kind: &str, id: &str) -> WebResult<Subject> {
    Subject::parse(kind, id).ok_or_else(|| WebError::not_found("subject of traffic", id))
}

pub(super) async fn total(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult {
    draw(&desk, &visit, Subject::Total, &asked).await
}

pub(super) async fn page(
    State(desk): State<Desk>,
    visit: Visit,
    Path((kind, id)): Path<(String, String)>,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult {
    draw(&desk, &visit, parse(&kind, &id)?, &asked).await
}

async fn draw(desk: &Desk, visit: &Visit, subject: Subject, asked: &Asked) -> WebResult {
    let range = asked.range()?;
    let span = range.span(visit.now)?;
    let seen = Seen::of(desk, visit, subject).await?;
    let (frame, head) = head(visit, &seen);
    let base = subject.path();
    let mut body = head.add(spans(visit, &base, &range));
    if seen.catalogue.ports.is_empty() {
        return show(
            frame,
            body.add(ui::empty(
                Icon::Chart,
                visit.t("traffic-no-ports-title"),
                visit.t("traffic-no-ports-text"),
                None,
            )),
        );
    }
    let points = match seen.series(desk, span).await {
        Ok(points) => points,
        Err(error) => return away(visit, frame, body, &error),
    };
    let (month, percentile) = seen.percentile(desk, visit.now).await?;
    let last = last_of(desk, &seen, visit.now).await?;
    let tiles = tiles(visit, &seen, &last, &points, percentile, month);
    body = match subject {
        Subject::Total => body.add(ui::live("/exchange/traffic/live", tiles)),
        _ => body.add(tiles),
    };
    body = body
        .add(rates_chart(visit, &base, span, &points))
        .add(trouble_chart(visit, span, &points));
    if !matches!(subject, Subject::Total) {
        let (days, found) = seen.forecast(desk, visit.now).await?;
        let title = visit.t("traffic-forecast");
        body = body.section(title, forecast_part(visit, &seen, &days, found.as_ref()));
    }
    if let Subject::Member(_) = subject {
        let pairs = matrix_of(desk, &seen, span).await?;
        body = body.section(
            visit.t("traffic-partners"),
            Body::new().add(partners(visit, &seen, &pairs, span)),
        );
    }
    if matches!(subject, Subject::Total) {
        body = body.section(visit.t("traffic-members"), members(visit, &seen, &last));
    }
    if !matches!(subject, Subject::Port(_)) {
        body = body.section(
            visit.t("traffic-ports"),
            ports(visit, &frame, &seen, &last, asked, &range),
        );
    }
    let from = span.from.seconds();
    let query = format!("from={from}&to={}&step={}", span.to.seconds(), span.step_s);
    let stem = match subject {
        Subject::Total => format!("{base}/export"),
        _ => base,
    };
    let links = ["csv", "json"]
        .map(|kind| ui::button_link(format!("{stem}/series.{kind}?{query}"), kind.to_uppercase()));
    body = body.section(
        visit.t("traffic-export"),
        Body::new()
            .text(visit.t("traffic-export-text"))
            .group("actions", links),
    );
    show(frame, body)
}

fn head(visit: &Visit, seen: &Seen) -> (Frame, Body) {
    let subject = seen.subject;
    if let Subject::Total = subject {
        let text = match seen.catalogue.orgs {
            None => visit.t("traffic-intro-all"),
            Some(_) => visit.t("traffic-intro-own"),
        };
        return (
            visit.frame_titled(visit.t("nav-traffic")),
            Body::new().add(tabs(visit, "graphs")).text(text),
        );
    }
    let title = seen.catalogue.title(subject);
    let frame = visit
        .frame_titled(visit.ta("traffic-of", &[("name", &title)]))
        .crumb("/exchange/traffic", visit.t("nav-traffic"));
    let mut facts = Vec::new();
    if let (Subject::Port(_), Some(port)) = (subject, seen.ports.first()) {
        facts.push((
            visit.t("traffic-site"),
            Markup::link(Subject::Site(port.site).path(), &port.site_name),
        ));
        if let Some(member) = port.member {
            let name = seen.catalogue.names.get(&member);
            facts.push((
                visit.t("traffic-member"),
                Markup::link(
                    Subject::Member(member.0).path(),
                    name.map_or("", String::as_str),
                ),
            ));
        }
        if let Some(lag) = port.lag {
            let subject = Subject::Lag(lag);
            facts.push((
                visit.t("traffic-lag"),
                Markup::link(subject.path(), seen.catalogue.title(subject)),
            ));
        }
    }
    facts.push((
        visit.t("traffic-capacity"),
        Markup::text(bits(seen.capacity_bps())),
    ));
    (frame, Body::new().add(ui::definition_list(facts)))
}

async fn last_of(desk: &Desk, seen: &Seen, now: Timestamp) -> WebResult<Vec<Last>> {
    let span = Span {
        from: Timestamp::from_seconds(now.seconds() - PRESENT_S),
        to: Timestamp::from_seconds(now.seconds() + 1),
        step_s: 60,
    };
    if seen.ports.is_empty() {
        return Ok(Vec::new());
    }
    desk.traffic
        .inner
        .figures
        .last(&seen.ask(span))
        .await
        .map_err(lake_away)
}

/// Bits per second in and out, of the ports' last readings.
fn present(last: &[Last]) -> (f64, f64) {
    let sum = |of: fn(&Last) -> f64| last.iter().map(of).sum();
    (sum(|last| last.in_bps), sum(|last| last.out_bps))
}

fn tiles(
    visit: &Visit,
    seen: &Seen,
    last: &[Last],
    points: &[Rates],
    percentile: Percentile,
    month: Timestamp,
) -> Markup {
    let now = present(last);
    let peak = points
        .iter()
        .map(|point| point.in_bps.max(point.out_bps))
        .fold(0.0, f64::max);
    let up = last.iter().filter(|last| last.up).count();
    let active = seen.ports.iter().filter(|port| port.active).count();
    let month = ui::day(visit.lang, month);
    let measured = percentile.measured.to_string();
    Body::new()
        .group(
            "tiles",
            [
                ui::tile(visit.t("traffic-in"), bits(now.0), "")
                    .live("in")
                    .markup(),
                ui::tile(visit.t("traffic-out"), bits(now.1), "")
                    .live("out")
                    .markup(),
                ui::tile(visit.t("traffic-peak"), bits(peak), "")
                    .detail(visit.t("traffic-peak-detail"))
                    .markup(),
                ui::tile(
                    visit.t("traffic-percentile"),
                    bits(percentile.higher_bps()),
                    "",
                )
                .detail(visit.ta(
                    "traffic-percentile-detail",
                    &[
                        ("in", &bits(percentile.in_bps)),
                        ("out", &bits(percentile.out_bps)),
                        ("month", &month),
                        ("measured", &measured),
                    ],
                ))
                .markup(),
                ui::tile(visit.t("traffic-ports-up"), format!("{up}/{active}"), "")
                    .level(if up < active {
                        Level::Warn
                    } else {
                        Level::Good
                    })
                    .live("up")
                    .markup(),
            ],
        )
        .markup()
}

fn rates_chart(visit: &Visit, base: &str, span: Span, points: &[Rates]) -> Chart {
    let stem = match base {
        "/exchange/traffic" => "/exchange/traffic/export".to_owned(),
        _ => base.to_owned(),
    };
    chart(
        visit,
        "traffic-rates",
        Unit::BitsPerSecond,
        span,
        points,
        &[
            ("traffic-in", |point| point.in_bps),
            ("traffic-out", |point| point.out_bps),
        ],
    )
    .query(
        format!(
            "{stem}/series.json?from={}&to={}&step={}",
            span.from.seconds(),
            span.to.seconds(),
            span.step_s
        ),
        visit.t("traffic-data"),
    )
    .filled()
}

fn trouble_chart(visit: &Visit, span: Span, points: &[Rates]) -> Chart {
    chart(
        visit,
        "traffic-trouble",
        Unit::Count,
        span,
        points,
        &[
            ("traffic-errors", |point| point.errors as f64),
            ("traffic-discards", |point| point.discards as f64),
        ],
    )
}

fn forecast_part(visit: &Visit, seen: &Seen, days: &[Day], found: Option<&Forecast>) -> Body {
    let Some(found) = found else {
        let known = days.len().to_string();
        return Body::new()
            .text(visit.ta("traffic-forecast-few", &[("days", &known)]))
            .text(visit.t("traffic-forecast-method"));
    };
    let date = |at: Option<Timestamp>| match at {
        Some(at) => ui::day(visit.lang, at),
        None => visit.t("traffic-forecast-never"),
    };
    let sentence = match found.full_on {
        Some(_) => visit.ta(
            "traffic-forecast-full",
            &[
                ("date", &date(found.full_on)),
                ("early", &date(found.early)),
                ("late", &date(found.late)),
            ],
        ),
        None => visit.t("traffic-forecast-room"),
    };
    let month = 30.0;
    let growth = visit.ta(
        "traffic-forecast-growth",
        &[
            ("growth", &bits(found.slope_bps * month)),
            ("low", &bits(found.slope_low_bps * month)),
            ("high", &bits(found.slope_high_bps * month)),
            ("now", &bits(found.now_bps)),
            ("capacity", &bits(found.capacity_bps)),
            ("days", &found.days.to_string()),
        ],
    );
    Body::new()
        .text(sentence)
        .text(growth)
        .add(forecast_chart(visit, seen, days, found))
        .text(visit.t("traffic-forecast-method"))
}

fn forecast_chart(visit: &Visit, seen: &Seen, days: &[Day], found: &Forecast) -> Chart {
    let first = days.iter().map(|day| day.day).min().unwrap_or(0);
    let last = days.iter().map(|day| day.day).max().unwrap_or(0) + AHEAD_DAYS;
    let all: Vec<i64> = (first..=last).collect();
    let times = all.iter().map(|day| Timestamp(day * DAY_US)).collect();
    let known = |day: &i64| days.iter().find(|known| known.day == *day);
    Chart::new(
        visit.t("traffic-forecast"),
        Unit::BitsPerSecond,
        times,
        visit.t("traffic-none"),
    )
    .series(
        visit.t("traffic-forecast-days"),
        all.iter()
            .map(|day| known(day).map(|day| day.bps))
            .collect(),
    )
    .series(
        visit.t("traffic-forecast-trend"),
        all.iter()
            .map(|day| Some(found.at(*day).max(0.0)))
            .collect(),
    )
    .series(
        visit.t("traffic-capacity"),
        all.iter().map(|_| Some(seen.capacity_bps())).collect(),
    )
}

fn partners(visit: &Visit, seen: &Seen, pairs: &[Pair], span: Span) -> Table {
    let Subject::Member(id) = seen.subject else {
        return Table::new("");
    };
    let own = Some(base::MemberId(id));
    let mut by: std::collections::HashMap<Option<base::MemberId>, (i64, i64)> =
        std::collections::HashMap::new();
    for pair in pairs {
        if pair.from == own {
            by.entry(pair.to).or_default().0 += pair.octets;
        } else if pair.to == own {
            by.entry(pair.from).or_default().1 += pair.octets;
        }
    }
    let mut rows: Vec<_> = by.into_iter().collect();
    rows.sort_by_key(|(member, (to, from))| (std::cmp::Reverse(to.saturating_add(*from)), *member));
    let seconds = span.to.since(span.from).as_secs_f64().max(1.0);
    let most = rows
        .first()
        .map_or(1, |(_, (to, from))| to.saturating_add(*from).max(1));
    let mut table = Table::new(visit.t("traffic-partners"))
        .column(Column::text(visit.t("traffic-partner")))
        .column(Column::number(visit.t("traffic-sent")))
        .column(Column::number(visit.t("traffic-received")))
        .empty(ui::empty(
            Icon::Chart,
            visit.t("traffic-matrix-none-title"),
            visit.t("traffic-matrix-none-text"),
            None,
        ));
    for (member, (to, from)) in rows.into_iter().take(PARTNERS) {
        let name = member
            .and_then(|id| seen.catalogue.names.get(&id).cloned())
            .unwrap_or_else(|| visit.t("traffic-unknown"));
        let share = to.saturating_add(from) as f64 / most as f64;
        table.push(vec![
            Markup::text(name),
            ui::bar(share, bits(to as f64 * 8.0 / seconds)),
            Markup::text(bits(from as f64 * 8.0 / seconds)),
        ]);
    }
    table
}

fn members(visit: &Visit, seen: &Seen, last: &[Last]) -> Body {
    let mut table = Table::new(visit.t("traffic-members"))
        .column(Column::text(visit.t("traffic-member")))
        .column(Column::number(visit.t("traffic-in")))
        .column(Column::number(visit.t("traffic-out")))
        .column(Column::number(visit.t("traffic-capacity")))
        .empty(ui::empty(
            Icon::Chart,
            visit.t("traffic-no-ports-title"),
            visit.t("traffic-no-ports-text"),
            None,
        ));
    for member in &seen.catalogue.members {
        let ports: Vec<&PortEntry> = seen
            .ports
            .iter()
            .filter(|port| port.member == Some(member.id))
            .collect();
        let of: Vec<Last> = last
            .iter()
            .filter(|last| ports.iter().any(|port| port.id == last.port))
            .cloned()
            .collect();
        let capacity: f64 = ports
            .iter()
            .filter(|port| port.active)
            .map(|port| port.speed_bps)
            .sum();
        let (incoming, outgoing) = present(&of);
        table.push(vec![
            Markup::link(
                Subject::Member(member.id.0).path(),
                format!("{} (AS{})", member.name, member.asn),
            ),
            ui::bar(incoming / capacity.max(1.0), bits(incoming)),
            ui::bar(outgoing / capacity.max(1.0), bits(outgoing)),
            Markup::text(bits(capacity)),
        ]);
    }
    let links = seen
        .catalogue
        .listed(|port| Some(port.site))
        .into_iter()
        .map(|(id, title)| ui::button_link(Subject::Site(id).path(), title));
    Body::new().group("actions", links).add(table)
}

fn ports(
    visit: &Visit,
    frame: &Frame,
    seen: &Seen,
    last: &[Last],
    asked: &Asked,
    range: &Range,
) -> Body {
    let mut table = Table::new(visit.t("traffic-ports"))
        .column(Column::text(visit.t("traffic-port")))
        .column(Column::text(visit.t("traffic-state")))
        .column(Column::text(visit.t("traffic-member")))
        .column(Column::number(visit.t("traffic-in")))
        .column(Column::number(visit.t("traffic-out")))
        .column(Column::number(visit.t("traffic-errors")))
        .column(Column::number(visit.t("traffic-discards")))
        .empty(ui::empty(
            Icon::Chart,
            visit.t("traffic-no-ports-title"),
            visit.t("traffic-no-ports-text"),
            None,
        ));
    let find = |id: PortId| last.iter().find(|last| last.port == id);
    for port in seen.ports.iter().skip(asked.offset()).take(PORTS_PAGE) {
        let reading = find(port.id);
        let state = match (reading, port.active) {
            (Some(reading), _) if reading.up => ui::badge(Level::Good, visit.t("traffic-state-up")),
            (Some(_), true) => ui::badge(Level::Bad, visit.t("traffic-state-down")),
            (Some(_), false) => ui::badge(Level::Neutral, visit.t("traffic-state-down")),
            (None, true) => ui::badge(Level::Warn, visit.t("traffic-state-unread")),
            (None, false) => ui::badge(Level::Neutral, visit.t("traffic-state-unused")),
        };
        let member = port
            .member
            .and_then(|id| seen.catalogue.names.get(&id).cloned())
            .unwrap_or_default();
        let rate = |of: fn(&Last) -> f64| match reading {
            Some(reading) => {
                let rate = of(reading);
                ui::bar(rate / port.speed_bps.max(1.0), bits(rate))
            }
            None => Markup::text("–"),
        };
        let count = |of: fn(&Last) -> i64| {
            Markup::text(reading.map_or_else(
                || "–".to_owned(),
                |reading| ui::number(of(reading).unsigned_abs()),
            ))
        };
        table.push(vec![
            Markup::link(
                Subject::Port(port.id.0).path(),
                format!("{} {}", port.switch_name, port.name),
            ),
            state,
            Markup::text(member),
            rate(|reading| reading.in_bps),
            rate(|reading| reading.out_bps),
            count(|reading| reading.errors),
            count(|reading| reading.discards),
        ]);
    }
    let next = asked.offset() + PORTS_PAGE;
    let next = (next < seen.ports.len()).then(|| next.to_string());
    let keep = range
        .seconds
        .map_or_else(String::new, |seconds| format!("seconds={seconds}"));
    Body::new()
        .add(table)
        .add(ui::pager(frame, &keep, next.as_deref()))
}

/// New figures every few seconds.
pub(super) async fn live(State(desk): State<Desk>, visit: Visit) -> WebResult<Response> {
    let streams = desk.streams.clone();
    let updates = stream::unfold((desk, visit), |(desk, visit)| async move {
        tokio::time::sleep(LIVE_EVERY).await;
        // Asked anew each time: ports and their owners change.
        let seen = Seen::of(&desk, &visit, Subject::Total).await.ok()?;
        let now = desk.traffic.inner.exchange.db().clock().now();
        let last = last_of(&desk, &seen, now).await.ok()?;
        let (incoming, outgoing) = present(&last);
        let up = last.iter().filter(|last| last.up).count();
        let active = seen.ports.iter().filter(|port| port.active).count();
        let values = vec![
            ("in".to_owned(), bits(incoming)),
            ("out".to_owned(), bits(outgoing)),
            ("up".to_owned(), format!("{up}/{active}")),
        ];
        Some((Update::Values(values), (desk, visit)))
    });
    streams.open(updates, std::future::pending())
}

pub(super) async fn export_total(
    State(desk): State<Desk>,
    visit: Visit,
    Path(name): Path<String>,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult {
    series_file(&desk, &visit, Subject::Total, &name, range).await
}

/// `series.csv`, `series.json`.
pub(super) async fn export(
    State(desk): State<Desk>,
    visit: Visit,
    Path((kind, id, name)): Path<(String, String, String)>,
    ApiQuery(range): ApiQuery<Range>,
) -> WebResult {
    series_file(&desk, &visit, parse(&kind, &id)?, &name, range).await
}

async fn series_file(
    desk: &Desk,
    visit: &Visit,
    subject: Subject,
    name: &str,
    range: Range,
) -> WebResult {
    if !name.starts_with("series.") {
        return Err(WebError::not_found("export", name));
    }
    let seen = Seen::of(desk, visit, subject).await?;
    let points = seen.series(desk, range.span(visit.now)?).await?;
    file(name, series_csv(&points), &points)
}
