//! Metrics of parts that know nothing of metrics: the journal, the lake, the fabric.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Role};
use exchange::traffic::collect::Progress;
use exchange::traffic::poller::DeviceState;
use fabric::Control;
use lake::Lake;
use lake::journal::Journal;
use runtime::metrics::Metrics;
use runtime::metrics::prometheus_client::collector::Collector;
use runtime::metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use runtime::metrics::prometheus_client::metrics::MetricType;
use runtime::metrics::prometheus_client::metrics::counter::ConstCounter;
use runtime::metrics::prometheus_client::metrics::family::Family;
use runtime::metrics::prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use super::process::Process;

/// How often the inventory is read for metrics.
const INVENTORY_PERIOD: Duration = Duration::from_secs(10);

/// Name, help and value of one figure.
type Figure = (&'static str, &'static str, u64);

fn counters(encoder: &mut DescriptorEncoder<'_>, figures: &[Figure]) -> Result<(), fmt::Error> {
    for (name, help, value) in figures {
        let counter = ConstCounter::new(*value);
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
    }
    Ok(())
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, figures: &[Figure]) -> Result<(), fmt::Error> {
    for (name, help, value) in figures {
        let gauge = ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX));
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
    }
    Ok(())
}

/// Shows a node's journal.
pub(super) fn journal(metrics: &Metrics, journal: Arc<Journal>) {
    metrics.with(|registry| registry.register_collector(Box::new(OfJournal(journal))));
}

#[derive(Debug)]
struct OfJournal(Arc<Journal>);

impl Collector for OfJournal {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        counters(
            &mut encoder,
            &[
                (
                    "civicnet_journal_events_written",
                    "Events written to the journal",
                    stats.events_written,
                ),
                (
                    "civicnet_journal_events_dropped",
                    "Events dropped because queue, journal or disk was full",
                    stats.events_dropped,
                ),
                (
                    "civicnet_journal_failures",
                    "Failed writes and syncs of the journal",
                    stats.failures,
                ),
            ],
        )?;
        gauges(
            &mut encoder,
            &[
                (
                    "civicnet_journal_size_bytes",
                    "Bytes of the journal on disk",
                    stats.bytes,
                ),
                (
                    "civicnet_journal_unshipped_records",
                    "Durable records that the lake has not acknowledged",
                    stats.durable_end.saturating_sub(stats.acked_end),
                ),
                (
                    "civicnet_journal_failing",
                    "Whether the last write or sync of the journal failed",
                    u64::from(stats.failing),
                ),
            ],
        )
    }
}

/// Shows how the collectors of an exchange's site go.
pub(super) fn collecting(metrics: &Metrics, progress: Progress, clock: Arc<dyn Clock>) {
    let collecting = OfCollecting { progress, clock };
    metrics.with(|registry| registry.register_collector(Box::new(collecting)));
}

struct OfCollecting {
    progress: Progress,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for OfCollecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfCollecting")
    }
}

impl OfCollecting {
    /// One figure of each switch.
    fn by_switch(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        is_count: bool,
        figure: impl Fn(&DeviceState) -> Option<i64>,
    ) -> Result<(), fmt::Error> {
        let kind = if is_count {
            MetricType::Counter
        } else {
            MetricType::Gauge
        };
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (switch, state) in self.progress.states.all() {
            let Some(value) = figure(&state) else {
                continue;
            };
            let labels = [("switch", switch)];
            let one = family.encode_family(&labels)?;
            if is_count {
                ConstCounter::new(u64::try_from(value).unwrap_or(0)).encode(one)?;
            } else {
                ConstGauge::new(value).encode(one)?;
            }
        }
        Ok(())
    }
}

impl Collector for OfCollecting {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let whole = |value: u64| Some(i64::try_from(value).unwrap_or(i64::MAX));
        let now = self.clock.now();
        self.by_switch(
            &mut encoder,
            (
                "civicnet_exchange_polls",
                "Readings of the switch that were tried",
            ),
            true,
            |state| whole(state.polls),
        )?;
        self.by_switch(
            &mut encoder,
            (
                "civicnet_exchange_poll_failures",
                "Readings of the switch that failed",
            ),
            true,
            |state| whole(state.failed),
        )?;
        self.by_switch(
            &mut encoder,
            (
                "civicnet_exchange_poll_age_seconds",
                "Seconds since the switch last answered a reading whole",
            ),
            false,
            |state| {
                let at = state.answered_at?;
                Some((now.micros() - at.micros()).max(0) / 1_000_000)
            },
        )?;
        self.by_switch(
            &mut encoder,
            (
                "civicnet_exchange_poll_duration_milliseconds",
                "Milliseconds that the last reading took",
            ),
            false,
            |state| whole(state.took_ms),
        )?;
        self.by_switch(
            &mut encoder,
            (
                "civicnet_exchange_poll_ports",
                "Ports of the plan that the switch has",
            ),
            false,
            |state| whole(state.ports as u64),
        )?;
        self.by_switch(
            &mut encoder,
            (
                "civicnet_exchange_poll_ports_missing",
                "Ports of the plan that the switch does not have",
            ),
            false,
            |state| whole(state.missing.len() as u64),
        )?;
        let taken = self.progress.collector.stats();
        counters(
            &mut encoder,
            &[
                (
                    "civicnet_exchange_sflow_datagrams",
                    "Datagrams of samples taken",
                    taken.datagrams,
                ),
                (
                    "civicnet_exchange_sflow_samples",
                    "Sampled packets counted in the traffic matrix",
                    taken.samples,
                ),
                (
                    "civicnet_exchange_sflow_transit",
                    "Sampled packets passed over because they were on their way between switches",
                    taken.transit,
                ),
                (
                    "civicnet_exchange_sflow_unknown",
                    "Sampled packets whose sender or receiver is no known member",
                    taken.unknown,
                ),
                (
                    "civicnet_exchange_sflow_lost",
                    "Datagrams of samples that were lost on their way, by their numbers",
                    taken.lost,
                ),
                (
                    "civicnet_exchange_sflow_refused",
                    "Datagrams dropped: malformed, or of agents that are no switch of the site",
                    taken.malformed.saturating_add(taken.strangers),
                ),
                (
                    "civicnet_exchange_sflow_unreadable",
                    "Sampled packets dropped because their head does not say who sent them",
                    taken.unreadable,
                ),
            ],
        )
    }
}

