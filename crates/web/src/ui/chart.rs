//! Time series: an SVG that reads well by itself, which scripts replace by an
//! interactive chart of the same data.

use base::Timestamp;

use super::{Markup, attribute, escape};

/// The unit of a chart's values: how they are written on the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A count, with k, M, G.
    Count,
    /// Per second, with k, M, G.
    PerSecond,
    /// Bytes in binary units.
    Bytes,
    /// Bits per second in decimal units.
    BitsPerSecond,
    /// A share of 1 as a percentage.
    Share,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::PerSecond => "per-second",
            Self::Bytes => "bytes",
            Self::BitsPerSecond => "bits",
            Self::Share => "share",
            Self::Milliseconds => "ms",
        }
    }

    /// `value` as on the axis.
    pub fn write(self, value: f64) -> String {
        let scaled = |base: f64, units: [&str; 5]| {
            let mut value = value;
            let mut unit = 0;
            while value.abs() >= base && unit + 1 < units.len() {
                value /= base;
                unit += 1;
            }
            let text = format!("{value:.1}");
            let text = text.strip_suffix(".0").unwrap_or(&text).to_owned();
            format!("{text}{}", units[unit])
        };
        match self {
            Self::Count => scaled(1e3, ["", "k", "M", "G", "T"]),
            Self::PerSecond => scaled(1e3, ["/s", "k/s", "M/s", "G/s", "T/s"]),
            Self::Bytes => scaled(1024.0, [" B", " KiB", " MiB", " GiB", " TiB"]),
            Self::BitsPerSecond => scaled(1e3, [" b/s", " kb/s", " Mb/s", " Gb/s", " Tb/s"]),
            Self::Share => format!("{:.0} %", value * 100.0),
            Self::Milliseconds => scaled(1e3, [" ms", " s", "k s", "M s", "G s"]),
        }
    }
}

/// A line of a chart.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name in the legend.
    pub label: String,
    /// A value for each moment of the chart; none: nothing was measured.
    pub values: Vec<Option<f64>>,
}

/// A time series chart. Says its title, unit, range and source.
#[derive(Debug, Clone)]
pub struct Chart {
    title: String,
    unit: Unit,
    times: Vec<Timestamp>,
    series: Vec<Series>,
    source: Option<String>,
    query: Option<(String, String)>,
    empty: String,
    live: Option<String>,
    stacked: bool,
    span_s: Option<u32>,
}

/// Lines in one chart; more cannot be told apart.
const SERIES_MAX: usize = 6;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;

impl Chart {
    /// A chart over `times`, which rise. `empty` is said when there is nothing to show.
    pub fn new(
        title: impl Into<String>,
        unit: Unit,
        times: Vec<Timestamp>,
        empty: impl Into<String>,
    ) -> Self {
        Self {
            title: title.into(),
            unit,
            times,
            series: Vec::new(),
            source: None,
            query: None,
            empty: empty.into(),
            live: None,
            stacked: false,
            span_s: None,
        }
    }

    /// One more line; beyond six, none is added.
    #[must_use]
    pub fn series(mut self, label: impl Into<String>, values: Vec<Option<f64>>) -> Self {
        if self.series.len() < SERIES_MAX {
            self.series.push(Series {
                label: label.into(),
                values,
            });
        }
        self
    }

    /// Where the figures come from.
    #[must_use]
    pub fn source(mut self, text: impl Into<String>) -> Self {
        self.source = Some(text.into());
        self
    }

    /// The page or file behind the figures: path and text.
    #[must_use]
    pub fn query(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.query = Some((path.into(), text.into()));
        self
    }

    /// Takes new points from the live part around it: events `point` with this name.
    #[must_use]
    pub fn live(mut self, name: impl Into<String>) -> Self {
        self.live = Some(name.into());
        self
    }

    /// Lets moments older than this go when live points come.
    #[must_use]
    pub fn span(mut self, seconds: u32) -> Self {
        self.span_s = Some(seconds);
        self
    }

    /// Fills the area below the first line.
    #[must_use]
    pub fn filled(mut self) -> Self {
        self.stacked = true;
        self
    }

    /// The HTML.
    pub fn markup(&self) -> Markup {
        let mut out = "<figure class=\"chart\"><figcaption>".to_owned();
        out.push_str(&format!(
            "<span class=\"chart-title\">{}</span>",
            escape(&self.title)
        ));
        out.push_str("<ul class=\"legend\">");
        for (i, series) in self.series.iter().enumerate() {
            out.push_str(&format!(
                "<li><svg viewBox=\"0 0 24 8\" class=\"legend-line\" aria-hidden=\"true\"><path class=\"line line-{i}\" d=\"M0 4h24\"/></svg>{}</li>",
                escape(&series.label)
            ));
        }
        out.push_str("</ul></figcaption>");
        let some = self
            .series
            .iter()
            .any(|s| s.values.iter().any(Option::is_some));
        if !some && self.live.is_none() {
            out.push_str(&format!(
                "<p class=\"chart-empty\">{}</p>",
                escape(&self.empty)
            ));
        } else {
            out.push_str("<div class=\"chart-area\"");
            attribute(&mut out, "data-chart", &self.json());
            if let Some(name) = &self.live {
                attribute(&mut out, "data-live-chart", name);
            }
            out.push('>');
            out.push_str(&self.svg());
            out.push_str("</div>");
        }
        let mut foot = Vec::new();
        if let Some(source) = &self.source {
            foot.push(escape(source));
        }
        if let Some((path, text)) = &self.query {
            foot.push(Markup::link(path, text).to_string());
        }
        if !foot.is_empty() {
            out.push_str(&format!(
                "<p class=\"chart-source\">{}</p>",
                foot.join(" · ")
            ));
        }
        out.push_str("</figure>");
        Markup::new(out)
    }

