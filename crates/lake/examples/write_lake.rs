//! Writes a small lake for other engines to read: `write_lake DIRECTORY`. Prints,
//! as JSON, what they must find.

use std::io::Write;

use anyhow::Context;
use base::NodeName;
use base::event::{EventBatch, NoticeEvent, QueryEvent, Severity};
use lake::query::output::objects;
use lake::testing::{DAY, access};
use lake::{Lake, LakeConfig, QueryOptions, envelope};

const QUESTION: &str = "SELECT site_id, count(*) AS n, sum(hit) AS hits, \
    sum(http_response_size) AS bytes, min(timestamp) AS first, max(timestamp) AS last \
    FROM access GROUP BY site_id ORDER BY site_id";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = std::env::args()
        .nth(1)
        .context("usage: write_lake DIRECTORY")?;
    let config = LakeConfig {
        dir: dir.into(),
        ..LakeConfig::default()
    };
    let lake = Lake::open(&config).await?;
    let node: NodeName = "edge-a".parse()?;
    for seq in 0..12 {
        let events = (seq * 8_000..(seq + 1) * 8_000).map(access).collect();
        let mut bytes = Vec::new();
        envelope::encode(&EventBatch::Access(events), &mut bytes)?;
        lake.ingest(&node, seq, bytes.into()).await?;
        if seq % 5 == 4 {
            lake.flush().await?;
        }
    }
    let questions = vec![QueryEvent {
        at: DAY,
        name: "www.example.tw.".into(),
        kind: 28,
        rcode: 0,
        resolver: "192.0.2.53".parse()?,
        client: None,
        edge: None,
        tcp: true,
    }];
    lake.record(&node, &EventBatch::Query(questions)).await?;
    let notices = vec![NoticeEvent {
        at: DAY,
        severity: Severity::Info,
        kind: "test.started".into(),
        subject: "邊緣".into(),
        message: "for other engines".into(),
    }];
    lake.record(&node, &EventBatch::Notice(notices)).await?;
    lake.flush().await?;
    let found = lake.query(QUESTION, QueryOptions::default()).await?;
    let expected = serde_json::json!({
        "files": lake.lake_stats().files,
        "rows": 96_000,
        "by_site": objects(&found)?,
    });
    writeln!(std::io::stdout(), "{expected}")?;
    Ok(())
}
