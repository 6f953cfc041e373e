//! The thread from intelligence to enforcement: what an indicator, or a person, says is
//! bad becomes an enforcement at edges and name servers, and can be asked about and undone.
//!
//! - [`policy`]: which indicators become enforcements, at once or after approval: pure.
//! - [`engine`]: decisions in the database, orders to nodes in the same transaction.
//! - `ask`: what is in force, how often it was met, why something is blocked.
//! - `own`: what the house itself stands on, which is never enforced.
//! - [`lists`]: warning lists as data, the built-in ones and MISP's; `kept_lists` keeps them.
//! - `sites`: names of sites in service, about which a person is asked.
//! - `due`: indicators that begin to be valid later.
//! - `manage`: lists with filters, extension, versions of the policy.
//! - `pages`: the console's pages.
//! - [`follow`]: reads the change feed of the STIX store and applies the policy to it.
//! - [`review`]: decides again by another policy or trust what was decided automatically.
//! - `disbelief`: undoes what was made from indicators that are no longer believed.
//! - [`seams`]: what is asked of the fabric and the lake, joined in the binary.
//!
//! Everything that is in force has one row with its source, its reason and whoever decided;
//! nodes are told only the rule (`base::enforcement`).

mod api;
mod ask;
mod disbelief;
mod due;
pub mod engine;
pub mod follow;
mod kept_lists;
pub mod lists;
mod lists_api;
mod manage;
mod own;
pub(crate) mod pages;
pub mod policy;
pub mod review;
mod room;
mod rows;
pub mod seams;
mod simulate;
mod sites;

pub(crate) use api::tell;
pub(crate) use ask::covering;
pub use engine::{Decided, EnforceError, Enforcements, New, State, Why};
pub(crate) use follow::{Unfit, unfit};
pub use kept_lists::Kept;
pub use manage::{PolicyVersion, Wanted};
pub use policy::{Fate, Policy, Unbelieved};
pub use room::{POLICY, room};
pub use simulate::Simulated;
pub use sites::{SiteName, Sites};

use store::{Migrations, Step};

/// The tables of enforcement.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "enforce",
    steps: &[
        Step {
            version: 1,
            name: "enforcements, their policy, the place in the feed",
            sql: "
CREATE TABLE enforce_rule (
    id TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    roles TEXT NOT NULL,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    confidence BIGINT NOT NULL,
    state TEXT NOT NULL,
    until BIGINT,
    policy BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    decided_by TEXT,
    decided_at BIGINT,
    decided_why TEXT NOT NULL
);
CREATE INDEX enforce_rule_state ON enforce_rule (state, id);
CREATE INDEX enforce_rule_target ON enforce_rule (target, state);
CREATE INDEX enforce_rule_source ON enforce_rule (source, state);
CREATE TABLE enforce_policy (
    version BIGINT PRIMARY KEY,
    document TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE enforce_mark (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
",
        },
        Step {
            version: 2,
            name: "the marking of what is enforced",
            sql: "
ALTER TABLE enforce_rule ADD COLUMN tlp TEXT NOT NULL DEFAULT '';
CREATE INDEX enforce_rule_kind ON enforce_rule (state, kind, id);
",
        },
        Step {
            version: 3,
            name: "what is no longer believed",
            sql: "
ALTER TABLE enforce_rule ADD COLUMN said_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE enforce_rule ADD COLUMN doubt TEXT NOT NULL DEFAULT '';
ALTER TABLE enforce_rule ADD COLUMN doubted BIGINT NOT NULL DEFAULT -1;
ALTER TABLE enforce_rule ADD COLUMN spent BIGINT NOT NULL DEFAULT 0;
CREATE INDEX enforce_rule_doubt ON enforce_rule (id) WHERE doubt <> '';
",
        },
        Step {
            version: 4,
            name: "indicators that begin to be valid later",
            sql: "
CREATE TABLE enforce_due (
    source TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    said_at BIGINT NOT NULL
);
CREATE INDEX enforce_due_at ON enforce_due (at);
",
        },
        Step {
            version: 5,
            name: "why a person is asked",
            sql: "
ALTER TABLE enforce_rule ADD COLUMN asked TEXT NOT NULL DEFAULT '';
",
        },
        Step {
            version: 6,
            name: "reviews by another policy or trust; what a person keeps",
            sql: "
ALTER TABLE enforce_rule ADD COLUMN kept BIGINT NOT NULL DEFAULT 0;
ALTER TABLE enforce_rule ADD COLUMN reviewed BIGINT NOT NULL DEFAULT 0;
CREATE TABLE enforce_review (
    number BIGINT PRIMARY KEY,
    policy BIGINT NOT NULL,
    trust BIGINT NOT NULL,
    place TEXT NOT NULL,
    looked_at BIGINT NOT NULL,
    lifted BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    enforced BIGINT NOT NULL,
    proposed BIGINT NOT NULL,
    begun_at BIGINT NOT NULL,
    ended_at BIGINT
);
",
        },
        Step {
            version: 7,
            name: "warning lists",
            sql: "
CREATE TABLE enforce_list (
    name TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    about TEXT NOT NULL,
    kind TEXT NOT NULL,
    effect TEXT NOT NULL,
    version BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE enforce_list_entry (
    list TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (list, value)
);
",
        },
    ],
};
