//! The payloads that label routes: those of the document's RTR server, and those written into it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::snapshot::SiteSnapshot;
use crate::document::RpkiPolicy;
use crate::rpki::service::{Rpki, Service, ServiceOptions, Source};
use crate::rpki::{Vrp, VrpSet};
use crate::rtr::client::Upstream;

/// Follows the newest snapshot's payloads into `labels` until `stop`.
pub async fn follow(
    mut snapshot: watch::Receiver<Option<Arc<SiteSnapshot>>>,
    labels: watch::Sender<Option<Arc<VrpSet>>>,
    stop: CancellationToken,
) {
    let mut policy: Option<RpkiPolicy> = None;
    let mut running: Option<(Rpki, tokio_util::sync::DropGuard)> = None;
    loop {
        let wanted = snapshot
            .borrow_and_update()
            .as_ref()
            .map(|snapshot| snapshot.document.policy.rpki.clone());
        if wanted != policy {
            let servers = |policy: &Option<RpkiPolicy>| {
                policy.as_ref().and_then(|policy| {
                    let server = policy.servers.first()?;
                    Some(SocketAddr::new(server.address, server.port))
                })
            };
            if servers(&wanted) != servers(&policy) {
                running = servers(&wanted).and_then(|address| begin(address, &stop));
            }
            policy = wanted;
            tell(
                &labels,
                policy.as_ref(),
                running.as_ref().map(|(rpki, _)| rpki),
            );
        }
        let mut news = running.as_ref().map(|(rpki, _)| rpki.cache());
        let renewed = async {
            match &mut news {
                Some(news) => {
                    news.mark_unchanged();
                    if news.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = snapshot.changed() => if changed.is_err() { return },
            () = renewed => {}
            // What was renewed between two looks.
            () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
        }
        tell(
            &labels,
            policy.as_ref(),
            running.as_ref().map(|(rpki, _)| rpki),
        );
    }
}

fn begin(
    address: SocketAddr,
    stop: &CancellationToken,
) -> Option<(Rpki, tokio_util::sync::DropGuard)> {
    let opened = Service::open(ServiceOptions {
        source: Source::Rtr(Upstream { address, tls: None }),
        slurm: Vec::new(),
        dir: None,
    });
    match opened {
        Ok((service, rpki)) => {
            let stop = stop.child_token();
            tokio::spawn(service.run(stop.clone()));
            Some((rpki, stop.drop_guard()))
        }
        Err(error) => {
            let error = runtime::error_chain(&error);
            tracing::error!(
                error,
                "Payloads could not be followed: routes have no label"
            );
            None
        }
    }
}

fn tell(
    labels: &watch::Sender<Option<Arc<VrpSet>>>,
    policy: Option<&RpkiPolicy>,
    rpki: Option<&Rpki>,
) {
    let fixed: Vec<Vrp> = policy
        .into_iter()
        .flat_map(|policy| &policy.roas)
        .filter_map(|roa| {
            let longest = roa.max_length.unwrap_or(roa.prefix.length());
            Vrp::new(roa.prefix, longest, roa.asn).ok()
        })
        .collect();
    let served = rpki.and_then(Rpki::set);
    let set = match (served, fixed.is_empty()) {
        (served, true) => served,
        (None, false) => Some(Arc::new(fixed.into_iter().collect())),
        (Some(served), false) => Some(Arc::new(served.iter().chain(fixed).collect::<VrpSet>())),
    };
    labels.send_if_modified(|now| {
        let same = match (&*now, &set) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        };
        if !same {
            *now = set;
        }
        !same
    });
}
