//! Telling the control plane how the node is, and renewing the certificate in time.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::event::Severity;
use hyper::Method;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::NodeError;
use super::backoff::Backoff;
use super::client::{Channel, Dialer, LinkError};
use super::disk::IdentityFile;
use super::link::{Shared, lock};
use crate::api::{
    HEALTH_BYTES_MAX, HEARTBEAT_PERIOD, Heartbeat, HeartbeatReply, RenewReply, RenewRequest,
};
use crate::envelope::Handover;
use crate::{pki, tls};

/// How often the certificate's age is looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(5);

/// Heartbeats until aborted.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut channel = Channel::new(shared.dialer.clone());
    let mut refused = false;
    loop {
        let beat = heartbeat(&shared);
        let result: Result<HeartbeatReply, LinkError> =
            channel.call(Method::POST, "/v1/heartbeat", &beat).await;
        if let Err(error) = &result {
            shared.attempt_failed("heartbeat", error);
            if error.is_refusal() && !refused {
                shared.notice(
                    Severity::Error,
                    "link.refused",
                    format!("control plane refuses this node: {error}"),
                );
            }
            refused = error.is_refusal();
        } else {
            refused = false;
        }
        let now = shared.now();
        shared.status.send_modify(|status| match &result {
            Ok(reply) => {
                status.last_contact = Some(now);
                status.failure = None;
                status.draining = reply.draining;
            }
            Err(error) => status.failure = Some(error.to_string()),
        });
        tokio::time::sleep(HEARTBEAT_PERIOD).await;
    }
}

fn heartbeat(shared: &Shared) -> Heartbeat {
    let mut health = (shared.options.health)();
    let size = serde_json::to_vec(&health).map_or(usize::MAX, |bytes| bytes.len());
    if size > HEALTH_BYTES_MAX {
        tracing::warn!(node = %shared.node, size, limit = HEALTH_BYTES_MAX,
            "Health report is too large and is left out");
        health = serde_json::Value::Null;
    }
    Heartbeat {
        software: shared.options.software.clone(),
        snapshots: lock(&shared.versions).clone(),
        quick: lock(&shared.handlers)
            .iter()
            .map(|(role, handler)| (*role, handler.durable_seq()))
            .collect(),
        health,
    }
}

/// Renews at two thirds of the certificate's life, until aborted.
///
/// The next identity is written beside the present one and tried before it takes its
/// place. The control plane honours both until the next is first used; a node killed
/// between that use and the renaming finds `identity.next.json` and tries it again.
pub(crate) async fn renew(shared: Arc<Shared>) {
    let mut backoff = Backoff::new();
    loop {
        match step(&shared).await {
            Ok(()) => {
                backoff.reset();
                tokio::time::sleep(CERTIFICATE_PERIOD).await;
            }
            Err(error) => {
                tracing::warn!(node = %shared.node, error = %error,
                    "Certificate could not be renewed; will try again");
                backoff.wait().await;
            }
        }
    }
}

async fn step(shared: &Shared) -> Result<(), NodeError> {
    if let Some(next) = shared.disk.identity_next().unwrap_or(None) {
        return try_next(shared, next).await;
    }
    let present = shared.identity();
    let (first, last) = validity(&present)?;
    shared
        .status
        .send_modify(|status| status.certificate_until = Some(last));
    let due = first.plus(last.since(first) / 3 * 2);
    if shared.now() < due {
        return Ok(());
    }
    let (key_pem, csr_pem) = pki::key_and_request()?;
    let mut channel = Channel::new(shared.dialer.clone());
    let reply: RenewReply = channel
        .call(Method::POST, "/v1/renew", &RenewRequest { csr_pem })
        .await?;
    let next = IdentityFile {
        certificate_pem: reply.certificate_pem,
        key_pem,
        ..present
    };
    shared.disk.write_identity_next(&next)?;
    try_next(shared, next).await
}

async fn try_next(shared: &Shared, next: IdentityFile) -> Result<(), NodeError> {
    let tls = tls::node_client(&next.ca_pem, &next.certificate_pem, &next.key_pem)?;
    let dialer = Dialer::new(&next.control_urls, tls.clone())?;
    let probe: Result<Vec<Handover>, LinkError> = Channel::new(Arc::new(dialer))
        .call(Method::GET, "/v1/keys", &())
        .await;
    match probe {
        Ok(_) => {}
        Err(error) if error.is_refusal() => {
            shared.disk.discard_identity_next()?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    }
    let (_, until) = validity(&next)?;
    {
        let mut present = lock(&shared.identity);
        // The snapshot key may have been handed over since `next` was written.
        let next = IdentityFile {
            snapshot_key: present.snapshot_key.clone(),
            ..next
        };
        shared.disk.write_identity_next(&next)?;
        shared.disk.promote_identity()?;
        *present = next;
    }
    shared.dialer.set_identity(tls);
    shared
        .status
        .send_modify(|status| status.certificate_until = Some(until));
    tracing::info!(node = %shared.node, %until, "Certificate renewed");
    Ok(())
}

fn validity(identity: &IdentityFile) -> Result<(Timestamp, Timestamp), NodeError> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes())
        .map_err(|error| NodeError::Pki(pki::PkiError::Pem(error)))?;
    let identity = pki::identity_of(&certificate)?;
    Ok((identity.not_before, identity.not_after))
}
