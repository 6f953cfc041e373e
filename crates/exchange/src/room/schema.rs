//! The tables of the exchange's model.

use store::vault::SealedColumn;
use store::{Migrations, Step};

/// All steps so far.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "exchange",
    steps: &[
        MODEL,
        crate::protect::schema::PROTECTION,
        PREFERRED_SITE,
        ENGINE,
        crate::operations::OPERATIONS,
    ],
};

const MODEL: Step = Step {
    version: 1,
    name: "sites, switches, ports, LANs, members, routers, sessions, maintenance, history",
    sql: "
CREATE TABLE exchange_profile (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    name TEXT NOT NULL, short_name TEXT NOT NULL, country TEXT, city TEXT, url TEXT,
    support_email TEXT, support_phone TEXT, ixf_id BIGINT, policy TEXT NOT NULL
);
CREATE UNIQUE INDEX exchange_profile_label ON exchange_profile (label) WHERE deleted_at IS NULL;
CREATE TABLE exchange_site (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    name TEXT NOT NULL, title_zh TEXT NOT NULL, title_en TEXT NOT NULL, city TEXT, address TEXT,
    latitude TEXT, longitude TEXT, state TEXT NOT NULL
);
CREATE UNIQUE INDEX exchange_site_label ON exchange_site (label) WHERE deleted_at IS NULL;
CREATE TABLE exchange_switch (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    name TEXT NOT NULL, site TEXT NOT NULL REFERENCES exchange_site (id), vendor TEXT NOT NULL,
    model TEXT, software TEXT, serial TEXT, management_address TEXT, state TEXT NOT NULL
);
CREATE UNIQUE INDEX exchange_switch_label ON exchange_switch (label) WHERE deleted_at IS NULL;
CREATE INDEX exchange_switch_site ON exchange_switch (site);
CREATE TABLE exchange_vlan (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    name TEXT NOT NULL, tag BIGINT NOT NULL, purpose TEXT NOT NULL,
    site TEXT REFERENCES exchange_site (id), description TEXT
);
CREATE UNIQUE INDEX exchange_vlan_label ON exchange_vlan (label) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX exchange_vlan_tag ON exchange_vlan (tag) WHERE deleted_at IS NULL;
CREATE TABLE exchange_lan (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    name TEXT NOT NULL, vlan TEXT NOT NULL REFERENCES exchange_vlan (id), v4 TEXT, v6 TEXT, mtu BIGINT NOT NULL
);
CREATE UNIQUE INDEX exchange_lan_label ON exchange_lan (label) WHERE deleted_at IS NULL;
CREATE TABLE exchange_range (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    lan TEXT NOT NULL REFERENCES exchange_lan (id), first TEXT NOT NULL, last TEXT NOT NULL, purpose TEXT NOT NULL
);
CREATE UNIQUE INDEX exchange_range_label ON exchange_range (label) WHERE deleted_at IS NULL;
CREATE INDEX exchange_range_lan ON exchange_range (lan);
CREATE TABLE exchange_member (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    short_name TEXT NOT NULL, name TEXT NOT NULL, asn BIGINT NOT NULL, org TEXT, type TEXT NOT NULL,
    state TEXT NOT NULL, as_set TEXT, as_set_v6 TEXT, irr_sources TEXT,
    max_prefix_v4 BIGINT, max_prefix_v6 BIGINT, peering_policy TEXT NOT NULL, url TEXT,
    noc_email TEXT, noc_phone TEXT, bfd BIGINT NOT NULL, require_role BIGINT NOT NULL,
    flowspec BIGINT NOT NULL, password {blob}, joined_on TEXT, left_on TEXT, peeringdb_id BIGINT
);
CREATE UNIQUE INDEX exchange_member_label ON exchange_member (label) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX exchange_member_asn ON exchange_member (asn) WHERE deleted_at IS NULL;
CREATE INDEX exchange_member_org ON exchange_member (org);
CREATE TABLE exchange_contact (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    member TEXT NOT NULL REFERENCES exchange_member (id), role TEXT NOT NULL,
    name {blob} NOT NULL, email {blob}, phone {blob}, checked_on TEXT
);
CREATE UNIQUE INDEX exchange_contact_label ON exchange_contact (label) WHERE deleted_at IS NULL;
CREATE INDEX exchange_contact_member ON exchange_contact (member);
CREATE TABLE exchange_lag (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    switch TEXT NOT NULL REFERENCES exchange_switch (id), number BIGINT NOT NULL,
    member TEXT REFERENCES exchange_member (id), min_links BIGINT NOT NULL, description TEXT
);
CREATE UNIQUE INDEX exchange_lag_label ON exchange_lag (label) WHERE deleted_at IS NULL;
CREATE INDEX exchange_lag_switch ON exchange_lag (switch);
CREATE INDEX exchange_lag_member ON exchange_lag (member);
CREATE TABLE exchange_port (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    switch TEXT NOT NULL REFERENCES exchange_switch (id), name TEXT NOT NULL, role TEXT NOT NULL,
    speed_mbps BIGINT NOT NULL, optic TEXT, member TEXT REFERENCES exchange_member (id),
    lag TEXT REFERENCES exchange_lag (id), vlan TEXT REFERENCES exchange_vlan (id),
    remote TEXT REFERENCES exchange_port (id), state TEXT NOT NULL, description TEXT
);
CREATE UNIQUE INDEX exchange_port_label ON exchange_port (label) WHERE deleted_at IS NULL;
CREATE INDEX exchange_port_switch ON exchange_port (switch);
CREATE INDEX exchange_port_member ON exchange_port (member);
CREATE INDEX exchange_port_lag ON exchange_port (lag);
CREATE INDEX exchange_port_remote ON exchange_port (remote);
CREATE TABLE exchange_route_server (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    name TEXT NOT NULL, site TEXT NOT NULL REFERENCES exchange_site (id),
    lan TEXT NOT NULL REFERENCES exchange_lan (id), router_id TEXT NOT NULL, v4 TEXT, v6 TEXT,
    blackhole_v4 TEXT, blackhole_v6 TEXT, draining BIGINT NOT NULL, state TEXT NOT NULL
);
CREATE UNIQUE INDEX exchange_route_server_label ON exchange_route_server (label) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX exchange_route_server_site ON exchange_route_server (site) WHERE deleted_at IS NULL AND state = 'active';
CREATE UNIQUE INDEX exchange_route_server_router_id ON exchange_route_server (router_id) WHERE deleted_at IS NULL;
CREATE INDEX exchange_route_server_lan ON exchange_route_server (lan);
CREATE TABLE exchange_router (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    member TEXT NOT NULL REFERENCES exchange_member (id), name TEXT NOT NULL,
    site TEXT NOT NULL REFERENCES exchange_site (id), lan TEXT NOT NULL REFERENCES exchange_lan (id),
    v4 TEXT, v6 TEXT, mac TEXT, port TEXT REFERENCES exchange_port (id),
    lag TEXT REFERENCES exchange_lag (id), password {blob}, disabled BIGINT NOT NULL
);
CREATE UNIQUE INDEX exchange_router_label ON exchange_router (label) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX exchange_router_mac ON exchange_router (mac) WHERE deleted_at IS NULL;
CREATE INDEX exchange_router_member ON exchange_router (member);
CREATE INDEX exchange_router_lan ON exchange_router (lan);
CREATE INDEX exchange_router_port ON exchange_router (port);
CREATE INDEX exchange_router_lag ON exchange_router (lag);
CREATE TABLE exchange_session (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    router TEXT NOT NULL REFERENCES exchange_router (id), type TEXT NOT NULL, family TEXT NOT NULL,
    route_server TEXT REFERENCES exchange_route_server (id), peer TEXT REFERENCES exchange_router (id),
    wanted TEXT NOT NULL, bfd BIGINT NOT NULL, max_prefix BIGINT, role TEXT NOT NULL, password {blob}
);
CREATE UNIQUE INDEX exchange_session_label ON exchange_session (label) WHERE deleted_at IS NULL;
CREATE INDEX exchange_session_router ON exchange_session (router);
CREATE INDEX exchange_session_peer ON exchange_session (peer);
CREATE INDEX exchange_session_route_server ON exchange_session (route_server);
CREATE TABLE exchange_maintenance (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    title_zh TEXT NOT NULL, title_en TEXT NOT NULL, starts_at BIGINT NOT NULL, ends_at BIGINT NOT NULL,
    site TEXT REFERENCES exchange_site (id), switch TEXT REFERENCES exchange_switch (id),
    member TEXT REFERENCES exchange_member (id), impact TEXT NOT NULL, drain BIGINT NOT NULL,
    state TEXT NOT NULL, description TEXT
);
CREATE INDEX exchange_maintenance_ends ON exchange_maintenance (ends_at);
CREATE TABLE exchange_address (
    address TEXT PRIMARY KEY,
    lan TEXT NOT NULL REFERENCES exchange_lan (id),
    kind TEXT NOT NULL,
    holder TEXT NOT NULL
);
CREATE INDEX exchange_address_lan ON exchange_address (lan, address);
CREATE INDEX exchange_address_holder ON exchange_address (holder);
CREATE TABLE exchange_change (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    thing TEXT NOT NULL,
    label TEXT NOT NULL,
    revision BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    fields TEXT NOT NULL
);
CREATE INDEX exchange_change_thing ON exchange_change (thing, id);
CREATE TABLE exchange_session_state (
    site TEXT NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL,
    since BIGINT NOT NULL,
    reason TEXT NOT NULL,
    received BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    exported BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    node TEXT NOT NULL,
    PRIMARY KEY (site, address)
);
CREATE TABLE exchange_switch_text (
    id TEXT PRIMARY KEY,
    switch TEXT NOT NULL REFERENCES exchange_switch (id),
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    text TEXT NOT NULL,
    pushed_at BIGINT,
    result TEXT
);
CREATE INDEX exchange_switch_text_switch ON exchange_switch_text (switch, id);
",
};

const ENGINE: Step = Step {
    version: 4,
    name: "the daemon of a route server",
    sql: "ALTER TABLE exchange_route_server ADD COLUMN engine TEXT NOT NULL DEFAULT 'bird';",
};

const PREFERRED_SITE: Step = Step {
    version: 3,
    name: "the site that comes first for a member's traffic",
    sql: "
ALTER TABLE exchange_member ADD COLUMN preferred_site TEXT REFERENCES exchange_site (id);
CREATE INDEX exchange_member_preferred_site ON exchange_member (preferred_site);
",
};

macro_rules! sealed {
    ($table:literal, $column:literal) => {
        SealedColumn {
            table: $table,
            column: $column,
            key: "id",
            context: |id| format!(concat!($table, ".", $column, "/{}"), id),
        }
    };
}

/// The columns that are sealed, for sealing them again when the key is rotated.
pub const SEALED: [SealedColumn; 6] = [
    sealed!("exchange_member", "password"),
    sealed!("exchange_router", "password"),
    sealed!("exchange_session", "password"),
    sealed!("exchange_contact", "name"),
    sealed!("exchange_contact", "email"),
    sealed!("exchange_contact", "phone"),
];
