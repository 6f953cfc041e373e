//! Moments and durations as people read them.

use std::time::Duration;

use base::Timestamp;

use super::{Markup, escape};
use crate::lang::Lang;
use crate::visit::Visit;

/// A moment in Asia/Taipei with the zone shown, as `<time>`.
pub fn time(at: Timestamp) -> Markup {
    Markup::new(format!(
        "<time datetime=\"{}\">{}</time>",
        escape(&at.to_string()),
        escape(&at.taipei())
    ))
}

/// How long ago, in words, with the moment on hover.
pub fn ago(visit: &Visit, at: Timestamp) -> Markup {
    let text = if at > visit.now {
        visit.ta(
            "time-in",
            &[("duration", &duration(visit.lang, at.since(visit.now)))],
        )
    } else {
        let since = visit.now.since(at);
        match since.as_secs() {
            0..10 => visit.t("time-just-now"),
            _ => visit.ta("time-ago", &[("duration", &duration(visit.lang, since))]),
        }
    };
    Markup::new(format!(
        "<time datetime=\"{}\" title=\"{}\">{}</time>",
        escape(&at.to_string()),
        escape(&at.taipei()),
        escape(&text)
    ))
}

/// The largest unit of a duration, rounded down: `3 分鐘`, `3 min`.
pub fn duration(lang: Lang, duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, zh, en) = match seconds {
        0..60 => (seconds, "秒", "s"),
        60..3_600 => (seconds / 60, "分鐘", "min"),
        3_600..172_800 => (seconds / 3_600, "小時", "h"),
        _ => (seconds / 86_400, "天", "days"),
    };
    match lang {
        Lang::ZhTw => format!("{count} {zh}"),
        Lang::En => format!("{count} {en}"),
    }
}

/// A day for citizens: `民國115年11月21日` (the calendar of the Republic counts
/// from 1912), or `21 November 2026`.
pub fn day(lang: Lang, at: Timestamp) -> String {
    let Ok(moment) = jiff::Timestamp::from_microsecond(at.micros()) else {
        return at.taipei();
    };
    let date = jiff::tz::Offset::constant(8).to_datetime(moment).date();
    match lang {
        Lang::ZhTw if date.year() > 1911 => format!(
            "民國{}年{}月{}日",
            date.year() - 1911,
            date.month(),
            date.day()
        ),
        Lang::ZhTw => format!("西元{}年{}月{}日", date.year(), date.month(), date.day()),
        Lang::En => date.strftime("%-d %B %Y").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_change_at_midnight_in_taipei() {
        // 2026-11-20T16:00:00Z is midnight in Taipei.
        let midnight = Timestamp::from_seconds(1_795_190_400);
        assert_eq!(day(Lang::ZhTw, midnight), "民國115年11月21日");
        assert_eq!(
            day(Lang::En, midnight.minus(Duration::from_micros(1))),
            "20 November 2026"
        );
    }

    #[test]
    fn durations_use_their_largest_unit() {
        assert_eq!(duration(Lang::En, Duration::from_secs(59)), "59 s");
        assert_eq!(duration(Lang::En, Duration::from_secs(3599)), "59 min");
        assert_eq!(
            duration(Lang::ZhTw, Duration::from_secs(86_400 * 3)),
            "3 天"
        );
    }
}
