//! Alerts (警訊): drafted by one officer, published by another, sent to the members
//! whom they concern, answered by each and chased until answered.
//!
//! - [`audience`]: whom an alert concerns: pure.
//! - [`grant`]: publication and retraction, in the case's own step.
//! - [`letter`]: what mail says of it: pure.
//! - [`replies`]: what members answer, and the chase.
//! - [`relay`]: alerts as reports in a collection, alerts of others, and our answers.
//! - [`csaf`]: the alert as a CSAF 2.0 document: pure.

pub mod api;
pub mod audience;
pub mod csaf;
pub mod grant;
mod letter;
pub mod list;
pub(crate) mod pages;
pub mod relay;
pub mod replies;
pub mod templates;

pub use audience::Audience;
pub use grant::{AlertGrant, FORM, forms};
pub use list::{Alert, Recipient};
pub use replies::Reply;
