//! The exchange as a picture: members at the left, sites at the right from north to
//! south with their switches and route servers, a line for every border router in the
//! colour and dash of its sessions, core links between the sites. Everything in it is a
//! link with a name; a table below the picture says the same in words.

use std::fmt::Write as _;

use web::Level;
use web::ui::{Markup, escape};

/// Members that are drawn; the table lists all.
pub(super) const MEMBERS_DRAWN_MAX: usize = 24;
/// Sites that are drawn.
pub(super) const SITES_DRAWN_MAX: usize = 8;

const WIDTH: f64 = 960.0;
const MEMBER_WIDTH: f64 = 230.0;
const MEMBER_HEIGHT: f64 = 44.0;
const SITE_LEFT: f64 = 560.0;
const SITE_WIDTH: f64 = 330.0;
const GAP: f64 = 22.0;

/// A box with a name that leads to its page.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    /// Its name.
    pub(super) label: String,
    /// A line below.
    pub(super) detail: String,
    /// Its page; empty where the reader has none.
    pub(super) path: String,
    /// Its state.
    pub(super) level: Level,
    /// Whether it is what the picture is about: an incident's.
    pub(super) marked: bool,
}

/// A site with what stands there.
#[derive(Debug, Clone)]
pub(super) struct SiteSpot {
    /// The site.
    pub(super) spot: Spot,
    /// Its switches and route server.
    pub(super) inside: Vec<Spot>,
}

/// A line from a member to a site: a border router.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// The member, by place in the list.
    pub(super) member: usize,
    /// The site, by place in the list.
    pub(super) site: usize,
    /// The router; its level is the worst of its sessions.
    pub(super) spot: Spot,
}

/// A core link between two sites.
#[derive(Debug, Clone)]
pub(super) struct Core {
    /// One site, by place.
    pub(super) from: usize,
    /// The other.
    pub(super) to: usize,
    /// The link.
    pub(super) spot: Spot,
}

/// What is drawn.
#[derive(Debug, Clone, Default)]
pub(super) struct Picture {
    /// Members, from the top.
    pub(super) members: Vec<Spot>,
    /// Sites, from north to south.
    pub(super) sites: Vec<SiteSpot>,
    /// Border routers.
    pub(super) links: Vec<Link>,
    /// Links between sites.
    pub(super) cores: Vec<Core>,
}

impl Picture {
    /// Puts the members that `is_own` names, by place, before the others.
    pub(super) fn own_first(&mut self, is_own: impl Fn(usize) -> bool) {
        let (own, others): (Vec<usize>, Vec<usize>) =
            (0..self.members.len()).partition(|n| is_own(*n));
        let order: Vec<usize> = own.into_iter().chain(others).collect();
        let mut places = vec![0; order.len()];
        for (to, from) in order.iter().enumerate() {
            places[*from] = to;
        }
        self.members = order.iter().map(|n| self.members[*n].clone()).collect();
        for link in &mut self.links {
            link.member = places[link.member];
        }
    }
}

/// Colour, dash and width of a line; none of them alone carries the meaning.
fn stroke(level: Level) -> &'static str {
    match level {
        Level::Good => "stroke=\"var(--good)\" stroke-width=\"2.5\"",
        Level::Bad => "stroke=\"var(--bad)\" stroke-width=\"3\" stroke-dasharray=\"7 6\"",
        Level::Warn => "stroke=\"var(--warn)\" stroke-width=\"3\" stroke-dasharray=\"12 4\"",
        _ => "stroke=\"var(--text-soft)\" stroke-width=\"1.5\" stroke-dasharray=\"2 5\"",
    }
}

/// A shape for a state, at a point.
fn mark(out: &mut String, level: Level, x: f64, y: f64) {
    let shape = match level {
        Level::Good => {
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"var(--good)\"/>")
        }
        Level::Bad => format!(
            "<path d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\" stroke=\"var(--bad)\" stroke-width=\"3.5\" fill=\"none\"/>",
            x - 5.0,
            y - 5.0
        ),
        Level::Warn => format!(
            "<path d=\"M{x:.1} {:.1}l6 11h-12z\" fill=\"var(--warn)\"/>",
            y - 6.0
        ),
        _ => format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.500\" fill=\"var(--surface)\" stroke=\"var(--text-soft)\" stroke-width=\"1.5\"/>"
        ),
    };
    out.push_str(&shape);
}

fn text(out: &mut String, x: f64, y: f64, size: u8, strong: bool, words: &str, chars: usize) {
    let mut cut: String = words.chars().take(chars).collect();
    if cut.len() < words.len() {
        cut.push('…');
    }
    let weight = if strong { 650 } else { 400 };
    let fill = if strong { "--text" } else { "--text-soft" };
    // Writing to a String cannot fail.
    write!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"{weight}\" fill=\"var({fill})\">{}</text>",
        escape(&cut)
    )
    .unwrap_or_default();
}

