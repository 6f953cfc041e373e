//! The lens as the console's pages look through it.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use base::OrgId;
use tokio::sync::Mutex;

use super::lens::{Lens, Seen};
use super::{ShareError, Sharing};
use crate::objects::ObjectsError;
use crate::objects::search::{Glass, Hit};

/// What somebody of some organisations is shown of objects.
struct MemberGlass {
    sharing: Sharing,
    lens: Mutex<Lens>,
    /// Whose own objects are shown as they are.
    own: Vec<OrgId>,
}

impl std::fmt::Debug for MemberGlass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberGlass")
            .field("own", &self.own)
            .finish()
    }
}

impl Sharing {
    /// Through what a person looks who acts for `org`, if for one, and belongs to `own`.
    ///
    /// # Errors
    /// When database or key cannot be read: then nothing is shown.
    pub async fn glass(
        &self,
        org: Option<OrgId>,
        own: Vec<OrgId>,
    ) -> Result<Arc<dyn Glass>, ShareError> {
        Ok(Arc::new(MemberGlass {
            sharing: self.clone(),
            lens: Mutex::new(self.lens_of(org).await?),
            own,
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
        let shown = hits.into_iter().filter_map(|hit| {
            if hit.source.is_some_and(|org| self.own.contains(&org)) {
                return Some(hit);
            }
            let json = match lens.look(&hit.json, hit.source) {
                Seen::Withheld { .. } => return None,
                Seen::Whole(Cow::Borrowed(_)) => return Some(hit),
                Seen::Whole(Cow::Owned(json)) => json,
            };
            let id = lens.id(&hit.id, hit.source).into_owned();
            Some(Hit { json, id, ..hit })
        });
        Ok(shown.collect())
    }
}
