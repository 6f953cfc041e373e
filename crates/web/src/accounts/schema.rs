//! Tables of accounts.

use store::{Migrations, Step};

/// The steps so far.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "web",
    steps: &[Step {
        version: 1,
        name: "people, organisations, sessions, tokens",
        sql: "
CREATE TABLE web_user (
    id TEXT PRIMARY KEY,
    email_index TEXT NOT NULL UNIQUE,
    email {blob} NOT NULL,
    name {blob} NOT NULL,
    password TEXT,
    totp {blob},
    totp_step BIGINT NOT NULL,
    roles TEXT NOT NULL,
    lang TEXT,
    active BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE web_org (
    id TEXT PRIMARY KEY,
    name_zh TEXT NOT NULL,
    name_en TEXT NOT NULL,
    active BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE web_member (
    org_id TEXT NOT NULL REFERENCES web_org (id),
    user_id TEXT NOT NULL REFERENCES web_user (id),
    role TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX web_member_user ON web_member (user_id);
CREATE TABLE web_session (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES web_user (id),
    org_id TEXT,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    agent TEXT NOT NULL,
    address {blob} NOT NULL
);
CREATE INDEX web_session_user ON web_session (user_id);
CREATE TABLE web_token (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES web_user (id),
    org_id TEXT,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX web_token_user ON web_token (user_id);
CREATE TABLE web_recovery (
    user_id TEXT NOT NULL REFERENCES web_user (id),
    hash TEXT NOT NULL,
    PRIMARY KEY (user_id, hash)
);
CREATE TABLE web_invite (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    org_id TEXT NOT NULL REFERENCES web_org (id),
    role TEXT NOT NULL,
    invited_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE TABLE web_passkey (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES web_user (id),
    credential TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    data {blob} NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX web_passkey_user ON web_passkey (user_id);
CREATE TABLE web_link (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES web_user (id),
    PRIMARY KEY (issuer, subject)
);
",
    }],
};
