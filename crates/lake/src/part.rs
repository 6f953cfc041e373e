//! One Parquet file: what the lake knows of it, its name, its bytes.

use std::collections::{BTreeSet, HashMap};

use base::Timestamp;
use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch, UInt32Array};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::error::DataFusionError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::table::{TIMESTAMP, Table};

/// Rows of a row group: small enough that a site's rows in an hour are few groups.
const ROW_GROUP_ROWS: usize = 262_144;
/// Partitions that one flush writes; more come only from wrong clocks, and then
/// all rows go into one file whose statistics say what it spans.
const PARTITIONS_MAX: usize = 512;
/// Metadata key: one past the last journal record whose rows the file holds.
pub(crate) const END_KEY: &str = "civicnet.journal_end";

pub(crate) const HOUR_US: i64 = 3_600_000_000;
pub(crate) const DAY_US: i64 = 24 * HOUR_US;

/// How fine the timestamps of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grain {
    /// As written.
    Exact,
    Hour,
    Day,
}

/// A file that is part of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) table: Table,
    /// Relative to the tables' root.
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Lowest and highest timestamp, in microseconds.
    pub(crate) min_us: i64,
    pub(crate) max_us: i64,
    pub(crate) grain: Grain,
    /// Whether it holds addresses of people.
    pub(crate) addresses: bool,
}

impl Part {
    /// The start of the partition that it lies in.
    pub(crate) fn partition_us(&self) -> i64 {
        partition_of(self.table, self.min_us)
    }
}

/// The length of a table's partitions: an hour of rows, a day of roll-ups.
pub(crate) const fn partition_length(table: Table) -> i64 {
    match table {
        Table::Access | Table::Query | Table::Notice | Table::Enforced => HOUR_US,
        Table::PortCounters
        | Table::FlowMatrix
        | Table::Traffic
        | Table::Urls
        | Table::Networks
        | Table::PortTraffic
        | Table::FlowHours => DAY_US,
    }
}

/// The start of the partition in which a timestamp lies.
pub(crate) fn partition_of(table: Table, at_us: i64) -> i64 {
    at_us - at_us.rem_euclid(partition_length(table))
}

/// A new name in the partition that begins at `partition_us`:
/// `access/date=2026-11-21/hour=09/part-<uuid>.parquet`.
pub(crate) fn new_path(table: Table, partition_us: i64) -> String {
    let text = Timestamp(partition_us).to_string();
    let date = text.get(..10).unwrap_or("0000-00-00");
    let id = uuid::Uuid::now_v7().simple();
    match partition_length(table) {
        HOUR_US => {
            let hour = partition_us.rem_euclid(DAY_US) / HOUR_US;
            format!(
                "{}/date={date}/hour={hour:02}/part-{id}.parquet",
                table.name()
            )
        }
        _ => format!("{}/date={date}/part-{id}.parquet", table.name()),
    }
}

/// Writes rows, given in the table's order, as one file in memory.
pub(crate) struct PartWriter {
    table: Table,
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
    min_us: i64,
    max_us: i64,
}

impl PartWriter {
    pub(crate) fn new(table: Table, journal_end: Option<u64>) -> Result<Self, DataFusionError> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(table, journal_end))
            // Other engines read plain types better than Arrow's string views.
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), table.schema(), options)?;
        Ok(Self {
            table,
            writer,
            rows: 0,
            min_us: i64::MAX,
            max_us: i64::MIN,
        })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        if let Some((min_us, max_us)) = time_range(batch) {
            self.min_us = self.min_us.min(min_us);
            self.max_us = self.max_us.max(max_us);
            self.rows += batch.num_rows() as u64;
            self.writer.write(batch)?;
        }
        Ok(())
    }

    /// The file and its description; none when it would be empty.
    pub(crate) fn finish(
        self,
        partition_us: i64,
        grain: Grain,
        addresses: bool,
    ) -> Result<Option<(Part, Vec<u8>)>, DataFusionError> {
        if self.rows == 0 {
            return Ok(None);
        }
        let bytes = self.writer.into_inner()?;
        let part = Part {
            table: self.table,
            path: new_path(self.table, partition_us),
            rows: self.rows,
            bytes: bytes.len() as u64,
            min_us: self.min_us,
            max_us: self.max_us,
            grain,
            addresses: addresses && !self.table.addresses().is_empty(),
        };
        Ok(Some((part, bytes)))
    }
}

