//! A commit record made anew from the files, when the old one is gone.
//!
//! Each file says itself what it holds. What cannot be known is which batches the
//! nodes shipped: those not yet released there may come twice.

use datafusion::arrow::datatypes::DataType;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;

use crate::LakeError;
use crate::files::Files;
use crate::manifest::Manifest;
use crate::part::{END_KEY, Grain, Part};
use crate::table::{Table, time_type};

/// A commit record that names every file of the lake's tables in the store.
pub(crate) async fn adopt(files: &Files) -> Result<Manifest, LakeError> {
    let mut manifest = Manifest::default();
    for (path, bytes) in files.list().await? {
        let table = path.split('/').next().and_then(Table::by_name);
        let (Some(table), true) = (table, path.ends_with(".parquet")) else {
            continue;
        };
        let content = files.get(&path).await?;
        let reader = match SerializedFileReader::new(content) {
            Ok(reader) => reader,
            Err(error) => {
                tracing::error!(path, %error, "Left out a file that is not whole");
                continue;
            }
        };
        let metadata = reader.metadata();
        let Some((min_us, max_us)) = time_range(metadata) else {
            tracing::error!(path, "Left out a file without times");
            continue;
        };
        manifest.journal_end = manifest.journal_end.max(journal_end(metadata));
        manifest.parts.push(Part {
            table,
            path,
            rows: u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0),
            bytes,
            min_us,
            max_us,
            grain: Grain::Exact,
            addresses: !table.addresses().is_empty(),
        });
    }
    Ok(manifest)
}

fn time_range(metadata: &ParquetMetaData) -> Option<(i64, i64)> {
    debug_assert!(matches!(time_type(), DataType::Timestamp(..)));
    let mut range: Option<(i64, i64)> = None;
    for group in metadata.row_groups() {
        let Some(Statistics::Int64(statistics)) = group.columns().first()?.statistics() else {
            return None;
        };
        let (min, max) = (*statistics.min_opt()?, *statistics.max_opt()?);
        range = Some(range.map_or((min, max), |(low, high)| (low.min(min), high.max(max))));
    }
    range
}

fn journal_end(metadata: &ParquetMetaData) -> u64 {
    metadata
        .file_metadata()
        .key_value_metadata()
        .into_iter()
        .flatten()
        .filter(|entry| entry.key == END_KEY)
        .filter_map(|entry| entry.value.as_ref()?.parse().ok())
        .max()
        .unwrap_or(0)
}
