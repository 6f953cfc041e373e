//! A connection of a router to the exchange: where it goes, and making, changing and ending it. All of it
//! happens in the caller's transaction.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use store::Tx;
use uuid::Uuid;

use super::Portal;
use crate::room::{By, Kind, Record, RoomError, Values, Wanted};

/// Links of one connection.
pub const LINKS_MAX: usize = 8;

/// A connection that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Name of the router.
    pub router: String,
    /// Name of the site.
    pub site: String,
    /// Mbit/s of each link.
    pub speed_mbps: i64,
    /// Links; more than one make a group.
    pub links: usize,
    /// The only address let in.
    pub mac: Option<String>,
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The site.
    pub site: Uuid,
    /// The peering LAN.
    pub lan: Uuid,
    /// The switch.
    pub switch: Uuid,
    /// Free ports of the wanted speed, as many as wanted.
    pub ports: Vec<Uuid>,
}

/// Families of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// From a form's choice: `both`, `ipv4`, `ipv6`.
    pub fn from_choice(choice: &str) -> Self {
        Self {
            v4: choice != "ipv6",
            v6: choice != "ipv4",
        }
    }

    /// Their names, as sessions carry them, with the fields of their addresses.
    pub fn each(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        [(self.v4, ("ipv4", "v4")), (self.v6, ("ipv6", "v6"))]
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, names)| names)
    }
}

/// `10G` in Mbit/s.
pub fn speed(text: &str) -> Option<i64> {
    text.strip_suffix('G')?
        .parse::<i64>()
        .ok()
        .map(|g| g * 1_000)
}

