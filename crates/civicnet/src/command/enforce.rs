//! `civicnet enforce`: questions about what is refused, and undoing it, put to the
//! control plane's API as its user whose token is given.

use anyhow::{Context, bail, ensure};
use base::Timestamp;
use reqwest::{Method, Url};
use serde_json::Value;

use super::sandbox::{client, endpoint};
use crate::Verdict;
use crate::cli::{ApiDoor, EnforceCommand};

/// Enforcements asked for at once.
const PAGE: u32 = 100;
/// Bytes of a token's file.
const TOKEN_BYTES_MAX: u64 = 4_096;

pub(crate) async fn run(what: EnforceCommand) -> anyhow::Result<Verdict> {
    match what {
        EnforceCommand::Why { target, door } => why(&target, &door).await,
        EnforceCommand::List { state, limit, door } => list(&state, limit, &door).await,
        EnforceCommand::Undo { id, door } => undo(&id, &door).await,
    }
}

/// The API and a token for it.
pub(super) struct Api {
    base: Url,
    token: String,
    client: reqwest::Client,
}

impl Api {
    pub(super) fn open(door: &ApiDoor) -> anyhow::Result<Self> {
        let base = match &door.api {
            Some(base) => base.clone(),
            None => endpoint(&door.dir, "api")?,
        };
        let mut base = Url::parse(&base).with_context(|| format!("{base:?} is no address"))?;
        // So that paths are put behind it.
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            base,
            token: token(door)?,
            client: client()?,
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<Value> {
        let mut url = self.base.join(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.request(method, url)).await
    }

    /// Posts `body` as JSON.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = self.base.join(path)?;
        self.send(self.client.post(url).json(body)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let request = request.bearer_auth(&self.token).build()?;
        let url = request.url().clone();
        let response = self
            .client
            .execute(request)
            .await
            .with_context(|| format!("could not ask {url}"))?;
        let status = response.status();
        let text = response.text().await?;
        let told: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if !status.is_success() {
            let detail = told["detail"].as_str().unwrap_or(&text);
            bail!("{status}: {}", detail.chars().take(500).collect::<String>());
        }
        Ok(told)
    }
}

fn token(door: &ApiDoor) -> anyhow::Result<String> {
    let text = match &door.token_file {
        Some(file) => {
            let size = std::fs::metadata(file).map(|about| about.len());
            let size = size.with_context(|| format!("could not read {}", file.display()))?;
            ensure!(
                size <= TOKEN_BYTES_MAX,
                "{}: must have at most {TOKEN_BYTES_MAX} bytes",
                file.display()
            );
            std::fs::read_to_string(file)
                .with_context(|| format!("could not read {}", file.display()))?
        }
        None => std::env::var("CIVICNET_TOKEN")
            .context("no token: give --token-file, or set CIVICNET_TOKEN")?,
    };
    Ok(text.trim().to_owned())
}

fn moment(value: &Value) -> String {
    value
        .as_i64()
        .map_or_else(|| "never".to_owned(), |at| Timestamp(at).to_string())
}

/// One enforcement on a line.
fn line(one: &Value) -> String {
    let text = |name: &str| one[name].as_str().unwrap_or("-").to_owned();
    let state = match (one["state"].as_str(), one["in_force"].as_bool()) {
        (Some("active"), Some(false)) => "ended".to_owned(),
        _ => text("state"),
    };
    format!(
        "{} {:<9} {:<8} {:<40} {:>8} hits, until {}, {}: {}",
        text("id"),
        state,
        text("action"),
        text("target"),
        one["hits"].as_u64().unwrap_or(0),
        moment(&one["until"]),
        text("source"),
        text("reason"),
    )
}

async fn why(target: &str, door: &ApiDoor) -> anyhow::Result<Verdict> {
    let api = Api::open(door)?;
    let told = api
        .call(Method::GET, "enforcement-why", &[("target", target)])
        .await?;
    let blocked = told["blocked"] == true;
    if door.json {
        crate::out(&serde_json::to_string_pretty(&told)?)?;
    } else {
        let target = told["target"].as_str().unwrap_or(target);
        crate::out(&match blocked {
            true => format!("{target} is blocked"),
            false => format!("{target} is not blocked"),
        })?;
        if let Some(protected) = told["protected"].as_str() {
            crate::out(&format!("protected: {protected}"))?;
        }
        for one in told["enforcements"].as_array().into_iter().flatten() {
            crate::out(&line(one))?;
        }
    }
    // So that a script can ask without reading.
    Ok(if blocked {
        Verdict::NotInOrder
    } else {
        Verdict::Good
    })
}

async fn list(state: &str, limit: u32, door: &ApiDoor) -> anyhow::Result<Verdict> {
    let api = Api::open(door)?;
    let (mut left, mut cursor) = (limit, None::<String>);
    while left > 0 {
        let rows = left.min(PAGE).to_string();
        let mut query = vec![("state", state), ("limit", rows.as_str())];
        if let Some(cursor) = &cursor {
            query.push(("cursor", cursor));
        }
        let told = api.call(Method::GET, "enforcements", &query).await?;
        for one in told["items"].as_array().into_iter().flatten() {
            left = left.saturating_sub(1);
            crate::out(&match door.json {
                true => one.to_string(),
                false => line(one),
            })?;
        }
        match told["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(Verdict::Good),
        }
    }
    crate::complain(&format!(
        "only the first {limit}; ask for more with --limit"
    ));
    Ok(Verdict::Good)
}

async fn undo(id: &str, door: &ApiDoor) -> anyhow::Result<Verdict> {
    let id: base::EnforcementId = id
        .parse()
        .ok()
        .with_context(|| format!("{id:?} is no id of an enforcement"))?;
    let api = Api::open(door)?;
    let told = api
        .call(Method::DELETE, &format!("enforcements/{id}"), &[])
        .await?;
    crate::out(&match door.json {
        true => serde_json::to_string_pretty(&told)?,
        false => line(&told),
    })?;
    Ok(Verdict::Good)
}
