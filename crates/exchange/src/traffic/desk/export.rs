//! Figures to take along: CSV (RFC 4180) and JSON.

use axum::http::header;
use axum::response::Response;
use serde::Serialize;
use web::{WebError, WebResult};

use super::catalogue::Catalogue;
use super::seams::{Pair, Rates};
use base::MemberId;

/// A series as CSV.
pub(super) fn series_csv(points: &[Rates]) -> String {
    let mut text = "time,in_bps,out_bps,in_pps,out_pps,errors,discards\r\n".to_owned();
    for point in points {
        text.push_str(&format!(
            "{},{:.0},{:.0},{:.1},{:.1},{},{}\r\n",
            point.at,
            point.in_bps,
            point.out_bps,
            point.in_pps,
            point.out_pps,
            point.errors,
            point.discards
        ));
    }
    text
}

/// A matrix as CSV.
pub(super) fn matrix_csv(catalogue: &Catalogue, pairs: &[Pair]) -> String {
    let name = |member: Option<MemberId>| {
        let name = member.and_then(|id| catalogue.names.get(&id));
        quoted(name.map_or("", String::as_str))
    };
    let mut text = "from,to,octets,octets_ipv6,samples\r\n".to_owned();
    for pair in pairs {
        text.push_str(&format!(
            "{},{},{},{},{}\r\n",
            name(pair.from),
            name(pair.to),
            pair.octets,
            pair.octets_v6,
            pair.samples
        ));
    }
    text
}

/// A cell that a spreadsheet would take for a formula is kept from that by a quote.
fn quoted(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

/// A file of that name: `csv` or `json` by the end of the name.
pub(super) fn file<T: Serialize>(name: &str, csv: String, value: &T) -> WebResult<Response> {
    let (media, text) = match name.rsplit_once('.') {
        Some((_, "csv")) => ("text/csv; charset=utf-8", csv),
        Some((_, "json")) => (
            "application/json",
            serde_json::to_string_pretty(value).map_err(WebError::internal)?,
        ),
        _ => return Err(WebError::not_found("export", name)),
    };
    Response::builder()
        .header(header::CONTENT_TYPE, media)
        .header(
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"exchange-{name}\""),
        )
        .header(header::CACHE_CONTROL, "private, no-store")
        .body(text.into())
        .map_err(WebError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_never_formulas() {
        let mut catalogue = Catalogue::default();
        let [a, b] = [1, 2].map(|n| MemberId(uuid::Uuid::from_u128(n)));
        catalogue.names.insert(a, "=cmd(\"x\")".into());
        let pair = Pair {
            from: Some(a),
            to: Some(b),
            octets: 5,
            octets_v6: 2,
            samples: 1,
        };
        assert_eq!(
            matrix_csv(&catalogue, &[pair]),
            "from,to,octets,octets_ipv6,samples\r\n\"'=cmd(\"\"x\"\")\",\"\",5,2,1\r\n"
        );
        assert!(series_csv(&[Rates::default()]).ends_with(",0,0,0.0,0.0,0,0\r\n"));
    }
}
