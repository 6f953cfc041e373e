//! The public site: news, awareness articles, events and advisories for everybody,
//! feeds, and citizens' reports with a code to follow them.
//!
//! - [`markdown`]: articles become HTML: pure; nothing written becomes markup of its own.
//! - [`articles`]: what is published.
//! - [`citizens`]: reports from citizens, sealed.
//! - [`open`]: pages below `/open/{language}` that need no cookie and may be cached.
//! - [`csaf`]: advisories for machines, and `security.txt`.
//! - [`feed`]: Atom (RFC 4287) and RSS 2.0: pure.

pub mod articles;
pub mod citizens;
pub(crate) mod csaf;
pub(crate) mod desk;
pub mod feed;
pub mod markdown;
pub(crate) mod open;
pub(crate) mod report;

pub use articles::{Article, ArticleKind};
pub use citizens::CitizenReport;
