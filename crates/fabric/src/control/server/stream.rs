//! A quick stream: the log of orders as one node reads it.

use base::Role;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Door;
use crate::api::{QUICK_BEAT, QuickLine};
use crate::control::nodes::Need;
use crate::pki::Identity;

/// One node's place in the log. Nothing is queued for it: it reads on when its
/// connection takes more.
pub(super) struct QuickStream {
    door: Door,
    identity: Identity,
    role: Role,
    after: u64,
    next_beat: Instant,
    orders: watch::Receiver<u64>,
    rights: watch::Receiver<u64>,
}

impl QuickStream {
    pub(super) fn new(door: Door, identity: Identity, role: Role, after: u64) -> Self {
        Self {
            orders: door.control.0.orders.subscribe(),
            rights: door.control.0.rights.subscribe(),
            door,
            identity,
            role,
            after,
            next_beat: Instant::now(),
        }
    }

    /// The next lines; none: the stream ends.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.rights.has_changed().ok()? || Instant::now() >= self.next_beat {
                self.rights.mark_unchanged();
                let control = &self.door.control;
                if let Err(error) = control.authorise(&self.identity, Need::Valid).await {
                    tracing::info!(node = %self.identity.node, %error, "Quick stream ended");
                    return None;
                }
            }
            self.orders.mark_unchanged();
            match self.door.control.quick_page(self.role, self.after).await {
                Ok(page) if !page.lines.is_empty() => {
                    self.after = page.after;
                    return lines(&page.lines);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = %runtime::error_chain(&error),
                        "The log of orders could not be read; the stream ends");
                    return None;
                }
            }
            if Instant::now() >= self.next_beat {
                self.next_beat = Instant::now() + QUICK_BEAT;
                return lines(&[QuickLine::Beat {
                    at: self.door.control.now(),
                }]);
            }
            tokio::select! {
                changed = self.orders.changed() => changed.ok()?,
                changed = self.rights.changed() => {
                    changed.ok()?;
                    self.rights.mark_changed();
                }
                () = tokio::time::sleep_until(self.next_beat) => {}
                () = self.door.stop.cancelled() => return None,
            }
        }
    }
}

fn lines(lines: &[QuickLine]) -> Option<Bytes> {
    let mut bytes = Vec::new();
    for line in lines {
        if let Err(error) = serde_json::to_writer(&mut bytes, line) {
            tracing::error!(%error, "A quick line could not be written");
            return None;
        }
        bytes.push(b'\n');
    }
    Some(bytes.into())
}
