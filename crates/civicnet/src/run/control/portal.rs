//! The members' side of the exchange, joined to enforcement.

use std::sync::Arc;
use std::time::Duration;

use casework::form::Forms;
use casework::{Grant, People};
use exchange::portal::{FORMS, Portal};
use exchange::protect::{Protect, ProtectionConfig};
use exchange::room::{Exchange, Parts};
use exchange::traffic::desk::Traffic;
use isac::enforce::Enforcements;
use store::{Db, Vault};

use crate::run::process::Process;

/// How often rules that have had their time are ended, and enforcements are followed.
const PERIOD: Duration = Duration::from_secs(2);

/// The exchange's model and its portal; registers forms and grants.
pub(super) fn open(
    db: &Db,
    vault: &Vault,
    people: Arc<dyn People>,
    traffic: &Traffic,
    forms: &mut Forms,
    grants: &mut std::collections::BTreeMap<String, Arc<dyn Grant>>,
) -> anyhow::Result<Portal> {
    let model = Exchange::new(Parts {
        db: db.clone(),
        vault: vault.clone(),
        people,
    });
    let portal = Portal::new(
        model,
        Protect::new(db.clone(), Some(Arc::new(traffic.clone()))),
    );
    for form in FORMS {
        forms.register(form)?;
    }
    grants.extend(portal.grants());
    Ok(portal)
}

/// Ends rules, and makes rules follow what is enforced everywhere.
pub(super) fn start(
    process: &Process,
    portal: &Portal,
    enforcements: &Enforcements,
    config: &ProtectionConfig,
) {
    if config.is_on() {
        let (portal, config) = (portal.clone(), config.clone());
        let period = Duration::from_secs(config.refresh_s);
        process
            .supervisor
            .every("registered address space", period, move || {
                let (portal, config) = (portal.clone(), config.clone());
                async move {
                    portal
                        .protect
                        .refresh(&portal.exchange, &config)
                        .await
                        .map(drop)
                }
            });
    }
    let protect = portal.protect.clone();
    process
        .supervisor
        .every("protection at the exchange", PERIOD, move || {
            let protect = protect.clone();
            async move { protect.look().await.map(drop) }
        });
    let (protect, enforcements) = (portal.protect.clone(), enforcements.clone());
    process
        .supervisor
        .every("enforcement at the exchange", PERIOD, move || {
            let (protect, enforcements) = (protect.clone(), enforcements.clone());
            async move {
                let rules = enforcements.networks_everywhere().await?;
                let followed = protect.follow(&rules).await?;
                if followed.left > 0 {
                    tracing::warn!(
                        enforcements.left = followed.left,
                        "More is enforced than the exchange announces"
                    );
                }
                anyhow::Ok(())
            }
        });
}
