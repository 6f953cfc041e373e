//! Configuration section `rpki`: where the console's RPKI pages take their data from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::{ServiceOptions, Source};
use super::validator::{INTERVAL_MIN, ValidatorOptions};
use crate::rtr::client::Upstream;

/// What the RPKI says, in the console. Without `vrps`, `rtr`, `tals` or `registries` the pages say that nothing is set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RpkiConfig {
    /// JSON file of validated payloads, read again when it changes.
    pub vrps: Option<PathBuf>,
    /// RTR server that is followed, such as the one of `civicnet run rpki`.
    pub rtr: Option<SocketAddr>,
    /// Address of the validation report of the service that is followed, such as
    /// `http://127.0.0.1:8283/report`, for the pages that show it.
    pub report_url: Option<String>,
    /// Trust anchor locators, or directories of them: the control plane validates by itself.
    pub tals: Vec<PathBuf>,
    /// Whether the five registries' locators are used, with or without `tals`.
    pub registries: bool,
    /// Directory of the local copy of all repositories, with `tals` or `registries`.
    pub repository_cache: PathBuf,
    /// Seconds between two validations, 10 to 86400.
    pub validate_every_s: u64,
    /// PEM files of further authorities for the certificates of RRDP servers.
    pub rrdp_ca: Vec<PathBuf>,
    /// Command that speaks rsync; an empty one does without rsync.
    pub rsync_command: String,
    /// Whether repositories may have port numbers, addresses or "localhost" in their names.
    pub dubious_hosts: bool,
    /// Files of local exceptions (SLURM, RFC 8416), read again when they change.
    pub slurm: Vec<PathBuf>,
    /// Directory that keeps the last data over a restart.
    pub dir: Option<PathBuf>,
}

impl Default for RpkiConfig {
    fn default() -> Self {
        Self {
            vrps: None,
            rtr: None,
            report_url: None,
            tals: Vec::new(),
            registries: false,
            repository_cache: "var/rpki-cache".into(),
            validate_every_s: 600,
            rrdp_ca: Vec::new(),
            rsync_command: "rsync".into(),
            dubious_hosts: false,
            slurm: Vec::new(),
            dir: None,
        }
    }
}

impl Check for RpkiConfig {
    fn check(&self, at: &mut Checker) {
        let sources = [self.vrps.is_some(), self.rtr.is_some(), self.validates()];
        at.require(
            sources.iter().filter(|one| **one).count() <= 1,
            "vrps",
            "only one of vrps, rtr, and tals with registries can be the source",
        );
        at.require(
            self.report_url.is_none() || !self.validates(),
            "report_url",
            "is for vrps and rtr: the report of tals and registries is at hand",
        );
        if let Some(text) = &self.report_url {
            let good = url::Url::parse(text)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            at.require(good, "report_url", "must be an http:// or https:// address");
        }
        at.require(
            (INTERVAL_MIN.as_secs()..=86_400).contains(&self.validate_every_s),
            "validate_every_s",
            "must be 10 to 86400",
        );
        at.require(
            !self.validates() || !self.repository_cache.as_os_str().is_empty(),
            "repository_cache",
            "must name a directory",
        );
    }
}

impl RpkiConfig {
    fn validates(&self) -> bool {
        self.registries || !self.tals.is_empty()
    }

    /// What the service is made from; `None` when no source is set.
    pub fn options(&self) -> Option<ServiceOptions> {
        let source = if let Some(file) = &self.vrps {
            Source::File(file.clone())
        } else if let Some(address) = self.rtr {
            Source::Rtr(Upstream { address, tls: None })
        } else if self.validates() {
            let cache = self.repository_cache.clone();
            let mut options = ValidatorOptions::new(cache, self.tals.clone());
            options.registries = self.registries;
            options.every = Duration::from_secs(self.validate_every_s);
            options.rrdp_root_certificates.clone_from(&self.rrdp_ca);
            options.rsync_command =
                (!self.rsync_command.is_empty()).then(|| self.rsync_command.clone());
            options.dubious_hosts = self.dubious_hosts;
            Source::Validator(Box::new(options))
        } else {
            return None;
        };
        Some(ServiceOptions {
            source,
            slurm: self.slurm.clone(),
            dir: self.dir.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_or_none() {
        let keys = |config: &RpkiConfig| -> Vec<String> {
            let found = runtime::config::check(config);
            found.into_iter().map(|one| one.key.to_string()).collect()
        };
        let mut config = RpkiConfig::default();
        assert!(keys(&config).is_empty() && config.options().is_none());
        config.vrps = Some("vrps.json".into());
        assert!(matches!(
            config.options().map(|options| options.source),
            Some(Source::File(_))
        ));
        config.report_url = Some("127.0.0.1:8283".into());
        assert_eq!(keys(&config), ["report_url"]);
        config.report_url = Some("http://127.0.0.1:8283/report".into());
        assert!(keys(&config).is_empty());
        config.registries = true;
        config.validate_every_s = 1;
        config.repository_cache = PathBuf::new();
        assert_eq!(
            keys(&config),
            ["vrps", "report_url", "validate_every_s", "repository_cache"]
        );
    }
}
