//! Readiness: named conditions that must all hold before a node takes work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The conditions of one process. Cheap to clone; clones share the state.
#[derive(Debug, Clone)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<String, State>>>,
    all: watch::Sender<bool>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct State {
    /// Whether it holds.
    pub ready: bool,
    /// Why not, or what holds, for people.
    pub detail: String,
}

/// The right to set one condition.
#[derive(Debug, Clone)]
pub struct Flag {
    name: String,
    of: Readiness,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// No conditions: ready.
    pub fn new() -> Self {
        Self {
            conditions: Arc::default(),
            all: watch::Sender::new(true),
        }
    }

    /// Adds a condition that does not hold yet. The same name twice is one condition.
    pub fn flag(&self, name: impl Into<String>) -> Flag {
        let flag = Flag {
            name: name.into(),
            of: self.clone(),
        };
        flag.not_ready("starting");
        flag
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        *self.all.borrow()
    }

    /// Every condition by name.
    pub fn states(&self) -> BTreeMap<String, State> {
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until every condition holds. Cancel-safe.
    pub async fn wait(&self) {
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let waited = self.all.subscribe().wait_for(|ready| *ready).await.is_ok();
        debug_assert!(waited);
    }

    fn set(&self, name: &str, state: State) {
        let mut conditions = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conditions.insert(name.to_owned(), state);
        let all = conditions.values().all(|state| state.ready);
        self.all.send_if_modified(|ready| {
            let changed = *ready != all;
            *ready = all;
            changed
        });
    }
}

impl Flag {
    /// The condition holds.
    pub fn ready(&self) {
        self.of.set(
            &self.name,
            State {
                ready: true,
                detail: "ready".to_owned(),
            },
        );
    }

    /// The condition does not hold, for this reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.of.set(
            &self.name,
            State {
                ready: false,
                detail: reason.into(),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_only_while_every_condition_holds() {
        let readiness = Readiness::new();
        let (database, snapshot) = (readiness.flag("database"), readiness.flag("snapshot"));
        database.ready();
        assert!(!readiness.is_ready());
        let waiter = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait().await }
        });
        snapshot.ready();
        waiter.await.expect("woken");
        database.not_ready("connection lost");
        assert!(!readiness.is_ready());
        assert_eq!(readiness.states()["database"].detail, "connection lost");
    }
}
