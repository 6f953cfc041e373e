//! Gathers routes into an [`Index`]: keeps equal attributes once, sorts, and makes the lists.

use std::collections::HashMap;
use std::hash::Hash;

use base::Prefix;

use super::{Community, Fate, Index, Lists, Named, PeerId, ROUTES_MAX, Row, Session};
use crate::mrt::{AsPath, Attributes};
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
}

/// Gathers routes into an [`Index`].
#[derive(Default)]
pub struct Builder {
    sessions: Vec<Session>,
    known: HashMap<Attributes, u32>,
    rows: Vec<(Prefix, Row)>,
}

impl Builder {
    /// A session; routes name it by what is returned.
    ///
    /// # Errors
    /// [`BuildError::Sessions`]
    pub fn session(&mut self, session: Session) -> Result<PeerId, BuildError> {
        let id = PeerId::try_from(self.sessions.len()).map_err(|_| BuildError::Sessions)?;
        self.sessions.push(session);
        Ok(id)
    }

    /// A route.
    ///
    /// # Errors
    /// [`BuildError::Routes`]
    pub fn route(
        &mut self,
        peer: PeerId,
        prefix: Prefix,
        path_id: u32,
        since_s: u32,
        fate: Fate,
        mut attributes: Attributes,
    ) -> Result<(), BuildError> {
        if self.rows.len() >= ROUTES_MAX {
            return Err(BuildError::Routes);
        }
        shrink(&mut attributes);
        let next = self.known.len() as u32;
        let attributes = *self.known.entry(attributes).or_insert(next);
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
        let mut attributes = vec![Attributes::default(); self.known.len()];
        for (one, at) in self.known {
            attributes[at as usize] = one;
        }
        let mut by_asn: Named<u32> = HashMap::new();
        let mut by_community: Named<Community> = HashMap::new();
        for (at, one) in attributes.iter().enumerate() {
            let at = at as u32;
            one.path.asns().for_each(|asn| note(&mut by_asn, asn, at));
            for value in &one.communities {
                note(&mut by_community, Community::Standard(*value), at);
            }
            for value in &one.large {
                note(&mut by_community, Community::Large(*value), at);
            }
        }
        let by_attributes = Lists::of(attributes.len(), |each| {
            rows.iter()
                .enumerate()
                .for_each(|(at, row)| each(row.attributes as usize, at as u32));
        });
        let by_session = Lists::of(self.sessions.len(), |each| {
            rows.iter()
                .enumerate()
                .for_each(|(at, row)| each(usize::from(row.peer), at as u32));
        });
        Index {
            taken_at_s,
            sessions: self.sessions,
            table: PrefixTable::of_sorted(prefixes),
            rows,
            starts,
            attributes,
            by_attributes,
            by_session,
            by_asn,
            by_community,
        }
    }
}

fn note<K: Hash + Eq>(lists: &mut Named<K>, key: K, at: u32) {
    let list = lists.entry(key).or_default();
    // A path may hold a number several times in a row.
    if list.last() != Some(&at) {
        list.push(at);
    }
}

fn shrink(attributes: &mut Attributes) {
    attributes.communities.shrink_to_fit();
    attributes.large.shrink_to_fit();
    attributes.extended.shrink_to_fit();
    let AsPath(segments) = &mut attributes.path;
    segments.shrink_to_fit();
}
