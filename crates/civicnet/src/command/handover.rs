//! `civicnet handover`: is this envelope what it says, and what is in it?

use std::io::Read as _;
use std::path::Path;

use anyhow::Context;
use isac::handover::{dsse, read};

use crate::Verdict;
use crate::cli::HandoverCommand;

pub(crate) fn run(what: HandoverCommand) -> anyhow::Result<Verdict> {
    let HandoverCommand::Verify { file, key, json } = what;
    let text = text_of(&file)?;
    let (payload, signer) = match dsse::open(text.trim(), &key) {
        Ok(opened) => opened,
        Err(error) => {
            crate::out(&format!("not believed: {error}"))?;
            return Ok(Verdict::NotInOrder);
        }
    };
    let document = match read(&payload) {
        Ok(document) => document,
        Err(rule) => {
            crate::out(&format!("signed by {signer}, but no hand-over: {rule}"))?;
            return Ok(Verdict::NotInOrder);
        }
    };
    if json {
        crate::out(&serde_json::to_string_pretty(&document)?)?;
        return Ok(Verdict::Good);
    }
    crate::out(&format!("signed by    {signer}"))?;
    crate::out(&format!("hand-over    {}", document.id))?;
    crate::out(&format!("from         {}", document.from))?;
    crate::out(&format!("to           {}", document.to))?;
    crate::out(&format!("at           {}", base::Timestamp(document.at)))?;
    crate::out(&format!(
        "incident     #{} {} (level {}, {})",
        casework::CaseNumber::new(document.number),
        document.subject,
        document.level,
        document.state
    ))?;
    crate::out(&format!("organisation {}", document.organisation))?;
    crate::out(&format!("evidence     {} entries", document.log.len()))?;
    Ok(Verdict::Good)
}

/// The file, or standard input for `-`.
fn text_of(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let limit = dsse::ENVELOPE_BYTES_MAX as u64 + 1;
    let result = if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    result.with_context(|| format!("could not read {}", file.display()))?;
    Ok(text)
}
