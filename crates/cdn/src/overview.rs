//! Figures of the last half hour by edge, as rates: what the home's charts show.
//! Minutes that have passed come from roll-ups; the last seconds are counted from
//! the requests themselves.

use std::collections::BTreeMap;

use base::{OrgId, Timestamp};

use crate::seams::{StatsPoint, StatsQuery, StatsRow};

/// Seconds that the charts show.
pub const SPAN_S: u32 = 1_800;
/// Seconds of one step of the past.
pub const STEP_S: u32 = 60;
/// Seconds over which a live rate is counted.
pub const WINDOW_S: u32 = 10;
/// Seconds that events may take from a node to the lake: a live rate ends this long ago.
pub const DELAY_S: u32 = 5;
/// Lines of one chart: the busiest edges, and the rest in one.
pub const LINES_MAX: usize = 6;

/// What one edge, or all of them, did each second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rate {
    /// Requests per second.
    pub requests: f64,
    /// Bits sent per second.
    pub bits: f64,
    /// Share of requests that the cache answered; none without requests.
    pub hit_ratio: Option<f64>,
    /// Answers with a status of 500 and above per second.
    pub errors: f64,
}

impl Rate {
    /// The rate of sums over `seconds`.
    pub fn of(requests: u64, bytes: u64, hits: u64, errors: u64, seconds: u32) -> Self {
        let seconds = f64::from(seconds.max(1));
        Self {
            requests: requests as f64 / seconds,
            bits: bytes as f64 * 8.0 / seconds,
            hit_ratio: (requests > 0).then(|| hits as f64 / requests as f64),
            errors: errors as f64 / seconds,
        }
    }

    fn of_point(point: &StatsPoint) -> Self {
        Self::of(
            point.requests,
            point.bytes,
            point.hits,
            point.errors,
            STEP_S,
        )
    }

    /// The rate of a live row.
    pub fn of_row(row: &StatsRow) -> Self {
        Self::of(row.requests, row.bytes, row.hits, row.errors, WINDOW_S)
    }
}

/// The question for the minutes that have passed.
pub fn past(org: Option<OrgId>, now: Timestamp) -> StatsQuery {
    let step = i64::from(STEP_S);
    let to = now.seconds().div_euclid(step) * step;
    StatsQuery {
        site: None,
        org,
        from: Timestamp::from_seconds(to - i64::from(SPAN_S)),
        to: Timestamp::from_seconds(to),
        step_s: STEP_S,
    }
}

/// The question for the seconds that have just passed.
pub fn present(org: Option<OrgId>, now: Timestamp) -> StatsQuery {
    let to = now.seconds() - i64::from(DELAY_S);
    StatsQuery {
        site: None,
        org,
        from: Timestamp::from_seconds(to - i64::from(WINDOW_S)),
        to: Timestamp::from_seconds(to),
        step_s: WINDOW_S,
    }
}

/// Rows of several answers with the same name added up; by name.
pub fn merged(rows: impl IntoIterator<Item = StatsRow>) -> Vec<StatsRow> {
    let mut all: BTreeMap<String, StatsRow> = BTreeMap::new();
    for row in rows {
        let sum = all.entry(row.name.clone()).or_default();
        sum.name = row.name;
        sum.requests += row.requests;
        sum.bytes += row.bytes;
        sum.hits += row.hits;
        sum.errors += row.errors;
    }
    all.into_values().collect()
}

/// All rows as one.
pub fn total(rows: &[StatsRow]) -> StatsRow {
    let same = rows.iter().map(|row| StatsRow {
        name: String::new(),
        ..row.clone()
    });
    merged(same).pop().unwrap_or_default()
}

/// Series of several answers with the same name added up; by name.
pub fn merged_series(
    series: impl IntoIterator<Item = (String, Vec<StatsPoint>)>,
) -> Vec<(String, Vec<StatsPoint>)> {
    let mut all: BTreeMap<String, Vec<StatsPoint>> = BTreeMap::new();
    for (name, points) in series {
        match all.entry(name) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(points);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                for (sum, more) in entry.get_mut().iter_mut().zip(points) {
                    add(sum, &more);
                }
            }
        }
    }
    all.into_iter().collect()
}

fn add(sum: &mut StatsPoint, more: &StatsPoint) {
    sum.requests += more.requests;
    sum.bytes += more.bytes;
    sum.hits += more.hits;
    sum.errors += more.errors;
}

/// Which lines a chart has: edges by name, and whether the rest are one more line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    /// Edges with a line of their own.
    pub edges: Vec<String>,
    /// Whether there is a line for the others.
    pub others: bool,
}

