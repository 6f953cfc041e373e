//! Rows as text: a table for people, JSON, NDJSON and CSV for programs.

use std::fmt::Write;
use std::str::FromStr;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

use super::QueryResult;

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180, with a header line.
    Csv,
}

impl Format {
    /// All forms, in the order in which they are listed to people.
    pub const ALL: [Self; 4] = [Self::Table, Self::Json, Self::Ndjson, Self::Csv];

    /// Its name on command lines and in addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// A name that is no form of output.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a format: must be one of table, json, ndjson, csv")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| UnknownFormat(text.chars().take(80).collect()))
    }
}

/// Writes a result in a form.
///
/// # Errors
/// When a column has a type that cannot be shown.
pub fn render(result: &QueryResult, format: Format) -> Result<String, ArrowError> {
    match format {
        Format::Table => table(result),
        Format::Json => {
            let rows = objects(result)?;
            let mut text = String::from("[");
            for (i, row) in rows.iter().enumerate() {
                text.push_str(if i == 0 { "\n " } else { ",\n " });
                text.push_str(&row.to_string());
            }
            text.push_str(if rows.is_empty() { "]\n" } else { "\n]\n" });
            Ok(text)
        }
        Format::Ndjson => Ok(objects(result)?
            .iter()
            .map(|row| format!("{row}\n"))
            .collect()),
        Format::Csv => csv(result),
    }
}

/// The rows as JSON objects, columns in order of the result. Numbers that JSON
/// programs would round (beyond 2⁵³) stay integers; times are RFC 3339.
///
/// # Errors
/// When a column has a type that cannot be shown.
pub fn objects(result: &QueryResult) -> Result<Vec<Value>, ArrowError> {
    let mut rows = Vec::with_capacity(result.rows());
    each_row(result, |names, cells| {
        let object = names
            .iter()
            .zip(cells)
            .map(|(name, cell)| (name.clone(), cell.json()))
            .collect();
        rows.push(Value::Object(object));
    })?;
    Ok(rows)
}

fn table(result: &QueryResult) -> Result<String, ArrowError> {
    let mut lines: Vec<Vec<(String, bool)>> = Vec::new();
    let names = names(result);
    each_row(result, |_, cells| {
        lines.push(
            cells
                .iter()
                .map(|cell| {
                    (
                        cell.text.clone().unwrap_or_default(),
                        cell.kind == Kind::Number,
                    )
                })
                .collect(),
        );
    })?;
    let mut widths: Vec<usize> = names.iter().map(|name| width(name)).collect();
    for line in &lines {
        for (cell, widest) in line.iter().zip(&mut widths) {
            *widest = (*widest).max(width(&cell.0));
        }
    }
    let mut text = String::new();
    let mut push = |line: &[(String, bool)]| {
        for (i, ((cell, right), widest)) in line.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(widest - width(cell));
            let gap = if i == 0 { "" } else { "  " };
            // Writing to a string does not fail.
            let written = if *right {
                write!(text, "{gap}{pad}{cell}")
            } else if i + 1 == line.len() {
                write!(text, "{gap}{cell}")
            } else {
                write!(text, "{gap}{cell}{pad}")
            };
            debug_assert!(written.is_ok());
        }
        text.push('\n');
    };
    let numeric = lines
        .first()
        .map(|line| line.iter().map(|cell| cell.1).collect::<Vec<_>>());
    let head: Vec<(String, bool)> = names
        .iter()
        .enumerate()
        .map(|(i, name)| (name.clone(), numeric.as_ref().is_some_and(|n| n[i])))
        .collect();
    push(&head);
    let rule: Vec<(String, bool)> = widths.iter().map(|w| ("─".repeat(*w), false)).collect();
    push(&rule);
    lines.iter().for_each(|line| push(line));
    Ok(text)
}

/// Columns on a terminal: wide for the scripts of East Asia, else one.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match c as u32 {
            0x1100..=0x115F
            | 0x2E80..=0xA4CF
            | 0xAC00..=0xD7A3
            | 0xF900..=0xFAFF
            | 0xFE30..=0xFE4F
            | 0xFF00..=0xFF60
            | 0xFFE0..=0xFFE6
            | 0x1F300..=0x1F64F
            | 0x20000..=0x3FFFD => 2,
            _ => 1,
        })
        .sum()
}

