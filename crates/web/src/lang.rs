//! The two languages of the console: Fluent texts, one catalogue a language, joined
//! from every room's files.
//!
//! **Invariant**: both languages have the same keys; [`Catalog::new`] refuses a
//! catalogue in which one is missing, so a page cannot show a raw key.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};

/// A language of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lang {
    /// Chinese as written in Taiwan; the default.
    #[default]
    ZhTw,
    /// English.
    En,
}

impl Lang {
    /// Both, the default first.
    pub const ALL: [Self; 2] = [Self::ZhTw, Self::En];

    /// BCP 47 tag: `zh-TW` or `en`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::ZhTw => "zh-TW",
            Self::En => "en",
        }
    }

    /// The language whose tag is `tag`.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lang| lang.tag() == tag)
    }

    /// The best of our languages for an `Accept-Language` header (RFC 9110 section
    /// 12.5.4): any Chinese is zh-TW, any English is en; otherwise none.
    pub fn negotiate(accept: &str) -> Option<Self> {
        let mut best: Option<(Self, u16)> = None;
        for range in accept.split(',').take(Self::RANGES_MAX) {
            let (tag, weight) = match range.split_once(';') {
                Some((tag, parameters)) => (tag.trim(), quality(parameters)),
                None => (range.trim(), 1000),
            };
            let primary = tag.split('-').next().unwrap_or_default();
            let lang = match primary.to_ascii_lowercase().as_str() {
                "zh" => Self::ZhTw,
                "en" => Self::En,
                _ => continue,
            };
            if weight > 0 && best.is_none_or(|(_, w)| weight > w) {
                best = Some((lang, weight));
            }
        }
        best.map(|(lang, _)| lang)
    }

    /// Ranges of an `Accept-Language` header that are read.
    const RANGES_MAX: usize = 32;
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

/// `q=0.8` in thousandths; unreadable weights count as 1.
fn quality(parameters: &str) -> u16 {
    let Some(text) = parameters.trim().strip_prefix("q=") else {
        return 1000;
    };
    match text.trim().parse::<f32>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u16,
        _ => 1000,
    }
}

/// A room's texts.
#[derive(Debug, Clone, Copy)]
pub struct Locales {
    /// The room, for messages about mistakes.
    pub room: &'static str,
    /// Fluent text in Chinese.
    pub zh_tw: &'static str,
    /// Fluent text in English.
    pub en: &'static str,
}

/// Why texts cannot be joined into a catalogue.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CatalogError {
    /// A file is not Fluent.
    #[error("texts of room {room:?} in {lang}: {message}")]
    Syntax {
        /// The room.
        room: &'static str,
        /// The language.
        lang: Lang,
        /// What the parser says.
        message: String,
    },
    /// Two rooms use one key.
    #[error("text {key:?} in {lang} is defined twice, the second time by room {room:?}")]
    Twice {
        /// The room that comes second.
        room: &'static str,
        /// The language.
        lang: Lang,
        /// The key.
        key: String,
    },
    /// A key of one language is missing in the other.
    #[error("texts missing in {lang}: {keys:?}")]
    Missing {
        /// The language.
        lang: Lang,
        /// The keys, sorted.
        keys: Vec<String>,
    },
}

/// Every text in both languages. Cheap to clone.
#[derive(Clone)]
pub struct Catalog(Arc<[FluentBundle<FluentResource>; 2]>);

impl Catalog {
    /// Joins the rooms' texts.
    ///
    /// # Errors
    /// When a text cannot be read, a key is defined twice, or a key is missing in
    /// one language.
    pub fn new(rooms: &[Locales]) -> Result<Self, CatalogError> {
        let (zh_tw, zh_keys) = bundle(Lang::ZhTw, rooms)?;
        let (en, en_keys) = bundle(Lang::En, rooms)?;
        for (lang, has, other) in [
            (Lang::ZhTw, &zh_keys, &en_keys),
            (Lang::En, &en_keys, &zh_keys),
        ] {
            let keys: Vec<String> = other.difference(has).cloned().collect();
            if !keys.is_empty() {
                return Err(CatalogError::Missing { lang, keys });
            }
        }
        Ok(Self(Arc::new([zh_tw, en])))
    }

