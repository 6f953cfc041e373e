//! The Internet exchange.
//!
//! An exchange is run from one plain document ([`document`]): its policy, its sites, its members and
//! their border routers. [`render`] turns it into the configuration of the route server of one site,
//! [`irr`] brings what the registries say about members' prefixes, and [`engine`] hands the result to
//! the daemon that speaks BGP, watches it and goes back by itself when sessions drop. [`community`] is
//! the vocabulary that members, route servers and the looking glass share: why a route was refused,
//! and what a member asks to be done with it.
//!
//! [`agent`] does so at a site by what its control plane desires. [`rpki`] says who may announce what, and [`rtr`] tells it to routers.
//!
//! [`room`] is the exchange's model in the console, from which the document is compiled.
//!
//! [`portal`] is the members' side: applications, my network, rules. [`protect`] announces blackholes and
//! flow rules for members, and [`manrs`] counts the evidence for the MANRS programme.
//! [`traffic`] says what ports carry and who sends to whom. [`operations`] is what is done when something is
//! wrong, or rehearsed: incidents on the picture, checks of members, records of drills.
//!
//! Nobody here speaks BGP: BIRD (or OpenBGPD) does, driven from outside.

pub mod agent;
pub mod community;
pub mod document;
pub mod drill;
pub mod engine;
pub mod glass;
pub mod health;
pub mod irr;
pub mod manrs;
pub mod mrt;
pub mod operations;
pub mod places;
pub mod portal;
pub mod prefix_table;
pub mod protect;
pub mod render;
pub mod room;
pub mod rpki;
pub mod rtr;
#[cfg(test)]
pub(crate) mod testing;
pub mod traffic;
