//! The exchange's traffic joined to the lake: what was measured, asked by SQL.

use async_trait::async_trait;
use base::{MemberId, PortId, Timestamp};
use exchange::traffic::desk::seams::{Ask, Figures, Last, Pair, Rates, SeamError};
use exchange::traffic::forecast::Day;
use lake::Lake;
use lake::query::{QueryOptions, output};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Steps that are shorter than this are answered by single readings.
const ROLLED_S: u32 = 300;
/// Spans of the matrix longer than this are answered by hours.
const MINUTES_S_MAX: i64 = 2 * 86_400;

/// The lake, as traffic sees it.
pub(super) struct Carried(pub(super) Lake);

impl Carried {
    async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, SeamError> {
        let result = self.0.query(sql, QueryOptions::default()).await?;
        output::objects(&result)?
            .into_iter()
            .map(|row| Ok(serde_json::from_value(row)?))
            .collect()
    }
}

/// The condition on rows of ports. Identifiers are UUIDs and times are numbers: no
/// text of people gets into the SQL.
fn filter(ask: &Ask) -> String {
    let list = |ids: &mut dyn Iterator<Item = String>| {
        let ids: Vec<String> = ids.map(|id| format!("'{id}'")).collect();
        // An empty list is no SQL.
        if ids.is_empty() {
            "''".to_owned()
        } else {
            ids.join(", ")
        }
    };
    let mut condition = format!(
        "port_id IN ({}) AND timestamp >= to_timestamp_micros({}) AND timestamp < to_timestamp_micros({})",
        list(&mut ask.ports.iter().map(ToString::to_string)),
        ask.from.micros(),
        ask.to.micros()
    );
    if let Some(orgs) = &ask.orgs {
        condition.push_str(&format!(
            " AND org_id IN ({})",
            list(&mut orgs.iter().map(ToString::to_string))
        ));
    }
    condition
}

/// Rates of each port in each step; `step` counts from `from`.
fn port_rates(ask: &Ask, table: &str, step_s: u32) -> String {
    let step_us = i64::from(step_s.max(1)) * 1_000_000;
    let rate = |column: &str, factor: &str| format!("sum({column}) * {factor} / sum(interval_us)");
    format!(
        "SELECT (CAST(timestamp AS BIGINT) - ({from})) / {step_us} AS step, port_id, \
         {} AS in_bps, {} AS out_bps, {} AS in_pps, {} AS out_pps, \
         sum(in_errors + out_errors) AS errors, sum(in_discards + out_discards) AS discards \
         FROM {table} WHERE {} AND interval_us > 0 GROUP BY 1, 2",
        rate("in_octets", "8000000.0"),
        rate("out_octets", "8000000.0"),
        rate("in_packets", "1000000.0"),
        rate("out_packets", "1000000.0"),
        filter(ask),
        from = ask.from.micros(),
    )
}

#[derive(Deserialize)]
struct Step {
    step: i64,
    in_bps: f64,
    out_bps: f64,
    in_pps: f64,
    out_pps: f64,
    errors: i64,
    discards: i64,
}

#[derive(Deserialize)]
struct Both {
    in_bps: f64,
    out_bps: f64,
}

#[derive(Deserialize)]
struct OneDay {
    day: i64,
    bps: f64,
}

#[derive(Deserialize)]
struct LastRow {
    port_id: String,
    at: i64,
    up: bool,
    in_bps: f64,
    out_bps: f64,
    errors: i64,
    discards: i64,
}

#[derive(Deserialize)]
struct PairRow {
    from_id: Option<String>,
    to_id: Option<String>,
    octets: i64,
    octets_v6: i64,
    samples: i64,
}

