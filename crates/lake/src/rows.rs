//! Events as rows: the columns of one batch.

use std::sync::Arc;

use base::Prefix;
use base::event::{
    AccessEvent, EnforcedEvent, EventBatch, Method, NoticeEvent, Protocol, QueryEvent, Severity,
};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int8Array, Int32Array, Int64Array, RecordBatch, StringViewBuilder,
    TimestampMicrosecondArray,
};
use datafusion::arrow::error::ArrowError;

use crate::ports;
use crate::rollup::{OwnerColumns, cache_word, clamp, is_hit, network_of};
use crate::table::Table;

/// The table and the rows of a batch from `node`.
pub(crate) fn rows(node: &str, batch: &EventBatch) -> Result<(Table, RecordBatch), ArrowError> {
    let (table, columns) = match batch {
        EventBatch::Access(events) => (Table::Access, access(node, events)),
        EventBatch::Query(events) => (Table::Query, query(node, events)),
        EventBatch::Notice(events) => (Table::Notice, notice(node, events)),
        EventBatch::Enforced(events) => (Table::Enforced, enforced(node, events)),
        EventBatch::Ports(events) => (Table::PortCounters, ports::counters(node, events)),
        EventBatch::Flows(events) => (Table::FlowMatrix, ports::flows(node, events)),
    };
    Ok((table, RecordBatch::try_new(table.schema(), columns)?))
}

fn access(node: &str, events: &[AccessEvent]) -> Vec<ArrayRef> {
    let mut owner = OwnerColumns::new();
    let (mut client, mut network) = (text(), text());
    let mut buffer = String::new();
    for event in events {
        owner.push((event.site, event.org));
        let address = event.client.to_canonical();
        push_display(&mut client, &mut buffer, &address);
        push_display(&mut network, &mut buffer, &network_of(address));
    }
    let (site, org) = owner.finish();
    vec![
        times(events.iter().map(|e| e.at.micros())),
        constant(node, events.len()),
        site,
        org,
        Arc::new(client.finish()),
        Arc::new(network.finish()),
        texts(events.iter().map(|e| method(e.method))),
        texts(events.iter().map(|e| &*e.host)),
        texts(events.iter().map(|e| &*e.path)),
        Arc::new(Int32Array::from_iter_values(
            events.iter().map(|e| i32::from(e.status)),
        )),
        texts(events.iter().map(|e| cache_word(e.cache))),
        Arc::new(Int8Array::from_iter_values(
            events.iter().map(|e| i8::from(is_hit(e.cache))),
        )),
        numbers(events.iter().map(|e| clamp(e.bytes_sent))),
        numbers(events.iter().map(|e| clamp(e.bytes_received))),
        numbers(events.iter().map(|e| e.duration_us.into())),
        numbers(events.iter().map(|e| e.origin_us.into())),
        texts(events.iter().map(|e| protocol(e.protocol))),
        Arc::new(BooleanArray::from_iter(events.iter().map(|e| Some(e.tls)))),
    ]
}

fn query(node: &str, events: &[QueryEvent]) -> Vec<ArrayRef> {
    let (mut resolver, mut subnet, mut network) = (text(), text(), text());
    let mut buffer = String::new();
    for event in events {
        let address = event.resolver.to_canonical();
        push_display(&mut resolver, &mut buffer, &address);
        let asked_for = event
            .client
            .and_then(|(client, length)| Prefix::new(client, length).ok());
        match asked_for {
            Some(prefix) => push_display(&mut subnet, &mut buffer, &prefix),
            None => subnet.append_null(),
        }
        let nearest = asked_for.map_or(address, |prefix| prefix.address());
        push_display(&mut network, &mut buffer, &network_of(nearest));
    }
    let mut edge = text();
    for event in events {
        edge.append_option(event.edge.as_ref().map(|edge| edge.as_str()));
    }
    vec![
        times(events.iter().map(|e| e.at.micros())),
        constant(node, events.len()),
        texts(events.iter().map(|e| &*e.name)),
        Arc::new(Int32Array::from_iter_values(
            events.iter().map(|e| i32::from(e.kind)),
        )),
        Arc::new(Int32Array::from_iter_values(
            events.iter().map(|e| i32::from(e.rcode)),
        )),
        Arc::new(resolver.finish()),
        Arc::new(subnet.finish()),
        Arc::new(network.finish()),
        Arc::new(edge.finish()),
        Arc::new(BooleanArray::from_iter(events.iter().map(|e| Some(e.tcp)))),
    ]
}

fn notice(node: &str, events: &[NoticeEvent]) -> Vec<ArrayRef> {
    vec![
        times(events.iter().map(|e| e.at.micros())),
        constant(node, events.len()),
        texts(events.iter().map(|e| severity(e.severity))),
        texts(events.iter().map(|e| &*e.kind)),
        texts(events.iter().map(|e| &*e.subject)),
        texts(events.iter().map(|e| &*e.message)),
    ]
}

fn enforced(node: &str, events: &[EnforcedEvent]) -> Vec<ArrayRef> {
    let (mut id, mut client) = (text(), text());
    let mut buffer = String::new();
    for event in events {
        push_display(&mut id, &mut buffer, &event.enforcement);
        push_display(&mut client, &mut buffer, &event.client.to_canonical());
    }
    vec![
        times(events.iter().map(|e| e.at.micros())),
        constant(node, events.len()),
        Arc::new(id.finish()),
        texts(events.iter().map(|e| e.role.name())),
        Arc::new(client.finish()),
        texts(events.iter().map(|e| &*e.subject)),
        numbers(events.iter().map(|e| clamp(e.hits))),
    ]
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Patch => "PATCH",
        Method::Options => "OPTIONS",
        // OpenTelemetry's word for methods it does not list.
        Method::Other => "_OTHER",
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http10 => "1.0",
        Protocol::Http11 => "1.1",
        Protocol::Http2 => "2",
        Protocol::Http3 => "3",
    }
}

/// The word for a severity in columns.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
        Severity::Critical => "critical",
    }
}

pub(crate) fn text() -> StringViewBuilder {
    StringViewBuilder::new().with_deduplicate_strings()
}

pub(crate) fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    let mut builder = text();
    values.for_each(|value| builder.append_value(value));
    Arc::new(builder.finish())
}

pub(crate) fn constant(value: &str, rows: usize) -> ArrayRef {
    texts(std::iter::repeat_n(value, rows))
}

fn push_display(
    builder: &mut StringViewBuilder,
    buffer: &mut String,
    value: &impl std::fmt::Display,
) {
    use std::fmt::Write;
    buffer.clear();
    // Writing to a string does not fail.
    if write!(buffer, "{value}").is_ok() {
        builder.append_value(&*buffer);
    } else {
        builder.append_value("");
    }
}

pub(crate) fn numbers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub(crate) fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}
