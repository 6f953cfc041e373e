//! What a managed node refuses: its keeper, fed by snapshots.

use std::sync::Arc;

use anyhow::Context;
use base::Role;
use base::enforcement::Enforced;
use enforce::{Blocklist, Keeper};
use tokio::sync::watch;

use super::node::ManagedNode;
use super::process::Process;
use crate::config::Config;

/// Opens the keeper of a role beside the node's identity, and starts it.
pub(super) fn keeper(
    config: &Config,
    process: &Process,
    node: &ManagedNode,
    role: Role,
) -> anyhow::Result<Arc<Keeper>> {
    let dir = config.node.dir.join("enforced").join(role.name());
    let keeper = Keeper::open(&dir, Blocklist::new(role))
        .context("could not open the log of enforcements")?;
    let keeper = Arc::new(keeper);
    process.supervisor.spawn(
        format!("enforcement {role}"),
        Arc::clone(&keeper).run(Arc::clone(&node.sink), process.supervisor.soft()),
    );
    Ok(keeper)
}

/// Obeys the folded part of each snapshot; of the one on disk before this returns.
pub(super) fn adopt<T: Send + Sync + 'static>(
    process: &Process,
    keeper: Arc<Keeper>,
    mut snapshot: watch::Receiver<Option<Arc<T>>>,
    enforced: fn(&T) -> &Enforced,
) -> anyhow::Result<()> {
    if let Some(first) = snapshot.borrow_and_update().clone() {
        keeper
            .adopt(enforced(&first))
            .context("could not obey the enforcements of the kept snapshot")?;
    }
    let stop = process.supervisor.soft();
    process
        .supervisor
        .spawn("enforcement of snapshots", async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = snapshot.changed() => if changed.is_err() { return },
                }
                let Some(latest) = snapshot.borrow_and_update().clone() else {
                    continue;
                };
                let keeper = Arc::clone(&keeper);
                let adopted = tokio::task::spawn_blocking(move || {
                    keeper
                        .adopt(enforced(&latest))
                        .map_err(|error| runtime::error_chain(&error))
                });
                if let Ok(Err(error)) = adopted.await {
                    tracing::error!(
                        error,
                        "The enforcements of a snapshot are refused; those before stay"
                    );
                }
            }
        });
    Ok(())
}
