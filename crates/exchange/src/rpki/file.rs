//! Payloads as JSON: Routinator's `json` and `jsonext`, and rpki-client's `json`, which share `roas`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base::Prefix;
use serde::Deserialize;
use serde_json::Value;

use super::{Vrp, VrpSet};

/// Payloads in one file, some eight times what the whole Internet has.
pub const VRPS_MAX: usize = 5_000_000;
/// Bytes of one file; `jsonext` needs about 300 for a payload.
pub const FILE_BYTES_MAX: u64 = 1_500_000_000;

/// A file of payloads that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It does not read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be written.
    #[error("could not write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than any real one.
    #[error("{path} has {bytes} bytes: at most {FILE_BYTES_MAX}")]
    Large {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is not JSON of the expected shape.
    #[error("could not understand {path}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// One entry is wrong.
    #[error("{path}: roas[{at}]: {problem}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which entry, from 0.
        at: usize,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Deserialize)]
struct Document {
    roas: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    asn: Value,
    prefix: String,
    #[serde(rename = "maxLength")]
    max_length: Option<u8>,
}

/// An autonomous system as `1659`, `"1659"` or `"AS1659"`.
pub(crate) fn asn(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
        Value::String(text) => parse_asn(text),
        _ => None,
    }
}

/// An autonomous system as `1659` or `AS1659`.
pub fn parse_asn(text: &str) -> Option<u32> {
    let digits = match text.get(..2) {
        Some(head) if head.eq_ignore_ascii_case("AS") => &text[2..],
        _ => text,
    };
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// Reads the payloads of `text`; `path` is for messages.
///
/// # Errors
/// [`FileError::Json`], [`FileError::Entry`]: nothing is taken from a file with a wrong entry.
pub fn parse(path: &Path, text: &[u8]) -> Result<VrpSet, FileError> {
    let document: Document = serde_json::from_slice(text).map_err(|source| FileError::Json {
        path: path.to_owned(),
        source,
    })?;
    let wrong = |at: usize, problem: String| FileError::Entry {
        path: path.to_owned(),
        at,
        problem,
    };
    if document.roas.len() > VRPS_MAX {
        return Err(wrong(VRPS_MAX, format!("at most {VRPS_MAX} entries")));
    }
    let mut all = Vec::with_capacity(document.roas.len());
    for (at, entry) in document.roas.iter().enumerate() {
        let prefix: Prefix = entry
            .prefix
            .parse()
            .map_err(|error| wrong(at, format!("{error}")))?;
        let asn = asn(&entry.asn).ok_or_else(|| {
            let shown: String = entry.asn.to_string().chars().take(40).collect();
            wrong(
                at,
                format!("asn {shown}: must be a number up to 4294967295, or AS and that number"),
            )
        })?;
        let vrp = Vrp::new(prefix, entry.max_length.unwrap_or(prefix.length()), asn)
            .map_err(|error| wrong(at, format!("{error}")))?;
        all.push(vrp);
    }
    Ok(all.into_iter().collect())
}

/// Reads a file of payloads.
///
/// # Errors
/// [`FileError`]
pub fn read(path: &Path) -> Result<VrpSet, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(FileError::Large {
            path: path.to_owned(),
            bytes,
        });
    }
    parse(path, &std::fs::read(path).map_err(failed)?)
}

/// Writes payloads as Routinator's `json`.
///
/// # Errors
/// When `out` does not take them.
pub fn write(set: &VrpSet, out: &mut impl std::io::Write) -> std::io::Result<()> {
    out.write_all(b"{\"roas\":[")?;
    for (at, vrp) in set.iter().enumerate() {
        let comma = if at == 0 { "\n" } else { ",\n" };
        write!(
            out,
            "{comma}{{\"asn\":\"AS{}\",\"prefix\":\"{}\",\"maxLength\":{},\"ta\":\"-\"}}",
            vrp.asn, vrp.prefix, vrp.max_length
        )?;
    }
    out.write_all(b"\n]}\n")
}

/// Replaces `path` by what `fill` writes, whole or not at all, on disk when it returns.
///
/// # Errors
/// [`FileError::Write`]; the old file is then still there.
pub fn replace(
    path: &Path,
    fill: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let temporary = path.with_extension("new");
    let work = || -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(&temporary)?);
        fill(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => std::fs::File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    };
    work().map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSONEXT: &str = r#"{"metadata":{"generated":1},"roas":[
        {"asn":"AS1659","prefix":"140.110.0.0/16","maxLength":24,"source":[{"type":"roa","uri":"rsync://x/y.roa","tal":"apnic"}]},
        {"asn":9264,"prefix":"2001:288::/32","maxLength":48,"ta":"apnic","expires":1700000000},
        {"asn":"4782","prefix":"192.0.2.0/24"}],"routerKeys":[],"aspas":[]}"#;

    #[test]
    fn both_dialects_and_back() {
        let set = parse(Path::new("x"), JSONEXT.as_bytes()).expect("read");
        let shown: Vec<String> = set.iter().map(|one| one.to_string()).collect();
        assert_eq!(
            shown,
            [
                "140.110.0.0/16-24 AS1659",
                "192.0.2.0/24-24 AS4782",
                "2001:288::/32-48 AS9264"
            ]
        );
        let mut text = Vec::new();
        write(&set, &mut text).expect("written");
        assert_eq!(parse(Path::new("x"), &text).expect("read again"), set);
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let tell = |entry: &str| {
            parse(
                Path::new("vrps.json"),
                format!("{{\"roas\":[{entry}]}}").as_bytes(),
            )
            .expect_err("wrong")
            .to_string()
        };
        assert_eq!(
            tell(r#"{"asn":"AS1","prefix":"10.0.0.0/8","maxLength":4}"#),
            "vrps.json: roas[0]: 10.0.0.0/8 with maximum length 4 for AS1: the maximum length must be from 8 to 32"
        );
        assert!(tell(r#"{"asn":"AS-1","prefix":"10.0.0.0/8"}"#).contains("asn \"AS-1\""));
        assert!(tell(r#"{"asn":"é","prefix":"10.0.0.0/8"}"#).contains("asn"));
        assert!(
            tell(r#"{"asn":1,"prefix":"10.0.0.1/8"}"#)
                .contains("bits beyond the length must be zero")
        );
    }

    #[test]
    fn a_hundred_thousand_mutations_do_not_panic() {
        let mut seed = crate::testing::Lcg(7);
        for _ in 0..100_000 {
            let text = crate::testing::mutate(&mut seed, JSONEXT.as_bytes());
            parse(Path::new("x"), &text).ok();
        }
    }
}
