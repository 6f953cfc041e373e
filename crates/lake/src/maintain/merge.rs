//! Small files become large ones, and roll-ups grow coarser with age.
//!
//! Files of one partition are merged when there are many of about one size, and
//! all together once the partition's time is over. Merging is a query: rows are
//! sorted anew, sums added up. Each row is rewritten a few times in its life.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use futures::StreamExt;

use super::Maintenance;
use crate::LakeError;
use crate::part::{DAY_US, Grain, Part, PartWriter, partition_length};
use crate::query::{Scope, Source};
use crate::table::{TIMESTAMP, Table};

/// Files of one size in one partition at which they are merged.
const SAME_SIZE_MAX: usize = 8;
/// Rows of a file beyond which it is left alone.
const ROWS_MAX: u64 = 4_000_000;
/// How long after its end a partition is taken for finished.
const SETTLE_US: i64 = 10 * 60 * 1_000_000;
/// Days after which `traffic` is kept by hour, and by day.
const TRAFFIC_HOUR_DAYS: i64 = 8;
const TRAFFIC_DAY_DAYS: i64 = 400;
/// Days after which `urls` and `networks` are kept by day.
const NAMES_DAY_DAYS: i64 = 35;
/// URLs and networks kept of one site and hour (or day) once it is over.
const NAMES_KEPT: usize = 1_000;

struct Job {
    table: Table,
    partition_us: i64,
    parts: Vec<Arc<Part>>,
    grain: Grain,
    /// Whether the partition is over, so that the tail of names can be folded.
    finished: bool,
}

impl Maintenance {
    /// Merges what is due; gives the number of files that went into others.
    pub(super) fn merge(&mut self, now: Timestamp) -> Result<usize, LakeError> {
        let mut merged = 0;
        for job in plan(&self.parts(), now) {
            let added = self.rewrite(&job.parts, job.partition_us, job.grain, &merge_sql(&job))?;
            self.replace(&job.parts, added)?;
            merged += job.parts.len();
        }
        Ok(merged)
    }

    /// Runs `sql` over just these files and writes what comes out as one file.
    pub(super) fn rewrite(
        &self,
        parts: &[Arc<Part>],
        partition_us: i64,
        grain: Grain,
        sql: &str,
    ) -> Result<Vec<Part>, LakeError> {
        let Some(first) = parts.first() else {
            return Ok(Vec::new());
        };
        let table = first.table;
        let source = Source {
            table,
            parts: parts.to_vec(),
            batches: Vec::new(),
        };
        let session = self.engine.session(vec![source], Scope::All)?;
        let addresses = parts.iter().any(|part| part.addresses) && !sql.contains("NULL");
        let rewrite = async {
            let mut writer = PartWriter::new(table, None)?;
            let mut rows = session.sql(sql).await?.execute_stream().await?;
            while let Some(batch) = rows.next().await {
                writer.write(&conform(&batch?, &table.schema())?)?;
            }
            writer.finish(partition_us, grain, addresses)
        };
        let file = self
            .runtime
            .block_on(rewrite)
            .map_err(LakeError::engine("rewrite files"))?;
        match file {
            Some((part, bytes)) => {
                self.put(&part, bytes)?;
                Ok(vec![part])
            }
            None => Ok(Vec::new()),
        }
    }
}

/// Gives a batch exactly the columns of the table.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| compute::cast(column, field.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn plan(parts: &[Arc<Part>], now: Timestamp) -> Vec<Job> {
    let mut partitions: BTreeMap<(Table, i64), Vec<Arc<Part>>> = BTreeMap::new();
    for part in parts {
        partitions
            .entry((part.table, part.partition_us()))
            .or_default()
            .push(Arc::clone(part));
    }
    partitions
        .into_iter()
        .filter_map(|((table, partition_us), parts)| {
            plan_partition(table, partition_us, parts, now)
        })
        .collect()
}

fn plan_partition(
    table: Table,
    partition_us: i64,
    parts: Vec<Arc<Part>>,
    now: Timestamp,
) -> Option<Job> {
    let end_us = partition_us.saturating_add(partition_length(table));
    let finished = end_us.saturating_add(SETTLE_US) <= now.micros();
    let job = |parts, grain| {
        Some(Job {
            table,
            partition_us,
            parts,
            grain,
            finished,
        })
    };
    if finished {
        let grain = grain_at(table, now.micros() - end_us);
        let coarse = parts.iter().all(|part| part.grain >= grain);
        let small: Vec<_> = parts
            .iter()
            .filter(|part| part.rows < ROWS_MAX / 2)
            .cloned()
            .collect();
        return match coarse {
            true if small.len() > 1 => job(up_to_rows_max(small), grain),
            true => None,
            false => job(parts, grain),
        };
    }
    let mut sizes: BTreeMap<u32, Vec<Arc<Part>>> = BTreeMap::new();
    for part in parts.into_iter().filter(|part| part.rows < ROWS_MAX / 2) {
        // Sizes that differ by less than a factor of four are one size.
        sizes
            .entry((part.rows / 1_000).max(1).ilog(4))
            .or_default()
            .push(part);
    }
    let many = sizes
        .into_values()
        .find(|parts| parts.len() >= SAME_SIZE_MAX)?;
    job(up_to_rows_max(many), Grain::Exact)
}

