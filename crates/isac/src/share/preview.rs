//! What would go to a peer or a member, and what not, and why: the policy tried on what
//! is stored, without sending anything.

use std::collections::BTreeMap;

use super::lens::{Lens, Seen};
use super::{ShareError, Sharing};
use crate::objects::{Collection, Filter, Objects};
use crate::stix::Tlp;

/// Objects that a preview looks at: the newest of the collection.
pub const LOOKED_AT_MAX: u32 = 1_000;
/// Examples of each fate.
const EXAMPLES_MAX: usize = 20;

/// One object and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The object.
    pub id: String,
    /// What it is called, as far as it is called anything.
    pub name: String,
    /// Why it stays; empty: it goes.
    pub why: String,
    /// Whether anything was cleaned.
    pub cleaned: bool,
    /// The object as the audience would get it.
    pub after: String,
}

/// What a preview says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// Version of the policy; 0 is the one that is built in, -1 one that is only tried.
    pub version: i64,
    /// Objects looked at.
    pub looked_at: usize,
    /// Of these, go.
    pub passes: usize,
    /// Of those that go, cleaned.
    pub cleaned: usize,
    /// How many stay, by reason.
    pub stays: BTreeMap<String, usize>,
    /// The first of those that go and of those that stay.
    pub examples: Vec<Example>,
}

impl Sharing {
    /// Tries `lens` on the newest objects of `collection` up to the marking `clearance`.
    ///
    /// # Errors
    /// When the objects cannot be read.
    pub async fn preview(
        &self,
        objects: &Objects,
        collection: &Collection,
        clearance: Tlp,
        lens: &Lens,
    ) -> Result<Preview, ShareError> {
        let rows = objects
            .newest(collection, clearance, &Filter::default(), LOOKED_AT_MAX)
            .await?;
        let mut lens = lens.clone();
        self.know_authors(&mut lens, rows.iter().map(|row| row.json.as_str()))
            .await?;
        let mut preview = Preview {
            version: lens.version,
            looked_at: rows.len(),
            ..Preview::default()
        };
        let (mut going, mut staying) = (0, 0);
        for row in rows {
            let name = || {
                let value: serde_json::Value = serde_json::from_str(&row.json).unwrap_or_default();
                let text = ["name", "value", "abstract", "relationship_type", "opinion"]
                    .into_iter()
                    .find_map(|name| value[name].as_str());
                text.unwrap_or_default()
                    .chars()
                    .take(120)
                    .collect::<String>()
            };
            let seen = match lens.came_from(&row) {
                true => Seen::Withheld {
                    rule: None,
                    why: "it came from there".to_owned(),
                },
                false => lens.look(&row.json, row.source),
            };
            match seen {
                Seen::Whole(text) => {
                    preview.passes += 1;
                    let cleaned = matches!(text, std::borrow::Cow::Owned(_));
                    preview.cleaned += usize::from(cleaned);
                    going += 1;
                    if going <= EXAMPLES_MAX {
                        preview.examples.push(Example {
                            id: lens.id(&row.id, row.source).into_owned(),
                            name: name(),
                            why: String::new(),
                            cleaned,
                            after: text.into_owned(),
                        });
                    }
                }
                Seen::Withheld { why, .. } => {
                    *preview.stays.entry(why.clone()).or_default() += 1;
                    staying += 1;
                    if staying <= EXAMPLES_MAX {
                        preview.examples.push(Example {
                            id: row.id.clone(),
                            name: name(),
                            why,
                            cleaned: false,
                            after: String::new(),
                        });
                    }
                }
            }
        }
        Ok(preview)
    }
}
