//! What `bgpctl -j show rib detail` says, read route by route: a table of half a million routes is 350 MB
//! of such text, of which one route is held at a time.

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::ops::ControlFlow;

use base::Prefix;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::community::LargeCommunity;
use crate::mrt::attributes::PATH_ASNS_MAX;
use crate::mrt::{AsPath, Attributes, Segment};

/// One route of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub prefix: Prefix,
    /// Whose it is: who told it, or, of what was announced, to whom.
    pub neighbor: IpAddr,
    /// Whether it is the best of its prefix.
    pub is_best: bool,
    /// Seconds since it last changed.
    pub age_s: u64,
    /// Its attributes. A discriminator of 0 and none are one to OpenBGPD.
    pub attributes: Attributes,
}

/// How the reading ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every route was read.
    Whole,
    /// Whoever took the routes had enough.
    Enough,
    /// The daemon refused, in its words.
    Refused(String),
}

/// Reads an answer and gives each route to `each` until it has enough.
///
/// # Errors
/// When it is no such answer, with what is wrong.
pub fn read(
    answer: impl Read,
    each: &mut dyn FnMut(Route) -> ControlFlow<()>,
) -> Result<End, String> {
    let mut reader = serde_json::Deserializer::from_reader(answer);
    let mut told = Told {
        each,
        enough: false,
        error: None,
    };
    let done = Whole(&mut told).deserialize(&mut reader);
    match (done, told.enough, told.error) {
        (_, true, _) => Ok(End::Enough),
        (Err(error), ..) => Err(error.to_string()),
        (Ok(()), false, Some(said)) => Ok(End::Refused(said)),
        (Ok(()), false, None) => reader
            .end()
            .map(|()| End::Whole)
            .map_err(|error| error.to_string()),
    }
}

struct Told<'a> {
    each: &'a mut dyn FnMut(Route) -> ControlFlow<()>,
    enough: bool,
    error: Option<String>,
}

struct Whole<'a, 'b>(&'a mut Told<'b>);

impl<'de> DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of bgpctl")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "rib" => map.next_value_seed(Rows(&mut *self.0))?,
                "error" => self.0.error = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Rows<'a, 'b>(&'a mut Told<'b>);

