//! `civicnet config`: check, schema, reference, sample.

use crate::Verdict;
use crate::cli::ConfigCommand;
use crate::config::Config;

pub(crate) fn run(what: ConfigCommand) -> anyhow::Result<Verdict> {
    match what {
        ConfigCommand::Check { file } => {
            match runtime::config::load::<Config>(&file, &runtime::config::SystemEnv) {
                Ok(_) => crate::out(&format!("{}: in order", file.display()))?,
                Err(error) => {
                    crate::complain(&runtime::error_chain(&error));
                    return Ok(Verdict::NotInOrder);
                }
            }
        }
        ConfigCommand::Schema => {
            crate::out(&serde_json::to_string_pretty(&runtime::config::schema::<
                Config,
            >())?)?
        }
        ConfigCommand::Reference => crate::out(runtime::config::reference::<Config>().trim_end())?,
        ConfigCommand::Sample => crate::out(runtime::config::sample::<Config>().trim_end())?,
    }
    Ok(Verdict::Good)
}
