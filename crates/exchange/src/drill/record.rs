//! What happened in a drill, for programs: one JSON object.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DrillError;
use super::plan::Plan;

/// A drill that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Format of this record.
    pub version: u32,
    /// Name of the drill's run: its time in UTC.
    pub id: String,
    /// Seconds since 1970 when it began.
    pub began_s: u64,
    /// Milliseconds from the first step to the end.
    pub lasted_ms: u64,
    /// The plan.
    pub plan: Plan,
    /// How it ended.
    pub end: End,
    /// Its steps, as far as it came.
    pub steps: Vec<StepRecord>,
    /// What the probes found.
    pub probes: Vec<ProbeRecord>,
    /// The route servers before, meanwhile and after.
    pub sites: Vec<SiteRecord>,
    /// Sessions that were up before and were not up again in time, as `site: session`.
    pub not_back: Vec<String>,
    /// Milliseconds from the restoration until every session was up again.
    pub back_ms: Option<u64>,
    /// What could not be undone, and why.
    pub not_undone: Vec<String>,
}

/// How a drill ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "why")]
pub enum End {
    /// Every step was done.
    Done,
    /// Somebody ended it early.
    Aborted,
    /// It took longer than its plan allows.
    TooLong,
    /// A step failed.
    Failed(String),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// When it began, in milliseconds since the drill began.
    pub from_ms: u64,
    /// When it ended.
    pub to_ms: u64,
    /// What was done to what.
    pub done: Vec<String>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// Its name.
    pub name: String,
    /// Signs of life.
    pub signs: u64,
    /// The longest silence of the whole drill in milliseconds; nothing when there was no sign at all.
    pub silence_ms: Option<u64>,
    /// When that silence began.
    pub silence_from_ms: Option<u64>,
    /// The longest silence in milliseconds that touches each step.
    pub by_step_ms: Vec<Option<u64>>,
    /// The longest that was allowed.
    pub silence_max_ms: Option<u64>,
    /// Whether it kept to that.
    pub kept: bool,
}

/// One route server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// The site.
    pub site: String,
    /// Established sessions before the drill.
    pub up_before: u64,
    /// Routes taken before the drill.
    pub routes_before: u64,
    /// The fewest established sessions that were seen.
    pub up_least: u64,
    /// Established sessions at the end.
    pub up_after: u64,
    /// Routes taken at the end.
    pub routes_after: u64,
}

impl Record {
    /// Whether the exchange did what the plan promises and everything is as it was.
    pub fn is_good(&self) -> bool {
        self.end == End::Done
            && self.not_back.is_empty()
            && self.not_undone.is_empty()
            && self.probes.iter().all(|probe| probe.kept)
    }

    /// Writes the record and its reports below `directory`: JSON, and Markdown in both languages.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>, DrillError> {
        std::fs::create_dir_all(directory).map_err(DrillError::file(directory))?;
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| DrillError::file(directory)(std::io::Error::other(error)))?;
        let mut written = Vec::new();
        for (ending, text) in [
            ("json", json + "\n"),
            ("zh-TW.md", super::report::markdown(self, true)),
            ("en.md", super::report::markdown(self, false)),
        ] {
            let path = directory.join(format!("drill-{}.{ending}", self.id));
            std::fs::write(&path, text).map_err(DrillError::file(&path))?;
            written.push(path);
        }
        Ok(written)
    }
}
