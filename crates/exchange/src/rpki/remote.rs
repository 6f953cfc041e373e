//! The validation report of the service whose payloads are followed, by HTTP (`/report`), so that the
//! console shows repositories and refused objects of a validator that is a process of its own.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::service::Rpki;
use super::validator::{REFUSALS_MAX, RunReport};

/// Time between two questions.
const EVERY: Duration = Duration::from_secs(15);
/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const BYTES_MAX: usize = 16 << 20;
/// Entries of each list that are kept.
const ENTRIES_MAX: usize = 10_000;

/// Asks `url` again and again until `stop`; `rpki` shows what it says.
pub async fn follow(url: String, rpki: Rpki, stop: CancellationToken) {
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            rpki.told(Err(format!(
                "no HTTP client: {}",
                runtime::error_chain(&error)
            )));
            return;
        }
    };
    loop {
        let said = ask(&client, &url).await;
        if let Err(problem) = &said {
            tracing::warn!(url, problem, "The validation report could not be read");
        }
        rpki.told(said);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// The report; `None` where nothing is validated or no run has ended.
async fn ask(client: &reqwest::Client, url: &str) -> Result<Option<RunReport>, String> {
    let told = |error: &reqwest::Error| format!("{url}: {}", runtime::error_chain(error));
    let mut answer = client.get(url).send().await.map_err(|error| told(&error))?;
    match answer.status().as_u16() {
        200 => {}
        404 | 503 => return Ok(None),
        status => return Err(format!("{url}: answered with status {status}")),
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error))? {
        if body.len() + chunk.len() > BYTES_MAX {
            return Err(format!("{url}: the report has more than {BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    parse(&body)
        .map(Some)
        .map_err(|error| format!("{url}: {error}"))
}

/// A report from its JSON; lists longer than any real one are cut.
///
/// # Errors
/// What is wrong with it.
pub fn parse(body: &[u8]) -> Result<RunReport, String> {
    let mut report: RunReport =
        serde_json::from_slice(body).map_err(|error| format!("no report: {error}"))?;
    report.tals.truncate(ENTRIES_MAX);
    report.repositories.truncate(ENTRIES_MAX);
    report.fetches.truncate(ENTRIES_MAX);
    report.refused.truncate(REFUSALS_MAX);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_thousand_mutations_do_not_panic() {
        let good = serde_json::to_vec(&RunReport::default()).expect("JSON");
        assert!(parse(&good).is_ok());
        let mut seed = crate::testing::Lcg(19);
        for _ in 0..50_000 {
            parse(&crate::testing::mutate(&mut seed, &good)).ok();
        }
    }
}
