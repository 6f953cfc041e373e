//! Gathers routes into an [`Index`]: keeps equal attributes once, sorts, and makes the lists.
//!
//! An index that follows a running daemon changes a little at a time: [`Builder::from_index`] begins with
//! the routes that stayed, which are in order already, so that a change costs a walk and no sorting.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use base::Prefix;

use super::{Fate, Index, Lists, PeerId, ROUTES_MAX, Row, Session, Tables, pack};
use crate::community::LargeCommunity;
use crate::mrt::Attributes;
use crate::prefix_table::PrefixTable;

/// Too much for one index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Too many routes.
    #[error("more than {ROUTES_MAX} routes")]
    Routes,
    /// Too many sessions.
    #[error("more than {} sessions", PeerId::MAX)]
    Sessions,
    /// Too many bytes of attributes.
    #[error("more than 4 GiB of attributes")]
    Attributes,
}

/// Attributes, each kept once.
#[derive(Default)]
struct Interned {
    bytes: Vec<u8>,
    /// Where each begins.
    starts: Vec<u32>,
    hasher: RandomState,
    /// Those with a hash: nearly always one.
    known: HashMap<u64, Same>,
    scratch: Vec<u8>,
}

enum Same {
    One(u32),
    Many(Vec<u32>),
}

impl Interned {
    fn get(&self, at: u32) -> &[u8] {
        let from = self.starts[at as usize] as usize;
        let to = self
            .starts
            .get(at as usize + 1)
            .map_or(self.bytes.len(), |to| *to as usize);
        &self.bytes[from..to]
    }

    fn put(&mut self, packed: &[u8]) -> Result<u32, BuildError> {
        let hash = self.hasher.hash_one(packed);
        let same = match self.known.get(&hash) {
            Some(Same::One(at)) => std::slice::from_ref(at),
            Some(Same::Many(all)) => all.as_slice(),
            None => &[],
        };
        if let Some(at) = same.iter().find(|at| self.get(**at) == packed) {
            return Ok(*at);
        }
        let at = self.starts.len() as u32;
        let start = u32::try_from(self.bytes.len()).map_err(|_| BuildError::Attributes)?;
        self.starts.push(start);
        self.bytes.extend_from_slice(packed);
        match self.known.get_mut(&hash) {
            None => {
                self.known.insert(hash, Same::One(at));
            }
            Some(Same::Many(all)) => all.push(at),
            Some(one) => {
                if let Same::One(first) = *one {
                    *one = Same::Many(vec![first, at]);
                }
            }
        }
        Ok(at)
    }

    fn put_attributes(&mut self, attributes: &Attributes) -> Result<u32, BuildError> {
        let mut packed = std::mem::take(&mut self.scratch);
        packed.clear();
        pack::write(attributes, &mut packed);
        let at = self.put(&packed);
        self.scratch = packed;
        at
    }
}

/// Gathers routes into an [`Index`].
#[derive(Default)]
pub struct Builder {
    sessions: Vec<Session>,
    attributes: Interned,
    rows: Vec<(Prefix, Row)>,
}

impl Builder {
    /// Begins with `sessions` and those routes of `old` whose session is still there by name and that
    /// `keep` keeps.
    ///
    /// # Errors
    /// [`BuildError::Sessions`], [`BuildError::Attributes`]
    pub fn from_index(
        old: &Index,
        sessions: Vec<Session>,
        mut keep: impl FnMut(Prefix, PeerId) -> bool,
    ) -> Result<Self, BuildError> {
        if sessions.len() > usize::from(PeerId::MAX) {
            return Err(BuildError::Sessions);
        }
        let places: HashMap<&str, PeerId> = sessions
            .iter()
            .enumerate()
            .map(|(at, session)| (session.name.as_str(), at as PeerId))
            .collect();
        let moved: Vec<Option<PeerId>> = old
            .sessions
            .iter()
            .map(|session| places.get(session.name.as_str()).copied())
            .collect();
        let tables = &old.tables;
        let mut attributes = Interned::default();
        let mut rows = Vec::with_capacity(tables.rows.len());
        let mut places: Vec<u32> = vec![u32::MAX; tables.attribute_count()];
        for row in &tables.rows {
            let (Some(prefix), Some(Some(peer))) = (
                tables.table.get(row.prefix as usize),
                moved.get(usize::from(row.peer)),
            ) else {
                continue;
            };
            if !keep(prefix, row.peer) {
                continue;
            }
            let place = &mut places[row.attributes as usize];
            if *place == u32::MAX {
                *place = attributes.put(tables.packed(row.attributes))?;
            }
            let row = Row {
                attributes: *place,
                peer: *peer,
                ..*row
            };
            rows.push((prefix, row));
        }
        Ok(Self {
            sessions,
            attributes,
            rows,
        })
    }

