//! What pages and the API stand on: the sites' agents, and who may do how much.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use base::{OrgId, UserId};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use url::form_urlencoded;
use web::limit::{Limiter, Rate};
use web::{Streams, Visit, WebError, WebResult};

use crate::agent::Applied;
use crate::glass::api::SearchQuery;
use crate::glass::probe::{ProbeRequest, ProbeView};
use crate::glass::view::{ChangesView, RoutesView, SessionView, StatusView};

/// Probes of one person at once, and the time until one more is allowed.
const PROBES: Rate = Rate {
    burst: 5,
    refill: Duration::from_secs(12),
};
/// Persons whose probes are counted.
const PROBERS_MAX: usize = 10_000;
/// Questions to agents at one time, whoever asks: the glass is open to everybody.
const QUESTIONS_MAX: usize = 32;
/// How long one waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);
/// Characters of an agent's words that are shown.
const SAID_CHARS_MAX: usize = 300;

/// The way to the agent of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Name of the site.
    pub site: String,
    /// Name of the node.
    pub node: String,
    /// Where its looking glass is.
    pub url: String,
    /// Whether the node is heard.
    pub online: bool,
    /// What became of the newest configuration.
    pub applied: Applied,
}

/// Why an agent could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It does not answer.
    #[error("the looking glass of {site} does not answer: {why}")]
    Silent {
        /// The site.
        site: String,
        /// What happened.
        why: String,
    },
    /// It refuses, with the status and its words.
    #[error("the looking glass of {site} answered {status}: {said}")]
    Refused {
        /// The site.
        site: String,
        /// HTTP status.
        status: u16,
        /// Its words.
        said: String,
    },
}

/// Finds agents and asks them.
#[async_trait]
pub trait Doors: Send + Sync {
    /// Every site's agent that has ever told where it is, in order of the sites' names.
    async fn doors(&self) -> Vec<Door>;

    /// Asks; gives status and body.
    ///
    /// # Errors
    /// [`AskError::Silent`]
    async fn ask(
        &self,
        door: &Door,
        method: Method,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Vec<u8>), AskError>;

    /// Whether the organisation takes part in the exchange.
    async fn is_member(&self, org: OrgId) -> bool;
}

/// What the pages and the API stand on. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    pub(super) doors: Arc<dyn Doors>,
    pub(super) streams: Streams,
    probes: Arc<Limiter<UserId>>,
    turns: Arc<Semaphore>,
}

impl Desk {
    /// A desk over `doors`.
    pub fn new(doors: Arc<dyn Doors>) -> Self {
        Self {
            doors,
            streams: Streams::default(),
            probes: Arc::new(Limiter::new(PROBES, PROBERS_MAX)),
            turns: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        }
    }

    /// The agent of `site`.
    pub(super) async fn door(&self, site: &str) -> WebResult<Door> {
        let doors = self.doors.doors().await;
        doors
            .into_iter()
            .find(|door| door.site == site)
            .ok_or_else(|| WebError::not_found("site", site))
    }

    /// Whether the reader sees what members see.
    pub(super) async fn is_member(&self, visit: &Visit) -> bool {
        let principal = &visit.principal;
        if principal.may("glass:all", web::Thing::HOUSE) {
            return true;
        }
        for badge in principal.orgs.iter() {
            if principal.may("glass:member", badge.id) && self.doors.is_member(badge.id).await {
                return true;
            }
        }
        false
    }

    /// Refuses readers who are no members.
    pub(super) async fn must_be_member(&self, visit: &Visit) -> WebResult<()> {
        visit.principal.signed_in()?;
        match self.is_member(visit).await {
            true => Ok(()),
            false => Err(WebError::forbidden(visit.t("glass-members-only"))),
        }
    }

