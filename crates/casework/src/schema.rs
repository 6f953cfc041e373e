//! The tables of casework.

use store::vault::SealedColumn;
use store::{Migrations, Step};

/// All steps so far.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "casework",
    steps: &[FIRST, SECOND, THIRD, FOURTH],
};

/// Letters and deliveries with a text and a page of their own.
const SECOND: Step = Step {
    version: 2,
    name: "letters with a text of their own",
    sql: "
ALTER TABLE casework_letter ADD COLUMN text TEXT;
ALTER TABLE casework_letter ADD COLUMN path TEXT;
ALTER TABLE casework_delivery ADD COLUMN text TEXT;
ALTER TABLE casework_delivery ADD COLUMN path TEXT;
",
};

/// Numbers of cases are drawn, so that their ids order them.
const THIRD: Step = Step {
    version: 3,
    name: "cases in the order of their ids",
    sql: "
DROP INDEX casework_case_applicant;
DROP INDEX casework_case_org;
DROP INDEX casework_case_open;
CREATE INDEX casework_case_applicant ON casework_case (applicant, id);
CREATE INDEX casework_case_org ON casework_case (org, id);
CREATE INDEX casework_case_open ON casework_case (ended, state, id);
",
};

/// What came with an idempotency key, and what mail says below its subject.
const FOURTH: Step = Step {
    version: 4,
    name: "digests of keyed requests, mail with details",
    sql: "
ALTER TABLE casework_case ADD COLUMN idempotency_digest TEXT;
ALTER TABLE casework_delivery ADD COLUMN detail TEXT;
ALTER TABLE casework_delivery ADD COLUMN unnamed BIGINT;
",
};

const FIRST: Step = Step {
    version: 1,
    name: "cases, time-line, attachments, notifications",
    sql: "
CREATE TABLE casework_case (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    form TEXT NOT NULL,
    form_version BIGINT NOT NULL,
    org TEXT,
    applicant TEXT NOT NULL,
    state TEXT NOT NULL,
    ended BIGINT NOT NULL,
    version BIGINT NOT NULL,
    assignee TEXT,
    subject TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    submitted_at BIGINT,
    due_at BIGINT,
    remind_at BIGINT,
    overdue BIGINT NOT NULL,
    clear TEXT NOT NULL,
    personal {blob},
    result TEXT,
    idempotency TEXT
);
CREATE UNIQUE INDEX casework_case_once ON casework_case (applicant, idempotency);
CREATE INDEX casework_case_applicant ON casework_case (applicant, number);
CREATE INDEX casework_case_org ON casework_case (org, number);
CREATE INDEX casework_case_open ON casework_case (ended, state, number);
CREATE INDEX casework_case_due ON casework_case (ended, due_at);
CREATE TABLE casework_event (
    id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES casework_case (id),
    at BIGINT NOT NULL,
    actor TEXT,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    internal BIGINT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX casework_event_case ON casework_event (case_id, id);
CREATE TABLE casework_attachment (
    id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES casework_case (id),
    field TEXT NOT NULL,
    name {blob} NOT NULL,
    media TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    added_by TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE INDEX casework_attachment_case ON casework_attachment (case_id, id);
CREATE TABLE casework_letter (
    id TEXT PRIMARY KEY,
    reader TEXT NOT NULL,
    case_id TEXT NOT NULL REFERENCES casework_case (id),
    at BIGINT NOT NULL,
    notice TEXT NOT NULL,
    read_at BIGINT
);
CREATE INDEX casework_letter_reader ON casework_letter (reader, id);
CREATE INDEX casework_letter_unread ON casework_letter (reader, read_at);
CREATE TABLE casework_webhook (
    id TEXT PRIMARY KEY,
    org TEXT NOT NULL,
    url TEXT NOT NULL,
    secret {blob} NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX casework_webhook_org ON casework_webhook (org, id);
CREATE TABLE casework_delivery (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    target TEXT NOT NULL,
    case_id TEXT NOT NULL REFERENCES casework_case (id),
    notice TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    error TEXT NOT NULL
);
CREATE INDEX casework_delivery_due ON casework_delivery (state, next_at);
",
};

/// The columns that are sealed, for sealing them again when the key is rotated.
pub const SEALED: [SealedColumn; 3] = [
    SealedColumn {
        table: "casework_case",
        column: "personal",
        key: "id",
        context: |id| format!("casework_case.personal/{id}"),
    },
    SealedColumn {
        table: "casework_attachment",
        column: "name",
        key: "id",
        context: |id| format!("casework_attachment.name/{id}"),
    },
    SealedColumn {
        table: "casework_webhook",
        column: "secret",
        key: "id",
        context: |id| format!("casework_webhook.secret/{id}"),
    },
];
