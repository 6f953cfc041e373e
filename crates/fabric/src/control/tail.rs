//! Watching the database for what is new, and keeping it tidy.
//!
//! An order is numbered inside a transaction that its caller commits later, perhaps
//! never. [`Control::order`] therefore only says which number to expect; this task
//! then looks often until the number is there. Without a hint it looks every
//! [`IDLE`], for what other control processes have written.

use std::time::Duration;

use tokio::time::Instant;

use super::{Control, ControlError};

/// Between two looks when nothing is expected.
const IDLE: Duration = Duration::from_millis(500);
/// Between two looks at first when an order is expected.
const EAGER: Duration = Duration::from_millis(1);
/// Between two looks at most when an order is expected.
const EAGER_MAX: Duration = Duration::from_millis(20);
/// How long an expected order is looked for; its transaction was rolled back then.
const EXPECTED_MAX: Duration = Duration::from_secs(30);
/// Between two prunings.
const PRUNE_PERIOD: Duration = Duration::from_secs(600);

impl Control {
    /// Learns everything new from the database.
    pub(super) async fn refresh(&self) -> Result<(), ControlError> {
        self.refresh_orders().await?;
        // The key before what it signs: nodes ask for it when they see the latter.
        self.refresh_signing().await?;
        self.refresh_snapshots().await
    }

    /// Runs as long as the listener.
    pub(super) async fn run_tail(&self) {
        let mut expected = self.0.expected.subscribe();
        loop {
            let hinted = tokio::select! {
                changed = expected.changed() => changed.is_ok(),
                () = tokio::time::sleep(IDLE) => false,
            };
            if hinted {
                self.look_for_expected(&mut expected).await;
            } else if let Err(error) = self.refresh().await {
                tracing::warn!(error = %runtime::error_chain(&error),
                    "The database could not be watched; will try again");
            }
        }
    }

    async fn look_for_expected(&self, expected: &mut tokio::sync::watch::Receiver<u64>) {
        let mut until = Instant::now() + EXPECTED_MAX;
        let mut pause = EAGER;
        while Instant::now() < until {
            if expected.has_changed().unwrap_or(false) {
                until = Instant::now() + EXPECTED_MAX;
                pause = EAGER;
            }
            let wanted = *expected.borrow_and_update();
            match self.refresh_orders().await {
                Ok(last) if last >= wanted => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = %runtime::error_chain(&error),
                        "The log of orders could not be read; will try again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(EAGER_MAX);
        }
        // Rolled back: its number will be given to the next order.
        let last = *self.0.orders.borrow();
        self.0.expected.send_if_modified(|expected| {
            *expected = (*expected).min(last);
            false
        });
    }

    /// Runs as long as the listener.
    pub(super) async fn run_prune(&self) {
        loop {
            let pruned = match self.prune_tokens().await {
                Ok(()) => self.prune_orders().await,
                Err(error) => Err(error),
            };
            match pruned {
                Ok(0) => {}
                Ok(last) => tracing::info!(last, "Old orders pruned"),
                Err(error) => {
                    tracing::warn!(error = %runtime::error_chain(&error),
                        "Old orders and tokens could not be pruned; will try again");
                }
            }
            tokio::time::sleep(PRUNE_PERIOD).await;
        }
    }
}
