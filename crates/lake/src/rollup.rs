//! Roll-ups: sums of requests for dashboards, kept as they come in.
//!
//! Rows that are in memory have their sums in memory too; both are written in one
//! commit. A roll-up table therefore holds **partial** sums: a reader adds up the
//! rows of one key, and merging files later adds them up for good. Replaying the
//! journal after a crash makes the same sums again.
//!
//! URLs and networks come from strangers, so each hour of a site keeps a bounded
//! number of them; requests beyond are counted under the empty name.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use base::event::{AccessEvent, CacheResult};
use base::{OrgId, Prefix, SiteId};
use datafusion::arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewBuilder, TimestampMicrosecondArray,
};
use datafusion::arrow::error::ArrowError;

use crate::table::Table;

/// Upper bounds of the duration histogram, in microseconds; the last bucket has none.
pub const DURATION_BOUNDS_US: [u32; 9] = [
    1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000,
];
/// Columns of the duration histogram in `traffic`: requests that took less than
/// the bound and not less than the one before.
pub const DURATION_COLUMNS: [&str; 10] = [
    "duration_under_1ms",
    "duration_under_3ms",
    "duration_under_10ms",
    "duration_under_30ms",
    "duration_under_100ms",
    "duration_under_300ms",
    "duration_under_1s",
    "duration_under_3s",
    "duration_under_10s",
    "duration_10s_or_more",
];

/// URLs that one hour of one site keeps apart in memory.
const URLS_MAX: usize = 2_000;
/// Networks that one hour of one site at one node keeps apart in memory.
const NETWORKS_MAX: usize = 1_000;
/// Hours × sites that memory keeps apart; more come only from wrong clocks.
const HOURS_MAX: usize = 100_000;

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 3_600_000_000;

type Owner = (Option<SiteId>, Option<OrgId>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct TrafficKey {
    minute_us: i64,
    owner: Owner,
    cache: u8,
    status_class: u8,
}

#[derive(Debug, Default)]
struct TrafficSums {
    requests: i64,
    hits: i64,
    errors: i64,
    bytes_sent: i64,
    bytes_received: i64,
    duration_us: i64,
    origin_us: i64,
    durations: [i64; DURATION_COLUMNS.len()],
}

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    requests: i64,
    hits: i64,
    errors: i64,
    bytes_sent: i64,
}

impl Sums {
    fn add(&mut self, event: &AccessEvent) {
        self.requests += 1;
        self.hits += i64::from(is_hit(event.cache));
        self.errors += i64::from(is_error(event.status));
        self.bytes_sent = self.bytes_sent.saturating_add(clamp(event.bytes_sent));
    }
}

/// By hour and owner: by network; none is the rest.
type NetworkHours = QuickMap<(i64, Owner), HashMap<Option<Prefix>, Sums>>;

/// A map whose keys strangers do not choose.
type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<QuickHasher>>;

/// A hash of few instructions: multiply and rotate, after FxHash.
#[derive(Debug, Default, Clone, Copy)]
struct QuickHasher(u64);

impl QuickHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }

    fn write_i64(&mut self, n: i64) {
        self.mix(n as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn finish(&self) -> u64 {
        // The high bits are the well mixed ones, the map looks at both ends.
        self.0.rotate_left(26)
    }
}

/// Sums of the rows that are in memory.
#[derive(Debug, Default)]
pub(crate) struct Rollup {
    traffic: HashMap<Arc<str>, QuickMap<TrafficKey, TrafficSums>>,
    /// By hour and owner: by `host NUL path`.
    urls: QuickMap<(i64, Owner), HashMap<Box<str>, Sums>>,
    networks: HashMap<Arc<str>, NetworkHours>,
    key: String,
}

/// Whether the body was served without fetching it from the origin for this
/// request alone: fresh, stale, revalidated, or shared with another request.
pub fn is_hit(cache: CacheResult) -> bool {
    match cache {
        CacheResult::Hit
        | CacheResult::Stale
        | CacheResult::Revalidated
        | CacheResult::Collapsed => true,
        CacheResult::Miss | CacheResult::Bypass | CacheResult::Local => false,
    }
}

/// Whether the answer was the server's fault (status 5xx).
pub fn is_error(status: u16) -> bool {
    (500..600).contains(&status)
}

/// The network that stands for a client: /24, or /48 in IPv6.
pub fn network_of(address: IpAddr) -> Prefix {
    let address = address.to_canonical();
    let length = if address.is_ipv4() { 24 } else { 48 };
    // The length always fits the family.
    Prefix::new(address, length).unwrap_or_else(|_| Prefix::host(address))
}

/// The word for a cache result in columns.
pub fn cache_word(cache: CacheResult) -> &'static str {
    CACHE_WORDS[cache as usize]
}

const CACHE_WORDS: [&str; 7] = [
    "hit",
    "stale",
    "revalidated",
    "collapsed",
    "miss",
    "bypass",
    "local",
];

