//! The looking glass: which routes a route server has from whom, what became of each, and why.
//!
//! [`index`] holds one moment of all tables, compact and immutable; [`feed`] fills it from an archive
//! (MRT) or a running BIRD; [`birdwatcher`] shows it with the addresses and shapes that looking-glass
//! front ends know. Labels of origin validation are computed when a route is shown, from the newest
//! payloads, so that a new ROA needs no new table.

pub mod birdwatcher;
pub mod feed;
pub mod index;
pub mod live;