fn values(fields: &[(&str, Value)]) -> Values {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

impl Portal {
    /// Where a connection would go; `taken` holds ports that the same request takes elsewhere.
    ///
    /// # Errors
    /// [`RoomError::Refused`] that says what is missing.
    pub async fn place(
        &self,
        tx: &mut Tx,
        wanted: &Connection,
        taken: &mut BTreeSet<Uuid>,
    ) -> Result<Place, RoomError> {
        let room = &self.exchange;
        let sites = room
            .select_in(tx, Kind::Site, &Wanted::by("state", "active"))
            .await?;
        let Some(site) = sites.iter().find(|site| site.label == wanted.site) else {
            let names: Vec<&str> = sites.iter().map(|site| &*site.label).take(20).collect();
            let names = names.join(", ");
            return Err(RoomError::refused(
                format!("沒有「{}」這個站點:可選 {names}", wanted.site),
                format!("{:?} is no site: must be one of {names}", wanted.site),
            ));
        };
        let lan = self.lan_at(tx, site).await?;
        let switches = room
            .select_in(tx, Kind::Switch, &Wanted::by("site", site.id))
            .await?;
        let mut free_most = 0;
        for switch in switches.iter().filter(|s| s.text("state") == "active") {
            let wanted_ports = Wanted {
                fields: vec![
                    ("switch", switch.id.to_string()),
                    ("role", "member".to_owned()),
                    ("state", "free".to_owned()),
                    ("speed_mbps", wanted.speed_mbps.to_string()),
                ],
                ..Wanted::default()
            };
            let free: Vec<Uuid> = room
                .select_in(tx, Kind::Port, &wanted_ports)
                .await?
                .iter()
                .filter(|port| {
                    port.reference("member").is_none() && port.reference("lag").is_none()
                })
                .map(|port| port.id)
                .filter(|port| !taken.contains(port))
                .collect();
            if free.len() >= wanted.links {
                let ports: Vec<Uuid> = free.into_iter().take(wanted.links).collect();
                taken.extend(ports.iter().copied());
                return Ok(Place {
                    site: site.id,
                    lan,
                    switch: switch.id,
                    ports,
                });
            }
            free_most = free_most.max(free.len());
        }
        let gigabit = wanted.speed_mbps / 1_000;
        Err(RoomError::refused(
            format!(
                "站點 {} 沒有足夠的空閒 {gigabit}G 埠:需要 {},同一台交換器上最多有 {free_most}",
                wanted.site, wanted.links
            ),
            format!(
                "site {} has not enough free {gigabit}G ports: {} wanted, at most {free_most} on one switch",
                wanted.site, wanted.links
            ),
        ))
    }

    /// The peering LAN of a site: its route server's, or the first one whose VLAN is there.
    async fn lan_at(&self, tx: &mut Tx, site: &Record) -> Result<Uuid, RoomError> {
        let room = &self.exchange;
        let servers = room
            .select_in(tx, Kind::RouteServer, &Wanted::by("site", site.id))
            .await?;
        let active = servers.iter().find(|rs| rs.text("state") == "active");
        if let Some(lan) = active.and_then(|rs| rs.reference("lan")) {
            return Ok(lan);
        }
        for lan in room.select_in(tx, Kind::Lan, &Wanted::default()).await? {
            let Some(vlan) = lan.reference("vlan") else {
                continue;
            };
            let vlan = room.read_in(tx, Kind::Vlan, vlan, false).await?;
            let is_there = vlan.reference("site").is_none_or(|there| there == site.id);
            if vlan.text("purpose") == "peering" && is_there {
                return Ok(lan.id);
            }
        }
        Err(RoomError::refused(
            format!("站點 {} 還沒有互連網段", site.label),
            format!("site {} has no peering LAN yet", site.label),
        ))
    }

    /// Gives ports to a member: one port, or a group. Returns the port or the group.
    async fn give_ports(
        &self,
        tx: &mut Tx,
        by: &By,
        member: Uuid,
        place: &Place,
    ) -> Result<(Option<Uuid>, Option<Uuid>), RoomError> {
        let room = &self.exchange;
        let own = Value::from(member.to_string());
        if let [port] = place.ports.as_slice() {
            room.change(
                tx,
                by,
                Kind::Port,
                *port,
                &[("member", own), ("state", "reserved".into())],
            )
            .await?;
            return Ok((Some(*port), None));
        }
        let groups = room
            .select_in(tx, Kind::Lag, &Wanted::by("switch", place.switch))
            .await?;
        let used: BTreeSet<i64> = groups
            .iter()
            .filter_map(|lag| lag.number("number"))
            .collect();
        let number = (1..=4_095)
            .find(|number| !used.contains(number))
            .ok_or_else(|| {
                RoomError::refused(
                    "交換器的聚合群組已滿",
                    "the switch has no free group number",
                )
            })?;
        let lag = room
            .create(
                tx,
                by,
                Kind::Lag,
                &values(&[
                    ("switch", place.switch.to_string().into()),
                    ("number", number.into()),
                    ("member", own.clone()),
                    ("min_links", 1.into()),
                ]),
            )
            .await?;
        for port in &place.ports {
            room.change(
                tx,
                by,
                Kind::Port,
                *port,
                &[
                    ("member", own.clone()),
                    ("lag", lag.id.to_string().into()),
                    ("state", "reserved".into()),
                ],
            )
            .await?;
        }
        Ok((None, Some(lag.id)))
    }

    /// Connects a new router: ports, addresses from the plan, sessions with the route servers of its LAN.
    ///
    /// # Errors
    /// [`RoomError`]: what breaks a rule of the model; the caller's transaction then ends.
    #[expect(clippy::too_many_arguments, reason = "what one connection is made of")]
    pub async fn connect(
        &self,
        tx: &mut Tx,
        by: &By,
        member: Uuid,
        wanted: &Connection,
        place: &Place,
        families: Families,
        bfd: bool,
    ) -> Result<Record, RoomError> {
        let (port, lag) = self.give_ports(tx, by, member, place).await?;
        let lan = self
            .exchange
            .read_in(tx, Kind::Lan, place.lan, false)
            .await?;
        let reference = |id: Option<Uuid>| id.map_or(Value::Null, |id| id.to_string().into());
        let mut router = values(&[
            ("member", member.to_string().into()),
            ("name", wanted.router.clone().into()),
            ("site", place.site.to_string().into()),
            ("lan", place.lan.to_string().into()),
            ("port", reference(port)),
            ("lag", reference(lag)),
            ("mac", wanted.mac.clone().map_or(Value::Null, Value::from)),
        ]);
        for (_, field) in families.each() {
            // A LAN of one family gives addresses of that family only.
            if !lan.text(field).is_empty() {
                router.insert(field.to_owned(), "auto".into());
            }
        }
        let router = self.exchange.create(tx, by, Kind::Router, &router).await?;
        self.server_sessions(tx, by, &router, families, bfd, None)
            .await?;
        Ok(router)
    }

    /// Sessions of a router with every route server of its LAN, those that are not there yet. Returns how
    /// many were made.
    ///
    /// # Errors
    /// [`RoomError`]: what breaks a rule of the model.
    pub async fn server_sessions(
        &self,
        tx: &mut Tx,
        by: &By,
        router: &Record,
        families: Families,
        bfd: bool,
        max_prefix: Option<i64>,
    ) -> Result<usize, RoomError> {
        let room = &self.exchange;
        let wanted = Wanted {
            fields: vec![
                ("lan", router.text("lan").to_owned()),
                ("state", "active".to_owned()),
            ],
            ..Wanted::default()
        };
        let servers = room.select_in(tx, Kind::RouteServer, &wanted).await?;
        let there = self.sessions_of(tx, router.id).await?;
        let mut made = 0;
        for server in &servers {
            for (family, field) in families.each() {
                if router.text(field).is_empty() || server.text(field).is_empty() {
                    continue;
                }
                let is_there = there.iter().any(|session| {
                    session.reference("route_server") == Some(server.id)
                        && session.text("family") == family
                });
                if is_there {
                    continue;
                }
                room.create(
                    tx,
                    by,
                    Kind::Session,
                    &values(&[
                        ("router", router.id.to_string().into()),
                        ("type", "route-server".into()),
                        ("family", family.into()),
                        ("route_server", server.id.to_string().into()),
                        ("wanted", "up".into()),
                        ("bfd", bfd.into()),
                        ("max_prefix", max_prefix.map_or(Value::Null, Value::from)),
                        ("role", "rs-client".into()),
                    ]),
                )
                .await?;
                made += 1;
            }
        }
        Ok(made)
    }

    /// Sessions of a router, from either end.
    pub(crate) async fn sessions_of(
        &self,
        tx: &mut Tx,
        router: Uuid,
    ) -> Result<Vec<Record>, RoomError> {
        let room = &self.exchange;
        let mut all = room
            .select_in(tx, Kind::Session, &Wanted::by("router", router))
            .await?;
        all.extend(
            room.select_in(tx, Kind::Session, &Wanted::by("peer", router))
                .await?,
        );
        Ok(all)
    }

    /// Takes ports and group of a router back.
    async fn free_ports(&self, tx: &mut Tx, by: &By, router: &Record) -> Result<(), RoomError> {
        let room = &self.exchange;
        let mut ports: Vec<Uuid> = router.reference("port").into_iter().collect();
        let lag = router.reference("lag");
        if let Some(lag) = lag {
            let members = room
                .select_in(tx, Kind::Port, &Wanted::by("lag", lag))
                .await?;
            ports.extend(members.iter().map(|port| port.id));
        }
        for port in ports {
            // Another router may stand behind the same port.
            let others = room
                .select_in(tx, Kind::Router, &Wanted::by("port", port))
                .await?;
            if others.iter().any(|other| other.id != router.id) {
                continue;
            }
            room.change(
                tx,
                by,
                Kind::Port,
                port,
                &[
                    ("lag", Value::Null),
                    ("member", Value::Null),
                    ("state", "free".into()),
                ],
            )
            .await?;
        }
        Ok(())
    }

    /// Gives a router other ports at its site; addresses and sessions stay.
    ///
    /// # Errors
    /// [`RoomError`]: what breaks a rule of the model.
    pub async fn reconnect(
        &self,
        tx: &mut Tx,
        by: &By,
        router: &Record,
        place: &Place,
        mac: Option<&str>,
    ) -> Result<Record, RoomError> {
        let room = &self.exchange;
        let member = router
            .reference("member")
            .ok_or_else(|| RoomError::not_found("member", router.label.clone()))?;
        let (port, lag) = self.give_ports(tx, by, member, place).await?;
        let reference = |id: Option<Uuid>| id.map_or(Value::Null, |id| id.to_string().into());
        let mut fields = vec![("port", reference(port)), ("lag", reference(lag))];
        if let Some(mac) = mac {
            fields.push(("mac", mac.into()));
        }
        let changed = room
            .change(tx, by, Kind::Router, router.id, &fields)
            .await?;
        self.free_ports(tx, by, router).await?;
        if let Some(old) = router.reference("lag") {
            room.delete(tx, by, Kind::Lag, old, None).await?;
        }
        Ok(changed)
    }

    /// Ends a connection: sessions, router with its addresses, ports.
    ///
    /// # Errors
    /// [`RoomError`]: what still refers to it.
    pub async fn disconnect(&self, tx: &mut Tx, by: &By, router: &Record) -> Result<(), RoomError> {
        let room = &self.exchange;
        for session in self.sessions_of(tx, router.id).await? {
            room.delete(tx, by, Kind::Session, session.id, None).await?;
        }
        self.free_ports(tx, by, router).await?;
        room.delete(tx, by, Kind::Router, router.id, None).await?;
        if let Some(lag) = router.reference("lag") {
            room.delete(tx, by, Kind::Lag, lag, None).await?;
        }
        Ok(())
    }

    /// Free member ports by site and speed in Mbit/s: what an applicant can ask for.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn free_by_site(&self) -> Result<BTreeMap<(String, i64), i64>, RoomError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as("SELECT s.name, p.speed_mbps, count(*) FROM exchange_port p JOIN exchange_switch w ON w.id = p.switch JOIN exchange_site s ON s.id = w.site WHERE p.deleted_at IS NULL AND w.deleted_at IS NULL AND s.deleted_at IS NULL AND p.role = 'member' AND p.state = 'free' AND p.member IS NULL AND p.lag IS NULL AND w.state = 'active' AND s.state = 'active' GROUP BY s.name, p.speed_mbps ORDER BY s.name, p.speed_mbps")
            .fetch_all(self.exchange.db().pool())
            .await?;
        Ok(rows
            .into_iter()
            .map(|(site, speed, count)| ((site, speed), count))
            .collect())
    }
}

/// A summary for the case and the audit trail.
pub(crate) fn summary(record: &Record) -> Value {
    json!({ "router": record.label, "v4": record.values.get("v4"), "v6": record.values.get("v6") })
}
