//! Incident reports (通報): a case of casework that the law puts clocks on.
//!
//! - [`level`]: impact levels 1 to 4, the worst of confidentiality, integrity and
//!   availability: pure.
//! - [`rules`]: statutory deadlines as versioned data: pure. An incident keeps the
//!   version under which it was reported.
//! - [`grant`]: what happens when the case moves, in the step's own transaction.
//! - [`incidents`]: lists, the evidence log, statistics.
//! - [`intake`]: reports and replies that come by TAXII.
//! - [`clocks`]: reminders and escalation.
//! - [`levels`]: changes of level, which a second person decides.
//!
//! A drill is the same form under another name whose notifications stay in the
//! console: it looks the same, is counted nowhere and leaves the house by no door.

pub mod api;
pub mod clocks;
pub mod grant;
pub mod incidents;
pub mod intake;
pub mod level;
pub mod levels;
pub(crate) mod pages;
pub mod rules;
pub mod statistics;

pub use grant::{DRILL, FORM, ReportGrant, forms};
pub use incidents::{Incident, LogEntry};
pub use level::{Impact, Level};
