//! PeeringDB's objects taken over: `net` becomes a member, `netixlan` on one of our
//! LANs a border router, `poc` a contact. Shown first, applied then, all or nothing.
//!
//! Reads what the API and the dumps give: `{"data": […]}`, `{"net": {"data": […]}, …}`,
//! a bare list, and nets with their sets inside (`depth=2`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base::Prefix;
use serde_json::{Value, json};
use store::Tx;
use uuid::Uuid;

use super::csv::{FILE_BYTES_MAX, PROBLEMS_MAX, Report};
use super::keep::Wanted;
use super::{By, Exchange, Id, Kind, Lan, Member, RoomError, Router, Site, Stored, Values};

/// Objects of one import.
pub const OBJECTS_MAX: usize = 20_000;
/// Depth to which lists are looked for.
const DEPTH_MAX: usize = 6;

/// The objects that an import uses.
#[derive(Debug, Default, PartialEq)]
struct Objects {
    nets: Vec<Values>,
    connections: Vec<Values>,
    contacts: Vec<Values>,
}

/// Reads the objects.
///
/// # Errors
/// [`RoomError::Invalid`] for what is no JSON, holds none, or too many.
fn read(text: &str) -> Result<Objects, RoomError> {
    let wrong = |zh: String, en: String| RoomError::invalid("file", "", "peeringdb", zh, en);
    if text.len() > FILE_BYTES_MAX {
        return Err(wrong(
            "檔案最多 4 MiB".into(),
            "the file must have at most 4 MiB".into(),
        ));
    }
    let value: Value = serde_json::from_str(text)
        .map_err(|e| wrong(format!("不是 JSON:{e}"), format!("is not JSON: {e}")))?;
    let mut objects = Objects::default();
    collect(value, None, DEPTH_MAX, &mut objects);
    let count = objects.nets.len() + objects.connections.len() + objects.contacts.len();
    if count == 0 {
        return Err(wrong(
            "沒有 net、netixlan 或 poc 物件".into(),
            "holds no net, netixlan or poc objects".into(),
        ));
    }
    if count > OBJECTS_MAX {
        return Err(wrong(
            format!("最多 {OBJECTS_MAX} 個物件"),
            format!("holds {count} objects: must be at most {OBJECTS_MAX}"),
        ));
    }
    Ok(objects)
}

fn collect(value: Value, net: Option<i64>, depth: usize, objects: &mut Objects) {
    if depth == 0 {
        return;
    }
    match value {
        Value::Array(items) => {
            for item in items {
                collect(item, net, depth - 1, objects);
            }
        }
        Value::Object(mut map) => {
            let own = map.get("id").and_then(Value::as_i64);
            // Things inside a net need not say whose they are.
            if let (Some(net), None) = (net, map.get("net_id")) {
                map.insert("net_id".into(), net.into());
            }
            let has = |name: &str| map.contains_key(name);
            let is_net = has("asn") && has("name") && !has("ixlan_id");
            let is_connection = has("ipaddr4") || has("ipaddr6");
            let is_contact = has("role") && (has("email") || has("phone"));
            if is_net {
                for set in ["netixlan_set", "poc_set"] {
                    if let Some(inner) = map.remove(set) {
                        collect(inner, own, depth - 1, objects);
                    }
                }
                objects.nets.push(map);
            } else if is_connection {
                objects.connections.push(map);
            } else if is_contact {
                objects.contacts.push(map);
            } else {
                for (_, inner) in map {
                    if inner.is_array() || inner.is_object() {
                        collect(inner, None, depth - 1, objects);
                    }
                }
            }
        }
        _ => {}
    }
}

fn text<'a>(object: &'a Values, name: &str) -> Option<&'a str> {
    object
        .get(name)
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// A short name from a network's: letters, digits and hyphens.
fn short_name(name: &str, asn: i64) -> String {
    let clean: String = name
        .split(['(', ',', '/'])
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let clean = clean.trim_matches('-').to_owned();
    match clean.is_empty() {
        true => format!("AS{asn}"),
        false => clean,
    }
}

