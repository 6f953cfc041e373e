//! The things of an exchange as types, for code that works with them; [`Record`] is the
//! same for code that treats all kinds alike.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use base::{OrgId, Prefix, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Kind;

/// Fields by name, as the API and history show them.
pub type Values = Map<String, Value>;

/// A thing of a kind, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// Which.
    pub id: Uuid,
    /// What people call it; unique among those of its kind that are not deleted.
    pub label: String,
    /// Grows with every change; a form that was opened on an older one is refused.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// Its fields. Secrets are `true` or null; personal data are in the clear only when
    /// the reader asked for them, `true` or null otherwise.
    pub values: Values,
}

impl Record {
    /// A text field; empty when it has no value.
    pub fn text(&self, field: &str) -> &str {
        self.values
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, field: &str) -> Option<i64> {
        self.values.get(field).and_then(Value::as_i64)
    }

    /// A reference.
    pub fn reference(&self, field: &str) -> Option<Uuid> {
        self.text(field).parse().ok()
    }

    /// Its address in the console.
    pub fn path(&self) -> String {
        format!("/exchange/{}/{}", self.kind.path(), self.id)
    }
}

/// A type that stands for a kind.
pub trait Thing: Serialize + DeserializeOwned + Send + Sync {
    /// The kind.
    const KIND: Kind;
}

/// The identifier of a `T`, which cannot be passed where another kind's belongs.
pub struct Id<T>(pub Uuid, PhantomData<fn() -> T>);

impl<T> Id<T> {
    /// The identifier with this UUID.
    pub const fn new(id: Uuid) -> Self {
        Self(id, PhantomData)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl<T> FromStr for Id<T> {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self::new)
    }
}
impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::new)
    }
}

/// A `T` as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<T> {
    /// Which.
    pub id: Id<T>,
    /// What people call it.
    pub label: String,
    /// Grows with every change.
    pub revision: i64,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Its fields.
    pub value: T,
}

/// A secret field: there, or to be set. Never read back in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// There is one, and it stays.
    Kept,
    /// This one.
    Set(crate::document::Secret),
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Kept => serializer.serialize_bool(true),
            Self::Set(secret) => serializer.serialize_str(secret.reveal()),
        }
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Self::Kept),
            text @ Value::String(_) => serde_json::from_value(text)
                .map(Self::Set)
                .map_err(serde::de::Error::custom),
            _ => Err(serde::de::Error::custom(
                "must be a new secret, or true for the one that is kept",
            )),
        }
    }
}

macro_rules! things {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* }
        impl Thing for $name {
            const KIND: Kind = Kind::$name;
        }
    )*};
}

