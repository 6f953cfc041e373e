//! Tables of STIX objects and collections.

use store::Step;

/// The first step of this crate's tables.
pub const OBJECTS: Step = Step {
    version: 1,
    name: "stix objects by collection",
    sql: "
CREATE TABLE isac_root (
    name TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    description TEXT NOT NULL
);
CREATE TABLE isac_collection (
    number {autoinc},
    id TEXT NOT NULL UNIQUE,
    root TEXT NOT NULL REFERENCES isac_root (name),
    alias TEXT,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX isac_collection_alias ON isac_collection (root, alias);
CREATE TABLE isac_right (
    collection BIGINT NOT NULL REFERENCES isac_collection (number),
    org TEXT NOT NULL,
    can_read BIGINT NOT NULL,
    can_write BIGINT NOT NULL,
    tlp_max BIGINT NOT NULL,
    PRIMARY KEY (collection, org)
);
CREATE TABLE isac_kind (
    number {autoinc},
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE isac_object (
    seq {autoinc},
    collection BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    place BIGINT NOT NULL,
    id_hash BIGINT NOT NULL,
    version BIGINT NOT NULL,
    digest BIGINT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    json TEXT NOT NULL
);
CREATE INDEX isac_object_page ON isac_object (collection, place, seq);
CREATE INDEX isac_object_kind ON isac_object (collection, kind, place, seq);
CREATE INDEX isac_object_id ON isac_object (id_hash);
CREATE TABLE isac_gone (
    seq {autoinc},
    collection BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    id TEXT NOT NULL
);
CREATE TABLE isac_status (
    id TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    owner TEXT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE isac_peer (
    name TEXT PRIMARY KEY,
    read_on TEXT NOT NULL,
    after_micros BIGINT NOT NULL,
    moved BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    error TEXT NOT NULL,
    visited_at BIGINT NOT NULL
);
CREATE INDEX isac_status_at ON isac_status (at);
INSERT INTO isac_root (name, title, description) VALUES ('civic', 'civicnet', 'Threat intelligence of this network');
",
};

/// Who sent an indicator that was there already from somebody else: the same word of another
/// may be trusted more.
pub const HELD: Step = Step {
    version: 3,
    name: "further sources of an indicator",
    sql: "
CREATE TABLE isac_held (
    seq BIGINT PRIMARY KEY,
    object BIGINT NOT NULL,
    source TEXT NOT NULL
);
CREATE UNIQUE INDEX isac_held_once ON isac_held (object, source);
",
};

/// The index by which objects are searched.
pub const SEARCH: Step = Step {
    version: 2,
    name: "search of stix objects",
    sql: "
CREATE TABLE isac_posting (
    term BIGINT NOT NULL,
    first BIGINT NOT NULL,
    block {blob} NOT NULL,
    PRIMARY KEY (term, first)
);
CREATE TABLE isac_mark (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
",
};

/// Lists of the terms that few rows have, many together.
pub const RARE: Step = Step {
    version: 4,
    name: "runs of rare terms",
    sql: "
CREATE TABLE isac_rare (
    node BIGINT NOT NULL,
    run BIGINT NOT NULL,
    block {blob} NOT NULL,
    PRIMARY KEY (node, run)
);
",
};

/// Bands of their own for reports and replies that came as objects, and what an organisation
/// itself sent found by it.
pub const OWN: Step = Step {
    version: 5,
    name: "reports and replies are confidential",
    sql: "
CREATE INDEX isac_object_own ON isac_object (collection, source, seq) WHERE place >= 4 AND length(source) = 36;
UPDATE isac_object SET place = 20 + (place & 3)
  WHERE collection IN (SELECT number FROM isac_collection) AND kind IN (SELECT number FROM isac_kind WHERE name = 'incident')
  AND json LIKE '%extension-definition--5b6c3b7e-2a39-4a5f-9c1d-6d1f0c7e4a11%';
UPDATE isac_object SET place = 24 + (place & 3)
  WHERE collection IN (SELECT number FROM isac_collection) AND kind IN (SELECT number FROM isac_kind WHERE name IN ('note', 'opinion'))
  AND source <> '' AND json LIKE '%\"civicnet-kind:fbi\"%';
",
};
