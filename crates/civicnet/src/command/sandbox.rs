//! `civicnet why` and `civicnet traffic`: questions to a running sandbox.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::Verdict;
use crate::cli::{Rate, Why};
use crate::up::TrafficState;

pub(crate) async fn why(why: Why) -> anyhow::Result<Verdict> {
    let url = match why.server {
        Some(server) => format!("http://{server}/why"),
        None => endpoint(&why.dir, "dispatch_why")?,
    };
    let query = [("name", why.name), ("client", why.client.to_string())];
    let asked = reqwest::Url::parse_with_params(&url, &query)
        .with_context(|| format!("{url} is no address"))?;
    let response = client()?
        .get(asked)
        .send()
        .await
        .with_context(|| format!("could not ask {url}"))?;
    let status = response.status();
    let text: String = response.text().await?;
    ensure!(status.is_success(), "{url} said {status}: {text}");
    let told: Value = serde_json::from_str(&text)?;
    crate::out(&serde_json::to_string_pretty(&told)?)?;
    Ok(Verdict::Good)
}

pub(crate) async fn traffic(rate: Rate, dir: &Path) -> anyhow::Result<Verdict> {
    let url = format!("{}/traffic", endpoint(dir, "sandbox")?);
    let wish = TrafficState {
        rps: rate.0,
        served: 0,
        failed: 0,
    };
    let response = client()?
        .put(&url)
        .json(&wish)
        .send()
        .await
        .with_context(|| format!("could not ask {url}"))?;
    let state: TrafficState = response.error_for_status()?.json().await?;
    crate::out(&format!(
        "{} requests a second; {} served and {} failed since the start",
        state.rps, state.served, state.failed
    ))?;
    Ok(Verdict::Good)
}

pub(crate) fn endpoint(dir: &Path, name: &str) -> anyhow::Result<String> {
    let file = dir.join("endpoints.json");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("could not read {}: is the sandbox running?", file.display()))?;
    let all: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
    all.get(name)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .with_context(|| format!("{} names no {name}", file.display()))
}

pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    runtime::crypto::install_provider();
    Ok(reqwest::Client::builder()
        .no_proxy()
        .timeout(std::time::Duration::from_secs(10))
        .build()?)
}
