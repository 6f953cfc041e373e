//! The lake's section of the configuration.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::LakeError;

/// Where events are kept, for how long, and how much a query may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LakeConfig {
    /// Directory of the lake's own journal and commit record, and of the Parquet
    /// files unless `s3` says otherwise.
    pub dir: PathBuf,
    /// Keep the Parquet files in an S3-compatible store.
    pub s3: Option<S3Config>,
    /// Longest time before rows in memory are written as Parquet, in seconds.
    pub flush_interval_s: u64,
    /// Rows in memory at which they are written at once.
    pub flush_rows: usize,
    /// Rows that may wait in memory while files cannot be written; beyond, nodes
    /// are told to keep their events.
    pub memory_rows_max: usize,
    /// Days that each table is kept.
    pub retention: RetentionConfig,
    /// Limits of one query.
    pub query: QueryConfig,
}

/// Days that rows are kept, counted from their timestamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Requests (`access`).
    pub access_days: u32,
    /// DNS questions (`query`).
    pub query_days: u32,
    /// Notices (`notice`).
    pub notice_days: u32,
    /// Roll-ups (`traffic`, `urls`, `networks`).
    pub rollup_days: u32,
    /// Days that single readings of exchange ports and minutes of its traffic matrix are kept.
    pub exchange_days: u32,
    /// Addresses of people and resolvers. Older rows are rewritten without them;
    /// the network (/24 or /48) stays.
    pub address_days: u32,
}

/// Limits of one query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// Threads that run queries; 0: one per core.
    pub threads: usize,
    /// Bytes of memory that all queries share; sorts and groupings beyond go to disk.
    pub memory_bytes: usize,
    /// Seconds that a query may take.
    pub timeout_s: u64,
    /// Rows that a query may return.
    pub rows_max: usize,
}

/// An S3-compatible store. Credentials come from the environment, as everywhere:
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// `s3://bucket/prefix`.
    pub url: String,
    /// `https://host:port` of the store, when it is not Amazon's.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(default = "default_region")]
    pub region: String,
    /// Allow an `http` endpoint.
    #[serde(default)]
    pub allow_http: bool,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

impl Default for LakeConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("var/lake"),
            s3: None,
            flush_interval_s: 60,
            flush_rows: 500_000,
            memory_rows_max: 4_000_000,
            retention: RetentionConfig::default(),
            query: QueryConfig::default(),
        }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            access_days: 90,
            query_days: 30,
            notice_days: 400,
            rollup_days: 1_100,
            exchange_days: 62,
            address_days: 14,
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            memory_bytes: 1024 * 1024 * 1024,
            timeout_s: 30,
            rows_max: 10_000,
        }
    }
}

impl LakeConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// Names the key, the value and the rule.
    pub fn check(&self) -> Result<(), LakeError> {
        let positive = [
            ("flush_interval_s", self.flush_interval_s),
            ("flush_rows", self.flush_rows as u64),
            ("query.timeout_s", self.query.timeout_s),
            ("query.rows_max", self.query.rows_max as u64),
            ("retention.access_days", self.retention.access_days.into()),
            ("retention.query_days", self.retention.query_days.into()),
            ("retention.notice_days", self.retention.notice_days.into()),
            ("retention.rollup_days", self.retention.rollup_days.into()),
            (
                "retention.exchange_days",
                self.retention.exchange_days.into(),
            ),
            ("retention.address_days", self.retention.address_days.into()),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(LakeError::Config {
                    key,
                    value: "0".to_owned(),
                    rule: "must be at least 1",
                });
            }
        }
        if self.memory_rows_max < self.flush_rows {
            return Err(LakeError::Config {
                key: "memory_rows_max",
                value: self.memory_rows_max.to_string(),
                rule: "must be at least flush_rows",
            });
        }
        Ok(())
    }

    /// Threads that run queries.
    pub(crate) fn query_threads(&self) -> usize {
        match self.query.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        }
    }
}
