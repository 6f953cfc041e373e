//! Fetching ahead of users: each URL is asked for as a user would ask, through the
//! cache, and read to its end.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use base::event::Protocol;
use base::quick::Preload;
use http::{HeaderMap, Method};
use tokio::sync::{Semaphore, mpsc};
use url::Url;

use crate::origin::body::Upload;
use crate::proxy::{self, Request};
use crate::server::PreloadJob;
use crate::worker::Worker;

/// URLs fetched at once.
const AT_ONCE: usize = 8;

/// How far a preload has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// URLs in the order.
    pub total: u64,
    /// URLs done, well or badly.
    pub done: u64,
    /// Of these, badly.
    pub failed: u64,
}

/// Carries out preloads, one after another.
pub(crate) async fn run(worker: Rc<Worker>, mut jobs: mpsc::Receiver<PreloadJob>) {
    while let Some(job) = jobs.recv().await {
        one(&worker, job).await;
    }
}

async fn one(worker: &Rc<Worker>, job: PreloadJob) {
    let total = job.preload.urls.len() as u64;
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let so_far = Rc::new(Cell::new(Progress {
        total,
        ..Progress::default()
    }));
    let mut tasks = tokio::task::JoinSet::new();
    for url in &job.preload.urls {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (worker, count, site) = (Rc::clone(worker), Rc::clone(&so_far), job.preload.site);
        let url = url.clone();
        tasks.spawn_local(async move {
            let good = fetch(&worker, site, &url).await;
            let mut progress = count.get();
            progress.done += 1;
            progress.failed += u64::from(!good);
            count.set(progress);
            drop(slot);
        });
        while tasks.try_join_next().is_some() {
            (job.progress)(so_far.get());
        }
    }
    while tasks.join_next().await.is_some() {
        (job.progress)(so_far.get());
    }
    (job.progress)(so_far.get());
}

/// Whether the URL is of the site and was fetched well.
async fn fetch(worker: &Rc<Worker>, site: base::SiteId, url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let Some(host) = url.host_str() else {
        return false;
    };
    if worker.with_site(host, |found| found.id) != Some(site) {
        return false;
    }
    let query = url
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let request = Request {
        method: Method::GET,
        https: url.scheme() == "https",
        host: host.to_owned(),
        target: format!("{}{query}", url.path()),
        headers: HeaderMap::new(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        protocol: Protocol::Http11,
        ours: true,
        body: Upload::EMPTY,
    };
    let (mut response, _) = proxy::respond(worker, request).await;
    if response.status.is_client_error() || response.status.is_server_error() {
        return false;
    }
    while let Some(piece) = response.body.next().await {
        if piece.is_err() {
            return false;
        }
    }
    true
}

/// A preload that goes to the serving thread.
pub(crate) fn job(preload: &Preload, progress: Box<dyn Fn(Progress) + Send>) -> PreloadJob {
    PreloadJob {
        preload: preload.clone(),
        progress,
    }
}
