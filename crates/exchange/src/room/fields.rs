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
