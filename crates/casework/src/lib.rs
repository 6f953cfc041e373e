//! One engine for every request that people make of the house.
//!
//! A **form** is a document ([`form`]): what is asked, in both languages, and the
//! workflow that follows. A submission is a **case**: its state moves only by
//! [`workflow::Workflow::decide`], each step in one transaction with its audit
//! entry. A **grant** calls the domain that owns the thing, in that same transaction.
//!
//! **Architecture invariant**: casework knows no domain; domains register forms and
//! hand in what a grant does.

pub mod api;
pub mod body;
pub mod case;
pub mod config;
pub mod deadlines;
pub mod delivery;
pub mod engine;
pub mod files;
pub mod form;
pub mod guard;
pub mod notify;
pub mod number;
mod pages;
pub mod people;
pub mod room;
pub mod schema;
pub mod validate;
pub mod workflow;

pub use case::{Case, CaseError, Granted};
pub use config::CaseworkConfig;
pub use engine::{
    CaseLink, Casework, Contact, Filter, Grant, Moved, Opened, Parts, People, Proof, WeakCasework,
    Who, refuse,
};
pub use number::{CaseNumber, NumberError};
pub use people::AccountPeople;
pub use schema::{MIGRATIONS, SEALED};
pub use web::OrgScope;
