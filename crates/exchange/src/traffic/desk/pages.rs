//! The pages of traffic.

mod matrix;
mod subject;
mod switches;

use base::{PortId, Timestamp};
use casework::body::{Body, show};
use web::ui::{self, Chart, Markup, Unit};
use web::{Level, Pages, Visit, WebError, WebResult};

use super::api::lake_away;
use super::ask::{Range, SPANS, Span};
use super::catalogue::{Catalogue, PortEntry, Subject};
use super::faults::told;
use super::room::Desk;
use super::seams::{Ask, Pair, Rates};
use crate::traffic::forecast::{self, DAYS_MAX, Day, Forecast};
use crate::traffic::percentile::Percentile;

const DAY_US: i64 = 86_400_000_000;
/// Asia/Taipei is eight hours ahead and knows no summer time.
const TAIPEI_US: i64 = 8 * 3_600_000_000;

/// The pages' routes.
pub(super) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/exchange/traffic", "traffic:view", subject::total)
        .get("/exchange/traffic/live", "traffic:view", subject::live)
        .get(
            "/exchange/traffic/export/{file}",
            "traffic:view",
            subject::export_total,
        )
        .get("/exchange/traffic/matrix", "traffic:view", matrix::page)
        .get(
            "/exchange/traffic/matrix/{file}",
            "traffic:view",
            matrix::export,
        )
        .get(
            "/exchange/traffic/collection",
            "traffic:manage",
            switches::list,
        )
        .get(
            "/exchange/traffic/collection/{switch}",
            "traffic:manage",
            switches::edit,
        )
        .post(
            "/exchange/traffic/collection/{switch}",
            "traffic:manage",
            switches::save,
        )
        .get(
            "/exchange/traffic/{kind}/{id}",
            "traffic:view",
            subject::page,
        )
        .get(
            "/exchange/traffic/{kind}/{id}/{file}",
            "traffic:view",
            subject::export,
        )
        .with_state(desk)
}

/// A subject as one reader may see it.
pub(super) struct Seen {
    pub(super) subject: Subject,
    pub(super) catalogue: Catalogue,
    pub(super) ports: Vec<PortEntry>,
}

impl Seen {
    /// What the reader may see of a subject; 404 for the rest.
    pub(super) async fn of(desk: &Desk, visit: &Visit, subject: Subject) -> WebResult<Self> {
        let scope = visit.principal.chosen_scope("traffic:view");
        let zh = visit.lang == web::Lang::ZhTw;
        let catalogue = Catalogue::of(&desk.traffic.inner.exchange, &scope, zh)
            .await
            .map_err(told(visit.lang))?;
        let ports = catalogue
            .ports_of(subject)
            .ok_or_else(|| WebError::not_found("subject of traffic", subject.path()))?
            .into_iter()
            .cloned()
            .collect();
        Ok(Self {
            subject,
            catalogue,
            ports,
        })
    }

    fn ids(&self) -> Vec<PortId> {
        self.ports.iter().map(|port| port.id).collect()
    }

    pub(super) fn ask(&self, span: Span) -> Ask {
        Ask {
            ports: self.ids(),
            orgs: self.catalogue.orgs.clone(),
            from: span.from,
            to: span.to,
            step_s: span.step_s,
        }
    }

    /// Rates over time.
    pub(super) async fn series(&self, desk: &Desk, span: Span) -> WebResult<Vec<Rates>> {
        if self.ports.is_empty() {
            return Ok(Vec::new());
        }
        desk.traffic
            .inner
            .figures
            .series(&self.ask(span))
            .await
            .map_err(lake_away)
    }

    /// Bits per second that the ports in service can carry.
    pub(super) fn capacity_bps(&self) -> f64 {
        let active = self.ports.iter().filter(|port| port.active);
        active.map(|port| port.speed_bps).sum()
    }

    /// The month's beginning in Taipei, and its 95th percentile so far.
    pub(super) async fn percentile(
        &self,
        desk: &Desk,
        now: Timestamp,
    ) -> WebResult<(Timestamp, Percentile)> {
        let month = month_of(now);
        let span = Span {
            from: month,
            to: now,
            step_s: 300,
        };
        if self.ports.is_empty() {
            return Ok((month, Percentile::default()));
        }
        let rates = desk
            .traffic
            .inner
            .figures
            .five_minutes(&self.ask(span))
            .await
            .map_err(lake_away)?;
        Ok((month, Percentile::of(&rates)))
    }