fn csv(result: &QueryResult) -> Result<String, ArrowError> {
    let mut text = String::new();
    let names = names(result);
    for (i, name) in names.iter().enumerate() {
        push_csv(&mut text, i, name, false);
    }
    text.push_str("\r\n");
    each_row(result, |_, cells| {
        for (i, cell) in cells.iter().enumerate() {
            let is_text = cell.kind == Kind::Text;
            push_csv(&mut text, i, cell.text.as_deref().unwrap_or(""), is_text);
        }
        text.push_str("\r\n");
    })?;
    Ok(text)
}

fn push_csv(text: &mut String, index: usize, cell: &str, from_outside: bool) {
    if index > 0 {
        text.push(',');
    }
    // Paths come from strangers; a spreadsheet must not take one for a formula.
    let formula = from_outside && cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula || cell.contains([',', '"', '\n', '\r']) {
        text.push('"');
        if formula {
            text.push('\'');
        }
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(cell);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Boolean,
    Text,
}

struct Cell {
    kind: Kind,
    text: Option<String>,
}

impl Cell {
    fn json(&self) -> Value {
        match (&self.text, self.kind) {
            (None, _) => Value::Null,
            (Some(text), Kind::Number) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            (Some(text), Kind::Boolean) => Value::Bool(text == "true"),
            (Some(text), Kind::Text) => Value::String(text.clone()),
        }
    }
}

fn names(result: &QueryResult) -> Vec<String> {
    result
        .schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}

fn each_row(
    result: &QueryResult,
    mut take: impl FnMut(&[String], &[Cell]),
) -> Result<(), ArrowError> {
    let names = names(result);
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"));
    for batch in &result.batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| {
                Ok((
                    kind(column.data_type()),
                    column,
                    ArrayFormatter::try_new(column, &options)?,
                ))
            })
            .collect::<Result<Vec<_>, ArrowError>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns
                .iter()
                .map(|(kind, column, formatter)| {
                    let text = if column.is_null(row) {
                        None
                    } else {
                        Some(formatter.value(row).try_to_string()?)
                    };
                    Ok(Cell { kind: *kind, text })
                })
                .collect::<Result<Vec<_>, ArrowError>>()?;
            take(&names, &cells);
        }
    }
    Ok(())
}

fn kind(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Boolean => Kind::Boolean,
        data_type if data_type.is_numeric() => Kind::Number,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use std::sync::Arc;
    use std::time::Duration;

    fn result() -> QueryResult {
        let schema = Arc::new(Schema::new(vec![
            Field::new("path", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("ratio", DataType::Float64, true),
        ]));
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(StringArray::from(vec![
                    Some("/a,\"b\""),
                    Some("=1+1"),
                    None,
                    Some("/首頁"),
                ])),
                Arc::new(Int64Array::from(vec![
                    Some(1),
                    Some(-20),
                    None,
                    Some(9_007_199_254_740_993),
                ])),
                Arc::new(Float64Array::from(vec![
                    Some(0.5),
                    None,
                    Some(f64::NAN),
                    Some(1.0),
                ])),
            ],
        )
        .expect("a batch");
        QueryResult {
            schema,
            batches: vec![batch],
            truncated: false,
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn csv_quotes_and_disarms() {
        let text = render(&result(), Format::Csv).expect("renders");
        assert_eq!(
            text,
            "path,n,ratio\r\n\"/a,\"\"b\"\"\",1,0.5\r\n\"'=1+1\",-20,\r\n,,NaN\r\n/首頁,9007199254740993,1.0\r\n"
        );
    }

    #[test]
    fn json_keeps_types() {
        let text = render(&result(), Format::Json).expect("renders");
        let rows: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(rows[0]["path"], "/a,\"b\"");
        assert_eq!(rows[1]["n"], -20);
        assert_eq!(rows[2]["n"], Value::Null);
        assert_eq!(rows[3]["n"], 9_007_199_254_740_993_i64);
        let lines = render(&result(), Format::Ndjson).expect("renders");
        assert_eq!(lines.lines().count(), 4);
    }

    #[test]
    fn a_table_aligns_wide_letters_and_numbers() {
        let text = render(&result(), Format::Table).expect("renders");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert!(lines[0].starts_with("path "));
        assert!(lines[3].contains("               -20"), "{text}");
    }

    #[test]
    fn an_unknown_format_lists_those_that_exist() {
        let message = "xml".parse::<Format>().expect_err("unknown").to_string();
        assert!(
            Format::ALL
                .iter()
                .all(|format| message.contains(format.name()))
        );
    }
}