/// The first AS set of `irr_as_set`, in the way of writing that registries' names take.
fn as_set(object: &Values) -> Option<String> {
    let first = text(object, "irr_as_set")?.split([' ', ',']).next()?;
    let set = match first.split_once('@') {
        Some((set, source)) => format!("{source}::{set}"),
        None => first.to_owned(),
    };
    crate::document::is_set_name(&set).then_some(set)
}

fn policy(object: &Values) -> &'static str {
    match text(object, "policy_general") {
        Some("Selective") => "selective",
        Some("Restrictive") => "restrictive",
        Some("No") => "closed",
        _ => "open",
    }
}

fn contact_role(role: &str) -> &'static str {
    match role {
        "NOC" => "noc",
        "Policy" => "policy",
        "Abuse" => "security",
        "Technical" | "Maintenance" => "technical",
        _ => "administrative",
    }
}

impl Exchange {
    /// Takes PeeringDB's objects over. Existing members, found by AS number, keep what
    /// PeeringDB does not say; routers are made for addresses on our LANs that nobody
    /// has; contacts are added, none is changed. With `apply` false, or when an object is
    /// wrong, nothing is changed. In the report, a problem's line is the object's number.
    ///
    /// # Errors
    /// [`RoomError::Invalid`] for what holds no such objects.
    pub async fn import_peeringdb(
        &self,
        by: &By,
        text: &str,
        apply: bool,
    ) -> Result<Report, RoomError> {
        let objects = read(text)?;
        let mut report = Report::default();
        let mut tx = self.begin().await?;
        let all = Wanted::default();
        let members: Vec<Stored<Member>> = self.all_in(&mut tx, &all).await?;
        let mut known: BTreeMap<i64, Uuid> = members
            .iter()
            .map(|member| (i64::from(member.value.asn), member.id.0))
            .collect();
        let mut by_net: BTreeMap<i64, Uuid> = members
            .iter()
            .filter_map(|member| Some((member.value.peeringdb_id?, member.id.0)))
            .collect();
        let mut number = 0;
        for net in &objects.nets {
            number += 1;
            match self.take_net(&mut tx, by, net, &known, &mut report).await {
                Ok(Some((asn, id))) => {
                    known.insert(asn, id);
                    if let Some(net) = net.get("id").and_then(Value::as_i64) {
                        by_net.insert(net, id);
                    }
                }
                Ok(None) => {}
                Err(error) => report.wrong(number, error)?,
            }
            if report.problems.len() >= PROBLEMS_MAX {
                break;
            }
        }
        let places = Places::of(self, &mut tx).await?;
        for connection in &objects.connections {
            number += 1;
            let owner = owner(connection, &known, &by_net);
            if let Some(owner) = owner {
                let taken = self
                    .take_connection(&mut tx, by, connection, owner, &places, &mut report)
                    .await;
                if let Err(error) = taken {
                    report.wrong(number, error)?;
                }
            }
        }
        for contact in &objects.contacts {
            number += 1;
            if let Some(owner) = owner(contact, &known, &by_net) {
                let taken = self
                    .take_contact(&mut tx, by, contact, owner, &mut report)
                    .await;
                if let Err(error) = taken {
                    report.wrong(number, error)?;
                }
            }
        }
        if apply && report.problems.is_empty() {
            tx.commit().await?;
            report.applied = true;
        } else {
            tx.rollback().await?;
        }
        Ok(report)
    }

