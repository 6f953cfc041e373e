//! The lake's tables: names, columns, order, age.
//!
//! Columns are named after OpenTelemetry's semantic conventions with `_` for `.`,
//! so that SQL needs no quotes. Text is dictionary-encoded in the files; times are
//! microseconds in UTC.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::config::RetentionConfig;
use crate::ports::PORT_SUMS;
use crate::rollup::DURATION_COLUMNS;

/// A table of the lake.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One row a request served by an edge.
    Access,
    /// One row a question answered by dispatch.
    Query,
    /// One row a notice.
    Notice,
    /// One row for about a second of an enforcement that was met on a node.
    Enforced,
    /// One row a reading of a port of the exchange.
    PortCounters,
    /// One row a minute of what one member of the exchange sent another.
    FlowMatrix,
    /// Roll-up of `access` by minute × site × node × cache result × status class.
    Traffic,
    /// Roll-up of `access` by hour × site × URL; the rest under an empty URL.
    Urls,
    /// Roll-up of `access` by hour × site × node × client network (/24, /48).
    Networks,
    /// Roll-up of `port_counters` by five minutes × port.
    PortTraffic,
    /// Roll-up of `flow_matrix` by hour × pair of members × protocol version.
    FlowHours,
}

/// The column that orders and partitions every table.
pub(crate) const TIMESTAMP: &str = "timestamp";

impl Table {
    /// All tables.
    pub const ALL: [Self; 11] = [
        Self::Access,
        Self::Query,
        Self::Notice,
        Self::Enforced,
        Self::PortCounters,
        Self::FlowMatrix,
        Self::Traffic,
        Self::Urls,
        Self::Networks,
        Self::PortTraffic,
        Self::FlowHours,
    ];

    /// How many of them hold events themselves; they come first in [`Self::ALL`].
    pub(crate) const RAW: usize = 6;

    /// Its name in SQL and in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Query => "query",
            Self::Notice => "notice",
            Self::Enforced => "enforced",
            Self::PortCounters => "port_counters",
            Self::FlowMatrix => "flow_matrix",
            Self::Traffic => "traffic",
            Self::Urls => "urls",
            Self::Networks => "networks",
            Self::PortTraffic => "port_traffic",
            Self::FlowHours => "flow_hours",
        }
    }

    /// The table of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Its columns.
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; 11]> = LazyLock::new(|| Table::ALL.map(build));
        Arc::clone(&SCHEMAS[self as usize])
    }

    /// The columns by which rows are sorted in a file.
    pub(crate) const fn order(self) -> &'static [&'static str] {
        match self {
            Self::Access | Self::Traffic | Self::Urls | Self::Networks => &["site_id", TIMESTAMP],
            Self::PortCounters | Self::PortTraffic => &["port_id", TIMESTAMP],
            Self::Query | Self::Notice | Self::Enforced | Self::FlowMatrix | Self::FlowHours => {
                &[TIMESTAMP]
            }
        }
    }

    /// Columns that hold addresses of people.
    pub(crate) const fn addresses(self) -> &'static [&'static str] {
        match self {
            Self::Access | Self::Enforced => &["client_address"],
            Self::Query => &["resolver_address", "client_subnet"],
            _ => &[],
        }
    }

    /// Whether rows carry the organisation that owns them.
    pub(crate) const fn has_org(self) -> bool {
        !matches!(
            self,
            Self::Query | Self::Notice | Self::Enforced | Self::FlowMatrix | Self::FlowHours
        )
    }

    /// Days that rows are kept.
    pub(crate) const fn days(self, retention: &RetentionConfig) -> u32 {
        match self {
            Self::Access => retention.access_days,
            Self::Query => retention.query_days,
            Self::Notice | Self::Enforced => retention.notice_days,
            Self::PortCounters | Self::FlowMatrix => retention.exchange_days,
            Self::Traffic | Self::Urls | Self::Networks | Self::PortTraffic | Self::FlowHours => {
                retention.rollup_days
            }
        }
    }
}

