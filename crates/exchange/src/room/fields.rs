//! The fields of every kind.

use super::kind::{Field, Kind, Ty};

const fn field(name: &'static str, ty: Ty) -> Field {
    Field {
        name,
        ty,
        required: false,
        listed: false,
        default: "",
    }
}

impl Field {
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    const fn listed(mut self) -> Self {
        self.listed = true;
        self
    }
    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }
}

/// Characters of a title.
const TITLE: usize = 80;
/// Characters of a longer text.
const TEXT: usize = 2_000;
/// The largest limit of prefixes.
const PREFIXES_MAX: i64 = 10_000_000;

pub(super) const PROFILE: &[Field] = &[
    field("name", Ty::Line(TITLE)).required().listed(),
    field("short_name", Ty::Name(40)).required(),
    field("country", Ty::Name(2)).or("TW"),
    field("city", Ty::Line(TITLE)),
    field("url", Ty::Url),
    field("support_email", Ty::Email),
    field("support_phone", Ty::Line(40)),
    field("ixf_id", Ty::Int(0, 1_000_000)),
    field("policy", Ty::Policy).required(),
];

pub(super) const SITE: &[Field] = &[
    field("name", Ty::Slug).required(),
    field("title_zh", Ty::Line(TITLE)).required().listed(),
    field("title_en", Ty::Line(TITLE)).required().listed(),
    field("city", Ty::Line(TITLE)).listed(),
    field("address", Ty::Area(300)),
    field("latitude", Ty::Degrees(90)),
    field("longitude", Ty::Degrees(180)),
    field("state", Ty::Choice(&["planned", "active", "closed"]))
        .required()
        .listed()
        .or("active"),
];

pub(super) const SWITCH: &[Field] = &[
    field("name", Ty::Slug).required(),
    field("site", Ty::Ref(Kind::Site)).required().listed(),
    field("vendor", Ty::Choice(&["eos", "junos"]))
        .required()
        .listed()
        .or("eos"),
    field("model", Ty::Line(TITLE)).listed(),
    field("software", Ty::Line(TITLE)),
    field("serial", Ty::Name(60)),
    field("management_address", Ty::Ip),
    field("state", Ty::Choice(&["active", "maintenance", "retired"]))
        .required()
        .listed()
        .or("active"),
];

pub(super) const LAG: &[Field] = &[
    field("switch", Ty::Ref(Kind::Switch)).required(),
    field("number", Ty::Int(1, 4_095)).required(),
    field("member", Ty::Ref(Kind::Member)).listed(),
    field("min_links", Ty::Int(1, 64))
        .required()
        .listed()
        .or("1"),
    field("description", Ty::Line(200)),
];

pub(super) const PORT: &[Field] = &[
    field("switch", Ty::Ref(Kind::Switch)).required(),
    field("name", Ty::Name(40)).required(),
    field("role", Ty::Choice(&["member", "core", "service"]))
        .required()
        .listed()
        .or("member"),
    field("speed_mbps", Ty::Speed)
        .required()
        .listed()
        .or("10000"),
    field("optic", Ty::Line(40)).listed(),
    field("member", Ty::Ref(Kind::Member)).listed(),
    field("lag", Ty::Ref(Kind::Lag)).listed(),
    field("vlan", Ty::Ref(Kind::Vlan)),
    field("remote", Ty::Ref(Kind::Port)),
    field(
        "state",
        Ty::Choice(&["free", "reserved", "active", "disabled", "faulty"]),
    )
    .required()
    .listed()
    .or("free"),
    field("description", Ty::Line(200)),
];

pub(super) const VLAN: &[Field] = &[
    field("name", Ty::Slug).required(),
    field("tag", Ty::Int(1, 4_094)).required().listed(),
    field(
        "purpose",
        Ty::Choice(&["peering", "quarantine", "private", "management"]),
    )
    .required()
    .listed()
    .or("peering"),
    field("site", Ty::Ref(Kind::Site)).listed(),
    field("description", Ty::Line(200)),
];

pub(super) const LAN: &[Field] = &[
    field("name", Ty::Slug).required(),
    field("vlan", Ty::Ref(Kind::Vlan)).required().listed(),
    field("v4", Ty::Net4).listed(),
    field("v6", Ty::Net6).listed(),
    field("mtu", Ty::Int(1_280, 9_216))
        .required()
        .listed()
        .or("1500"),
];

