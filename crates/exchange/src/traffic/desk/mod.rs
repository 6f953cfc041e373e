//! Traffic in the console: graphs, matrix, forecast, switches to be read.
//!
//! Figures come from the lake by [`seams::Figures`], names and owners from the
//! exchange's model ([`catalogue`]). Whoever asks sees the ports of their own
//! organisation, and of those only what was measured while they were theirs: both the
//! port and the row must be in the scope.

mod access;
mod api;
pub mod ask;
pub mod catalogue;
mod evidence;
mod export;
mod faults;
mod pages;
mod picture;
mod room;
pub mod seams;

use std::sync::Arc;

use crate::room::Exchange;

pub use access::{Form, MIGRATIONS, SEALED, Watched};
pub use faults::Fault;

/// What the traffic desk stands on.
pub struct Parts {
    /// The model.
    pub exchange: Exchange,
    /// Seals credentials of switches.
    pub vault: store::Vault,
    /// What was measured.
    pub figures: Arc<dyn seams::Figures>,
}

/// The traffic desk. Cheap to clone.
#[derive(Clone)]
pub struct Traffic {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) exchange: Exchange,
    pub(crate) vault: store::Vault,
    pub(crate) figures: Arc<dyn seams::Figures>,
    pub(crate) faults: std::sync::RwLock<Vec<Fault>>,
}

impl Traffic {
    /// A desk from its parts.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            exchange,
            vault,
            figures,
        } = parts;
        Self {
            inner: Arc::new(Inner {
                exchange,
                vault,
                figures,
                faults: std::sync::RwLock::default(),
            }),
        }
    }

    /// The clock of the control plane.
    pub fn clock(&self) -> Arc<dyn base::Clock> {
        Arc::clone(self.inner.exchange.db().clock())
    }

    /// This moment.
    pub fn now(&self) -> base::Timestamp {
        self.inner.exchange.db().clock().now()
    }
}
