//! Where each payload comes from: its trust anchor, its object, and until when that is good.

use std::collections::HashMap;
use std::sync::Arc;

use routinator::payload::PayloadInfo;

use crate::rpki::{Vrp, VrpSet};

/// Where one payload comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// Name of the trust anchor locator.
    pub tal: Arc<str>,
    /// Address of the ROA.
    pub uri: Arc<str>,
    /// When the chain of certificates above it ends, in Unix seconds.
    pub expires_at: i64,
}

/// The sources of a set, in its order.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    all: Vec<(Vrp, Source)>,
}

impl Sources {
    /// The first source of each payload.
    pub(super) fn collect<'a>(all: impl Iterator<Item = (Vrp, &'a PayloadInfo)>) -> Self {
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        let mut shared = |text: &str| -> Arc<str> {
            if let Some(known) = names.get(text) {
                return Arc::clone(known);
            }
            let new: Arc<str> = text.into();
            names.insert(text.to_owned(), Arc::clone(&new));
            new
        };
        let mut all: Vec<(Vrp, Source)> = all
            .map(|(vrp, info)| {
                let source = Source {
                    tal: shared(info.tal_name().unwrap_or_default()),
                    uri: shared(info.uri().map_or("", |uri| uri.as_str())),
                    expires_at: info
                        .publish_info()
                        .map_or(0, |info| info.chain_validity.not_after().timestamp()),
                };
                (vrp, source)
            })
            .collect();
        all.sort_unstable_by_key(|one| one.0);
        all.dedup_by(|a, b| a.0 == b.0);
        Self { all }
    }

    /// Where `vrp` comes from; `None` for a local exception.
    pub fn get(&self, vrp: &Vrp) -> Option<&Source> {
        let at = self.all.binary_search_by(|(one, _)| one.cmp(vrp)).ok()?;
        self.all.get(at).map(|(_, source)| source)
    }

    /// `set` without the payloads whose certificates have ended at `now` (Unix seconds); `None` when all are left.
    pub(crate) fn left(&self, set: &VrpSet, now: i64) -> Option<VrpSet> {
        let good = |vrp: &Vrp| self.get(vrp).is_none_or(|source| source.expires_at > now);
        if set.iter().all(|vrp| good(&vrp)) {
            return None;
        }
        Some(set.iter().filter(good).collect())
    }

    /// The payloads in order.
    pub(super) fn payloads(&self) -> impl Iterator<Item = Vrp> + '_ {
        self.all.iter().map(|(vrp, _)| *vrp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_left_out() {
        let vrp = |asn| {
            let prefix = "192.0.2.0/24".parse().expect("a prefix");
            Vrp::new(prefix, 24, asn).expect("a payload")
        };
        let source = |expires_at| Source {
            tal: "t".into(),
            uri: "rsync://x.test/r/a.roa".into(),
            expires_at,
        };
        let sources = Sources {
            all: vec![(vrp(1), source(100)), (vrp(2), source(200))],
        };
        let set: VrpSet = [vrp(1), vrp(2), vrp(3)].into_iter().collect();
        assert_eq!(sources.left(&set, 99), None);
        let left = sources.left(&set, 100).expect("one has ended");
        assert_eq!(left.iter().map(|vrp| vrp.asn).collect::<Vec<_>>(), [2, 3]);
    }
}
