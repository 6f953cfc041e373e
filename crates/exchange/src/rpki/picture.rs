//! The verdict as a picture: what each payload allows, from its prefix to its maximum length, and where the
//! route lies. Who reads does not need it: the table beside it says the same.

use base::Prefix;
use web::Visit;
use web::ui::{Markup, escape};

use super::Vrp;
use super::vrp::width;

/// Payloads in the picture.
const ROWS_MAX: usize = 12;
const LEFT: f64 = 250.0;
const WIDTH: f64 = 760.0;
const ROW: f64 = 26.0;
const TOP: f64 = 30.0;

/// Draws `payloads` (and whether each authorises the route) over the lengths of prefixes.
pub(super) fn picture(visit: &Visit, route: Prefix, payloads: &[(Vrp, bool)]) -> Markup {
    let most = f64::from(width(&route));
    let x = |length: u8| LEFT + f64::from(length) / most * (WIDTH - LEFT - 20.0);
    let rows = payloads.len().min(ROWS_MAX);
    let bottom = TOP + ROW * rows as f64;
    let title = visit.ta("rpki-picture", &[("prefix", &route.to_string())]);
    let mut out = format!(
        "<figure class=\"chart\"><figcaption><span class=\"chart-title\">{0}</span></figcaption><svg viewBox=\"0 0 {WIDTH} {1}\" role=\"img\" aria-label=\"{0}\" fill=\"currentColor\" font-size=\"13\">",
        escape(&title),
        bottom + 24.0
    );
    for length in (0..=width(&route)).step_by(usize::from(width(&route) / 8)) {
        out.push_str(&format!(
            "<text x=\"{:.1}\" y=\"16\" text-anchor=\"middle\" opacity=\"0.7\">/{length}</text>",
            x(length)
        ));
    }
    for (row, (vrp, authorises)) in payloads.iter().take(ROWS_MAX).enumerate() {
        let y = TOP + ROW * row as f64;
        let (from, to) = (x(vrp.prefix.length()), x(vrp.max_length));
        // Told apart by filling as well as by the sign in front of the name.
        let (sign, paint) = match authorises {
            true => ("✓", "fill=\"currentColor\" fill-opacity=\"0.75\""),
            false => (
                "✗",
                "fill=\"none\" stroke=\"currentColor\" stroke-dasharray=\"4 3\"",
            ),
        };
        out.push_str(&format!(
            "<text x=\"0\" y=\"{:.1}\">{sign} {} AS{}</text><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" rx=\"3\" {paint}/>",
            y + 14.0,
            escape(&vrp.prefix.to_string()),
            vrp.asn,
            from - 3.0,
            y + 4.0,
            to - from + 6.0,
        ));
    }
    let at = x(route.length());
    out.push_str(&format!(
        "<path d=\"M{at:.1} {:.1}V{bottom:.1}\" stroke=\"currentColor\" stroke-width=\"2\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></svg></figure>",
        TOP - 8.0,
        bottom + 16.0,
        escape(&visit.ta("rpki-picture-route", &[("length", &route.length().to_string())]))
    ));
    Markup::new(out)
}
