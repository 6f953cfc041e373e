//! The lens as the console's pages look through it.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use base::OrgId;
use tokio::sync::Mutex;

use super::lens::{Lens, Seen};
use super::veil::{Onlooker, Reach, Word};
use super::{ShareError, Sharing};
use crate::objects::ObjectsError;
use crate::objects::search::{Glass, Hit};
use crate::stix::Tlp;

/// What somebody of some organisations is shown of objects.
struct MemberGlass {
    sharing: Sharing,
    lens: Mutex<Lens>,
    who: Onlooker,
}

impl std::fmt::Debug for MemberGlass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberGlass")
            .field("who", &self.who)
            .finish()
    }
}

impl Sharing {
    /// Through what a person looks who acts for `org`, if for one, belongs to `own` and reads
    /// these collections, by number, up to these markings.
    ///
    /// # Errors
    /// When database or key cannot be read: then nothing is shown.
    pub async fn glass(
        &self,
        org: Option<OrgId>,
        own: Vec<OrgId>,
        reads: Vec<(i64, Tlp)>,
    ) -> Result<Arc<dyn Glass>, ShareError> {
        Ok(Arc::new(MemberGlass {
            sharing: self.clone(),
            lens: Mutex::new(self.lens_of(org).await?),
            who: Onlooker {
                own,
                reach: Reach::Collections(reads),
            },
        }))
    }
}

#[async_trait]
impl Glass for MemberGlass {
    async fn shown(&self, hits: Vec<Hit>) -> Result<Vec<Hit>, ObjectsError> {
        let mut lens = self.lens.lock().await;
        self.sharing
            .know_authors(&mut lens, hits.iter().map(|hit| hit.json.as_str()))
            .await
            .map_err(|error| ObjectsError::Glass(error.into()))?;
        let words: Vec<Word<'_>> = hits.iter().map(word).collect();
        let veil = self.sharing.veil(&lens, &self.who, &words).await;
        let veil = veil.map_err(|error| ObjectsError::Glass(error.into()))?;
        let shown = hits.into_iter().filter_map(|hit| {
            if hit.source.is_some_and(|org| self.who.own.contains(&org)) {
                return Some(hit);
            }
            let json = match veil.look(&lens, &word(&hit)) {
                Seen::Withheld { .. } => return None,
                Seen::Whole(Cow::Borrowed(_)) => None,
                Seen::Whole(Cow::Owned(json)) => Some(json),
            };
            let Some(json) = json else { return Some(hit) };
            let id = lens.id(&hit.id, hit.source).into_owned();
            Some(Hit { json, id, ..hit })
        });
        Ok(shown.collect())
    }

    fn own(&self) -> &[OrgId] {
        &self.who.own
    }
}

fn word(hit: &Hit) -> Word<'_> {
    Word {
        collection: hit.collection,
        id: &hit.id,
        source: hit.source,
        // Replies that were fetched are in a band that members do not read.
        fetched: false,
        json: &hit.json,
    }
}
