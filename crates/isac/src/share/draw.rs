//! The picture of the tiers: this house in the middle, peers above, beside and below,
//! each joined to it by a line that says how it does.

use web::ui::{Markup, escape};
use web::{Level, Visit};

use super::api::PeerView;
use super::pages::state;
use super::policy::Tier;

/// Peers drawn in one row; the table below lists all.
const ROW_MAX: usize = 4;
const WIDTH: usize = 720;
const BOX: (usize, usize) = (150, 44);

/// The picture, with what it says in words for those who do not see it.
pub(super) fn tiers(visit: &Visit, peers: &[PeerView]) -> Markup {
    let row = |tier: Tier| -> Vec<&PeerView> {
        peers
            .iter()
            .filter(|peer| peer.tier == tier)
            .take(ROW_MAX)
            .collect()
    };
    let rows = [row(Tier::Up), row(Tier::Level), row(Tier::Down)];
    let says: Vec<String> = peers
        .iter()
        .take(ROW_MAX * 3)
        .map(|peer| {
            let tier = visit.t(&format!("sharing-tier-{}", peer.tier.name()));
            format!("{} ({tier}): {}", peer.name, state(visit, peer).1)
        })
        .collect();
    let mut out = format!(
        "<figure class=\"chart\"><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} 260\" role=\"img\" aria-label=\"{}\">",
        escape(&visit.t("sharing-picture")),
        escape(&says.join("; "))
    );
    let house = (WIDTH / 2, 130);
    for (index, (row, y)) in rows.iter().zip([30, 130, 230]).enumerate() {
        for (at, peer) in row.iter().enumerate() {
            let x = match index {
                // Beside: left and right of the house.
                1 => [90, WIDTH - 90, 250 - BOX.0, WIDTH - 100][at % 4],
                _ => WIDTH * (at + 1) / (row.len() + 1),
            };
            let (level, word) = state(visit, peer);
            let (stroke, dash) = match level {
                Level::Bad => ("var(--bad, #b3261e)", "6 4"),
                Level::Warn => ("var(--warn, #8a5a00)", "6 4"),
                Level::Good => ("var(--good, #1b6e3c)", "none"),
                _ => ("currentColor", "2 4"),
            };
            out.push_str(&format!(
                "<line x1=\"{}\" y1=\"{}\" x2=\"{x}\" y2=\"{y}\" stroke=\"{stroke}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
                house.0, house.1
            ));
            let arrow = if peer.direction == "push" {
                "→"
            } else {
                "←"
            };
            out.push_str(&a_box(x, y, &peer.name, &format!("{arrow} {word}")));
        }
    }
    out.push_str(&a_box(house.0, house.1, &visit.t("sharing-this-house"), ""));
    out.push_str("</svg></figure>");
    Markup::new(out)
}

fn a_box(x: usize, y: usize, name: &str, below: &str) -> String {
    let name: String = name.chars().take(18).collect();
    let below: String = below.chars().take(22).collect();
    let lines = match below.is_empty() {
        true => format!(
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"14\" font-weight=\"600\" fill=\"currentColor\">{}</text>",
            y + 5,
            escape(&name)
        ),
        false => format!(
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"13\" font-weight=\"600\" fill=\"currentColor\">{}</text><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"12\" fill=\"currentColor\">{}</text>",
            y - 3,
            escape(&name),
            y + 14,
            escape(&below)
        ),
    };
    format!(
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\" fill=\"var(--surface, Canvas)\" stroke=\"currentColor\"/>{lines}",
        x.saturating_sub(BOX.0 / 2),
        y - BOX.1 / 2,
        BOX.0,
        BOX.1
    )
}
