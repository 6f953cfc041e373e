//! `civicnet audit`: verify and list.

use std::io::Write as _;

use anyhow::Context;
use store::audit::{Anchors, AuditFilter, VerifyError};
use store::page::PageRequest;

use super::control;
use crate::Verdict;
use crate::cli::AuditCommand;

pub(crate) async fn run(what: AuditCommand) -> anyhow::Result<Verdict> {
    match what {
        AuditCommand::Verify(place) => {
            let memory = control::open(&place.config).await?;
            let anchors =
                Anchors::new(&memory.config.store.audit_anchor_file, memory.vault.clone());
            match store::audit::verify(&memory.db, Some(&anchors)).await {
                Ok(verified) => {
                    crate::out(&format!(
                        "{} entries in order, {} anchors agree; head {}",
                        verified.entries, verified.anchors, verified.head
                    ))?;
                    Ok(Verdict::Good)
                }
                Err(VerifyError::Broken(broken)) => {
                    crate::complain(&broken.to_string());
                    Ok(Verdict::NotInOrder)
                }
                Err(error) => Err(error).context("could not verify the audit trail"),
            }
        }
        AuditCommand::List { place, limit } => {
            let memory = control::open(&place.config).await?;
            let page = store::audit::page(
                &memory.db,
                &AuditFilter::default(),
                &PageRequest::first(limit),
            )
            .await?;
            let mut out = std::io::stdout().lock();
            for entry in page.items {
                writeln!(
                    out,
                    "{} {} {} {} {} {}",
                    entry.seq, entry.at, entry.actor, entry.action, entry.subject, entry.detail
                )?;
            }
            Ok(Verdict::Good)
        }
    }
}
