//! A table of the lake as the query engine sees it: the files of one moment, and
//! the rows that were in memory at that moment.
//!
//! The commit record knows each file's first and last timestamp, so files outside
//! the asked time are not opened, and where every file lies wholly inside or
//! outside the engine need not look at the timestamps of single rows at all. A
//! question about whole hours therefore never reads the timestamp column.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;

use crate::part::{Part, time_range};
use crate::table::{TIMESTAMP, Table, time_type};

/// Where the engine finds the files.
pub(crate) const STORE_URL: &str = "lake://files/";

/// A table at one moment.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) table: Table,
    /// The files; shared with whoever deletes them, so that it waits.
    pub(crate) parts: Vec<Arc<Part>>,
    pub(crate) batches: Vec<RecordBatch>,
}

#[async_trait]
impl TableProvider for Source {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match Span::of(filter) {
                Some(span) if self.parts.iter().all(|part| span.decides(part)) => {
                    TableProviderFilterPushDown::Exact
                }
                _ => TableProviderFilterPushDown::Inexact,
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut span = Span::ALL;
        for filter in filters.iter().filter_map(Span::of) {
            span = span.and(filter);
        }
        let parts: Vec<&Part> = self
            .parts
            .iter()
            .map(AsRef::as_ref)
            .filter(|part| span.meets(part.min_us, part.max_us))
            .collect();
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !parts.is_empty() {
            plans.push(self.scan_files(state, projection, &parts)?);
        }
        let batches = self
            .batches
            .iter()
            .filter_map(|batch| span.cut(batch).transpose())
            .collect::<Result<Vec<_>>>()?;
        if !batches.is_empty() {
            let memory =
                MemorySourceConfig::try_new_exec(&[batches], self.schema(), projection.cloned())?;
            plans.push(memory);
        }
        match plans.len() {
            0 => {
                let schema = match projection {
                    Some(columns) => Arc::new(self.schema().project(columns)?),
                    None => self.schema(),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(plans.swap_remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

impl Source {
    fn scan_files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        parts: &[&Part],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let url = ObjectStoreUrl::parse(STORE_URL)?;
        let store = state.runtime_env().object_store(&url)?;
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let options = state.config_options().execution.parquet.clone();
        let source = ParquetSource::new(self.schema())
            .with_table_parquet_options(datafusion::config::TableParquetOptions {
                global: options,
                ..Default::default()
            })
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(
                store, cache,
            )));
        let columns = self.schema().fields().len();
        let rows: u64 = parts.iter().map(|part| part.rows).sum();
        let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        let groups = self.groups(parts, state.config().target_partitions());
        let span = parts.iter().fold((i64::MAX, i64::MIN), |(min, max), part| {
            (min.min(part.min_us), max.max(part.max_us))
        });
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics(columns, rows, bytes, span))
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// The files in groups of about equal size, one for each thread.
    fn groups(&self, parts: &[&Part], threads: usize) -> Vec<FileGroup> {
        let columns = self.schema().fields().len();
        let mut parts = parts.to_vec();
        parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        let mut groups = vec![(0, Vec::new()); threads.clamp(1, parts.len())];
        for part in parts {
            let file =
                PartitionedFile::new(part.path.clone(), part.bytes).with_statistics(Arc::new(
                    statistics(columns, part.rows, part.bytes, (part.min_us, part.max_us)),
                ));
            if let Some(least) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                least.0 += part.bytes;
                least.1.push(file);
            }
        }
        groups
            .into_iter()
            .map(|(_, files)| FileGroup::new(files))
            .collect()
    }
}

fn statistics(columns: usize, rows: u64, bytes: u64, (min_us, max_us): (i64, i64)) -> Statistics {
    let count = |value: u64| usize::try_from(value).map_or(Precision::Absent, Precision::Exact);
    let time = |at| {
        Precision::Exact(ScalarValue::TimestampMicrosecond(
            Some(at),
            Some("UTC".into()),
        ))
    };
    let mut column_statistics = vec![ColumnStatistics::new_unknown(); columns];
    if let Some(first) = column_statistics.first_mut() {
        first.min_value = time(min_us);
        first.max_value = time(max_us);
        first.null_count = Precision::Exact(0);
    }
    Statistics {
        num_rows: count(rows),
        total_byte_size: count(bytes).to_inexact(),
        column_statistics,
    }
}

/// A range of timestamps, in microseconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    min_us: i64,
    max_us: i64,
}

impl Span {
    const ALL: Self = Self {
        min_us: i64::MIN,
        max_us: i64::MAX,
    };

    fn and(self, other: Self) -> Self {
        Self {
            min_us: self.min_us.max(other.min_us),
            max_us: self.max_us.min(other.max_us),
        }
    }

