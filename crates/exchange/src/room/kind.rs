//! The kinds of things that an exchange is made of, and how each field of each kind is
//! written, checked, shown and kept. Forms, lists, the API, CSV and history all read
//! this one table, so that a field exists everywhere or nowhere.

use serde::{Deserialize, Serialize};

use super::fields;

/// A kind of thing.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The exchange itself: names and the route servers' policy. There is one.
    Profile,
    /// A place.
    Site,
    /// A switch.
    Switch,
    /// A link aggregation group.
    Lag,
    /// A port of a switch.
    Port,
    /// A VLAN.
    Vlan,
    /// A peering LAN with its address plan.
    Lan,
    /// Addresses of a LAN that are not given out.
    Range,
    /// A member network.
    Member,
    /// A person to speak to.
    Contact,
    /// A member's border router on a LAN.
    Router,
    /// A route server.
    RouteServer,
    /// A BGP session.
    Session,
    /// A maintenance window.
    Maintenance,
}

/// How a field is written and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ty {
    /// One line, up to so many characters.
    Line(usize),
    /// Several lines, up to so many characters.
    Area(usize),
    /// Lower-case letters, digits and inner hyphens.
    Slug,
    /// Letters, digits and `-_./:` : names of ports, short names.
    Name(usize),
    /// A whole number between two.
    Int(i64, i64),
    /// Yes or no.
    Bool,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Another thing.
    Ref(Kind),
    /// An organisation of the house.
    Org,
    /// An IPv4 address; `auto` takes the next free one of the LAN where that has a meaning.
    V4,
    /// An IPv6 address; `auto` as for IPv4.
    V6,
    /// An address of either family.
    Ip,
    /// An IPv4 prefix.
    Net4,
    /// An IPv6 prefix.
    Net6,
    /// A MAC address.
    Mac,
    /// A speed in Mbit/s.
    Speed,
    /// An AS number.
    Asn,
    /// An AS set.
    AsSet,
    /// Names of registries.
    Sources,
    /// A mail address of a function, not of a person.
    Email,
    /// A web address.
    Url,
    /// A moment, to the minute.
    Moment,
    /// A day.
    Date,
    /// A coordinate, up to so many degrees.
    Degrees(u8),
    /// The route servers' policy as JSON.
    Policy,
    /// Sealed and never shown.
    Secret,
    /// Personal data: sealed, shown to those who may see contacts.
    Personal(usize),
}

impl Ty {
    /// Whether the value is kept sealed.
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::Secret | Self::Personal(_))
    }

    /// Whether the column holds a number.
    pub const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Int(..) | Self::Bool | Self::Speed | Self::Asn | Self::Moment
        )
    }
}

/// A field of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in the API, in forms, in CSV and as a column.
    pub name: &'static str,
    /// How it is written.
    pub ty: Ty,
    /// Whether it must have a value.
    pub required: bool,
    /// Whether lists show it.
    pub listed: bool,
    /// The value of a new thing in a form, and of a field that is not sent.
    pub default: &'static str,
}

/// Speeds of ports in Mbit/s.
pub const SPEEDS: [i64; 6] = [1_000, 10_000, 25_000, 40_000, 100_000, 400_000];

impl Kind {
    /// All kinds, those that others refer to first.
    pub const ALL: [Self; 14] = [
        Self::Profile,
        Self::Site,
        Self::Switch,
        Self::Vlan,
        Self::Lan,
        Self::Range,
        Self::Member,
        Self::Contact,
        Self::Lag,
        Self::Port,
        Self::RouteServer,
        Self::Router,
        Self::Session,
        Self::Maintenance,
    ];

    /// The name in paths.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Site => "sites",
            Self::Switch => "switches",
            Self::Lag => "lags",
            Self::Port => "ports",
            Self::Vlan => "vlans",
            Self::Lan => "lans",
            Self::Range => "ranges",
            Self::Member => "members",
            Self::Contact => "contacts",
            Self::Router => "routers",
            Self::RouteServer => "route-servers",
            Self::Session => "sessions",
            Self::Maintenance => "maintenance",
        }
    }

    /// The kind of that name in paths.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path() == path)
    }

    /// The name of one of them: in the audit trail, as part of message keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Site => "site",
            Self::Switch => "switch",
            Self::Lag => "lag",
            Self::Port => "port",
            Self::Vlan => "vlan",
            Self::Lan => "lan",
            Self::Range => "range",
            Self::Member => "member",
            Self::Contact => "contact",
            Self::Router => "router",
            Self::RouteServer => "route-server",
            Self::Session => "session",
            Self::Maintenance => "maintenance",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its table.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Profile => "exchange_profile",
            Self::Site => "exchange_site",
            Self::Switch => "exchange_switch",
            Self::Lag => "exchange_lag",
            Self::Port => "exchange_port",
            Self::Vlan => "exchange_vlan",
            Self::Lan => "exchange_lan",
            Self::Range => "exchange_range",
            Self::Member => "exchange_member",
            Self::Contact => "exchange_contact",
            Self::Router => "exchange_router",
            Self::RouteServer => "exchange_route_server",
            Self::Session => "exchange_session",
            Self::Maintenance => "exchange_maintenance",
        }
    }

    /// Its fields, in the order of forms.
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Profile => fields::PROFILE,
            Self::Site => fields::SITE,
            Self::Switch => fields::SWITCH,
            Self::Lag => fields::LAG,
            Self::Port => fields::PORT,
            Self::Vlan => fields::VLAN,
            Self::Lan => fields::LAN,
            Self::Range => fields::RANGE,
            Self::Member => fields::MEMBER,
            Self::Contact => fields::CONTACT,
            Self::Router => fields::ROUTER,
            Self::RouteServer => fields::ROUTE_SERVER,
            Self::Session => fields::SESSION,
            Self::Maintenance => fields::MAINTENANCE,
        }
    }

    /// The field called `name`.
    pub fn field(self, name: &str) -> Option<&'static Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// Fields of other kinds that refer to this one.
    pub fn referrers(self) -> impl Iterator<Item = (Self, &'static Field)> {
        Self::ALL.into_iter().flat_map(move |kind| {
            kind.fields()
                .iter()
                .filter(move |field| field.ty == Ty::Ref(self))
                .map(move |field| (kind, field))
        })
    }
}