impl Lines {
    /// Lines for these edges: all of them where they fit, else the busiest, by name.
    pub fn choose(series: &[(String, Vec<StatsPoint>)], rows: &[StatsRow]) -> Self {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, points) in series {
            *sums.entry(name).or_default() +=
                points.iter().map(|point| point.requests).sum::<u64>();
        }
        for row in rows {
            *sums.entry(&row.name).or_default() += row.requests;
        }
        let mut busiest: Vec<(&str, u64)> = sums.into_iter().collect();
        let others = busiest.len() > LINES_MAX;
        if others {
            busiest.sort_by_key(|(name, requests)| (std::cmp::Reverse(*requests), *name));
            busiest.truncate(LINES_MAX - 1);
            busiest.sort_unstable();
        }
        Self {
            edges: busiest
                .into_iter()
                .map(|(name, _)| name.to_owned())
                .collect(),
            others,
        }
    }

    /// Lines as a page asks for them: names separated by commas, a last `*` for the
    /// others. What is no node's name, or too much, is left out.
    pub fn read(text: &str) -> Self {
        let mut lines = Self::default();
        for name in text.split(',').take(LINES_MAX) {
            if name == "*" {
                lines.others = true;
            } else if name.parse::<base::NodeName>().is_ok() {
                lines.edges.push(name.to_owned());
            }
        }
        lines
    }

    /// As [`Lines::read`] takes them.
    pub fn write(&self) -> String {
        let others = self.others.then_some("*");
        let names = self.edges.iter().map(String::as_str).chain(others);
        names.collect::<Vec<_>>().join(",")
    }

    /// The rates of a moment, one for each line.
    pub fn rates(&self, rows: &[StatsRow]) -> Vec<Rate> {
        let mut rates: Vec<Rate> = self
            .edges
            .iter()
            .map(|name| {
                let row = rows.iter().find(|row| row.name == *name);
                row.map(Rate::of_row).unwrap_or_default()
            })
            .collect();
        if self.others {
            let rest: Vec<StatsRow> = rows
                .iter()
                .filter(|row| !self.edges.contains(&row.name))
                .cloned()
                .collect();
            rates.push(Rate::of_row(&total(&rest)));
        }
        rates
    }

    /// The rates of the past, for each line one a step.
    pub fn history(&self, series: &[(String, Vec<StatsPoint>)]) -> Vec<Vec<Rate>> {
        let steps = (SPAN_S / STEP_S) as usize;
        let mut lines: Vec<Vec<StatsPoint>> =
            vec![vec![StatsPoint::default(); steps]; self.edges.len() + usize::from(self.others)];
        for (name, points) in series {
            let own = self.edges.iter().position(|edge| edge == name);
            let Some(line) = lines.get_mut(own.unwrap_or(self.edges.len())) else {
                continue;
            };
            for (sum, more) in line.iter_mut().zip(points) {
                add(sum, more);
            }
        }
        lines
            .iter()
            .map(|line| line.iter().map(Rate::of_point).collect())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, requests: u64) -> StatsRow {
        StatsRow {
            name: name.into(),
            requests,
            hits: requests / 2,
            ..StatsRow::default()
        }
    }

    #[test]
    fn few_edges_have_a_line_each_and_of_many_the_busiest() {
        let few = Lines::choose(&[], &[row("b", 1), row("a", 2)]);
        assert_eq!((few.edges.join(","), few.others), ("a,b".into(), false));
        let rows: Vec<StatsRow> = (0..9).map(|n| row(&format!("e{n}"), n)).collect();
        let many = Lines::choose(&[], &rows);
        assert_eq!(many.write(), "e4,e5,e6,e7,e8,*");
        assert_eq!(Lines::read(&many.write()), many);
        let rates = many.rates(&rows);
        assert_eq!(rates.len(), LINES_MAX);
        assert_eq!(rates[5].requests, (1 + 2 + 3) as f64 / 10.0);
    }

    #[test]
    fn lines_of_strangers_are_bounded_and_are_names() {
        let lines = Lines::read("a,b,c,d,e,f,g,<script>");
        assert_eq!(lines.edges.len(), LINES_MAX);
        assert_eq!(Lines::read("<script>,..,"), Lines::default());
    }

    #[test]
    fn the_past_ends_on_a_minute_and_sums_what_has_no_line() {
        let query = past(None, Timestamp::from_seconds(1_800_000_059));
        assert_eq!(query.to.seconds() % 60, 0);
        assert_eq!(query.to.since(query.from).as_secs(), u64::from(SPAN_S));
        let point = StatsPoint {
            requests: 60,
            ..StatsPoint::default()
        };
        let series = vec![("a".to_owned(), vec![point]), ("z".to_owned(), vec![point])];
        let lines = Lines {
            edges: vec!["a".into()],
            others: true,
        };
        let history = lines.history(&series);
        assert_eq!((history.len(), history[0].len()), (2, 30));
        assert_eq!((history[0][0].requests, history[1][0].requests), (1.0, 1.0));
        assert_eq!(history[0][1].hit_ratio, None, "no requests, no ratio");
        assert_eq!(
            merged_series([series.clone(), series].concat())[0].1[0].requests,
            120
        );
    }
}
