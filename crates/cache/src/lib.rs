//! HTTP caching: what may be kept and reused, and where it is kept.
//!
//! Two rooms with one door between them:
//!
//! * [`rules`] decides. Pure functions over headers and time: RFC 9111 (caching),
//!   RFC 9110 (validators, conditionals, ranges), RFC 5861 (stale-while-revalidate,
//!   stale-if-error), RFC 8246 (immutable), RFC 9211 (`Cache-Status`), RFC 9213
//!   (`CDN-Cache-Control`). No I/O, no clock.
//! * [`store`] keeps. Memory and disk tiers behind one [`store::Store`] that all
//!   worker threads share: streaming fills with any number of readers, collapsed
//!   fetches, purges that survive a crash, eviction that resists scans.
//!
//! They meet in [`rules::ResponseMeta`]: the rules make one when a response may be
//! kept, the store carries it beside the body, the rules read it at reuse.
//!
//! **Architecture invariant**: this crate opens no socket and knows no origin; the
//! `edge` crate does.

pub mod key;
pub mod rules;
pub mod store;

pub use key::{CacheKey, KeyParts};
