//! The tables of sharing.

use store::vault::SealedColumn;
use store::{Migrations, Step};

/// All steps so far.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "share",
    steps: &[
        Step {
            version: 1,
            name: "sharing policy, consent, the key of pseudonyms, visits of peers",
            sql: "
CREATE TABLE share_policy (
    version BIGINT PRIMARY KEY,
    document TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE share_consent (
    org TEXT PRIMARY KEY,
    goes_up BIGINT NOT NULL,
    goes_down BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE share_key (
    name TEXT PRIMARY KEY,
    sealed {blob} NOT NULL
);
CREATE TABLE share_visit (
    id TEXT PRIMARY KEY,
    peer TEXT NOT NULL,
    at BIGINT NOT NULL,
    moved BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    withheld BIGINT NOT NULL,
    millis BIGINT NOT NULL,
    error TEXT NOT NULL
);
CREATE INDEX share_visit_peer ON share_visit (peer, id);
CREATE INDEX share_visit_at ON share_visit (at);
CREATE TABLE share_proof (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL,
    org TEXT,
    can_write BIGINT NOT NULL,
    until BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX share_proof_name ON share_proof (kind, name);
CREATE TABLE share_report (
    object TEXT PRIMARY KEY,
    case_id TEXT NOT NULL
);
CREATE TABLE share_received (
    object TEXT PRIMARY KEY,
    collection BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    asks TEXT NOT NULL,
    description TEXT NOT NULL,
    at BIGINT NOT NULL,
    reply TEXT,
    replied_at BIGINT,
    revoked BIGINT NOT NULL
);
CREATE INDEX share_received_at ON share_received (at);
CREATE TABLE share_template (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE share_trust (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE TABLE share_handover (
    id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL,
    incoming BIGINT NOT NULL,
    other TEXT NOT NULL,
    subject TEXT NOT NULL,
    at BIGINT NOT NULL,
    signed_by TEXT NOT NULL,
    envelope TEXT NOT NULL
);
CREATE TABLE share_mark (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
CREATE TABLE share_claim (
    object TEXT NOT NULL,
    source TEXT NOT NULL,
    pattern_hash BIGINT NOT NULL,
    pattern TEXT NOT NULL,
    confidence BIGINT NOT NULL,
    said_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    until BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    tlp BIGINT NOT NULL,
    PRIMARY KEY (object, source)
);
CREATE INDEX share_claim_pattern ON share_claim (pattern_hash);
CREATE TABLE share_dispute (
    object TEXT NOT NULL,
    source TEXT NOT NULL,
    opinion TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (object, source)
);
CREATE TABLE share_belief (
    id BIGINT PRIMARY KEY,
    pattern TEXT NOT NULL,
    confidence BIGINT NOT NULL,
    sources BIGINT NOT NULL,
    disputes BIGINT NOT NULL,
    stands BIGINT NOT NULL,
    tlp BIGINT NOT NULL,
    look_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    published BIGINT NOT NULL,
    waits BIGINT NOT NULL
);
CREATE INDEX share_belief_look ON share_belief (look_at);
CREATE INDEX share_belief_waits ON share_belief (waits, id);
CREATE INDEX share_belief_changed ON share_belief (changed_at, id);
",
        },
        Step {
            version: 2,
            name: "what is not believed and was not acted on; when it fell last",
            sql: "
ALTER TABLE share_belief ADD COLUMN fell BIGINT NOT NULL DEFAULT 0;
ALTER TABLE share_belief ADD COLUMN fell_at BIGINT NOT NULL DEFAULT 0;
UPDATE share_belief SET fell = changed_at, fell_at = changed_at WHERE stands = 0;
CREATE INDEX share_belief_fell ON share_belief (fell);
",
        },
        Step {
            version: 3,
            name: "trust in peers",
            sql: "
CREATE TABLE share_peer_trust (
    via BIGINT PRIMARY KEY,
    peer TEXT NOT NULL,
    trust BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL
);
",
        },
        Step {
            version: 4,
            name: "versions of the rules of beliefs",
            sql: "
CREATE TABLE share_decay (
    version BIGINT PRIMARY KEY,
    document TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    back_to BIGINT NOT NULL
);
",
        },
        Step {
            version: 5,
            name: "a claim is its sender's",
            // Who sent what was claimed so far stands in the store of objects, and is looked up
            // there by and by (`claims`): until then the rows count as they did.
            sql: "
CREATE TABLE share_claim_sent (
    object TEXT NOT NULL,
    sender TEXT NOT NULL,
    source TEXT NOT NULL,
    pattern_hash BIGINT NOT NULL,
    pattern TEXT NOT NULL,
    confidence BIGINT NOT NULL,
    said_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    until BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    tlp BIGINT NOT NULL,
    PRIMARY KEY (object, sender)
);
INSERT INTO share_claim_sent (object, sender, source, pattern_hash, pattern, confidence, said_at, seen_at, until, revoked, tlp)
    SELECT object, 'unknown:' || source, source, pattern_hash, pattern, confidence, said_at, seen_at, until, revoked, tlp FROM share_claim;
DROP TABLE share_claim;
ALTER TABLE share_claim_sent RENAME TO share_claim;
CREATE INDEX share_claim_pattern ON share_claim (pattern_hash);
CREATE TABLE share_claim_unsent (
    object TEXT PRIMARY KEY
);
INSERT INTO share_claim_unsent (object) SELECT DISTINCT object FROM share_claim;
",
        },
        Step {
            version: 6,
            name: "whose voice a dispute is",
            // No voice: it is not known; the opinions are read again (`claims`).
            sql: "
CREATE TABLE share_dispute_voiced (
    object TEXT NOT NULL,
    voice TEXT NOT NULL,
    source TEXT NOT NULL,
    opinion TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (object, voice, source)
);
INSERT INTO share_dispute_voiced (object, voice, source, opinion, at) SELECT object, '', source, opinion, at FROM share_dispute;
DROP TABLE share_dispute;
ALTER TABLE share_dispute_voiced RENAME TO share_dispute;
INSERT INTO share_mark (name, value) SELECT 'voices', 0 FROM share_mark WHERE name = 'claims';
",
        },
    ],
};

/// The columns that are sealed, for sealing them again when the key is rotated.
pub const SEALED: [SealedColumn; 1] = [SealedColumn {
    table: "share_key",
    column: "sealed",
    key: "name",
    context: |name| format!("share_key.sealed/{name}"),
}];
