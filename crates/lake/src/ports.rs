//! Ports and flows of an exchange: their rows and their roll-ups.
//!
//! A reading counts in the five minutes in which its interval ended, with the
//! length of the interval, so that a rate is octets over time measured: a gap makes
//! no dip. The keys are ports of switches that operators entered; a bound keeps a
//! switch that makes up names from filling memory: beyond it, readings count under
//! the empty name.

use std::collections::HashMap;
use std::sync::Arc;

use base::event::{FlowEvent, PortEvent};
use base::{MemberId, OrgId, PortId};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringViewBuilder,
};
use datafusion::arrow::error::ArrowError;
use uuid::Uuid;

use crate::rollup::clamp;
use crate::rows::{constant, numbers, text, texts, times};
use crate::table::Table;

/// Columns of `port_counters` and `port_traffic` that are added up.
pub(crate) const PORT_SUMS: [&str; 9] = [
    "interval_us",
    "in_octets",
    "out_octets",
    "in_packets",
    "out_packets",
    "in_errors",
    "out_errors",
    "in_discards",
    "out_discards",
];

/// Length of the intervals of `port_traffic`.
const FIVE_MINUTES_US: i64 = 300_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// Keys that one node's roll-ups keep apart in memory.
const KEYS_MAX: usize = 100_000;

fn sums_of(event: &PortEvent) -> [i64; PORT_SUMS.len()] {
    [
        i64::from(event.interval_ms) * 1_000,
        clamp(event.in_octets),
        clamp(event.out_octets),
        clamp(event.in_packets),
        clamp(event.out_packets),
        clamp(event.in_errors),
        clamp(event.out_errors),
        clamp(event.in_discards),
        clamp(event.out_discards),
    ]
}

/// The rows of `port_counters`.
pub(crate) fn counters(node: &str, events: &[PortEvent]) -> Vec<ArrayRef> {
    let sums: Vec<_> = events.iter().map(sums_of).collect();
    let mut columns = vec![
        times(events.iter().map(|e| e.at.micros())),
        constant(node, events.len()),
        texts(events.iter().map(|e| &*e.switch)),
        texts(events.iter().map(|e| &*e.name)),
        ids(events.iter().map(|e| e.port.map(|id| id.0))),
        ids(events.iter().map(|e| e.member.map(|id| id.0))),
        ids(events.iter().map(|e| e.org.map(|id| id.0))),
        Arc::new(BooleanArray::from_iter(events.iter().map(|e| Some(e.up)))) as ArrayRef,
        numbers(events.iter().map(|e| clamp(e.speed_bps))),
    ];
    columns.extend((0..PORT_SUMS.len()).map(|i| numbers(sums.iter().map(|sums| sums[i]))));
    columns
}

/// The rows of `flow_matrix`.
pub(crate) fn flows(node: &str, events: &[FlowEvent]) -> Vec<ArrayRef> {
    vec![
        times(events.iter().map(|e| e.at.micros())),
        constant(node, events.len()),
        ids(events.iter().map(|e| e.from.map(|id| id.0))),
        ids(events.iter().map(|e| e.to.map(|id| id.0))),
        Arc::new(Int32Array::from_iter_values(
            events.iter().map(|e| i32::from(e.ip_version)),
        )),
        Arc::new(Int32Array::from_iter_values(
            events.iter().map(|e| i32::from(e.vlan)),
        )),
        numbers(events.iter().map(|e| clamp(e.octets))),
        numbers(events.iter().map(|e| clamp(e.packets))),
        numbers(events.iter().map(|e| clamp(e.samples))),
    ]
}