impl<'de> DeserializeSeed<'de> for Rows<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of routes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(row) = list.next_element::<Row>()? {
            let route = row.route().map_err(A::Error::custom)?;
            if (self.0.each)(route).is_break() {
                self.0.enough = true;
                // There is no other way out of a list: the caller knows that this is no error.
                return Err(A::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Row {
    prefix: Prefix,
    #[serde(default)]
    aspath: String,
    exit_nexthop: Option<IpAddr>,
    neighbor: Neighbor,
    #[serde(default)]
    best: bool,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    metric: u32,
    localpref: Option<u32>,
    #[serde(default)]
    last_update_sec: i64,
    #[serde(default)]
    communities: Vec<String>,
    #[serde(default)]
    large_communities: Vec<String>,
    #[serde(default)]
    extended_communities: Vec<String>,
}

#[derive(Deserialize)]
struct Neighbor {
    remote_addr: IpAddr,
}

impl Row {
    fn route(self) -> Result<Route, String> {
        Ok(Route {
            neighbor: self.neighbor.remote_addr,
            is_best: self.best,
            age_s: u64::try_from(self.last_update_sec).unwrap_or(0),
            attributes: Attributes {
                origin: match self.origin.as_str() {
                    "IGP" => Some(0),
                    "EGP" => Some(1),
                    "" => None,
                    _ => Some(2),
                },
                path: path(&self.aspath)
                    .ok_or_else(|| format!("{}: no AS path: {:?}", self.prefix, self.aspath))?,
                next_hop: self.exit_nexthop,
                med: (self.metric != 0).then_some(self.metric),
                local_pref: self.localpref,
                communities: every(&self.communities, standard)?,
                large: every(&self.large_communities, large)?,
                // Kinds that it writes in words of its own are left out.
                extended: self
                    .extended_communities
                    .iter()
                    .filter_map(|text| extended(text))
                    .collect(),
            },
            prefix: self.prefix,
        })
    }
}

fn every<T>(texts: &[String], read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    texts
        .iter()
        .map(|text| read(text).ok_or_else(|| format!("no community: {text:?}")))
        .collect()
}

/// `65011 65077`; a set in braces.
fn path(text: &str) -> Option<AsPath> {
    let mut segments: Vec<Segment> = Vec::new();
    let (mut is_set, mut count) = (false, 0);
    for word in text.split_whitespace() {
        let opens = word.starts_with(['{', '[', '(']);
        let closes = word.ends_with(['}', ']', ')']);
        let number = word.trim_matches(['{', '}', '[', ']', '(', ')']);
        if opens {
            segments.push(Segment::Set(Vec::new()));
            is_set = true;
        }
        if !number.is_empty() {
            let asn = number.parse().ok()?;
            count += 1;
            if count > PATH_ASNS_MAX {
                return None;
            }
            match segments.last_mut() {
                Some(Segment::Set(asns)) if is_set => asns.push(asn),
                Some(Segment::Sequence(asns)) => asns.push(asn),
                _ => segments.push(Segment::Sequence(vec![asn])),
            }
        }
        if closes {
            is_set = false;
        }
    }
    Some(AsPath(segments))
}

/// `64500:1`, or the name of a well-known one.
fn standard(text: &str) -> Option<u32> {
    let well_known = |value: u32| Some(0xffff << 16 | value);
    match text {
        "GRACEFUL_SHUTDOWN" => return well_known(0),
        "BLACKHOLE" => return well_known(666),
        "NO_EXPORT" => return well_known(0xff01),
        "NO_ADVERTISE" => return well_known(0xff02),
        "NO_EXPORT_SUBCONFED" => return well_known(0xff03),
        "NO_PEER" => return well_known(0xff04),
        _ => {}
    }
    let (first, second) = text.split_once(':')?;
    let (first, second): (u16, u16) = (first.parse().ok()?, second.parse().ok()?);
    Some(u32::from(first) << 16 | u32::from(second))
}

fn large(text: &str) -> Option<LargeCommunity> {
    let mut parts = text.splitn(3, ':').map(|part| part.parse::<u32>().ok());
    Some(LargeCommunity(
        parts.next()??,
        parts.next()??,
        parts.next()??,
    ))
}

/// The eight bytes of `rt 64496:1`, `rt 192.0.2.1:5` (RFC 4360, RFC 5668).
fn extended(text: &str) -> Option<u64> {
    let (kind, value) = text.split_once(' ')?;
    let subtype = match kind {
        "rt" => 0x02,
        "soo" => 0x03,
        _ => return None,
    };
    let (first, second) = value.split_once(':')?;
    crate::community::extended(subtype, first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As OpenBGPD 7.7 says it.
    const ANSWER: &str = r#"{
	"rib": [
		{
			"prefix": "10.1.0.0/16",
			"aspath": "65011 65077 { 1 2 }",
			"exit_nexthop": "203.72.1.11",
			"true_nexthop": "203.72.1.1",
			"neighbor": {
				"description": "as65011_b1_v4",
				"remote_addr": "203.72.1.11",
				"bgp_id": "203.72.1.11"
			},
			"valid": true,
			"best": true,
			"source": "external",
			"ovs": "valid",
			"origin": "IGP",
			"metric": 5,
			"localpref": 100,
			"weight": 0,
			"dmetric": 5,
			"last_update": "00:00:29",
			"last_update_sec": 29,
			"communities": [
				"1:2",
				"BLACKHOLE"
			],
			"extended_communities": [
				"rt 64496:1", "ovs valid"
			],
			"large_communities": [
				"64500:1101:9"
			]
		},
		{
			"prefix": "2001:db8::/32",
			"aspath": "",
			"exit_nexthop": "2001:db8::1",
			"neighbor": { "remote_addr": "2001:db8::1" },
			"origin": "incomplete"
		}
	]
}
"#;

    fn all(text: &str) -> (Result<End, String>, Vec<Route>) {
        let mut routes = Vec::new();
        let end = read(text.as_bytes(), &mut |route| {
            routes.push(route);
            ControlFlow::Continue(())
        });
        (end, routes)
    }

    #[test]
    fn routes_are_read_as_they_are_told() {
        let (end, routes) = all(ANSWER);
        assert_eq!(end, Ok(End::Whole));
        let [one, two] = &routes[..] else {
            panic!("{routes:?}")
        };
        assert_eq!(one.prefix.to_string(), "10.1.0.0/16");
        assert_eq!(one.neighbor.to_string(), "203.72.1.11");
        assert!(one.is_best && !two.is_best);
        assert_eq!(one.age_s, 29);
        let told = &one.attributes;
        assert_eq!(told.path.to_string(), "65011 65077 {1 2}");
        assert_eq!((told.med, told.local_pref), (Some(5), Some(100)));
        assert_eq!(told.communities, [0x0001_0002, 0xffff_029a]);
        assert_eq!(told.large, [LargeCommunity(64_500, 1_101, 9)]);
        assert_eq!(told.extended, [0x0002_fbf0_0000_0001]);
        assert_eq!(two.attributes.path, AsPath::default());
        assert_eq!((two.attributes.origin, two.attributes.med), (Some(2), None));
    }

    #[test]
    fn nothing_a_refusal_enough_and_garbage_are_told_apart() {
        assert_eq!(all("{\n\n}\n"), (Ok(End::Whole), Vec::new()));
        let refused = r#"{"status": "FAILED", "error": "no such RIB"}"#;
        assert_eq!(all(refused).0, Ok(End::Refused("no such RIB".into())));
        let mut count = 0;
        let end = read(ANSWER.as_bytes(), &mut |_| {
            count += 1;
            ControlFlow::Break(())
        });
        assert_eq!((end, count), (Ok(End::Enough), 1));
        for at in 0..ANSWER.trim_end().len() {
            assert!(all(&ANSWER[..at]).0.is_err(), "cut at {at}");
        }
        for (from, to) in [
            ("10.1.0.0/16", "10.1.0.0/99"),
            ("65077", "x"),
            ("1:2", "70000:2"),
            ("64500:1101:9", "64500:1101"),
            ("\"rib\": [", "\"rib\": [7, "),
        ] {
            assert!(all(&ANSWER.replacen(from, to, 1)).0.is_err(), "{to}");
        }
        assert!(all(&format!("{ANSWER}x")).0.is_err());
        let long = "1 ".repeat(PATH_ASNS_MAX + 1);
        assert!(all(&ANSWER.replacen("65011 65077", &long, 1)).0.is_err());
    }
}