    fn meets(self, min_us: i64, max_us: i64) -> bool {
        self.min_us <= max_us && min_us <= self.max_us
    }

    fn covers(self, min_us: i64, max_us: i64) -> bool {
        self.min_us <= min_us && max_us <= self.max_us
    }

    /// Whether all rows of a part are on the same side.
    fn decides(self, part: &Part) -> bool {
        self.covers(part.min_us, part.max_us) || !self.meets(part.min_us, part.max_us)
    }

    /// The rows of a batch within the range; none when there are none.
    fn cut(self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let Some((min_us, max_us)) = time_range(batch) else {
            return Ok(None);
        };
        if self.covers(min_us, max_us) {
            return Ok(Some(batch.clone()));
        }
        if !self.meets(min_us, max_us) {
            return Ok(None);
        }
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let inside: BooleanArray = times
            .values()
            .iter()
            .map(|at| Some(self.min_us <= *at && *at <= self.max_us))
            .collect();
        Ok(Some(filter_record_batch(batch, &inside)?))
    }

    /// The range that a filter asks for, if that is all it asks.
    fn of(filter: &Expr) -> Option<Self> {
        match filter {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::And,
                right,
            }) => Some(Self::of(left)?.and(Self::of(right)?)),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, value) = match (is_timestamp(left), is_timestamp(right)) {
                    (true, false) => (*op, literal(right)?),
                    (false, true) => (op.swap()?, literal(left)?),
                    _ => return None,
                };
                let (low, high) = match op {
                    Operator::Eq => (Bound::Included(value), Bound::Included(value)),
                    Operator::Gt => (Bound::Excluded(value), Bound::Unbounded),
                    Operator::GtEq => (Bound::Included(value), Bound::Unbounded),
                    Operator::Lt => (Bound::Unbounded, Bound::Excluded(value)),
                    Operator::LtEq => (Bound::Unbounded, Bound::Included(value)),
                    _ => return None,
                };
                Some(Self::between(low, high))
            }
            Expr::Between(between) if !between.negated && is_timestamp(&between.expr) => {
                Some(Self {
                    min_us: literal(&between.low)?,
                    max_us: literal(&between.high)?,
                })
            }
            _ => None,
        }
    }

    fn between(low: Bound<i64>, high: Bound<i64>) -> Self {
        Self {
            min_us: match low {
                Bound::Included(at) => at,
                Bound::Excluded(at) => at.saturating_add(1),
                Bound::Unbounded => i64::MIN,
            },
            max_us: match high {
                Bound::Included(at) => at,
                Bound::Excluded(at) => at.saturating_sub(1),
                Bound::Unbounded => i64::MAX,
            },
        }
    }
}

fn is_timestamp(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == TIMESTAMP)
}

/// A timestamp in whole microseconds; finer ones are left to the engine.
fn literal(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    match value {
        ScalarValue::TimestampMicrosecond(at, _) => *at,
        ScalarValue::TimestampNanosecond(Some(at), _) if at % 1_000 != 0 => None,
        ScalarValue::TimestampNanosecond(..)
        | ScalarValue::TimestampMillisecond(..)
        | ScalarValue::TimestampSecond(..) => match value.cast_to(&time_type()).ok()? {
            ScalarValue::TimestampMicrosecond(at, _) => at,
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn at(us: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(
            Some(us),
            Some("UTC".into()),
        ))
    }

    #[test]
    fn time_filters_become_ranges_and_others_do_not() {
        let time = || col(TIMESTAMP);
        let cases = [
            (time().gt(at(5)), Some((6, i64::MAX))),
            (time().gt_eq(at(5)), Some((5, i64::MAX))),
            (time().lt(at(5)), Some((i64::MIN, 4))),
            (time().lt_eq(at(5)), Some((i64::MIN, 5))),
            (time().eq(at(5)), Some((5, 5))),
            (at(5).lt_eq(time()), Some((5, i64::MAX))),
            (time().between(at(3), at(9)), Some((3, 9))),
            (time().gt(at(5)).and(time().lt(at(9))), Some((6, 8))),
            (time().not_between(at(3), at(9)), None),
            (time().not_eq(at(5)), None),
            (time().gt(at(5)).or(time().lt(at(2))), None),
            (col("site_id").eq(lit("x")), None),
            (time().gt(at(5)).and(col("site_id").eq(lit("x"))), None),
        ];
        for (filter, expected) in cases {
            let expected = expected.map(|(min_us, max_us)| Span { min_us, max_us });
            assert_eq!(Span::of(&filter), expected, "{filter}");
        }
    }
}
