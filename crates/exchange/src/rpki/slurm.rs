//! An operator's exceptions to what the RPKI says: SLURM (RFC 8416). BGPsec entries are checked for
//! shape by the JSON reader and otherwise left alone, because no router keys are served.

use std::path::{Path, PathBuf};

use base::Prefix;
use serde::Deserialize;
use serde_json::Value;

use super::{Vrp, VrpSet};

/// Entries of one file.
pub const ENTRIES_MAX: usize = 100_000;
/// Bytes of one file.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
const COMMENT_CHARS_MAX: usize = 1_000;

/// Exceptions that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// It does not read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not JSON of the shape of RFC 8416.
    #[error("could not understand {path}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// One value breaks a rule.
    #[error("{path}: {key}: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Exceptions of one or more files: payloads that are dropped and payloads that are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slurm {
    filters: Vec<Filter>,
    assertions: Vec<Vrp>,
}

/// Drops the payloads inside `prefix`, of `asn`, or both when both are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// The prefix.
    pub prefix: Option<Prefix>,
    /// The autonomous system.
    pub asn: Option<u32>,
}

impl Filter {
    fn drops(&self, vrp: &Vrp) -> bool {
        self.prefix.is_none_or(|prefix| prefix.covers(&vrp.prefix))
            && self.asn.is_none_or(|asn| asn == vrp.asn)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    slurm_version: u8,
    validation_output_filters: RawFilters,
    locally_added_assertions: RawAssertions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawFilters {
    prefix_filters: Vec<RawFilter>,
    #[serde(rename = "bgpsecFilters")]
    _bgpsec_filters: Vec<Value>,
    #[serde(default, rename = "aspaFilters")]
    _aspa_filters: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawAssertions {
    prefix_assertions: Vec<RawAssertion>,
    #[serde(rename = "bgpsecAssertions")]
    _bgpsec_assertions: Vec<Value>,
    #[serde(default, rename = "aspaAssertions")]
    _aspa_assertions: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFilter {
    prefix: Option<String>,
    asn: Option<u32>,
    comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawAssertion {
    prefix: String,
    asn: u32,
    max_prefix_length: Option<u8>,
    comment: Option<String>,
}

impl Slurm {
    /// Reads the exceptions of `text`; `path` is for messages.
    ///
    /// # Errors
    /// [`SlurmError`]: a file with a wrong entry is refused whole (RFC 8416 section 3.1).
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, SlurmError> {
        let document: Document =
            serde_json::from_slice(text).map_err(|source| SlurmError::Json {
                path: path.to_owned(),
                source,
            })?;
        let wrong = |key: String, problem: String| SlurmError::Value {
            path: path.to_owned(),
            key,
            problem,
        };
        // Version 2 adds ASPA and changes nothing about prefixes.
        if !(1..=2).contains(&document.slurm_version) {
            return Err(wrong(
                "slurmVersion".into(),
                format!("{}: must be 1 or 2", document.slurm_version),
            ));
        }
        let filters = document.validation_output_filters.prefix_filters;
        let assertions = document.locally_added_assertions.prefix_assertions;
        if filters.len() + assertions.len() > ENTRIES_MAX {
            return Err(wrong(
                "prefixFilters".into(),
                format!("at most {ENTRIES_MAX} entries with prefixAssertions"),
            ));
        }
        let comment = |key: &str, comment: &Option<String>| match comment {
            Some(text) if text.chars().count() > COMMENT_CHARS_MAX => Err(wrong(
                format!("{key}.comment"),
                format!("at most {COMMENT_CHARS_MAX} characters"),
            )),
            _ => Ok(()),
        };
        let mut slurm = Self::default();
        for (at, raw) in filters.into_iter().enumerate() {
            let key = format!("prefixFilters[{at}]");
            comment(&key, &raw.comment)?;
            if raw.prefix.is_none() && raw.asn.is_none() {
                return Err(wrong(key, "must name a prefix or an asn".into()));
            }
            let prefix = match raw.prefix {
                None => None,
                Some(text) => Some(text.parse().map_err(|error: base::net::InvalidPrefix| {
                    wrong(format!("{key}.prefix"), error.to_string())
                })?),
            };
            slurm.filters.push(Filter {
                prefix,
                asn: raw.asn,
            });
        }
        for (at, raw) in assertions.into_iter().enumerate() {
            let key = format!("prefixAssertions[{at}]");
            comment(&key, &raw.comment)?;
            let prefix: Prefix =
                raw.prefix
                    .parse()
                    .map_err(|error: base::net::InvalidPrefix| {
                        wrong(format!("{key}.prefix"), error.to_string())
                    })?;
            let vrp = Vrp::new(
                prefix,
                raw.max_prefix_length.unwrap_or(prefix.length()),
                raw.asn,
            )
            .map_err(|error| wrong(key, error.to_string()))?;
            slurm.assertions.push(vrp);
        }
        Ok(slurm)
    }

    /// Reads files of exceptions, joined. Files that speak of the same prefix are refused (RFC 8416 section 4.2).
    ///
    /// # Errors
    /// [`SlurmError`]
    pub fn read(paths: &[PathBuf]) -> Result<Self, SlurmError> {
        let mut all = Self::default();
        for path in paths {
            let failed = |source| SlurmError::Read {
                path: path.clone(),
                source,
            };
            let bytes = std::fs::metadata(path).map_err(failed)?.len();
            if bytes > FILE_BYTES_MAX {
                return Err(SlurmError::Value {
                    path: path.clone(),
                    key: "file".into(),
                    problem: format!("{bytes} bytes: at most {FILE_BYTES_MAX}"),
                });
            }
            let one = Self::parse(path, &std::fs::read(path).map_err(failed)?)?;
            if let Some(prefix) = all.overlap(&one) {
                return Err(SlurmError::Value {
                    path: path.clone(),
                    key: prefix.to_string(),
                    problem: "another file has an exception for this or an overlapping prefix"
                        .into(),
                });
            }
            all.filters.extend(one.filters);
            all.assertions.extend(one.assertions);
        }
        Ok(all)
    }

    fn prefixes(&self) -> Vec<Prefix> {
        let mut all: Vec<Prefix> = self
            .filters
            .iter()
            .filter_map(|filter| filter.prefix)
            .chain(self.assertions.iter().map(|vrp| vrp.prefix))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn overlap(&self, other: &Self) -> Option<Prefix> {
        let mine = crate::prefix_table::PrefixTable::of_sorted(self.prefixes());
        other
            .prefixes()
            .into_iter()
            .find(|one| mine.covering(*one).next().is_some() || !mine.inside(one).is_empty())
    }

    /// What is dropped.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// What is added.
    pub fn assertions(&self) -> &[Vrp] {
        &self.assertions
    }

    /// Whether there is no exception.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty() && self.assertions.is_empty()
    }

    /// `set` with the exceptions: first dropped, then added.
    pub fn apply(&self, set: &VrpSet) -> VrpSet {
        set.iter()
            .filter(|vrp| !self.filters.iter().any(|filter| filter.drops(vrp)))
            .chain(self.assertions.iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"slurmVersion":1,
      "validationOutputFilters":{"prefixFilters":[{"prefix":"192.0.2.0/24","comment":"all inside"},{"asn":64496},
        {"prefix":"198.51.100.0/24","asn":64497}],"bgpsecFilters":[]},
      "locallyAddedAssertions":{"prefixAssertions":[{"asn":64496,"prefix":"203.0.113.0/24","maxPrefixLength":26}],"bgpsecAssertions":[]}}"#;

    #[test]
    fn the_exceptions_of_the_rfc() {
        let slurm = Slurm::parse(Path::new("x"), GOOD.as_bytes()).expect("good");
        let vrp = |prefix: &str, asn| {
            let prefix: Prefix = prefix.parse().expect("a prefix");
            Vrp::new(prefix, prefix.length(), asn).expect("a payload")
        };
        let set: VrpSet = [
            vrp("192.0.2.128/25", 1),
            vrp("10.0.0.0/8", 64496),
            vrp("198.51.100.0/24", 64497),
            vrp("198.51.100.0/24", 64498),
        ]
        .into_iter()
        .collect();
        let left: Vec<String> = slurm
            .apply(&set)
            .iter()
            .map(|one| one.to_string())
            .collect();
        assert_eq!(
            left,
            ["198.51.100.0/24-24 AS64498", "203.0.113.0/24-26 AS64496"]
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_refused_whole() {
        let tell = |from: &str, to: &str| {
            let error = Slurm::parse(Path::new("slurm.json"), GOOD.replace(from, to).as_bytes())
                .expect_err("wrong");
            runtime::error_chain(&error)
        };
        assert_eq!(
            tell("\"slurmVersion\":1", "\"slurmVersion\":3"),
            "slurm.json: slurmVersion: 3: must be 1 or 2"
        );
        assert_eq!(
            tell("\"asn\":64496}", "\"comment\":\"x\"}"),
            "slurm.json: prefixFilters[1]: must name a prefix or an asn"
        );
        assert!(
            tell("\"maxPrefixLength\":26", "\"maxPrefixLength\":8").contains("prefixAssertions[0]")
        );
        assert!(tell("\"comment\":\"all", "\"remark\":\"all").contains("unknown field"));
    }

    #[test]
    fn two_files_may_not_speak_of_one_prefix() {
        let dir = tempfile::tempdir().expect("a directory");
        let (a, b) = (dir.path().join("a.json"), dir.path().join("b.json"));
        std::fs::write(&a, GOOD).expect("written");
        std::fs::write(&b, GOOD.replace("192.0.2.0/24", "192.0.0.0/16")).expect("written");
        let error = Slurm::read(&[a.clone(), b]).expect_err("overlap");
        assert!(error.to_string().contains("another file"), "{error}");
        assert!(!Slurm::read(&[a]).expect("good").is_empty());
    }

    #[test]
    fn a_hundred_thousand_mutations_do_not_panic() {
        let mut seed = crate::testing::Lcg(11);
        for _ in 0..100_000 {
            Slurm::parse(
                Path::new("x"),
                &crate::testing::mutate(&mut seed, GOOD.as_bytes()),
            )
            .ok();
        }
    }
}
