//! A collection of threat intelligence and a token for it, so that any TAXII client can
//! be pointed at the sandbox.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context;
use base::UserId;
use isac::objects::{Right, Source};
use isac::stix::Tlp;
use serde::{Deserialize, Serialize};
use web::accounts::tokens::NewToken;
use web::policy::Subject;
use web::{By, HouseRole, Principal, Via};

use crate::run::Assembly;

/// Name of the collection in addresses.
const ALIAS: &str = "sandbox";
/// Days that the sandbox's token lives.
const TOKEN_DAYS: u32 = 366;

/// What a client needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TaxiiDoor {
    /// The collection's id.
    pub(super) collection: String,
    /// An API token that may read and write.
    pub(super) token: String,
}

/// The door of this country, made when it first starts.
pub(super) async fn seed(
    dir: &Path,
    assembly: &Assembly,
    operator: UserId,
) -> anyhow::Result<TaxiiDoor> {
    let file = dir.join("taxii.json");
    if let Ok(text) = std::fs::read_to_string(&file) {
        return serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged", file.display()));
    }
    let objects = &assembly.objects;
    let everybody = Right {
        org: None,
        read: true,
        write: false,
        tlp_max: Tlp::Amber,
    };
    let known = objects
        .collections(isac::objects::collections::ROOT)
        .await?;
    let collection = match known
        .into_iter()
        .find(|collection| collection.alias.as_deref() == Some(ALIAS))
    {
        Some(collection) => collection,
        None => objects
            .create_collection(
                "沙盒情資 Sandbox intelligence",
                "所有會員機關可讀 Every member may read it",
                Some(ALIAS),
                &[everybody],
                &Source::house("sandbox"),
            )
            .await
            .context("could not make the sandbox's collection")?,
    };
    let house = assembly.web.house();
    let subject = Subject {
        user: Some(operator),
        roles: vec![HouseRole::Operator],
        memberships: Vec::new(),
    };
    let principal = Principal::new(
        house.policy.clone(),
        subject,
        String::new(),
        Vec::new(),
        Via::Nothing,
    );
    let new = NewToken {
        name: "TAXII".to_owned(),
        scopes: vec!["taxii:read".to_owned(), "taxii:write".to_owned()],
        org: None,
        days: TOKEN_DAYS,
    };
    let (_, token) = house
        .accounts
        .create_token(&principal, &new, &By::system("sandbox"))
        .await
        .context("could not make the sandbox's TAXII token")?;
    let door = TaxiiDoor {
        collection: collection.id.to_string(),
        token,
    };
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&file)?;
    std::io::Write::write_all(&mut out, serde_json::to_string_pretty(&door)?.as_bytes())?;
    Ok(door)
}
