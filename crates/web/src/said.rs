//! What a refused field says to the person who filled it in.
//!
//! A [`FieldError`] is written for programs and the API's readers: its `message` is English.
//! A page says the same in its reader's language: by the rule's name, from the texts, with the
//! numbers of the message. What the texts do not say as exactly stands below, small and marked
//! as English. A message that a page wrote itself, in its reader's language, stays as it is.
//!
//! Who reads is known to the task that answers the request ([`reading`]), so that a form field
//! deep in a page needs no frame to say what is wrong with it. Outside such a task (a test of
//! one component) the message itself is said.
//!
//! A room that can say more than `said-RULE` defines `said-RULE-FIELD`.

use std::future::Future;

use crate::lang::{Catalog, Lang};
use crate::problem::FieldError;
use crate::ui::{Markup, escape};

tokio::task_local! {
    static READER: Reader;
}

#[derive(Debug, Clone)]
struct Reader {
    catalog: Catalog,
    lang: Lang,
}

/// Runs `work` for a reader of `lang`.
pub(crate) async fn reading<F: Future>(catalog: Catalog, lang: Lang, work: F) -> F::Output {
    READER.scope(Reader { catalog, lang }, work).await
}

/// What a refused field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What is wrong, in the reader's language.
    pub text: String,
    /// The rule in English, where the text says less.
    pub detail: Option<String>,
}

impl Said {
    /// As it stands, in the reader's language already.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            detail: None,
        }
    }

    /// The text, and the detail below it.
    pub fn markup(&self) -> Markup {
        let mut html = escape(&self.text);
        if let Some(detail) = &self.detail {
            html.push_str(&format!(
                " <small class=\"soft\" lang=\"en\">{}</small>",
                escape(detail)
            ));
        }
        Markup::new(html)
    }
}

/// What `error` says to the reader.
pub fn said(error: &FieldError) -> Said {
    READER
        .try_with(|reader| reader.say(error))
        .unwrap_or_else(|_| Said::plain(&error.message))
}

impl Reader {
    fn say(&self, error: &FieldError) -> Said {
        let message = error.message.as_str();
        if self.lang == Lang::En && !parsed(&error.rule) {
            return Said::plain(message);
        }
        if self.lang != Lang::En && is_chinese(error) {
            return Said::plain(message);
        }
        let whole = |key: &str, args: &[(&str, &str)]| {
            let known = self.catalog.has(key);
            known.then(|| Said::plain(self.catalog.text(self.lang, key, args)))
        };
        let own = format!("said-{}-{}", error.rule, error.field);
        let bounded = || {
            let bounds = Bounds::of(message)?;
            let kind = if bounds.unit == "number" {
                "range"
            } else {
                "length"
            };
            let key = match (&bounds.least, &bounds.most) {
                (Some(_), Some(_)) => format!("said-{kind}-between"),
                (Some(_), None) => format!("said-{kind}-least"),
                _ => format!("said-{kind}-most"),
            };
            let least = bounds.least.unwrap_or_default();
            let most = bounds.most.unwrap_or_default();
            let args = [("least", least), ("most", most), ("unit", bounds.unit)];
            let said = whole(&key, &args)?;
            Some(Said {
                detail: bounds.more.then(|| message.to_owned()),
                ..said
            })
        };
        if error.rule == "required" {
            return whole("said-required", &[]).unwrap_or_else(|| Said::plain(message));
        }
        if let Some(said) = whole(&own, &[]).or_else(bounded) {
            return said;
        }
        let key = format!("said-{}", error.rule);
        let text = match self.catalog.has(&key) {
            true => self.catalog.text(self.lang, &key, &[]),
            false => self.catalog.text(self.lang, "said-other", &[]),
        };
        Said {
            text,
            detail: Some(message.to_owned()),
        }
    }
}

/// Rules whose message is a parser's: no sentence in any language.
fn parsed(rule: &str) -> bool {
    matches!(rule, "type" | "number" | "json")
}

/// Whether the message is in Chinese, apart from the value that it repeats.
fn is_chinese(error: &FieldError) -> bool {
    let rest = match error.value.as_deref() {
        Some(value) if !value.is_empty() => error.message.replace(value, ""),
        _ => error.message.clone(),
    };
    // What stands between quotation marks is somebody's value too.
    rest.split('"').step_by(2).any(|part| part.chars().any(han))
}

fn han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

