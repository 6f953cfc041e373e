//! Logs to stderr and spans to an OpenTelemetry collector.
//!
//! Logs are for people by default and JSON lines on request. Spans go out by
//! OTLP over HTTP when an endpoint is configured, in batches, from a small runtime
//! of their own: the exporter must work from any thread, and the roles' runtimes
//! should not carry it. A slow or absent collector costs spans, never a request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, reload};

use crate::config::{Check, Checker};

/// How long the end of the process waits for the last spans to leave.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// How long one delivery to the collector may take.
const EXPORT_MAX: Duration = Duration::from_secs(10);
/// Bytes of a collector's answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Logs and traces.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Shape of the log on stderr.
    pub log_format: LogFormat,
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or levels
    /// by module, such as `info,edge=debug`.
    pub log_filter: String,
    /// OpenTelemetry collector that receives traces by OTLP over HTTP (protobuf),
    /// such as `http://127.0.0.1:4318/v1/traces`. No traces are sent without it.
    pub otlp_endpoint: Option<String>,
    /// Share of traces begun here that are sent, from 0 to 1.
    pub trace_sample_ratio: f64,
}

/// Shape of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Human,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            trace_sample_ratio: 0.01,
        }
    }
}

impl Check for TelemetryConfig {
    fn check(&self, at: &mut Checker) {
        if let Err(error) = self.log_filter.parse::<EnvFilter>() {
            at.problem("log_filter", format!("is no log filter: {error}"));
        }
        if let Some(endpoint) = &self.otlp_endpoint
            && !endpoint.parse::<http::Uri>().is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
            })
        {
            at.problem("otlp_endpoint", "must be an http:// or https:// address");
        }
        at.require(
            (0.0..=1.0).contains(&self.trace_sample_ratio),
            "trace_sample_ratio",
            "must be from 0 to 1",
        );
    }
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter does not parse.
    #[error("{filter:?} is no log filter")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter cannot be built.
    #[error("cannot export traces to {endpoint}")]
    Exporter {
        /// The collector.
        endpoint: String,
        /// What is wrong.
        #[source]
        source: crate::BoxError,
    },
    /// Something else in this process logs already.
    #[error("a log subscriber is installed already")]
    Installed(#[source] TryInitError),
    /// The filter cannot be changed.
    #[error("the log filter cannot be changed")]
    Filtered(#[source] reload::Error),
}

fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    filter.parse().map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

/// Whether spans of this process are sent anywhere.
static EXPORTS: AtomicBool = AtomicBool::new(false);

/// Whether spans are sent anywhere: without it, nobody need make them.
pub fn exports() -> bool {
    EXPORTS.load(Ordering::Relaxed)
}

/// Makes `span` part of the trace that `headers` carry (W3C Trace Context), if they do.
pub fn join(span: &tracing::Span, headers: &http::HeaderMap) {
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&opentelemetry_http::HeaderExtractor(headers))
    });
    if let Err(error) = span.set_parent(parent) {
        tracing::debug!(%error, "A span has no parent");
    }
}

/// As [`join`], and lets `headers` carry `span` on in the place of its parent.
pub fn carry(span: &tracing::Span, headers: &mut http::HeaderMap) {
    join(span, headers);
    let context = span.context();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut opentelemetry_http::HeaderInjector(headers));
    });
}

/// Keeps traces flowing; dropping it sends the last spans, for at most 5 s.
#[must_use = "dropping the guard ends tracing"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    _runtime: Option<Background>,
    filter: Option<SetFilter>,
}

/// Puts another log filter into force.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("exports", &self.provider.is_some())
            .finish_non_exhaustive()
    }
}

