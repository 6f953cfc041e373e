//! Statistics for dashboards and the portal: typed questions over the roll-ups.
//!
//! Every function sees rows that arrived a moment ago. A span is `from` up to but
//! not including `to`. `traffic` knows minutes for eight days, then hours; `urls`
//! and `networks` know hours, so their spans begin at full hours.

use base::{OrgId, SiteId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::query::output::objects;
use crate::query::{QueryOptions, Scope};
use crate::rollup::{DURATION_BOUNDS_US, DURATION_COLUMNS};
use crate::{Lake, LakeError};

/// Points of one series.
pub const POINTS_MAX: u64 = 2_000;
/// Rows of one list.
pub const LIST_MAX: usize = 1_000;

/// Whose requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// All sites.
    All,
    /// The sites of one organisation.
    Org(OrgId),
    /// One site.
    Site(SiteId),
}

/// A span of time: `from` up to but not including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from: Timestamp,
    /// The moment after the last.
    pub to: Timestamp,
}

/// Sums of requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Requests.
    pub requests: i64,
    /// Requests served without an origin's body of their own (see [`crate::rollup::is_hit`]).
    pub hits: i64,
    /// Requests answered with 5xx.
    pub errors: i64,
    /// Bytes sent.
    pub bytes_sent: i64,
    /// Bytes received.
    pub bytes_received: i64,
    /// Sum of durations, in microseconds.
    pub duration_us: i64,
    /// Requests by status class: left early, 1xx, 2xx, 3xx, 4xx, 5xx.
    pub by_status_class: [i64; 6],
    /// Requests by duration; bounds in [`DURATION_BOUNDS_US`].
    pub by_duration: [i64; DURATION_COLUMNS.len()],
}

impl Sums {
    /// Hits per request; none without requests.
    pub fn hit_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.hits as f64 / self.requests as f64)
    }

    /// An upper bound, in microseconds, of the duration of the fastest `share`
    /// (0 to 1) of requests; none without requests or beyond the last bound.
    pub fn duration_quantile_us(&self, share: f64) -> Option<u32> {
        let wanted = (self.requests as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        for (count, bound) in self.by_duration.iter().zip(DURATION_BOUNDS_US) {
            seen += count;
            if self.requests > 0 && seen as f64 >= wanted {
                return Some(bound);
            }
        }
        None
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.hits += other.hits;
        self.errors += other.errors;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.duration_us += other.duration_us;
        for (sum, more) in self.by_status_class.iter_mut().zip(other.by_status_class) {
            *sum += more;
        }
        for (sum, more) in self.by_duration.iter_mut().zip(other.by_duration) {
            *sum += more;
        }
    }
}

/// Sums over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// The first point's moment.
    pub from: Timestamp,
    /// Seconds between points.
    pub step_s: u64,
    /// One for each step, empty ones too.
    pub points: Vec<Sums>,
    /// Over the whole span.
    pub total: Sums,
}

/// Requests of one URL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UrlSums {
    /// Host name.
    pub host: String,
    /// Path.
    pub path: String,
    /// Requests.
    pub requests: i64,
    /// Hits.
    pub hits: i64,
    /// 5xx answers.
    pub errors: i64,
    /// Bytes sent.
    pub bytes_sent: i64,
}

/// Requests of one edge, network or cache result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedSums {
    /// The edge's name, the network's prefix, the cache result's word. Empty: the
    /// rest, not kept apart.
    pub name: String,
    /// Requests.
    pub requests: i64,
    /// Hits.
    pub hits: i64,
    /// 5xx answers.
    pub errors: i64,
    /// Bytes sent.
    pub bytes_sent: i64,
}

/// Sums over time of one edge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedSeries {
    /// The edge's name.
    pub name: String,
    /// One for each step, empty ones too. Only requests, hits, errors and bytes
    /// sent are counted.
    pub points: Vec<Sums>,
}

/// Requests that failed in one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorSums {
    /// Status code: 4xx, 5xx, or 0 when the client left first.
    pub status: i64,
    /// Host name.
    pub host: String,
    /// Path.
    pub path: String,
    /// Requests.
    pub requests: i64,
    /// The latest, RFC 3339.
    pub latest: String,
}

