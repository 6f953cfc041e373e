//! `civicnet exchange health`: one member, end to end; and the findings into a case's timeline.

use anyhow::Context as _;
use base::Timestamp;
use exchange::document::Document;
use exchange::health::{self, Checked, Finding, Usual};
use exchange::places::Places;
use serde_json::json;

use super::enforce::Api;
use crate::Verdict;
use crate::cli::{ApiDoor, ExchangeHealth};

/// Characters of a note; a comment may have as many.
const NOTE_CHARS_MAX: usize = 4_000;
/// Characters of what was seen in one line of it.
const SEEN_CHARS_MAX: usize = 200;

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
                word(finding.verdict),
                finding.site,
                finding.object,
                finding.words_en,
                finding.seen,
                finding.expected
            ))?;
        }
    }
    if let Some((case, api)) = attach {
        let comment = json!({ "text": note(&checked), "internal": asked.internal });
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

const fn word(verdict: health::Verdict) -> &'static str {
    match verdict {
        health::Verdict::Good => "good",
        health::Verdict::Degraded => "DEGRADED",
        health::Verdict::Down => "DOWN",
    }
}

/// The findings as a comment of a case, in both languages: the worst first, as many as fit.
fn note(checked: &Checked) -> String {
    let (zh, en) = match checked.verdict {
        health::Verdict::Good => ("正常", "in order"),
        health::Verdict::Degraded => ("降級", "degraded"),
        health::Verdict::Down => ("中斷", "down"),
    };
    let seconds = i64::try_from(checked.at_s).unwrap_or(i64::MAX);
    let at = Timestamp::from_seconds(seconds).taipei();
    let mut text = format!(
        "AS{} {}:{zh} / {en} ({at}, civicnet exchange health)\n",
        checked.asn, checked.name
    );
    let mut findings: Vec<&Finding> = checked.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    let mut chars = text.chars().count();
    for (at, finding) in findings.iter().enumerate() {
        let short = |text: &str| text.chars().take(SEEN_CHARS_MAX).collect::<String>();
        let line = format!(
            "- {} {} {} {}:{} / {} ({}; {})\n",
            word(finding.verdict),
            finding.site,
            finding.check,
            finding.object,
            finding.words_zh,
            finding.words_en,
            short(&finding.seen),
            short(&finding.expected),
        );
        let rest = format!("… +{}\n", findings.len() - at);
        let length = line.chars().count();
        if chars + length + rest.chars().count() > NOTE_CHARS_MAX {
            text.push_str(&rest);
            break;
        }
        chars += length;
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(verdict: health::Verdict, object: &str) -> Finding {
        Finding {
            check: "session".into(),
            site: "hsinchu".into(),
            object: object.into(),
            verdict,
            seen: "x".repeat(1_000),
            expected: "Established".into(),
            words_zh: "連線中斷".into(),
            words_en: "the session is down".into(),
        }
    }

    #[test]
    fn a_note_tells_the_worst_first_and_fits_into_a_comment() {
        let mut checked = Checked {
            kind: "exchange-member-check".into(),
            version: 1,
            asn: 1659,
            name: "TANet".into(),
            at_s: 1_795_222_800,
            verdict: health::Verdict::Down,
            findings: vec![
                finding(health::Verdict::Good, "one"),
                finding(health::Verdict::Down, "two"),
            ],
        };
        let text = note(&checked);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("AS1659 TANet:中斷 / down (2026-"),
            "{}",
            lines[0]
        );
        assert!(lines[1].starts_with("- DOWN hsinchu session two:連線中斷 / the session is down"));
        assert!(lines[2].starts_with("- good"));
        checked.findings = vec![finding(health::Verdict::Down, "many"); 100];
        let text = note(&checked);
        assert!(text.chars().count() <= NOTE_CHARS_MAX);
        let told = text.lines().count() - 2;
        assert!(text.ends_with(&format!("… +{}\n", 100 - told)), "{text}");
    }
}
