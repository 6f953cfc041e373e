//! What must hold among things, and the addresses that they take.

mod peers;

use std::collections::BTreeSet;
use std::net::IpAddr;

use base::Prefix;
use casework::validate::Problem;
use serde_json::Value;
use sqlx::{AnyConnection, Row as _};
use store::Tx;
use uuid::Uuid;

use super::error::problem;
use super::keep::Wanted;
use super::plan::{Plan, Unfit, number};
use super::things::{Record, Values};
use super::value::AUTO;
use super::{Exchange, Kind, RoomError};

/// An address that a thing takes on a LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The LAN.
    pub lan: Uuid,
    /// The address.
    pub address: IpAddr,
}

fn text<'a>(values: &'a Values, name: &str) -> &'a str {
    values.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn id(values: &Values, name: &str) -> Option<Uuid> {
    text(values, name).parse().ok()
}

/// Checks `values` of a thing against the others; puts addresses in the place of `auto`;
/// returns what it takes.
///
/// # Errors
/// [`RoomError::Invalid`] with every rule that is broken.
pub(super) async fn check(
    exchange: &Exchange,
    tx: &mut Tx,
    kind: Kind,
    own: Uuid,
    values: &mut Values,
) -> Result<Vec<Hold>, RoomError> {
    let mut rules = Rules {
        exchange,
        own,
        wrong: Vec::new(),
        holds: Vec::new(),
    };
    match kind {
        Kind::Port => rules.port(tx, values).await?,
        Kind::Lag => rules.lag(tx, values).await?,
        Kind::Lan => rules.lan(tx, values).await?,
        Kind::Range => rules.range(tx, values).await?,
        Kind::Router => rules.router(tx, values).await?,
        Kind::RouteServer => rules.route_server(tx, values).await?,
        Kind::Session => rules.session(tx, values).await?,
        Kind::Member => rules.member(tx, values).await?,
        Kind::Maintenance => rules.maintenance(values),
        Kind::Profile | Kind::Site | Kind::Switch | Kind::Vlan | Kind::Contact => {}
    }
    if rules.wrong.is_empty() {
        Ok(rules.holds)
    } else {
        Err(RoomError::Invalid(rules.wrong))
    }
}