/// Shows the event lake.
pub(super) fn lake(metrics: &Metrics, lake: Lake) {
    metrics.with(|registry| registry.register_collector(Box::new(OfLake(lake))));
}

struct OfLake(Lake);

impl fmt::Debug for OfLake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfLake")
    }
}

impl Collector for OfLake {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.lake_stats();
        counters(
            &mut encoder,
            &[
                (
                    "civicnet_lake_events",
                    "Events taken into the lake",
                    stats.events,
                ),
                (
                    "civicnet_lake_batches",
                    "Batches taken into the lake",
                    stats.batches,
                ),
                (
                    "civicnet_lake_duplicate_batches",
                    "Batches that the lake had already",
                    stats.duplicates,
                ),
                (
                    "civicnet_lake_refused_batches",
                    "Batches that were malformed",
                    stats.refused,
                ),
                (
                    "civicnet_lake_flush_failures",
                    "Times that rows could not be written to files",
                    stats.flush_failures,
                ),
            ],
        )?;
        gauges(
            &mut encoder,
            &[
                (
                    "civicnet_lake_waiting_rows",
                    "Rows in memory and not yet in files",
                    stats.waiting_rows as u64,
                ),
                (
                    "civicnet_lake_files",
                    "Files of all tables of the lake",
                    stats.files as u64,
                ),
                (
                    "civicnet_lake_size_bytes",
                    "Bytes of the lake's files",
                    stats.file_bytes,
                ),
                (
                    "civicnet_lake_rows",
                    "Rows in the lake's files",
                    stats.file_rows,
                ),
            ],
        )
    }
}

type ByNodeAndRole = Family<Vec<(&'static str, String)>, Gauge>;

/// The inventory, by node and role.
#[derive(Debug, Clone, Default)]
struct Inventory {
    connected: Family<Vec<(&'static str, String)>, Gauge>,
    version: ByNodeAndRole,
    versions_behind: ByNodeAndRole,
    order: ByNodeAndRole,
    orders_behind: ByNodeAndRole,
}

/// Shows what the nodes run, as the control plane has heard it.
pub(super) fn fabric(process: &Process, control: Control) {
    let metrics = &process.metrics;
    let inventory = Inventory::default();
    metrics.register(
        "fabric_node_connected",
        "Whether the node was heard within its last heartbeats",
        inventory.connected.clone(),
    );
    metrics.register(
        "fabric_snapshot_version",
        "Version of the snapshot in force on the node",
        inventory.version.clone(),
    );
    metrics.register(
        "fabric_snapshot_versions_behind",
        "Versions between the newest snapshot and the one in force on the node",
        inventory.versions_behind.clone(),
    );
    metrics.register(
        "fabric_order",
        "Number of the last quick entry that is durable on the node",
        inventory.order.clone(),
    );
    metrics.register(
        "fabric_orders_behind",
        "Numbers between the newest quick entry that any node of the role has and the node's",
        inventory.orders_behind.clone(),
    );
    process
        .supervisor
        .every("node figures", INVENTORY_PERIOD, move || {
            let (control, inventory) = (control.clone(), inventory.clone());
            async move {
                let nodes = control.nodes().await?;
                inventory.show(&nodes);
                Ok::<(), fabric::ControlError>(())
            }
        });
}

impl Inventory {
    fn show(&self, nodes: &[fabric::NodeStatus]) {
        let mut newest: BTreeMap<Role, u64> = BTreeMap::new();
        for (role, seq) in nodes.iter().flat_map(|node| &node.quick) {
            let known = newest.entry(*role).or_default();
            *known = (*known).max(*seq);
        }
        // Nodes that are no more are not to be seen for ever.
        self.connected.clear();
        for family in [
            &self.version,
            &self.versions_behind,
            &self.order,
            &self.orders_behind,
        ] {
            family.clear();
        }
        let set = |family: &ByNodeAndRole, labels: Vec<(&'static str, String)>, value: u64| {
            family
                .get_or_create(&labels)
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let enrolled = nodes
            .iter()
            .filter(|node| node.state == fabric::NodeState::Enrolled);
        for node in enrolled {
            let name = ("node", node.name.to_string());
            set(&self.connected, vec![name.clone()], node.online.into());
            for version in &node.versions {
                let labels = vec![name.clone(), ("role", version.role.to_string())];
                let behind = version.latest.saturating_sub(version.version);
                set(&self.version, labels.clone(), version.version);
                set(&self.versions_behind, labels, behind);
            }
            for (role, seq) in &node.quick {
                let labels = vec![name.clone(), ("role", role.to_string())];
                let behind = newest.get(role).copied().unwrap_or(0).saturating_sub(*seq);
                set(&self.order, labels.clone(), *seq);
                set(&self.orders_behind, labels, behind);
            }
        }
    }
}
