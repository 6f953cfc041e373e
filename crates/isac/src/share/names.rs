//! Names in texts: where those stand by which the members of a house are known. Pure.
//!
//! Texts are compared folded: letters of either case and of full width are the same, so are
//! 臺 and 台, any white space is one space, what does not show counts for nothing, and a
//! disarmed dot (`[.]`) is a dot. A name is found in any letter case, with `_` or `+` for its
//! spaces, and as URLs encode it. An address is an e-mail address or a host: of a host, every
//! host below it and every mailbox there is found as well.
//!
//! All names of all members are looked for at once (Aho and Corasick), so that a text costs the
//! same however many members there are.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::AhoCorasick;
use base::OrgId;

use super::suffix;
use crate::objects::search::terms::fold_char;
use crate::stix::simple::{ascii_name, unicode_name};

/// A name shorter than this many characters is found in too many texts.
pub(super) const NAME_CHARS_MIN: usize = 3;
/// What begins or ends with a Latin letter and is shorter than this many characters counts as
/// a whole word only: `TWC` is not named by `networcs`.
const PART_CHARS_MIN: usize = 8;
/// Where anybody may have a mailbox: such a domain names nobody.
const OPEN_TO_ALL: [&str; 32] = [
    "126.com",
    "163.com",
    "aol.com",
    "fastmail.com",
    "foxmail.com",
    "gmail.com",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hinet.net",
    "hotmail.com",
    "hotmail.com.tw",
    "icloud.com",
    "kimo.com",
    "live.com",
    "mac.com",
    "mail.com",
    "me.com",
    "ms1.hinet.net",
    "msa.hinet.net",
    "msn.com",
    "outlook.com",
    "pchome.com.tw",
    "pm.me",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "seed.net.tw",
    "yahoo.com",
    "yahoo.com.tw",
    "zoho.com",
];
/// Dots and at signs as analysts disarm them.
const DISARMED: [(&str, char); 9] = [
    ("[.]", '.'),
    ("(.)", '.'),
    ("{.}", '.'),
    ("[dot]", '.'),
    ("(dot)", '.'),
    ("[@]", '@'),
    ("(@)", '@'),
    ("[at]", '@'),
    ("(at)", '@'),
];

/// How an organisation is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known {
    /// What it is called.
    pub(super) names: Vec<(OrgId, Vec<String>)>,
    /// E-mail addresses of its people, hosts of its sites.
    pub(super) addresses: Vec<(OrgId, Vec<String>)>,
}

/// Whose name stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The object's author's.
    Author,
    /// A member's.
    Org(OrgId),
}

/// A name in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// Where, in bytes.
    pub(super) at: Range<usize>,
    /// Whose.
    pub(super) whose: Whose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Mailbox,
    Host,
}

/// All names by which members are known, ready to be looked for.
#[derive(Debug, Default)]
pub(super) struct NameSearch {
    automaton: Option<AhoCorasick>,
    /// Whose each pattern is, in the automaton's order.
    entries: Vec<(OrgId, Kind)>,
    /// What the house is called, folded.
    house: String,
}

impl NameSearch {
    /// Of what is `known`; what the house is called itself hides nobody.
    pub(super) fn of(known: &Known, house: &str) -> Self {
        let house = folded(house.trim());
        let mut patterns: BTreeMap<String, (OrgId, Kind)> = BTreeMap::new();
        for (org, names) in &known.names {
            for name in names.iter().map(|name| name.trim()) {
                if name.chars().count() < NAME_CHARS_MIN || folded(name) == house {
                    continue;
                }
                for text in spellings(name) {
                    patterns.entry(text).or_insert((*org, Kind::Name));
                }
            }
        }
        let mut addresses: BTreeMap<String, (Option<OrgId>, Kind)> = BTreeMap::new();
        for (org, all) in &known.addresses {
            for (text, kind) in all.iter().flat_map(|text| meant(text)) {
                let place = addresses.entry(text).or_insert((Some(*org), kind));
                // Where several have their mailboxes, the domain says nothing on any of them.
                if place.0 != Some(*org) {
                    place.0 = None;
                }
            }
        }
        for (text, (org, kind)) in addresses {
            if let Some(org) = org {
                patterns.entry(text).or_insert((org, kind));
            }
        }
        let automaton = match AhoCorasick::new(patterns.keys()) {
            _ if patterns.is_empty() => None,
            Ok(automaton) => Some(automaton),
            // It holds billions of bytes of names.
            Err(error) => {
                tracing::error!(%error, names = patterns.len(), "names of members cannot be looked for");
                None
            }
        };
        Self {
            automaton,
            entries: patterns.into_values().collect(),
            house,
        }
    }

