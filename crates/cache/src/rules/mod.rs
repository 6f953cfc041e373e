//! What a shared cache may keep, reuse and must ask for again: RFC 9111 with its
//! companions, as pure functions of headers, settings and time.
//!
//! A request's way through the rules:
//!
//! 1. [`RequestView::new`] reads the request once; [`SitePolicy::new`] finds what the
//!    site's owner wants for the path.
//! 2. [`reuse()`] judges a stored response: fresh, stale but usable, or to be
//!    revalidated. [`conditional`] and [`range`] then shape the answer (304, 206, 416).
//! 3. On a miss, [`may_store`] turns the origin's response into a [`ResponseMeta`]
//!    or says why not. A `304` goes through [`freshen()`], a `HEAD` through
//!    [`head_update`].
//! 4. After an unsafe method, [`invalidated_targets`] says what is out of date.
//! 5. [`CacheStatus`] tells the client what happened (RFC 9211).

mod cache_status;
pub mod conditional;
pub mod date;
mod directives;
mod fields;
mod freshen;
mod freshness;
mod invalidate;
mod meta;
mod policy;
pub mod range;
mod request;
mod reuse;
mod storing;
mod targeted;
mod vary;

pub use cache_status::{CacheStatus, Forward, cache_name};
pub use directives::{Qualified, RequestDirectives, ResponseDirectives, Seconds};
pub use fields::{Fields, connection_options, is_connection_field, push_number};
pub use freshen::{Freshened, HeadEffect, freshen, head_update};
pub use invalidate::{Target, invalidated_targets};
pub use meta::{HEAD_BYTES_MAX, ResponseMeta, TAGS_MAX};
pub use policy::SitePolicy;
pub use request::{RequestMethod, RequestView};
pub use reuse::{SOFT_PURGE_GRACE, Verdict, reuse};
pub use storing::{
    Exchange, Uncacheable, is_heuristically_cacheable, may_store, named_for_one_answer,
};
pub use targeted::SURROGATE_TOKEN;
pub use vary::{VARY_FIELDS_MAX, Vary};
