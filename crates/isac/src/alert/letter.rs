//! What letters and mail say of an alert: its name, unless it is for its recipients' eyes
//! only (TLP:RED), and the facts by which a duty officer knows how soon to look. Pure.

use base::{Timestamp, UserId};
use casework::CaseNumber;
use casework::form::{Form, Text, Values};

use super::grant::text;
use crate::kinds::subkind_field;

/// Names an alert in a sentence that ends with `told`. Mail passes other people's hands: of
/// TLP:RED it has the number only.
pub(super) fn names(number: CaseNumber, subject: &str, values: &Values, told: &Text) -> Text {
    if text(values, "tlp") == "red" {
        return Text::new(
            format!("TLP:RED 警訊 #{number}{}", told.zh),
            format!("TLP:RED alert #{number}{}", told.en),
        );
    }
    Text::new(
        format!("警訊 #{number}「{subject}」{}", told.zh),
        format!("Alert #{number} \"{subject}\"{}", told.en),
    )
}

/// Kind, severity, sharing and the reply asked for, a line each.
pub(super) fn facts(form: &Form, values: &Values, due: Option<Timestamp>) -> Text {
    let choice = |field: &str| -> Option<Text> {
        let question = form.question(field)?;
        question.options.get(text(values, field)).cloned()
    };
    let label = |field: &str| -> Text {
        let question = form.question(field);
        question.map_or_else(|| Text::new(field, field), |one| one.label.clone())
    };
    let mut lines = Vec::new();
    let subkind = subkind_field(text(values, "kind"));
    for field in ["kind", subkind.as_str(), "severity", "tlp", "reply"] {
        if let Some(chosen) = choice(field) {
            let label = label(field);
            lines.push(Text::new(
                format!("{}:{}", label.zh, chosen.zh),
                format!("{}: {}", label.en, chosen.en),
            ));
        }
    }
    if let Some(due) = due {
        let at = taipei(due);
        lines.push(Text::new(
            format!("回覆期限:{at}(臺北時間)"),
            format!("Reply due: {at} (Taipei)"),
        ));
    }
    let (zh, en): (Vec<_>, Vec<_>) = lines.into_iter().map(|line| (line.zh, line.en)).unzip();
    Text::new(zh.join("\n"), en.join("\n"))
}

/// The local time to the minute.
fn taipei(at: Timestamp) -> String {
    let Ok(moment) = jiff::Timestamp::from_microsecond(at.micros()) else {
        return at.to_string();
    };
    let local = jiff::tz::Offset::constant(8).to_datetime(moment);
    local.strftime("%Y-%m-%d %H:%M").to_string()
}

/// One letter for each person, however many organisations they belong to.
pub(super) fn one_each(readers: &mut Vec<UserId>) {
    readers.sort();
    readers.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(tlp: &str) -> Values {
        let values = json!({"kind": "ewa", "subkind_ewa": "phishing", "severity": "high", "tlp": tlp, "reply": "verdict"});
        values.as_object().cloned().expect("an object")
    }

    #[test]
    fn mail_says_what_it_is_about_and_of_red_only_the_number() {
        let form = Form::parse(include_str!("../../forms/alert.v2.json")).expect("built in");
        let due = Some(Timestamp::from_seconds(1_795_222_800));
        let said = facts(&form, &values("red"), due);
        assert_eq!(
            said.zh,
            "情資類型:EWA 資安預警情報\n細類:網路釣魚\n嚴重程度:高\n分享限制:TLP:RED 僅收件人\n要求的回覆:回覆查證結果(誤判、確實事件、無法判斷)\n回覆期限:2026-11-21 09:00(臺北時間)"
        );
        assert!(
            said.en
                .starts_with("Kind: EWA Early warning\nSub-kind: Phishing\n")
        );
        let number = CaseNumber::new(7);
        let name = |tlp: &str| names(number, "機密標題", &values(tlp), &Text::default());
        assert!(name("amber").zh.contains("機密標題") && name("amber").en.contains("機密標題"));
        for text in [name("red").zh, name("red").en] {
            assert!(
                !text.contains("機密") && text.starts_with("TLP:RED"),
                "{text}"
            );
        }
    }
}
