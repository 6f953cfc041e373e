//! The whole console of a control plane, with every room, built in a directory and
//! joined to no network: for the API's document, and for tests that must see all
//! rooms together.

use std::path::Path;

use casework::Casework;
use cdn::Cdn;
use lake::Lake;
use store::{Db, Vault};
use web::Web;

use crate::config::Config;
use crate::run::{Assembly, assemble};

/// A console that nobody serves.
pub struct Console {
    /// Pages and API of all rooms.
    pub web: Web,
    /// Cases.
    pub casework: Casework,
    /// Sites.
    pub cdn: Cdn,
    /// The control database.
    pub db: Db,
    /// Sealed fields.
    pub vault: Vault,
    lake: Lake,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

/// A configuration whose every file lies in `dir`.
pub fn config_in(dir: &Path) -> Config {
    let mut config = Config::default();
    config.store.url = format!("sqlite:{}", dir.join("control.db").display());
    config.store.key_file = dir.join("keys.toml");
    config.store.audit_anchor_file = dir.join("anchors.jsonl");
    config.store.blobs.dir = dir.join("blobs");
    config.lake.dir = dir.join("lake");
    config
}

impl Console {
    /// Makes the database and joins the rooms.
    ///
    /// # Errors
    /// When a file cannot be made or the rooms do not fit together.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let Assembly {
            memory,
            lake,
            casework,
            cdn,
            web,
            ..
        } = assemble(config).await?;
        Ok(Self {
            web,
            casework,
            cdn,
            db: memory.db,
            vault: memory.vault,
            lake,
        })
    }

    /// Ends the lake's threads, which a process that goes on would keep.
    pub fn close(self) {
        std::thread::spawn(move || self.lake.close());
    }
}
