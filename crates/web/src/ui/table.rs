//! Tables that become cards on a phone.

use super::{Markup, attribute, escape};
use crate::visit::Frame;

/// Where a column's values stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Start,
    /// Figures.
    End,
}

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    label: String,
    align: Align,
}

impl Column {
    /// A column of text.
    pub fn text(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            align: Align::Start,
        }
    }

    /// A column of figures.
    pub fn number(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            align: Align::End,
        }
    }
}

/// A table. Shows its empty state instead when it has no rows.
#[derive(Debug, Clone)]
pub struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Markup>>,
    empty: Option<Markup>,
    id: Option<String>,
}

impl Table {
    /// A table; the caption says what it lists (hidden to the eye, read aloud).
    pub fn new(caption: impl Into<String>) -> Self {
        Self {
            caption: caption.into(),
            columns: Vec::new(),
            rows: Vec::new(),
            empty: None,
            id: None,
        }
    }

    /// One more column.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// One more row, a cell for each column.
    #[must_use]
    pub fn row(mut self, cells: Vec<Markup>) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row, a cell for each column.
    pub fn push(&mut self, cells: Vec<Markup>) {
        self.rows.push(cells);
    }

    /// What is shown when there is no row: [`super::empty`].
    #[must_use]
    pub fn empty(mut self, markup: Markup) -> Self {
        self.empty = Some(markup);
        self
    }

    /// The element's id: the target of live fragments.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The HTML.
    pub fn markup(&self) -> Markup {
        let mut out = "<div class=\"table-wrap\"".to_owned();
        if let Some(id) = &self.id {
            attribute(&mut out, "id", id);
        }
        out.push('>');
        if let (true, Some(empty)) = (self.rows.is_empty(), &self.empty) {
            out.push_str(empty.as_str());
            out.push_str("</div>");
            return Markup::new(out);
        }
        out.push_str("<table><caption class=\"visually-hidden\">");
        out.push_str(&escape(&self.caption));
        out.push_str("</caption><thead><tr>");
        for column in &self.columns {
            out.push_str(match column.align {
                Align::Start => "<th scope=\"col\">",
                Align::End => "<th scope=\"col\" class=\"num\">",
            });
            out.push_str(&escape(&column.label));
            out.push_str("</th>");
        }
        out.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            out.push_str("<tr>");
            for (i, cell) in row.iter().enumerate() {
                out.push_str("<td");
                if let Some(column) = self.columns.get(i) {
                    if column.align == Align::End {
                        out.push_str(" class=\"num\"");
                    }
                    attribute(&mut out, "data-label", &column.label);
                }
                out.push('>');
                out.push_str(cell.as_str());
                out.push_str("</td>");
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
        Markup::new(out)
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.markup().as_str())
    }
}

impl askama::filters::HtmlSafe for Table {}

/// Links below a table: back to the first page, on to the next. `query` holds the
/// other parameters to keep (`state=open`), without `cursor`.
pub fn pager(frame: &Frame, query: &str, next: Option<&str>) -> Markup {
    let first = frame
        .visit
        .query
        .split('&')
        .any(|pair| pair.starts_with("cursor="));
    if !first && next.is_none() {
        return Markup::default();
    }
    let address = |cursor: Option<&str>| {
        let mut parts: Vec<String> = Vec::new();
        if !query.is_empty() {
            parts.push(query.to_owned());
        }
        if let Some(cursor) = cursor {
            parts.push(format!("cursor={cursor}"));
        }
        match parts.is_empty() {
            true => frame.path().to_owned(),
            false => format!("{}?{}", frame.path(), parts.join("&")),
        }
    };
    let mut out = "<nav class=\"pager\"".to_owned();
    attribute(&mut out, "aria-label", &frame.t("pager"));
    out.push('>');
    if first {
        out.push_str("<a class=\"button button-quiet\"");
        attribute(&mut out, "href", &address(None));
        out.push('>');
        out.push_str(&escape(&frame.t("pager-first")));
        out.push_str("</a>");
    }
    if let Some(next) = next {
        out.push_str("<a class=\"button button-quiet\" rel=\"next\"");
        attribute(&mut out, "href", &address(Some(next)));
        out.push('>');
        out.push_str(&escape(&frame.t("pager-next")));
        out.push_str("</a>");
    }
    out.push_str("</nav>");
    Markup::new(out)
}
