//! Signals that really come from the system.

use std::time::Duration;

use runtime::signals::{Signal, signals};

#[tokio::test]
async fn hang_up_reloads_and_terminate_stops() {
    let mut signals = signals().expect("handlers");
    for (name, expected) in [
        ("HUP", Signal::Reload),
        ("TERM", Signal::Stop),
        ("INT", Signal::Stop),
    ] {
        let sent = std::process::Command::new("kill")
            .arg(format!("-{name}"))
            .arg(std::process::id().to_string())
            .status();
        assert!(sent.expect("kill runs").success());
        let got = tokio::time::timeout(Duration::from_secs(30), signals.next()).await;
        assert_eq!(got.expect("it arrives"), expected, "{name}");
    }
}
