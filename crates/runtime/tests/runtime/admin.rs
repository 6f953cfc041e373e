//! The administrative interface over a real socket, under a supervisor.

use std::net::SocketAddr;
use std::time::Duration;

use runtime::admin::{self, Admin};
use runtime::listen::{self, Options};
use runtime::metrics::Metrics;
use runtime::ready::Readiness;
use runtime::tasks::{Stopped, Supervisor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn it_shows_what_runs_and_ends_when_told() {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let listener = listen::tcp(loopback, &Options::default()).expect("a port");
    let address = listener.local_addr().expect("an address");
    let metrics = Metrics::with_process();
    let admin = Admin {
        metrics: metrics.clone(),
        readiness: Readiness::new(),
        supervisor: Supervisor::new().counted_by(&metrics),
    };
    let supervisor = admin.supervisor.clone();
    supervisor.every("sweep", Duration::from_secs(3_600), || async {});
    supervisor.spawn_essential("admin", admin::serve(listener, admin, supervisor.soft()));
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let tasks = get(address, "/tasks").await;
    for part in [
        "\"name\":\"sweep\"",
        "\"name\":\"admin\"",
        "\"state\":\"running\"",
    ] {
        assert!(tasks.contains(part), "{tasks}");
    }
    let text = get(address, "/metrics").await;
    assert!(text.contains("process_open_fds"), "{text}");
    assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));
    let stopped = supervisor.shutdown(Duration::from_secs(30)).await;
    assert_eq!(stopped, Stopped::default());
    assert!(!supervisor.has_failed(), "it was asked to end");
    assert!(TcpStream::connect(address).await.is_err());
}
