//! What shall be rehearsed: a document in TOML.

use std::path::Path;

use runtime::config::{self, Check, Checker, ConfigError, NoEnv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::places::check_command;

/// Steps of one drill.
pub const STEPS_MAX: usize = 100;
/// Probes of one drill.
pub const PROBES_MAX: usize = 32;
/// Seconds of one drill, at most.
pub const DURATION_MAX_S: u64 = 24 * 3600;
/// Patterns of sessions in one step.
const PATTERNS_MAX: usize = 1_000;

/// A drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Drill of an exchange")]
pub struct Plan {
    /// What it is called, in English.
    pub title: String,
    /// What it is called, in Chinese; without it the English words.
    #[serde(default)]
    pub title_zh: Option<String>,
    /// Seconds after which everything is restored, whatever happens.
    pub max_s: u64,
    /// Seconds that sessions may take to come back after the restoration.
    #[serde(default = "back_s")]
    pub back_s: u64,
    /// What is measured all the time.
    #[serde(default)]
    pub probes: Vec<Probe>,
    /// What is done, one after another. Whatever is not restored at the end is restored then.
    pub steps: Vec<Step>,
}

/// A command that gives a sign of life again and again: `ping -i 0.02 192.0.2.1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Name for people.
    pub name: String,
    /// The command, without a shell; it must go on until it is ended.
    pub command: Vec<String>,
    /// Text in each line that is a sign of life.
    #[serde(default = "sign")]
    pub sign: String,
    /// The longest silence in milliseconds that the drill may cause.
    #[serde(default)]
    pub silence_max_ms: Option<u64>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "do")]
pub enum Step {
    /// Takes sessions of a route server down.
    Disable {
        /// The site.
        site: String,
        /// Names of sessions, `*` standing for any characters; without them every session.
        #[serde(default = "every")]
        sessions: Vec<String>,
    },
    /// Runs a command of a driver, such as one that shuts a switch's port.
    Command {
        /// What it does, for people.
        name: String,
        /// The command, without a shell.
        run: Vec<String>,
        /// What takes it back.
        undo: Vec<String>,
    },
    /// Lets time pass.
    Wait {
        /// Seconds.
        seconds: u64,
    },
    /// Undoes everything that was done so far.
    Restore,
}

fn back_s() -> u64 {
    60
}
fn sign() -> String {
    "bytes from".to_owned()
}
fn every() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Plan {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// With every problem found.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        config::load(path, &NoEnv)
    }

    /// As [`Self::load`], from `text`.
    ///
    /// # Errors
    /// With every problem found.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        config::parse(name, text, &NoEnv)
    }

    /// Seconds that the steps wait altogether.
    pub fn waits_s(&self) -> u64 {
        let waits = self.steps.iter().map(|step| match step {
            Step::Wait { seconds } => *seconds,
            _ => 0,
        });
        waits.fold(0, u64::saturating_add)
    }

    /// The sites that are touched, each once.
    pub fn sites(&self) -> Vec<&str> {
        let mut sites: Vec<&str> = Vec::new();
        for step in &self.steps {
            if let Step::Disable { site, .. } = step
                && !sites.contains(&site.as_str())
            {
                sites.push(site);
            }
        }
        sites
    }
}

impl Step {
    /// In words, for people.
    pub fn words(&self, zh: bool) -> String {
        match (self, zh) {
            (Self::Disable { site, sessions }, true) => {
                format!("關閉 {site} 路由伺服器的連線（{}）", sessions.join("、"))
            }
            (Self::Disable { site, sessions }, false) => {
                format!("take sessions of {site} down ({})", sessions.join(", "))
            }
            (Self::Command { name, .. }, _) => name.clone(),
            (Self::Wait { seconds }, true) => format!("等候 {seconds} 秒"),
            (Self::Wait { seconds }, false) => format!("wait {seconds} s"),
            (Self::Restore, true) => "全部復原".to_owned(),
            (Self::Restore, false) => "restore everything".to_owned(),
        }
    }
}

/// Whether a session's name fits a pattern.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|head| name.strip_prefix(head)) else {
        return false;
    };
    let mut rest = rest;
    let mut last = None;
    for part in parts {
        match rest.find(part) {
            Some(at) => {
                last = Some(part);
                rest = &rest[at + part.len()..];
            }
            None => return false,
        }
    }
    match last {
        None => rest.is_empty(),
        // The last part must be able to stand at the end.
        Some(tail) => name.ends_with(tail),
    }
}

impl Check for Plan {
    fn check(&self, at: &mut Checker) {
        check_line(&self.title, "title", at);
        if let Some(title) = &self.title_zh {
            check_line(title, "title_zh", at);
        }
        at.require(
            (1..=DURATION_MAX_S).contains(&self.max_s),
            "max_s",
            format!("must be 1 to {DURATION_MAX_S}"),
        );
        at.require(
            (1..=3600).contains(&self.back_s),
            "back_s",
            "must be 1 to 3600",
        );
        at.require(
            self.waits_s() < self.max_s,
            "max_s",
            format!(
                "must be more than the {} s that the steps wait",
                self.waits_s()
            ),
        );
        at.require(
            self.probes.len() <= PROBES_MAX,
            "probes",
            format!("must be at most {PROBES_MAX}"),
        );
        at.require(
            (1..=STEPS_MAX).contains(&self.steps.len()),
            "steps",
            format!("must be 1 to {STEPS_MAX}"),
        );
        at.key("probes", |at| {
            for (index, probe) in self.probes.iter().enumerate() {
                at.index(index, |at| {
                    check_line(&probe.name, "name", at);
                    check_line(&probe.sign, "sign", at);
                    check_command(&probe.command, 1, "command", at);
                });
            }
        });
        at.key("steps", |at| {
            for (index, step) in self.steps.iter().enumerate() {
                at.index(index, |at| check_step(step, at));
            }
        });
    }
}

fn check_step(step: &Step, at: &mut Checker) {
    match step {
        Step::Disable { site, sessions } => {
            check_line(site, "site", at);
            let is_pattern = |text: &String| {
                !text.is_empty()
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'*')
            };
            at.require(
                (1..=PATTERNS_MAX).contains(&sessions.len()) && sessions.iter().all(is_pattern),
                "sessions",
                format!("must be 1 to {PATTERNS_MAX} names of letters, digits, _ and *"),
            );
        }
        Step::Command { name, run, undo } => {
            check_line(name, "name", at);
            check_command(run, 1, "run", at);
            check_command(undo, 1, "undo", at);
        }
        Step::Wait { seconds } => at.require(
            (1..=DURATION_MAX_S).contains(seconds),
            "seconds",
            format!("must be 1 to {DURATION_MAX_S}"),
        ),
        Step::Restore => {}
    }
}

fn check_line(text: &str, key: &str, at: &mut Checker) {
    let chars = text.chars().count();
    at.require(
        (1..=120).contains(&chars) && !text.chars().any(char::is_control),
        key,
        "must be one line of 1 to 120 characters",
    );
}