fn properties(table: Table, journal_end: Option<u64>) -> WriterProperties {
    let schema = table.schema();
    let sorting = table
        .order()
        .iter()
        .filter_map(|column| schema.index_of(column).ok())
        .filter_map(|index| i32::try_from(index).ok())
        .map(|column_idx| SortingColumn {
            column_idx,
            descending: false,
            nulls_first: true,
        })
        .collect();
    let time = ColumnPath::from(TIMESTAMP);
    WriterProperties::builder()
        .set_created_by("civicnet".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_dictionary_enabled(time.clone(), false)
        .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
        .set_sorting_columns(Some(sorting))
        .set_key_value_metadata(
            journal_end.map(|end| vec![KeyValue::new(END_KEY.to_owned(), end.to_string())]),
        )
        .build()
}

/// The lowest and highest timestamp of some rows, in microseconds.
pub(crate) fn time_range(batch: &RecordBatch) -> Option<(i64, i64)> {
    let times = batch
        .column_by_name(TIMESTAMP)?
        .as_primitive_opt::<TimestampMicrosecondType>()?;
    Some((compute::min(times)?, compute::max(times)?))
}

/// Rows by partition, each in the table's order.
pub(crate) fn split(
    table: Table,
    batches: &[RecordBatch],
) -> Result<Vec<(i64, RecordBatch)>, DataFusionError> {
    let all = compute::concat_batches(&table.schema(), batches)?;
    let Some(times) = all.column(0).as_primitive_opt::<TimestampMicrosecondType>() else {
        return Ok(Vec::new());
    };
    let partitions: BTreeSet<i64> = times
        .values()
        .iter()
        .map(|at| partition_of(table, *at))
        .collect();
    let everywhere = (partitions.len() > PARTITIONS_MAX)
        .then(|| partitions.first().copied())
        .flatten();
    let partitions: Int64Array = times
        .values()
        .iter()
        .map(|at| everywhere.unwrap_or_else(|| partition_of(table, *at)))
        .collect();
    let ranks = ranks(table, &all);
    let mut order: Vec<(i64, u32, i64, u32)> = partitions
        .values()
        .iter()
        .zip(ranks)
        .zip(times.values())
        .zip(0..)
        .map(|(((partition, rank), at), row)| (*partition, rank, *at, row))
        .collect();
    order.sort_unstable();
    let rows = UInt32Array::from_iter_values(order.iter().map(|(.., row)| *row));
    let sorted = compute::take_record_batch(&all, &rows)?;
    let mut split = Vec::new();
    let mut start = 0;
    while let Some((partition, ..)) = order.get(start).copied() {
        let length = order[start..].partition_point(|row| row.0 <= partition);
        split.push((partition, sorted.slice(start, length)));
        start += length;
    }
    Ok(split)
}

/// The place of each row's site among all sites of the batch, nulls first: numbers
/// sort faster than texts.
fn ranks(table: Table, rows: &RecordBatch) -> Vec<u32> {
    let sites = match table.order() {
        [site, TIMESTAMP] => rows
            .column_by_name(site)
            .and_then(|sites| sites.as_string_view_opt()),
        _ => None,
    };
    let Some(sites) = sites else {
        return vec![0; rows.num_rows()];
    };
    let distinct: BTreeSet<Option<&str>> = sites.iter().collect();
    let places: HashMap<Option<&str>, u32> = distinct.into_iter().zip(0..).collect();
    sites
        .iter()
        .map(|site| places.get(&site).copied().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAY, access};
    use base::event::EventBatch;

    #[test]
    fn paths_say_table_date_and_hour() {
        let nine = DAY.micros() + 9 * HOUR_US;
        let path = new_path(Table::Access, nine);
        assert!(
            path.starts_with("access/date=2026-11-21/hour=09/part-"),
            "{path}"
        );
        let path = new_path(Table::Traffic, DAY.micros());
        assert!(path.starts_with("traffic/date=2026-11-21/part-"), "{path}");
        assert!(new_path(Table::Access, -HOUR_US).starts_with("access/date=1969-12-31/hour=23/"));
    }

    #[test]
    fn rows_are_split_by_hour_and_sorted_within() {
        let events = (0..80_000).rev().map(access).collect();
        let (table, rows) = crate::rows::rows("edge-a", &EventBatch::Access(events)).expect("rows");
        let split = split(table, &[rows]).expect("splits");
        assert_eq!(split.len(), 3);
        assert_eq!(
            split.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>(),
            80_000
        );
        for (partition, rows) in split {
            let (min_us, max_us) = time_range(&rows).expect("a range");
            assert!(min_us >= partition && max_us < partition + HOUR_US);
            let sites = rows
                .column_by_name("site_id")
                .expect("sites")
                .as_string_view()
                .clone();
            let times = rows
                .column(0)
                .as_primitive::<TimestampMicrosecondType>()
                .clone();
            for i in 1..rows.num_rows() {
                let before = (sites.value(i - 1), times.value(i - 1));
                assert!(before <= (sites.value(i), times.value(i)));
            }
        }
    }
}
