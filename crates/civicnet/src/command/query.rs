//! `civicnet query`: SQL over the lake's files, while the control plane writes them.

use anyhow::Context;
use lake::query::{QueryOptions, output};
use lake::{Lake, LakeConfig};

use crate::Verdict;
use crate::cli::{Format, Query};

pub(crate) async fn run(query: Query) -> anyhow::Result<Verdict> {
    let config = place(&query)?;
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

/// Where the lake is: as the configuration says, or below a directory without one.
fn place(query: &Query) -> anyhow::Result<LakeConfig> {
    let file = match &query.config {
        Some(file) => file.clone(),
        None => query.dir.join("control.toml"),
    };
    if query.config.is_some() || file.is_file() {
        return Ok(crate::load(&file)?.lake);
    }
    Ok(LakeConfig {
        dir: query.dir.join("lake"),
        ..LakeConfig::default()
    })
}
