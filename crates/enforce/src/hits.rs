//! Hits, counted by rule until they are handed on.

use std::collections::HashMap;
use std::net::IpAddr;

use base::event::{EnforcedEvent, EventBatch};
use base::{EnforcementId, Role, Timestamp};

/// Rules whose hits are counted at a time; hits of more are counted without their rule.
const RULES_MAX: usize = EventBatch::EVENTS_MAX;
/// Bytes of a subject.
const SUBJECT_BYTES_MAX: usize = 1_024;

/// Counts since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    by_rule: HashMap<EnforcementId, EnforcedEvent>,
    /// Of rules beyond the bound.
    pub(crate) uncounted: u64,
}

impl Hits {
    pub(crate) fn add(
        &mut self,
        enforcement: EnforcementId,
        role: Role,
        at: Timestamp,
        client: IpAddr,
        subject: &str,
    ) {
        if let Some(event) = self.by_rule.get_mut(&enforcement) {
            event.hits += 1;
            event.at = at;
            event.client = client;
            return;
        }
        if self.by_rule.len() >= RULES_MAX {
            self.uncounted += 1;
            return;
        }
        let mut end = subject.len().min(SUBJECT_BYTES_MAX);
        while !subject.is_char_boundary(end) {
            end -= 1;
        }
        self.by_rule.insert(
            enforcement,
            EnforcedEvent {
                at,
                enforcement,
                role,
                client,
                subject: subject[..end].into(),
                hits: 1,
            },
        );
    }

    pub(crate) fn take(&mut self) -> Vec<EnforcedEvent> {
        std::mem::take(&mut self.by_rule).into_values().collect()
    }
}
