//! Configuration: one TOML file, typed sections, and errors that say where.
//!
//! Each domain defines its section as a plain struct; the binary composes them
//! into one and calls [`load`]. A section looks like this:
//!
//! ```
//! use runtime::config::{Check, Checker};
//!
//! /// What the reference says about the section.
//! #[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields, default)]
//! struct CacheConfig {
//!     /// Bytes of memory for cached objects.
//!     memory_bytes: u64,
//! }
//!
//! impl Default for CacheConfig {
//!     fn default() -> Self {
//!         Self { memory_bytes: 256 << 20 }
//!     }
//! }
//!
//! impl Check for CacheConfig {
//!     fn check(&self, at: &mut Checker) {
//!         at.require(self.memory_bytes >= 1 << 20, "memory_bytes", "must be at least 1 MiB");
//!     }
//! }
//! ```
//!
//! Every value can be overridden from the environment: `CIVICNET__STORE__URL` sets
//! `url` in `[store]`. All problems are reported together, each with file, line,
//! column and key ([`source`] keeps the places, [`read`] finds the problems).
//! Doc comments are the manual ([`reference`]). Do not use `#[serde(flatten)]` in
//! sections: it hides from serde where a value came from.

mod check;
mod env;
mod error;
mod key;
mod read;
pub mod reference;
mod source;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use check::{Check, Checker, Finding, check};
pub use env::{Env, NoEnv, SystemEnv};
pub use error::{ConfigError, Problem};
pub use key::KeyPath;
pub use reference::{reference, sample, schema};

/// Bytes of a configuration file.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Tables and arrays inside each other.
pub const DEPTH_MAX: usize = 64;
/// Dots outside quotes in one line of a file.
pub const DOTS_PER_LINE_MAX: usize = 500;
/// Problems reported at once.
pub const PROBLEMS_MAX: usize = 50;
/// What names of overriding environment variables begin with.
pub const ENV_PREFIX: &str = "CIVICNET__";

/// Loads the file at `path`, applies overrides from `env`, and checks the result.
///
/// # Errors
/// When the file cannot be read, or with every problem found in it.
pub fn load<T: DeserializeOwned + Check>(path: &Path, env: &dyn Env) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(ConfigError::TooLong {
            path: path.to_owned(),
            length,
        });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&path.display().to_string(), &text, env)
}

/// As [`load`], from `text`; `name` stands for the file in messages.
///
/// # Errors
/// With every problem found.
pub fn parse<T: DeserializeOwned + Check>(
    name: &str,
    text: &str,
    env: &dyn Env,
) -> Result<T, ConfigError> {
    read::read(name, text, env)
}

/// The defaults with overrides from `env`, when there is no file.
///
/// # Errors
/// With every problem found in the environment.
pub fn from_env<T: DeserializeOwned + Check>(env: &dyn Env) -> Result<T, ConfigError> {
    read::read("environment", "", env)
}

#[cfg(test)]
mod tests;