/// The numbers of a rule as the house writes them: `must be 1 to 366`, `must have 12 to 256
/// characters`, `must be between 1 and 9`, `must be at least 2`, `must have at most 20 entries`.
#[derive(Debug, PartialEq, Eq)]
struct Bounds<'a> {
    least: Option<&'a str>,
    most: Option<&'a str>,
    /// What is counted: `number` (the value itself), `characters`, `bytes`, `entries`.
    unit: &'static str,
    /// Whether the rule goes on: `… and no control characters`.
    more: bool,
}

impl<'a> Bounds<'a> {
    fn of(message: &'a str) -> Option<Self> {
        let rest = message
            .strip_prefix("must be ")
            .or_else(|| message.strip_prefix("must have "))?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| {
            let word: &'a str = words.get(at)?.trim_end_matches([',', ';', ':']);
            word.replace(',', "").parse::<f64>().ok().map(|_| word)
        };
        let (least, most, after) = match *words.first()? {
            "between" if words.get(2) == Some(&"and") => (Some(number(1)?), Some(number(3)?), 4),
            "at" if words.get(1) == Some(&"least") => (Some(number(2)?), None, 3),
            "at" if words.get(1) == Some(&"most") => (None, Some(number(2)?), 3),
            _ if words.get(1) == Some(&"to") => (Some(number(0)?), Some(number(2)?), 3),
            _ => return None,
        };
        let unit = match words.get(after).map(|word| word.trim_end_matches(',')) {
            None => "number",
            Some("characters") => "characters",
            Some("bytes") => "bytes",
            Some("entries" | "items" | "targets" | "rules") => "entries",
            // More is said than numbers tell.
            Some(_) => return None,
        };
        Some(Self {
            least,
            most,
            unit,
            more: words.len() > after + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(lang: Lang) -> Reader {
        let catalog = Catalog::new(&[crate::Locales {
            room: "web",
            zh_tw: include_str!("../locales/zh-TW.ftl"),
            en: include_str!("../locales/en.ftl"),
        }])
        .expect("the texts");
        Reader { catalog, lang }
    }

    fn say(lang: Lang, field: &str, rule: &'static str, message: &str) -> Said {
        reader(lang).say(&FieldError::new(field, rule, message))
    }

    #[test]
    fn the_rule_is_said_in_the_readers_language_with_its_numbers() {
        for (rule, message, text) in [
            ("required", "must not be empty", "不可空白"),
            ("range", "must be 1 to 366", "須為 1 到 366"),
            ("range", "must be between -90 and 90", "須為 -90 到 90"),
            ("range", "must be at least 2", "不可小於 2"),
            (
                "length",
                "must have 12 to 256 characters",
                "須有 12 到 256 個字元",
            ),
            (
                "length",
                "must have at most 2,048 bytes",
                "最多 2,048 個位元組",
            ),
            ("limit", "must have at most 20 entries", "最多 20 項"),
        ] {
            let said = say(Lang::ZhTw, "x", rule, message);
            assert_eq!((said.text.as_str(), said.detail), (text, None), "{message}");
            assert_eq!(say(Lang::En, "x", rule, message).text, message);
        }
    }

    #[test]
    fn what_the_texts_do_not_know_keeps_its_english_below() {
        for (rule, message) in [
            ("format", "must be a date such as 2026-11-21"),
            ("rule", "line 1 column 0: EOF while parsing a value"),
            ("length", "must be 3 to 250 of a-z, 0-9 and hyphens"),
            ("nobody-knows-this-rule", "is not so"),
            (
                "length",
                "must have 1 to 100 characters and no control characters",
            ),
        ] {
            let said = say(Lang::ZhTw, "x", rule, message);
            assert!(said.text.chars().any(han), "{said:?}");
            assert_eq!(said.detail.as_deref(), Some(message));
            assert!(said.markup().as_str().contains("lang=\"en\""));
        }
    }

    #[test]
    fn a_pages_own_words_stay_and_a_chinese_value_does_not_make_a_sentence_chinese() {
        let own = say(Lang::ZhTw, "x", "range", "請填 1 到 5");
        assert_eq!(own, Said::plain("請填 1 到 5"));
        let error = FieldError::new("x", "format", "測試: must be a date").value("測試");
        assert!(reader(Lang::ZhTw).say(&error).detail.is_some());
        let error = FieldError::new("x", "format", "\"測試\" is no address");
        assert!(reader(Lang::ZhTw).say(&error).detail.is_some());
    }

    #[tokio::test]
    async fn the_reader_is_known_within_the_request_only() {
        let error = FieldError::new("x", "required", "must not be empty");
        assert_eq!(said(&error).text, "must not be empty");
        let catalog = reader(Lang::ZhTw).catalog;
        let text = reading(catalog, Lang::ZhTw, async { said(&error).text }).await;
        assert_eq!(text, "不可空白");
    }
}