impl Lake {
    /// Sums over time, one point every `step_s` seconds from `span.from` on.
    ///
    /// # Errors
    /// When there would be more than [`POINTS_MAX`] points, or the query fails.
    pub async fn series(
        &self,
        subject: Subject,
        span: Span,
        step_s: u64,
    ) -> Result<Series, LakeError> {
        self.series_of("traffic", subject, span, step_s).await
    }

    /// The last seconds, one point a second, straight from requests: for live
    /// views. The newest point is still filling.
    ///
    /// # Errors
    /// As [`Self::series`].
    pub async fn live(
        &self,
        subject: Subject,
        now: Timestamp,
        seconds: u64,
    ) -> Result<Series, LakeError> {
        let to = Timestamp::from_seconds(now.seconds() + 1);
        let from = Timestamp::from_seconds(now.seconds() + 1 - i64::try_from(seconds).unwrap_or(0));
        self.series_of("access", subject, Span { from, to }, 1)
            .await
    }

    async fn series_of(
        &self,
        table: &str,
        subject: Subject,
        span: Span,
        step_s: u64,
    ) -> Result<Series, LakeError> {
        let (points, step_us) = steps(span, step_s)?;
        let sql = format!(
            "SELECT (CAST(timestamp AS BIGINT) - ({from})) / {step_us} AS step, {sums} FROM {table} WHERE {filter} GROUP BY 1 ORDER BY 1",
            from = span.from.micros(),
            sums = if table == "access" {
                access_sums()
            } else {
                traffic_sums()
            },
            filter = filter(subject, span),
        );
        let mut series = Series {
            from: span.from,
            step_s: step_s.max(1),
            points: vec![Sums::default(); points],
            total: Sums::default(),
        };
        for row in self.rows::<Stepped>(&sql, subject).await? {
            let sums = row.sums();
            series.total.add(&sums);
            let step = usize::try_from(row.step).unwrap_or(usize::MAX);
            if let Some(point) = series.points.get_mut(step) {
                point.add(&sums);
            }
        }
        Ok(series)
    }

    /// Sums over time by edge, one point every `step_s` seconds from `span.from` on;
    /// edges by name.
    ///
    /// # Errors
    /// When there would be more than [`POINTS_MAX`] points, or the query fails.
    pub async fn series_by_edge(
        &self,
        subject: Subject,
        span: Span,
        step_s: u64,
    ) -> Result<Vec<NamedSeries>, LakeError> {
        let (points, step_us) = steps(span, step_s)?;
        let sql = format!(
            "SELECT coalesce(node, '') AS name, (CAST(timestamp AS BIGINT) - ({from})) / {step_us} AS step, \
             {SHORT_SUMS} FROM traffic WHERE {filter} GROUP BY 1, 2 ORDER BY 1, 2",
            from = span.from.micros(),
            filter = filter(subject, span),
        );
        let mut all: Vec<NamedSeries> = Vec::new();
        for row in self.rows::<NamedStep>(&sql, subject).await? {
            if all.last().is_none_or(|last| last.name != row.name) {
                all.push(NamedSeries {
                    name: row.name.clone(),
                    points: vec![Sums::default(); points],
                });
            }
            let step = usize::try_from(row.step).unwrap_or(usize::MAX);
            let series = all.last_mut();
            if let Some(point) = series.and_then(|series| series.points.get_mut(step)) {
                point.requests += row.requests;
                point.hits += row.hits;
                point.errors += row.errors;
                point.bytes_sent += row.bytes_sent;
            }
        }
        Ok(all)
    }