/// Puts the addresses that a thing takes in the place of those that it took.
///
/// # Errors
/// [`RoomError::Store`]: the unique index speaks last.
pub(super) async fn hold(
    tx: &mut Tx,
    kind: Kind,
    own: Uuid,
    holds: &[Hold],
) -> Result<(), RoomError> {
    if !matches!(kind, Kind::Router | Kind::RouteServer) {
        return Ok(());
    }
    sqlx::query("DELETE FROM exchange_address WHERE holder = $1")
        .bind(own.to_string())
        .execute(&mut **tx)
        .await?;
    for hold in holds {
        sqlx::query(
            "INSERT INTO exchange_address (address, lan, kind, holder) VALUES ($1, $2, $3, $4)",
        )
        .bind(hold.address.to_string())
        .bind(hold.lan.to_string())
        .bind(kind.name())
        .bind(own.to_string())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

impl Exchange {
    /// The address plan of a LAN in one family; none when it has no such prefix.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] for no LAN.
    pub async fn plan(
        &self,
        connection: &mut AnyConnection,
        lan: Uuid,
        v4: bool,
    ) -> Result<Option<Plan>, RoomError> {
        let record = self.read_in(connection, Kind::Lan, lan, false).await?;
        let Ok(prefix) = record.text(if v4 { "v4" } else { "v6" }).parse::<Prefix>() else {
            return Ok(None);
        };
        let ranges = self
            .select_in(connection, Kind::Range, &Wanted::by("lan", lan))
            .await?;
        let reserved = ranges
            .iter()
            .filter_map(|range| {
                Some((
                    range.text("first").parse().ok()?,
                    range.text("last").parse().ok()?,
                ))
            })
            .collect();
        let rows = sqlx::query("SELECT address FROM exchange_address WHERE lan = $1")
            .bind(lan.to_string())
            .fetch_all(connection)
            .await?;
        let mut used = BTreeSet::new();
        for row in rows {
            if let Ok(address) = row.try_get::<String, _>("address")?.parse::<IpAddr>()
                && address.is_ipv4() == v4
            {
                used.insert(address);
            }
        }
        Ok(Some(Plan {
            prefix,
            reserved,
            used,
        }))
    }

    /// The next free address of a LAN in one family; none when there is none.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] for no LAN.
    pub async fn next_address(
        &self,
        tx: &mut Tx,
        lan: Uuid,
        v4: bool,
    ) -> Result<Option<IpAddr>, RoomError> {
        Ok(self.plan(tx, lan, v4).await?.and_then(|plan| plan.next()))
    }
}

struct Rules<'a> {
    exchange: &'a Exchange,
    own: Uuid,
    wrong: Vec<Problem>,
    holds: Vec<Hold>,
}

impl Rules<'_> {
    fn wrong(&mut self, field: &str, value: &str, rule: &'static str, zh: &str, en: &str) {
        self.wrong.push(problem(field, value, rule, zh, en));
    }

    async fn read(
        &self,
        tx: &mut Tx,
        kind: Kind,
        id: Option<Uuid>,
    ) -> Result<Option<Record>, RoomError> {
        match id {
            None => Ok(None),
            Some(id) => Ok(Some(self.exchange.read_in(tx, kind, id, false).await?)),
        }
    }

    async fn port(&mut self, tx: &mut Tx, values: &mut Values) -> Result<(), RoomError> {
        let lag = self.read(tx, Kind::Lag, id(values, "lag")).await?;
        if let Some(lag) = lag {
            if lag.text("switch") != text(values, "switch") {
                self.wrong(
                    "lag",
                    &lag.label,
                    "switch",
                    "聚合群組必須在同一台交換器上",
                    "must be a group of the same switch",
                );
            }
            match (lag.text("member"), text(values, "member")) {
                ("", _) => {}
                (owner, "") => {
                    let owner = owner.to_owned();
                    values.insert("member".into(), owner.into());
                }
                (owner, own) if owner != own => self.wrong(
                    "member",
                    &lag.label,
                    "member",
                    "聚合群組屬於另一個成員",
                    "the group belongs to another member",
                ),
                _ => {}
            }
            let others = self
                .exchange
                .select_in(tx, Kind::Port, &Wanted::by("lag", lag.id))
                .await?;
            let speed = values.get("speed_mbps").and_then(Value::as_i64);
            let differs = others
                .iter()
                .find(|port| port.id != self.own && port.number("speed_mbps") != speed);
            if let Some(other) = differs {
                let label = other.label.clone();
                self.wrong(
                    "speed_mbps",
                    &label,
                    "speed",
                    "聚合群組的埠必須同速",
                    "all ports of a group must have one speed",
                );
            }
        }
        if text(values, "role") != "core" && id(values, "remote").is_some() {
            self.wrong(
                "remote",
                "",
                "role",
                "只有骨幹連線有對端",
                "only a core link has another end",
            );
        }
        if id(values, "remote") == Some(self.own) {
            self.wrong("remote", "", "self", "不能連到自己", "must be another port");
        }
        if text(values, "role") != "member" && id(values, "member").is_some() {
            self.wrong(
                "member",
                "",
                "role",
                "只有成員埠屬於成員",
                "only a member's port belongs to one",
            );
        }
        if text(values, "state") == "free" && id(values, "member").is_some() {
            self.wrong(
                "state",
                "free",
                "member",
                "屬於成員的埠不能是空閒",
                "a port that belongs to a member is not free",
            );
        }
        Ok(())
    }

    async fn lag(&mut self, tx: &mut Tx, values: &Values) -> Result<(), RoomError> {
        let ports = self
            .exchange
            .select_in(tx, Kind::Port, &Wanted::by("lag", self.own))
            .await?;
        for port in ports {
            if port.text("switch") != text(values, "switch") {
                self.wrong(
                    "switch",
                    &port.label,
                    "switch",
                    "群組裡的埠在另一台交換器上",
                    "ports of the group are on another switch",
                );
            }
            let (own, of) = (port.text("member"), text(values, "member"));
            if !of.is_empty() && own != of {
                self.wrong(
                    "member",
                    &port.label,
                    "member",
                    "群組裡的埠屬於另一個成員",
                    "ports of the group belong to another member",
                );
            }
        }
        Ok(())
    }

    async fn lan(&mut self, tx: &mut Tx, values: &Values) -> Result<(), RoomError> {
        let own: Vec<(&str, Prefix)> = ["v4", "v6"]
            .into_iter()
            .filter_map(|name| Some((name, text(values, name).parse().ok()?)))
            .collect();
        if own.is_empty() {
            self.wrong(
                "v4",
                "",
                "required",
                "至少要有一個 IPv4 或 IPv6 網段",
                "must have an IPv4 or an IPv6 prefix",
            );
        }
        let lans = self
            .exchange
            .select_in(tx, Kind::Lan, &Wanted::default())
            .await?;
        for other in lans.iter().filter(|other| other.id != self.own) {
            for theirs in ["v4", "v6"] {
                let Ok(theirs) = other.text(theirs).parse::<Prefix>() else {
                    continue;
                };
                for (name, mine) in &own {
                    if mine.covers(&theirs) || theirs.covers(mine) {
                        let label = other.label.clone();
                        self.wrong.push(problem(
                            name,
                            &mine.to_string(),
                            "conflict",
                            format!("與 {label} 重疊"),
                            format!("overlaps with {label}"),
                        ));
                    }
                }
            }
        }
        let rows = sqlx::query("SELECT address FROM exchange_address WHERE lan = $1")
            .bind(self.own.to_string())
            .fetch_all(&mut **tx)
            .await?;
        for row in rows {
            let address: String = row.try_get("address")?;
            let Ok(ip) = address.parse::<IpAddr>() else {
                continue;
            };
            if !own.iter().any(|(_, prefix)| prefix.contains(ip)) {
                self.wrong(
                    if ip.is_ipv4() { "v4" } else { "v6" },
                    &address,
                    "in-use",
                    "有使用中的位址會落在網段之外",
                    "an address that is in use would be outside",
                );
            }
        }
        Ok(())
    }

    async fn range(&mut self, tx: &mut Tx, values: &Values) -> Result<(), RoomError> {
        let (Ok(first), Ok(last)) = (
            text(values, "first").parse::<IpAddr>(),
            text(values, "last").parse::<IpAddr>(),
        ) else {
            return Ok(());
        };
        let Some(lan) = id(values, "lan") else {
            return Ok(());
        };
        let plan = self.exchange.plan(tx, lan, first.is_ipv4()).await?;
        let inside = plan
            .as_ref()
            .is_some_and(|plan| plan.prefix.contains(first) && plan.prefix.contains(last));
        if first.is_ipv4() != last.is_ipv4() || number(first) > number(last) || !inside {
            self.wrong(
                "last",
                &last.to_string(),
                "range",
                "首尾必須是同一網段中由小到大的位址",
                "first and last must be addresses of the LAN, in order",
            );
            return Ok(());
        }
        let rows =
            sqlx::query("SELECT address FROM exchange_address WHERE lan = $1 AND kind = 'router'")
                .bind(lan.to_string())
                .fetch_all(&mut **tx)
                .await?;
        for row in rows {
            let address: String = row.try_get("address")?;
            let taken = address.parse::<IpAddr>().is_ok_and(|ip| {
                ip.is_ipv4() == first.is_ipv4()
                    && number(first) <= number(ip)
                    && number(ip) <= number(last)
            });
            if taken {
                self.wrong(
                    "first",
                    &address,
                    "in-use",
                    "範圍內有成員使用中的位址",
                    "a member uses an address of this range",
                );
            }
        }
        Ok(())
    }

    /// One address field of a router or route server.
    async fn address(
        &mut self,
        tx: &mut Tx,
        values: &mut Values,
        lan: Uuid,
        name: &str,
        strict: bool,
    ) -> Result<(), RoomError> {
        let given = text(values, name).to_owned();
        if given.is_empty() {
            return Ok(());
        }
        let v4 = name.ends_with("v4");
        let Some(plan) = self.exchange.plan(tx, lan, v4).await? else {
            self.wrong(
                name,
                &given,
                "family",
                "這個網段沒有這種位址",
                "the LAN has no addresses of this family",
            );
            return Ok(());
        };
        if given == AUTO {
            match plan.next() {
                Some(address) => {
                    values.insert(name.to_owned(), address.to_string().into());
                    self.holds.push(Hold { lan, address });
                }
                None => self.wrong(
                    name,
                    &given,
                    "full",
                    "網段已沒有可用位址",
                    "the LAN has no free address",
                ),
            }
            return Ok(());
        }
        let Ok(address) = given.parse::<IpAddr>() else {
            return Ok(());
        };
        match plan.unfit(address) {
            Some(Unfit::Outside) => self.wrong(
                name,
                &given,
                "lan",
                "不在這個網段裡",
                &format!("is not on the LAN {}", plan.prefix),
            ),
            Some(Unfit::Special) => self.wrong(
                name,
                &given,
                "special",
                "是網路或廣播位址",
                "is the network's own or the broadcast address",
            ),
            Some(Unfit::Reserved) if strict => self.wrong(
                name,
                &given,
                "reserved",
                "在保留範圍內",
                "lies in a range that is kept back",
            ),
            _ => self.holds.push(Hold { lan, address }),
        }
        Ok(())
    }

    /// Tells who has an address that this thing wants.
    async fn taken(&mut self, tx: &mut Tx, values: &Values) -> Result<(), RoomError> {
        for hold in self.holds.clone() {
            let row = sqlx::query("SELECT kind, holder FROM exchange_address WHERE address = $1")
                .bind(hold.address.to_string())
                .fetch_optional(&mut **tx)
                .await?;
            let Some(row) = row else { continue };
            let holder: String = row.try_get("holder")?;
            if holder == self.own.to_string() {
                continue;
            }
            let kind: String = row.try_get("kind")?;
            let label = match (Kind::from_name(&kind), holder.parse()) {
                (Some(kind), Ok(holder)) => {
                    self.exchange.read_in(tx, kind, holder, false).await?.label
                }
                _ => holder,
            };
            let address = hold.address.to_string();
            let field = ["v4", "v6", "blackhole_v4", "blackhole_v6"]
                .into_iter()
                .find(|name| text(values, name) == address)
                .unwrap_or("v4");
            self.wrong.push(problem(
                field,
                &address,
                "conflict",
                format!("已被 {label} 使用"),
                format!("is taken by {label} already"),
            ));
        }
        Ok(())
    }

    async fn router(&mut self, tx: &mut Tx, values: &mut Values) -> Result<(), RoomError> {
        let Some(lan) = id(values, "lan") else {
            return Ok(());
        };
        if text(values, "v4").is_empty() && text(values, "v6").is_empty() {
            self.wrong(
                "v4",
                "",
                "required",
                "至少要有一個 IPv4 或 IPv6 位址",
                "must have an IPv4 or an IPv6 address",
            );
        }
        for name in ["v4", "v6"] {
            self.address(tx, values, lan, name, true).await?;
        }
        self.taken(tx, values).await?;
        for (kind, name) in [(Kind::Port, "port"), (Kind::Lag, "lag")] {
            let Some(found) = self.read(tx, kind, id(values, name)).await? else {
                continue;
            };
            if found.text("member") != text(values, "member") {
                self.wrong(
                    name,
                    &found.label,
                    "member",
                    "這個埠不屬於該成員",
                    "does not belong to the member",
                );
            }
            let switch = self
                .read(tx, Kind::Switch, found.reference("switch"))
                .await?;
            if switch.is_some_and(|switch| switch.text("site") != text(values, "site")) {
                self.wrong(
                    name,
                    &found.label,
                    "site",
                    "這個埠在另一個據點",
                    "is at another site",
                );
            }
        }
        if id(values, "port").is_some() && id(values, "lag").is_some() {
            self.wrong(
                "lag",
                "",
                "either",
                "埠與聚合群組只能擇一",
                "must be a port or a group, not both",
            );
        }
        Ok(())
    }

    async fn route_server(&mut self, tx: &mut Tx, values: &mut Values) -> Result<(), RoomError> {
        let Some(lan) = id(values, "lan") else {
            return Ok(());
        };
        if text(values, "v4").is_empty() && text(values, "v6").is_empty() {
            self.wrong(
                "v4",
                "",
                "required",
                "至少要有一個 IPv4 或 IPv6 位址",
                "must have an IPv4 or an IPv6 address",
            );
        }
        for name in ["v4", "v6", "blackhole_v4", "blackhole_v6"] {
            self.address(tx, values, lan, name, false).await?;
        }
        if text(values, "router_id") == AUTO {
            self.wrong(
                "router_id",
                AUTO,
                "format",
                "必須寫出",
                "must be written out",
            );
        }
        self.taken(tx, values).await?;
        if text(values, "state") == "active" {
            let wanted = Wanted {
                fields: vec![
                    ("site", text(values, "site").to_owned()),
                    ("state", "active".to_owned()),
                ],
                ..Wanted::default()
            };
            let others = self
                .exchange
                .select_in(tx, Kind::RouteServer, &wanted)
                .await?;
            if let Some(other) = others.iter().find(|other| other.id != self.own) {
                let label = other.label.clone();
                self.wrong(
                    "site",
                    &label,
                    "conflict",
                    "這個據點已有運作中的路由伺服器",
                    "the site has an active route server already",
                );
            }
        }
        Ok(())
    }
}
