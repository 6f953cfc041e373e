//! `civicnet exchange health`: one member, end to end; and the findings into a case's timeline.

use anyhow::Context as _;
use exchange::document::Document;
use exchange::health::{self, Usual};
use exchange::places::Places;
use serde_json::json;

use super::enforce::Api;
use crate::Verdict;
use crate::cli::{ApiDoor, ExchangeHealth};

/// Where the findings come from, in a case's time-line.
const SOURCE: &str = "civicnet exchange health";

pub(crate) async fn run(asked: &ExchangeHealth) -> anyhow::Result<Verdict> {
    // Before minutes of looking: is there a door at all?
    let attach = match asked.attach {
        None => None,
        Some(case) => Some((case, Api::open(&door(asked))?)),
    };
    let document = Document::load(&asked.members)?;
    let places = Places::load(&asked.places)?;
    let member = document
        .members
        .iter()
        .find(|member| member.asn == asked.asn)
        .with_context(|| format!("AS{} is no member", asked.asn))?;
    let mut usual = match &asked.usual {
        Some(file) => Usual::load(file)?,
        None => Usual::default(),
    };
    let at_s = super::drill::now_s();
    let checked = health::check(&document, member, &places, &mut usual, asked.learn, at_s);
    if let (Some(file), true) = (&asked.usual, asked.learn) {
        usual.save(file)?;
    }
    if asked.json {
        crate::out(&serde_json::to_string_pretty(&checked)?)?;
    } else {
        for finding in &checked.findings {
            crate::out(&format!(
                "{:<9} {:<10} {:<28} {} ({}; expected {})",
                finding.verdict.word(),
                finding.site,
                finding.object,
                finding.words_en,
                finding.seen,
                finding.expected
            ))?;
        }
    }
    if let Some((case, api)) = attach {
        let comment = json!({ "text": health::note(&checked, SOURCE), "internal": asked.internal });
        api.post(&format!("cases/{case}/comments"), &comment)
            .await
            .with_context(|| format!("the findings are not attached to case {case}"))?;
        crate::complain(&format!("attached to case {case}"));
    }
    Ok(match checked.verdict {
        health::Verdict::Good => Verdict::Good,
        _ => Verdict::NotInOrder,
    })
}

fn door(asked: &ExchangeHealth) -> ApiDoor {
    ApiDoor {
        api: asked.api.clone(),
        token_file: asked.token_file.clone(),
        dir: asked.dir.clone(),
        json: false,
    }
}
