//! Serves one zone file: `serve FILE ADDRESS:PORT [THREADS]`. For tests and benchmarks
//! of this crate alone.

use std::path::Path;

use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve FILE ADDRESS:PORT [THREADS]".into());
    };
    let mut options = dispatch::ZoneFileOptions::new(vec![address.parse()?]);
    if let Some(threads) = arguments.next() {
        options.threads = threads.parse()?;
    }
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            token.cancel();
        }
    });
    dispatch::run_zone_file(Path::new(&file), options, shutdown).await?;
    Ok(())
}
