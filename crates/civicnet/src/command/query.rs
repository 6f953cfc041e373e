//! `civicnet query`: SQL over the lake's files, while the control plane writes them.

use anyhow::Context;
use lake::query::{QueryOptions, output};
use lake::{Lake, LakeConfig};

use crate::Verdict;
use crate::cli::{Format, Query};

pub(crate) async fn run(query: Query) -> anyhow::Result<Verdict> {
    let config = LakeConfig {
        dir: query.dir.join("lake"),
        ..LakeConfig::default()
    };
    let lake = Lake::open_read_only(&config)
        .await
        .with_context(|| format!("could not open the lake in {}", config.dir.display()))?;
    let options = QueryOptions {
        rows_max: Some(query.rows),
        ..QueryOptions::default()
    };
    let result = lake.query(&query.sql, options).await?;
    let format = match query.format {
        Format::Table => output::Format::Table,
        Format::Json => output::Format::Json,
        Format::Csv => output::Format::Csv,
        Format::Ndjson => output::Format::Ndjson,
    };
    crate::out(output::render(&result, format)?.trim_end())?;
    if result.truncated {
        crate::complain(&format!(
            "only the first {} rows; ask for more with --rows",
            query.rows
        ));
    }
    Ok(Verdict::Good)
}
