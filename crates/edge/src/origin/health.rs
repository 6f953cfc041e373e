//! Active probes of origins: a site that names a health path has each origin asked
//! for it, every [`PERIOD`], besides what users' requests tell.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use tokio::sync::Semaphore;

use crate::origin::body::Upload;
use crate::origin::client::{self, Outgoing};
use crate::sites::Site;
use crate::worker::Worker;

/// Time between two probes of one origin.
const PERIOD: Duration = Duration::from_secs(5);
/// Probes under way at once.
const PROBES_MAX: usize = 64;
/// Bytes of a probe's answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Probes all origins, round after round, until the task is dropped.
pub(crate) async fn probe_forever(worker: Rc<Worker>) {
    let permits = Arc::new(Semaphore::new(PROBES_MAX));
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sites = worker.sites();
        for site in sites
            .all
            .iter()
            .filter(|site| site.pool.health_path.is_some())
        {
            for pool in site.pool.each() {
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                    return;
                };
                let (worker, site) = (Rc::clone(&worker), Arc::clone(site));
                tokio::task::spawn_local(async move {
                    probe(&worker, &site, &pool).await;
                    drop(permit);
                });
            }
        }
    }
}

async fn probe(worker: &Rc<Worker>, site: &Site, only: &crate::origin::pool::Pool) {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static("civicnet-health"),
    );
    let outgoing = Outgoing {
        method: Method::GET,
        path_and_query: site
            .pool
            .health_path
            .clone()
            .unwrap_or_else(|| "/".to_owned()),
        headers,
        host: String::new(),
        body: Upload::EMPTY,
    };
    // A failure to answer is counted by `fetch` itself.
    if let Ok(fetched) = client::fetch(worker, only, outgoing).await {
        let status = fetched.status;
        client::discard(fetched.body, ANSWER_BYTES_MAX).await;
        if status.is_server_error() {
            for endpoint in only.endpoints() {
                worker.origin_failed_with(endpoint, status);
            }
        }
    }
}
