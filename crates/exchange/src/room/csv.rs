//! Things of a kind as CSV (RFC 4180), out and in. What comes in is tried as a whole:
//! one wrong line, and nothing is changed.

use casework::validate::Problem;
use serde_json::Value;
use store::Tx;
use uuid::Uuid;

use super::keep::Wanted;
use super::kind::{Field, Ty};
use super::{By, Exchange, Kind, RoomError, Values, value};

/// Bytes of a file.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Lines of a file.
pub const LINES_MAX: usize = 20_000;
/// Problems that are told.
pub const PROBLEMS_MAX: usize = 200;
/// Changes that a preview names.
const CHANGES_MAX: usize = 200;

/// A file that is no CSV.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {rule}")]
pub struct Malformed {
    /// Where, from 1.
    pub line: usize,
    /// The rule that it breaks.
    pub rule: String,
}

/// One row and the line that it begins on.
pub type Row = (usize, Vec<String>);

/// Reads CSV with commas and double quotes; a byte order mark and empty lines are
/// passed over.
///
/// # Errors
/// [`Malformed`] with the line.
pub fn parse(text: &str) -> Result<Vec<Row>, Malformed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let wrong = |line: usize, rule: &str| Malformed {
        line,
        rule: rule.to_owned(),
    };
    if text.len() > FILE_BYTES_MAX {
        return Err(wrong(1, "the file must have at most 4 MiB"));
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut cells: Vec<String> = Vec::new();
    let mut cell = String::new();
    let (mut line, mut start, mut quoted, mut closed) = (1, 1, false, false);
    let mut chars = text.chars().peekable();
    let mut end_row = |cells: &mut Vec<String>, start: usize| {
        let row = std::mem::take(cells);
        if row.iter().any(|cell| !cell.is_empty()) {
            rows.push((start, row));
        }
        rows.len()
    };
    while let Some(c) = chars.next() {
        if quoted {
            match c {
                '"' if chars.peek() == Some(&'"') => {
                    chars.next();
                    cell.push('"');
                }
                '"' => {
                    quoted = false;
                    closed = true;
                }
                c => {
                    if c == '\n' {
                        line += 1;
                    }
                    cell.push(c);
                }
            }
            continue;
        }
        match c {
            '"' if cell.is_empty() && !closed => quoted = true,
            '"' => return Err(wrong(line, "a quotation mark stands inside a value")),
            ',' => {
                cells.push(std::mem::take(&mut cell));
                closed = false;
            }
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                cells.push(std::mem::take(&mut cell));
                closed = false;
                if end_row(&mut cells, start) > LINES_MAX {
                    return Err(wrong(line, "the file must have at most 20000 lines"));
                }
                line += 1;
                start = line;
            }
            _ if closed => return Err(wrong(line, "text stands after a quotation mark")),
            c => cell.push(c),
        }
    }
    if quoted {
        return Err(wrong(start, "a quotation mark is not closed"));
    }
    if !cell.is_empty() || !cells.is_empty() {
        cells.push(cell);
        end_row(&mut cells, start);
    }
    Ok(rows)
}

/// A value as a cell. What a spreadsheet would take for a formula gets an apostrophe.
fn cell(out: &mut String, text: &str) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t']) && text.parse::<f64>().is_err();
    if !formula && !text.contains([',', '"', '\n', '\r']) {
        out.push_str(text);
        return;
    }
    out.push('"');
    if formula {
        out.push('\'');
    }
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

/// A cell without the apostrophe that [`cell`] put before it.
fn uncover(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.starts_with(['=', '+', '-', '@', '\t']) => rest,
        _ => text,
    }
}

/// The fields that a file holds: those that are not sealed.
fn columns(kind: Kind) -> impl Iterator<Item = &'static Field> {
    kind.fields().iter().filter(|field| !field.ty.is_sealed())
}

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineProblem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong; its field is the column.
    pub problem: Problem,
}

/// What an import would do, or did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Things made.
    pub created: usize,
    /// Things changed.
    pub updated: usize,
    /// Things that are as the file says already.
    pub unchanged: usize,
    /// The first changes: `create` or `update`, kind, and label.
    pub changes: Vec<(&'static str, Kind, String)>,
    /// Everything that is wrong; then nothing was changed.
    pub problems: Vec<LineProblem>,
    /// Whether it was done.
    pub applied: bool,
}

