//! One engine for every request that people make of the house.
//!
//! A **form** is a document ([`form`]): what is asked, in both languages, and the
//! workflow that follows. A submission is a **case**: its state moves only by
//! [`workflow::Workflow::decide`], each step in one transaction with its audit
//! entry. A **grant** calls the domain that owns the thing, in that same transaction.
//!
//! **Architecture invariant**: casework knows no domain; domains register forms and
//! hand in what a grant does.

pub mod form;
pub mod guard;
pub mod validate;
pub mod workflow;
