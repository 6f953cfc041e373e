//! Tests of the supervisor, in paused time.

use super::*;
use std::sync::atomic::AtomicU32;

fn restart(limit: Option<u32>) -> Restart {
    Restart {
        limit,
        ..Restart::default()
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition did not come to hold");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_caught_named_and_counted() {
    let metrics = Metrics::new();
    let supervisor = Supervisor::new().counted_by(&metrics);
    supervisor.spawn("clumsy", async {
        if true {
            panic!("dropped the tray");
        }
    });
    until(|| {
        supervisor
            .list()
            .first()
            .is_some_and(|t| t.state == TaskState::Failed)
    })
    .await;
    let task = &supervisor.list()[0];
    assert_eq!(
        task.last_error.as_deref(),
        Some("panicked: dropped the tray")
    );
    let text = metrics.encode();
    assert!(
        text.contains("civicnet_task_failures_total{task=\"clumsy\"} 1"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_is_restarted_and_given_up_at_its_limit() {
    let supervisor = Supervisor::new();
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = attempts.clone();
    supervisor.spawn_restarting("stubborn", restart(Some(3)), move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(std::io::Error::other("no luck")) }
    });
    until(|| supervisor.list()[0].state == TaskState::Failed).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 4);
    assert_eq!(supervisor.list()[0].restarts, 3);
    assert_eq!(supervisor.list()[0].last_error.as_deref(), Some("no luck"));
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_takes_the_process_with_it() {
    let supervisor = Supervisor::new();
    supervisor.spawn_essential("listener", async {});
    supervisor.soft().cancelled().await;
    assert!(supervisor.has_failed());
}

#[tokio::test(start_paused = true)]
async fn periodic_work_survives_failures_and_can_be_woken() {
    let supervisor = Supervisor::new();
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let hour = Duration::from_secs(3_600);
    let periodic = supervisor.every("sweep", hour, move || {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                0 => Err("broom broken".to_owned()),
                1 => panic!("floor missing"),
                _ => Ok(()),
            }
        }
    });
    let info = || supervisor.list()[0].periodic.clone().expect("periodic");
    until(|| info().runs == 1).await;
    assert_eq!(info().last_ok, Some(false));
    let began = Instant::now();
    periodic.wake();
    until(|| info().runs == 2).await;
    assert!(began.elapsed() < hour, "woken early");
    tokio::time::sleep(hour).await;
    until(|| info().runs >= 3).await;
    assert_eq!((info().failures, info().last_ok), (2, Some(true)));
    assert_eq!(
        supervisor.shutdown(Duration::from_secs(1)).await,
        Stopped::default()
    );
    assert!(supervisor.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_soft_then_hard_then_abort() {
    let supervisor = Supervisor::new();
    let (soft, hard) = (supervisor.soft(), supervisor.hard());
    supervisor.spawn("polite", async move { soft.cancelled().await });
    supervisor.spawn("slow", async move { hard.cancelled().await });
    supervisor.spawn("deaf", std::future::pending::<()>());
    let stopped = supervisor.shutdown(Duration::from_secs(5)).await;
    assert_eq!(stopped.late, ["slow", "deaf"]);
    assert_eq!(stopped.aborted, ["deaf"]);
    assert!(supervisor.list().is_empty());
}