impl Report {
    pub(super) fn note(&mut self, action: &'static str, kind: Kind, label: &str) {
        match action {
            "create" => self.created += 1,
            _ => self.updated += 1,
        }
        if self.changes.len() < CHANGES_MAX {
            self.changes.push((action, kind, label.to_owned()));
        }
    }

    pub(super) fn wrong(&mut self, line: usize, error: RoomError) -> Result<(), RoomError> {
        match error {
            RoomError::Invalid(problems) => {
                for problem in problems {
                    if self.problems.len() < PROBLEMS_MAX {
                        self.problems.push(LineProblem { line, problem });
                    }
                }
                Ok(())
            }
            RoomError::Refused(text) => {
                self.problems.push(LineProblem {
                    line,
                    problem: Problem {
                        field: String::new(),
                        value: String::new(),
                        rule: "refused",
                        message: text,
                    },
                });
                Ok(())
            }
            RoomError::NotFound { kind, name } => {
                self.problems.push(LineProblem {
                    line,
                    problem: super::error::problem(
                        "id",
                        &name,
                        "reference",
                        "沒有這一筆",
                        format!("no {kind} {name:?}"),
                    ),
                });
                Ok(())
            }
            other => Err(other),
        }
    }
}

impl Exchange {
    /// All things of a kind as CSV; references by their labels, nothing that is sealed.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn csv(&self, kind: Kind) -> Result<String, RoomError> {
        let mut out = String::from("id,label");
        for field in columns(kind) {
            out.push(',');
            out.push_str(field.name);
        }
        out.push_str("\r\n");
        let labels = self.labels(kind).await?;
        for record in self.all_of(kind, &Wanted::default()).await? {
            out.push_str(&record.id.to_string());
            out.push(',');
            cell(&mut out, &record.label);
            for field in columns(kind) {
                out.push(',');
                let value = &record.values[field.name];
                let text = match (field.ty, value.as_str()) {
                    (Ty::Ref(_), Some(id)) => labels.get(id).cloned().unwrap_or_default(),
                    (Ty::Policy, Some(text)) => text.to_owned(),
                    _ => value::text(field, value),
                };
                cell(&mut out, &text);
            }
            out.push_str("\r\n");
        }
        Ok(out)
    }

    /// Labels of everything that things of a kind refer to, by id.
    pub(crate) async fn labels(
        &self,
        kind: Kind,
    ) -> Result<std::collections::BTreeMap<String, String>, RoomError> {
        let mut kinds: Vec<Kind> = kind
            .fields()
            .iter()
            .filter_map(|field| match field.ty {
                Ty::Ref(other) => Some(other),
                _ => None,
            })
            .collect();
        kinds.sort();
        kinds.dedup();
        let mut labels = std::collections::BTreeMap::new();
        for other in kinds {
            for record in self.all_of(other, &Wanted::default()).await? {
                labels.insert(record.id.to_string(), record.label);
            }
        }
        Ok(labels)
    }

    /// Takes a file of things of one kind. A line with an id, or with the label of a
    /// thing that is there, changes that thing in the columns that the file has; others
    /// make new things. With `apply` false, or when a line is wrong, nothing is changed.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] for a file that is no CSV or has unknown columns.
    pub async fn import_csv(
        &self,
        by: &By,
        kind: Kind,
        text: &str,
        apply: bool,
    ) -> Result<Report, RoomError> {
        let rows = parse(text).map_err(|malformed| {
            RoomError::invalid(
                "file",
                "",
                "csv",
                format!("第 {} 行不是 CSV:{}", malformed.line, malformed.rule),
                malformed.to_string(),
            )
        })?;
        let mut rows = rows.into_iter();
        let (_, header) = rows.next().ok_or_else(|| {
            RoomError::invalid(
                "file",
                "",
                "empty",
                "檔案是空的:第一行必須是欄名",
                "the file is empty: its first line must name the columns",
            )
        })?;
        let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        for (n, name) in header.iter().enumerate() {
            let known = matches!(name.as_str(), "id" | "label")
                || columns(kind).any(|field| field.name == name);
            if !known || header[..n].contains(name) {
                return Err(RoomError::invalid(
                    "file",
                    name,
                    "column",
                    format!("欄名 {name:?} 不認得或重複"),
                    format!("column {name:?} is unknown or comes twice"),
                ));
            }
        }
        let mut report = Report::default();
        let mut tx = self.begin().await?;
        for (line, cells) in rows {
            if let Err(error) = self
                .import_line(&mut tx, by, kind, &header, &cells, &mut report)
                .await
            {
                report.wrong(line, error)?;
            }
            if report.problems.len() >= PROBLEMS_MAX {
                break;
            }
        }
        if apply && report.problems.is_empty() {
            tx.commit().await?;
            report.applied = true;
        } else {
            tx.rollback().await?;
        }
        Ok(report)
    }

    async fn import_line(
        &self,
        tx: &mut Tx,
        by: &By,
        kind: Kind,
        header: &[String],
        cells: &[String],
        report: &mut Report,
    ) -> Result<(), RoomError> {
        if cells.len() > header.len() {
            return Err(RoomError::invalid(
                "",
                "",
                "cells",
                format!("有 {} 格,但欄名只有 {} 個", cells.len(), header.len()),
                format!(
                    "has {} values where there are {} columns",
                    cells.len(),
                    header.len()
                ),
            ));
        }
        let (mut id, mut label, mut given) = (None, None, Values::new());
        for (name, text) in header.iter().zip(cells) {
            let text = uncover(text.trim());
            match name.as_str() {
                "id" if text.is_empty() => {}
                "id" => {
                    let parsed: Uuid = text.parse().map_err(|_| {
                        RoomError::invalid("id", text, "format", "不是識別碼", "is no id")
                    })?;
                    id = Some(parsed);
                }
                "label" => label = Some(text.to_owned()),
                name => {
                    given.insert(name.to_owned(), Value::from(text));
                }
            }
        }
        if id.is_none()
            && let Some(label) = label.filter(|label| !label.is_empty())
        {
            id = self.resolve(tx, kind, &label).await?;
        }
        match id {
            None => {
                let made = self.create(tx, by, kind, &given).await?;
                report.note("create", kind, &made.label);
            }
            Some(id) => {
                let before = self.read_in(tx, kind, id, false).await?.revision;
                let fields: Vec<(&str, Value)> = given
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.clone()))
                    .collect();
                let record = self.change(tx, by, kind, id, &fields).await?;
                if record.revision == before {
                    report.unchanged += 1;
                } else {
                    report.note("update", kind, &record.label);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let texts = [
            "plain",
            "a,b",
            "a \"b\"",
            "two\nlines",
            "=cmd()",
            "-5",
            "",
            "'",
            "é",
        ];
        let mut out = String::new();
        for text in texts {
            cell(&mut out, text);
            out.push(',');
        }
        out.push('x');
        let rows = parse(&out).expect("CSV");
        let back: Vec<&str> = rows[0].1.iter().map(|text| uncover(text)).collect();
        assert_eq!(back[..texts.len()], texts);
        assert!(out.contains("\"'=cmd()\"") && out.contains(",-5,"));
    }

    #[test]
    fn lines_are_counted_through_quoted_values() {
        let rows = parse("\u{feff}a,b\r\n\"1\n2\",3\r\n\r\n4,5").expect("CSV");
        assert_eq!(rows[1].0, 2);
        assert_eq!(rows[2], (5, vec!["4".to_owned(), "5".to_owned()]));
        for (bad, line) in [("a\n\"b", 2), ("a\"b", 1), ("\"a\"b", 1)] {
            assert_eq!(parse(bad).expect_err("malformed").line, line, "{bad}");
        }
    }

    #[test]
    fn mutated_files_never_panic() {
        let base = b"id,label,name\r\n1,\"a,\"\"b\"\n,x,y\r\n".to_vec();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..50_000 {
            let mut bytes = base.clone();
            for _ in 0..3 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let at = usize::try_from(seed % bytes.len() as u64).unwrap_or(0);
                bytes[at] = b",\"\r\na'"[usize::try_from(seed >> 60).unwrap_or(0) % 6];
            }
            if let Ok(rows) = parse(&String::from_utf8_lossy(&bytes)) {
                assert!(rows.len() <= bytes.len());
            }
        }
    }
}
