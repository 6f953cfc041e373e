//! `civicnet exchange drill`: rehearse a loss on the running exchange.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use exchange::drill::guard::{self, Ended, Guard};
use exchange::drill::journal::Journal;
use exchange::drill::plan::Plan;
use exchange::drill::record::{End, Record};
use exchange::drill::run::{Watch, rehearse, run as walk};
use exchange::places::Places;

use super::enforce::Api;
use crate::Verdict;
use crate::cli::{ApiDoor, DrillCommand, DrillRun};

/// How long `restore` tries.
const RESTORE_PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(what: DrillCommand) -> anyhow::Result<Verdict> {
    match what {
        DrillCommand::Run(asked) => drill(asked).await,
        DrillCommand::Restore { record } => restore(&journal_file(&record)),
        DrillCommand::Schema => {
            let schema = schemars::schema_for!(Plan).to_value();
            crate::out(&serde_json::to_string_pretty(&schema)?)?;
            Ok(Verdict::Good)
        }
        DrillCommand::Guard { journal, max_s } => {
            match guard::stand(&journal, max_s, std::io::stdin())? {
                Ended::ByDrill => Ok(Verdict::Good),
                Ended::ByGuard { too_long, left } => {
                    crate::complain(if too_long {
                        "the drill lasted too long: its guard restored everything"
                    } else {
                        "the drill died: its guard restored everything"
                    });
                    for (undo, why) in &left {
                        crate::complain(&format!("not undone: {undo}: {why}"));
                    }
                    Ok(Verdict::NotInOrder)
                }
            }
        }
    }
}

fn journal_file(directory: &Path) -> PathBuf {
    directory.join("drill.journal")
}

async fn drill(asked: DrillRun) -> anyhow::Result<Verdict> {
    let plan = Plan::load(&asked.plan)?;
    let places = Places::load(&asked.places)?;
    let steps = rehearse(&plan, &places)?;
    crate::out(&plan.title)?;
    for (index, (step, effects)) in plan.steps.iter().zip(&steps).enumerate() {
        crate::out(&format!("{}. {}", index + 1, step.words(false)))?;
        for effect in effects {
            crate::out(&format!("     {effect}"))?;
        }
    }
    crate::out(&format!(
        "at least {} s, everything restored after {} s at the latest",
        plan.waits_s(),
        plan.max_s
    ))?;
    if asked.dry_run {
        crate::out("in order, nothing was touched")?;
        return Ok(Verdict::Good);
    }
    if !asked.yes {
        confirm(&plan)?;
    }
    // Before anything is touched: is there a door at all?
    let api = match asked.tell {
        true => Some(Api::open(&ApiDoor {
            api: asked.api.clone(),
            token_file: asked.token_file.clone(),
            dir: asked.dir.clone(),
            json: false,
        })?),
        false => None,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let signals = tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        told.store(true, Ordering::Relaxed);
    });
    let directory = asked.record.clone();
    let record = tokio::task::spawn_blocking(move || guarded(&plan, &places, &directory, &stop))
        .await
        .context("the drill broke off")??;
    signals.abort();
    for path in record.write(&asked.record)? {
        crate::out(&path.display().to_string())?;
    }
    if let Some(api) = api {
        // The record is on the disk: whoever reads the terminal sends it again.
        match api
            .post("exchange-drills", &serde_json::to_value(&record)?)
            .await
        {
            Ok(_) => crate::out("the record is sent")?,
            Err(error) => crate::complain(&format!("the record is not sent: {error:#}")),
        }
    }
    for probe in &record.probes {
        let silence = probe.silence_ms.map_or_else(
            || "never heard".to_owned(),
            |ms| format!("longest silence {ms} ms"),
        );
        crate::out(&format!("{}: {} signs, {silence}", probe.name, probe.signs))?;
    }
    for problem in record.not_undone.iter().chain(&record.not_back) {
        crate::complain(problem);
    }
    match &record.end {
        End::Done => {}
        End::Aborted => crate::complain("aborted and restored"),
        End::TooLong => crate::complain("lasted too long; restored"),
        End::Failed(why) => crate::complain(why),
    }
    if record.is_good() {
        crate::out("as promised")?;
        Ok(Verdict::Good)
    } else {
        crate::complain("not as promised");
        Ok(Verdict::NotInOrder)
    }
}

fn guarded(
    plan: &Plan,
    places: &Places,
    directory: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<Record> {
    let began_s = now_s();
    let id = utc(began_s);
    let path = journal_file(directory);
    let mut journal = Journal::begin(&path, &id, &plan.title)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let arguments: Vec<String> = [
        "exchange",
        "drill",
        "guard",
        "--journal",
        &path.display().to_string(),
        "--max-s",
        &plan.max_s.to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    let guard = Guard::start(&program, &arguments)?;
    let mut watch = Watch {
        is_aborted: &|| stop.load(Ordering::Relaxed),
        progress: &mut |words| crate::complain(words),
    };
    let record = walk(plan, places, &id, began_s, &mut journal, &mut watch);
    let is_undone = record
        .as_ref()
        .is_ok_and(|record| record.not_undone.is_empty());
    journal.end()?;
    // What could not be undone is the guard's: it tries for longer.
    if is_undone || record.is_err() {
        guard.release();
    }
    Ok(record?)
}

fn confirm(plan: &Plan) -> anyhow::Result<()> {
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody is there to confirm: add --yes"
    );
    let word = plan.sites().first().copied().unwrap_or("yes").to_owned();
    crate::out(&format!(
        "This touches the running exchange. Type {word} to begin:"
    ))?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() != word {
        bail!("not confirmed: nothing was touched");
    }
    Ok(())
}

fn restore(path: &Path) -> anyhow::Result<Verdict> {
    if !path.exists() {
        crate::out("no drill is known here")?;
        return Ok(Verdict::Good);
    }
    let mut journal = Journal::open(path)?;
    let left = journal.restore(RESTORE_PATIENCE)?;
    journal.end()?;
    for (undo, why) in &left {
        crate::complain(&format!("not undone: {undo}: {why}"));
    }
    if left.is_empty() {
        crate::out("everything is restored")?;
        Ok(Verdict::Good)
    } else {
        Ok(Verdict::NotInOrder)
    }
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// As `20261121T080000Z`.
pub(super) fn utc(seconds: u64) -> String {
    let days = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2);
    // Civil from days (Howard Hinnant).
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(super::utc(0), "19700101T000000Z");
        assert_eq!(super::utc(951_827_696), "20000229T123456Z");
        assert_eq!(super::utc(1_795_248_000), "20261121T080000Z");
    }
}
