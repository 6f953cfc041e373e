//! What is wrong with ports now, for the strip at the top of every page: answered from
//! memory, which a task renews.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use base::{OrgId, PortId, Timestamp};
use casework::form::Text;
use web::{Alert, Alerts, Lang, Level, OrgScope, Principal};

use super::Traffic;
use super::catalogue::Catalogue;
use super::seams::Ask;
use crate::room::tell;

/// A port that was not read for so long is silent.
const SILENT: Duration = Duration::from_secs(15 * 60);
/// A port that was read within this time and is silent has fallen silent.
const LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);
/// Faults that one reader is shown.
const SHOWN_MAX: usize = 3;

/// Something wrong with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The port.
    pub port: PortId,
    /// The switch's and the port's name.
    pub name: String,
    /// Whose it is.
    pub org: Option<OrgId>,
    /// What it is.
    pub what: What,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// In service, and down.
    Down,
    /// In service, and not read for a quarter of an hour.
    Silent,
}

impl Traffic {
    /// Looks for faults; a task does so every few seconds.
    ///
    /// # Errors
    /// When the model or the figures cannot be read; what was known stays.
    pub async fn look(&self, now: Timestamp) -> Result<(), super::seams::SeamError> {
        let catalogue = Catalogue::of(&self.inner.exchange, &OrgScope::All, false).await?;
        let active: Vec<_> = catalogue.ports.iter().filter(|port| port.active).collect();
        let last = self
            .inner
            .figures
            .last(&Ask {
                ports: active.iter().map(|port| port.id).collect(),
                orgs: None,
                from: now.minus(LOOK_BACK),
                to: now.plus(Duration::from_secs(1)),
                step_s: 60,
            })
            .await?;
        let mut faults = Vec::new();
        for port in active {
            // A port that never was read is not connected yet: no fault of anybody's.
            let Some(seen) = last.iter().find(|last| last.port == port.id) else {
                continue;
            };
            let what = if now.since(seen.at) > SILENT {
                What::Silent
            } else if !seen.up {
                What::Down
            } else {
                continue;
            };
            faults.push(Fault {
                port: port.id,
                name: format!("{} {}", port.switch_name, port.name),
                org: port.org,
                what,
            });
        }
        faults.sort_by_key(|fault| fault.what);
        *self
            .inner
            .faults
            .write()
            .unwrap_or_else(PoisonError::into_inner) = faults;
        Ok(())
    }

    /// What is wrong now, as far as `scope` may see it.
    pub fn faults(&self, scope: &OrgScope) -> Vec<Fault> {
        let faults = self
            .inner
            .faults
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let visible = |fault: &&Fault| match scope {
            OrgScope::All => true,
            OrgScope::Only(orgs) => fault.org.is_some_and(|org| orgs.contains(&org)),
        };
        faults.iter().filter(visible).cloned().collect()
    }
}

#[async_trait]
impl Alerts for Traffic {
    async fn current(&self, principal: &Principal, lang: Lang) -> Vec<Alert> {
        if principal.user().is_none() {
            return Vec::new();
        }
        let faults = self.faults(&principal.scope("traffic:view"));
        let alert = |fault: &Fault| {
            let text = match fault.what {
                What::Down => Text::new(
                    format!("埠 {} 中斷", fault.name),
                    format!("port {} is down", fault.name),
                ),
                What::Silent => Text::new(
                    format!("埠 {} 沒有讀數", fault.name),
                    format!("port {} gives no readings", fault.name),
                ),
            };
            Alert {
                level: match fault.what {
                    What::Down => Level::Bad,
                    What::Silent => Level::Warn,
                },
                text: text.of(lang.tag()).to_owned(),
                path: format!("/exchange/traffic/ports/{}", fault.port),
            }
        };
        faults.iter().take(SHOWN_MAX).map(alert).collect()
    }
}

/// An error of a seam as the console tells it.
pub(super) fn away(error: &super::seams::SeamError) -> web::WebError {
    web::WebError::unavailable(runtime::error_chain(error.as_ref()))
}

/// An error of the model as the console tells it.
pub(super) fn told(lang: Lang) -> impl Fn(crate::room::RoomError) -> web::WebError {
    move |error| tell(error, lang)
}
