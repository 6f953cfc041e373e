//! The members' side of the exchange: applications, my network, rules.
//!
//! A network joins, changes its ports, sessions and contacts, and leaves by casework: forms as data
//! ([`forms`]), reviewed by two people, and a grant ([`grant`]) that provisions in the transaction of the
//! last step: member, contacts, ports, addresses from the plan, sessions with the route servers
//! ([`provision`]). What the applicant must configure then is written out for two vendors ([`config_text`]).
//! The exchange's rules are versioned documents in both languages, public ([`rules`]), whose acceptance is
//! kept with its version.

mod changes;
pub mod config_text;
pub mod grant;
mod join;
pub mod mine;
pub mod pages;
pub mod provision;
pub mod room;
pub mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use casework::Grant;

use crate::protect::Protect;
use crate::room::Exchange;

pub use grant::IxGrant;
pub use room::{LOCALES, POLICY};

/// The forms of this part, all versions, for casework to register.
pub const FORMS: [&str; 5] = [
    include_str!("../../forms/ix-join.v1.json"),
    include_str!("../../forms/ix-port.v1.json"),
    include_str!("../../forms/ix-session.v1.json"),
    include_str!("../../forms/ix-contact.v1.json"),
    include_str!("../../forms/ix-leave.v1.json"),
];
/// Their names: join, ports, sessions, contacts, leave.
pub const FORM_NAMES: [&str; 5] = ["ix-join", "ix-port", "ix-session", "ix-contact", "ix-leave"];

/// What the portal stands on. Cheap to clone.
#[derive(Clone)]
pub struct Portal {
    /// The model.
    pub exchange: Exchange,
    /// Blackholes and flow rules.
    pub protect: Protect,
}

impl Portal {
    /// Joins the model and protection.
    pub fn new(exchange: Exchange, protect: Protect) -> Self {
        Self { exchange, protect }
    }

    /// What grants of these forms do.
    pub fn grants(&self) -> BTreeMap<String, Arc<dyn Grant>> {
        let grant: Arc<dyn Grant> = Arc::new(IxGrant(self.clone()));
        FORM_NAMES
            .iter()
            .map(|name| ((*name).to_owned(), grant.clone()))
            .collect()
    }
}
