//! Threat lights (威脅燈號): four faces (physical, personnel, cyber, incidents) add up
//! to a colour for each provider, each sector and the whole.
//!
//! - [`rules`]: scores, weights, decay and hysteresis as versioned data: pure.
//! - [`model`]: facts in, a light with its explanation out: pure.
//! - [`keep`]: facts from the tables, lights into the tables, and who is told.

pub mod api;
pub mod keep;
pub mod model;
pub(crate) mod pages;
pub mod rules;

pub use model::{Colour, Fact, Light};
pub use rules::{Face, LightRules};
