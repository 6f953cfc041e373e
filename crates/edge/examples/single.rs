//! One origin behind one edge: `single ORIGIN LISTEN [CACHE_DIR]`.

use std::sync::Arc;

use base::event::NoEvents;
use edge::{Edge, EdgeOptions};
use runtime::metrics::Metrics;
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(origin), Some(listen)) = (arguments.next(), arguments.next()) else {
        return Err("usage: single ORIGIN LISTEN [CACHE_DIR]".into());
    };
    let mut options = EdgeOptions::new("edge".parse()?);
    options.listen_http = vec![listen.parse()?];
    options.cache_dir = arguments.next().map(Into::into);
    let handle = Edge::start_single(
        options,
        &origin,
        None,
        Arc::new(NoEvents),
        &Metrics::new(),
        CancellationToken::new(),
    )?;
    // Park may return by itself.
    loop {
        std::thread::park();
        tracing::debug!(load = handle.load(), "Woken");
    }
}