    /// The days that are known, and what is to be expected of them.
    pub(super) async fn forecast(
        &self,
        desk: &Desk,
        now: Timestamp,
    ) -> WebResult<(Vec<Day>, Option<Forecast>)> {
        let today = now.micros().div_euclid(DAY_US);
        let span = Span {
            from: Timestamp((today - DAYS_MAX as i64) * DAY_US),
            to: Timestamp(today * DAY_US),
            step_s: 86_400,
        };
        let capacity = self.capacity_bps();
        if capacity <= 0.0 {
            return Ok((Vec::new(), None));
        }
        let days = desk
            .traffic
            .inner
            .figures
            .days(&self.ask(span))
            .await
            .map_err(lake_away)?;
        let found = forecast::forecast(&days, capacity, today);
        Ok((days, found))
    }
}

/// The first moment of the month in Taipei.
fn month_of(now: Timestamp) -> Timestamp {
    // "2026-11-21 09:30:00 +08"
    let text = now.taipei();
    let day: i64 = text
        .get(8..10)
        .and_then(|day| day.parse().ok())
        .unwrap_or(1);
    let local = now.micros() + TAIPEI_US;
    Timestamp((local.div_euclid(DAY_US) - (day - 1)) * DAY_US - TAIPEI_US)
}

/// Pairs that the reader may see: all, or those of the members in the scope.
pub(super) async fn matrix_of(desk: &Desk, seen: &Seen, span: Span) -> WebResult<Vec<Pair>> {
    let own: Option<Vec<_>> = seen
        .catalogue
        .orgs
        .as_ref()
        .map(|_| seen.catalogue.members.iter().map(|m| m.id).collect());
    let own = match (seen.subject, own) {
        (Subject::Member(id), _) => Some(vec![base::MemberId(id)]),
        (_, own) => own,
    };
    if own.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    desk.traffic
        .inner
        .figures
        .matrix(own.as_deref(), span.from, span.to)
        .await
        .map_err(lake_away)
}

fn tabs(visit: &Visit, here: &str) -> Markup {
    let tab = |name: &str, path: &str| {
        (
            path.to_owned(),
            visit.t(&format!("traffic-tab-{name}")),
            name == here,
        )
    };
    let mut all = vec![
        tab("graphs", "/exchange/traffic"),
        tab("matrix", "/exchange/traffic/matrix"),
    ];
    if visit.principal.could("traffic:manage") {
        all.push(tab("collection", "/exchange/traffic/collection"));
    }
    ui::tabs(&all)
}

fn spans(visit: &Visit, base: &str, range: &Range) -> Markup {
    let all: Vec<_> = SPANS
        .iter()
        .map(|(name, seconds)| {
            (
                format!("{base}?seconds={seconds}"),
                visit.t(&format!("traffic-span-{name}")),
                range.chosen() == Some(*seconds),
            )
        })
        .collect();
    ui::tabs(&all)
}

fn bits(bps: f64) -> String {
    Unit::BitsPerSecond.write(bps)
}

/// A figure of a step.
type Figure = fn(&Rates) -> f64;

/// A chart of steps; a step without readings is a gap.
fn chart(
    visit: &Visit,
    key: &str,
    unit: Unit,
    span: Span,
    points: &[Rates],
    lines: &[(&str, Figure)],
) -> Chart {
    let step_us = i64::from(span.step_s) * 1_000_000;
    let steps = (span.to.micros() - span.from.micros()) / step_us;
    let times: Vec<Timestamp> = (0..=steps)
        .map(|i| Timestamp(span.from.micros() + i * step_us))
        .take_while(|at| *at < span.to)
        .collect();
    let mut rows = vec![None; times.len()];
    for point in points {
        let place = (point.at.micros() - span.from.micros()).div_euclid(step_us);
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        if let Some(row) = rows.get_mut(place) {
            *row = Some(point);
        }
    }
    let mut chart = Chart::new(visit.t(key), unit, times, visit.t("traffic-none"));
    for (label, value) in lines {
        let values = rows.iter().map(|row| row.map(value)).collect();
        chart = chart.series(visit.t(label), values);
    }
    chart.source(visit.ta(
        "traffic-source",
        &[("from", &span.from.taipei()), ("to", &span.to.taipei())],
    ))
}

/// A page that says that the figures cannot be had, instead of no page.
fn away(visit: &Visit, frame: web::Frame, body: Body, error: &WebError) -> WebResult {
    tracing::warn!(%error, "Figures of traffic could not be read");
    show(
        frame,
        body.add(ui::notice(
            Level::Warn,
            visit.t("traffic-away-title"),
            visit.t("traffic-away-text"),
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_in_taipei() {
        for (now, month) in [
            // 2026-11-21T08:00Z is 16:00 of the 21st; the month began 2026-10-31T16:00Z.
            (1_795_248_000, 1_793_462_400),
            // 2026-10-31T16:00Z itself, and the second before.
            (1_793_462_400, 1_793_462_400),
            (1_793_462_399, 1_790_784_000),
        ] {
            let found = month_of(Timestamp::from_seconds(now));
            assert_eq!(found, Timestamp::from_seconds(month), "{now}");
        }
    }
}
