//! Components of pages: small values that become HTML. A template shows one by
//! `{{ field }}`; everything that came from people is escaped inside.

mod chart;
mod data;
mod field;
mod icon;
mod map;
mod table;
mod time;

use std::fmt::{self, Write};

pub use chart::{Chart, Series, Unit};
pub use data::{
    Tile, badge, bar, bytes, copyable, definition_list, empty, live, live_value, notice, number,
    percent, tabs, tile,
};
pub use field::{Field, button, button_link, danger_button};
pub use icon::{Icon, icon};
pub use map::{Spot, taiwan};
pub use table::{Align, Column, Table, pager};
pub use time::{ago, day, duration, time};

/// HTML that is safe to put into a page as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Markup(String);

impl Markup {
    /// Takes `html` as it stands: everything from outside in it must have gone
    /// through [`escape`].
    pub fn new(html: impl Into<String>) -> Self {
        Self(html.into())
    }

    /// `text`, escaped.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self(escape(text.as_ref()))
    }

    /// A link to a page of this house.
    pub fn link(path: impl AsRef<str>, text: impl AsRef<str>) -> Self {
        Self(format!(
            "<a href=\"{}\">{}</a>",
            escape(path.as_ref()),
            escape(text.as_ref())
        ))
    }

    /// `text` in a fixed-width face: names, addresses, ids.
    pub fn code(text: impl AsRef<str>) -> Self {
        Self(format!("<code>{}</code>", escape(text.as_ref())))
    }

    /// The HTML.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This, then `other`, with a space between.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.0.push(' ');
        self.0.push_str(&other.0);
        self
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Markup {}

impl From<String> for Markup {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for Markup {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl FromIterator<Markup> for Markup {
    fn from_iter<I: IntoIterator<Item = Markup>>(parts: I) -> Self {
        let mut all = String::new();
        for part in parts {
            all.push_str(&part.0);
        }
        Self(all)
    }
}

/// `text` for element content and double-quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters have no place in HTML.
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Writes an attribute with its value escaped.
fn attribute(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    write!(out, " {name}=\"{}\"", escape(value)).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = "<script>\"'&\u{0}";
        let safe = escape(evil);
        assert_eq!(safe, "&lt;script&gt;&quot;&#39;&amp;\u{fffd}");
        for markup in [
            Markup::text(evil),
            Markup::link(evil, evil),
            Markup::code(evil),
            badge(crate::room::Level::Good, evil),
            Field::text(evil, evil)
                .value(evil)
                .error(Some(evil))
                .help(evil)
                .markup(),
            Table::new(evil)
                .column(Column::text(evil))
                .row(vec![evil.into()])
                .markup(),
            tabs(&[(evil.to_owned(), evil.to_owned(), true)]),
        ] {
            assert!(!markup.as_str().contains("<script"), "{markup}");
            assert!(!markup.as_str().contains("=\"<"), "{markup}");
        }
    }
}