    /// Whether the house is called so; `name` as [`folded`] writes it.
    pub(super) fn is_house(&self, name: &str) -> bool {
        name == self.house
    }

    /// Names of members in `text`, and of the author if one is given (as [`folded`] writes
    /// it), in their order, none overlapping another. Who is `spared` is not hidden.
    pub(super) fn find(
        &self,
        text: &str,
        author: Option<&str>,
        spared: &dyn Fn(OrgId) -> bool,
    ) -> Vec<Hit> {
        let plain = folded(text);
        let by_author = author.filter(|author| plain.contains(author));
        let named = self.automaton.as_ref().filter(|one| one.is_match(&plain));
        if by_author.is_none() && named.is_none() {
            return Vec::new();
        }
        let bytes = plain.as_bytes();
        let mut all: Vec<(Range<usize>, Whose)> = Vec::new();
        if let Some(author) = by_author {
            let found = plain.match_indices(author);
            let found = found.map(|(at, _)| at..at + author.len());
            all.extend(
                found
                    .filter(|at| is_whole(bytes, at))
                    .map(|at| (at, Whose::Author)),
            );
        }
        for found in named
            .into_iter()
            .flat_map(|one| one.find_overlapping_iter(&plain))
        {
            let (org, kind) = self.entries[found.pattern().as_usize()];
            let at = found.start()..found.end();
            let at = match kind {
                _ if spared(org) => None,
                Kind::Name => is_whole(bytes, &at).then_some(at),
                Kind::Mailbox => is_mailbox(bytes, &at).then_some(at),
                Kind::Host => host_around(bytes, at),
            };
            all.extend(at.map(|at| (at, Whose::Org(org))));
        }
        // Of names that overlap, all that they cover gives way to the longest's.
        all.sort_by_key(|(at, whose)| (at.start, usize::MAX - at.end, *whose != Whose::Author));
        let mut joined: Vec<(Range<usize>, Whose, usize)> = Vec::new();
        for (at, whose) in all {
            match joined.last_mut().filter(|last| at.start < last.0.end) {
                Some(last) => {
                    if at.len() > last.2 {
                        (last.1, last.2) = (whose, at.len());
                    }
                    last.0.end = last.0.end.max(at.end);
                }
                None => joined.push((at.clone(), whose, at.len())),
            }
        }
        if joined.is_empty() {
            return Vec::new();
        }
        let mut origins = Vec::with_capacity(plain.len());
        fold(text, &mut String::new(), Some(&mut origins));
        let place = |at: usize| origins.get(at).copied().unwrap_or(text.len());
        let hits = joined.into_iter().map(|(at, whose, _)| {
            let last = place(at.end - 1);
            // What one piece of text was folded to goes together.
            let end = (at.end..origins.len()).find(|next| place(*next) != last);
            Hit {
                at: place(at.start)..end.map_or(text.len(), place),
                whose,
            }
        });
        hits.collect()
    }
}

/// `text` as names are compared.
pub(super) fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold(text, &mut out, None);
    out
}

/// Folds; `origins` says for each byte where in `text` it comes from.
fn fold(text: &str, out: &mut String, mut origins: Option<&mut Vec<usize>>) {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        if at < taken {
            continue;
        }
        let before = out.len();
        match c {
            // Nearly all there is, without looking anything up.
            '!'..='~' if !matches!(c, '[' | '(' | '{') => out.push(c.to_ascii_lowercase()),
            '臺' => out.push('台'),
            '\u{3400}'..='\u{9fff}' => out.push(c),
            '[' | '(' | '{' => match disarmed(&text[at..]) {
                Some((length, sign)) => {
                    taken = at + length;
                    out.push(sign);
                }
                None => out.push(c),
            },
            // They do not show.
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => {}
            c if c.is_whitespace() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c => out.extend(fold_char(c)),
        }
        if let Some(origins) = &mut origins {
            origins.resize(origins.len() + out.len() - before, at);
        }
    }
}

fn disarmed(text: &str) -> Option<(usize, char)> {
    let begins = |sign: &str| {
        let part = text.get(..sign.len());
        part.is_some_and(|part| part.eq_ignore_ascii_case(sign))
    };
    let found = DISARMED.iter().find(|(sign, _)| begins(sign));
    found.map(|(sign, c)| (sign.len(), *c))
}

