//! Names of the sites that the house carries. No indicator alone takes one off the air, nor
//! what lies above them: a person decides, who is told which site it is. People may block them
//! at once: sites are misused, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use base::enforcement::Target;

use super::engine::{EnforceError, Enforcements};
use super::policy::url_host;
use super::seams::SeamError;

/// For how long what was read is good.
const NAMES_PERIOD: Duration = Duration::from_secs(30);

/// A name under which a site in service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteName {
    /// The name, in ASCII and lower case.
    pub name: String,
    /// What people call the site.
    pub site: String,
}

/// Knows the sites in service.
#[async_trait]
pub trait Sites: Send + Sync {
    /// All their names.
    async fn names(&self) -> Result<Vec<SiteName>, SeamError>;
}

/// The names, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct OwnNames {
    /// The site of each name, its labels from the last to the first: what lies below a name
    /// follows it in order.
    sites: BTreeMap<String, String>,
}

impl OwnNames {
    fn of(all: Vec<SiteName>) -> Self {
        let sites = all.into_iter().map(|one| (turned(&one.name), one.site));
        Self {
            sites: sites.collect(),
        }
    }

    /// Why a person decides before an indicator takes `target` off the air; none: nobody needs
    /// to.
    pub(super) fn asks(&self, target: &Target) -> Option<String> {
        let (name, below) = match target {
            Target::Domain { name, below } => (&**name, *below),
            Target::Url(url) => (url_host(url), false),
            Target::Network(_) | Target::File { .. } => return None,
        };
        let name = turned(name);
        let first = self.sites.range(name.clone()..).next();
        let hit = |found: &str| found == name || below && found.starts_with(&name);
        let (_, site) = first.filter(|(found, _)| hit(found))?;
        Some(format!("the site {site} is in service here"))
    }
}

/// `www.library.gov.test` as `test.gov.library.www.`.
fn turned(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 1);
    for label in name.rsplit('.') {
        out.push_str(label);
        out.push('.');
    }
    out
}

/// What was read last.
#[derive(Default)]
pub(super) struct Served {
    from: OnceLock<Arc<dyn Sites>>,
    kept: Mutex<Option<(Timestamp, Arc<OwnNames>)>>,
}

impl Enforcements {
    /// From here on names of sites in service wait for a person. The first call counts.
    pub fn carry(&self, sites: Arc<dyn Sites>) {
        if self.inner.sites.from.set(sites).is_err() {
            tracing::warn!("The sites in service are joined to enforcement already");
        }
    }

    /// Names of sites in service, at most [`NAMES_PERIOD`] old; what was read before, while
    /// they cannot be read.
    pub(super) async fn own_names(&self) -> Result<Arc<OwnNames>, EnforceError> {
        let served = &self.inner.sites;
        let Some(from) = served.from.get() else {
            return Ok(Arc::default());
        };
        let place = || served.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let kept = place().clone();
        if let Some((at, names)) = &kept
            && now < at.plus(NAMES_PERIOD)
        {
            return Ok(names.clone());
        }
        match (from.names().await, kept) {
            (Ok(all), _) => {
                let names = Arc::new(OwnNames::of(all));
                *place() = Some((now, names.clone()));
                Ok(names)
            }
            (Err(error), Some((_, names))) => {
                tracing::warn!(%error, "The sites in service could not be read; they stay as they were read before");
                Ok(names)
            }
            // Without it nothing says what a person must be asked about.
            (Err(error), None) => Err(EnforceError::Seam(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_met_by_its_name_its_pages_and_what_lies_above() {
        let site = |name: &str, site: &str| SiteName {
            name: name.to_owned(),
            site: site.to_owned(),
        };
        let names = OwnNames::of(vec![
            site("www.library.gov.test", "library"),
            site("www.weather.gov.test", "weather"),
            site("library.cdn.test", "library"),
        ]);
        for (text, wanted) in [
            ("www.library.gov.test", "library"),
            ("WWW.Weather.gov.test.", "weather"),
            ("*.www.library.gov.test", "library"),
            ("*.library.gov.test", "library"),
            ("*.gov.test", "library"),
            ("*.cdn.test", "library"),
            ("http://www.library.gov.test:8080/books", "library"),
        ] {
            let why = names.asks(&text.parse().expect("a target")).expect(text);
            assert_eq!(
                why,
                format!("the site {wanted} is in service here"),
                "{text}"
            );
        }
        for text in [
            "library.gov.test",
            "*.a.www.library.gov.test",
            "www.library.gov.test.evil.example",
            "*.brary.gov.test",
            "*.evil.test",
            "http://library.gov.test/",
            "192.0.2.1",
        ] {
            assert_eq!(names.asks(&text.parse().expect("a target")), None, "{text}");
        }
    }
}
