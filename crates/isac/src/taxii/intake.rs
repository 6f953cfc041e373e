//! Objects that are more than something to store: whoever joins as [`Intake`] sees each
//! before it is stored, with who sends it, and may refuse it.

use std::sync::Arc;

use async_trait::async_trait;
use base::{OrgId, UserId};
use serde_json::Value;
use web::OrgScope;

use super::auth::Caller;
use crate::objects::{Batch, Refused};
use crate::stix::Wrong;

/// Types that are shown; others are stored without a look.
const KINDS: [&str; 2] = ["incident", "note"];

/// Who sends.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The person.
    pub user: UserId,
    /// The organisation that they speak for.
    pub org: Option<OrgId>,
    /// Organisations for which they may write.
    pub write: OrgScope,
}

/// Whoever makes more of objects that come.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Does what `object` asks for. Called again when a push is repeated.
    ///
    /// # Errors
    /// Path and rule, for the push's status, on a line each: the object is not stored.
    async fn take(&self, sender: &Sender, object: &Value) -> Result<(), String>;
}

/// Shows the objects of a push; what is refused moves to the refused.
pub(super) async fn show(intake: &Arc<dyn Intake>, caller: &Caller, batch: &mut Batch) {
    let Some(user) = caller.principal.user() else {
        return;
    };
    if !batch
        .objects
        .iter()
        .any(|object| KINDS.contains(&object.kind.as_str()))
    {
        return;
    }
    let sender = Sender {
        user,
        org: caller.org(),
        write: caller.write.clone(),
    };
    let mut kept = Vec::with_capacity(batch.objects.len());
    for object in std::mem::take(&mut batch.objects) {
        if !KINDS.contains(&object.kind.as_str()) {
            kept.push(object);
            continue;
        }
        let value: Value = serde_json::from_str(&object.json).unwrap_or_default();
        match intake.take(&sender, &value).await {
            Ok(()) => kept.push(object),
            Err(why) => {
                batch.refused.push(Refused {
                    index: object.index,
                    id: object.id.chars().take(100).collect(),
                    version: value["modified"].as_str().unwrap_or_default().to_owned(),
                    wrong: wrong_of(object.index, &why),
                });
            }
        }
    }
    batch.objects = kept;
}

/// The status puts the object's place before the first path; further problems get it here.
fn wrong_of(index: usize, why: &str) -> Wrong {
    let mut lines = why.lines();
    let first = lines.next().unwrap_or_default();
    let (path, rule) = first.split_once(": ").unwrap_or(("", first));
    let mut rule = rule.to_owned();
    for line in lines {
        rule.push_str(&format!("; objects[{index}].{line}"));
    }
    Wrong {
        path: path.to_owned(),
        rule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_names_its_object() {
        let wrong = wrong_of(
            3,
            "extensions.x.a: must be there\nextensions.x.b: must be short",
        );
        assert_eq!(
            (wrong.path.as_str(), wrong.rule.as_str()),
            (
                "extensions.x.a",
                "must be there; objects[3].extensions.x.b: must be short"
            )
        );
    }
}