fn rect(out: &mut String, x: f64, y: f64, width: f64, height: f64, fill: &str) {
    write!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"8\" fill=\"var({fill})\" stroke=\"var(--line)\" stroke-width=\"1.5\"/>"
    )
    .unwrap_or_default();
}

/// A thing with a page is a link; one without is a group with a name.
fn open(out: &mut String, spot: &Spot) {
    match spot.path.is_empty() {
        true => out.push_str("<g>"),
        false => {
            write!(out, "<a href=\"{}\">", escape(&spot.path)).unwrap_or_default();
        }
    }
    write!(
        out,
        "<title>{}</title>",
        escape(&format!("{}: {}", spot.label, spot.detail))
    )
    .unwrap_or_default();
}

fn close(out: &mut String, spot: &Spot) {
    out.push_str(if spot.path.is_empty() { "</g>" } else { "</a>" });
}

/// A frame around what the picture is about: doubled, so that it is seen without colour.
fn frame(out: &mut String, spot: &Spot, x: f64, y: f64, width: f64, height: f64) {
    if !spot.marked {
        return;
    }
    for (reach, line) in [(3.0, 2.0), (7.0, 2.0)] {
        write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"10\" fill=\"none\" stroke=\"var(--bad)\" stroke-width=\"{line:.1}\"/>",
            x - reach,
            y - reach,
            width + 2.0 * reach,
            height + 2.0 * reach
        )
        .unwrap_or_default();
    }
}

/// Height of a site's box.
fn site_height(site: &SiteSpot) -> f64 {
    let rows = site.inside.len().div_ceil(2).max(1);
    46.0 + rows as f64 * 44.0
}