#[async_trait]
impl Figures for Carried {
    async fn series(&self, ask: &Ask) -> Result<Vec<Rates>, SeamError> {
        let table = if ask.step_s < ROLLED_S {
            "port_counters"
        } else {
            "port_traffic"
        };
        let sql = format!(
            "SELECT step, sum(in_bps) AS in_bps, sum(out_bps) AS out_bps, sum(in_pps) AS in_pps, sum(out_pps) AS out_pps, \
             sum(errors) AS errors, sum(discards) AS discards FROM ({}) GROUP BY step ORDER BY step",
            port_rates(ask, table, ask.step_s)
        );
        let step_us = i64::from(ask.step_s.max(1)) * 1_000_000;
        let rows = self.rows::<Step>(&sql).await?;
        let rates = rows.into_iter().map(|row| Rates {
            at: Timestamp(ask.from.micros() + row.step * step_us),
            in_bps: row.in_bps,
            out_bps: row.out_bps,
            in_pps: row.in_pps,
            out_pps: row.out_pps,
            errors: row.errors,
            discards: row.discards,
        });
        Ok(rates.collect())
    }

    async fn five_minutes(&self, ask: &Ask) -> Result<Vec<(f64, f64)>, SeamError> {
        let sql = format!(
            "SELECT sum(in_bps) AS in_bps, sum(out_bps) AS out_bps FROM ({}) GROUP BY step",
            port_rates(ask, "port_traffic", ROLLED_S)
        );
        let rows = self.rows::<Both>(&sql).await?;
        Ok(rows.iter().map(|row| (row.in_bps, row.out_bps)).collect())
    }

    async fn days(&self, ask: &Ask) -> Result<Vec<Day>, SeamError> {
        // The nearest rank at 95 %, as `percentile::nearest_rank` has it.
        let sql = format!(
            "SELECT day, bps FROM (SELECT day, bps, row_number() OVER (PARTITION BY day ORDER BY bps) AS place, \
             count(*) OVER (PARTITION BY day) AS places FROM (\
             SELECT step / 288 AS day, CASE WHEN sum(in_bps) > sum(out_bps) THEN sum(in_bps) ELSE sum(out_bps) END AS bps \
             FROM ({}) GROUP BY step)) WHERE place = (places * 95 + 99) / 100 ORDER BY day",
            port_rates(ask, "port_traffic", ROLLED_S)
        );
        let first = ask.from.micros().div_euclid(86_400_000_000);
        let rows = self.rows::<OneDay>(&sql).await?;
        let days = rows.into_iter().map(|row| Day {
            day: first + row.day,
            bps: row.bps,
        });
        Ok(days.collect())
    }

    async fn last(&self, ask: &Ask) -> Result<Vec<Last>, SeamError> {
        let sql = format!(
            "SELECT port_id, CAST(timestamp AS BIGINT) AS at, up, \
             in_octets * 8000000.0 / interval_us AS in_bps, out_octets * 8000000.0 / interval_us AS out_bps, \
             errors, discards FROM (\
             SELECT port_id, timestamp, up, in_octets, out_octets, interval_us, \
             row_number() OVER (PARTITION BY port_id ORDER BY timestamp DESC) AS place, \
             sum(in_errors + out_errors) OVER (PARTITION BY port_id) AS errors, \
             sum(in_discards + out_discards) OVER (PARTITION BY port_id) AS discards \
             FROM port_counters WHERE {} AND interval_us > 0) WHERE place = 1",
            filter(ask)
        );
        let rows = self.rows::<LastRow>(&sql).await?;
        rows.into_iter()
            .map(|row| {
                Ok(Last {
                    port: row.port_id.parse::<PortId>()?,
                    at: Timestamp(row.at),
                    up: row.up,
                    in_bps: row.in_bps,
                    out_bps: row.out_bps,
                    errors: row.errors,
                    discards: row.discards,
                })
            })
            .collect()
    }

