//! Keeps the looking glass fresh: reads its feed again, keeps some earlier moments for comparing.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::feed;
use super::index::Index;
use crate::rpki::service::Rpki;

/// Earlier moments that are kept.
pub const MOMENTS_MAX: usize = 3;

/// Where the routes come from.
#[derive(Debug, Clone)]
pub enum Feed {
    /// An MRT archive, read again when it changes.
    Archive(PathBuf),
    /// The control socket of a BIRD, asked again and again.
    Bird(PathBuf),
}

/// What a looking glass is made from.
#[derive(Clone)]
pub struct GlassOptions {
    /// Where the routes come from.
    pub feed: Feed,
    /// How often the feed is looked at.
    pub every: Duration,
    /// AS number of the route server, whose communities tell reasons.
    pub asn: u32,
    /// Payloads to label routes with.
    pub rpki: Option<Rpki>,
}

/// A looking glass. Cheap to clone.
#[derive(Clone)]
pub struct Glass {
    options: GlassOptions,
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    /// Newest last.
    moments: VecDeque<Arc<Index>>,
    problem: Option<String>,
    stamp: Option<(u64, SystemTime)>,
}

impl Glass {
    /// An empty one.
    pub fn new(options: GlassOptions) -> Self {
        Self {
            options,
            state: Arc::default(),
        }
    }

    /// How it was made.
    pub fn options(&self) -> &GlassOptions {
        &self.options
    }

    /// The newest moment; `None` until there was one.
    pub fn now(&self) -> Option<Arc<Index>> {
        self.read().moments.back().cloned()
    }

    /// The moments that are kept, newest last.
    pub fn moments(&self) -> Vec<Arc<Index>> {
        self.read().moments.iter().cloned().collect()
    }

    /// What is wrong with the feed.
    pub fn problem(&self) -> Option<String> {
        self.read().problem.clone()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Reads the feed until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let glass = self.clone();
            // Reading a table is work for a thread of its own.
            if let Err(error) = tokio::task::spawn_blocking(move || glass.look()).await {
                tracing::error!(%error, "The looking glass could not read its feed");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.options.every) => {}
            }
        }
    }

    /// Reads the feed once; what does not read leaves the last moment as it is.
    pub fn look(&self) {
        let now_s = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let read = match &self.options.feed {
            Feed::Archive(path) => {
                let stamp = std::fs::metadata(path)
                    .ok()
                    .and_then(|meta| Some((meta.len(), meta.modified().ok()?)));
                if stamp.is_some() && self.read().stamp == stamp {
                    return;
                }
                self.change().stamp = stamp;
                feed::archive(path, now_s).map(|(index, wrong)| {
                    if wrong.count > 0 {
                        tracing::warn!(records = wrong.count, first = ?wrong.first.first(), "Records of the archive made no sense");
                    }
                    index
                })
            }
            Feed::Bird(socket) => feed::bird(socket, now_s),
        };
        match read {
            Ok(index) => {
                tracing::debug!(
                    routes = index.len(),
                    bytes = index.bytes(),
                    "The looking glass has new tables"
                );
                let mut state = self.change();
                state.problem = None;
                state.moments.push_back(Arc::new(index));
                while state.moments.len() > MOMENTS_MAX {
                    state.moments.pop_front();
                }
            }
            Err(error) => {
                let problem = runtime::error_chain(&error);
                let mut state = self.change();
                if state.problem.as_ref() != Some(&problem) {
                    tracing::error!(
                        problem,
                        "The looking glass could not read its feed: the last tables are shown"
                    );
                }
                state.problem = Some(problem);
            }
        }
    }
}
