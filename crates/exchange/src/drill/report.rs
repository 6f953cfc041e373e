//! What happened in a drill, for people: Markdown in Chinese or English.

use std::fmt::Write as _;

use super::record::{End, Record};

/// The text goes on; nothing can fail in writing to memory.
macro_rules! say {
    ($out:expr, $($format:tt)*) => {
        writeln!($out, $($format)*).unwrap_or_default()
    };
}

/// The report.
pub fn markdown(record: &Record, zh: bool) -> String {
    let t = |chinese: &'static str, english: &'static str| if zh { chinese } else { english };
    let mut out = String::new();
    let title = match &record.plan.title_zh {
        Some(title) if zh => title,
        _ => &record.plan.title,
    };
    say!(
        out,
        "# {}{}\n",
        t("演練報告：", "Drill report: "),
        plain(title)
    );
    say!(out, "{}\n", sentence(record, zh));
    say!(
        out,
        "- {}{}\n- {}{}\n",
        t("開始（UTC）：", "Began (UTC): "),
        record.id,
        t("歷時：", "Lasted: "),
        seconds(record.lasted_ms)
    );
    say!(out, "## {}\n", t("步驟", "Steps"));
    say!(
        out,
        "| # | {} | {} | {} | {} |\n| --- | --- | ---: | ---: | --- |",
        t("步驟", "step"),
        t("開始", "began"),
        t("歷時", "lasted"),
        t("內容", "what was done")
    );
    for (index, step) in record.plan.steps.iter().enumerate() {
        let words = plain(&step.words(zh));
        match record.steps.get(index) {
            Some(done) => say!(
                out,
                "| {} | {words} | {} | {} | {} |",
                index + 1,
                seconds(done.from_ms),
                seconds(done.to_ms.saturating_sub(done.from_ms)),
                plain(&shortened(&done.done, zh))
            ),
            None => say!(
                out,
                "| {} | {words} | – | – | {} |",
                index + 1,
                t("未執行", "not done")
            ),
        }
    }
    say!(out, "\n## {}\n", t("量測", "Measurements"));
    if record.probes.is_empty() {
        say!(
            out,
            "{}",
            t("這次演練沒有量測。", "This drill measured nothing.")
        );
    } else {
        say!(
            out,
            "| {} | {} | {} | {} | {} |\n| --- | ---: | ---: | ---: | --- |",
            t("量測項目", "probe"),
            t("收到次數", "signs of life"),
            t("最長中斷", "longest silence"),
            t("上限", "limit"),
            t("結果", "result")
        );
        for probe in &record.probes {
            let silence = match (probe.silence_ms, probe.silence_from_ms) {
                (Some(ms), Some(from)) if zh => format!("{ms} 毫秒（於 {}）", seconds(from)),
                (Some(ms), Some(from)) => format!("{ms} ms (at {})", seconds(from)),
                _ => t("從未收到", "never heard").to_owned(),
            };
            let limit = probe
                .silence_max_ms
                .map_or_else(|| "–".to_owned(), |ms| format!("{ms} {}", t("毫秒", "ms")));
            let result = if probe.kept {
                t("符合", "kept")
            } else {
                t("超過", "exceeded")
            };
            say!(
                out,
                "| {} | {} | {silence} | {limit} | {result} |",
                plain(&probe.name),
                probe.signs
            );
        }
    }
    say!(out, "\n## {}\n", t("路由伺服器", "Route servers"));
    say!(
        out,
        "| {} | {} | {} | {} | {} |\n| --- | ---: | ---: | ---: | --- |",
        t("據點", "site"),
        t("演練前連線", "sessions before"),
        t("最少", "fewest"),
        t("演練後連線", "sessions after"),
        t("路由（前 → 後）", "routes (before → after)")
    );
    for site in &record.sites {
        say!(
            out,
            "| {} | {} | {} | {} | {} → {} |",
            plain(&site.site),
            site.up_before,
            site.up_least,
            site.up_after,
            site.routes_before,
            site.routes_after
        );
    }
    for (title, list) in [
        (
            t("未恢復的連線", "Sessions that did not come back"),
            &record.not_back,
        ),
        (
            t("未能復原的項目", "What could not be undone"),
            &record.not_undone,
        ),
    ] {
        if list.is_empty() {
            continue;
        }
        say!(out, "\n## {title}\n");
        for entry in list {
            say!(out, "- {}", plain(entry));
        }
    }
    say!(
        out,
        "\n## {}\n\n{}",
        t("檢討", "Lessons"),
        t(
            "（由演練負責人填寫）",
            "(to be written by who led the drill)"
        )
    );
    out
}

/// The answer first, in one sentence.
fn sentence(record: &Record, zh: bool) -> String {
    let back = record.back_ms.map(seconds);
    match (&record.end, record.is_good(), zh) {
        (End::Done, true, true) => match back {
            Some(back) => format!("**符合目標。** 復原後 {back} 內所有連線恢復。"),
            None => "**符合目標。**".to_owned(),
        },
        (End::Done, true, false) => match back {
            Some(back) => {
                format!("**As promised.** Every session was up again {back} after the restoration.")
            }
            None => "**As promised.**".to_owned(),
        },
        (End::Done, false, true) => "**未符合目標。** 詳見下列各表。".to_owned(),
        (End::Done, false, false) => {
            "**Not as promised.** The tables below say what was not.".to_owned()
        }
        (End::Aborted, _, true) => "**演練由人員中止，並已復原。**".to_owned(),
        (End::Aborted, _, false) => {
            "**Somebody ended the drill early; it was restored.**".to_owned()
        }
        (End::TooLong, _, true) => "**演練超過時限，已自動復原。**".to_owned(),
        (End::TooLong, _, false) => {
            "**The drill lasted longer than planned; it was restored.**".to_owned()
        }
        (End::Failed(why), _, true) => format!("**演練失敗並已復原：** {}", plain(why)),
        (End::Failed(why), _, false) => {
            format!("**The drill failed and was restored:** {}", plain(why))
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// Entries in one cell of a table.
const SHOWN_MAX: usize = 12;

fn shortened(entries: &[String], zh: bool) -> String {
    let mut text = entries
        .iter()
        .take(SHOWN_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if entries.len() > SHOWN_MAX {
        let more = entries.len() - SHOWN_MAX;
        text.push_str(&if zh {
            format!("；另 {more} 項")
        } else {
            format!("; {more} more")
        });
    }
    text
}

/// A text that cannot end a cell, a line or begin a tag.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '|' => '¦',
            '<' => '‹',
            '>' => '›',
            '`' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}