    async fn get<T: DeserializeOwned>(&self, door: &Door, target: &str) -> Result<T, AskError> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(AskError::Silent {
                site: door.site.clone(),
                why: format!("{QUESTIONS_MAX} questions are being answered; ask again in a moment"),
            });
        };
        let (status, body) = self.doors.ask(door, Method::GET, target, None).await?;
        read(door, status, &body)
    }

    /// How the glass of a site is.
    pub(super) async fn status(&self, door: &Door) -> Result<StatusView, AskError> {
        self.get(door, "/glass/status").await
    }

    /// The sessions of a site.
    pub(super) async fn sessions(&self, door: &Door) -> Result<Vec<SessionView>, AskError> {
        self.get(door, "/glass/sessions").await
    }

    /// Routes that a search finds.
    pub(super) async fn search(
        &self,
        door: &Door,
        query: &SearchQuery,
    ) -> Result<RoutesView, AskError> {
        let target = format!("/glass/search?{}", search_query(query));
        self.get(door, &target).await
    }

    /// What goes to a session (`exported`) or is kept from it (`withheld`).
    pub(super) async fn towards(
        &self,
        door: &Door,
        list: &'static str,
        session: &str,
        offset: usize,
        limit: usize,
    ) -> Result<RoutesView, AskError> {
        let session: String = form_urlencoded::byte_serialize(session.as_bytes()).collect();
        self.get(
            door,
            &format!("/glass/{list}/{session}?offset={offset}&limit={limit}"),
        )
        .await
    }

    /// What differs between two moments.
    pub(super) async fn changes(
        &self,
        door: &Door,
        since: u64,
        until: Option<u64>,
        session: Option<&str>,
    ) -> Result<ChangesView, AskError> {
        let mut target = format!("/glass/changes?since={since}");
        if let Some(until) = until {
            target.push_str(&format!("&until={until}"));
        }
        if let Some(session) = session {
            let session: String = form_urlencoded::byte_serialize(session.as_bytes()).collect();
            target.push_str(&format!("&session={session}"));
        }
        self.get(door, &target).await
    }

    /// Probes from a site, for a person who has not probed too often.
    pub(super) async fn probe(
        &self,
        visit: &Visit,
        door: &Door,
        request: &ProbeRequest,
    ) -> WebResult<Result<ProbeView, AskError>> {
        let user = visit.principal.signed_in()?;
        if let Err(wait) = self.probes.attempt(&user, visit.now) {
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
            return Err(WebError::too_many(seconds.saturating_add(1)));
        }
        let body = serde_json::to_vec(request).map_err(WebError::internal)?;
        let asked = self
            .doors
            .ask(door, Method::POST, "/glass/probes", Some(body))
            .await;
        Ok(asked.and_then(|(status, body)| read(door, status, &body)))
    }
}

/// A search as the agent's query string.
fn search_query(query: &SearchQuery) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    let texts = [
        ("prefix", &query.prefix),
        ("matching", &query.matching),
        ("origin", &query.origin),
        ("through", &query.through),
        ("community", &query.community),
        ("session", &query.session),
        ("state", &query.state),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            pairs.append_pair(name, value);
        }
    }
    pairs.append_pair("offset", &query.offset.to_string());
    if let Some(limit) = query.limit {
        pairs.append_pair("limit", &limit.to_string());
    }
    pairs.finish()
}

fn read<T: DeserializeOwned>(door: &Door, status: u16, body: &[u8]) -> Result<T, AskError> {
    if status == 200 {
        return serde_json::from_slice(body).map_err(|error| AskError::Silent {
            site: door.site.clone(),
            why: format!("its answer is none: {error}"),
        });
    }
    let said = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| Some(value.get("error")?.as_str()?.to_owned()))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    Err(AskError::Refused {
        site: door.site.clone(),
        status,
        said: said.chars().take(SAID_CHARS_MAX).collect(),
    })
}

impl AskError {
    /// As an answer of the console's API.
    pub(super) fn tell(self) -> WebError {
        match self {
            Self::Refused {
                status: 400 | 422,
                said,
                ..
            } => WebError::field("query", "rule", said),
            Self::Refused {
                status: 404, said, ..
            } => WebError::not_found("session", said),
            Self::Refused { status: 429, .. } => WebError::too_many(60),
            other => WebError::unavailable(&other),
        }
    }

    /// Whether the question was wrong, not the agent.
    pub(super) fn is_question(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 400 | 404 | 422 | 429,
                ..
            }
        )
    }
}