/// The picture, described by `title` for those who do not see it.
pub(super) fn draw(picture: &Picture, title: &str) -> Markup {
    let sites = &picture.sites[..picture.sites.len().min(SITES_DRAWN_MAX)];
    let members = &picture.members[..picture.members.len().min(MEMBERS_DRAWN_MAX)];
    let sites_height: f64 = sites.iter().map(|site| site_height(site) + GAP).sum();
    let members_height = members.len() as f64 * (MEMBER_HEIGHT + GAP);
    let height = sites_height.max(members_height).max(120.0) + GAP;
    let mut tops = Vec::new();
    let mut y = (height - sites_height + GAP) / 2.0;
    for site in sites {
        tops.push(y);
        y += site_height(site) + GAP;
    }
    let member_top =
        |n: usize| (height - members_height + GAP) / 2.0 + n as f64 * (MEMBER_HEIGHT + GAP);
    let mut out = format!(
        "<figure class=\"map\"><svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"group\" aria-label=\"{}\">",
        escape(title)
    );
    for core in picture
        .cores
        .iter()
        .filter(|core| core.from < sites.len() && core.to < sites.len())
    {
        let middle = |n: usize| tops[n] + site_height(&sites[n]) / 2.0;
        let (a, b) = (middle(core.from), middle(core.to));
        let right = SITE_LEFT + SITE_WIDTH;
        let reach = 22.0 + 14.0 * (core.from.abs_diff(core.to) as f64);
        open(&mut out, &core.spot);
        write!(
            out,
            "<path d=\"M{right:.1} {a:.1}C{0:.1} {a:.1} {0:.1} {b:.1} {right:.1} {b:.1}\" fill=\"none\" {1}/>",
            right + reach,
            stroke(core.spot.level)
        )
        .unwrap_or_default();
        close(&mut out, &core.spot);
    }
    let mut arrived = vec![0_usize; sites.len()];
    let coming: Vec<usize> = (0..sites.len())
        .map(|n| picture.links.iter().filter(|link| link.site == n).count())
        .collect();
    let mut left = vec![0_usize; members.len()];
    for link in &picture.links {
        if link.member >= members.len() || link.site >= sites.len() {
            continue;
        }
        let from = member_top(link.member) + 14.0 + 12.0 * (left[link.member] % 2) as f64;
        left[link.member] += 1;
        let step = site_height(&sites[link.site]) / (coming[link.site] as f64 + 1.0);
        arrived[link.site] += 1;
        let to = tops[link.site] + step * arrived[link.site] as f64;
        let (x1, x2) = (MEMBER_WIDTH + 8.0, SITE_LEFT);
        open(&mut out, &link.spot);
        write!(
            out,
            "<path d=\"M{x1:.1} {from:.1}C{0:.1} {from:.1} {1:.1} {to:.1} {x2:.1} {to:.1}\" fill=\"none\" {2}/>",
            x1 + 130.0,
            x2 - 130.0,
            stroke(link.spot.level)
        )
        .unwrap_or_default();
        mark(&mut out, link.spot.level, x2, to);
        if link.spot.marked {
            frame(&mut out, &link.spot, x2 - 8.0, to - 8.0, 16.0, 16.0);
        }
        close(&mut out, &link.spot);
    }
    for (n, member) in members.iter().enumerate() {
        let y = member_top(n);
        open(&mut out, member);
        rect(&mut out, 8.0, y, MEMBER_WIDTH, MEMBER_HEIGHT, "--surface-2");
        mark(&mut out, member.level, 24.0, y + MEMBER_HEIGHT / 2.0);
        text(&mut out, 40.0, y + 19.0, 15, true, &member.label, 18);
        text(&mut out, 40.0, y + 36.0, 12, false, &member.detail, 28);
        frame(&mut out, member, 8.0, y, MEMBER_WIDTH, MEMBER_HEIGHT);
        close(&mut out, member);
    }
    for (n, site) in sites.iter().enumerate() {
        let y = tops[n];
        open(&mut out, &site.spot);
        rect(
            &mut out,
            SITE_LEFT + 8.0,
            y,
            SITE_WIDTH - 8.0,
            site_height(site),
            "--surface-2",
        );
        mark(&mut out, site.spot.level, SITE_LEFT + 26.0, y + 21.0);
        text(
            &mut out,
            SITE_LEFT + 42.0,
            y + 26.0,
            16,
            true,
            &site.spot.label,
            22,
        );
        frame(
            &mut out,
            &site.spot,
            SITE_LEFT + 8.0,
            y,
            SITE_WIDTH - 8.0,
            site_height(site),
        );
        close(&mut out, &site.spot);
        for (k, inside) in site.inside.iter().enumerate() {
            let x = SITE_LEFT + 22.0 + (k % 2) as f64 * 152.0;
            let y = y + 40.0 + (k / 2) as f64 * 44.0;
            open(&mut out, inside);
            rect(&mut out, x, y, 144.0, 38.0, "--surface");
            mark(&mut out, inside.level, x + 14.0, y + 19.0);
            text(&mut out, x + 28.0, y + 17.0, 13, true, &inside.label, 14);
            text(&mut out, x + 28.0, y + 31.0, 11, false, &inside.detail, 18);
            frame(&mut out, inside, x, y, 144.0, 38.0);
            close(&mut out, inside);
        }
    }
    out.push_str("</svg></figure>");
    Markup::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(label: &str, level: Level) -> Spot {
        Spot {
            label: label.into(),
            detail: "<b>".into(),
            path: "/exchange".into(),
            level,
            marked: false,
        }
    }

    #[test]
    fn what_has_no_page_is_no_link_and_what_it_is_about_is_framed() {
        let mut other = spot("other", Level::Neutral);
        other.path = String::new();
        let mut hit = spot("hit", Level::Bad);
        hit.marked = true;
        let picture = Picture {
            members: vec![other, hit],
            ..Picture::default()
        };
        let html = draw(&picture, "an incident").to_string();
        assert_eq!(html.matches("<a ").count(), 1);
        assert_eq!(html.matches("<g>").count(), html.matches("</g>").count());
        assert_eq!(html.matches("rx=\"10\"").count(), 2, "one frame, doubled");
    }

    #[test]
    fn every_thing_is_drawn_named_and_escaped() {
        let picture = Picture {
            members: (0..30)
                .map(|n| spot(&format!("m{n}"), Level::Good))
                .collect(),
            sites: vec![
                SiteSpot {
                    spot: spot("Hsinchu <1>", Level::Good),
                    inside: vec![spot("hs-sw1", Level::Good), spot("rs", Level::Bad)],
                },
                SiteSpot {
                    spot: spot("Tainan", Level::Neutral),
                    inside: Vec::new(),
                },
            ],
            links: vec![
                Link {
                    member: 0,
                    site: 0,
                    spot: spot("b1", Level::Bad),
                },
                Link {
                    member: 29,
                    site: 1,
                    spot: spot("b9", Level::Good),
                },
            ],
            cores: vec![Core {
                from: 0,
                to: 1,
                spot: spot("core", Level::Warn),
            }],
        };
        let html = draw(&picture, "the exchange").to_string();
        assert!(html.contains("Hsinchu &lt;1&gt;") && !html.contains("<b>"));
        assert!(html.contains("<title>core: "));
        // Beyond the bound nothing is drawn, and nothing falls over.
        assert!(html.contains(">m23<") && !html.contains(">m24<") && !html.contains("b9"));
        assert_eq!(html.matches("<a ").count(), html.matches("</a>").count());
        draw(&Picture::default(), "empty");
    }
}
