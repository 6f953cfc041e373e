//! Server-sent events for the parts of a page that renew themselves, with a
//! heartbeat that keeps proxies from closing them and a bound on how many are open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use http::{HeaderValue, header};
use tokio::sync::Semaphore;

use crate::problem::WebError;
use crate::ui::Markup;

/// Streams open at once in the whole console.
pub const STREAMS_MAX: usize = 2_000;
/// Time between heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream is ended after this long; browsers open it again by themselves, and
/// permissions are looked at afresh.
pub const STREAM_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// What a live part is told.
#[derive(Debug, Clone)]
pub enum Update {
    /// New texts for `data-live-value` elements: name and text.
    Values(Vec<(String, String)>),
    /// New HTML inside the element of this id.
    Fragment {
        /// The element's id.
        target: String,
        /// What stands in it from now on.
        html: Markup,
    },
    /// One more moment of the chart of this name.
    Point {
        /// The chart's name.
        chart: String,
        /// Milliseconds since the epoch.
        at_ms: i64,
        /// A value for each line.
        values: Vec<Option<f64>>,
    },
}

impl Update {
    fn event(&self) -> Event {
        let (name, data) = match self {
            Self::Values(values) => {
                let map: serde_json::Map<String, serde_json::Value> = values
                    .iter()
                    .map(|(name, text)| (name.clone(), text.clone().into()))
                    .collect();
                ("values", serde_json::Value::Object(map))
            }
            Self::Fragment { target, html } => (
                "fragment",
                serde_json::json!({ "target": target, "html": html.as_str() }),
            ),
            Self::Point {
                chart,
                at_ms,
                values,
            } => (
                "point",
                serde_json::json!({ "chart": chart, "at": *at_ms as f64 / 1000.0, "values": values }),
            ),
        };
        Event::default().event(name).data(data.to_string())
    }
}

/// The bound on open streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

impl Streams {
    /// Sends `updates` until they end, the reader goes away, `stop` resolves or
    /// [`STREAM_TIME_MAX`] has passed.
    ///
    /// # Errors
    /// 503 when [`STREAMS_MAX`] are open.
    pub fn open(
        &self,
        updates: impl Stream<Item = Update> + Send + 'static,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Response, WebError> {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else {
            return Err(WebError::unavailable(format!(
                "{STREAMS_MAX} live streams are open"
            )));
        };
        let end = async move {
            tokio::select! {
                () = stop => {}
                () = tokio::time::sleep(STREAM_TIME_MAX) => {}
            }
        };
        let events = updates
            .map(move |update| {
                // Held until the stream is dropped.
                let _held = &permit;
                Ok::<Event, Infallible>(update.event())
            })
            .take_until(end);
        let keep = KeepAlive::new().interval(HEARTBEAT).text("heartbeat");
        let mut response = Sse::new(events).keep_alive(keep).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        );
        // nginx and its kin buffer responses unless told.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}
