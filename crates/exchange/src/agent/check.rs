//! A member checked from this site, when the control plane asks: the site's own route server and what
//! answers from here.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::snapshot::SiteSnapshot;
use crate::engine::daemon::Daemons;
use crate::health::{self, Checked, Usual, Verdict};
use crate::places::{Place, Places};

/// Checks at one time: each sends pings and asks the daemon for everything.
const TURNS: usize = 2;

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No snapshot has come yet.
    #[error("this site has no members' document yet")]
    NoDocument,
    /// Nobody of that number.
    #[error("AS{0} is no member")]
    NoMember(u32),
    /// Others are being checked.
    #[error("{TURNS} checks are under way: ask again in a moment")]
    Busy,
    /// The work broke off.
    #[error("the check broke off")]
    Broken,
}

/// Checks members from one site. Cheap to clone.
#[derive(Clone)]
pub struct Checker {
    site: String,
    daemons: Daemons,
    snapshot: watch::Receiver<Option<Arc<SiteSnapshot>>>,
    /// What sessions brought when everything was well, since this process began.
    usual: Arc<Mutex<Usual>>,
    turns: Arc<Semaphore>,
}

impl Checker {
    /// One for `site`, whose members are in the newest snapshot.
    pub fn new(
        site: &str,
        daemons: Daemons,
        snapshot: watch::Receiver<Option<Arc<SiteSnapshot>>>,
    ) -> Self {
        Self {
            site: site.to_owned(),
            daemons,
            snapshot,
            usual: Arc::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// Checks the member of that AS number.
    ///
    /// # Errors
    /// [`CheckError`]
    pub async fn check(&self, asn: u32, at_s: u64) -> Result<Checked, CheckError> {
        let snapshot = self.snapshot.borrow().clone();
        let snapshot = snapshot.ok_or(CheckError::NoDocument)?;
        if !snapshot.document.members.iter().any(|one| one.asn == asn) {
            return Err(CheckError::NoMember(asn));
        }
        let turn = Arc::clone(&self.turns);
        let _turn = turn.try_acquire_owned().map_err(|_| CheckError::Busy)?;
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.look(&snapshot, asn, at_s)).await;
        done.map_err(|_| CheckError::Broken)?
            .ok_or(CheckError::NoMember(asn))
    }

    fn look(&self, snapshot: &SiteSnapshot, asn: u32, at_s: u64) -> Option<Checked> {
        let document = &snapshot.document;
        let member = document.members.iter().find(|one| one.asn == asn)?;
        let daemon = self.daemons.at(document, &self.site);
        let places = Places {
            places: vec![Place {
                site: self.site.clone(),
                engine: Some(daemon.kind),
                socket: Some(daemon.socket),
                config: Some(daemon.config),
                run: Vec::new(),
            }],
        };
        let known = self.usual();
        let mut seen = known.clone();
        let checked = health::check(document, member, &places, &mut seen, true, at_s);
        // What is wrong does not become what is usual.
        let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        for (session, routes) in seen.0 {
            if checked.verdict == Verdict::Good || !known.0.contains_key(&session) {
                usual.0.insert(session, routes);
            }
        }
        Some(checked)
    }

    fn usual(&self) -> Usual {
        let usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        usual.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::document::tests::SMALL;
    use crate::irr::AllowedByMember;

    #[tokio::test]
    async fn members_of_the_snapshot_are_checked() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| (dir.path().join(name), dir.path().join("conf"));
        let daemons = Daemons {
            bird: at("none.ctl"),
            openbgpd: at("none.sock"),
        };
        let (tell, snapshot) = watch::channel(None);
        let checker = Checker::new("hsinchu", daemons, snapshot);
        let early = checker.check(1659, 0).await;
        assert!(matches!(early, Err(CheckError::NoDocument)));
        let document = Document::parse("lab.toml", SMALL).expect("valid");
        let member = document.members.first().expect("one").asn;
        let allowed = AllowedByMember::new();
        let snapshot = SiteSnapshot::new(document, &allowed, "5a".repeat(32));
        tell.send_replace(Some(Arc::new(snapshot)));
        let nobody = checker.check(4_200_000_000, 0).await;
        assert!(matches!(nobody, Err(CheckError::NoMember(_))));
        let checked = checker.check(member, 7).await.expect("checked");
        assert_eq!((checked.asn, checked.at_s), (member, 7));
        assert_ne!(checked.verdict, Verdict::Good, "no daemon answers");
    }
}
