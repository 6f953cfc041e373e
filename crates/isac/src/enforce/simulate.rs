//! What an enforcement would have met, had it been in force during the last day.

use std::time::Duration;

use base::EnforcementId;
use base::enforcement::{Action, Rule, Target};
use enforce::{Found, Set};

use super::engine::{EnforceError, Enforcements};
use super::seams::{Grouping, Seen};

/// How far back a simulation looks.
const LOOK_BACK: Duration = Duration::from_secs(86_400);
/// Groups of requests that it compares.
const GROUPS_MAX: usize = 200_000;
/// Examples that it shows.
const EXAMPLES_MAX: usize = 20;

/// What would have been met.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Enforcements {
    /// Looks at the requests of the last day.
    ///
    /// # Errors
    /// [`EnforceError::Seam`] when they cannot be read.
    pub async fn simulate(&self, target: &Target) -> Result<Simulated, EnforceError> {
        let (_, policy) = self.policy().await?;
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
        let from = self.now().minus(LOOK_BACK);
        let (seen, truncated) = self
            .inner
            .past
            .requests(by, from, GROUPS_MAX)
            .await
            .map_err(EnforceError::Seam)?;
        let rule = Rule {
            id: EnforcementId::generate(),
            target: target.clone(),
            action: Action::Observe,
            until: None,
        };
        let set =
            Set::build(std::iter::once(&rule)).map_err(|error| EnforceError::Seam(error.into()))?;
        let mut result = Simulated {
            requests: 0,
            of: 0,
            groups: 0,
            examples: Vec::new(),
            truncated,
            forbidden: policy.permits(target).err(),
        };
        for group in seen {
            result.of += group.requests;
            if meets(&set, by, &group.what) {
                result.requests += group.requests;
                result.groups += 1;
                if result.examples.len() < EXAMPLES_MAX {
                    result.examples.push(group);
                }
            }
        }
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