fn ids(values: impl Iterator<Item = Option<Uuid>>) -> ArrayRef {
    let mut builder: StringViewBuilder = text();
    let mut buffer = Uuid::encode_buffer();
    for value in values {
        match value {
            Some(id) => builder.append_value(id.hyphenated().encode_lower(&mut buffer)),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct PortKey {
    at_us: i64,
    switch: Box<str>,
    name: Box<str>,
    port: Option<PortId>,
    member: Option<MemberId>,
    org: Option<OrgId>,
}

/// Time up and the columns of [`PORT_SUMS`].
type PortSums = (i64, [i64; PORT_SUMS.len()]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct FlowKey {
    hour_us: i64,
    from: Option<MemberId>,
    to: Option<MemberId>,
    ip_version: u8,
}

/// Sums of the rows of ports and flows that are in memory.
#[derive(Debug, Default)]
pub(crate) struct PortRollup {
    ports: HashMap<Arc<str>, HashMap<PortKey, PortSums>>,
    flows: HashMap<Arc<str>, HashMap<FlowKey, [i64; 3]>>,
}

/// The entry of a key, or of the one that stands for those beyond the bound.
fn entry<K: std::hash::Hash + Eq + Default, V: Default>(map: &mut HashMap<K, V>, key: K) -> &mut V {
    let known = map.len() < KEYS_MAX || map.contains_key(&key);
    map.entry(if known { key } else { K::default() })
        .or_default()
}

fn floor(at_us: i64, step_us: i64) -> i64 {
    at_us - at_us.rem_euclid(step_us)
}

impl PortRollup {
    /// Adds the readings of one batch from one node.
    pub(crate) fn add_ports(&mut self, node: &Arc<str>, events: &[PortEvent]) {
        let ports = self.ports.entry(Arc::clone(node)).or_default();
        for event in events {
            let key = PortKey {
                at_us: floor(event.at.micros(), FIVE_MINUTES_US),
                switch: event.switch.clone(),
                name: event.name.clone(),
                port: event.port,
                member: event.member,
                org: event.org,
            };
            let (up_us, sums) = entry(ports, key);
            let more = sums_of(event);
            *up_us = up_us.saturating_add(if event.up { more[0] } else { 0 });
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum = sum.saturating_add(more);
            }
        }
    }

    /// Adds the flows of one batch from one node.
    pub(crate) fn add_flows(&mut self, node: &Arc<str>, events: &[FlowEvent]) {
        let flows = self.flows.entry(Arc::clone(node)).or_default();
        for event in events {
            let key = FlowKey {
                hour_us: floor(event.at.micros(), HOUR_US),
                from: event.from,
                to: event.to,
                ip_version: event.ip_version,
            };
            let more = [event.octets, event.packets, event.samples];
            for (sum, more) in entry(flows, key).iter_mut().zip(more) {
                *sum = sum.saturating_add(clamp(more));
            }
        }
    }

    /// The sums as rows of `table`; nothing for other tables.
    pub(crate) fn batch(&self, table: Table) -> Result<Option<RecordBatch>, ArrowError> {
        let columns = match table {
            Table::PortTraffic => self.port_columns(),
            Table::FlowHours => self.flow_columns(),
            _ => return Ok(None),
        };
        let batch = RecordBatch::try_new(table.schema(), columns)?;
        Ok((batch.num_rows() > 0).then_some(batch))
    }

    fn port_columns(&self) -> Vec<ArrayRef> {
        let rows: Vec<(&Arc<str>, &PortKey, &PortSums)> = self
            .ports
            .iter()
            .flat_map(|(node, rows)| rows.iter().map(move |(key, sums)| (node, key, sums)))
            .collect();
        let mut columns = vec![
            times(rows.iter().map(|(_, key, _)| key.at_us)),
            texts(rows.iter().map(|(node, _, _)| &***node)),
            texts(rows.iter().map(|(_, key, _)| &*key.switch)),
            texts(rows.iter().map(|(_, key, _)| &*key.name)),
            ids(rows.iter().map(|(_, key, _)| key.port.map(|id| id.0))),
            ids(rows.iter().map(|(_, key, _)| key.member.map(|id| id.0))),
            ids(rows.iter().map(|(_, key, _)| key.org.map(|id| id.0))),
            numbers(rows.iter().map(|(_, _, sums)| sums.0)),
        ];
        columns.extend(
            (0..PORT_SUMS.len()).map(|i| numbers(rows.iter().map(|(_, _, sums)| sums.1[i]))),
        );
        columns
    }

    fn flow_columns(&self) -> Vec<ArrayRef> {
        let rows: Vec<(&Arc<str>, &FlowKey, &[i64; 3])> = self
            .flows
            .iter()
            .flat_map(|(node, rows)| rows.iter().map(move |(key, sums)| (node, key, sums)))
            .collect();
        let mut columns = vec![
            times(rows.iter().map(|(_, key, _)| key.hour_us)),
            texts(rows.iter().map(|(node, _, _)| &***node)),
            ids(rows.iter().map(|(_, key, _)| key.from.map(|id| id.0))),
            ids(rows.iter().map(|(_, key, _)| key.to.map(|id| id.0))),
            Arc::new(Int32Array::from_iter_values(
                rows.iter().map(|(_, key, _)| i32::from(key.ip_version)),
            )) as ArrayRef,
        ];
        columns.extend((0..3).map(|i| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|(_, _, sums)| sums[i]),
            ))
        }));
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAY, org};
    use base::Timestamp;
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::Int64Type;

    fn reading(i: u64) -> PortEvent {
        PortEvent {
            at: Timestamp(DAY.0 + i as i64 * 30_000_000),
            switch: "sw1".into(),
            name: format!("Ethernet{}", i % 4).into(),
            port: Some(PortId(Uuid::from_u128(u128::from(i % 4) + 1))),
            member: Some(MemberId(Uuid::from_u128(7))),
            org: Some(org(1)),
            interval_ms: 30_000,
            up: i.is_multiple_of(2),
            speed_bps: 10_000_000_000,
            in_octets: i,
            out_octets: 2 * i,
            in_packets: 1,
            out_packets: 2,
            in_errors: 3,
            out_errors: 4,
            in_discards: 5,
            out_discards: 6,
        }
    }

    fn total(batch: &RecordBatch, column: &str) -> i64 {
        let column = batch.column_by_name(column).expect("a column");
        column.as_primitive::<Int64Type>().values().iter().sum()
    }

    #[test]
    fn every_reading_is_in_its_five_minutes_once() {
        let mut rollup = PortRollup::default();
        let node: Arc<str> = "hsinchu".into();
        let events: Vec<PortEvent> = (0..100).map(reading).collect();
        rollup.add_ports(&node, &events);
        let batch = rollup
            .batch(Table::PortTraffic)
            .expect("builds")
            .expect("has rows");
        // Ten readings are five minutes; they take turns among four ports.
        assert_eq!(batch.num_rows(), 40);
        assert_eq!(total(&batch, "interval_us"), 100 * 30_000_000);
        assert_eq!(total(&batch, "up_us"), 50 * 30_000_000);
        assert_eq!(total(&batch, "in_octets"), (0..100).sum::<i64>());
        assert_eq!(total(&batch, "out_discards"), 600);
    }

    #[test]
    fn flows_add_up_by_hour_and_pair() {
        let mut rollup = PortRollup::default();
        let node: Arc<str> = "hsinchu".into();
        let member = |n: u128| Some(MemberId(Uuid::from_u128(n)));
        let events: Vec<FlowEvent> = (0..120)
            .map(|i| FlowEvent {
                at: Timestamp(DAY.0 + i * 60_000_000),
                from: member(1 + (i % 2) as u128),
                to: if i % 3 == 0 { None } else { member(3) },
                ip_version: 4,
                vlan: 10,
                octets: 1_000,
                packets: 2,
                samples: 1,
            })
            .collect();
        rollup.add_flows(&node, &events);
        let batch = rollup
            .batch(Table::FlowHours)
            .expect("builds")
            .expect("has rows");
        assert_eq!(batch.num_rows(), 2 * 2 * 2);
        assert_eq!(total(&batch, "octets"), 120_000);
        assert_eq!(total(&batch, "samples"), 120);
    }
}