pub(crate) fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Rollup {
    /// Adds the events of one batch from one node.
    pub(crate) fn add(&mut self, node: &Arc<str>, events: &[AccessEvent]) {
        let traffic = match self.traffic.get_mut(node) {
            Some(traffic) => traffic,
            None => self.traffic.entry(Arc::clone(node)).or_default(),
        };
        let hours = match self.networks.get_mut(node) {
            Some(hours) => hours,
            None => self.networks.entry(Arc::clone(node)).or_default(),
        };
        for event in events {
            let key = TrafficKey {
                minute_us: floor(event.at.micros(), MINUTE_US),
                owner: (event.site, event.org),
                cache: event.cache as u8,
                status_class: u8::try_from(event.status / 100).unwrap_or(u8::MAX),
            };
            traffic.entry(key).or_default().add(event);
            self.key.clear();
            self.key.push_str(&event.host);
            self.key.push('\0');
            self.key.push_str(&event.path);
            let hour_us = floor(event.at.micros(), HOUR_US);
            let owner = (event.site, event.org);
            let hour = (bounded(&self.urls, hour_us, owner), owner);
            add_bounded_text(self.urls.entry(hour).or_default(), &self.key, event);
            let hour = (bounded(hours, hour_us, owner), owner);
            let networks = hours.entry(hour).or_default();
            let network = Some(network_of(event.client));
            let full = networks.len() >= NETWORKS_MAX && !networks.contains_key(&network);
            let network = if full { None } else { network };
            networks.entry(network).or_default().add(event);
        }
    }

    /// The sums as rows of `table`; nothing for tables that are no roll-ups.
    pub(crate) fn batch(&self, table: Table) -> Result<Option<RecordBatch>, ArrowError> {
        let columns = match table {
            Table::Traffic => self.traffic_columns(),
            Table::Urls => self.url_columns(),
            Table::Networks => self.network_columns(),
            _ => return Ok(None),
        };
        let batch = RecordBatch::try_new(table.schema(), columns)?;
        Ok((batch.num_rows() > 0).then_some(batch))
    }

    fn traffic_columns(&self) -> Vec<ArrayRef> {
        let rows: Vec<(&Arc<str>, &TrafficKey, &TrafficSums)> = self
            .traffic
            .iter()
            .flat_map(|(node, rows)| rows.iter().map(move |(key, sums)| (node, key, sums)))
            .collect();
        let number = |of: &dyn Fn(&TrafficSums) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|(_, _, sums)| of(sums)),
            ))
        };
        let mut node = texts();
        let mut owner = OwnerColumns::new();
        let mut cache = texts();
        for (name, key, _) in &rows {
            node.append_value(name);
            owner.push(key.owner);
            cache.append_value(CACHE_WORDS[usize::from(key.cache)]);
        }
        let (site, org) = owner.finish();
        let mut columns: Vec<ArrayRef> = vec![
            times(rows.iter().map(|(_, key, _)| key.minute_us)),
            Arc::new(node.finish()),
            site,
            org,
            Arc::new(cache.finish()),
            Arc::new(Int32Array::from_iter_values(
                rows.iter().map(|(_, key, _)| i32::from(key.status_class)),
            )),
            number(&|sums| sums.requests),
            number(&|sums| sums.hits),
            number(&|sums| sums.errors),
            number(&|sums| sums.bytes_sent),
            number(&|sums| sums.bytes_received),
            number(&|sums| sums.duration_us),
            number(&|sums| sums.origin_us),
        ];
        columns.extend((0..DURATION_COLUMNS.len()).map(|i| number(&|sums| sums.durations[i])));
        columns
    }

    fn url_columns(&self) -> Vec<ArrayRef> {
        let mut hours = Vec::new();
        let mut owner = OwnerColumns::new();
        let (mut host, mut path) = (texts(), texts());
        let mut sums = Vec::new();
        for ((hour_us, key), urls) in &self.urls {
            for (url, sum) in urls {
                let (name, rest) = url.split_once('\0').unwrap_or(("", ""));
                hours.push(*hour_us);
                owner.push(*key);
                host.append_value(name);
                path.append_value(rest);
                sums.push(*sum);
            }
        }
        let (site, org) = owner.finish();
        let mut columns = vec![
            times(hours.into_iter()),
            site,
            org,
            Arc::new(host.finish()) as ArrayRef,
            Arc::new(path.finish()),
        ];
        columns.extend(sum_columns(&sums));
        columns
    }

    fn network_columns(&self) -> Vec<ArrayRef> {
        let mut hours = Vec::new();
        let mut owner = OwnerColumns::new();
        let (mut node, mut network) = (texts(), texts());
        let mut sums = Vec::new();
        let rows = self.networks.iter().flat_map(|(name, hours)| {
            hours
                .iter()
                .map(move |(hour, networks)| (name, hour, networks))
        });
        for (name, (hour_us, key), networks) in rows {
            for (prefix, sum) in networks {
                hours.push(*hour_us);
                owner.push(*key);
                node.append_value(name);
                network.append_value(prefix.map_or_else(String::new, |prefix| prefix.to_string()));
                sums.push(*sum);
            }
        }
        let (site, org) = owner.finish();
        let mut columns = vec![
            times(hours.into_iter()),
            site,
            org,
            Arc::new(node.finish()) as ArrayRef,
            Arc::new(network.finish()),
        ];
        columns.extend(sum_columns(&sums));
        columns
    }
}