    /// A session; routes name it by what is returned.
    ///
    /// # Errors
    /// [`BuildError::Sessions`]
    pub fn session(&mut self, session: Session) -> Result<PeerId, BuildError> {
        let id = PeerId::try_from(self.sessions.len()).map_err(|_| BuildError::Sessions)?;
        self.sessions.push(session);
        Ok(id)
    }

    /// The sessions so far.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// A route.
    ///
    /// # Errors
    /// [`BuildError::Routes`], [`BuildError::Attributes`]
    pub fn route(
        &mut self,
        peer: PeerId,
        prefix: Prefix,
        path_id: u32,
        since_s: u32,
        fate: Fate,
        attributes: Attributes,
    ) -> Result<(), BuildError> {
        if self.rows.len() >= ROUTES_MAX {
            return Err(BuildError::Routes);
        }
        let attributes = self.attributes.put_attributes(&attributes)?;
        let row = Row {
            prefix: 0,
            attributes,
            since_s,
            path_id,
            peer,
            fate,
        };
        self.rows.push((prefix, row));
        Ok(())
    }

    /// The index of what was told, as of `taken_at_s`.
    pub fn build(mut self, taken_at_s: u64) -> Index {
        // Stable sorting takes runs that are in order as they are.
        self.rows
            .sort_by_key(|(prefix, row)| (*prefix, row.fate, row.peer, row.path_id));
        let mut prefixes: Vec<Prefix> = Vec::new();
        let mut starts = Vec::new();
        let mut rows = Vec::with_capacity(self.rows.len());
        for (prefix, mut row) in self.rows {
            if prefixes.last() != Some(&prefix) {
                prefixes.push(prefix);
                starts.push(rows.len() as u32);
            }
            row.prefix = prefixes.len() as u32 - 1;
            rows.push(row);
        }
        starts.push(rows.len() as u32);
        prefixes.shrink_to_fit();
        starts.shrink_to_fit();
        let Interned {
            mut bytes,
            starts: mut attribute_starts,
            known,
            ..
        } = self.attributes;
        drop(known);
        let count = attribute_starts.len();
        attribute_starts.push(bytes.len() as u32);
        attribute_starts.shrink_to_fit();
        bytes.shrink_to_fit();
        let mut tables = Tables {
            table: PrefixTable::of_sorted(prefixes),
            rows,
            starts,
            attributes: bytes,
            attribute_starts,
            ..Tables::default()
        };
        tables.name(count);
        tables.by_attributes = Lists::of(count, |each| {
            tables
                .rows
                .iter()
                .enumerate()
                .for_each(|(at, row)| each(row.attributes as usize, at as u32));
        });
        tables.by_session = Lists::of(self.sessions.len(), |each| {
            tables
                .rows
                .iter()
                .enumerate()
                .for_each(|(at, row)| each(usize::from(row.peer), at as u32));
        });
        Index {
            taken_at_s,
            sessions: self.sessions.into(),
            tables: Arc::new(tables),
        }
    }
}

impl Tables {
    /// Lists attributes under AS numbers and communities.
    fn name(&mut self, count: usize) {
        let mut by_asn: Vec<(u32, u32)> = Vec::with_capacity(count * 4);
        let mut by_community: Vec<(u32, u32)> = Vec::new();
        let mut by_large: Vec<(LargeCommunity, u32)> = Vec::new();
        for at in 0..count as u32 {
            let one = pack::read(self.packed(at));
            let mut last = None;
            for asn in one.path.asns() {
                // A prepended number comes several times in a row.
                if last.replace(asn) != Some(asn) {
                    by_asn.push((asn, at));
                }
            }
            by_community.extend(one.communities.iter().map(|value| (*value, at)));
            by_large.extend(one.large.iter().map(|value| (*value, at)));
        }
        by_asn.sort_unstable();
        by_asn.dedup();
        by_asn.shrink_to_fit();
        by_community.sort_unstable();
        by_community.dedup();
        by_community.shrink_to_fit();
        by_large.sort_unstable();
        by_large.dedup();
        by_large.shrink_to_fit();
        self.by_asn = by_asn;
        self.by_community = by_community;
        self.by_large = by_large;
    }
}
