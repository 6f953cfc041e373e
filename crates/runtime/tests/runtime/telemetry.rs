//! Traces reach a collector that reads them by the OTLP definitions.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use runtime::telemetry::{self, TelemetryConfig};

/// A collector that parses what is posted to it.
fn collector() -> (String, mpsc::Receiver<(String, ExportTraceServiceRequest)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut head = String::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).expect("a line") == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).expect("answered");
            let request = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
            if sender.send((head, request)).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}/v1/traces"), receiver)
}

#[tokio::test]
async fn spans_arrive_with_names_parents_and_the_nodes_name() {
    let (endpoint, received) = collector();
    let config = TelemetryConfig {
        otlp_endpoint: Some(endpoint),
        trace_sample_ratio: 1.0,
        ..TelemetryConfig::default()
    };
    let guard = telemetry::init(&config, "civicnet-test", Some("edge-tainan")).expect("started");
    assert!(telemetry::init(&config, "again", None).is_err());
    {
        let outer = tracing::info_span!("serve request", site = "museum");
        let _outer = outer.enter();
        let inner = tracing::info_span!("fetch origin");
        let _inner = inner.enter();
        tracing::info!("fetched");
    }
    // On the thread of a current-thread runtime: the exporter must not need it.
    drop(guard);
    let (head, request) = received
        .recv_timeout(std::time::Duration::from_secs(60))
        .expect("a request before the guard is gone");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    assert!(
        head.to_ascii_lowercase()
            .contains("content-type: application/x-protobuf"),
        "{head}"
    );
    let resource = request.resource_spans[0]
        .resource
        .as_ref()
        .expect("a resource");
    let said = format!("{resource:?}");
    assert!(
        said.contains("civicnet-test") && said.contains("edge-tainan"),
        "{said}"
    );
    let spans: Vec<_> = request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    let find = |name: &str| {
        spans
            .iter()
            .find(|span| span.name == name)
            .unwrap_or_else(|| panic!("no span {name} in {spans:?}"))
    };
    let (outer, inner) = (find("serve request"), find("fetch origin"));
    assert_eq!(inner.parent_span_id, outer.span_id);
    assert_eq!(inner.trace_id, outer.trace_id);
    assert!(
        outer
            .attributes
            .iter()
            .any(|attribute| attribute.key == "site")
    );
    assert!(inner.events.iter().any(|event| event.name == "fetched"));
}