fn up_to_rows_max(mut parts: Vec<Arc<Part>>) -> Vec<Arc<Part>> {
    parts.sort_by_key(|part| part.rows);
    let mut rows = 0;
    parts.retain(|part| {
        rows += part.rows;
        rows <= ROWS_MAX
    });
    parts
}

fn grain_at(table: Table, age_us: i64) -> Grain {
    let days = age_us / DAY_US;
    match table {
        Table::Access
        | Table::Query
        | Table::Notice
        | Table::Enforced
        | Table::PortCounters
        | Table::FlowMatrix
        | Table::PortTraffic
        | Table::FlowHours => Grain::Exact,
        Table::Traffic if days >= TRAFFIC_DAY_DAYS => Grain::Day,
        Table::Traffic if days >= TRAFFIC_HOUR_DAYS => Grain::Hour,
        Table::Urls | Table::Networks if days >= NAMES_DAY_DAYS => Grain::Day,
        Table::Traffic | Table::Urls | Table::Networks => Grain::Exact,
    }
}

fn merge_sql(job: &Job) -> String {
    let table = job.table;
    match table {
        Table::Access
        | Table::Query
        | Table::Notice
        | Table::Enforced
        | Table::PortCounters
        | Table::FlowMatrix => {
            format!(
                "SELECT * FROM {} ORDER BY {}",
                table.name(),
                table.order().join(", ")
            )
        }
        Table::Traffic | Table::PortTraffic | Table::FlowHours => {
            sums_sql(table, table.name(), job.grain)
        }
        Table::Urls | Table::Networks if !job.finished => sums_sql(table, table.name(), job.grain),
        Table::Urls => folded_sql(
            table,
            job.grain,
            &["server_address", "url_path"],
            "site_id, org_id",
        ),
        Table::Networks => folded_sql(
            table,
            job.grain,
            &["client_network"],
            "site_id, org_id, node",
        ),
    }
}

/// Is a column of a roll-up a sum, or part of the key?
fn is_sum(table: Table, column: &str) -> bool {
    table
        .schema()
        .field_with_name(column)
        .is_ok_and(|field| field.data_type() == &datafusion::arrow::datatypes::DataType::Int64)
}

fn sums_sql(table: Table, from: &str, grain: Grain) -> String {
    let schema = table.schema();
    let columns: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let time = match grain {
        Grain::Exact => TIMESTAMP.to_owned(),
        Grain::Hour => format!("date_trunc('hour', {TIMESTAMP})"),
        Grain::Day => format!("date_trunc('day', {TIMESTAMP})"),
    };
    let keys: Vec<&str> = columns
        .iter()
        .copied()
        .filter(|column| *column != TIMESTAMP && !is_sum(table, column))
        .collect();
    let selected: Vec<String> = columns
        .iter()
        .map(|column| match *column {
            TIMESTAMP => format!("{time} AS {TIMESTAMP}"),
            sum if is_sum(table, sum) => format!("sum({sum}) AS {sum}"),
            key => key.to_owned(),
        })
        .collect();
    format!(
        "SELECT {} FROM {from} GROUP BY {time}, {} ORDER BY {}",
        selected.join(", "),
        keys.join(", "),
        table.order().join(", ")
    )
}

/// Keeps the names with most requests of each hour; adds the others up under ''.
fn folded_sql(table: Table, grain: Grain, names: &[&str], owner: &str) -> String {
    let schema = table.schema();
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let column = field.name().as_str();
            if names.contains(&column) {
                format!("CASE WHEN place <= {NAMES_KEPT} THEN {column} ELSE '' END AS {column}")
            } else {
                column.to_owned()
            }
        })
        .collect();
    let ranked = format!(
        "SELECT *, row_number() OVER (PARTITION BY {TIMESTAMP}, {owner} ORDER BY requests DESC, {}) AS place \
         FROM ({})",
        names.join(", "),
        sums_sql(table, table.name(), grain)
    );
    let folded = format!("(SELECT {} FROM ({ranked}))", columns.join(", "));
    sums_sql(table, &folded, Grain::Exact)
}
