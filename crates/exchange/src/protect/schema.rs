//! The tables of protection, and of the portal's rules and acceptances.

use store::Step;

/// The tables, as the second step of the exchange's.
pub(crate) const PROTECTION: Step = Step {
    version: 2,
    name: "protection, registered space, rules and their acceptance",
    sql: "
CREATE TABLE exchange_protection (
    id TEXT PRIMARY KEY,
    org TEXT,
    asn BIGINT,
    destination TEXT,
    flow TEXT,
    sites TEXT NOT NULL,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    until BIGINT,
    policy BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    decided_by TEXT,
    decided_at BIGINT,
    decided_why TEXT NOT NULL
);
CREATE INDEX exchange_protection_state ON exchange_protection (state, id);
CREATE INDEX exchange_protection_org ON exchange_protection (org, state, id);
CREATE INDEX exchange_protection_source ON exchange_protection (source);
CREATE INDEX exchange_protection_until ON exchange_protection (state, until);
CREATE TABLE exchange_protection_event (
    id TEXT PRIMARY KEY,
    protection TEXT NOT NULL REFERENCES exchange_protection (id),
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX exchange_protection_event_of ON exchange_protection_event (protection, id);
CREATE TABLE exchange_protection_policy (
    version BIGINT PRIMARY KEY,
    document TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE exchange_intelligence (
    asn BIGINT PRIMARY KEY,
    changed_by TEXT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE TABLE exchange_space (
    asn BIGINT NOT NULL,
    prefix TEXT NOT NULL,
    source TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (asn, prefix, source)
);
CREATE TABLE exchange_rules (
    slug TEXT NOT NULL,
    version BIGINT NOT NULL,
    title_zh TEXT NOT NULL,
    title_en TEXT NOT NULL,
    body_zh TEXT NOT NULL,
    body_en TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    published_at BIGINT,
    PRIMARY KEY (slug, version)
);
CREATE TABLE exchange_rules_accepted (
    id TEXT PRIMARY KEY,
    org TEXT NOT NULL,
    slug TEXT NOT NULL,
    version BIGINT NOT NULL,
    case_id TEXT NOT NULL,
    accepted_by TEXT NOT NULL,
    accepted_at BIGINT NOT NULL
);
CREATE INDEX exchange_rules_accepted_org ON exchange_rules_accepted (org, slug, version);
",
};
