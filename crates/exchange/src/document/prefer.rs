//! The manual switch in the document's text: one entry of `preferred_sites` changes, everything else,
//! comments and order included, stays as the operator wrote it.
//!
//! In TOML the entries are written as `[[preferred_sites]]` tables, the one form that can be taken out
//! and put in line by line; the result is read again and must be exactly the document that was meant.

use runtime::config::ConfigError;

use super::{Document, PreferredSite, is_json};

/// The line that begins an entry.
const HEADER: &str = "[[preferred_sites]]";

/// Why a document cannot be switched.
#[derive(Debug, thiserror::Error)]
pub enum PreferError {
    /// The document, before or after the change, breaks a rule.
    #[error("the document is not in order")]
    Document(#[from] ConfigError),
    /// The text has another form than the one that can be edited.
    #[error(
        "the entry of AS{0} cannot be changed in this text: write preferred_sites as [[preferred_sites]] tables"
    )]
    Form(u32),
    /// The JSON text cannot be changed.
    #[error("the document cannot be written")]
    Json(#[from] serde_json::Error),
}

/// The text of the document with the routers of `asn` at `site` before its others; with `None` they
/// are equals. `name` stands for the file in messages and decides the syntax.
///
/// # Errors
/// When the text or the change breaks a rule, or the text's form cannot be edited.
pub fn prefer(name: &str, text: &str, asn: u32, site: Option<&str>) -> Result<String, PreferError> {
    let mut wanted = Document::parse(name, text)?;
    wanted.preferred_sites.retain(|entry| entry.asn != asn);
    if let Some(site) = site {
        wanted.preferred_sites.push(PreferredSite {
            asn,
            site: site.to_owned(),
        });
    }
    let changed = if is_json(name) {
        in_json(text, &wanted)?
    } else {
        in_toml(text, asn, site)
    };
    // Tells what is wrong with the AS number or the site.
    let mut found = Document::parse(name, &changed)?;
    for document in [&mut found, &mut wanted] {
        document.preferred_sites.sort_by_key(|entry| entry.asn);
    }
    if found == wanted {
        Ok(changed)
    } else {
        Err(PreferError::Form(asn))
    }
}

fn in_json(text: &str, wanted: &Document) -> Result<String, serde_json::Error> {
    let mut value: serde_json::Value = serde_json::from_str(text)?;
    if let Some(object) = value.as_object_mut() {
        let entries = serde_json::to_value(&wanted.preferred_sites)?;
        object.insert("preferred_sites".to_owned(), entries);
    }
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn in_toml(text: &str, asn: u32, site: Option<&str>) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut entry: Option<Vec<&str>> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            close(&mut kept, entry.take(), asn);
            if trimmed.starts_with(HEADER) {
                entry = Some(vec![line]);
                continue;
            }
        }
        match &mut entry {
            Some(entry) => entry.push(line),
            None => kept.push(line),
        }
    }
    close(&mut kept, entry, asn);
    while kept.last().is_some_and(|line| line.trim().is_empty()) {
        kept.pop();
    }
    let mut out = kept.join("\n");
    out.push('\n');
    if let Some(site) = site {
        out.push_str(&format!("\n{HEADER}\nasn = {asn}\nsite = {site:?}\n"));
    }
    out
}

/// Keeps an entry that is another member's; of this member's only what a reader wrote around it.
fn close<'a>(kept: &mut Vec<&'a str>, entry: Option<Vec<&'a str>>, asn: u32) {
    let Some(entry) = entry else { return };
    let is_own = entry.iter().any(|line| {
        line.split_once('=').is_some_and(|(key, value)| {
            let value = value.split('#').next().unwrap_or_default().trim();
            key.trim() == "asn" && value.parse() == Ok(asn)
        })
    });
    if is_own {
        kept.extend(
            entry
                .into_iter()
                .filter(|line| line.trim().starts_with('#')),
        );
    } else {
        kept.extend(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = include_str!("../../tests/golden/lab.toml");

    #[test]
    fn a_switch_changes_one_entry_and_its_undo_gives_the_text_back() {
        let there = prefer("lab.toml", LAB, 9264, Some("tainan")).expect("switched");
        assert!(there.starts_with(LAB.trim_end()), "nothing else changes");
        let document = Document::parse("lab.toml", &there).expect("valid");
        assert_eq!(document.preferred_site(9264), Some("tainan"));
        let both = prefer("lab.toml", &there, 4782, Some("tainan")).expect("switched");
        let other = prefer("lab.toml", &both, 9264, Some("hsinchu")).expect("switched");
        let document = Document::parse("lab.toml", &other).expect("valid");
        assert_eq!(document.preferred_site(9264), Some("hsinchu"));
        assert_eq!(document.preferred_site(4782), Some("tainan"));
        let back = prefer("lab.toml", &there, 9264, None).expect("switched");
        assert_eq!(back.trim_end(), LAB.trim_end());
    }

    #[test]
    fn a_site_without_a_router_and_a_stranger_are_refused() {
        for (asn, site, told) in [
            (9264, "taichung", "must be one of"),
            (9999, "tainan", "no member"),
        ] {
            let error = prefer("lab.toml", LAB, asn, Some(site)).expect_err("refused");
            let words = runtime::error_chain(&error);
            assert!(words.contains(told), "{words}");
        }
    }

    #[test]
    fn a_form_that_cannot_be_edited_is_told() {
        let inline = format!("preferred_sites = [{{ asn = 9264, site = \"tainan\" }}]\n{LAB}");
        assert!(Document::parse("lab.toml", &inline).is_ok());
        assert!(prefer("lab.toml", &inline, 9264, Some("hsinchu")).is_err());
    }

    #[test]
    fn json_is_switched_too() {
        let document = Document::parse("lab.toml", LAB).expect("valid");
        let text = serde_json::to_string(&document).expect("written");
        let there = prefer("lab.json", &text, 9264, Some("tainan")).expect("switched");
        let back = prefer("lab.json", &there, 9264, None).expect("switched");
        assert_eq!(Document::parse("x.json", &back).expect("valid"), document);
    }
}
