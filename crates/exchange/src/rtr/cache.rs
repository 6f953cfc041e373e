//! What a server remembers: the newest set, its serial number, and the changes that led there.
//!
//! A router that holds session *s* and serial *n* believes that the pair names one set for ever. So a pair
//! is never given twice: a new set is on disk before its serial number is told to anyone, and whenever
//! that is not so (no state, a damaged one, a full disk) the session id changes, which makes every
//! router ask for everything.

use std::collections::VecDeque;
use std::io::{BufRead as _, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::SecureRandom as _;

use crate::rpki::file::{self, FileError};
use crate::rpki::vrp::Changes;
use crate::rpki::{Vrp, VrpSet};

/// Changes kept for routers that ask for the difference.
pub const HISTORY_MAX: usize = 32;
/// Payloads in the kept changes together; above, the oldest go.
pub const HISTORY_PAYLOADS_MAX: usize = 500_000;
/// First line of the file of state.
const MAGIC: &str = "civicnet-rtr 1";

/// The state of a server. Clones of it are cheap; each is one moment.
#[derive(Debug, Clone)]
pub struct Cache {
    session: u16,
    serial: u32,
    set: Option<Arc<VrpSet>>,
    /// Oldest first; the last one led to `serial`.
    history: VecDeque<Arc<Changes>>,
    file: Option<PathBuf>,
}

/// How a question for changes is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// These, folded into one step.
    Changes(Changes),
    /// They are not kept: the router must ask for everything.
    Reset,
}

impl Cache {
    /// Nothing yet, in a new session; nothing is kept on disk.
    pub fn new() -> Self {
        Self {
            session: new_session(None),
            serial: 0,
            set: None,
            history: VecDeque::new(),
            file: None,
        }
    }

    /// The state of `file`, or nothing in a new session when there is none or it is damaged; the second
    /// value then says why.
    pub fn open(file: &Path) -> (Self, Option<String>) {
        let mut cache = Self::new();
        cache.file = Some(file.to_owned());
        match load(file) {
            Ok(Some((session, serial, set))) => {
                cache.session = session;
                cache.serial = serial;
                cache.set = Some(Arc::new(set));
                (cache, None)
            }
            Ok(None) => (cache, None),
            Err(problem) => (cache, Some(problem)),
        }
    }

    /// Session id.
    pub fn session(&self) -> u16 {
        self.session
    }

    /// Serial number of the newest set.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The newest set; `None` until there was one.
    pub fn set(&self) -> Option<&Arc<VrpSet>> {
        self.set.as_ref()
    }

    /// Takes a new set. `None` when it is the one already had.
    ///
    /// # Errors
    /// When the state could not be kept on disk. The set is taken all the same, in a new session.
    pub fn update(&mut self, next: Arc<VrpSet>) -> (Option<usize>, Option<FileError>) {
        let changes = match &self.set {
            Some(old) => old.changes_to(&next),
            None => Changes {
                announced: next.iter().collect(),
                withdrawn: Vec::new(),
            },
        };
        if self.set.is_some() && changes.is_empty() {
            return (None, None);
        }
        let count = changes.len();
        let first = self.set.is_none();
        self.serial = self.serial.wrapping_add(1);
        self.set = Some(next);
        if first {
            self.history.clear();
        } else {
            self.history.push_back(Arc::new(changes));
        }
        let mut kept: usize = self.history.iter().map(|one| one.len()).sum();
        while self.history.len() > HISTORY_MAX || kept > HISTORY_PAYLOADS_MAX {
            kept -= self.history.pop_front().map_or(kept, |one| one.len());
        }
        let problem = self.save().err();
        if problem.is_some() {
            self.session = new_session(Some(self.session));
            self.history.clear();
        }
        (Some(count), problem)
    }

    /// What changed since `serial` of `session`.
    pub fn since(&self, session: u16, serial: u32) -> Since {
        let behind = self.serial.wrapping_sub(serial) as usize;
        if session != self.session || behind > self.history.len() {
            return Since::Reset;
        }
        let skip = self.history.len() - behind;
        let mut folded: std::collections::BTreeMap<Vrp, bool> = std::collections::BTreeMap::new();
        for step in self.history.iter().skip(skip) {
            let marked = |list: &[Vrp], announced| {
                list.iter()
                    .map(move |vrp| (*vrp, announced))
                    .collect::<Vec<_>>()
            };
            for (vrp, announced) in marked(&step.withdrawn, false)
                .into_iter()
                .chain(marked(&step.announced, true))
            {
                // Steps alternate for one payload, so a second mention takes the first one back.
                if folded.remove(&vrp).is_none() {
                    folded.insert(vrp, announced);
                }
            }
        }
        let mut changes = Changes::default();
        for (vrp, announced) in folded {
            match announced {
                true => changes.announced.push(vrp),
                false => changes.withdrawn.push(vrp),
            }
        }
        Since::Changes(changes)
    }

