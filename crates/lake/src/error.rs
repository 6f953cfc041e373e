//! What the lake says when it cannot do what it was asked.

use std::path::PathBuf;

/// Why the lake did not do what it was asked. Variants differ by what the caller
/// can do about them.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The lake's directory cannot be used.
    #[error("could not open the lake in {}", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("the lake in {} is open in another process", .0.display())]
    Locked(PathBuf),
    /// The commit record is damaged.
    #[error(
        "the lake's commit record {} is damaged ({reason}): move it away to rebuild it from the files",
        path.display()
    )]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A value of the configuration cannot be used.
    #[error("lake configuration: {key} is {value:?}: {rule}")]
    Config {
        /// Which key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// Reading or writing the journal or the commit record failed.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store of the Parquet files failed.
    #[error("could not {what} {path}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// The object.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// Too much waits for being written; try again later.
    #[error("the lake is behind: {rows} rows wait to be written and {rows_max} may")]
    Behind {
        /// Rows waiting.
        rows: usize,
        /// Rows that may wait.
        rows_max: usize,
    },
    /// The lake was opened for reading only.
    #[error("the lake is open for reading only")]
    ReadOnly,
    /// The lake is closed, or one of its threads ended.
    #[error("the lake is closed")]
    Closed,
    /// The SQL text is wrong, or asks for more than reading.
    #[error("{0}")]
    Sql(String),
    /// A limit of queries.
    #[error("the query {what}: at most {max}")]
    Limit {
        /// What it did.
        what: &'static str,
        /// What is allowed, with its unit.
        max: String,
    },
    /// A query or a rewriting of files failed inside the engine.
    #[error("could not {what}")]
    Engine {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<datafusion::error::DataFusionError>,
    },
}

impl LakeError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub(crate) fn store(
        what: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(object_store::Error) -> Self {
        let path = path.into();
        move |source| Self::Store { what, path, source }
    }

    pub(crate) fn engine<E: Into<datafusion::error::DataFusionError>>(
        what: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Engine {
            what,
            source: Box::new(source.into()),
        }
    }
}