pub(super) const RANGE: &[Field] = &[
    field("lan", Ty::Ref(Kind::Lan)).required().listed(),
    field("first", Ty::Ip).required(),
    field("last", Ty::Ip).required().listed(),
    field("purpose", Ty::Line(TITLE)).required().listed(),
];

pub(super) const MEMBER: &[Field] = &[
    field("short_name", Ty::Name(40)).required(),
    field("name", Ty::Line(TITLE)).required().listed(),
    field("asn", Ty::Asn).required().listed(),
    field("org", Ty::Org),
    field("type", Ty::Choice(&["full", "associate", "provider"]))
        .required()
        .or("full"),
    field(
        "state",
        Ty::Choice(&["applied", "active", "suspended", "left"]),
    )
    .required()
    .listed()
    .or("active"),
    field("as_set", Ty::AsSet).listed(),
    field("as_set_v6", Ty::AsSet),
    field("irr_sources", Ty::Sources),
    field("max_prefix_v4", Ty::Int(1, PREFIXES_MAX)),
    field("max_prefix_v6", Ty::Int(1, PREFIXES_MAX)),
    field(
        "peering_policy",
        Ty::Choice(&["open", "selective", "restrictive", "closed"]),
    )
    .required()
    .listed()
    .or("open"),
    field("url", Ty::Url),
    field("noc_email", Ty::Email),
    field("noc_phone", Ty::Line(40)),
    field("bfd", Ty::Bool).or("true"),
    field("require_role", Ty::Bool).or("false"),
    field("flowspec", Ty::Bool).or("false"),
    field("preferred_site", Ty::Ref(Kind::Site)),
    field("password", Ty::Secret),
    field("joined_on", Ty::Date),
    field("left_on", Ty::Date),
    field("peeringdb_id", Ty::Int(1, 1_000_000_000)),
];

pub(super) const CONTACT: &[Field] = &[
    field("member", Ty::Ref(Kind::Member)).required().listed(),
    field(
        "role",
        Ty::Choice(&[
            "technical",
            "noc",
            "policy",
            "administrative",
            "security",
            "billing",
        ]),
    )
    .required()
    .listed()
    .or("technical"),
    field("name", Ty::Personal(80)).required().listed(),
    field("email", Ty::Personal(200)).listed(),
    field("phone", Ty::Personal(40)),
    field("checked_on", Ty::Date).listed(),
];

pub(super) const ROUTER: &[Field] = &[
    field("member", Ty::Ref(Kind::Member)).required(),
    field("name", Ty::Slug).required(),
    field("site", Ty::Ref(Kind::Site)).required().listed(),
    field("lan", Ty::Ref(Kind::Lan)).required().listed(),
    field("v4", Ty::V4).listed(),
    field("v6", Ty::V6).listed(),
    field("mac", Ty::Mac),
    field("port", Ty::Ref(Kind::Port)),
    field("lag", Ty::Ref(Kind::Lag)),
    field("password", Ty::Secret),
    field("disabled", Ty::Bool).listed().or("false"),
];

pub(super) const ROUTE_SERVER: &[Field] = &[
    field("name", Ty::Slug).required(),
    field("site", Ty::Ref(Kind::Site)).required().listed(),
    field("lan", Ty::Ref(Kind::Lan)).required().listed(),
    field("router_id", Ty::V4).required(),
    field("v4", Ty::V4).listed(),
    field("v6", Ty::V6).listed(),
    field("blackhole_v4", Ty::V4),
    field("blackhole_v6", Ty::V6),
    field("engine", Ty::Choice(&["bird", "openbgpd"]))
        .required()
        .listed()
        .or("bird"),
    field("draining", Ty::Bool).or("false"),
    field("state", Ty::Choice(&["planned", "active", "retired"]))
        .required()
        .listed()
        .or("active"),
];

pub(super) const SESSION: &[Field] = &[
    field("router", Ty::Ref(Kind::Router)).required().listed(),
    field("type", Ty::Choice(&["route-server", "bilateral"]))
        .required()
        .listed()
        .or("route-server"),
    field("family", Ty::Choice(&["ipv4", "ipv6"]))
        .required()
        .listed()
        .or("ipv4"),
    field("route_server", Ty::Ref(Kind::RouteServer)).listed(),
    field("peer", Ty::Ref(Kind::Router)).listed(),
    field("wanted", Ty::Choice(&["up", "down"]))
        .required()
        .listed()
        .or("up"),
    field("bfd", Ty::Bool).or("true"),
    field("max_prefix", Ty::Int(1, PREFIXES_MAX)),
    field(
        "role",
        Ty::Choice(&["rs-client", "peer", "customer", "provider", "none"]),
    )
    .required()
    .or("rs-client"),
    field("password", Ty::Secret),
];

