//! When things were: an object's versions, validity, sightings and observations as bars
//! and spots on one axis of time, drawn as SVG by the server.

use std::fmt::Write as _;

use base::Timestamp;
use serde_json::Value;
use web::ui::{self, Markup};

use crate::stix::time;

/// Something that happened, or lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What it is, as a key of texts: `versions`, `valid`, `seen`, `observed`, `enforced`.
    pub lane: &'static str,
    /// What exactly.
    pub what: String,
    /// When it began, in microseconds.
    pub from: i64,
    /// When it ended; `None`: it is a moment.
    pub to: Option<i64>,
}

/// What an object itself says about time.
pub fn of(object: &Value) -> Vec<Moment> {
    let at = |name: &str| object[name].as_str().and_then(time::parse);
    let mut out = Vec::new();
    let mut span = |lane, from: Option<i64>, to: Option<i64>, what: String| {
        if let Some(from) = from.or(to) {
            out.push(Moment {
                lane,
                what,
                from,
                to: to.filter(|to| *to > from),
            });
        }
    };
    let count = |name: &str| {
        object[name]
            .as_u64()
            .map_or(String::new(), |n| format!(" × {n}"))
    };
    match object["type"].as_str().unwrap_or_default() {
        "indicator" => span("valid", at("valid_from"), at("valid_until"), String::new()),
        "sighting" => span("seen", at("first_seen"), at("last_seen"), count("count")),
        "observed-data" => span(
            "observed",
            at("first_observed"),
            at("last_observed"),
            count("number_observed"),
        ),
        "report" => span("published", at("published"), None, String::new()),
        _ => span("seen", at("first_seen"), at("last_seen"), String::new()),
    }
    out
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 130.0;
const LANE: f64 = 34.0;
/// Moments in one picture.
pub const MOMENTS_MAX: usize = 300;

/// The picture; `name` gives a lane's name. Empty when there is nothing to show.
pub fn svg(
    label: &str,
    moments: &[Moment],
    now: Timestamp,
    name: impl Fn(&str) -> String,
) -> Markup {
    let (Some(first), Some(last)) = (
        moments.iter().map(|one| one.from).min(),
        moments.iter().map(|one| one.to.unwrap_or(one.from)).max(),
    ) else {
        return Markup::default();
    };
    let (first, last) = (first.min(now.micros()), last.max(now.micros()));
    let span = (last - first).max(1) as f64;
    let x = |at: i64| LEFT + (WIDTH - LEFT - 20.0) * ((at - first) as f64 / span);
    let mut lanes: Vec<&str> = Vec::new();
    for moment in moments {
        if !lanes.contains(&moment.lane) {
            lanes.push(moment.lane);
        }
    }
    let height = LANE * lanes.len() as f64 + 40.0;
    let mut out = format!(
        "<figure class=\"map\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        ui::escape(label)
    );
    // Writing to a string does not fail.
    for (index, lane) in lanes.iter().enumerate() {
        let y = LANE * (index as f64 + 0.5);
        let _ok = write!(
            out,
            "<text x=\"4\" y=\"{:.1}\" font-size=\"13\" fill=\"var(--text)\" stroke=\"none\">{}</text><line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"var(--line)\"/>",
            y + 4.0,
            ui::escape(&name(lane)),
            WIDTH - 20.0
        );
        for moment in moments.iter().filter(|moment| moment.lane == *lane) {
            let title = format!(
                "{} {}{}",
                name(lane),
                time::format(moment.from),
                moment.what
            );
            let shape = match moment.to {
                Some(to) => format!(
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" rx=\"3\"/>",
                    x(moment.from),
                    y - 6.0,
                    (x(to) - x(moment.from)).max(3.0)
                ),
                None => format!(
                    "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>",
                    x(moment.from)
                ),
            };
            let _ok = write!(
                out,
                "<g fill=\"var(--accent)\" fill-opacity=\"0.75\" stroke=\"var(--accent-strong)\"><title>{}</title>{shape}</g>",
                ui::escape(&title)
            );
        }
    }
    let bottom = LANE * lanes.len() as f64;
    for step in 0..5_i64 {
        let at = first + (last - first) / 4 * step;
        let anchor = match step {
            0 => "start",
            4 => "end",
            _ => "middle",
        };
        let _ok = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" text-anchor=\"{anchor}\" fill=\"var(--text-soft)\" stroke=\"none\">{}</text>",
            x(at),
            bottom + 22.0,
            ui::escape(&Timestamp(at).taipei().chars().take(16).collect::<String>())
        );
    }
    let _ok = write!(
        out,
        "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"{bottom:.1}\" stroke=\"var(--bad)\" stroke-dasharray=\"4 3\"/>",
        x(now.micros())
    );
    out.push_str("</svg></figure>");
    Markup::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_say_when() {
        let moments = of(
            &json!({"type": "indicator", "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-02-01T00:00:00Z"}),
        );
        assert_eq!((moments[0].lane, moments[0].to.is_some()), ("valid", true));
        let moments =
            of(&json!({"type": "sighting", "last_seen": "2026-01-01T00:00:00Z", "count": 3}));
        assert_eq!(
            (moments[0].lane, moments[0].to, moments[0].what.as_str()),
            ("seen", None, " × 3")
        );
        assert!(of(&json!({"type": "tool", "first_seen": 7})).is_empty());
    }

    #[test]
    fn a_moment_alone_and_none_at_all_are_drawn() {
        let one = [Moment {
            lane: "seen",
            what: "<".into(),
            from: 5,
            to: None,
        }];
        let svg = svg("x", &one, Timestamp(5), str::to_owned);
        assert!(svg.as_str().contains("<circle") && !svg.as_str().contains("NaN"));
        assert_eq!(
            super::svg("x", &[], Timestamp(5), str::to_owned),
            Markup::default()
        );
    }
}
