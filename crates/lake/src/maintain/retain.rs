//! Age: old rows lose the addresses of people, then are deleted.
//!
//! Deleting by the clock is dangerous when the clock is wrong. Nodes have clocks
//! of their own and stamp their events, so nothing is aged unless some node's last
//! events are from about now.

use std::sync::Arc;

use base::Timestamp;

use super::Maintenance;
use crate::LakeError;
use crate::part::{DAY_US, Part};
use crate::table::Table;

/// How far the latest events of a node may be from now to confirm it.
const CLOCK_SLACK_US: i64 = DAY_US;
/// Files rewritten without addresses in one round.
const REWRITES_MAX: usize = 32;

impl Maintenance {
    /// Whether some node's clock agrees with ours.
    pub(super) fn clock_is_plausible(&self, now: Timestamp) -> bool {
        self.shared.with(|state| {
            state
                .nodes
                .values()
                .any(|node| node.clock_us.abs_diff(now.micros()) <= CLOCK_SLACK_US as u64)
        })
    }

    /// Deletes files whose youngest row is too old.
    pub(super) fn expire(&mut self, now: Timestamp) -> Result<usize, LakeError> {
        let retention = self.config.retention.clone();
        let old: Vec<Arc<Part>> = self
            .parts()
            .into_iter()
            .filter(|part| part.max_us < days_before(now, part.table.days(&retention)))
            .collect();
        if !old.is_empty() {
            self.replace(&old, Vec::new())?;
        }
        Ok(old.len())
    }

    /// Rewrites files without addresses when all their rows are old enough.
    pub(super) fn anonymise(&mut self, now: Timestamp) -> Result<usize, LakeError> {
        let before_us = days_before(now, self.config.retention.address_days);
        let due: Vec<Arc<Part>> = self
            .parts()
            .into_iter()
            .filter(|part| part.addresses && part.max_us < before_us)
            .take(REWRITES_MAX)
            .collect();
        for part in &due {
            let old = [Arc::clone(part)];
            let sql = anonymous_sql(part.table);
            let added = self.rewrite(&old, part.partition_us(), part.grain, &sql)?;
            self.replace(&old, added)?;
        }
        Ok(due.len())
    }
}

fn days_before(now: Timestamp, days: u32) -> i64 {
    now.micros()
        .saturating_sub(i64::from(days).saturating_mul(DAY_US))
}

fn anonymous_sql(table: Table) -> String {
    let schema = table.schema();
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let column = field.name();
            if table.addresses().contains(&column.as_str()) {
                format!("CAST(NULL AS VARCHAR) AS {column}")
            } else {
                column.clone()
            }
        })
        .collect();
    format!(
        "SELECT {} FROM {} ORDER BY {}",
        columns.join(", "),
        table.name(),
        table.order().join(", ")
    )
}
