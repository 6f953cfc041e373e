//! The control plane's database and keys, opened for one command.

use std::path::Path;

use anyhow::Context;
use store::{Db, Vault};

use crate::config::Config;

/// A control plane's memory.
pub(crate) struct Memory {
    pub(crate) config: Config,
    pub(crate) db: Db,
    pub(crate) vault: Vault,
}

/// Opens what the configuration file names. The database must be there: a command
/// never makes one by a slip of the pen.
pub(crate) async fn open(file: &Path) -> anyhow::Result<Memory> {
    let config = crate::load(file)?;
    if let Some(path) = config.store.url.strip_prefix("sqlite:") {
        anyhow::ensure!(
            Path::new(path).exists(),
            "{path}: there is no control database; is {} the right file?",
            file.display()
        );
    }
    let memory = create(config).await?;
    Ok(memory)
}

/// Opens the database and keys, making and migrating them as needed.
pub(crate) async fn create(config: Config) -> anyhow::Result<Memory> {
    let db = Db::open(&config.store).await.with_context(|| {
        format!(
            "could not open the database {}",
            redacted(&config.store.url)
        )
    })?;
    db.migrate(&migrations())
        .await
        .context("could not bring the database up to date")?;
    let vault = Vault::open_file(&config.store.key_file).context("could not open the key file")?;
    vault
        .bind(&db)
        .await
        .context("the key file does not belong to this database")?;
    Ok(Memory { config, db, vault })
}

/// The tables of every domain, in the order of their arrows.
pub(crate) fn migrations() -> Vec<store::Migrations> {
    vec![
        fabric::MIGRATIONS,
        web::MIGRATIONS,
        casework::MIGRATIONS,
        cdn::MIGRATIONS,
        isac::MIGRATIONS,
        isac::enforce::MIGRATIONS,
        isac::cert::MIGRATIONS,
        exchange::room::MIGRATIONS,
        exchange::traffic::desk::MIGRATIONS,
        isac::share::MIGRATIONS,
    ]
}

/// A database URL without its password.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => {
            format!("{}***{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(
            super::redacted("postgres://me:hunter2@db/x"),
            "postgres://***@db/x"
        );
        assert_eq!(
            super::redacted("sqlite:var/control.db"),
            "sqlite:var/control.db"
        );
    }
}
