//! Keeps the looking glass fresh: reads its feed again, keeps some earlier moments for comparing.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bgpd;
use super::feed;
use super::follow::{Effort, Follower};
use super::index::Index;
use crate::document::EngineKind;
use crate::engine::SessionState;
use crate::engine::daemon::Daemon;
use crate::engine::moment::Zone;
use crate::rpki::VrpSet;
use crate::rpki::service::Rpki;

/// Earlier moments are kept so that one is about this old, in seconds: of two that fall between the same
/// ages only the older one stays.
const MOMENT_AGES_S: [u64; 8] = [30, 120, 600, 1_800, 7_200, 21_600, 43_200, 86_400];
/// Bytes of all moments; beyond, the oldest go.
pub const MOMENTS_BYTES_MAX: usize = 512 << 20;
/// Looks that take long are followed by a pause this many times as long, up to [`PAUSE_MAX`].
const LOOK_SHARE: u32 = 4;
/// The longest pause that a long look earns: what is read after it is little.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Where the routes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feed {
    /// An MRT archive, read again when it changes.
    Archive(PathBuf),
    /// The control socket of a BIRD, followed.
    Bird(PathBuf),
    /// The control socket of an OpenBGPD, followed.
    OpenBgpd(PathBuf),
}

impl Feed {
    /// The routes of a route server's daemon.
    pub fn of(daemon: &Daemon) -> Self {
        match daemon.kind {
            EngineKind::Bird => Self::Bird(daemon.socket.clone()),
            EngineKind::Openbgpd => Self::OpenBgpd(daemon.socket.clone()),
        }
    }

    /// `bird`, `openbgpd` or `archive`.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Archive(_) => "archive",
            Self::Bird(_) => "bird",
            Self::OpenBgpd(_) => "openbgpd",
        }
    }

    /// The daemon and its control socket, if the routes come from one.
    pub fn daemon(&self) -> Option<(EngineKind, &std::path::Path)> {
        match self {
            Self::Archive(_) => None,
            Self::Bird(socket) => Some((EngineKind::Bird, socket)),
            Self::OpenBgpd(socket) => Some((EngineKind::Openbgpd, socket)),
        }
    }

    fn follower(&self) -> Following {
        match self {
            Self::Archive(_) => Following::Nobody,
            Self::Bird(socket) => Following::Bird(Follower::new(socket)),
            Self::OpenBgpd(socket) => Following::OpenBgpd(bgpd::Follower::new(socket)),
        }
    }
}

/// Whoever keeps the tables in step with a daemon.
enum Following {
    Nobody,
    Bird(Follower),
    OpenBgpd(bgpd::Follower),
}

/// Payloads to label routes with.
#[derive(Clone)]
pub enum Labels {
    /// Those of a running service.
    Service(Rpki),
    /// Those that somebody sends.
    Sent(watch::Receiver<Option<Arc<VrpSet>>>),
}

impl Labels {
    /// The newest set; `None` until there was one.
    pub fn set(&self) -> Option<Arc<VrpSet>> {
        match self {
            Self::Service(rpki) => rpki.set(),
            Self::Sent(sent) => sent.borrow().clone(),
        }
    }
}

/// What a looking glass is made from.
#[derive(Clone)]
pub struct GlassOptions {
    /// Where the routes come from, until [`Glass::turn_to`] says otherwise.
    pub feed: Feed,
    /// How often the feed is looked at.
    pub every: Duration,
    /// AS number of the route server, whose communities tell reasons; it may change.
    pub asn: watch::Receiver<u32>,
    /// Payloads to label routes with.
    pub rpki: Option<Labels>,
}

/// The sessions of the daemon as the last look found them.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The sessions.
    pub sessions: Vec<SessionState>,
    /// The daemon's zone, for its times.
    pub zone: Zone,
    /// When, in Unix seconds.
    pub at_s: u64,
    /// What is wrong with the feed; the sessions are the last known ones then.
    pub problem: Option<String>,
}

/// A looking glass. Cheap to clone.
#[derive(Clone)]
pub struct Glass {
    options: GlassOptions,
    state: Arc<RwLock<State>>,
    follower: Arc<Mutex<(Feed, Following)>>,
    seen: watch::Sender<Arc<Seen>>,
}

#[derive(Default)]
struct State {
    now: Option<Arc<Index>>,
    /// Oldest first.
    moments: VecDeque<Arc<Index>>,
    problem: Option<String>,
    stamp: Option<(u64, SystemTime)>,
    effort: Option<Effort>,
    feed: Option<Feed>,
    /// The daemon's configuration has no place for what it refuses.
    keeps_nothing: bool,
}

impl Glass {
    /// An empty one.
    pub fn new(options: GlassOptions) -> Self {
        let (feed, follower) = (options.feed.clone(), options.feed.follower());
        let state = State {
            feed: Some(feed.clone()),
            ..State::default()
        };
        Self {
            options,
            state: Arc::new(RwLock::new(state)),
            follower: Arc::new(Mutex::new((feed, follower))),
            seen: watch::channel(Arc::default()).0,
        }
    }

    /// How it was made.
    pub fn options(&self) -> &GlassOptions {
        &self.options
    }

    /// Where the routes come from.
    pub fn feed(&self) -> Feed {
        let feed = self.read().feed.clone();
        feed.unwrap_or_else(|| self.options.feed.clone())
    }

    /// From the next look on the routes come from `feed`; the tables stay until they are read from there.
    pub fn turn_to(&self, feed: Feed) {
        if self.feed() != feed {
            self.change().feed = Some(feed);
        }
    }

