//! Public web sites behind the CDN: what their owners and the operators of the
//! edges see and want, and its compilation into snapshots for nodes.

pub mod ca;
pub mod certificate;
pub mod compile;
pub mod dispatch_map;
pub mod settings;
pub mod sitemap;