/// A name as it may be written, folded.
fn spellings(name: &str) -> Vec<String> {
    let plain = folded(name);
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => encoded.push(byte.to_ascii_lowercase().into()),
            false => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    let mut all = vec![encoded];
    if plain.contains(' ') {
        all.extend(["_", "+"].map(|sign| plain.replace(' ', sign)));
    }
    all.push(plain);
    all
}

/// What an address tells of whoever has it, folded: the mailbox and its host, or the host.
fn meant(text: &str) -> Vec<(String, Kind)> {
    let text = text.trim();
    let mut all = Vec::new();
    let host = match text.rsplit_once('@') {
        Some((local, host)) if !local.is_empty() => {
            all.push((folded(text), Kind::Mailbox));
            host
        }
        _ => text,
    };
    let Some(ascii) = ascii_name(host.trim_matches('.')) else {
        return all;
    };
    let common = ["www.", "mail."];
    let bare = common.iter().find_map(|label| ascii.strip_prefix(label));
    for host in [bare, Some(ascii.as_str())].into_iter().flatten() {
        let nobodys = OPEN_TO_ALL.contains(&host) || suffix::is_suffix(host) || !host.contains('.');
        if nobodys || host.parse::<std::net::IpAddr>().is_ok() {
            continue;
        }
        all.extend(unicode_name(host).map(|host| (folded(&host), Kind::Host)));
        all.push((host.to_owned(), Kind::Host));
    }
    all
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_of_mailbox(byte: u8) -> bool {
    is_of_host(byte) || matches!(byte, b'.' | b'+' | b'%' | b'\'')
}

/// The byte before a place.
fn before(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at.checked_sub(1)?).copied()
}

/// Whether a name is not a part of another word.
fn is_whole(bytes: &[u8], at: &Range<usize>) -> bool {
    let name = &bytes[at.clone()];
    let chars = name.iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
    let joins = |edge: Option<&u8>, beside: Option<u8>| {
        edge.is_some_and(|edge| is_word(*edge)) && beside.is_some_and(is_word)
    };
    chars >= PART_CHARS_MIN
        || !(joins(name.first(), before(bytes, at.start))
            || joins(name.last(), bytes.get(at.end).copied()))
}

/// Whether a host ends there: `a.test` is not named by `a.test.example`.
fn host_ends(bytes: &[u8], end: usize) -> bool {
    match bytes.get(end) {
        Some(b'.') => !bytes.get(end + 1).is_some_and(|next| is_of_host(*next)),
        next => !next.is_some_and(|next| is_of_host(*next)),
    }
}

fn is_mailbox(bytes: &[u8], at: &Range<usize>) -> bool {
    !before(bytes, at.start).is_some_and(is_of_mailbox) && host_ends(bytes, at.end)
}