    fn save(&self) -> Result<(), FileError> {
        let (Some(path), Some(set)) = (&self.file, &self.set) else {
            return Ok(());
        };
        let mut body = Vec::new();
        let failed = |source| FileError::Write {
            path: path.clone(),
            source,
        };
        file::write(set, &mut body).map_err(failed)?;
        file::replace(path, |out| {
            writeln!(
                out,
                "{MAGIC} {} {} {:08x}",
                self.session,
                self.serial,
                crc32(&body)
            )?;
            out.write_all(&body)
        })
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn load(path: &Path) -> Result<Option<(u16, u32, VrpSet)>, String> {
    let damaged = |why: &str| format!("{} is damaged: {why}", path.display());
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("could not read {}: {error}", path.display())),
    };
    let mut reader = std::io::BufReader::new(file);
    let mut first = Vec::new();
    Read::take(&mut reader, 200)
        .read_until(b'\n', &mut first)
        .map_err(|error| damaged(&error.to_string()))?;
    let first = String::from_utf8_lossy(&first);
    let mut words = first
        .trim()
        .strip_prefix(MAGIC)
        .ok_or_else(|| damaged("it does not begin as one"))?
        .split_whitespace();
    let (Some(session), Some(serial), Some(sum)) = (
        words.next().and_then(|text| text.parse().ok()),
        words.next().and_then(|text| text.parse().ok()),
        words
            .next()
            .and_then(|text| u32::from_str_radix(text, 16).ok()),
    ) else {
        return Err(damaged("its first line is cut"));
    };
    let mut body = Vec::new();
    Read::take(&mut reader, file::FILE_BYTES_MAX)
        .read_to_end(&mut body)
        .map_err(|error| damaged(&error.to_string()))?;
    if crc32(&body) != sum {
        return Err(damaged("its sum is wrong"));
    }
    let set = file::parse(path, &body).map_err(|error| runtime::error_chain(&error))?;
    Ok(Some((session, serial, set)))
}

/// A session id that is not `old`.
fn new_session(old: Option<u16>) -> u16 {
    let mut bytes = [0; 2];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        // The time is as good where only sameness matters.
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        bytes = (now as u16).to_be_bytes();
    }
    let id = u16::from_be_bytes(bytes);
    if Some(id) == old {
        id.wrapping_add(1)
    } else {
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(asns: &[u32]) -> Arc<VrpSet> {
        let vrp = |asn: &u32| {
            Vrp::new("192.0.2.0/24".parse().expect("a prefix"), 24, *asn).expect("a payload")
        };
        Arc::new(asns.iter().map(vrp).collect())
    }

    fn asns(list: &[Vrp]) -> Vec<u32> {
        list.iter().map(|vrp| vrp.asn).collect()
    }

    #[test]
    fn changes_fold_and_old_ones_are_forgotten() {
        let mut cache = Cache::new();
        assert_eq!(cache.update(set(&[1, 2])).0, Some(2));
        assert_eq!(
            cache.update(set(&[1, 2])).0,
            None,
            "the same set is no news"
        );
        cache.update(set(&[2, 3]));
        cache.update(set(&[1, 3]));
        let (session, serial) = (cache.session(), cache.serial());
        assert_eq!(serial, 3);
        let Since::Changes(changes) = cache.since(session, 1) else {
            panic!("kept")
        };
        assert_eq!(
            (asns(&changes.announced), asns(&changes.withdrawn)),
            (vec![3], vec![2]),
            "1 went and came back"
        );
        assert_eq!(cache.since(session, 3), Since::Changes(Changes::default()));
        assert_eq!(
            cache.since(session, 0),
            Since::Reset,
            "before the first set"
        );
        assert_eq!(cache.since(session, 4), Since::Reset, "the future");
        assert_eq!(cache.since(session.wrapping_add(1), 3), Since::Reset);
        for round in 0..HISTORY_MAX as u32 + 5 {
            cache.update(set(&[round]));
        }
        assert_eq!(cache.since(session, 3), Since::Reset, "too long ago");
    }

    #[test]
    fn a_restart_keeps_session_serial_and_data() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("state");
        let (mut cache, problem) = Cache::open(&file);
        assert_eq!(problem, None);
        cache.update(set(&[1]));
        cache.update(set(&[1, 2]));
        let (again, problem) = Cache::open(&file);
        assert_eq!(
            (again.session(), again.serial(), problem),
            (cache.session(), 2, None)
        );
        assert_eq!(again.set(), cache.set());
        assert_eq!(
            again.since(cache.session(), 1),
            Since::Reset,
            "the history is gone, and said so"
        );
        assert_eq!(
            again.since(cache.session(), 2),
            Since::Changes(Changes::default())
        );
    }

    #[test]
    fn a_damaged_state_is_a_new_session_at_every_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("state");
        let (mut cache, _) = Cache::open(&file);
        cache.update(set(&[1]));
        let good = std::fs::read(&file).expect("read");
        for cut in 0..good.len() {
            std::fs::write(&file, &good[..cut]).expect("written");
            let (again, problem) = Cache::open(&file);
            assert!(again.set().is_none() && problem.is_some(), "cut at {cut}");
        }
    }

    #[test]
    fn what_cannot_be_kept_changes_the_session() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut cache, _) = Cache::open(&dir.path().join("state"));
        cache.update(set(&[1]));
        let before = cache.session();
        std::fs::remove_dir_all(dir.path()).expect("removed");
        let (count, problem) = cache.update(set(&[2]));
        assert_eq!(count, Some(2));
        assert!(problem.is_some());
        assert_ne!(
            cache.session(),
            before,
            "a restart would come back with the old serial number"
        );
        assert_eq!(cache.since(before, 1), Since::Reset);
    }
}