    async fn take_net(
        &self,
        tx: &mut Tx,
        by: &By,
        net: &Values,
        known: &BTreeMap<i64, Uuid>,
        report: &mut Report,
    ) -> Result<Option<(i64, Uuid)>, RoomError> {
        let Some(asn) = net.get("asn").and_then(Value::as_i64) else {
            return Err(RoomError::invalid(
                "asn",
                "",
                "asn",
                "必須是數字",
                "must be a number",
            ));
        };
        let name: String = text(net, "name")
            .unwrap_or_default()
            .chars()
            .take(80)
            .collect();
        let limit = |field: &str| match net.get(field).and_then(Value::as_i64) {
            Some(limit) if limit > 0 => Value::from(limit),
            _ => Value::Null,
        };
        let mut fields: Vec<(&str, Value)> = vec![
            ("name", name.clone().into()),
            ("peering_policy", policy(net).into()),
        ];
        for (field, value) in [
            ("as_set", as_set(net).into()),
            ("max_prefix_v4", limit("info_prefixes4")),
            ("max_prefix_v6", limit("info_prefixes6")),
            ("url", text(net, "website").into()),
            ("peeringdb_id", net.get("id").cloned().unwrap_or_default()),
        ] {
            // What PeeringDB does not say stays as it is.
            if !value.is_null() {
                fields.push((field, value));
            }
        }
        if let Some(id) = known.get(&asn) {
            let before = self.read_in(tx, Kind::Member, *id, false).await?.revision;
            let record = self.change(tx, by, Kind::Member, *id, &fields).await?;
            if record.revision == before {
                report.unchanged += 1;
            } else {
                report.note("update", Kind::Member, &record.label);
            }
            return Ok(Some((asn, *id)));
        }
        let mut values: Values = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let mut short = short_name(&name, asn);
        if self.resolve(tx, Kind::Member, &short).await?.is_some() {
            short = format!("AS{asn}");
        }
        values.insert("short_name".into(), short.into());
        values.insert("asn".into(), asn.into());
        values.insert("state".into(), "applied".into());
        let record = self.create(tx, by, Kind::Member, &values).await?;
        report.note("create", Kind::Member, &record.label);
        Ok(Some((asn, record.id)))
    }

    async fn take_connection(
        &self,
        tx: &mut Tx,
        by: &By,
        connection: &Values,
        member: Uuid,
        places: &Places,
        report: &mut Report,
    ) -> Result<(), RoomError> {
        let address = |name: &str| text(connection, name).and_then(|a| a.parse::<IpAddr>().ok());
        let (v4, v6) = (address("ipaddr4"), address("ipaddr6"));
        let Some((lan, site)) = places.of_addresses(v4, v6) else {
            // At another exchange.
            return Ok(());
        };
        let routers: Vec<Stored<Router>> = self.all_in(tx, &Wanted::by("lan", lan)).await?;
        let there = |router: &Stored<Router>| {
            v4.is_some_and(|v4| router.value.v4.map(IpAddr::from) == Some(v4))
                || v6.is_some_and(|v6| router.value.v6.map(IpAddr::from) == Some(v6))
        };
        if let Some(router) = routers.iter().find(|router| there(router))
            && router.value.member.0 == member
        {
            report.unchanged += 1;
            return Ok(());
        }
        let own: Vec<Stored<Router>> = self.all_in(tx, &Wanted::by("member", member)).await?;
        let names: BTreeSet<&str> = own.iter().map(|r| r.value.name.as_str()).collect();
        let name = (1..=1_000)
            .map(|n| format!("b{n}"))
            .find(|name| !names.contains(name.as_str()))
            .unwrap_or_default();
        let values = json!({
            "member": member, "name": name, "site": site.0, "lan": lan.0,
            "v4": v4.map(|a| a.to_string()), "v6": v6.map(|a| a.to_string()),
        });
        let values = values.as_object().cloned().unwrap_or_default();
        let record = self.create(tx, by, Kind::Router, &values).await?;
        report.note("create", Kind::Router, &record.label);
        Ok(())
    }

    async fn take_contact(
        &self,
        tx: &mut Tx,
        by: &By,
        contact: &Values,
        member: Uuid,
        report: &mut Report,
    ) -> Result<(), RoomError> {
        let role = contact_role(text(contact, "role").unwrap_or_default());
        let Some(name) = text(contact, "name").or(text(contact, "role")) else {
            return Ok(());
        };
        let email = text(contact, "email");
        let wanted = Wanted {
            personal: true,
            ..Wanted::by("member", member)
        };
        let there = self.select_in(tx, Kind::Contact, &wanted).await?;
        let same = |record: &super::Record| {
            record.text("role") == role
                && record.text("email") == email.unwrap_or_default()
                && (email.is_some() || record.text("name") == name)
        };
        if there.iter().any(same) {
            report.unchanged += 1;
            return Ok(());
        }
        let values = json!({
            "member": member, "role": role, "name": name, "email": email,
            "phone": text(contact, "phone"),
        });
        let values = values.as_object().cloned().unwrap_or_default();
        let record = self.create(tx, by, Kind::Contact, &values).await?;
        report.note("create", Kind::Contact, &record.label);
        Ok(())
    }
}

