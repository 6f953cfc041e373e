//! Peers: collections of other houses that are polled or pushed to, each by a task of
//! its own, by a schedule, under a policy.
//!
//! Progress is a row in the database, written after each page is durable on this side
//! (poll) or accepted on the other (push). What is repeated after a crash is known
//! already and changes nothing, so that nothing is lost and nothing comes twice. Two
//! houses that push to each other come to rest for the same reason.

use std::time::Duration;

use http::{StatusCode, header};
use runtime::CancellationToken;
use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::media::TAXII_JSON;
use super::shown::word;
use crate::objects::collections::ROOT;
use crate::objects::{
    Collection, Filter, Objects, ObjectsError, Prepared, Reader, Row, Source, VersionMatch, Via,
    prepare,
};
use crate::share::veil::{Onlooker, Reach, Veil, Word};
use crate::share::{Lens, Seen, ShareError, Sharing, Tier, visits::Visited};
use crate::stix::{Tlp, json, time};

/// Objects in one page or push.
const PAGE_ROWS: u32 = 500;
/// Bytes of one answer of a peer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Time for one request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Pages of one visit; the rest comes at the next.
const PAGES_PER_VISIT: u32 = 10_000;
/// Bytes of the file that holds a token.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// Which way objects go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the peer to this house.
    Poll,
    /// From this house to the peer.
    Push,
}

/// A collection of another house.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its name here; progress is kept under it.
    pub name: String,
    /// Address of its collection: `https://host/root/collections/id/`.
    pub url: String,
    /// File that holds the token for it, one line.
    pub token_file: String,
    /// Alias or id of the collection of this house.
    pub collection: String,
    /// Which way objects go.
    pub direction: Direction,
    /// Where the peer stands: `up`, `down` or `level`. The sharing policy decides by it what is pushed.
    #[serde(default)]
    pub tier: Tier,
    /// Seconds between visits.
    #[serde(default = "every_s")]
    pub every_s: u32,
    /// The most closed marking that goes this way: `clear`, `green`, `amber`, `amber+strict` or `red`.
    #[serde(default = "tlp_max")]
    pub tlp_max: String,
    /// Types that go this way; empty: all.
    #[serde(default)]
    pub types: Vec<String>,
    /// Labels of which an object needs one, such as those of a sector; empty: none is needed.
    #[serde(default)]
    pub labels: Vec<String>,
}

fn every_s() -> u32 {
    60
}

fn tlp_max() -> String {
    "green".to_owned()
}

impl Check for PeerConfig {
    fn check(&self, at: &mut Checker) {
        let url = url::Url::parse(&self.url);
        at.require(
            url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()),
            "url",
            "must be an http:// or https:// URL",
        );
        let good = (1..=60).contains(&self.name.len()) && self.name.is_ascii();
        at.require(good, "name", "must have 1 to 60 ASCII characters");
        at.require(
            (1..=86_400).contains(&self.every_s),
            "every_s",
            "must be 1 to 86400",
        );
        at.require(
            Tlp::from_name(&self.tlp_max).is_some(),
            "tlp_max",
            "must be clear, green, amber, amber+strict or red",
        );
    }
}

