//! Questions in SQL: reading only, within limits.
//!
//! Every query sees the lake as it was when the query began, files and memory
//! alike. A plan that would do more than read is refused before it runs. Memory is
//! shared by all queries and spills to disk; time and rows are limited for each.
//! Dropping the future cancels the query.

pub mod output;
mod source;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::OrgId;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext, col, lit};
use futures::StreamExt;

use crate::LakeError;
use crate::config::LakeConfig;
use crate::files::Files;
use crate::table::Table;

pub(crate) use source::Source;

/// Bytes of one SQL text.
pub const SQL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of file metadata kept between queries.
const METADATA_CACHE_BYTES: usize = 256 * 1024 * 1024;
/// Bytes that queries may spill to disk.
const SPILL_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// Whose rows a query may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// All: for operators.
    #[default]
    All,
    /// Those of one organisation; tables without owners do not exist.
    Org(OrgId),
}

/// How to run a query.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// Whose rows it may see.
    pub scope: Scope,
    /// Rows to return; at most, and when none is given, the configured number.
    pub rows_max: Option<usize>,
}

/// What a query found.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Whether there were more rows than allowed.
    pub truncated: bool,
    /// Time it took.
    pub elapsed: Duration,
}

impl QueryResult {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// What queries share: memory, file metadata, spill space.
#[derive(Debug)]
pub(crate) struct Engine {
    environment: Arc<RuntimeEnv>,
    threads: usize,
    timeout: Duration,
    rows_max: usize,
}

impl Engine {
    pub(crate) fn new(config: &LakeConfig, files: &Files) -> Result<Self, LakeError> {
        let start = LakeError::engine::<DataFusionError>("start the query engine");
        let spill = config.dir.join("spill");
        std::fs::create_dir_all(&spill).map_err(LakeError::io("create the spill directory"))?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill]))
            .with_max_temp_directory_size(SPILL_BYTES_MAX);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(config.query.memory_bytes)))
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(METADATA_CACHE_BYTES)
            .build_arc()
            .map_err(start)?;
        let url = url_of_store()?;
        environment.register_object_store(url.as_ref(), files.store());
        Ok(Self {
            environment,
            threads: config.query_threads(),
            timeout: Duration::from_secs(config.query.timeout_s),
            rows_max: config.query.rows_max,
        })
    }

    /// A session that sees the given tables.
    pub(crate) fn session(
        &self,
        sources: Vec<Source>,
        scope: Scope,
    ) -> Result<SessionContext, LakeError> {
        let prepare = LakeError::engine::<DataFusionError>;
        let mut config = SessionConfig::new()
            .with_target_partitions(self.threads)
            .with_information_schema(true)
            .with_default_catalog_and_schema("lake", "public");
        config.options_mut().execution.parquet.enable_page_index = true;
        config.options_mut().sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.environment));
        for source in sources {
            let name = source.table.name();
            let provider: Arc<dyn TableProvider> = match scope {
                Scope::All => Arc::new(source),
                Scope::Org(_) if !source.table.has_org() => continue,
                Scope::Org(org) => context
                    .read_table(Arc::new(source))
                    .and_then(|rows| rows.filter(col("org_id").eq(lit(org.to_string()))))
                    .map_err(prepare("prepare a table"))?
                    .into_view(),
            };
            context
                .register_table(name, provider)
                .map_err(prepare("prepare a table"))?;
        }
        Ok(context)
    }

    /// Runs one SQL text.
    pub(crate) async fn run(
        &self,
        sources: Vec<Source>,
        sql: &str,
        options: &QueryOptions,
    ) -> Result<QueryResult, LakeError> {
        if sql.len() > SQL_BYTES_MAX {
            return Err(LakeError::Sql(format!(
                "the query has {} bytes: must have at most {SQL_BYTES_MAX}",
                sql.len()
            )));
        }
        let rows_max = options
            .rows_max
            .map_or(self.rows_max, |rows| rows.min(self.rows_max));
        let context = self.session(sources, options.scope)?;
        let running = run_limited(&context, sql, rows_max);
        match tokio::time::timeout(self.timeout, running).await {
            Ok(result) => result,
            Err(_) => Err(LakeError::Limit {
                what: "took too long",
                max: format!("{} s", self.timeout.as_secs()),
            }),
        }
    }
}

pub(crate) fn url_of_store()
-> Result<datafusion::datasource::object_store::ObjectStoreUrl, LakeError> {
    datafusion::datasource::object_store::ObjectStoreUrl::parse(source::STORE_URL)
        .map_err(LakeError::engine("name the store"))
}

async fn run_limited(
    context: &SessionContext,
    sql: &str,
    rows_max: usize,
) -> Result<QueryResult, LakeError> {
    let begun = Instant::now();
    let plan = context
        .state()
        .create_logical_plan(sql)
        .await
        .map_err(explain)?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|_| {
            LakeError::Sql(
                "only reading is allowed: a query must be SELECT, WITH, VALUES or EXPLAIN"
                    .to_owned(),
            )
        })?;
    let frame = context.execute_logical_plan(plan).await.map_err(explain)?;
    let mut stream = frame.execute_stream().await.map_err(explain)?;
    let schema = stream.schema();
    let mut batches = Vec::new();
    let mut left = rows_max;
    let mut truncated = false;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(explain)?;
        if batch.num_rows() > left {
            truncated = true;
            batches.push(batch.slice(0, left));
            break;
        }
        left -= batch.num_rows();
        batches.push(batch);
    }
    Ok(QueryResult {
        schema,
        batches,
        truncated,
        elapsed: begun.elapsed(),
    })
}

/// The engine's errors in the words of whoever wrote the SQL.
fn explain(error: DataFusionError) -> LakeError {
    match error.find_root() {
        DataFusionError::SQL(parser, _) => {
            LakeError::Sql(format!("the SQL cannot be read: {}", parser_text(parser)))
        }
        DataFusionError::Plan(text) => LakeError::Sql(text.trim_end_matches('.').to_owned()),
        DataFusionError::SchemaError(schema, _) => LakeError::Sql(schema.to_string()),
        DataFusionError::NotImplemented(text) => LakeError::Sql(format!("not supported: {text}")),
        DataFusionError::ResourcesExhausted(_) => LakeError::Limit {
            what: "needs too much memory",
            max: "as configured in query.memory_bytes".to_owned(),
        },
        DataFusionError::ArrowError(arrow, _) => LakeError::Sql(arrow.to_string()),
        DataFusionError::Execution(text) => LakeError::Sql(text.clone()),
        _ => LakeError::engine("run the query")(error),
    }
}

fn parser_text(error: &datafusion::sql::sqlparser::parser::ParserError) -> String {
    use datafusion::sql::sqlparser::parser::ParserError;
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
    }
}

/// The names of the lake's tables that a text may mean. A table that it does not
/// mention need not be prepared.
pub(crate) fn mentioned(sql: &str) -> impl Iterator<Item = Table> {
    let text = sql.to_ascii_lowercase();
    let everything = text.contains("information_schema") || text.contains("show");
    Table::ALL
        .into_iter()
        .filter(move |table| everything || text.contains(table.name()))
}
