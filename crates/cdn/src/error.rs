//! What can go wrong with sites, by what the caller can do about it.

use casework::form::Text;
use casework::validate::Problem;
use store::StoreError;

use crate::certificate::CertificateError;
use crate::compile::CompileError;
use crate::seams::SeamError;
use crate::sitemap::SitemapError;

/// An error of the CDN.
#[derive(Debug, thiserror::Error)]
pub enum CdnError {
    /// No such thing, or none that may be seen.
    #[error("no {kind} {name:?}")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Which.
        name: String,
    },
    /// Values break rules.
    #[error("{} values break a rule", .0.len())]
    Invalid(Vec<Problem>),
    /// It clashes with what is there.
    #[error("{0}")]
    Conflict(String),
    /// A limit.
    #[error("{what}: at most {most}")]
    Limit {
        /// Of what there is too much.
        what: &'static str,
        /// How much is allowed.
        most: u64,
    },
    /// An upload that is no good certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file that is no site map.
    #[error(transparent)]
    Sitemap(#[from] SitemapError),
    /// The model cannot be compiled.
    #[error("the snapshot could not be compiled")]
    Compile(#[from] CompileError),
    /// The database.
    #[error("the database could not be used")]
    Store(#[from] StoreError),
    /// Another room.
    #[error(transparent)]
    Seam(#[from] SeamError),
    /// Secrets cannot be kept or opened.
    #[error("{what}")]
    Sealed {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<sqlx::Error> for CdnError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl CdnError {
    /// No such thing; the name is shortened.
    pub fn not_found(kind: &'static str, name: impl ToString) -> Self {
        Self::NotFound {
            kind,
            name: name.to_string().chars().take(100).collect(),
        }
    }

    /// One wrong value.
    pub fn field(
        field: &str,
        value: &str,
        rule: &'static str,
        zh: impl Into<String>,
        en: impl Into<String>,
    ) -> Self {
        Self::Invalid(vec![Problem {
            field: field.to_owned(),
            value: value.chars().take(60).collect(),
            rule,
            message: Text::new(zh, en),
        }])
    }
}