/// How far a peer has come, and how it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Poll: the cursor to read on from; empty: none.
    pub next: String,
    /// Poll: when the last object was added there. Push: the number of the last object
    /// that was sent. In microseconds.
    pub after: i64,
    /// Objects that went through.
    pub moved: i64,
    /// Objects that the receiver refused, or that broke a rule.
    pub refused: i64,
    /// Objects that the sharing policy kept back, in this visit.
    pub withheld: i64,
    /// Visits that failed since the last that did not.
    pub failures: i64,
    /// What the last failure was; empty: none.
    pub error: String,
    /// When it was last visited, in microseconds.
    pub visited_at: i64,
}

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The token cannot be read.
    #[error("cannot read the token file {path}")]
    Token {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The peer cannot be reached, or broke off.
    #[error("the peer does not answer")]
    Http(#[from] reqwest::Error),
    /// The peer refused.
    #[error("the peer answered {status}: {text}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The beginning of what it said.
        text: String,
        /// How long it wants to be left alone.
        wait: Option<Duration>,
    },
    /// What the peer said is no TAXII.
    #[error("the peer's answer is not understood: {0}")]
    Answer(String),
    /// The store of this house.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The sharing policy cannot be read: nothing goes.
    #[error("the sharing policy cannot be read")]
    Share(#[from] ShareError),
}

/// A peer and what is needed to visit it.
#[derive(Debug, Clone)]
pub struct Peer {
    config: PeerConfig,
    objects: Objects,
    sharing: Sharing,
    http: reqwest::Client,
    clearance: Tlp,
}

impl Peer {
    /// A peer of `objects`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(objects: Objects, sharing: Sharing, config: PeerConfig) -> Result<Self, PeerError> {
        runtime::crypto::install_provider();
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            clearance: Tlp::from_name(&config.tlp_max).unwrap_or_default(),
            config,
            objects,
            sharing,
            http,
        })
    }

    /// Visits by the schedule until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let pause = match self.visit().await {
                Ok(moved) => {
                    if moved > 0 {
                        tracing::info!(peer = self.config.name, moved, "objects exchanged");
                    }
                    Duration::from_secs(u64::from(self.config.every_s))
                }
                Err((error, failures)) => {
                    tracing::warn!(peer = self.config.name, error = %runtime::error_chain(&error), "a peer could not be visited");
                    let doubled = Duration::from_secs(1 << failures.clamp(0, 10));
                    let asked = match &error {
                        PeerError::Refused { wait, .. } => wait.unwrap_or_default(),
                        _ => Duration::ZERO,
                    };
                    doubled.max(asked).min(PAUSE_MAX)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One visit: everything that is new, page by page; returns how many objects went
    /// through.
    ///
    /// # Errors
    /// Why it ended early, and how often that happened in a row. What went before is
    /// kept.
    pub async fn visit(&self) -> Result<u64, (PeerError, i64)> {
        let mut progress = match self.progress().await {
            Ok(progress) => progress,
            Err(error) => return Err((error.into(), 1)),
        };
        let (before, refused) = (progress.moved, progress.refused);
        let began = self.objects.db().clock().now();
        let started = std::time::Instant::now();
        let done = match self.config.direction {
            Direction::Poll => self.poll(&mut progress).await,
            Direction::Push => self.push(&mut progress).await,
        };
        progress.visited_at = self.objects.db().clock().now().micros();
        match &done {
            Ok(()) => {
                progress.failures = 0;
                progress.error = String::new();
            }
            Err(error) => {
                progress.failures += 1;
                progress.error = runtime::error_chain(error).chars().take(500).collect();
            }
        }
        if let Err(error) = self.save(&progress).await {
            return Err((error.into(), progress.failures));
        }
        let visit = Visited {
            id: String::new(),
            at: began.micros(),
            moved: progress.moved - before,
            refused: progress.refused - refused,
            withheld: progress.withheld,
            millis: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
            error: progress.error.clone(),
        };
        // A visit that found nothing new is no news; a failure is told once a state.
        let news = visit.moved + visit.refused + visit.withheld > 0 || progress.failures == 1;
        if news && let Err(error) = self.sharing.visited(&self.config.name, &visit).await {
            tracing::warn!(peer = self.config.name, error = %runtime::error_chain(&error), "a visit could not be recorded");
        }
        match done {
            Ok(()) => Ok(u64::try_from(progress.moved - before).unwrap_or_default()),
            Err(error) => Err((error, progress.failures)),
        }
    }

    async fn poll(&self, progress: &mut Progress) -> Result<(), PeerError> {
        let collection = self.collection().await?;
        let source = Source::fetched("taxii.poll", Via::of(&self.config.url));
        let mut newest = progress.after;
        for _ in 0..PAGES_PER_VISIT {
            let mut query = vec![
                ("limit", PAGE_ROWS.to_string()),
                ("match[version]", "all".to_owned()),
            ];
            if !progress.next.is_empty() {
                query.push(("next", progress.next.clone()));
            }
            if progress.after > 0 {
                query.push(("added_after", time::format_micros(progress.after)));
            }
            let mut url = self.url("objects/")?;
            url.query_pairs_mut().extend_pairs(&query);
            let request = self.http.get(url).header(header::ACCEPT, TAXII_JSON);
            let (last, body) = match self.send(request).await {
                Err(PeerError::Refused { status, .. })
                    if status.is_client_error()
                        && status != StatusCode::UNAUTHORIZED
                        && status != StatusCode::TOO_MANY_REQUESTS
                        && !progress.next.is_empty() =>
                {
                    // The cursor was forgotten: again from the time that the chain began.
                    progress.next.clear();
                    continue;
                }
                other => other?,
            };
            let (next, objects, refused) = self.read(&body)?;
            let count = i64::try_from(objects.len()).unwrap_or_default();
            if !objects.is_empty() {
                self.objects
                    .put(&collection, source.clone(), objects, None)
                    .await?;
            }
            progress.moved += count;
            progress.refused += refused;
            newest = newest.max(last.unwrap_or_default());
            progress.next = next.unwrap_or_default();
            if progress.next.is_empty() {
                // Only now: a cursor is good for the filters that it began with.
                progress.after = newest;
            }
            self.save(progress).await?;
            if progress.next.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The cursor, the objects that the policy lets in, and how many broke a rule.
    fn read(&self, body: &[u8]) -> Result<(Option<String>, Vec<Prepared>, i64), PeerError> {
        let node = json::parse(body).map_err(|error| PeerError::Answer(error.to_string()))?;
        let more = matches!(
            node.get("more").map(|node| &node.value),
            Some(json::Value::Bool(true))
        );
        let next = node.text_of("next").map(str::to_owned).filter(|_| more);
        if node.get("objects").is_none() {
            return Ok((next, Vec::new(), 0));
        }
        let batch =
            prepare::envelope(body).map_err(|error| PeerError::Answer(error.to_string()))?;
        let refused = i64::try_from(batch.refused.len()).unwrap_or_default();
        if let Some(first) = batch.refused.first() {
            tracing::warn!(peer = self.config.name, refused, first = %first.wrong, "objects break rules");
        }
        let wanted = batch.objects.into_iter().filter(|object| {
            object.tlp <= self.clearance && self.wants(&object.kind, &object.json)
        });
        Ok((next, wanted.collect(), refused))
    }

    fn wants(&self, kind: &str, object: &str) -> bool {
        let config = &self.config;
        if !config.types.is_empty() && !config.types.iter().any(|wanted| wanted == kind) {
            return false;
        }
        if config.labels.is_empty() {
            return true;
        }
        let Ok(node) = json::parse(object.as_bytes()) else {
            return false;
        };
        let labels = node
            .get("labels")
            .and_then(json::Node::list)
            .unwrap_or_default();
        labels
            .iter()
            .filter_map(json::Node::text)
            .any(|label| config.labels.iter().any(|wanted| wanted == label))
    }

    async fn push(&self, progress: &mut Progress) -> Result<(), PeerError> {
        let collection = self.collection().await?;
        let filter = Filter {
            kinds: self.config.types.clone(),
            versions: vec![VersionMatch::All],
            ..Filter::default()
        };
        let mut lens = self
            .sharing
            .lens(self.config.tier, &self.config.name, None)
            .await?;
        lens.there = Some(Via::of(&self.config.url));
        for _ in 0..PAGES_PER_VISIT {
            let page = self
                .objects
                .page(
                    &collection,
                    Reader {
                        replies: true,
                        ..self.clearance.into()
                    },
                    &filter,
                    progress.after,
                    PAGE_ROWS,
                    true,
                )
                .await?;
            let Some(last) = page.rows.last().map(|row| row.seq) else {
                return Ok(());
            };
            let kind = |id: &str| id.split("--").next().unwrap_or_default().to_owned();
            let chosen: Vec<&Row> = page
                .rows
                .iter()
                .filter(|row| !lens.came_from(row) && self.wants(&kind(&row.id), &row.json))
                .collect();
            self.sharing
                .know_authors(&mut lens, chosen.iter().map(|row| row.json.as_str()))
                .await?;
            let words: Vec<Word<'_>> = chosen.iter().map(|row| word(&collection, row)).collect();
            let who = Onlooker {
                own: Vec::new(),
                reach: Reach::Everywhere(self.clearance),
            };
            let veil = self.sharing.veil(&lens, &who, &words).await?;
            let (wanted, withheld) = passed(&lens, &veil, &words);
            progress.withheld += withheld;
            if !wanted.is_empty() {
                let body = format!("{{\"objects\":[{}]}}", wanted.join(","));
                let request = self
                    .http
                    .post(self.url("objects/")?)
                    .header(header::ACCEPT, TAXII_JSON)
                    .header(header::CONTENT_TYPE, TAXII_JSON)
                    .body(body);
                let (_, body) = self.send(request).await?;
                let status: serde_json::Value = serde_json::from_slice(&body)
                    .map_err(|error| PeerError::Answer(error.to_string()))?;
                let failed = status["failure_count"].as_i64().unwrap_or_default();
                if failed > 0 {
                    tracing::warn!(peer = self.config.name, failed, first = %status["failures"][0], "the peer refused objects");
                }
                progress.refused += failed;
                progress.moved += i64::try_from(wanted.len()).unwrap_or_default() - failed;
            }
            progress.after = last;
            self.save(progress).await?;
            if page.next.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends; returns the time of the last object added and the body.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(Option<i64>, Vec<u8>), PeerError> {
        let token = self.token()?;
        let mut response = request.bearer_auth(token).send().await?;
        let status = response.status();
        let last = response
            .headers()
            .get("x-taxii-date-added-last")
            .and_then(|value| value.to_str().ok())
            .and_then(time::parse);
        let wait = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(PeerError::Answer(format!(
                    "it has more than {ANSWER_BYTES_MAX} bytes"
                )));
            }
            body.extend_from_slice(&piece);
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(PeerError::Refused { status, text, wait });
        }
        Ok((last, body))
    }

    fn url(&self, part: &str) -> Result<url::Url, PeerError> {
        let text = format!("{}/{part}", self.config.url.trim_end_matches('/'));
        url::Url::parse(&text).map_err(|error| PeerError::Answer(format!("{text:?}: {error}")))
    }

    fn token(&self) -> Result<String, PeerError> {
        use std::io::Read as _;
        let path = &self.config.token_file;
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
            .map_err(|source| PeerError::Token {
                path: path.clone(),
                source,
            })?;
        Ok(text.trim().to_owned())
    }

    async fn collection(&self) -> Result<Collection, ObjectsError> {
        self.objects.collection(ROOT, &self.config.collection).await
    }

    /// How far it has come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn progress(&self) -> Result<Progress, ObjectsError> {
        progress_of(self.objects.db(), &self.config.name).await
    }
    async fn save(&self, progress: &Progress) -> Result<(), ObjectsError> {
        let mut tx = self.objects.db().begin().await?;
        sqlx::query(
            "INSERT INTO isac_peer (name, read_on, after_micros, moved, refused, failures, error, visited_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (name) DO UPDATE SET read_on = $2, after_micros = $3, moved = $4, refused = $5, failures = $6, error = $7, visited_at = $8",
        )
        .bind(&self.config.name)
        .bind(&progress.next)
        .bind(progress.after)
        .bind(progress.moved)
        .bind(progress.refused)
        .bind(progress.failures)
        .bind(&progress.error)
        .bind(progress.visited_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// How far the peer called `name` has come.
///
/// # Errors
/// When the database fails.
pub async fn progress_of(db: &store::Db, name: &str) -> Result<Progress, ObjectsError> {
    let row: Option<(String, i64, i64, i64, i64, String, i64)> = sqlx::query_as(
            "SELECT read_on, after_micros, moved, refused, failures, error, visited_at FROM isac_peer WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(db.pool())
        .await?;
    Ok(row.map_or_else(Progress::default, |row| Progress {
        next: row.0,
        after: row.1,
        moved: row.2,
        refused: row.3,
        failures: row.4,
        error: row.5,
        visited_at: row.6,
        withheld: 0,
    }))
}

/// What the lens lets through of these rows, and how many it keeps back.
fn passed<'a>(
    lens: &Lens,
    veil: &Veil,
    rows: &[Word<'a>],
) -> (Vec<std::borrow::Cow<'a, str>>, i64) {
    let (mut passed, mut withheld) = (Vec::with_capacity(rows.len()), 0);
    for row in rows {
        match veil.look(lens, row) {
            Seen::Whole(text) => passed.push(text),
            Seen::Withheld { why, .. } => {
                tracing::debug!(object = row.id, why, "an object is kept back");
                withheld += 1;
            }
        }
    }
    (passed, withheld)
}
