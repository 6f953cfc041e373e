//! Prometheus metrics: one registry for the process, in the OpenMetrics text format.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use prometheus_client;

/// `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A handle on the process's registry. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry that holds the process's own figures (processor time, memory,
    /// open files, start) under their customary names.
    pub fn with_process() -> Self {
        let metrics = Self::new();
        metrics.with(|registry| registry.register_collector(Box::new(Process)));
        metrics
    }

    /// Registers `metric` as `civicnet_<name>` and hands it back. Counters get
    /// `_total` appended by the format; `help` is one phrase without a full stop.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.with(|registry| {
            registry.register(format!("civicnet_{name}"), help, metric.clone());
        });
        metric
    }

    /// Everything else a registry can do. `work` runs under a lock: keep it short.
    pub fn with<R>(&self, work: impl FnOnce(&mut Registry) -> R) -> R {
        work(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics as text, with [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let encoded =
            self.with(|registry| prometheus_client::encoding::text::encode(&mut text, registry));
        if encoded.is_err() {
            // Writing to a string fails only when a collector gives up midway.
            tracing::error!("A metrics collector failed; the exposition is cut short");
        }
        text
    }
}

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(sample) = sample() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(sample.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "User and system processor time spent",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        for (name, help, unit, value) in [
            (
                "process_resident_memory",
                "Resident memory",
                Some(&Unit::Bytes),
                sample.resident_bytes,
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                None,
                sample.open_files,
            ),
            (
                "process_start_time",
                "Start of the process since the Unix epoch",
                Some(&Unit::Seconds),
                sample.start_seconds,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

struct Sample {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_files: f64,
    start_seconds: f64,
}

/// Field numbers of `/proc/self/stat` (proc(5)), counted from the state field,
/// which follows the command name in parentheses.
mod field {
    pub(super) const USER_TICKS: usize = 11;
    pub(super) const SYSTEM_TICKS: usize = 12;
    pub(super) const START_TICKS: usize = 19;
    pub(super) const RESIDENT_PAGES: usize = 21;
}

fn sample() -> Option<Sample> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let boot = std::fs::read_to_string("/proc/stat")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok())?;
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    let (ticks, page) = unsafe {
        (
            libc::sysconf(libc::_SC_CLK_TCK) as f64,
            libc::sysconf(libc::_SC_PAGESIZE) as f64,
        )
    };
    Some(Sample {
        cpu_seconds: (number(field::USER_TICKS)? + number(field::SYSTEM_TICKS)?) / ticks,
        resident_bytes: number(field::RESIDENT_PAGES)? * page,
        open_files: std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        start_seconds: boot + number(field::START_TICKS)? / ticks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn own_and_process_figures_are_in_the_text() {
        let metrics = Metrics::with_process();
        let hits = metrics.register("test_hits", "Hits", Counter::<u64>::default());
        hits.inc_by(3);
        let text = metrics.encode();
        assert!(text.contains("civicnet_test_hits_total 3"), "{text}");
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_start_time_seconds ",
        ] {
            let value: f64 = text
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("no {name} in {text}"))
                .parse()
                .expect("a number");
            assert!(value >= 0.0, "{name}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
