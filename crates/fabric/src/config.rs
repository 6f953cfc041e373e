//! The `fabric` section of a control node.

use std::net::SocketAddr;
use std::time::Duration;

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How nodes are enrolled, told and remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FabricConfig {
    /// Address on which nodes call, TLS.
    pub listen: SocketAddr,
    /// Days that a node's certificate lives; it is renewed at two thirds of them.
    pub certificate_days: u32,
    /// Days after its end during which an expired certificate may still be renewed.
    pub renew_grace_days: u32,
    /// Hours that an enrolment token may be used.
    pub token_hours: u32,
    /// Snapshots kept of each role, for comparing and rolling back.
    pub snapshots_kept: u32,
    /// Days that quick entries are kept. A node that was away for longer treats
    /// everything as purged.
    pub orders_kept_days: u32,
    /// NATS server for the bus, such as `nats://127.0.0.1:4222`; none: the bus stays
    /// inside the process.
    pub nats_url: Option<String>,
}

impl Default for FabricConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
            certificate_days: 7,
            renew_grace_days: 30,
            token_hours: 24,
            snapshots_kept: 20,
            orders_kept_days: 7,
            nats_url: None,
        }
    }
}

impl Check for FabricConfig {
    fn check(&self, at: &mut Checker) {
        for (key, value, max) in [
            ("certificate_days", self.certificate_days, 825),
            ("token_hours", self.token_hours, 24 * 30),
            ("snapshots_kept", self.snapshots_kept, 1_000),
            ("orders_kept_days", self.orders_kept_days, 365),
        ] {
            at.require(
                (1..=max).contains(&value),
                key,
                format!("must be from 1 to {max}"),
            );
        }
        at.require(
            self.renew_grace_days <= 3_650,
            "renew_grace_days",
            "must be at most 3650",
        );
        if let Some(url) = &self.nats_url {
            at.require(
                url.starts_with("nats://") || url.starts_with("tls://"),
                "nats_url",
                "must begin with nats:// or tls://",
            );
        }
    }
}

impl FabricConfig {
    pub(crate) fn certificate_life(&self) -> Duration {
        days(self.certificate_days)
    }

    pub(crate) fn renew_grace(&self) -> Duration {
        days(self.renew_grace_days)
    }

    pub(crate) fn token_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.token_hours) * 3_600)
    }

    pub(crate) fn orders_kept(&self) -> Duration {
        days(self.orders_kept_days)
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 86_400)
}