    /// The text for `key`, with arguments. A key that does not exist shows itself
    /// between angle brackets, which tests look for.
    pub fn text(&self, lang: Lang, key: &str, args: &[(&str, &str)]) -> String {
        let bundle = &self.0[lang as usize];
        let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else {
            tracing::warn!(key, lang = lang.tag(), "text is missing");
            return format!("⟨{key}⟩");
        };
        let mut values = FluentArgs::with_capacity(args.len());
        for (name, value) in args {
            // Whole numbers choose plural forms.
            match value.parse::<i64>() {
                Ok(number) if value.len() < 16 => values.set(*name, FluentValue::from(number)),
                _ => values.set(*name, FluentValue::from((*value).to_owned())),
            }
        }
        let mut errors = Vec::new();
        let text = bundle.format_pattern(pattern, Some(&values), &mut errors);
        if !errors.is_empty() {
            tracing::warn!(key, lang = lang.tag(), ?errors, "text is incomplete");
        }
        text.into_owned()
    }

    /// Whether there is a text for `key`.
    pub fn has(&self, key: &str) -> bool {
        self.0[0].has_message(key)
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalog")
    }
}

fn bundle(
    lang: Lang,
    rooms: &[Locales],
) -> Result<(FluentBundle<FluentResource>, BTreeSet<String>), CatalogError> {
    let locale = lang.tag().parse().map_err(|error| CatalogError::Syntax {
        room: "",
        lang,
        message: format!("{error:?}"),
    })?;
    let mut bundle = FluentBundle::new_concurrent(vec![locale]);
    // Isolation marks (U+2068) help mixed directions, of which there are none here,
    // and spoil copying.
    bundle.set_use_isolating(false);
    let mut keys = BTreeSet::new();
    for room in rooms {
        let source = match lang {
            Lang::ZhTw => room.zh_tw,
            Lang::En => room.en,
        };
        let resource = FluentResource::try_new(source.to_owned()).map_err(|(_, errors)| {
            CatalogError::Syntax {
                room: room.room,
                lang,
                message: errors
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; "),
            }
        })?;
        for line in source.lines() {
            if let Some(key) = key_of(line)
                && !keys.insert(key.to_owned())
            {
                return Err(CatalogError::Twice {
                    room: room.room,
                    lang,
                    key: key.to_owned(),
                });
            }
        }
        bundle
            .add_resource(resource)
            .map_err(|errors| CatalogError::Syntax {
                room: room.room,
                lang,
                message: format!("{errors:?}"),
            })?;
    }
    Ok((bundle, keys))
}

/// The key of a line that begins a message: `key = text`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim_end();
    let mut bytes = key.bytes();
    let first = bytes.next()?;
    (first.is_ascii_alphabetic()
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
    .then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(zh_tw: &'static str, en: &'static str) -> Locales {
        Locales {
            room: "test",
            zh_tw,
            en,
        }
    }

    #[test]
    fn a_key_missing_in_one_language_is_refused() {
        let error = Catalog::new(&[room("a = 甲\nb = 乙\n", "a = A\n")]).expect_err("b is missing");
        assert_eq!(error.to_string(), "texts missing in en: [\"b\"]");
    }

    #[test]
    fn a_key_defined_twice_is_refused() {
        let rooms = [room("a = 甲\n", "a = A\n"), room("a = 乙\n", "a = B\n")];
        assert!(matches!(
            Catalog::new(&rooms),
            Err(CatalogError::Twice { .. })
        ));
    }

    #[test]
    fn arguments_and_plurals() {
        let catalog = Catalog::new(&[room(
            "n = { $count } 個\n",
            "n = { $count ->\n    [one] one site\n   *[other] { $count } sites\n }\n",
        )])
        .expect("a catalogue");
        assert_eq!(catalog.text(Lang::En, "n", &[("count", "1")]), "one site");
        assert_eq!(catalog.text(Lang::En, "n", &[("count", "3")]), "3 sites");
        assert_eq!(catalog.text(Lang::ZhTw, "n", &[("count", "3")]), "3 個");
        assert_eq!(catalog.text(Lang::En, "zz", &[]), "⟨zz⟩");
    }

    #[test]
    fn negotiation_follows_weights() {
        assert_eq!(
            Lang::negotiate("fr, en;q=0.8, zh-TW;q=0.9"),
            Some(Lang::ZhTw)
        );
        assert_eq!(Lang::negotiate("en-GB,en;q=0.5"), Some(Lang::En));
        assert_eq!(Lang::negotiate("en;q=0, zh;q=0.1"), Some(Lang::ZhTw));
        assert_eq!(Lang::negotiate("de, *"), None);
        assert_eq!(Lang::negotiate(";;;,,,q=9"), None);
    }
}