    fn json(&self) -> String {
        let times: Vec<f64> = self
            .times
            .iter()
            .map(|t| t.millis() as f64 / 1000.0)
            .collect();
        let series: Vec<serde_json::Value> = self
            .series
            .iter()
            .map(|s| serde_json::json!({ "label": s.label, "values": s.values }))
            .collect();
        serde_json::json!({
            "unit": self.unit.name(),
            "title": self.title,
            "filled": self.stacked,
            "span": self.span_s,
            "times": times,
            "series": series,
        })
        .to_string()
    }

    fn svg(&self) -> String {
        let high = self
            .series
            .iter()
            .flat_map(|s| s.values.iter().flatten())
            .copied()
            .filter(|v| v.is_finite())
            .fold(0.0_f64, f64::max);
        let top = match self.unit {
            Unit::Share => 1.0,
            _ => nice(high),
        };
        let (first, last) = match (self.times.first(), self.times.last()) {
            (Some(a), Some(b)) => (a.micros() as f64, b.micros() as f64),
            _ => (0.0, 1.0),
        };
        let span = (last - first).max(1.0);
        let x = |at: f64| LEFT + (at - first) / span * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| TOP + (1.0 - value / top) * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.title)
        );
        for step in 0..=4 {
            let value = top * f64::from(step) / 4.0;
            let at = y(value);
            out.push_str(&format!(
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0,
                escape(&self.unit.write(value))
            ));
        }
        let days = span > 36.0 * 3600.0 * 1e6;
        for step in 0..=4 {
            let at = first + span * f64::from(step) / 4.0;
            let anchor = match step {
                0 => "start",
                4 => "end",
                _ => "middle",
            };
            out.push_str(&format!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                x(at),
                HEIGHT - 8.0,
                escape(&tick(Timestamp(at as i64), days))
            ));
        }
        for (i, series) in self.series.iter().enumerate() {
            let mut path = String::new();
            let mut pen = false;
            let mut begin = LEFT;
            let mut end = LEFT;
            for (at, value) in self.times.iter().zip(&series.values) {
                match value.filter(|v| v.is_finite()) {
                    Some(value) => {
                        let (px, py) = (x(at.micros() as f64), y(value.max(0.0)));
                        if path.is_empty() {
                            begin = px;
                        }
                        end = px;
                        path.push_str(&format!("{}{px:.1} {py:.1}", if pen { 'L' } else { 'M' }));
                        pen = true;
                    }
                    None => pen = false,
                }
            }
            if path.is_empty() {
                continue;
            }
            if self.stacked && i == 0 && path.matches('M').count() == 1 {
                let floor = y(0.0);
                out.push_str(&format!(
                    "<path class=\"area area-0\" d=\"{path}L{end:.1} {floor:.1}L{begin:.1} {floor:.1}Z\"/>"
                ));
            }
            out.push_str(&format!("<path class=\"line line-{i}\" d=\"{path}\"/>"));
        }
        out.push_str("</svg>");
        out
    }
}

impl std::fmt::Display for Chart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.markup().as_str())
    }
}

impl askama::filters::HtmlSafe for Chart {}

/// The end of the axis: 1, 2, 4 or 8 times a power of ten, so that its quarters are round.
fn nice(high: f64) -> f64 {
    if high <= 0.0 || !high.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(high.log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|end| *end >= high)
        .unwrap_or(high)
}

fn tick(at: Timestamp, days: bool) -> String {
    // "2026-11-21 09:30:00 +08"
    let text = at.taipei();
    let range = if days { 5..16 } else { 11..16 };
    text.get(range).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers() {
        assert_eq!(nice(0.0), 1.0);
        assert_eq!(nice(7.3), 8.0);
        assert_eq!(nice(801.0), 1000.0);
        assert_eq!(Unit::Count.write(1_500.0), "1.5k");
        assert_eq!(Unit::Bytes.write(2048.0), "2 KiB");
        assert_eq!(Unit::Share.write(0.97), "97 %");
    }

    #[test]
    fn gaps_break_the_line_and_nothing_is_said_to_be_nothing() {
        let times: Vec<Timestamp> = (0..4).map(Timestamp::from_seconds).collect();
        let chart = Chart::new("t", Unit::Count, times.clone(), "nothing yet")
            .series("a", vec![Some(1.0), None, Some(2.0), Some(f64::NAN)]);
        let html = chart.markup().to_string();
        assert_eq!(
            html.matches("class=\"line line-0\" d=\"M").count(),
            2,
            "legend and line"
        );
        assert!(!html.contains("NaN"), "{html}");
        let none = Chart::new("t", Unit::Count, times, "nothing yet").series("a", vec![None; 4]);
        assert!(none.markup().as_str().contains("nothing yet"));
    }
}