things! {
    /// The exchange itself.
    Profile {
        /// Its name.
        name: String,
        /// Its short name.
        short_name: String,
        /// ISO 3166-1 code of its country.
        country: Option<String>,
        /// Its city.
        city: Option<String>,
        /// Its web site.
        url: Option<String>,
        /// Mail address of its support.
        support_email: Option<String>,
        /// Telephone of its support.
        support_phone: Option<String>,
        /// Its number in the IX-F database.
        ixf_id: Option<i64>,
        /// The route servers' policy, [`crate::document::Policy`] as JSON.
        policy: String,
    }
    /// A place.
    Site {
        /// Name: lower-case letters, digits and hyphens.
        name: String,
        /// Name for people, in Chinese.
        title_zh: String,
        /// Name for people, in English.
        title_en: String,
        /// City.
        city: Option<String>,
        /// Street address.
        address: Option<String>,
        /// Degrees north, in decimals.
        latitude: Option<String>,
        /// Degrees east, in decimals.
        longitude: Option<String>,
        /// `planned`, `active`, `closed`.
        state: String,
    }
    /// A switch.
    Switch {
        /// Name, unique in the exchange.
        name: String,
        /// Where it stands.
        site: Id<Site>,
        /// `eos` or `junos`.
        vendor: String,
        /// Model.
        model: Option<String>,
        /// Version of its software.
        software: Option<String>,
        /// Serial number.
        serial: Option<String>,
        /// Where it is managed.
        management_address: Option<IpAddr>,
        /// `active`, `maintenance`, `retired`.
        state: String,
    }
    /// A link aggregation group.
    Lag {
        /// Its switch.
        switch: Id<Switch>,
        /// Number of the channel.
        number: i64,
        /// Whose it is.
        member: Option<Id<Member>>,
        /// Links that must be up for the group to be up.
        min_links: i64,
        /// Remark.
        description: Option<String>,
    }
    /// A port of a switch.
    Port {
        /// Its switch.
        switch: Id<Switch>,
        /// Name as the switch calls it.
        name: String,
        /// `member`, `core` (between switches), `service` (route servers, collectors).
        role: String,
        /// Mbit/s.
        speed_mbps: i64,
        /// Optic.
        optic: Option<String>,
        /// Whose it is.
        member: Option<Id<Member>>,
        /// The group that it belongs to.
        lag: Option<Id<Lag>>,
        /// Access VLAN; without one the peering VLAN of its member's routers.
        vlan: Option<Id<Vlan>>,
        /// The other end of a core link.
        remote: Option<Id<Port>>,
        /// `free`, `reserved`, `active`, `disabled`, `faulty`.
        state: String,
        /// Remark.
        description: Option<String>,
    }
    /// A VLAN.
    Vlan {
        /// Name.
        name: String,
        /// IEEE 802.1Q tag.
        tag: i64,
        /// `peering`, `quarantine`, `private`, `management`.
        purpose: String,
        /// The one site that it exists at; none: at all.
        site: Option<Id<Site>>,
        /// Remark.
        description: Option<String>,
    }
    /// A peering LAN.
    Lan {
        /// Name.
        name: String,
        /// Its VLAN.
        vlan: Id<Vlan>,
        /// IPv4 prefix.
        v4: Option<Prefix>,
        /// IPv6 prefix.
        v6: Option<Prefix>,
        /// Bytes of a packet.
        mtu: i64,
    }
    /// Addresses of a LAN that are not given out.
    Range {
        /// The LAN.
        lan: Id<Lan>,
        /// The first address.
        first: IpAddr,
        /// The last address.
        last: IpAddr,
        /// What they are kept for.
        purpose: String,
    }
    /// A member network.
    Member {
        /// Short name, unique.
        short_name: String,
        /// Name.
        name: String,
        /// AS number, unique.
        asn: u32,
        /// The organisation of the house that it is.
        org: Option<OrgId>,
        /// `full`, `associate`, `provider`.
        #[serde(rename = "type")]
        kind: String,
        /// `applied`, `active`, `suspended`, `left`.
        state: String,
        /// AS set that lists what it announces.
        as_set: Option<String>,
        /// AS set for IPv6, when it is another one.
        as_set_v6: Option<String>,
        /// Registries to ask, with blanks between.
        irr_sources: Option<String>,
        /// IPv4 prefixes taken from it, at most.
        max_prefix_v4: Option<u32>,
        /// IPv6 prefixes taken from it, at most.
        max_prefix_v6: Option<u32>,
        /// `open`, `selective`, `restrictive`, `closed`.
        peering_policy: String,
        /// Web site.
        url: Option<String>,
        /// Mail address of its operations centre.
        noc_email: Option<String>,
        /// Telephone of its operations centre.
        noc_phone: Option<String>,
        /// Watch its sessions by BFD.
        bfd: bool,
        /// Refuse sessions without a BGP role (RFC 9234).
        require_role: bool,
        /// Whether it takes FlowSpec from route servers.
        flowspec: bool,
        /// The site whose routers come first for its traffic, at every route server: the manual
        /// switch. None: its sites are equals.
        preferred_site: Option<Id<Site>>,
        /// Secret of TCP MD5 for all its sessions.
        password: Option<Sealed>,
        /// Day on which it joined: `2026-11-21`.
        joined_on: Option<String>,
        /// Day on which it left.
        left_on: Option<String>,
        /// Its number in PeeringDB (`net`).
        peeringdb_id: Option<i64>,
    }
    /// A person to speak to.
    Contact {
        /// Whose.
        member: Id<Member>,
        /// `technical`, `noc`, `policy`, `administrative`, `security`, `billing`.
        role: String,
        /// Name; sealed.
        name: Value,
        /// Mail address; sealed.
        email: Option<Value>,
        /// Telephone; sealed.
        phone: Option<Value>,
        /// Day on which it was last found right.
        checked_on: Option<String>,
    }
    /// A member's border router on a LAN.
    Router {
        /// Whose.
        member: Id<Member>,
        /// Name, unique among the member's.
        name: String,
        /// Where it is connected.
        site: Id<Site>,
        /// The LAN that it stands on.
        lan: Id<Lan>,
        /// Its IPv4 address there.
        v4: Option<Ipv4Addr>,
        /// Its IPv6 address there.
        v6: Option<Ipv6Addr>,
        /// Its MAC address: the only one let in on its port.
        mac: Option<String>,
        /// The port that it is connected to, when that is in no group.
        port: Option<Id<Port>>,
        /// The group that it is connected to.
        lag: Option<Id<Lag>>,
        /// Secret of TCP MD5, before the member's.
        password: Option<Sealed>,
        /// Keep its sessions configured and down.
        disabled: bool,
    }
    /// A route server.
    RouteServer {
        /// Name, unique.
        name: String,
        /// Its site; one active route server at each.
        site: Id<Site>,
        /// The LAN that it serves.
        lan: Id<Lan>,
        /// BGP identifier.
        router_id: Ipv4Addr,
        /// Its IPv4 address.
        v4: Option<Ipv4Addr>,
        /// Its IPv6 address.
        v6: Option<Ipv6Addr>,
        /// Next hop of blackholes (RFC 7999), IPv4.
        blackhole_v4: Option<Ipv4Addr>,
        /// Next hop of blackholes, IPv6.
        blackhole_v6: Option<Ipv6Addr>,
        /// Its daemon: `bird` or `openbgpd`.
        engine: String,
        /// Ask members to prefer other ways (RFC 8326).
        draining: bool,
        /// `planned`, `active`, `retired`.
        state: String,
    }
    /// A BGP session.
    Session {
        /// The member's router.
        router: Id<Router>,
        /// `route-server` or `bilateral`.
        #[serde(rename = "type")]
        kind: String,
        /// `ipv4` or `ipv6`.
        family: String,
        /// The route server.
        route_server: Option<Id<RouteServer>>,
        /// The other member's router.
        peer: Option<Id<Router>>,
        /// `up` or `down`.
        wanted: String,
        /// Watch it by BFD.
        bfd: bool,
        /// Prefixes taken, at most; none: the member's limit.
        max_prefix: Option<u32>,
        /// The member's role (RFC 9234): `rs-client`, `peer`, `customer`, `provider`, `none`.
        role: String,
        /// Secret of TCP MD5, before the router's.
        password: Option<Sealed>,
    }
    /// A maintenance window.
    Maintenance {
        /// Title in Chinese.
        title_zh: String,
        /// Title in English.
        title_en: String,
        /// When it begins, in microseconds since 1970.
        starts_at: Timestamp,
        /// When it ends.
        ends_at: Timestamp,
        /// The site concerned.
        site: Option<Id<Site>>,
        /// The switch concerned.
        switch: Option<Id<Switch>>,
        /// The member concerned.
        member: Option<Id<Member>>,
        /// `none`, `reduced`, `outage`.
        impact: String,
        /// Drain the site's route server while it lasts.
        drain: bool,
        /// `planned`, `confirmed`, `done`, `cancelled`.
        state: String,
        /// Remark.
        description: Option<String>,
    }
}
