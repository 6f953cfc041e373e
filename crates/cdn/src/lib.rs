//! Public web sites behind the CDN: what their owners and the operators of the
//! edges see and want, and its compilation into snapshots for nodes.

pub mod api;
pub mod ca;
pub mod certificate;
pub mod certificates;
pub mod claims;
pub mod compile;
pub mod config;
pub mod dispatch_map;
pub mod engine;
pub mod error;
pub mod grant;
pub mod operate;
pub mod orders;
pub mod overview;
mod pages;
pub mod publish;
pub mod room;
pub mod schema;
pub mod seams;
pub mod settings;
pub mod settings_form;
pub mod sitemap;
pub mod stats;

pub use certificates::Certificate;
pub use claims::Claim;
pub use config::CdnConfig;
pub use engine::{By, Cdn, NewSite, Parts, Site, SiteState, Version, slug_of};
pub use error::CdnError;
pub use grant::{FORMS, SiteGrant};
pub use operate::{Drain, MapVersion};
pub use orders::{Asked, Placed, PurgeKind};
pub use publish::{Published, ServedHost};
pub use schema::{MIGRATIONS, SEALED};
