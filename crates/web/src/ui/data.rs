//! Showing values: tiles, badges, bars, notices, empty states, tabs, live parts.

use super::{Icon, Markup, attribute, escape, icon};
use crate::room::Level;

/// A number with thousands separated: `1,234,567`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in binary units with three figures at most: `1.5 GiB`.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1000.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let places = if scaled < 10.0 { 1 } else { 0 };
    format!("{scaled:.places$} {}", UNITS[unit])
}

/// A share of 1 as a percentage with one decimal: `97.3 %`; `–` when there is none.
pub fn percent(share: Option<f64>) -> String {
    match share {
        Some(share) if share.is_finite() => format!("{:.1} %", share * 100.0),
        _ => "–".to_owned(),
    }
}

/// A state in a word, with a shape and a colour.
pub fn badge(level: Level, text: impl AsRef<str>) -> Markup {
    Markup::new(format!(
        "<span class=\"badge badge-{}\"><span class=\"dot\" aria-hidden=\"true\"></span>{}</span>",
        level.class(),
        escape(text.as_ref())
    ))
}

/// A share of 1 as a bar with its value beside it.
pub fn bar(share: f64, label: impl AsRef<str>) -> Markup {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    Markup::new(format!(
        "<span class=\"bar\"><svg viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"bar-rail\" width=\"100\" height=\"6\" rx=\"3\"/><rect class=\"bar-fill\" width=\"{:.1}\" height=\"6\" rx=\"3\"/></svg><span class=\"num\">{}</span></span>",
        share * 100.0,
        escape(label.as_ref())
    ))
}

/// A figure that answers a question at a glance.
#[derive(Debug, Clone, Default)]
pub struct Tile {
    label: String,
    value: String,
    unit: String,
    detail: Option<String>,
    level: Option<Level>,
    live: Option<String>,
    path: Option<String>,
}

/// A tile that says `value` of `label`, in `unit` (may be empty).
pub fn tile(label: impl Into<String>, value: impl Into<String>, unit: impl Into<String>) -> Tile {
    Tile {
        label: label.into(),
        value: value.into(),
        unit: unit.into(),
        ..Tile::default()
    }
}

impl Tile {
    /// A line below: the range, a comparison.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    /// How good or bad it is.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Renewed by the live value `name` ([`live`]).
    #[must_use]
    pub fn live(mut self, name: impl Into<String>) -> Self {
        self.live = Some(name.into());
        self
    }

    /// Leads to a page.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The HTML.
    pub fn markup(&self) -> Markup {
        let mut value = "<span class=\"tile-value\"".to_owned();
        if let Some(name) = &self.live {
            attribute(&mut value, "data-live-value", name);
        }
        value.push('>');
        value.push_str(&escape(&self.value));
        value.push_str("</span>");
        if !self.unit.is_empty() {
            value.push_str(" <span class=\"tile-unit\">");
            value.push_str(&escape(&self.unit));
            value.push_str("</span>");
        }
        let label = match &self.path {
            Some(path) => Markup::link(path, &self.label).to_string(),
            None => escape(&self.label),
        };
        let detail = match &self.detail {
            Some(text) => format!("<p class=\"tile-detail\">{}</p>", escape(text)),
            None => String::new(),
        };
        let class = self.level.map_or("neutral", Level::class);
        Markup::new(format!(
            "<div class=\"tile tile-{class}\"><p class=\"tile-label\">{label}</p><p class=\"tile-figure\">{value}</p>{detail}</div>"
        ))
    }
}

impl std::fmt::Display for Tile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.markup().as_str())
    }
}

impl askama::filters::HtmlSafe for Tile {}

/// A boxed remark: what happened, what to do.
pub fn notice(level: Level, title: impl AsRef<str>, body: impl Into<Markup>) -> Markup {
    let picture = match level {
        Level::Good => Icon::Check,
        Level::Warn | Level::Bad => Icon::Warn,
        _ => Icon::Info,
    };
    let role = if level == Level::Bad {
        " role=\"alert\""
    } else {
        ""
    };
    Markup::new(format!(
        "<div class=\"notice notice-{}\"{role}>{}<div><p class=\"notice-title\">{}</p><div class=\"notice-body\">{}</div></div></div>",
        level.class(),
        icon(picture),
        escape(title.as_ref()),
        body.into()
    ))
}

/// What stands where nothing is yet: why, and what to do about it.
pub fn empty(
    picture: Icon,
    title: impl AsRef<str>,
    text: impl AsRef<str>,
    action: Option<(&str, &str)>,
) -> Markup {
    let action = action.map_or(String::new(), |(path, label)| {
        format!(
            "<p><a class=\"button\" href=\"{}\">{}</a></p>",
            escape(path),
            escape(label)
        )
    });
    Markup::new(format!(
        "<div class=\"empty\">{}<p class=\"empty-title\">{}</p><p>{}</p>{action}</div>",
        icon(picture),
        escape(title.as_ref()),
        escape(text.as_ref())
    ))
}

/// Views of one thing, each a page of its own: path, text, whether it is this one.
pub fn tabs(entries: &[(String, String, bool)]) -> Markup {
    let mut out = "<nav class=\"tabs\"><ul>".to_owned();
    for (path, text, here) in entries {
        out.push_str("<li><a");
        attribute(&mut out, "href", path);
        if *here {
            out.push_str(" aria-current=\"page\"");
        }
        out.push('>');
        out.push_str(&escape(text));
        out.push_str("</a></li>");
    }
    out.push_str("</ul></nav>");
    Markup::new(out)
}

/// Names and values in two columns.
pub fn definition_list(entries: Vec<(String, Markup)>) -> Markup {
    let mut out = "<dl class=\"facts\">".to_owned();
    for (name, value) in entries {
        out.push_str("<div><dt>");
        out.push_str(&escape(&name));
        out.push_str("</dt><dd>");
        out.push_str(value.as_str());
        out.push_str("</dd></div>");
    }
    out.push_str("</dl>");
    Markup::new(out)
}

/// A value to be copied elsewhere: selected by a click; `label` names it.
pub fn copyable(label: impl AsRef<str>, value: impl AsRef<str>) -> Markup {
    Markup::new(format!(
        "<code class=\"copyable\" tabindex=\"0\" role=\"textbox\" aria-readonly=\"true\" aria-label=\"{}\">{}</code>",
        escape(label.as_ref()),
        escape(value.as_ref())
    ))
}

/// A part of the page renewed by server-sent events from `path`: the events of
/// [`crate::live`]. Without scripts it stays as it was when the page was made.
pub fn live(path: impl AsRef<str>, inner: impl Into<Markup>) -> Markup {
    Markup::new(format!(
        "<div data-live=\"{}\">{}</div>",
        escape(path.as_ref()),
        inner.into()
    ))
}

/// A value inside a [`live`] part, renewed by the name `name`.
pub fn live_value(name: impl AsRef<str>, text: impl AsRef<str>) -> Markup {
    Markup::new(format!(
        "<span class=\"num\" data-live-value=\"{}\">{}</span>",
        escape(name.as_ref()),
        escape(text.as_ref())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16 EiB");
        assert_eq!(percent(Some(0.9731)), "97.3 %");
        assert_eq!(percent(Some(f64::NAN)), "–");
    }
}
