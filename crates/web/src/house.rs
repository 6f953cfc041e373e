//! What all requests share: accounts, texts, the permission table, the rooms'
//! entries in the frame.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Clock, UserId};
use http::Method;
use std::net::IpAddr;
use std::time::Duration;
use store::{Db, Vault};

use crate::accounts::Accounts;
use crate::config::WebConfig;
use crate::cookies::Cookies;
use crate::lang::{Catalog, Lang};
use crate::limit::{Limiter, Rate};
use crate::live::Streams;
use crate::policy::Policy;
use crate::principal::Principal;
use crate::room::{Alert, Alerts, Badges, NavEntry, Search, SearchHit};

/// Alerts shown in the strip.
const ALERTS_MAX: usize = 5;
/// Callers remembered by a limiter.
const CALLERS_MAX: usize = 100_000;

/// What all requests share.
pub struct House {
    /// The configuration.
    pub config: Arc<WebConfig>,
    /// Accounts.
    pub accounts: Accounts,
    /// Texts.
    pub catalog: Catalog,
    /// The permission table.
    pub policy: Policy,
    /// The bound on live streams.
    pub streams: Streams,
    /// The control database.
    pub db: Db,
    /// Sealed fields.
    pub vault: Vault,
    /// Time.
    pub clock: Arc<dyn Clock>,
    pub(crate) cookies: Cookies,
    pub(crate) nav: Vec<NavEntry>,
    pub(crate) alerts: Vec<Arc<dyn Alerts>>,
    pub(crate) search: Vec<Arc<dyn Search>>,
    pub(crate) badges: Vec<Arc<dyn Badges>>,
    pub(crate) homes: Vec<Arc<dyn crate::home::Home>>,
    pub(crate) table: HashMap<&'static str, Vec<(Method, &'static str)>>,
    pub(crate) openapi: serde_json::Value,
    pub(crate) limits: Limits,
    pub(crate) chain: crate::chain::Chain,
    pub(crate) passkeys: Option<crate::accounts::passkeys::Passkeys>,
    pub(crate) oidc: Option<crate::oidc::Provider>,
}

/// How often callers may try.
pub(crate) struct Limits {
    /// Sign-in attempts by account.
    pub(crate) account: Limiter<String>,
    /// Sign-in attempts by address.
    pub(crate) address: Limiter<IpAddr>,
    /// Second factors by person.
    pub(crate) second: Limiter<UserId>,
    /// API requests by caller.
    pub(crate) api: Limiter<String>,
}

impl Limits {
    pub(crate) fn new(config: &WebConfig) -> Self {
        let login = Rate {
            burst: config.login_burst,
            refill: Duration::from_secs(60),
        };
        // An office behind one address has many people.
        let address = Rate {
            burst: config.login_burst.saturating_mul(10),
            refill: Duration::from_secs(6),
        };
        let api_step = 5_000_000 / u64::from(config.api_burst.max(1));
        let api = Rate {
            burst: config.api_burst,
            refill: Duration::from_micros(api_step.max(1)),
        };
        Self {
            account: Limiter::new(login, CALLERS_MAX),
            address: Limiter::new(address, CALLERS_MAX),
            second: Limiter::new(login, CALLERS_MAX),
            api: Limiter::new(api, CALLERS_MAX),
        }
    }
}

impl House {
    /// Has the audit page check the trail against anchors that lie outside of the
    /// database, as the command does; the first call counts.
    pub fn check_audit_against(&self, anchors: store::audit::Anchors) {
        self.chain.against(anchors);
    }

    pub(crate) async fn alerts(&self, principal: &Principal, lang: Lang) -> Vec<Alert> {
        let mut all = Vec::new();
        for provider in &self.alerts {
            all.extend(provider.current(principal, lang).await);
        }
        all.sort_by_key(|alert| std::cmp::Reverse(alert.level));
        all.truncate(ALERTS_MAX);
        all
    }

    pub(crate) async fn badges(&self, principal: &Principal) -> Vec<(&'static str, u64)> {
        let mut all = Vec::new();
        if principal.user().is_some() {
            for provider in &self.badges {
                all.extend(provider.counts(principal).await);
            }
        }
        all
    }

    pub(crate) async fn hits(
        &self,
        principal: &Principal,
        lang: Lang,
        query: &str,
    ) -> Vec<SearchHit> {
        let mut all = Vec::new();
        for provider in &self.search {
            all.extend(provider.search(principal, lang, query).await);
        }
        all
    }
}
