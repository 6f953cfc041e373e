//! `civicnet exchange health`: one member, end to end.

use anyhow::Context as _;
use exchange::document::Document;
use exchange::health::{self, Usual};
use exchange::places::Places;

use crate::Verdict;
use crate::cli::ExchangeHealth;

pub(crate) fn run(asked: &ExchangeHealth) -> anyhow::Result<Verdict> {
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
            let verdict = match finding.verdict {
                health::Verdict::Good => "good",
                health::Verdict::Degraded => "DEGRADED",
                health::Verdict::Down => "DOWN",
            };
            crate::out(&format!(
                "{verdict:<9} {:<10} {:<28} {} ({}; expected {})",
                finding.site, finding.object, finding.words_en, finding.seen, finding.expected
            ))?;
        }
    }
    Ok(match checked.verdict {
        health::Verdict::Good => Verdict::Good,
        _ => Verdict::NotInOrder,
    })
}