    /// What the daemon cannot do or tell, by name.
    pub fn lacks(&self) -> Vec<&'static str> {
        let state = self.read();
        match &state.feed {
            Some(Feed::OpenBgpd(_)) if state.keeps_nothing => bgpd::LACKS
                .into_iter()
                .chain([bgpd::LACKS_REFUSED])
                .collect(),
            Some(Feed::OpenBgpd(_)) => bgpd::LACKS.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The newest tables; `None` until there were some.
    pub fn now(&self) -> Option<Arc<Index>> {
        self.read().now.clone()
    }

    /// The moments to compare with, oldest first.
    pub fn moments(&self) -> Vec<Arc<Index>> {
        self.read().moments.iter().cloned().collect()
    }

    /// What is wrong with the feed.
    pub fn problem(&self) -> Option<String> {
        self.read().problem.clone()
    }

    /// How the newest tables were learnt.
    pub fn effort(&self) -> Option<Effort> {
        self.read().effort
    }

    /// The sessions, followed.
    pub fn seen(&self) -> watch::Receiver<Arc<Seen>> {
        self.seen.subscribe()
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
            let begun = Instant::now();
            // Reading a table is work for a thread of its own.
            if let Err(error) = tokio::task::spawn_blocking(move || glass.look()).await {
                tracing::error!(%error, "The looking glass could not read its feed");
            }
            let earned = (begun.elapsed() * LOOK_SHARE).min(PAUSE_MAX);
            let pause = self.options.every.max(earned);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads the feed once; what does not read leaves the last tables as they are.
    pub fn look(&self) {
        let now_s = now_s();
        let feed = self.feed();
        let read = match &feed {
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
                    (index, Effort::Whole)
                })
            }
            Feed::Bird(_) | Feed::OpenBgpd(_) => self.follow(&feed, now_s),
        };
        match read {
            Ok((index, effort)) => {
                tracing::debug!(
                    routes = index.len(),
                    bytes = index.bytes(),
                    ?effort,
                    "The looking glass has new tables"
                );
                self.keep(index, effort);
            }
            Err(error) => {
                let problem = runtime::error_chain(&error);
                self.seen.send_modify(|seen| {
                    if seen.problem.as_ref() != Some(&problem) {
                        *seen = Arc::new(Seen {
                            problem: Some(problem.clone()),
                            ..Seen::clone(seen)
                        });
                    }
                });
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

    fn follow(&self, feed: &Feed, now_s: u64) -> Result<(Index, Effort), feed::FeedError> {
        let mut follower = self
            .follower
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if follower.0 != *feed {
            *follower = (feed.clone(), feed.follower());
        }
        let look = match &mut follower.1 {
            Following::Nobody => return Ok((Index::default(), Effort::Counters)),
            Following::Bird(bird) => bird.look(now_s)?,
            Following::OpenBgpd(bgpd) => {
                let look = bgpd.look(now_s)?;
                self.change().keeps_nothing = !bgpd.has_refused();
                look
            }
        };
        self.seen.send_replace(Arc::new(Seen {
            sessions: look.sessions,
            zone: look.zone,
            at_s: now_s,
            problem: None,
        }));
        Ok((look.index, look.effort))
    }

    fn keep(&self, index: Index, effort: Effort) {
        let index = Arc::new(index);
        let mut state = self.change();
        state.problem = None;
        state.effort = Some(effort);
        if let Some(before) = state.now.replace(Arc::clone(&index)) {
            state.moments.push_back(before);
        }
        thin(&mut state.moments, index.taken_at_s());
    }
}

/// Leaves one moment between two ages, and no more bytes than there may be.
fn thin(moments: &mut VecDeque<Arc<Index>>, now_s: u64) {
    let class = |index: &Index| {
        let age_s = now_s.saturating_sub(index.taken_at_s());
        MOMENT_AGES_S.partition_point(|one| *one <= age_s)
    };
    // Of the youngest class none is old enough to stay but the oldest, which grows into the next.
    let mut kept: VecDeque<Arc<Index>> = VecDeque::new();
    for index in moments.drain(..) {
        let class_of = class(&index);
        if class_of >= MOMENT_AGES_S.len() {
            continue;
        }
        if kept.back().is_none_or(|older| class(older) != class_of) {
            kept.push_back(index);
        }
    }
    let bytes = |kept: &VecDeque<Arc<Index>>| -> usize {
        let mut sum = 0;
        let mut before: Option<&Arc<Index>> = None;
        for index in kept {
            if before.is_none_or(|before| !before.has_tables_of(index)) {
                sum += index.bytes();
            }
            before = Some(index);
        }
        sum
    };
    while kept.len() > 1 && bytes(&kept) > MOMENTS_BYTES_MAX {
        kept.pop_front();
    }
    *moments = kept;
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glass::index::Builder;

    #[test]
    fn moments_grow_sparse_with_age() {
        let mut moments = VecDeque::new();
        let mut last = Vec::new();
        for now_s in 0..100_000u64 {
            if now_s % 5 == 0 {
                moments.push_back(Arc::new(Builder::default().build(now_s)));
            }
            thin(&mut moments, now_s);
            last = moments
                .iter()
                .map(|index| now_s - index.taken_at_s())
                .collect();
        }
        assert!(last.len() <= MOMENT_AGES_S.len(), "{last:?}");
        assert!(last.len() >= 5, "{last:?}");
        assert!(last.windows(2).all(|pair| pair[0] > pair[1]), "{last:?}");
        assert!(
            last.iter().any(|age| (60..=7_200).contains(age)),
            "{last:?}"
        );
        assert!(last[0] >= 21_600, "{last:?}");
    }
}
