//! The program: reads the command line, does what it says, and ends with an exit
//! code. It is a library so that the tests can build the whole console without a
//! network ([`console`]); `main.rs` only calls [`main`].

mod cli;
mod command;
pub mod config;
pub mod console;
mod run;
mod up;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Command};
use config::Config;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done, or checked and in order.
    Good,
    /// Checked, and not in order.
    NotInOrder,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(cli.command) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::NotInOrder) => ExitCode::from(3),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> anyhow::Result<Verdict> {
    match command {
        Command::Config { what } => command::config::run(what),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "civicnet", &mut script);
            std::io::stdout().lock().write_all(&script)?;
            Ok(Verdict::Good)
        }
        later => runtime(&later)?.block_on(act_later(later)),
    }
}

async fn act_later(command: Command) -> anyhow::Result<Verdict> {
    match command {
        Command::Up(up) => up::run(up).await.map(|()| Verdict::Good),
        Command::Run(run) => run::run(*run).await.map(|()| Verdict::Good),
        Command::Openapi => {
            out(&run::openapi().await?)?;
            Ok(Verdict::Good)
        }
        Command::Reload(reload) => command::reload::run(reload).await,
        Command::Query(query) => command::query::run(query).await,
        Command::Audit { what } => command::audit::run(what).await,
        Command::Node { what } => command::node::run(what).await,
        Command::Keys { what } => command::keys::run(what).await,
        Command::User { what } => command::user::run(what).await,
        Command::Handover { what } => command::handover::run(what),
        Command::Stix { what } => command::stix::run(what).await,
        Command::Exchange { what } => command::exchange::run(what).await,
        Command::Enforce { what } => command::enforce::run(what).await,
        Command::Why(why) => command::sandbox::why(why).await,
        Command::Traffic { rate, dir } => command::sandbox::traffic(rate, &dir).await,
        Command::Config { .. } | Command::Completions { .. } => Ok(Verdict::Good),
    }
}

/// The data plane brings its own threads; what is left beside it needs one.
fn runtime(command: &Command) -> std::io::Result<tokio::runtime::Runtime> {
    match command {
        Command::Run(run) if run.alone.is_none() && !run.roles.contains(&base::Role::Control) => {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
        }
        _ => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build(),
    }
}

/// Loads a configuration file.
pub(crate) fn load(file: &Path) -> anyhow::Result<Config> {
    Ok(runtime::config::load(file, &runtime::config::SystemEnv)?)
}

/// One answer on standard output, with its line end.
pub(crate) fn out(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

/// One complaint on standard error. Nowhere is left to complain about failing here.
pub(crate) fn complain(text: &str) {
    writeln!(std::io::stderr().lock(), "civicnet: {text}").ok();
}

/// Whoever read our output had enough of it (`civicnet query … | head`).
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
