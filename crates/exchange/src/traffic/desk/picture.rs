//! The matrix as a picture: a square for each pair, the stronger the more it carries.
//! Strength goes by the logarithm, so that small pairs are seen beside large ones; the
//! table below says the figures.

use std::collections::HashMap;

use base::MemberId;
use web::ui::{Markup, Unit, escape};

use super::seams::Pair;

/// Members that the picture shows; the rest are in the table.
const SIDE_MAX: usize = 24;
/// Pixels of a square, and of the names beside them.
const CELL: usize = 28;
const NAMES: usize = 120;
/// Powers of ten that are told apart below the strongest pair.
const DECADES: f64 = 4.0;

/// The picture of `pairs` over `seconds`; nothing when there is nothing to show.
pub(super) fn matrix(
    title: &str,
    unknown: &str,
    names: &HashMap<MemberId, String>,
    pairs: &[Pair],
    seconds: f64,
) -> Option<Markup> {
    let mut weight: HashMap<Option<MemberId>, i64> = HashMap::new();
    for pair in pairs {
        for side in [pair.from, pair.to] {
            let sum = weight.entry(side).or_default();
            *sum = sum.saturating_add(pair.octets);
        }
    }
    let mut sides: Vec<(Option<MemberId>, i64)> = weight.into_iter().collect();
    sides.sort_by_key(|(member, octets)| (member.is_none(), std::cmp::Reverse(*octets)));
    sides.truncate(SIDE_MAX);
    let most = pairs
        .iter()
        .map(|pair| pair.octets)
        .max()
        .filter(|m| *m > 0)? as f64;
    let name = |member: Option<MemberId>| {
        let known = member.and_then(|id| names.get(&id)).map(String::as_str);
        escape(known.unwrap_or(unknown))
    };
    let octets: HashMap<_, i64> = pairs
        .iter()
        .map(|pair| ((pair.from, pair.to), pair.octets))
        .collect();
    let size = NAMES + sides.len() * CELL + 8;
    let mut out = format!(
        "<figure class=\"chart\"><svg viewBox=\"0 0 {size} {size}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    );
    for (i, (side, _)) in sides.iter().enumerate() {
        let at = NAMES + i * CELL + CELL / 2;
        out.push_str(&format!(
            "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            NAMES - 6,
            at + 4,
            name(*side)
        ));
        out.push_str(&format!(
            "<text class=\"tick\" transform=\"translate({} {}) rotate(-60)\">{}</text>",
            at + 2,
            NAMES - 6,
            name(*side)
        ));
    }
    for (row, (from, _)) in sides.iter().enumerate() {
        for (column, (to, _)) in sides.iter().enumerate() {
            let (x, y) = (NAMES + column * CELL, NAMES + row * CELL);
            out.push_str(&format!(
                "<rect class=\"bar-rail\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"2\"/>",
                CELL - 2,
                CELL - 2
            ));
            let Some(carried) = octets.get(&(*from, *to)).filter(|octets| **octets > 0) else {
                continue;
            };
            let strength = 1.0 + (*carried as f64 / most).log10() / DECADES;
            out.push_str(&format!(
                "<rect class=\"bar-fill\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"2\" fill-opacity=\"{:.2}\"><title>{} → {}: {}</title></rect>",
                CELL - 2,
                CELL - 2,
                strength.clamp(0.08, 1.0),
                name(*from),
                name(*to),
                Unit::BitsPerSecond.write(*carried as f64 * 8.0 / seconds.max(1.0))
            ));
        }
    }
    out.push_str("</svg></figure>");
    Some(Markup::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_pair_is_the_strongest_square_and_names_are_escaped() {
        let [a, b] = [1, 2].map(|n| MemberId(uuid::Uuid::from_u128(n)));
        let names = HashMap::from([(a, "<A>".to_owned()), (b, "B".to_owned())]);
        let pair = |from, to, octets| Pair {
            from,
            to,
            octets,
            octets_v6: 0,
            samples: 1,
        };
        let pairs = [
            pair(Some(a), Some(b), 1_000_000),
            pair(Some(b), Some(a), 10_000),
            pair(Some(b), None, 5),
        ];
        let picture = matrix("t", "unknown", &names, &pairs, 1.0).expect("a picture");
        let html = picture.as_str();
        assert!(html.contains("fill-opacity=\"1.00\"><title>&lt;A&gt; → B: 8 Mb/s"));
        assert!(
            html.contains("fill-opacity=\"0.50\""),
            "two decades of four"
        );
        assert!(html.contains("B → unknown"));
        assert!(!html.contains("<A>") && !html.contains("style"));
        assert!(matrix("t", "u", &names, &[], 1.0).is_none());
    }
}
