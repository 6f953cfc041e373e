//! The exchange joined to its sites: the model is compiled and published to the agents, what they see is
//! written down, and the console asks their looking glasses.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use axum::http::Method;
use base::{NodeName, OrgId, Role, Timestamp};
use bytes::Bytes;
use exchange::agent::{Applied, SiteReport, SiteSnapshot};
use exchange::document::{Document, EngineKind};
use exchange::engine::daemon::Daemon;
use exchange::glass::console::{AskError, Door, Doors};
use exchange::glass::sign::{Key, MAC_HEADER, TIME_HEADER};
use exchange::irr::{self, AllowedByMember, Cache, Registry, Unreachable, rpsl::Files, whois};
use exchange::room::states::{self, Seen, SeenState};
use exchange::room::{Exchange, Member, Wanted};
use exchange::traffic::desk::Traffic;
use fabric::control::NodeState;
use fabric::{Control, EventIngest, IngestError};
use store::{Db, Vault};

use super::seams::Figures;
use crate::config::IrrSection;
use crate::run::process::Process;

/// How often the model is compiled; the same document makes no new version.
const PUBLISH_PERIOD: Duration = Duration::from_secs(1);
/// When registries are asked again that failed or did not know somebody.
const RETRY_PERIOD: Duration = Duration::from_secs(30);
/// How long an agent may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// How long an agent may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an agent's answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// For how long what nodes tell of themselves is believed without asking again.
const DOORS_LIFE: Duration = Duration::from_secs(1);
/// Which purpose the key of questions to looking glasses is made for.
const KEY_CONTEXT: &str = "exchange.glass";

/// The key that signs questions to looking glasses, in hexadecimal digits.
fn key_hex(vault: &Vault) -> String {
    vault.blind_index(KEY_CONTEXT, b"questions")
}

/// Takes events for the lake, and agents' reports.
pub(super) struct Doorman {
    pub(super) figures: Figures,
    pub(super) db: Db,
}

#[async_trait]
impl EventIngest for Doorman {
    async fn ingest(&self, node: &NodeName, seq: u64, batch: Bytes) -> Result<(), IngestError> {
        self.figures.ingest(node, seq, batch).await
    }

    async fn report(&self, node: &NodeName, role: Role, body: Bytes) -> Result<(), IngestError> {
        if role != Role::Exchange {
            return Err(IngestError::Refused(format!(
                "nobody takes reports of role {role}"
            )));
        }
        let report: SiteReport = serde_json::from_slice(&body)
            .map_err(|error| IngestError::Refused(format!("it is no report: {error}")))?;
        let seen: Vec<Seen> = report.sessions.iter().map(seen).collect();
        match states::report(&self.db, node.as_str(), &report.site, &seen).await {
            Ok(()) => Ok(()),
            Err(error @ store::StoreError::Invalid(_)) => {
                Err(IngestError::Refused(runtime::error_chain(&error)))
            }
            Err(error) => Err(IngestError::Busy(runtime::error_chain(&error))),
        }
    }
}

fn seen(session: &exchange::agent::SessionReport) -> Seen {
    Seen {
        address: session.address,
        state: match (session.up, session.disabled) {
            (true, _) => SeenState::Up,
            (false, true) => SeenState::Disabled,
            (false, false) => SeenState::Down,
        },
        since: Timestamp::from_seconds(i64::try_from(session.since_s).unwrap_or(0)),
        reason: session.reason.clone(),
        received: session.received,
        accepted: session.accepted,
        refused: session.refused,
        exported: session.exported,
    }
}

/// Compiles the model and publishes it to the agents, again and again.
pub(super) fn publish(
    process: &Process,
    exchange: Exchange,
    traffic: Traffic,
    control: Control,
    vault: &Vault,
    irr: IrrSection,
) {
    // An agent holds the secrets of its own site alone.
    control.tailor(Role::Exchange, Arc::new(SiteSnapshot::cut));
    let registered = Arc::new(Mutex::new(Registered::new(irr)));
    let key = key_hex(vault);
    let before: Arc<Mutex<Option<SiteSnapshot>>> = Arc::default();
    process
        .supervisor
        .every("exchange publisher", PUBLISH_PERIOD, move || {
            let (exchange, control, key) = (exchange.clone(), control.clone(), key.clone());
            let traffic = traffic.clone();
            let (registered, before) = (registered.clone(), before.clone());
            async move {
                let done =
                    publish_once(&exchange, &traffic, &control, key, registered, &before).await;
                // What stands in the way is shown where the members are entered, not in a log alone.
                exchange.note(match &done {
                    Ok(warnings) => warnings.clone(),
                    Err(error) => vec![format!("{error:#}")],
                });
                done.map(drop)
            }
        });
}