/// Whose an object is: by its AS number, else by its net.
fn owner(
    object: &Values,
    known: &BTreeMap<i64, Uuid>,
    by_net: &BTreeMap<i64, Uuid>,
) -> Option<Uuid> {
    let number = |name: &str| object.get(name).and_then(Value::as_i64);
    number("asn")
        .and_then(|asn| known.get(&asn))
        .or_else(|| by_net.get(&number("net_id")?))
        .copied()
}

/// Our LANs and the site of each.
struct Places(Vec<(Id<Lan>, Id<Site>, Vec<Prefix>)>);

impl Places {
    async fn of(exchange: &Exchange, tx: &mut Tx) -> Result<Self, RoomError> {
        let all = Wanted::default();
        let lans: Vec<Stored<Lan>> = exchange.all_in(tx, &all).await?;
        let servers: Vec<Stored<super::RouteServer>> = exchange.all_in(tx, &all).await?;
        let vlans: Vec<Stored<super::Vlan>> = exchange.all_in(tx, &all).await?;
        let places = lans
            .into_iter()
            .filter_map(|lan| {
                let site = servers
                    .iter()
                    .find(|server| server.value.lan == lan.id)
                    .map(|server| server.value.site)
                    .or_else(|| vlans.iter().find(|v| v.id == lan.value.vlan)?.value.site)?;
                let prefixes = lan.value.v4.into_iter().chain(lan.value.v6).collect();
                Some((lan.id, site, prefixes))
            })
            .collect();
        Ok(Self(places))
    }

    fn of_addresses(&self, v4: Option<IpAddr>, v6: Option<IpAddr>) -> Option<(Id<Lan>, Id<Site>)> {
        self.0
            .iter()
            .find(|(_, _, prefixes)| {
                v4.into_iter()
                    .chain(v6)
                    .any(|address| prefixes.iter().any(|prefix| prefix.contains(address)))
            })
            .map(|(lan, site, _)| (*lan, *site))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: &str =
        r#"{"id": 5, "asn": 7539, "name": "TWAREN (x)", "irr_as_set": "AS-TWAREN@RADB"}"#;

    #[test]
    fn objects_are_found_in_every_shape() {
        let inside = NET.replace(
            "\"asn\"",
            r#""poc_set": [{"role": "NOC", "email": "noc@twaren.example"}],
               "netixlan_set": [{"ipaddr4": "203.72.1.9", "ixlan_id": 1, "asn": 7539}], "asn""#,
        );
        for (text, counts) in [
            (NET.to_owned(), (1, 0, 0)),
            (format!("[{NET}]"), (1, 0, 0)),
            (format!("{{\"data\": [{NET}], \"meta\": {{}}}}"), (1, 0, 0)),
            (format!("{{\"net\": {{\"data\": [{inside}]}}}}"), (1, 1, 1)),
        ] {
            let objects = read(&text).expect("objects");
            let found = (
                objects.nets.len(),
                objects.connections.len(),
                objects.contacts.len(),
            );
            assert_eq!(found, counts, "{text}");
        }
        let objects = read(&format!("[{inside}]")).expect("objects");
        assert_eq!(objects.contacts[0]["net_id"], 5);
        assert_eq!(as_set(&objects.nets[0]).as_deref(), Some("RADB::AS-TWAREN"));
        assert_eq!(short_name("TWAREN (x)", 1), "TWAREN");
        assert_eq!(short_name("臺灣", 9), "AS9");
        assert!(read("{}").is_err() && read("x").is_err());
    }

    #[test]
    fn mutated_objects_never_panic() {
        let base = format!("{{\"net\": {{\"data\": [{NET}]}}}}").into_bytes();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..50_000 {
            let mut bytes = base.clone();
            for _ in 0..2 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let at = usize::try_from(seed % bytes.len() as u64).unwrap_or(0);
                bytes[at] = b"0\"{}[],:nt"[usize::try_from(seed >> 59).unwrap_or(0) % 10];
            }
            if let Ok(objects) = read(&String::from_utf8_lossy(&bytes)) {
                assert!(objects.nets.len() <= OBJECTS_MAX);
            }
        }
    }
}
