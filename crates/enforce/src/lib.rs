//! What a node refuses, ready to be asked on every request.
//!
//! [`Set`] is the immutable match set over client prefixes, domain names and URLs: built
//! whole, asked without a lock, a hundred nanoseconds or so among ten million rules. [`Live`]
//! is a large set with a small one beside it for what has come since. [`Blocklist`] is what
//! the threads of a role hold: each keeps a [`Reader`], which looks at one number and takes
//! the lock only when that has changed. [`Keeper`] feeds it: snapshots bring the folded
//! state, quick entries the rest, durable in a [`log`] before they are acknowledged.
//!
//! Rules end by the node's own clock, held steady over jumps ([`SteadyClock`]). Hits are
//! counted by rule and leave as events, about one a second for each rule.
//!
//! **Architecture invariant**: nothing here knows a control plane, a socket or a domain of
//! the control plane. With it silent, what was enforced stays so until it ends.

pub mod clock;
mod hits;
mod keeper;
mod live;
pub mod log;
mod names;
mod ranges;
mod set;

pub use clock::SteadyClock;
pub use keeper::{Keeper, KeeperError, check};
pub use live::{Blocklist, Live, Reader};
pub use set::{Found, Memory, Set, SetError};
