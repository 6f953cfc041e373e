//! Where each payload comes from: its trust anchor, its object, and until when that is good.

use std::collections::HashMap;
use std::sync::Arc;

use routinator::payload::PayloadInfo;

use crate::rpki::Vrp;

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
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        Self { all }
    }

    /// Where `vrp` comes from; `None` for a local exception.
    pub fn get(&self, vrp: &Vrp) -> Option<&Source> {
        let at = self.all.binary_search_by(|(one, _)| one.cmp(vrp)).ok()?;
        self.all.get(at).map(|(_, source)| source)
    }

    /// The payloads in order.
    pub(super) fn payloads(&self) -> impl Iterator<Item = Vrp> + '_ {
        self.all.iter().map(|(vrp, _)| *vrp)
    }
}
