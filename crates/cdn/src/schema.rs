//! The tables of the CDN.

use store::vault::SealedColumn;
use store::{Migrations, Step};

/// All steps so far.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "cdn",
    steps: &[Step {
        version: 1,
        name: "sites, proofs, settings, certificates, orders, operations",
        sql: "
CREATE TABLE cdn_site (
    id TEXT PRIMARY KEY,
    org TEXT NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    name_zh TEXT NOT NULL,
    name_en TEXT NOT NULL,
    state TEXT NOT NULL,
    active BIGINT NOT NULL,
    purged_before BIGINT NOT NULL,
    case_id TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX cdn_site_org ON cdn_site (org, id);
CREATE TABLE cdn_host (
    host TEXT PRIMARY KEY,
    site TEXT NOT NULL REFERENCES cdn_site (id),
    added_at BIGINT NOT NULL
);
CREATE INDEX cdn_host_site ON cdn_host (site, host);
CREATE TABLE cdn_claim (
    org TEXT NOT NULL,
    host TEXT NOT NULL,
    token TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    checked_at BIGINT,
    proven_at BIGINT,
    way TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (org, host)
);
CREATE TABLE cdn_version (
    site TEXT NOT NULL REFERENCES cdn_site (id),
    version BIGINT NOT NULL,
    document TEXT NOT NULL,
    note TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (site, version)
);
CREATE TABLE cdn_certificate (
    id TEXT PRIMARY KEY,
    site TEXT NOT NULL REFERENCES cdn_site (id),
    source TEXT NOT NULL,
    described TEXT NOT NULL,
    not_after BIGINT NOT NULL,
    chain TEXT NOT NULL,
    sealed_key {blob} NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE INDEX cdn_certificate_site ON cdn_certificate (site, id);
CREATE TABLE cdn_order (
    id TEXT PRIMARY KEY,
    site TEXT NOT NULL REFERENCES cdn_site (id),
    kind TEXT NOT NULL,
    what TEXT NOT NULL,
    reason TEXT NOT NULL,
    total BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE INDEX cdn_order_site ON cdn_order (site, id);
CREATE TABLE cdn_order_part (
    order_id TEXT NOT NULL REFERENCES cdn_order (id),
    seq BIGINT NOT NULL,
    PRIMARY KEY (order_id, seq)
);
CREATE TABLE cdn_dispatch_map (
    version BIGINT PRIMARY KEY,
    document TEXT NOT NULL,
    note TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE cdn_drain (
    node TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE cdn_secret (
    name TEXT PRIMARY KEY,
    clear TEXT NOT NULL,
    sealed {blob} NOT NULL
);
CREATE TABLE cdn_published (
    role TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    at BIGINT NOT NULL,
    error TEXT NOT NULL
);
",
    }],
};

/// The columns that are sealed, for sealing them again when the key is rotated.
pub const SEALED: [SealedColumn; 2] = [
    SealedColumn {
        table: "cdn_certificate",
        column: "sealed_key",
        key: "id",
        context: |id| format!("cdn_certificate.sealed_key/{id}"),
    },
    SealedColumn {
        table: "cdn_secret",
        column: "sealed",
        key: "name",
        context: |name| format!("cdn_secret.sealed/{name}"),
    },
];
