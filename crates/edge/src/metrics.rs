//! The edge's figures for Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::stats::EdgeStats;
use crate::worker::Shared;

/// Sites with figures of their own; beyond them only the total counts, so that a
/// scrape stays small.
const SITES_MAX: usize = 1_000;

/// Reads all figures.
pub(crate) fn read(shared: &Shared) -> EdgeStats {
    EdgeStats {
        total: shared.total.read(),
        sites: shared
            .sites()
            .all
            .iter()
            .map(|site| (site.id, site.counters.read()))
            .collect(),
        connections: shared.connections.open(),
        requests_per_second: f64::from(shared.rps.load(Ordering::Relaxed)),
        cache: shared.store.stats(),
    }
}

/// Gives the figures at each scrape.
#[derive(Debug)]
pub(crate) struct EdgeCollector(pub(crate) Arc<Shared>);

impl Collector for EdgeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = read(&self.0);
        let cache = &stats.cache;
        let counters = [
            ("requests", "Requests answered", stats.total.requests),
            ("hits", "Requests answered from the cache", stats.total.hits),
            ("errors", "Requests answered with 5xx", stats.total.errors),
            (
                "sent_bytes",
                "Bytes sent to clients",
                stats.total.bytes_sent,
            ),
            ("cache_fills", "Responses begun to be kept", cache.fills),
            (
                "cache_collapsed",
                "Requests that waited for the fetch of another",
                cache.collapsed,
            ),
            (
                "cache_evicted",
                "Objects evicted from memory",
                cache.evicted,
            ),
            ("cache_corrupt", "Objects found damaged", cache.corrupt),
            (
                "cache_disk_dropped",
                "Objects not written to disk because too many waited",
                cache.disk_dropped,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                &format!("civicnet_edge_{name}"),
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let gauges = [
            (
                "connections",
                "Open client connections",
                stats.connections as u64,
            ),
            (
                "memory_bytes",
                "Bytes of memory taken by objects",
                cache.memory_bytes,
            ),
            ("memory_objects", "Objects in memory", cache.memory_objects),
            (
                "disk_bytes",
                "Bytes of disk taken by objects",
                cache.disk_bytes,
            ),
            ("disk_objects", "Objects on disk", cache.disk_objects),
            (
                "disk_queue",
                "Objects waiting to be written to disk",
                cache.disk_queue,
            ),
            (
                "disk_healthy",
                "Whether the disk can be used",
                u64::from(cache.disk_healthy),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(
                &format!("civicnet_edge_{name}"),
                help,
                None,
                gauge.metric_type(),
            )?)?;
        }
        let by_site = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor(
            "civicnet_edge_site_requests",
            "Requests answered, by site",
            None,
            by_site.metric_type(),
        )?;
        for (site, count) in stats.sites.iter().take(SITES_MAX) {
            let labels = [("site", site.to_string())];
            ConstCounter::new(count.requests).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
