//! Tables of the fabric in the control database.

use store::{Migrations, Step};

/// The fabric's migrations, for `Db::migrate`.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "fabric",
    steps: &[
        Step {
            version: 1,
            name: "keys, tokens, nodes, snapshots, orders",
            sql: TABLES,
        },
        Step {
            version: 2,
            name: "which part of its roles' snapshots a node is given",
            sql: "ALTER TABLE fabric_node ADD COLUMN part TEXT;",
        },
    ],
};

const TABLES: &str = "
CREATE TABLE fabric_key (
    name TEXT PRIMARY KEY,
    public TEXT NOT NULL,
    sealed {blob} NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE fabric_handover (
    position BIGINT PRIMARY KEY,
    body TEXT NOT NULL
);
CREATE TABLE fabric_token (
    hash TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE TABLE fabric_node (
    name TEXT PRIMARY KEY,
    roles TEXT NOT NULL,
    state TEXT NOT NULL,
    draining BIGINT NOT NULL,
    serial TEXT NOT NULL,
    certificate_until BIGINT NOT NULL,
    next_serial TEXT,
    next_until BIGINT,
    enrolled_at BIGINT NOT NULL,
    last_seen_at BIGINT,
    address TEXT,
    software TEXT,
    health TEXT
);
CREATE TABLE fabric_node_version (
    node TEXT NOT NULL REFERENCES fabric_node (name),
    role TEXT NOT NULL,
    version BIGINT NOT NULL,
    acked_at BIGINT NOT NULL,
    lag_us BIGINT,
    took_us BIGINT,
    refused_version BIGINT,
    refused_reason TEXT,
    refused_at BIGINT,
    PRIMARY KEY (node, role)
);
CREATE TABLE fabric_node_quick (
    node TEXT NOT NULL REFERENCES fabric_node (name),
    role TEXT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (node, role)
);
CREATE TABLE fabric_snapshot (
    role TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    sealed {blob} NOT NULL,
    PRIMARY KEY (role, version)
);
CREATE TABLE fabric_counter (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO fabric_counter (name, value) VALUES ('orders', 0);
INSERT INTO fabric_counter (name, value) VALUES ('orders_pruned', 0);
CREATE TABLE fabric_order (
    seq BIGINT PRIMARY KEY,
    role TEXT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX fabric_order_role ON fabric_order (role, seq);
CREATE INDEX fabric_order_at ON fabric_order (at);
CREATE TABLE fabric_order_report (
    seq BIGINT NOT NULL,
    node TEXT NOT NULL REFERENCES fabric_node (name),
    durable BIGINT NOT NULL,
    acked_at BIGINT,
    updated_at BIGINT NOT NULL,
    total BIGINT NOT NULL,
    done BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    message TEXT,
    PRIMARY KEY (seq, node)
);
";