/// Compiles and publishes once; gives what the operator should know.
async fn publish_once(
    exchange: &Exchange,
    traffic: &Traffic,
    control: &Control,
    key: String,
    registered: Arc<Mutex<Registered>>,
    before: &Mutex<Option<SiteSnapshot>>,
) -> anyhow::Result<Vec<String>> {
    let now = exchange.db().clock().now();
    let compiled = match exchange.compile(now).await {
        Ok(compiled) => compiled,
        // An exchange that nobody has described yet has no document.
        Err(exchange::room::RoomError::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(anyhow::Error::new(error)),
    };
    if let Some((key, rule)) = compiled.problems.first() {
        anyhow::bail!("the members' document is not published: {key}: {rule}");
    }
    let (document, ends) = (compiled.document, compiled.ends);
    let asked = document.clone();
    let (allowed, warnings) = tokio::task::spawn_blocking(move || {
        let mut registered = registered.lock().unwrap_or_else(PoisonError::into_inner);
        registered.allowed(&asked)
    })
    .await??;
    let mut warnings = warnings;
    for site in &document.sites {
        let daemon = Daemon::debian(document.engine_at(&site.name));
        // What OpenBGPD cannot do is refused at its site alone: the others go on, and the operator is told.
        if daemon.kind == EngineKind::Openbgpd
            && let Err(error) = daemon.render(&document, &site.name, &allowed)
        {
            warnings.push(runtime::error_chain(&error));
        }
    }
    let snapshot = SiteSnapshot::new(document, &allowed, key)
        .with_traffic(traffic.plan(None).await?)
        .with_ends(&ends);
    let same = before
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        == Some(&snapshot);
    if !same {
        let version = control.publish(Role::Exchange, &snapshot).await?;
        tracing::info!(version, "The members' document is published");
        *before.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }
    Ok(warnings)
}

/// What the registries say, asked when the members or the registries' files change, and now and then.
struct Registered {
    irr: IrrSection,
    asked: Option<(Vec<Question>, Vec<Option<SystemTime>>, Instant)>,
    allowed: AllowedByMember,
    warnings: Vec<String>,
}

/// What of a member decides what the registries are asked.
type Question = (u32, bool, String, Vec<String>);

impl Registered {
    fn new(irr: IrrSection) -> Self {
        Self {
            irr,
            asked: None,
            allowed: AllowedByMember::new(),
            warnings: Vec::new(),
        }
    }

    /// What each member may announce, and what the operator should know about it.
    fn allowed(&mut self, document: &Document) -> anyhow::Result<(AllowedByMember, Vec<String>)> {
        if !document.policy.irr.enabled {
            return Ok((AllowedByMember::new(), Vec::new()));
        }
        let questions: Vec<Question> = document
            .members
            .iter()
            .flat_map(|member| {
                [false, true].map(|v6| {
                    (
                        member.asn,
                        v6,
                        member.set_name(v6),
                        member.irr_sources.clone(),
                    )
                })
            })
            .chain([(0, false, String::new(), document.policy.irr.sources.clone())])
            .chain(document.members.iter().flat_map(|member| {
                member.routers.iter().map(move |router| {
                    (
                        member.asn,
                        router.v6.is_some(),
                        router.site.clone(),
                        Vec::new(),
                    )
                })
            }))
            .collect();
        let stamps: Vec<Option<SystemTime>> = self
            .irr
            .files
            .iter()
            .map(|file| {
                std::fs::metadata(file)
                    .and_then(|meta| meta.modified())
                    .ok()
            })
            .collect();
        let fresh = self.asked.as_ref().is_some_and(|(before, files, at)| {
            *before == questions && *files == stamps && at.elapsed() < self.patience()
        });
        if fresh {
            return Ok((self.allowed.clone(), self.warnings.clone()));
        }
        let cache = self.irr.cache_dir.clone().map(Cache::open).transpose()?;
        let mut registry = self.registry();
        let (mut allowed, mut warnings) = (AllowedByMember::new(), Vec::new());
        for site in &document.sites {
            let before = Some(&self.allowed);
            let (found, told) = irr::resolve(
                document,
                &site.name,
                registry.as_mut(),
                cache.as_ref(),
                before,
            )?;
            allowed.extend(found);
            warnings.extend(told.into_iter().map(|warning| warning.0));
        }
        // A member stands at several sites, and has one answer.
        warnings.sort();
        warnings.dedup();
        for warning in warnings.iter().filter(|one| !self.warnings.contains(one)) {
            tracing::warn!("{warning}");
        }
        self.allowed = allowed;
        self.warnings = warnings;
        self.asked = Some((questions, stamps, Instant::now()));
        Ok((self.allowed.clone(), self.warnings.clone()))
    }

    /// How long an answer is good for; one with gaps is asked for again sooner.
    fn patience(&self) -> Duration {
        let whole = Duration::from_secs(self.irr.refresh_s);
        match self.warnings.is_empty() {
            true => whole,
            false => whole.min(RETRY_PERIOD),
        }
    }

    fn registry(&self) -> Box<dyn Registry> {
        if !self.irr.files.is_empty() {
            let mut files = Files::default();
            for file in &self.irr.files {
                if let Err(error) = files.read(file) {
                    let error = runtime::error_chain(&error);
                    tracing::warn!(
                        error,
                        "The registries' files cannot be read: the last answers stand"
                    );
                    return Box::new(Unreachable(file.display().to_string()));
                }
            }
            return Box::new(files);
        }
        match &self.irr.server {
            None => Box::new(Unreachable("(none configured)".to_owned())),
            Some(server) => match whois::Server::connect(server, whois::TIMEOUT) {
                Ok(server) => Box::new(server),
                Err(error) => {
                    let error = runtime::error_chain(&error);
                    tracing::warn!(
                        error,
                        "The registry does not answer: its last answers stand"
                    );
                    Box::new(Unreachable(server.clone()))
                }
            },
        }
    }
}

/// The agents, as the console asks them.
pub(super) struct Agents {
    control: Control,
    exchange: Exchange,
    key: Option<Key>,
    client: reqwest::Client,
    known: tokio::sync::Mutex<Option<(Instant, Vec<Door>)>>,
}

impl Agents {
    pub(super) fn new(control: Control, exchange: Exchange, vault: &Vault) -> anyhow::Result<Self> {
        runtime::crypto::install_provider();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        Ok(Self {
            control,
            exchange,
            key: Key::from_hex(&key_hex(vault)),
            client,
            known: tokio::sync::Mutex::default(),
        })
    }
}

#[async_trait]
impl Doors for Agents {
    async fn doors(&self) -> Vec<Door> {
        let mut known = self.known.lock().await;
        if let Some((at, doors)) = known.as_ref()
            && at.elapsed() < DOORS_LIFE
        {
            return doors.clone();
        }
        let nodes = match self.control.nodes().await {
            Ok(nodes) => nodes,
            Err(error) => {
                tracing::warn!(error = %runtime::error_chain(&error), "The agents could not be listed");
                return known
                    .as_ref()
                    .map_or_else(Vec::new, |(_, doors)| doors.clone());
            }
        };
        let mut doors: Vec<Door> = nodes
            .into_iter()
            .filter(|node| node.state != NodeState::Revoked && node.roles.contains(&Role::Exchange))
            .filter_map(|node| {
                let told = node.health.get("exchange")?;
                let applied: Applied =
                    serde_json::from_value(told.get("applied")?.clone()).unwrap_or_default();
                Some(Door {
                    site: told.get("site")?.as_str()?.to_owned(),
                    node: node.name.as_str().to_owned(),
                    url: told.get("glass")?.as_str()?.to_owned(),
                    online: node.online,
                    applied,
                })
            })
            .collect();
        doors.sort_by(|a, b| (&a.site, !a.online, &a.node).cmp(&(&b.site, !b.online, &b.node)));
        // A site whose machine was replaced has the one that is heard.
        doors.dedup_by(|later, first| later.site == first.site);
        *known = Some((Instant::now(), doors.clone()));
        doors
    }

    async fn ask(
        &self,
        door: &Door,
        method: Method,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Vec<u8>), AskError> {
        let silent = |why: String| AskError::Silent {
            site: door.site.clone(),
            why,
        };
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let url = format!("{}{target}", door.url.trim_end_matches('/'));
        let mut request = self.client.request(method.clone(), url);
        if let Some(key) = &self.key {
            let (time, mac) = key.sign(method.as_str(), target, now_s);
            request = request.header(TIME_HEADER, time).header(MAC_HEADER, mac);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let mut response = request
            .send()
            .await
            .map_err(|error| silent(runtime::error_chain(&error.without_url())))?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return Err(silent("its answer is too long".to_owned())),
                Ok(None) => return Ok((status, bytes)),
                Err(error) => return Err(silent(runtime::error_chain(&error.without_url()))),
            }
        }
    }

    async fn is_member(&self, org: OrgId) -> bool {
        match self.exchange.all::<Member>(&Wanted::by("org", org)).await {
            Ok(members) => members
                .iter()
                .any(|member| matches!(member.value.state.as_str(), "active" | "suspended")),
            Err(error) => {
                tracing::warn!(error = %runtime::error_chain(&error), "Members could not be read");
                false
            }
        }
    }
}
