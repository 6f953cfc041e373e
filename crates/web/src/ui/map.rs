//! A map of Taiwan with spots on it. The outline is drawn when the crate is built;
//! the spots are put on it by the same projection.

use super::{Markup, attribute, escape};
use crate::room::Level;

include!(concat!(env!("OUT_DIR"), "/taiwan.rs"));

/// A place on the map.
#[derive(Debug, Clone)]
pub struct Spot {
    /// Its name, written beside it.
    pub label: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Its state; shown by shape as well as colour.
    pub level: Level,
    /// A line read on hover and aloud.
    pub detail: String,
    /// Its page.
    pub path: Option<String>,
}

/// The map with `spots`, described by `title` for those who do not see it.
pub fn taiwan(title: impl AsRef<str>, spots: &[Spot]) -> Markup {
    let mut out = format!(
        "<figure class=\"map\"><svg viewBox=\"0 0 {TAIWAN_WIDTH} {TAIWAN_HEIGHT}\" role=\"group\" aria-label=\"{}\"><path class=\"land\" d=\"{TAIWAN_LAND}\"/><path class=\"borders\" d=\"{TAIWAN_BORDERS}\"/>",
        escape(title.as_ref())
    );
    let mut labels: Vec<(f64, f64)> = Vec::new();
    for spot in spots {
        let Some((x, y)) = project(spot.longitude, spot.latitude) else {
            continue;
        };
        // Labels of near spots stand below each other.
        let mut below = y + 4.0;
        while labels
            .iter()
            .any(|(lx, ly)| (lx - x).abs() < 120.0 && (ly - below).abs() < 16.0)
        {
            below += 16.0;
        }
        labels.push((x, below));
        let shape = match spot.level {
            Level::Bad => format!(
                "<path d=\"M{:.1} {:.1}l12 12m0 -12l-12 12\" class=\"spot-cross\"/>",
                x - 6.0,
                y - 6.0
            ),
            Level::Warn => format!("<path d=\"M{x:.1} {:.1}l9 16h-18z\"/>", y - 9.0),
            Level::Neutral => {
                format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\" class=\"spot-hollow\"/>")
            }
            _ => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"/>"),
        };
        let mut inner = format!("<g class=\"spot spot-{}\"><title>", spot.level.class());
        inner.push_str(&escape(&format!("{}: {}", spot.label, spot.detail)));
        inner.push_str(&format!(
            "</title>{shape}<text x=\"{:.1}\" y=\"{below:.1}\">{}</text></g>",
            x + 14.0,
            escape(&spot.label)
        ));
        match &spot.path {
            Some(path) => {
                out.push_str("<a");
                attribute(&mut out, "href", path);
                out.push('>');
                out.push_str(&inner);
                out.push_str("</a>");
            }
            None => out.push_str(&inner),
        }
    }
    out.push_str("</svg></figure>");
    Markup::new(out)
}

/// Mercator, as the outline was drawn; none for places off the map.
fn project(longitude: f64, latitude: f64) -> Option<(f64, f64)> {
    if !latitude.is_finite() || !longitude.is_finite() || latitude.abs() > 85.0 {
        return None;
    }
    let x = TAIWAN_SCALE * longitude.to_radians() + TAIWAN_X;
    let y = TAIWAN_Y
        - TAIWAN_SCALE
            * (std::f64::consts::FRAC_PI_4 + latitude.to_radians() / 2.0)
                .tan()
                .ln();
    let inside = (0.0..=f64::from(TAIWAN_WIDTH)).contains(&x)
        && (0.0..=f64::from(TAIWAN_HEIGHT)).contains(&y);
    inside.then_some((x, y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn north_is_up_and_abroad_is_off_the_map() {
        let hsinchu = project(120.97, 24.80).expect("on the map");
        let tainan = project(120.20, 22.99).expect("on the map");
        assert!(hsinchu.1 < tainan.1 && hsinchu.0 > tainan.0);
        assert_eq!(project(139.7, 35.7), None);
        assert_eq!(project(f64::NAN, 0.0), None);
    }
}