impl TrafficSums {
    fn add(&mut self, event: &AccessEvent) {
        self.requests += 1;
        self.hits += i64::from(is_hit(event.cache));
        self.errors += i64::from(is_error(event.status));
        self.bytes_sent = self.bytes_sent.saturating_add(clamp(event.bytes_sent));
        self.bytes_received = self
            .bytes_received
            .saturating_add(clamp(event.bytes_received));
        self.duration_us += i64::from(event.duration_us);
        self.origin_us += i64::from(event.origin_us);
        let bucket = DURATION_BOUNDS_US.partition_point(|bound| *bound <= event.duration_us);
        self.durations[bucket] += 1;
    }
}

/// `hour` while the map has room or knows it; beyond, the beginning of time, so
/// that wrong clocks cannot fill memory.
fn bounded<V>(map: &QuickMap<(i64, Owner), V>, hour: i64, owner: Owner) -> i64 {
    if map.len() < HOURS_MAX || map.contains_key(&(hour, owner)) {
        hour
    } else {
        0
    }
}

fn add_bounded_text(map: &mut HashMap<Box<str>, Sums>, key: &str, event: &AccessEvent) {
    if let Some(sums) = map.get_mut(key) {
        sums.add(event);
        return;
    }
    let key = if map.len() < URLS_MAX { key } else { "" };
    map.entry(key.into()).or_default().add(event);
}

fn floor(at_us: i64, step_us: i64) -> i64 {
    at_us - at_us.rem_euclid(step_us)
}

fn texts() -> StringViewBuilder {
    StringViewBuilder::new().with_deduplicate_strings()
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn sum_columns(sums: &[Sums]) -> [ArrayRef; 4] {
    let column = |of: fn(&Sums) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(sums.iter().map(of)))
    };
    [
        column(|sums| sums.requests),
        column(|sums| sums.hits),
        column(|sums| sums.errors),
        column(|sums| sums.bytes_sent),
    ]
}

/// The two columns that say whose a row is.
pub(crate) struct OwnerColumns {
    site: StringViewBuilder,
    org: StringViewBuilder,
}

impl OwnerColumns {
    pub(crate) fn new() -> Self {
        Self {
            site: texts(),
            org: texts(),
        }
    }

    pub(crate) fn push(&mut self, (site, org): Owner) {
        let mut buffer = uuid::Uuid::encode_buffer();
        match site {
            Some(site) => self
                .site
                .append_value(site.0.hyphenated().encode_lower(&mut buffer)),
            None => self.site.append_null(),
        }
        match org {
            Some(org) => self
                .org
                .append_value(org.0.hyphenated().encode_lower(&mut buffer)),
            None => self.org.append_null(),
        }
    }

    pub(crate) fn finish(mut self) -> (ArrayRef, ArrayRef) {
        (Arc::new(self.site.finish()), Arc::new(self.org.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::access;
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::Int64Type;

    fn total(batch: &RecordBatch, column: &str) -> i64 {
        let column = batch.column_by_name(column).expect("a column");
        column.as_primitive::<Int64Type>().values().iter().sum()
    }

    #[test]
    fn every_request_is_in_every_roll_up_once() {
        let mut rollup = Rollup::default();
        let node: Arc<str> = "edge-a".into();
        let events: Vec<AccessEvent> = (0..30_000).map(access).collect();
        rollup.add(&node, &events);
        for table in [Table::Traffic, Table::Urls, Table::Networks] {
            let batch = rollup.batch(table).expect("builds").expect("has rows");
            assert_eq!(total(&batch, "requests"), 30_000, "{table:?}");
            let hits = events.iter().filter(|event| is_hit(event.cache)).count();
            assert_eq!(total(&batch, "hits"), hits as i64);
            let bytes: u64 = events.iter().map(|event| event.bytes_sent).sum();
            assert_eq!(total(&batch, "http_response_size"), bytes as i64);
        }
        let traffic = rollup
            .batch(Table::Traffic)
            .expect("builds")
            .expect("has rows");
        let buckets: i64 = DURATION_COLUMNS
            .iter()
            .map(|column| total(&traffic, column))
            .sum();
        assert_eq!(buckets, 30_000);
    }

    #[test]
    fn strangers_cannot_fill_memory_with_urls() {
        let mut rollup = Rollup::default();
        let node: Arc<str> = "edge-a".into();
        let events: Vec<AccessEvent> = (0..URLS_MAX as u64 + 5_000)
            .map(|i| AccessEvent {
                path: format!("/{i}").into(),
                ..access(0)
            })
            .collect();
        rollup.add(&node, &events);
        let urls = rollup
            .batch(Table::Urls)
            .expect("builds")
            .expect("has rows");
        assert_eq!(urls.num_rows(), URLS_MAX + 1);
        assert_eq!(total(&urls, "requests"), events.len() as i64);
    }

    #[test]
    fn clients_stand_under_their_network() {
        let cases = [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ];
        for (address, network) in cases {
            let address = address.parse().expect("an address");
            assert_eq!(network_of(address).to_string(), network);
        }
    }
}
