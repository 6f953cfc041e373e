//! `civicnet keys`: rotation of the keys that encrypt fields at rest.

use base::{Clock, SystemClock};
use store::{Actor, AuditEntry};

use super::control;
use crate::Verdict;
use crate::cli::KeysCommand;

pub(crate) async fn run(what: KeysCommand) -> anyhow::Result<Verdict> {
    let KeysCommand::Rotate(place) = what;
    let memory = control::open(&place.config).await?;
    let id = memory.vault.rotate(SystemClock.now())?;
    let mut tx = memory.db.begin().await?;
    tx.audit(AuditEntry::new(
        Actor::System("civicnet keys rotate"),
        "keys.rotate",
        format!("key:{id}"),
    ))
    .await?;
    tx.commit().await?;
    crate::out(&format!(
        "key {id} is active. A running control plane takes it up within a minute and re-encrypts what older keys sealed; \
         keep the older keys in the file until then"
    ))?;
    Ok(Verdict::Good)
}
