//! How each site's route server is reached from here: a small file for the commands that touch several
//! sites at once (`switch`, `drill`, `health`).

use std::path::{Path, PathBuf};

use runtime::config::{self, Check, Checker, ConfigError, NoEnv};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{EngineKind, SITES_MAX};
use crate::engine::daemon::Daemon;

/// Words of one command.
pub const COMMAND_WORDS_MAX: usize = 64;
/// Characters of one word of a command.
pub const WORD_CHARS_MAX: usize = 1_000;

/// The route servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Places of route servers")]
pub struct Places {
    /// One entry a site.
    pub places: Vec<Place>,
}

/// One site's route server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The site's name in the members' document.
    pub site: String,
    /// Its daemon; without it BIRD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineKind>,
    /// The daemon's control socket; without it Debian's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// The daemon's configuration file; without it Debian's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Words put before a command that is to run at this site, without a shell: `["ssh", "rs1"]`.
    #[serde(default)]
    pub run: Vec<String>,
}

impl Places {
    /// Reads the file at `path` (TOML).
    ///
    /// # Errors
    /// With every problem found.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        config::load(path, &NoEnv)
    }

    /// The place of a site.
    pub fn of(&self, site: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.site == site)
    }

    /// The sites, for messages.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.places.iter().map(|one| one.site.as_str()).collect();
        names.join(", ")
    }
}

impl Place {
    /// The daemon at this place.
    pub fn daemon(&self) -> Daemon {
        let kind = self.engine.unwrap_or(EngineKind::Bird);
        let usual = Daemon::debian(kind);
        Daemon {
            kind,
            socket: self.socket.clone().unwrap_or(usual.socket),
            config: self.config.clone().unwrap_or(usual.config),
        }
    }

    /// `command` as it is run at this place.
    pub fn command(&self, command: &[&str]) -> Vec<String> {
        let words = command.iter().map(|word| (*word).to_owned());
        self.run.iter().cloned().chain(words).collect()
    }
}

impl Check for Places {
    fn check(&self, at: &mut Checker) {
        at.require(
            (1..=SITES_MAX).contains(&self.places.len()),
            "places",
            format!("must be 1 to {SITES_MAX}"),
        );
        let mut seen = std::collections::BTreeSet::new();
        at.key("places", |at| {
            for (index, place) in self.places.iter().enumerate() {
                at.index(index, |at| {
                    at.require(
                        seen.insert(&place.site),
                        "site",
                        format!("{:?} is here twice", place.site),
                    );
                    let is_absolute =
                        |path: &Option<PathBuf>| path.as_ref().is_none_or(|one| one.is_absolute());
                    at.require(
                        is_absolute(&place.socket),
                        "socket",
                        "must be an absolute path",
                    );
                    at.require(
                        is_absolute(&place.config),
                        "config",
                        "must be an absolute path",
                    );
                    check_command(&place.run, 0, "run", at);
                });
            }
        });
    }
}

/// A command is a bounded list of words without control characters.
pub(crate) fn check_command(words: &[String], words_min: usize, key: &str, at: &mut Checker) {
    at.require(
        (words_min..=COMMAND_WORDS_MAX).contains(&words.len()),
        key,
        format!("must be {words_min} to {COMMAND_WORDS_MAX} words"),
    );
    let is_good = |word: &String| {
        word.chars().count() <= WORD_CHARS_MAX && !word.chars().any(|c| c == '\0' || c == '\n')
    };
    at.require(
        words.iter().all(is_good),
        key,
        format!("a word must be at most {WORD_CHARS_MAX} characters on one line"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_defaults_and_rules() {
        let read = |text: &str| config::parse::<Places>("places.toml", text, &NoEnv);
        let good =
            read("[[places]]\nsite = \"hsinchu\"\nrun = [\"ssh\", \"rs1\"]\n").expect("valid");
        let place = good.of("hsinchu").expect("there");
        assert_eq!(place.daemon(), Daemon::debian(EngineKind::Bird));
        let other = read("[[places]]\nsite = \"tainan\"\nengine = \"openbgpd\"\nconfig = \"/a\"\n")
            .expect("valid");
        let daemon = other.of("tainan").expect("there").daemon();
        assert_eq!(daemon.socket, Daemon::debian(EngineKind::Openbgpd).socket);
        assert_eq!(daemon.config, Path::new("/a"));
        assert_eq!(place.command(&["ping"]), ["ssh", "rs1", "ping"]);
        for (text, told) in [
            ("places = []\n", "must be 1 to"),
            (
                "[[places]]\nsite = \"a\"\n[[places]]\nsite = \"a\"\n",
                "twice",
            ),
            (
                "[[places]]\nsite = \"a\"\nsocket = \"bird.ctl\"\n",
                "absolute",
            ),
        ] {
            let words = runtime::error_chain(&read(text).expect_err("refused"));
            assert!(words.contains(told), "{words}");
        }
    }
}