pub(super) const MAINTENANCE: &[Field] = &[
    field("title_zh", Ty::Line(TITLE)).required().listed(),
    field("title_en", Ty::Line(TITLE)).required().listed(),
    field("starts_at", Ty::Moment).required().listed(),
    field("ends_at", Ty::Moment).required().listed(),
    field("site", Ty::Ref(Kind::Site)).listed(),
    field("switch", Ty::Ref(Kind::Switch)),
    field("member", Ty::Ref(Kind::Member)),
    field("impact", Ty::Choice(&["none", "reduced", "outage"]))
        .required()
        .listed()
        .or("reduced"),
    field("drain", Ty::Bool).or("false"),
    field(
        "state",
        Ty::Choice(&["planned", "confirmed", "done", "cancelled"]),
    )
    .required()
    .listed()
    .or("planned"),
    field("description", Ty::Area(TEXT)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::things::{
        Contact, Lag, Lan, Maintenance, Member, Port, Profile, Range, RouteServer, Router, Session,
        Site, Switch, Thing, Vlan,
    };

    const TEXTS: [&str; 2] = [
        include_str!("../../locales/room.zh-TW.ftl"),
        include_str!("../../locales/room.en.ftl"),
    ];

    #[test]
    fn every_kind_field_and_choice_has_its_text_in_both_languages() {
        let mut keys = Vec::new();
        for kind in Kind::ALL {
            keys.push(format!("xk-{}", kind.name()));
            keys.push(format!("xks-{}", kind.name()));
            keys.push(format!("x-about-{}", kind.name()));
            for field in kind.fields() {
                keys.push(format!("xf-{}", field.name.replace('_', "-")));
                if let Ty::Choice(choices) = field.ty {
                    keys.extend(choices.iter().map(|choice| format!("xv-{choice}")));
                }
            }
        }
        for text in TEXTS {
            for key in &keys {
                let wanted = format!("{key} = ");
                assert!(text.lines().any(|line| line.starts_with(&wanted)), "{key}");
            }
        }
    }

    /// What a type writes has exactly the fields of its kind.
    fn same<T: Thing>(value: serde_json::Value) {
        let thing: T = serde_json::from_value(value).expect("the fields of its kind");
        let written = serde_json::to_value(&thing).expect("an object");
        let mut written: Vec<String> = written
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        written.sort();
        let mut fields: Vec<String> = T::KIND.fields().iter().map(|f| f.name.to_owned()).collect();
        fields.sort();
        assert_eq!(written, fields, "{:?}", T::KIND);
    }

    /// A value that fits each field.
    fn sample(kind: Kind) -> serde_json::Value {
        let mut values = serde_json::Map::new();
        for field in kind.fields() {
            let value: serde_json::Value = match field.ty {
                Ty::Bool => false.into(),
                Ty::Int(min, _) => min.into(),
                Ty::Speed => 10_000.into(),
                Ty::Asn => 64_500.into(),
                Ty::Moment => 1.into(),
                Ty::Ref(_) | Ty::Org => uuid::Uuid::nil().to_string().into(),
                Ty::V4 | Ty::Ip => "192.0.2.1".into(),
                Ty::V6 => "2001:db8::1".into(),
                Ty::Net4 => "192.0.2.0/24".into(),
                Ty::Net6 => "2001:db8::/64".into(),
                Ty::Secret => true.into(),
                _ => "x".into(),
            };
            values.insert(field.name.to_owned(), value);
        }
        values.into()
    }

    #[test]
    fn types_and_fields_are_the_same() {
        same::<Profile>(sample(Kind::Profile));
        same::<Site>(sample(Kind::Site));
        same::<Switch>(sample(Kind::Switch));
        same::<Lag>(sample(Kind::Lag));
        same::<Port>(sample(Kind::Port));
        same::<Vlan>(sample(Kind::Vlan));
        same::<Lan>(sample(Kind::Lan));
        same::<Range>(sample(Kind::Range));
        same::<Member>(sample(Kind::Member));
        same::<Contact>(sample(Kind::Contact));
        same::<Router>(sample(Kind::Router));
        same::<RouteServer>(sample(Kind::RouteServer));
        same::<Session>(sample(Kind::Session));
        same::<Maintenance>(sample(Kind::Maintenance));
    }
}
