//! The looking glass: which routes a route server has from whom, what became of each, and why.
//!
//! [`index`] holds one moment of all tables, compact and immutable; [`feed`] fills it from an archive
//! (MRT) or a running BIRD, and [`follow`] keeps it in step with that BIRD, reading only what changed
//! ([`bgpd`] with an OpenBGPD, reading when something changed);
//! [`live`] does so again and again and keeps earlier moments for comparing. [`api`] answers the console
//! ([`console`], the pages and their API) and [`birdwatcher`] the front ends that know birdwatcher; both tell routes as [`view`] shapes them.
//! [`asking`] puts to the daemon what the tables do not hold, [`probe`] pings. Labels of origin validation
//! are computed when a route is shown, from the newest payloads, so that a new ROA needs no new table.

pub mod api;
pub mod asking;
pub mod bgpd;
pub mod birdwatcher;
pub mod console;
pub mod feed;
pub mod follow;
pub mod index;
pub mod live;
pub mod probe;
pub mod sign;
pub mod view;
