//! `civicnet user`: the first operator of a control plane.

use std::io::Read as _;

use anyhow::Context;
use web::{By, HouseRole, NewUser};

use crate::Verdict;
use crate::cli::UserCommand;

/// Bytes of a password on standard input.
const PASSWORD_BYTES_MAX: u64 = 1_024;

pub(crate) async fn run(what: UserCommand) -> anyhow::Result<Verdict> {
    let UserCommand::Operator { email, name, place } = what;
    let mut password = String::new();
    std::io::stdin()
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut password)
        .context("could not read the password")?;
    let config = crate::load(&place.config)?;
    let assembly = crate::run::assemble(config)
        .await
        .context("the control plane must not be running for this command")?;
    let new = NewUser {
        email,
        name,
        password: Some(password.trim_end_matches(['\r', '\n']).to_owned()),
        roles: vec![HouseRole::Operator],
        lang: None,
    };
    let id = assembly
        .web
        .house()
        .accounts
        .create_user(new, &By::system("civicnet user"))
        .await?;
    crate::out(&format!("operator {id} can sign in"))?;
    Ok(Verdict::Good)
}
