//! What an enforcement would have met, had it been in force during the last day. The day
//! is looked at in pieces, so that whoever waits sees how far it is.

use std::collections::HashMap;
use std::time::Duration;

use base::EnforcementId;
use base::enforcement::{Action, Rule, Target};
use enforce::{Found, Set};
use tokio::sync::watch;

use super::engine::{EnforceError, Enforcements};
use super::seams::{Grouping, Seen};

/// How far back a simulation looks.
const LOOK_BACK: Duration = Duration::from_secs(86_400);
/// Pieces in which the day is looked at.
pub(super) const PIECES: u32 = 12;
/// Groups of requests that are compared in one piece.
const GROUPS_MAX: usize = 200_000;
/// Groups that are met which are told apart.
const MET_MAX: usize = 100_000;
/// Examples that it shows.
const EXAMPLES_MAX: usize = 20;

/// What would have been met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Simulated {
    /// Requests.
    pub requests: u64,
    /// Of all requests looked at.
    pub of: u64,
    /// Different clients, hosts or URLs.
    pub groups: u64,
    /// The most frequent of them.
    pub examples: Vec<Seen>,
    /// Whether there were more groups than are compared.
    pub truncated: bool,
    /// Why it could not be enforced, if so.
    pub forbidden: Option<String>,
    /// Why it is enforced only when a person approves, if so.
    pub asked: Option<String>,
}

impl Enforcements {
    /// Looks at the requests of the last day.
    ///
    /// # Errors
    /// [`EnforceError::Seam`] when they cannot be read.
    pub async fn simulate(&self, target: &Target) -> Result<Simulated, EnforceError> {
        self.simulate_telling(target, &watch::Sender::new(0)).await
    }

    /// As [`Enforcements::simulate`], telling after each of [`PIECES`].
    ///
    /// # Errors
    /// [`EnforceError::Seam`] when the requests cannot be read.
    pub async fn simulate_telling(
        &self,
        target: &Target,
        piece: &watch::Sender<u32>,
    ) -> Result<Simulated, EnforceError> {
        let (_, policy) = self.policy().await?;
        let own = self.own().await?;
        let names = self.own_names().await?;
        let by = match target {
            Target::Network(_) => Grouping::Client,
            Target::Domain { .. } => Grouping::Host,
            Target::Url(_) => Grouping::Url,
            Target::File { .. } => {
                return Err(EnforceError::Conflict(
                    "files are not seen in requests: nothing to simulate".to_owned(),
                ));
            }
        };
        let rule = Rule {
            id: EnforcementId::generate(),
            target: target.clone(),
            action: Action::Observe,
            until: None,
        };
        let set =
            Set::build(std::iter::once(&rule)).map_err(|error| EnforceError::Seam(error.into()))?;
        let mut result = Simulated {
            forbidden: policy
                .permits(target)
                .and_then(|()| own.permits(target))
                .err(),
            asked: names.asks(target).or_else(|| own.asks(target)),
            ..Simulated::default()
        };
        let mut met: HashMap<String, u64> = HashMap::new();
        let (now, each) = (self.now(), LOOK_BACK / PIECES);
        for number in (0..PIECES).rev() {
            let to = now.minus(each * number);
            let (seen, truncated) = self
                .inner
                .past
                .requests(by, to.minus(each), to, GROUPS_MAX)
                .await
                .map_err(EnforceError::Seam)?;
            result.truncated |= truncated;
            for group in seen {
                result.of += group.requests;
                if !meets(&set, by, &group.what) {
                    continue;
                }
                result.requests += group.requests;
                if let Some(count) = met.get_mut(&group.what) {
                    *count += group.requests;
                } else if met.len() < MET_MAX {
                    met.insert(group.what, group.requests);
                } else {
                    result.truncated = true;
                }
            }
            piece.send_replace(PIECES - number);
        }
        result.groups = met.len() as u64;
        let mut examples: Vec<Seen> = met
            .into_iter()
            .map(|(what, requests)| Seen { what, requests })
            .collect();
        examples
            .sort_by(|one, other| (other.requests, &one.what).cmp(&(one.requests, &other.what)));
        examples.truncate(EXAMPLES_MAX);
        result.examples = examples;
        Ok(result)
    }
}

fn meets(set: &Set, by: Grouping, what: &str) -> bool {
    let any = |_: &Found, _: u32| true;
    match by {
        Grouping::Client => what
            .parse()
            .is_ok_and(|address| set.client(address, any).is_some()),
        Grouping::Host => set
            .name(what.to_ascii_lowercase().as_bytes(), any)
            .is_some(),
        Grouping::Url => {
            let (host, path) = what.split_at(what.find('/').unwrap_or(what.len()));
            let mut url = host.to_ascii_lowercase();
            base::enforcement::normal_path(path, &mut url);
            set.url(url.as_bytes(), any).is_some()
        }
    }
}
