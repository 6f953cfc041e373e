//! Reporting what a role sees: the newest value, as soon as it changes. A report that
//! could not be delivered is replaced by the next one.

use std::sync::Arc;

use base::Role;
use serde_json::Value;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::client::Channel;
use super::link::Shared;

/// Reports until aborted.
pub(crate) async fn run(
    shared: Arc<Shared>,
    role: Role,
    mut values: watch::Receiver<Option<Value>>,
) {
    let mut channel = Channel::new(shared.dialer.clone());
    let mut backoff = Backoff::new();
    let path = format!("/v1/reports/{role}");
    loop {
        let value = values.borrow_and_update().clone();
        if let Some(value) = value {
            match channel.tell(&path, &value).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    shared.attempt_failed("reporting", &error);
                    backoff.wait().await;
                    continue;
                }
            }
        }
        if values.changed().await.is_err() {
            // Nobody will ever report again.
            return std::future::pending().await;
        }
    }
}