/// The whole host or mailbox whose name ends with the host found.
fn host_around(bytes: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    if !host_ends(bytes, at.end) || before(bytes, at.start).is_some_and(is_of_host) {
        return None;
    }
    let back = |mut from: usize, belongs: fn(u8) -> bool| {
        while before(bytes, from).is_some_and(belongs) {
            from -= 1;
        }
        from
    };
    let mut from = at.start;
    if before(bytes, from) == Some(b'.') {
        from = back(from, |byte| is_of_host(byte) || byte == b'.');
    }
    if before(bytes, from) == Some(b'@') {
        from = back(from - 1, is_of_mailbox);
    }
    Some(from..at.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const WATER: OrgId = OrgId(Uuid::from_u128(1));
    const POWER: OrgId = OrgId(Uuid::from_u128(2));

    fn search() -> NameSearch {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        let known = Known {
            names: vec![
                (
                    WATER,
                    texts(&["臺北自來水事業", "Northern Water Works", "NWW"]),
                ),
                (POWER, texts(&["電力公司", "civicnet", "臺北"])),
            ],
            addresses: vec![
                (
                    WATER,
                    texts(&[
                        "li@water.test",
                        "www.nww.gov.tw",
                        "chen@gmail.com",
                        "wu@shared.test",
                        "自來水.台灣",
                        "a@gov.tw",
                    ]),
                ),
                (POWER, texts(&["lin@shared.test", "192.0.2.1"])),
            ],
        };
        NameSearch::of(&known, "Civicnet")
    }

    /// What is found, each with a letter for whose it is.
    fn found(text: &str) -> Vec<String> {
        let hits = search().find(text, Some("作者社"), &|_| false);
        let named = hits.into_iter().map(|hit| {
            let whose = match hit.whose {
                Whose::Author => 'A',
                Whose::Org(WATER) => 'W',
                Whose::Org(_) => 'P',
            };
            format!("{whose}:{}", &text[hit.at])
        });
        named.collect()
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        for (text, wanted) in [
            ("NORTHERN water  works 告警", "W:NORTHERN water  works"),
            ("ｎorthern\nWater Ｗorks", "W:ｎorthern\nWater Ｗorks"),
            ("在台北自來水事業內", "W:台北自來水事業"),
            ("臺北\u{200b}自來水事業", "W:臺北\u{200b}自來水事業"),
            (r"C:\Northern_Water_Works\a", "W:Northern_Water_Works"),
            ("?o=northern+water+works&a", "W:northern+water+works"),
            ("?o=Northern%20Water%20Works", "W:Northern%20Water%20Works"),
            (
                "/%E8%87%BA%E5%8C%97%E8%87%AA%E4%BE%86%E6%B0%B4%E4%BA%8B%E6%A5%AD/",
                "W:%E8%87%BA%E5%8C%97%E8%87%AA%E4%BE%86%E6%B0%B4%E4%BA%8B%E6%A5%AD",
            ),
            ("nww-7", "W:nww"),
            ("電力公司。", "P:電力公司"),
            ("作者社說", "A:作者社"),
        ] {
            assert_eq!(found(text), [wanted], "{text}");
        }
        for text in [
            "answwer",
            "nwww",
            "civicnet-kind:ewa",
            "Northern Waterworks",
            "臺北的",
            "",
        ] {
            let none: Vec<String> = found(text);
            assert!(none.is_empty(), "{text}: {none:?}");
        }
    }

    #[test]
    fn addresses_are_found_with_what_stands_before_them_and_not_in_others() {
        for (text, wanted) in [
            ("write to li@water.test.", "W:li@water.test"),
            ("OWNER@WATER.TEST", "W:OWNER@WATER.TEST"),
            ("https://soc.water.test/x", "W:soc.water.test"),
            ("hxxps://soc[.]water[.]test/x", "W:soc[.]water[.]test"),
            ("li[at]water.test", "W:li[at]water.test"),
            ("請看water.test處", "W:water.test"),
            ("a.b+c@mail.water.test, x", "W:a.b+c@mail.water.test"),
            ("chen@gmail.com", "W:chen@gmail.com"),
            ("http://nww.gov.tw/", "W:nww.gov.tw"),
            ("www.nww.gov.tw", "W:www.nww.gov.tw"),
            ("https://自來水.台灣/", "W:自來水.台灣"),
            (
                "https://a.xn--9rq021em2o.xn--kpry57d/",
                "W:a.xn--9rq021em2o.xn--kpry57d",
            ),
        ] {
            assert_eq!(found(text), [wanted], "{text}");
        }
        for text in [
            "deepwater.test",
            "water.test.evil.example",
            "water.testing",
            "other@gmail.com",
            "gmail.com",
            "gov.tw",
            "x@shared.test",
            "192.0.2.1",
        ] {
            let none: Vec<String> = found(text);
            assert!(none.is_empty(), "{text}: {none:?}");
        }
    }

    #[test]
    fn names_that_overlap_give_way_together_and_the_spared_stays() {
        let known = Known {
            names: vec![
                (POWER, vec!["大臺北區".to_owned()]),
                (WATER, vec!["北區自來水事業".to_owned()]),
            ],
            addresses: Vec::new(),
        };
        let search = NameSearch::of(&known, "civicnet");
        let text = "在大台北區自來水事業內";
        let hits = search.find(text, None, &|_| false);
        assert_eq!(hits.len(), 1, "{hits:?}");
        assert_eq!(&text[hits[0].at.clone()], "大台北區自來水事業");
        assert_eq!(hits[0].whose, Whose::Org(WATER));
        let hits = search.find(text, None, &|org| org == WATER);
        assert_eq!(&text[hits[0].at.clone()], "大台北區");
        let none = NameSearch::of(&Known::default(), "x");
        assert!(none.find(text, None, &|_| false).is_empty());
    }

    #[test]
    fn many_members_cost_a_text_no_more_than_few() {
        let names = (0..20_000_u128).map(|n| {
            let all = vec![
                format!("第{n}號事業單位"),
                format!("Agency Number {n} Works"),
            ];
            (OrgId(Uuid::from_u128(n)), all)
        });
        let known = Known {
            names: names.collect(),
            addresses: Vec::new(),
        };
        let search = NameSearch::of(&known, "civicnet");
        let text = "From the third agency, number four hundred: 第三號單位 Agency Number works. "
            .repeat(40);
        let begun = std::time::Instant::now();
        for _ in 0..1_000 {
            assert!(search.find(&text, None, &|_| false).is_empty());
        }
        // A search for each name in turn would take minutes.
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }
}