    async fn matrix(
        &self,
        members: Option<&[MemberId]>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Pair>, SeamError> {
        let (table, step_s) = match to.seconds() - from.seconds() {
            ..=MINUTES_S_MAX => ("flow_matrix", 60),
            _ => ("flow_hours", 3_600),
        };
        let from = from.micros() - from.micros().rem_euclid(step_s * 1_000_000);
        let own = match members {
            None => String::new(),
            Some(members) => {
                let mut ids: Vec<String> = members.iter().map(|id| format!("'{id}'")).collect();
                if ids.is_empty() {
                    ids.push("''".to_owned());
                }
                let ids = ids.join(", ");
                format!(" AND (from_member_id IN ({ids}) OR to_member_id IN ({ids}))")
            }
        };
        let sql = format!(
            "SELECT from_member_id AS from_id, to_member_id AS to_id, sum(octets) AS octets, \
             sum(CASE WHEN ip_version = 6 THEN octets ELSE 0 END) AS octets_v6, sum(samples) AS samples \
             FROM {table} WHERE timestamp >= to_timestamp_micros({from}) AND timestamp < to_timestamp_micros({}){own} \
             GROUP BY 1, 2 ORDER BY octets DESC",
            to.micros()
        );
        let member = |id: Option<String>| id.map(|id| id.parse::<MemberId>()).transpose();
        let rows = self.rows::<PairRow>(&sql).await?;
        rows.into_iter()
            .map(|row| {
                Ok(Pair {
                    from: member(row.from_id)?,
                    to: member(row.to_id)?,
                    octets: row.octets,
                    octets_v6: row.octets_v6,
                    samples: row.samples,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::event::{EventBatch, FlowEvent, PortEvent};
    use base::{NodeName, OrgId};
    use uuid::Uuid;

    const DAY: i64 = 1_795_219_200;

    fn port(n: u128) -> PortId {
        PortId(Uuid::from_u128(n))
    }

    fn org(n: u128) -> OrgId {
        OrgId(Uuid::from_u128(n))
    }

    /// A reading of 30 s at second `at` of the day, of `bps` in and half of it out.
    fn reading(n: u128, owner: u128, at: i64, bps: u64) -> PortEvent {
        PortEvent {
            at: Timestamp::from_seconds(DAY + at),
            switch: "sw1".into(),
            name: format!("Ethernet{n}").into(),
            port: Some(port(n)),
            member: None,
            org: Some(org(owner)),
            interval_ms: 30_000,
            up: true,
            speed_bps: 10_000_000_000,
            in_octets: bps * 30 / 8,
            out_octets: bps * 15 / 8,
            in_packets: 300,
            out_packets: 30,
            in_errors: 1,
            out_errors: 0,
            in_discards: 0,
            out_discards: 2,
        }
    }

    fn ask(ports: &[u128], orgs: Option<&[u128]>, seconds: i64, step_s: u32) -> Ask {
        Ask {
            ports: ports.iter().map(|n| port(*n)).collect(),
            orgs: orgs.map(|orgs| orgs.iter().map(|n| org(*n)).collect()),
            from: Timestamp::from_seconds(DAY),
            to: Timestamp::from_seconds(DAY + seconds),
            step_s,
        }
    }

    #[tokio::test]
    async fn figures_come_back_from_the_lake() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = lake::LakeConfig {
            dir: dir.path().to_owned(),
            ..lake::LakeConfig::default()
        };
        let lake = Lake::open(&config).await.expect("opens");
        let node: NodeName = "hsinchu".parse().expect("a name");
        // Port 1 of organisation 1 carries 8 Mb/s, twice that from the second hour on;
        // port 2 of organisation 2 carries 80 Mb/s, and was organisation 1's before.
        let mut events = Vec::new();
        for i in 1..=240 {
            let bps = if i <= 120 { 8_000_000 } else { 16_000_000 };
            events.push(reading(1, 1, i * 30 - 1, bps));
            events.push(reading(
                2,
                if i <= 120 { 1 } else { 2 },
                i * 30 - 1,
                80_000_000,
            ));
        }
        lake.record(&node, &EventBatch::Ports(events))
            .await
            .expect("kept");
        let figures = Carried(lake.clone());
        for flushed in [false, true] {
            if flushed {
                lake.flush().await.expect("written");
            }
            let both = figures
                .series(&ask(&[1, 2], None, 7_200, 3_600))
                .await
                .expect("rates");
            assert_eq!(both.len(), 2);
            assert!((both[0].in_bps - 88e6).abs() < 1.0, "{both:?}");
            assert!((both[1].in_bps - 96e6).abs() < 1.0);
            assert!((both[1].out_bps - 48e6).abs() < 1.0);
            assert_eq!((both[0].errors, both[0].discards), (240, 480));
            assert_eq!(both[1].at, Timestamp::from_seconds(DAY + 3_600));
            let minutes = figures
                .series(&ask(&[1], None, 600, 60))
                .await
                .expect("rates");
            assert_eq!(minutes.len(), 10);
            // What was measured while it was another's is not shown.
            let own = figures
                .series(&ask(&[1, 2], Some(&[2]), 7_200, 3_600))
                .await
                .expect("rates");
            assert_eq!(own.len(), 1);
            assert!((own[0].in_bps - 80e6).abs() < 1.0, "{own:?}");
            let five = figures
                .five_minutes(&ask(&[1], None, 7_200, 300))
                .await
                .expect("rates");
            assert_eq!(five.len(), 24);
            let days = figures
                .days(&ask(&[1], None, 86_400, 86_400))
                .await
                .expect("days");
            assert_eq!(days.len(), 1);
            assert_eq!(days[0].day, DAY / 86_400);
            assert!((days[0].bps - 16e6).abs() < 1.0, "{days:?}");
            let mut last = figures
                .last(&ask(&[1, 2], None, 86_400, 60))
                .await
                .expect("last");
            last.sort_by_key(|last| last.port);
            assert_eq!(last[0].at, Timestamp::from_seconds(DAY + 7_199));
            assert!(last[0].up && (last[0].in_bps - 16e6).abs() < 1.0);
            assert_eq!(last[1].errors, 240);
            assert!(
                figures
                    .series(&ask(&[], None, 600, 60))
                    .await
                    .expect("nothing")
                    .is_empty()
            );
            assert!(
                figures
                    .last(&ask(&[1], Some(&[]), 600, 60))
                    .await
                    .expect("nothing")
                    .is_empty()
            );
        }
        lake.close();
    }

    #[tokio::test]
    async fn the_matrix_comes_back_by_minutes_and_by_hours() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = lake::LakeConfig {
            dir: dir.path().to_owned(),
            ..lake::LakeConfig::default()
        };
        let lake = Lake::open(&config).await.expect("opens");
        let node: NodeName = "hsinchu".parse().expect("a name");
        let member = |n: u128| MemberId(Uuid::from_u128(n));
        let events = (0..120)
            .map(|i| FlowEvent {
                at: Timestamp::from_seconds(DAY + i * 60),
                from: Some(member(1 + (i % 2) as u128)),
                to: (i % 3 != 0).then(|| member(3)),
                ip_version: if i % 2 == 0 { 6 } else { 4 },
                vlan: 10,
                octets: 1_000,
                packets: 1,
                samples: 1,
            })
            .collect();
        lake.record(&node, &EventBatch::Flows(events))
            .await
            .expect("kept");
        let figures = Carried(lake.clone());
        let from = Timestamp::from_seconds(DAY + 30);
        for seconds in [7_200, 5 * 86_400] {
            let to = Timestamp::from_seconds(DAY + seconds);
            let pairs = figures.matrix(None, from, to).await.expect("pairs");
            assert_eq!(pairs.len(), 4);
            assert_eq!(pairs.iter().map(|pair| pair.octets).sum::<i64>(), 120_000);
            assert_eq!(pairs.iter().map(|pair| pair.octets_v6).sum::<i64>(), 60_000);
            let own = figures
                .matrix(Some(&[member(2)]), from, to)
                .await
                .expect("pairs");
            assert_eq!(own.len(), 2);
            assert!(own.iter().all(|pair| pair.from == Some(member(2))));
            let none = figures.matrix(Some(&[]), from, to).await.expect("pairs");
            assert!(none.is_empty());
        }
        lake.close();
    }
}