/// A runtime that may be dropped anywhere, also from within another one.
#[derive(Debug)]
struct Background(Option<tokio::runtime::Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Guard {
    /// Logs by another filter from here on.
    ///
    /// # Errors
    /// When it is no filter; the one before stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), TelemetryError> {
        let parsed: EnvFilter = parse_filter(filter)?;
        match &self.filter {
            Some(set) => set(parsed).map_err(TelemetryError::Filtered),
            None => Ok(()),
        }
    }

    /// Whether spans are sent anywhere.
    pub fn exports(&self) -> bool {
        self.provider.is_some()
    }

    /// Sends the spans gathered so far. Blocks; for tests and before an exit.
    pub fn flush(&self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.force_flush()
        {
            tracing::warn!(%error, "Traces could not be flushed");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_MAX)
        {
            tracing::warn!(%error, "The last traces were not sent");
        }
    }
}

/// Starts logging and tracing for this process, which calls itself `service` and,
/// if it is a node, `node`. Also installs the cryptographic provider.
///
/// # Errors
/// When the filter or the endpoint is no good, or logging was started before.
pub fn init(
    config: &TelemetryConfig,
    service: &str,
    node: Option<&str>,
) -> Result<Guard, TelemetryError> {
    crate::crypto::install_provider();
    let (filter, handle) = reload::Layer::new(parse_filter(&config.log_filter)?);
    let mut guard =
        match &config.otlp_endpoint {
            Some(endpoint) => exporter(endpoint, config.trace_sample_ratio, service, node)
                .map_err(|source| TelemetryError::Exporter {
                    endpoint: endpoint.clone(),
                    source,
                })?,
            None => Guard {
                provider: None,
                _runtime: None,
                filter: None,
            },
        };
    // Traces cross between nodes by the W3C `traceparent` header.
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match config.log_format {
        LogFormat::Human => log.with_target(true).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    let traces = guard.provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("civicnet"))
            .with_filter(EnvFilter::new("info"))
    });
    tracing_subscriber::registry()
        .with(traces)
        .with(log.with_filter(filter))
        .try_init()
        .map_err(TelemetryError::Installed)?;
    EXPORTS.store(guard.exports(), Ordering::Relaxed);
    guard.filter = Some(Box::new(move |filter| handle.reload(filter)));
    Ok(guard)
}

fn exporter(
    endpoint: &str,
    sample_ratio: f64,
    service: &str,
    node: Option<&str>,
) -> Result<Guard, crate::BoxError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("telemetry")
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    let runtime = Background(Some(runtime));
    let client = {
        let _entered = handle.enter();
        reqwest::Client::builder()
            .timeout(EXPORT_MAX)
            .no_proxy()
            .build()?
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Courier {
            runtime: handle,
            client,
        })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_MAX)
        .build()?;
    let mut resource = Resource::builder().with_service_name(service.to_owned());
    if let Some(node) = node {
        resource = resource.with_attribute(KeyValue::new("service.instance.id", node.to_owned()));
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            sample_ratio,
        ))))
        .with_resource(resource.build())
        .build();
    Ok(Guard {
        provider: Some(provider),
        _runtime: Some(runtime),
        filter: None,
    })
}

/// Carries export requests from whichever thread the SDK uses to our runtime.
#[derive(Debug)]
struct Courier {
    runtime: tokio::runtime::Handle,
    client: reqwest::Client,
}

#[async_trait]
impl HttpClient for Courier {
    async fn send_bytes(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = async move {
            let mut response = client.execute(request.try_into()?).await?;
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err("the collector's answer is too long".into());
                }
                body.extend_from_slice(&chunk);
            }
            *answer.body_mut() = body.into();
            Ok::<_, HttpError>(answer)
        };
        self.runtime.spawn(sending).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_their_keys() {
        let config = TelemetryConfig {
            log_filter: "info,edge=loud".to_owned(),
            otlp_endpoint: Some("collector:4318".to_owned()),
            trace_sample_ratio: 7.0,
            ..TelemetryConfig::default()
        };
        let keys: Vec<String> = crate::config::check(&config)
            .into_iter()
            .map(|finding| finding.key.to_string())
            .collect();
        assert_eq!(keys, ["log_filter", "otlp_endpoint", "trace_sample_ratio"]);
        assert!(crate::config::check(&TelemetryConfig::default()).is_empty());
    }
}