    /// Requests by edge straight from the requests themselves: for live views of a
    /// few seconds.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn live_by_edge(
        &self,
        subject: Subject,
        span: Span,
    ) -> Result<Vec<NamedSums>, LakeError> {
        let sql = format!(
            "SELECT coalesce(node, '') AS name, count(*) AS requests, sum(hit) AS hits, \
             sum(CASE WHEN http_response_status_code BETWEEN 500 AND 599 THEN 1 ELSE 0 END) AS errors, \
             sum(http_response_size) AS bytes_sent FROM access WHERE {} GROUP BY 1 ORDER BY 1 LIMIT {LIST_MAX}",
            filter(subject, span),
        );
        self.rows(&sql, subject).await
    }

    /// The URLs with most requests.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn top_urls(
        &self,
        subject: Subject,
        span: Span,
        limit: usize,
    ) -> Result<Vec<UrlSums>, LakeError> {
        let sql = format!(
            "SELECT server_address AS host, url_path AS path, {SHORT_SUMS} FROM urls \
             WHERE {} AND url_path <> '' GROUP BY 1, 2 ORDER BY requests DESC, host, path LIMIT {}",
            filter(subject, full_hours(span)),
            limit.min(LIST_MAX)
        );
        self.rows(&sql, subject).await
    }

    /// Requests by edge, busiest first.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn by_edge(&self, subject: Subject, span: Span) -> Result<Vec<NamedSums>, LakeError> {
        self.by("traffic", "node", subject, span, LIST_MAX).await
    }

    /// Requests by cache result, most frequent first.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn by_cache_result(
        &self,
        subject: Subject,
        span: Span,
    ) -> Result<Vec<NamedSums>, LakeError> {
        self.by("traffic", "cache_result", subject, span, LIST_MAX)
            .await
    }

    /// Requests by client network (/24, /48), busiest first.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn by_network(
        &self,
        subject: Subject,
        span: Span,
        limit: usize,
    ) -> Result<Vec<NamedSums>, LakeError> {
        self.by(
            "networks",
            "client_network",
            subject,
            full_hours(span),
            limit,
        )
        .await
    }

    /// Requests by site, busiest first; the name is the site's id.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn by_site(
        &self,
        subject: Subject,
        span: Span,
        limit: usize,
    ) -> Result<Vec<NamedSums>, LakeError> {
        self.by("traffic", "site_id", subject, span, limit).await
    }

    async fn by(
        &self,
        table: &str,
        column: &str,
        subject: Subject,
        span: Span,
        limit: usize,
    ) -> Result<Vec<NamedSums>, LakeError> {
        let sql = format!(
            "SELECT coalesce({column}, '') AS name, {SHORT_SUMS} FROM {table} \
             WHERE {} GROUP BY 1 ORDER BY requests DESC, name LIMIT {}",
            filter(subject, span),
            limit.min(LIST_MAX)
        );
        self.rows(&sql, subject).await
    }

    /// What failed most: requests answered with 4xx or 5xx, or left by the client.
    /// Reads requests themselves, so it reaches back as far as they are kept.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn errors(
        &self,
        subject: Subject,
        span: Span,
        limit: usize,
    ) -> Result<Vec<ErrorSums>, LakeError> {
        let sql = format!(
            "SELECT http_response_status_code AS status, server_address AS host, url_path AS path, \
             count(*) AS requests, max(timestamp) AS latest FROM access \
             WHERE {} AND (http_response_status_code >= 400 OR http_response_status_code = 0) \
             GROUP BY 1, 2, 3 ORDER BY requests DESC, host, path LIMIT {}",
            filter(subject, span),
            limit.min(LIST_MAX)
        );
        self.rows(&sql, subject).await
    }

    async fn rows<T: DeserializeOwned>(
        &self,
        sql: &str,
        subject: Subject,
    ) -> Result<Vec<T>, LakeError> {
        let scope = match subject {
            Subject::Org(org) => Scope::Org(org),
            Subject::All | Subject::Site(_) => Scope::All,
        };
        let options = QueryOptions {
            scope,
            rows_max: None,
        };
        let result = self.query(sql, options).await?;
        let rows = objects(&result).map_err(LakeError::engine("read the answer"))?;
        rows.into_iter()
            .map(|row| {
                serde_json::from_value(row).map_err(|error| LakeError::Io {
                    what: "read the answer",
                    source: error.into(),
                })
            })
            .collect()
    }
}

