//! Joins snapshots and quick entries into what is in force, durably.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::enforcement::{Enforced, RULES_MAX, Rule};
use base::event::{EventBatch, EventSink};
use base::quick::{Order, QuickEntry};
use base::{Clock, EnforcementId, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::clock::SteadyClock;
use crate::live::{Blocklist, Live};
use crate::log::{Log, Opened, Record};
use crate::set::{Set, SetError};

/// How often the time by which rules end is set.
const CLOCK_PERIOD: Duration = Duration::from_millis(250);
/// Clock periods between two hand-overs of hits.
const HITS_PERIODS: u32 = 4;
/// Bytes of the log beyond which a snapshot makes it be written anew.
const LOG_BYTES: u64 = 1 << 20;

/// Why something is not in force.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The log cannot be read or written.
    #[error("the log of enforcements in {dir:?} cannot be used")]
    Log {
        /// Its folder.
        dir: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Too many rules.
    #[error("the rules cannot be held")]
    Set(#[from] SetError),
    /// Beyond a bound of the contract.
    #[error("{count} {what}: at most {max} are obeyed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
}

/// Holds what a role refuses.
#[derive(Debug)]
pub struct Keeper {
    list: Arc<Blocklist>,
    dir: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: Log,
    base: Arc<Set>,
    /// Quick entries up to here are in `base`.
    through: u64,
    /// Of the snapshot before: the log keeps what follows it, in case the newest
    /// snapshot on disk turns out damaged.
    through_before: u64,
    records: Vec<Record>,
    last_seq: u64,
    damaged: bool,
    added: BTreeMap<EnforcementId, Rule>,
    gone: HashSet<EnforcementId>,
}

impl State {
    fn change(&mut self, order: &Order) {
        match order {
            Order::Enforce(rules) => {
                for rule in rules {
                    self.gone.insert(rule.id);
                    self.added.insert(rule.id, rule.clone());
                }
            }
            Order::Lift(ids) => {
                for id in ids {
                    self.gone.insert(*id);
                    self.added.remove(id);
                }
            }
            Order::Purge(_) | Order::Preload(_) => {}
        }
    }

    /// Applies the log to the present snapshot.
    fn replay(&mut self) {
        self.added.clear();
        self.gone.clear();
        let records = std::mem::take(&mut self.records);
        for record in &records {
            if let Record::Entry(entry) = record
                && entry.seq > self.through
            {
                self.change(&entry.order);
            }
        }
        self.records = records;
    }
}

impl Keeper {
    /// Opens the log in `dir`. What it holds is in force at once; the snapshot's part
    /// comes with [`adopt`](Self::adopt).
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(dir: &Path, list: Arc<Blocklist>) -> Result<Self, KeeperError> {
        let failed = |source| KeeperError::Log {
            dir: dir.display().to_string(),
            source,
        };
        let Opened { log, records, cut } = Log::open(dir).map_err(failed)?;
        if cut > 0 {
            tracing::warn!(dir = %dir.display(), cut, "The log of enforcements had a damaged end, which was cut off");
        }
        let mut state = State {
            log,
            base: Arc::default(),
            through: 0,
            through_before: 0,
            last_seq: records.last().map_or(0, Record::seq),
            damaged: cut > 0,
            records,
            added: BTreeMap::new(),
            gone: HashSet::new(),
        };
        state.replay();
        let keeper = Self {
            list,
            dir: dir.display().to_string(),
            state: Mutex::new(state),
        };
        keeper.publish(&keeper.state())?;
        Ok(keeper)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_failed(&self, source: std::io::Error) -> KeeperError {
        KeeperError::Log {
            dir: self.dir.clone(),
            source,
        }
    }

    fn publish(&self, state: &State) -> Result<(), KeeperError> {
        let live = Live::new(Arc::clone(&state.base), &state.added, state.gone.clone())?;
        self.list.replace(live);
        Ok(())
    }

    /// What it fills.
    pub fn list(&self) -> &Arc<Blocklist> {
        &self.list
    }

    /// Number of the last order on enforcements that is durable here.
    pub fn last_seq(&self) -> u64 {
        self.state().last_seq
    }

    /// Whether orders were lost to a damaged log: what follows
    /// [`last_seq`](Self::last_seq) must be asked for again.
    pub fn is_damaged(&self) -> bool {
        self.state().damaged
    }

    /// Obeys the folded state of a snapshot; orders after it stay in force on top.
    /// Blocks for building the set.
    ///
    /// # Errors
    /// When it holds too much: what is in force stays.
    pub fn adopt(&self, enforced: &Enforced) -> Result<(), KeeperError> {
        if self.state().through == enforced.through && enforced.is_unused() {
            return Ok(());
        }
        check(enforced)?;
        let base = Arc::new(Set::build(enforced.rules.iter())?);
        let mut state = self.state();
        state.base = base;
        if enforced.through > state.through {
            state.through_before = state.through;
        }
        state.through = enforced.through;
        if enforced.through >= state.last_seq {
            state.damaged = false;
        }
        state.replay();
        self.publish(&state)?;
        self.compact(&mut state);
        Ok(())
    }

    /// Writes the log anew without what both last snapshots hold. Failing is no harm.
    fn compact(&self, state: &mut State) {
        let floor = state.through_before;
        let old = state.records.iter().filter(|r| r.seq() <= floor).count();
        if state.log.bytes() < LOG_BYTES || old == 0 {
            return;
        }
        let mut kept = vec![Record::Floor(floor)];
        kept.extend(state.records.iter().filter(|r| r.seq() > floor).cloned());
        match state.log.rewrite(kept.iter()) {
            Ok(()) => state.records = kept,
            Err(error) => {
                tracing::warn!(%error, "The log of enforcements could not be written anew; it is kept as it is");
            }
        }
    }

    /// Carries out a quick entry: it is durable and in force on return. An entry that is
    /// here already is passed over. Blocks for one write to disk.
    ///
    /// # Errors
    /// When it could not be made durable or held: it must not be acknowledged.
    pub fn apply(&self, entry: &QuickEntry) -> Result<(), KeeperError> {
        let mut state = self.state();
        if entry.seq <= state.last_seq {
            return Ok(());
        }
        if let Order::Enforce(rules) = &entry.order
            && state.added.len() + rules.len() > RULES_MAX
        {
            return Err(KeeperError::TooMany {
                what: "rules beside the snapshot",
                count: state.added.len() + rules.len(),
                max: RULES_MAX,
            });
        }
        self.append(&mut state, Record::Entry(entry.clone()))?;
        if entry.seq > state.through {
            state.change(&entry.order);
            self.publish(&state)?;
        }
        Ok(())
    }

    /// Orders up to `seq` are lost to this node; the next snapshot holds what they did.
    ///
    /// # Errors
    /// When that could not be made durable.
    pub fn gap(&self, seq: u64) -> Result<(), KeeperError> {
        let mut state = self.state();
        if seq <= state.last_seq {
            return Ok(());
        }
        self.append(&mut state, Record::Floor(seq))
    }

    fn append(&self, state: &mut State, record: Record) -> Result<(), KeeperError> {
        state.log.append(&record).map_err(|e| self.log_failed(e))?;
        state.last_seq = record.seq();
        state.records.push(record);
        Ok(())
    }

    /// Keeps the time by which rules end, and hands on hits, until `stop`.
    pub async fn run(self: Arc<Self>, sink: Arc<dyn EventSink>, stop: CancellationToken) {
        let began = Instant::now();
        let mut clock = SteadyClock::new(SystemClock.now(), Duration::ZERO);
        let mut periods = tokio::time::interval(CLOCK_PERIOD);
        periods.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut round = 0_u32;
        loop {
            let last = tokio::select! {
                () = stop.cancelled() => true,
                _ = periods.tick() => false,
            };
            self.list
                .set_now(clock.now(SystemClock.now(), began.elapsed()));
            round = round.wrapping_add(1);
            if last || round.is_multiple_of(HITS_PERIODS) {
                let (hits, uncounted) = self.list.take_hits();
                if !hits.is_empty() {
                    sink.offer(EventBatch::Enforced(hits));
                }
                if uncounted > 0 {
                    tracing::warn!(
                        uncounted,
                        "More rules were met at once than are counted by rule"
                    );
                }
            }
            if last {
                return;
            }
        }
    }
}

/// Whether a folded state can be obeyed.
///
/// # Errors
/// When it holds too many rules.
pub fn check(enforced: &Enforced) -> Result<(), KeeperError> {
    let count = enforced.rules.len();
    if count > RULES_MAX {
        return Err(KeeperError::TooMany {
            what: "rules in a snapshot",
            count,
            max: RULES_MAX,
        });
    }
    Ok(())
}
