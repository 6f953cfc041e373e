//! The IX-F member export, version 1.0: who is connected where, for the public and for
//! the tools of peers. Contacts' personal data are never in it; mail and telephone are
//! those of operations centres.

use std::collections::BTreeMap;

use base::{Prefix, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::keep::Wanted;
use super::{
    Exchange, Id, Lag, Lan, Member, Port, Profile, RoomError, Router, Session, Site, Stored,
    Switch, Vlan,
};

/// The exchange's own number in the export: there is one exchange.
const IXP_ID: u64 = 1;
/// Bits of an identifier that every JSON reader keeps exactly.
const SAFE_BITS: u64 = (1 << 48) - 1;

/// A persistent number from an identifier.
fn number(id: Uuid) -> u64 {
    // The low bits of a version 7 UUID are random.
    id.as_u64_pair().1 & SAFE_BITS
}

fn put(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

/// Midnight in Taipei of a day, as RFC 3339.
fn day_time(day: &str) -> String {
    format!("{day}T00:00:00+08:00")
}

impl Exchange {
    /// The export as it stands at `now`.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] before the exchange has a profile.
    pub async fn ixf(&self, now: Timestamp) -> Result<Value, RoomError> {
        let all = Wanted::default();
        let profile = self
            .all::<Profile>(&all)
            .await?
            .pop()
            .ok_or_else(|| RoomError::not_found("profile", "exchange"))?;
        let sites: BTreeMap<Id<Site>, Stored<Site>> = map(self.all(&all).await?);
        let switches: Vec<Stored<Switch>> = self.all(&all).await?;
        let vlans: BTreeMap<Id<Vlan>, Stored<Vlan>> = map(self.all(&all).await?);
        let lans: BTreeMap<Id<Lan>, Stored<Lan>> = map(self.all(&all).await?);
        let mut routers: Vec<Stored<Router>> = self.all(&all).await?;
        routers.sort_by_key(|router| router.id);
        let connections = Connections {
            ports: self.all(&all).await?,
            lags: map(self.all(&all).await?),
            sessions: self.all(&Wanted::by("type", "route-server")).await?,
            vlans: &vlans,
            lans: &lans,
            routers,
        };
        let members: Vec<Stored<Member>> = self.all(&Wanted::by("state", "active")).await?;
        Ok(json!({
            "version": "1.0",
            "generator": "civicnet",
            "timestamp": rfc3339(now),
            "ixp_list": [ixp(&profile.value, &sites, &switches, &vlans, &lans)],
            "member_list": members.iter().map(|member| connections.member(member)).collect::<Vec<_>>(),
        }))
    }
}

/// To the second, in UTC.
fn rfc3339(at: Timestamp) -> String {
    let text: String = at.to_string().chars().take(19).collect();
    format!("{text}Z")
}

fn map<T>(all: Vec<Stored<T>>) -> BTreeMap<Id<T>, Stored<T>> {
    all.into_iter().map(|thing| (thing.id, thing)).collect()
}

fn ixp(
    profile: &Profile,
    sites: &BTreeMap<Id<Site>, Stored<Site>>,
    switches: &[Stored<Switch>],
    vlans: &BTreeMap<Id<Vlan>, Stored<Vlan>>,
    lans: &BTreeMap<Id<Lan>, Stored<Lan>>,
) -> Value {
    let mut ixp = Map::new();
    ixp.insert("ixp_id".into(), IXP_ID.into());
    ixp.insert("ixf_id".into(), profile.ixf_id.unwrap_or(0).into());
    ixp.insert("shortname".into(), profile.short_name.clone().into());
    ixp.insert("name".into(), profile.name.clone().into());
    put(&mut ixp, "country", profile.country.clone());
    put(&mut ixp, "url", profile.url.clone());
    put(&mut ixp, "support_email", profile.support_email.clone());
    put(&mut ixp, "support_phone", profile.support_phone.clone());
    ixp.insert(
        "peering_policy_list".into(),
        json!(["open", "selective", "restrictive", "closed"]),
    );
    let switch = |switch: &Stored<Switch>| {
        let mut view = Map::new();
        view.insert("id".into(), number(switch.id.0).into());
        view.insert("name".into(), switch.value.name.clone().into());
        if let Some(site) = sites.get(&switch.value.site) {
            view.insert("colo".into(), site.value.title_en.clone().into());
            put(&mut view, "city", site.value.city.clone());
        }
        put(&mut view, "country", profile.country.clone());
        if switch.value.model.is_some() {
            let maker = match switch.value.vendor.as_str() {
                "junos" => "Juniper",
                _ => "Arista",
            };
            view.insert("manufacturer".into(), maker.into());
            put(&mut view, "model", switch.value.model.clone());
            put(&mut view, "software", switch.value.software.clone());
        }
        Value::Object(view)
    };
    ixp.insert("switch".into(), switches.iter().map(switch).collect());
    let vlan = |lan: &Stored<Lan>| {
        let vlan = vlans.get(&lan.value.vlan)?;
        let mut view = Map::new();
        view.insert("id".into(), vlan.value.tag.into());
        view.insert("name".into(), lan.value.name.clone().into());
        for (family, prefix) in [("ipv4", lan.value.v4), ("ipv6", lan.value.v6)] {
            put(&mut view, family, prefix.map(prefix_view));
        }
        Some(Value::Object(view))
    };
    ixp.insert("vlan".into(), lans.values().filter_map(vlan).collect());
    Value::Object(ixp)
}

fn prefix_view(prefix: Prefix) -> Value {
    json!({ "prefix": prefix.address().to_string(), "mask_length": prefix.length() })
}

struct Connections<'a> {
    ports: Vec<Stored<Port>>,
    lags: BTreeMap<Id<Lag>, Stored<Lag>>,
    sessions: Vec<Stored<Session>>,
    vlans: &'a BTreeMap<Id<Vlan>, Stored<Vlan>>,
    lans: &'a BTreeMap<Id<Lan>, Stored<Lan>>,
    routers: Vec<Stored<Router>>,
}

impl Connections<'_> {
    fn member(&self, member: &Stored<Member>) -> Value {
        let value = &member.value;
        let mut view = Map::new();
        view.insert("asnum".into(), value.asn.into());
        view.insert("member_type".into(), "peering".into());
        view.insert("name".into(), value.name.clone().into());
        put(&mut view, "url", value.url.clone());
        view.insert("peering_policy".into(), value.peering_policy.clone().into());
        put(
            &mut view,
            "member_since",
            value.joined_on.as_deref().map(day_time),
        );
        put(
            &mut view,
            "contact_email",
            value.noc_email.clone().map(|mail| vec![mail]),
        );
        put(
            &mut view,
            "contact_phone",
            value.noc_phone.clone().map(|phone| vec![phone]),
        );
        let connections: Vec<Value> = self
            .routers
            .iter()
            .filter(|router| router.value.member == member.id)
            .map(|router| self.connection(value, router))
            .collect();
        view.insert("connection_list".into(), connections.into());
        Value::Object(view)
    }

    fn connection(&self, member: &Member, router: &Stored<Router>) -> Value {
        let value = &router.value;
        let state = if value.disabled { "inactive" } else { "active" };
        let mut view = json!({
            "ixp_id": IXP_ID,
            "state": state,
            "if_list": self.interfaces(router),
        });
        if let Some(vlan) = self
            .lans
            .get(&value.lan)
            .and_then(|lan| self.vlans.get(&lan.value.vlan))
        {
            let mut entry = Map::new();
            entry.insert("vlan_id".into(), vlan.value.tag.into());
            let families = [
                ("ipv4", value.v4.map(|a| a.to_string())),
                ("ipv6", value.v6.map(|a| a.to_string())),
            ];
            for (family, address) in families {
                let address = address.map(|address| self.address(member, router, family, address));
                put(&mut entry, family, address);
            }
            view["vlan_list"] = json!([entry]);
        }
        view
    }

    fn interfaces(&self, router: &Stored<Router>) -> Vec<Value> {
        let ports: Vec<&Stored<Port>> = match (router.value.lag, router.value.port) {
            (Some(lag), _) => self
                .ports
                .iter()
                .filter(|port| port.value.lag == Some(lag))
                .collect(),
            (None, Some(id)) => self.ports.iter().filter(|port| port.id == id).collect(),
            (None, None) => Vec::new(),
        };
        let Some(first) = ports.first() else {
            return Vec::new();
        };
        let speed: i64 = ports.iter().map(|port| port.value.speed_mbps).sum();
        let kind = match router.value.lag.and_then(|lag| self.lags.get(&lag)) {
            Some(_) => format!("LAG{}", ports.len()),
            None => first.value.optic.clone().unwrap_or_default(),
        };
        let mut view = Map::new();
        view.insert("switch_id".into(), number(first.value.switch.0).into());
        view.insert("if_speed".into(), speed.into());
        if !kind.is_empty() {
            view.insert("if_type".into(), kind.into());
        }
        vec![Value::Object(view)]
    }

    fn address(
        &self,
        member: &Member,
        router: &Stored<Router>,
        family: &str,
        address: String,
    ) -> Value {
        let session = self
            .sessions
            .iter()
            .find(|s| s.value.router == router.id && s.value.family == family);
        let (own_set, limit) = match family {
            "ipv6" => (
                member.as_set_v6.as_ref().or(member.as_set.as_ref()),
                member.max_prefix_v6,
            ),
            _ => (member.as_set.as_ref(), member.max_prefix_v4),
        };
        let limit = session.and_then(|s| s.value.max_prefix).or(limit);
        let mut view = Map::new();
        view.insert("address".into(), address.into());
        put(&mut view, "as_macro", own_set.cloned());
        put(&mut view, "max_prefix", limit);
        let served = session.is_some_and(|s| s.value.wanted == "up");
        view.insert("routeserver".into(), served.into());
        put(
            &mut view,
            "mac_addresses",
            router.value.mac.clone().map(|mac| vec![mac]),
        );
        Value::Object(view)
    }
}