const SHORT_SUMS: &str = "sum(requests) AS requests, sum(hits) AS hits, sum(errors) AS errors, \
     sum(http_response_size) AS bytes_sent";

/// How many points a span has, and the microseconds between two.
fn steps(span: Span, step_s: u64) -> Result<(usize, i64), LakeError> {
    let length_us = span.to.micros().saturating_sub(span.from.micros()).max(0);
    let step_us = i64::try_from(step_s.max(1))
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000);
    let points = length_us.unsigned_abs().div_ceil(step_us.unsigned_abs());
    if points > POINTS_MAX {
        return Err(LakeError::Limit {
            what: "asks for too many points",
            max: format!("{POINTS_MAX} points"),
        });
    }
    Ok((usize::try_from(points).unwrap_or(0), step_us))
}

#[derive(Deserialize)]
struct NamedStep {
    name: String,
    step: i64,
    requests: i64,
    hits: i64,
    errors: i64,
    bytes_sent: i64,
}

#[derive(Deserialize)]
struct Stepped {
    step: i64,
    requests: i64,
    hits: i64,
    errors: i64,
    bytes_sent: i64,
    bytes_received: i64,
    duration_us: i64,
    #[serde(flatten)]
    classes: std::collections::BTreeMap<String, i64>,
}

impl Stepped {
    fn sums(&self) -> Sums {
        let named = |prefix: &str, i: usize| {
            self.classes
                .get(&format!("{prefix}{i}"))
                .copied()
                .unwrap_or(0)
        };
        Sums {
            requests: self.requests,
            hits: self.hits,
            errors: self.errors,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            duration_us: self.duration_us,
            by_status_class: std::array::from_fn(|i| named("class_", i)),
            by_duration: std::array::from_fn(|i| named("duration_", i)),
        }
    }
}

fn traffic_sums() -> String {
    let mut sql = format!(
        "{SHORT_SUMS}, sum(http_request_size) AS bytes_received, sum(duration_us) AS duration_us"
    );
    for class in 0..6 {
        sql += &format!(
            ", sum(CASE WHEN status_class = {class} THEN requests ELSE 0 END) AS class_{class}"
        );
    }
    for (i, column) in DURATION_COLUMNS.iter().enumerate() {
        sql += &format!(", sum({column}) AS duration_{i}");
    }
    sql
}

fn access_sums() -> String {
    let mut sql = "count(*) AS requests, sum(hit) AS hits, \
         sum(CASE WHEN http_response_status_code BETWEEN 500 AND 599 THEN 1 ELSE 0 END) AS errors, \
         sum(http_response_size) AS bytes_sent, sum(http_request_size) AS bytes_received, \
         sum(duration_us) AS duration_us"
        .to_owned();
    for class in 0..6 {
        sql += &format!(
            ", sum(CASE WHEN http_response_status_code / 100 = {class} THEN 1 ELSE 0 END) AS class_{class}"
        );
    }
    let mut low = 0;
    for (i, bound) in DURATION_BOUNDS_US
        .iter()
        .map(Some)
        .chain([None])
        .enumerate()
    {
        let high = bound.map_or_else(String::new, |bound| format!(" AND duration_us < {bound}"));
        sql += &format!(
            ", sum(CASE WHEN duration_us >= {low}{high} THEN 1 ELSE 0 END) AS duration_{i}"
        );
        low = bound.copied().unwrap_or(low);
    }
    sql
}

/// The condition on rows. Ids are UUIDs and times are numbers: no text of people
/// gets into the SQL.
fn filter(subject: Subject, span: Span) -> String {
    let owner = match subject {
        Subject::All => String::new(),
        Subject::Org(org) => format!("org_id = '{org}' AND "),
        Subject::Site(site) => format!("site_id = '{site}' AND "),
    };
    format!(
        "{owner}timestamp >= to_timestamp_micros({}) AND timestamp < to_timestamp_micros({})",
        span.from.micros(),
        span.to.micros()
    )
}

fn full_hours(span: Span) -> Span {
    let from = span.from.micros();
    Span {
        from: Timestamp(from - from.rem_euclid(crate::part::HOUR_US)),
        to: span.to,
    }
}
