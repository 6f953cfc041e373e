//! The tables of reports, alerts, lights and the public site.

use store::vault::SealedColumn;
use store::{Migrations, Step};

/// All steps so far.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "cert",
    steps: &[REPORTS, ALERTS, SITE, ORDER, FEEDBACK],
};

const REPORTS: Step = Step {
    version: 1,
    name: "members, incidents, clocks, levels, evidence",
    sql: "
CREATE TABLE isac_member (
    org TEXT PRIMARY KEY,
    sector TEXT NOT NULL,
    assets TEXT NOT NULL,
    updated_by TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX isac_member_sector ON isac_member (sector, org);
CREATE TABLE isac_incident (
    case_id TEXT PRIMARY KEY REFERENCES casework_case (id),
    number BIGINT NOT NULL,
    org TEXT NOT NULL,
    reporter TEXT NOT NULL,
    sector TEXT NOT NULL,
    drill BIGINT NOT NULL,
    subject TEXT NOT NULL,
    category TEXT NOT NULL,
    state TEXT NOT NULL,
    level BIGINT NOT NULL,
    reported_level BIGINT NOT NULL,
    rules BIGINT NOT NULL,
    known_at BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    reviewed_at BIGINT,
    recovered_at BIGINT,
    closed_at BIGINT,
    updated_at BIGINT NOT NULL
);
CREATE INDEX isac_incident_number ON isac_incident (number);
CREATE INDEX isac_incident_org ON isac_incident (org, number);
CREATE INDEX isac_incident_open ON isac_incident (closed_at, number);
CREATE TABLE isac_clock (
    case_id TEXT NOT NULL REFERENCES isac_incident (case_id),
    kind TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    remind_at BIGINT NOT NULL,
    met_at BIGINT,
    reminded_at BIGINT,
    escalated_at BIGINT,
    PRIMARY KEY (case_id, kind)
);
CREATE INDEX isac_clock_due ON isac_clock (met_at, due_at);
CREATE TABLE isac_level_change (
    id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES isac_incident (case_id),
    from_level BIGINT NOT NULL,
    to_level BIGINT NOT NULL,
    reason TEXT NOT NULL,
    proposed_by TEXT NOT NULL,
    proposed_at BIGINT NOT NULL,
    decided_by TEXT,
    decided_at BIGINT,
    agreed BIGINT,
    remark TEXT NOT NULL
);
CREATE INDEX isac_level_change_case ON isac_level_change (case_id, id);
CREATE TABLE isac_log (
    id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES isac_incident (case_id),
    at BIGINT NOT NULL,
    happened_at BIGINT NOT NULL,
    actor TEXT,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX isac_log_case ON isac_log (case_id, id);
",
};

const ALERTS: Step = Step {
    version: 2,
    name: "alerts, recipients, lights",
    sql: "
CREATE TABLE isac_alert (
    case_id TEXT PRIMARY KEY REFERENCES casework_case (id),
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    tlp TEXT NOT NULL,
    severity TEXT NOT NULL,
    subject TEXT NOT NULL,
    document TEXT NOT NULL,
    reply TEXT NOT NULL,
    public BIGINT NOT NULL,
    published_at BIGINT NOT NULL,
    published_by TEXT NOT NULL,
    reply_due BIGINT,
    retracted_at BIGINT,
    retract_reason TEXT
);
CREATE INDEX isac_alert_number ON isac_alert (number);
CREATE TABLE isac_recipient (
    alert TEXT NOT NULL REFERENCES isac_alert (case_id),
    org TEXT NOT NULL,
    sent_at BIGINT NOT NULL,
    read_at BIGINT,
    reply TEXT,
    remark TEXT,
    replied_by TEXT,
    replied_at BIGINT,
    chased BIGINT NOT NULL,
    PRIMARY KEY (alert, org)
);
CREATE INDEX isac_recipient_org ON isac_recipient (org, alert);
CREATE INDEX isac_recipient_waiting ON isac_recipient (replied_at, chased);
CREATE TABLE isac_observation (
    id TEXT PRIMARY KEY,
    org TEXT NOT NULL,
    face TEXT NOT NULL,
    score BIGINT NOT NULL,
    text TEXT NOT NULL,
    at BIGINT NOT NULL,
    made_by TEXT NOT NULL
);
CREATE INDEX isac_observation_at ON isac_observation (at);
CREATE TABLE isac_light (
    scope TEXT PRIMARY KEY,
    colour TEXT NOT NULL,
    since BIGINT NOT NULL,
    at BIGINT NOT NULL,
    rules BIGINT NOT NULL,
    light TEXT NOT NULL
);
CREATE TABLE isac_light_change (
    id TEXT PRIMARY KEY,
    scope TEXT NOT NULL,
    at BIGINT NOT NULL,
    from_colour TEXT NOT NULL,
    to_colour TEXT NOT NULL,
    light TEXT NOT NULL
);
CREATE INDEX isac_light_change_scope ON isac_light_change (scope, id);
",
};

const SITE: Step = Step {
    version: 3,
    name: "articles, citizens' reports",
    sql: "
CREATE TABLE isac_article (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    title_zh TEXT NOT NULL,
    title_en TEXT NOT NULL,
    summary_zh TEXT NOT NULL,
    summary_en TEXT NOT NULL,
    body_zh TEXT NOT NULL,
    body_en TEXT NOT NULL,
    published_at BIGINT,
    updated_by TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX isac_article_published ON isac_article (published_at, id);
CREATE TABLE isac_citizen (
    id TEXT PRIMARY KEY,
    code TEXT NOT NULL UNIQUE,
    at BIGINT NOT NULL,
    sealed {blob} NOT NULL,
    answer {blob},
    answered_at BIGINT
);
CREATE INDEX isac_citizen_waiting ON isac_citizen (answered_at);
",
};

/// Numbers of cases are drawn, so that their ids order what is made from them.
const ORDER: Step = Step {
    version: 4,
    name: "incidents in the order of their ids",
    sql: "
DROP INDEX isac_incident_org;
DROP INDEX isac_incident_open;
CREATE INDEX isac_incident_org ON isac_incident (org, case_id);
CREATE INDEX isac_incident_open ON isac_incident (closed_at, case_id);
",
};

/// What feedback says beside its finding, which version of a report came by TAXII, and what
/// alerts of others say beside what every report does.
const FEEDBACK: Step = Step {
    version: 5,
    name: "what was found and done, versions of reports by TAXII",
    sql: "
ALTER TABLE isac_recipient ADD COLUMN found TEXT;
ALTER TABLE isac_recipient ADD COLUMN done TEXT;
CREATE TABLE isac_reported (
    org TEXT NOT NULL,
    object TEXT NOT NULL,
    case_id TEXT NOT NULL,
    modified TEXT NOT NULL,
    PRIMARY KEY (org, object)
);
CREATE TABLE isac_received (
    object TEXT PRIMARY KEY,
    subkind TEXT NOT NULL,
    document TEXT NOT NULL,
    found TEXT NOT NULL,
    done TEXT NOT NULL
);
",
};

/// The columns that are sealed, for sealing them again when the key is rotated.
pub const SEALED: [SealedColumn; 2] = [
    SealedColumn {
        table: "isac_citizen",
        column: "sealed",
        key: "id",
        context: |id| format!("isac_citizen.sealed/{id}"),
    },
    SealedColumn {
        table: "isac_citizen",
        column: "answer",
        key: "id",
        context: |id| format!("isac_citizen.answer/{id}"),
    },
];
