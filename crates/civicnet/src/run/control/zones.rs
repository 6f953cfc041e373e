//! Further zones, as master files that an operator keeps: they are served beside the
//! CDN's own, and checked before they are published.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};
use base::delivery::{DispatchSnapshot, ZoneText};

/// Bytes of one zone file.
const ZONE_BYTES_MAX: u64 = 16 << 20;

/// The files.
#[derive(Debug, Clone)]
pub(super) struct ZoneFiles(pub(super) Arc<[PathBuf]>);

impl ZoneFiles {
    /// The snapshot with these zones in it, checked whole.
    pub(super) fn beside(&self, snapshot: &DispatchSnapshot) -> anyhow::Result<DispatchSnapshot> {
        let mut whole = snapshot.clone();
        for path in self.0.iter() {
            let length = std::fs::metadata(path)
                .with_context(|| format!("could not read zone {}", path.display()))?
                .len();
            if length > ZONE_BYTES_MAX {
                bail!(
                    "zone {} is {length} bytes long: at most {ZONE_BYTES_MAX} are allowed",
                    path.display()
                );
            }
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("could not read zone {}", path.display()))?;
            let origin = origin(&text).with_context(|| {
                format!(
                    "zone {} does not begin with $ORIGIN and its absolute name",
                    path.display()
                )
            })?;
            whole.zones.push(ZoneText { origin, text });
        }
        if let Err(problems) = dns::DispatchTable::compile(&whole) {
            let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("{}", list.join("; "));
        }
        Ok(whole)
    }

    /// When the files last changed: another value means that they must be read again.
    pub(super) fn changed_at(&self) -> Vec<Option<SystemTime>> {
        let time = |path: &PathBuf| {
            std::fs::metadata(path)
                .and_then(|meta| meta.modified())
                .ok()
        };
        self.0.iter().map(time).collect()
    }
}

/// The name after the first `$ORIGIN`.
fn origin(text: &str) -> Option<String> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with(';'))?;
    let name = line.strip_prefix("$ORIGIN")?.trim();
    name.ends_with('.').then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_zone_file_says_its_absolute_name_first() {
        assert_eq!(
            super::origin("; note\n\n$ORIGIN gov.test.\n@ SOA"),
            Some("gov.test.".to_owned())
        );
        assert_eq!(super::origin("$ORIGIN gov.test\n"), None);
        assert_eq!(super::origin("$TTL 60\n$ORIGIN gov.test.\n"), None);
    }
}
