//! `civicnet node`: tokens, inventory, revocation.

use std::io::Write as _;

use fabric::Control;
use store::Actor;

use super::control;
use crate::Verdict;
use crate::cli::NodeCommand;

const ACTOR: Actor = Actor::System("civicnet node");

pub(crate) async fn run(what: NodeCommand) -> anyhow::Result<Verdict> {
    match what {
        NodeCommand::Token {
            name,
            roles,
            place,
            hours,
        } => {
            let mut memory = control::open(&place.config).await?;
            memory.config.fabric.token_hours = hours;
            let control = Control::open(memory.db, memory.vault, memory.config.fabric).await?;
            let token = control.create_token(ACTOR, &name, &roles).await?;
            crate::out(&token.token.to_string())?;
        }
        NodeCommand::List { place, json } => {
            let memory = control::open(&place.config).await?;
            let control = Control::open(memory.db, memory.vault, memory.config.fabric).await?;
            let nodes = control.nodes().await?;
            if json {
                crate::out(&serde_json::to_string_pretty(&nodes)?)?;
                return Ok(Verdict::Good);
            }
            let mut out = std::io::stdout().lock();
            for node in nodes {
                let state = if node.online { "online" } else { "silent" };
                let versions: Vec<String> = node
                    .versions
                    .iter()
                    .map(|v| format!("{} {}/{}", v.role, v.version, v.latest))
                    .collect();
                let drain = if node.draining { ", draining" } else { "" };
                writeln!(
                    out,
                    "{:20} {state}{drain}  {}  last seen {}",
                    node.name.as_str(),
                    versions.join(", "),
                    seen(node.last_seen_at)
                )?;
            }
        }
        NodeCommand::Revoke { name, place } => {
            let memory = control::open(&place.config).await?;
            let control = Control::open(memory.db, memory.vault, memory.config.fabric).await?;
            control.revoke(ACTOR, &name).await?;
            crate::out(&format!(
                "{name} is revoked; to bring it back, make a new token"
            ))?;
        }
    }
    Ok(Verdict::Good)
}

fn seen(at: Option<base::Timestamp>) -> String {
    at.map_or_else(|| "never".to_owned(), base::Timestamp::taipei)
}
