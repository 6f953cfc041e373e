//! Asking the registries whose addresses are whose, for the owner check. What they said last stays while
//! they cannot be asked.

use std::path::PathBuf;

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Protect;
use crate::irr::{self, Allowed, Registry, rpsl::Files, whois};
use crate::room::{By, Exchange, Member, RoomError, Wanted};

/// Registry files that are read.
const FILES_MAX: usize = 100;
/// Seconds between two looks, at least.
const REFRESH_MIN_S: u64 = 60;

/// Where registered address space of members comes from (role `control`); where neither server nor
/// files are named, the registries of `[irr]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProtectionConfig {
    /// A registry server that speaks IRRd's protocol, as `host:port`; before the files.
    pub irr_server: Option<String>,
    /// Files in RPSL.
    pub irr_files: Vec<PathBuf>,
    /// Seconds between two looks.
    pub refresh_s: u64,
}

impl Default for ProtectionConfig {
    fn default() -> Self {
        Self {
            irr_server: None,
            irr_files: Vec::new(),
            refresh_s: 3_600,
        }
    }
}

impl ProtectionConfig {
    /// Whether there is a registry to ask.
    pub fn is_on(&self) -> bool {
        self.irr_server.is_some() || !self.irr_files.is_empty()
    }
}

impl Check for ProtectionConfig {
    fn check(&self, at: &mut Checker) {
        at.require(
            self.refresh_s >= REFRESH_MIN_S,
            "refresh_s",
            format!("must be at least {REFRESH_MIN_S}"),
        );
        at.require(
            self.irr_files.len() <= FILES_MAX,
            "irr_files",
            format!("must be at most {FILES_MAX}"),
        );
    }
}

/// A member as the registries are asked about it.
struct Asked {
    asn: u32,
    sets: [String; 2],
    sources: Vec<String>,
}

impl Protect {
    /// Asks the registries about every active member and keeps what they say. A member that they do not
    /// know, or cannot be asked about, keeps what was known; returns how many were learnt.
    ///
    /// # Errors
    /// [`RoomError::Data`] when no registry can be asked at all.
    pub async fn refresh(
        &self,
        exchange: &Exchange,
        config: &ProtectionConfig,
    ) -> Result<usize, RoomError> {
        let members = exchange
            .all::<Member>(&Wanted::by("state", "active"))
            .await?;
        let asked: Vec<Asked> = members
            .iter()
            .map(|member| {
                let own = &member.value;
                let plain = format!("AS{}", own.asn);
                let v4 = own.as_set.clone().unwrap_or(plain);
                let v6 = own.as_set_v6.clone().unwrap_or_else(|| v4.clone());
                let sources = own.irr_sources.as_deref().unwrap_or_default();
                Asked {
                    asn: own.asn,
                    sets: [v4, v6],
                    sources: sources.split_whitespace().map(str::to_owned).collect(),
                }
            })
            .collect();
        let config = config.clone();
        let answers = tokio::task::spawn_blocking(move || ask(&config, &asked))
            .await
            .map_err(|error| RoomError::Data(error.to_string()))?
            .map_err(|error| RoomError::Data(runtime::error_chain(&error)))?;
        let by = By::system("registries");
        let learnt = answers.len();
        for (asn, allowed) in answers {
            let prefixes: Vec<base::Prefix> = allowed
                .into_iter()
                .flat_map(|allowed| allowed.prefixes)
                .collect();
            self.keep_space(&by, asn, "irr", &prefixes).await?;
        }
        Ok(learnt)
    }
}

fn ask(
    config: &ProtectionConfig,
    asked: &[Asked],
) -> Result<Vec<(u32, [Allowed; 2])>, irr::IrrError> {
    let mut registry: Box<dyn Registry> = match &config.irr_server {
        Some(server) => Box::new(whois::Server::connect(server, whois::TIMEOUT)?),
        None => {
            let mut files = Files::default();
            for file in &config.irr_files {
                files.read(file)?;
            }
            Box::new(files)
        }
    };
    let mut answers = Vec::with_capacity(asked.len());
    for member in asked {
        let mut both = Vec::with_capacity(2);
        for (set, v6) in member.sets.iter().zip([false, true]) {
            both.push(irr::allowed(registry.as_mut(), set, v6, &member.sources));
        }
        match <[Result<Allowed, irr::IrrError>; 2]>::try_from(both) {
            Ok([Ok(v4), Ok(v6)]) => answers.push((member.asn, [v4, v6])),
            Ok(failed) => {
                for error in failed.into_iter().filter_map(Result::err) {
                    tracing::warn!(
                        member.asn,
                        error = runtime::error_chain(&error),
                        "What is registered for a member cannot be learnt; what was known stays"
                    );
                }
            }
            Err(_) => {}
        }
    }
    Ok(answers)
}
