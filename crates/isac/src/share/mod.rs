//! Sharing among houses: a provider reports to its ministry, the ministry to the
//! nation, and what is known comes down again, each step by a policy.
//!
//! - [`policy`]: what may go to whom, by type, marking, sector and consent: pure.
//! - [`lens`]: what an audience gets to see of an object: pure.
//! - `names`: where names of members stand in a text: pure.
//! - [`book`]: policies by version, what sources consent to, the key of pseudonyms.
//! - [`visits`]: how each peer does.
//! - [`belief`]: how much is believed of a pattern that several name: pure.
//! - [`decay`]: the rules of beliefs by version.
//! - [`claims`]: who says what; what the house believes of it.
//! - `fallen`: tells enforcement what is not believed.
//! - `glass`: the lens for the console's pages.
//! - `veil`: what is hidden does not show by what refers to it; alerts, reports and
//!   replies are for whom they are meant.
//! - [`preview`]: what would go to a peer, and what not, and why.
//!
//! **Architecture invariant**: an object leaves this house through a lens, be it pushed or
//! read by a member, by TAXII, by API or in the console. Only staff of the house read what
//! is stored.

pub mod api;
pub mod belief;
pub mod book;
pub mod claims;
pub mod credit;
pub mod decay;
mod decay_pages;
mod draw;
mod fallen;
mod glass;
mod inbox;
pub mod lens;
mod names;
mod pages;
mod policies;
pub mod policy;
pub mod preview;
mod room;
pub mod schema;
mod suffix;
mod trust;
pub(crate) mod veil;
pub mod visits;

pub use book::{Members, NoMembers, ShareError, Sharing};
pub use lens::{Consents, Lens, Seen};
pub use policy::{Policy, Tier};
pub use room::{LOCALES, POLICY, Parts, room};
pub use schema::{MIGRATIONS, SEALED};