fn build(table: Table) -> SchemaRef {
    let fields = match table {
        Table::Access => vec![
            time(),
            text("node"),
            maybe_text("site_id"),
            maybe_text("org_id"),
            maybe_text("client_address"),
            text("client_network"),
            text("http_request_method"),
            text("server_address"),
            text("url_path"),
            Field::new("http_response_status_code", DataType::Int32, false),
            text("cache_result"),
            Field::new("hit", DataType::Int8, false),
            count("http_response_size"),
            count("http_request_size"),
            count("duration_us"),
            count("origin_us"),
            text("network_protocol_version"),
            Field::new("tls", DataType::Boolean, false),
        ],
        Table::Query => vec![
            time(),
            text("node"),
            text("dns_question_name"),
            Field::new("dns_question_type", DataType::Int32, false),
            Field::new("dns_response_code", DataType::Int32, false),
            maybe_text("resolver_address"),
            maybe_text("client_subnet"),
            text("client_network"),
            maybe_text("edge"),
            Field::new("tcp", DataType::Boolean, false),
        ],
        Table::Notice => vec![
            time(),
            text("node"),
            text("severity"),
            text("kind"),
            text("subject"),
            text("message"),
        ],
        Table::Enforced => vec![
            time(),
            text("node"),
            text("enforcement_id"),
            text("role"),
            maybe_text("client_address"),
            text("subject"),
            count("hits"),
        ],
        Table::PortCounters => {
            let mut fields = port_key();
            fields.push(Field::new("up", DataType::Boolean, false));
            fields.push(count("speed_bps"));
            fields.extend(PORT_SUMS.map(count));
            fields
        }
        Table::PortTraffic => {
            let mut fields = port_key();
            fields.push(count("up_us"));
            fields.extend(PORT_SUMS.map(count));
            fields
        }
        Table::FlowMatrix => vec![
            time(),
            text("node"),
            maybe_text("from_member_id"),
            maybe_text("to_member_id"),
            Field::new("ip_version", DataType::Int32, false),
            Field::new("vlan", DataType::Int32, false),
            count("octets"),
            count("packets"),
            count("samples"),
        ],
        Table::FlowHours => vec![
            time(),
            text("node"),
            maybe_text("from_member_id"),
            maybe_text("to_member_id"),
            Field::new("ip_version", DataType::Int32, false),
            count("octets"),
            count("packets"),
            count("samples"),
        ],
        Table::Traffic => {
            let mut fields = vec![
                time(),
                text("node"),
                maybe_text("site_id"),
                maybe_text("org_id"),
                text("cache_result"),
                Field::new("status_class", DataType::Int32, false),
                count("requests"),
                count("hits"),
                count("errors"),
                count("http_response_size"),
                count("http_request_size"),
                count("duration_us"),
                count("origin_us"),
            ];
            fields.extend(DURATION_COLUMNS.map(count));
            fields
        }
        Table::Urls => vec![
            time(),
            maybe_text("site_id"),
            maybe_text("org_id"),
            text("server_address"),
            text("url_path"),
            count("requests"),
            count("hits"),
            count("errors"),
            count("http_response_size"),
        ],
        Table::Networks => vec![
            time(),
            maybe_text("site_id"),
            maybe_text("org_id"),
            text("node"),
            text("client_network"),
            count("requests"),
            count("hits"),
            count("errors"),
            count("http_response_size"),
        ],
    };
    Arc::new(Schema::new(fields))
}

/// The columns that say which port a row is about.
fn port_key() -> Vec<Field> {
    vec![
        time(),
        text("node"),
        text("switch"),
        text("port_name"),
        maybe_text("port_id"),
        maybe_text("member_id"),
        maybe_text("org_id"),
    ]
}

/// The type of every `timestamp` column.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn time() -> Field {
    Field::new(TIMESTAMP, time_type(), false)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, false)
}

fn maybe_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, true)
}

fn count(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_found_by_its_name_and_ordered_by_columns_it_has() {
        for table in Table::ALL {
            assert_eq!(Table::by_name(table.name()), Some(table));
            let schema = table.schema();
            assert_eq!(schema.field(0).name(), TIMESTAMP);
            for column in table.order().iter().chain(table.addresses()) {
                assert!(schema.field_with_name(column).is_ok(), "{column}");
            }
            for column in table.addresses() {
                let nullable = schema.field_with_name(column).is_ok_and(Field::is_nullable);
                assert!(nullable, "{column} must be removable");
            }
            assert_eq!(table.has_org(), schema.field_with_name("org_id").is_ok());
        }
    }
}
