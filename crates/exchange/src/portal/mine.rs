//! What a member sees of itself: its ports, routers with their addresses, sessions with what is seen of
//! them, contacts. Always inside a scope of organisations.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::Prefix;
use serde_json::json;
use sqlx::Row as _;
use store::{AuditEntry, Page, PageRequest};
use uuid::Uuid;
use web::OrgScope;

use super::Portal;
use super::config_text::{Peering, RouterPlan};
use crate::document::Policy;
use crate::room::states::{self, SeenAt};
use crate::room::{By, Kind, Record, RoomError, Wanted};

/// A member in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its AS number.
    pub asn: u32,
    /// Its name.
    pub name: String,
    /// Its organisation.
    pub org: Option<base::OrgId>,
    /// `applied`, `active`, `suspended`, `left`.
    pub state: String,
}

/// A session with both its ends in words.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSeen {
    /// The session.
    pub session: Record,
    /// The member's router.
    pub router: String,
    /// The other end.
    pub far: String,
    /// The other end's address.
    pub address: Option<IpAddr>,
    /// The other end's AS number.
    pub asn: u32,
    /// What the route server sees; none for bilateral sessions, and when nothing was reported.
    pub seen: Option<SeenAt>,
}

/// A member with everything that is its own.
#[derive(Debug, Clone)]
pub struct Network {
    /// The member.
    pub member: Record,
    /// Its routers.
    pub routers: Vec<Record>,
    /// Its ports.
    pub ports: Vec<Record>,
    /// Its groups.
    pub lags: Vec<Record>,
    /// Its sessions, with route servers and other members.
    pub sessions: Vec<SessionSeen>,
    /// Its contacts.
    pub contacts: Vec<Record>,
    /// Labels of what the above refers to: sites, LANs, switches.
    pub labels: BTreeMap<Uuid, String>,
    /// LANs.
    pub lans: BTreeMap<Uuid, Record>,
}

impl Network {
    /// Its AS number.
    pub fn asn(&self) -> u32 {
        self.member
            .number("asn")
            .and_then(|asn| u32::try_from(asn).ok())
            .unwrap_or(0)
    }

    /// The label of what a field refers to.
    pub fn label(&self, record: &Record, field: &str) -> &str {
        record
            .reference(field)
            .and_then(|id| self.labels.get(&id))
            .map_or("–", String::as_str)
    }

    /// Sessions that are up, and those that should be.
    pub fn up(&self) -> (usize, usize) {
        let wanted = self
            .sessions
            .iter()
            .filter(|session| session.session.text("wanted") == "up");
        let (mut up, mut all) = (0, 0);
        for session in wanted {
            if session.session.text("type") != "route-server" {
                continue;
            }
            all += 1;
            let is_up = session
                .seen
                .as_ref()
                .is_some_and(|seen| seen.seen.state == states::SeenState::Up);
            up += usize::from(is_up);
        }
        (up, all)
    }
}

impl Portal {
    /// The members in `scope`, by AS number.
    ///
    /// # Errors
    /// [`RoomError::Store`], also for a wrong cursor.
    pub async fn networks(
        &self,
        scope: &OrgScope,
        request: &PageRequest,
    ) -> Result<Page<Listed>, RoomError> {
        const LIST: &str = "exchange-networks";
        let after: i64 = request.after(LIST)?.unwrap_or(0);
        let (condition, binds) = scope.sql("org", 3);
        let sql = format!(
            "SELECT asn, name, org, state FROM exchange_member WHERE deleted_at IS NULL AND asn > $1 AND {condition} ORDER BY asn LIMIT $2"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(after)
            .bind(request.fetch());
        for bind in binds {
            query = query.bind(bind);
        }
        let rows = query.fetch_all(self.exchange.db().pool()).await?;
        let mut listed = Vec::with_capacity(rows.len());
        for row in &rows {
            let org: Option<String> = row.try_get("org")?;
            listed.push(Listed {
                asn: u32::try_from(row.try_get::<i64, _>("asn")?).unwrap_or(0),
                name: row.try_get("name")?,
                org: org.and_then(|org| org.parse().ok()),
                state: row.try_get("state")?,
            });
        }
        Ok(request.page(LIST, listed, |listed| i64::from(listed.asn))?)
    }

    /// A member in `scope`; 404 outside of it. With a `reader`, its contacts are opened, and the
    /// audit trail says for whom: before that is kept nothing is opened.
    ///
    /// # Errors
    /// [`RoomError::NotFound`].
    pub async fn network(
        &self,
        scope: &OrgScope,
        asn: u32,
        reader: Option<&By>,
    ) -> Result<Network, RoomError> {
        let room = &self.exchange;
        let (condition, binds) = scope.sql("org", 2);
        let sql = format!(
            "SELECT id FROM exchange_member WHERE deleted_at IS NULL AND asn = $1 AND {condition}"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(i64::from(asn));
        for bind in binds {
            query = query.bind(bind);
        }
        let row = query.fetch_optional(room.db().pool()).await?;
        let row = row.ok_or_else(|| RoomError::not_found("member", format!("AS{asn}")))?;
        let id: Uuid = crate::protect::rows::parse(&row.try_get::<String, _>("id")?)?;
        let member = room.read(Kind::Member, id, false).await?;
        if let Some(reader) = reader {
            let mut entry = AuditEntry::new(
                reader.actor.clone(),
                "exchange.contact.read",
                format!("exchange-member:{id}"),
            )
            .detail(json!({ "asn": asn }));
            entry.org = member.text("org").parse().ok();
            entry.request_id.clone_from(&reader.request);
            room.db().audit_read(entry).await?;
        }
        let of = |kind| {
            let wanted = Wanted {
                personal: reader.is_some(),
                ..Wanted::by("member", id)
            };
            async move { room.all_of(kind, &wanted).await }
        };
        let routers = of(Kind::Router).await?;
        let ports = of(Kind::Port).await?;
        let lags = of(Kind::Lag).await?;
        let contacts = of(Kind::Contact).await?;
        let mut labels = BTreeMap::new();
        let mut lans = BTreeMap::new();
        for kind in [Kind::Site, Kind::Switch, Kind::Lan] {
            for record in room.all_of(kind, &Wanted::default()).await? {
                labels.insert(record.id, record.label.clone());
                if kind == Kind::Lan {
                    lans.insert(record.id, record);
                }
            }
        }
        for record in ports.iter().chain(&lags) {
            labels.insert(record.id, record.label.clone());
        }
        let sessions = self.seen_sessions(&member, &routers).await?;
        Ok(Network {
            member,
            routers,
            ports,
            lags,
            sessions,
            contacts,
            labels,
            lans,
        })
    }

    async fn seen_sessions(
        &self,
        member: &Record,
        routers: &[Record],
    ) -> Result<Vec<SessionSeen>, RoomError> {
        let room = &self.exchange;
        let servers = room.all_of(Kind::RouteServer, &Wanted::default()).await?;
        let sites: BTreeMap<Uuid, String> = room
            .all_of(Kind::Site, &Wanted::default())
            .await?
            .into_iter()
            .map(|site| (site.id, site.label))
            .collect();
        let server_asn = self
            .policy_of_servers()
            .await?
            .map_or(0, |policy| policy.asn);
        let seen = states::everywhere(room.db()).await?;
        let mut all = Vec::new();
        for router in routers {
            let mut sessions = room
                .all_of(Kind::Session, &Wanted::by("router", router.id))
                .await?;
            sessions.extend(
                room.all_of(Kind::Session, &Wanted::by("peer", router.id))
                    .await?,
            );
            for session in sessions {
                let field = match session.text("family") {
                    "ipv6" => "v6",
                    _ => "v4",
                };
                let own: Option<IpAddr> = router.text(field).parse().ok();
                let (far, address, asn, state) = match session.reference("route_server") {
                    Some(id) => {
                        let server = servers.iter().find(|server| server.id == id);
                        let site = server
                            .and_then(|server| server.reference("site"))
                            .and_then(|site| sites.get(&site));
                        let state = match (site, own) {
                            (Some(site), Some(own)) => seen.get(&(site.clone(), own)).cloned(),
                            _ => None,
                        };
                        (
                            server.map_or_else(String::new, |server| server.label.clone()),
                            server.and_then(|server| server.text(field).parse().ok()),
                            server_asn,
                            state,
                        )
                    }
                    None => {
                        let other = match session.reference("router") == Some(router.id) {
                            true => session.reference("peer"),
                            false => session.reference("router"),
                        };
                        match other {
                            Some(other) => {
                                let other = room.read(Kind::Router, other, false).await?;
                                let asn = match other.reference("member") {
                                    Some(id) if id != member.id => room
                                        .read(Kind::Member, id, false)
                                        .await?
                                        .number("asn")
                                        .unwrap_or(0),
                                    _ => 0,
                                };
                                (
                                    other.label.clone(),
                                    other.text(field).parse().ok(),
                                    u32::try_from(asn).unwrap_or(0),
                                    None,
                                )
                            }
                            None => (String::new(), None, 0, None),
                        }
                    }
                };
                all.push(SessionSeen {
                    session,
                    router: router.text("name").to_owned(),
                    far,
                    address,
                    asn,
                    seen: state,
                });
            }
        }
        Ok(all)
    }

    /// The exchange's name and policy; none before it is described.
    ///
    /// # Errors
    /// [`RoomError::Data`] for a policy that cannot be read.
    pub async fn policy_of_servers(&self) -> Result<Option<Policy>, RoomError> {
        let profile = self
            .exchange
            .all_of(Kind::Profile, &Wanted::default())
            .await?;
        match profile.first() {
            None => Ok(None),
            Some(profile) => crate::protect::rows::read(profile.text("policy")).map(Some),
        }
    }

    /// What a member configures on each of its routers; secrets only with `secrets`.
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn plans(
        &self,
        network: &Network,
        secrets: bool,
    ) -> Result<Vec<RouterPlan>, RoomError> {
        let room = &self.exchange;
        let profile = room.all_of(Kind::Profile, &Wanted::default()).await?;
        let exchange = profile
            .first()
            .map_or_else(String::new, |profile| profile.text("short_name").to_owned());
        let mut connection = room.connection().await?;
        let mut plans = Vec::new();
        for router in &network.routers {
            let lan = router
                .reference("lan")
                .and_then(|lan| network.lans.get(&lan));
            let mut addresses = Vec::new();
            for field in ["v4", "v6"] {
                let prefix = lan.and_then(|lan| lan.text(field).parse::<Prefix>().ok());
                if let (Ok(address), Some(prefix)) = (router.text(field).parse(), prefix) {
                    addresses.push((address, prefix.length()));
                }
            }
            let ports: Vec<&Record> = network
                .ports
                .iter()
                .filter(|port| {
                    let in_group = router.reference("lag").is_some()
                        && port.reference("lag") == router.reference("lag");
                    in_group || router.reference("port") == Some(port.id)
                })
                .collect();
            let inherited = match router.values.get("password").is_some_and(|p| !p.is_null()) {
                true => (Kind::Router, router.id),
                false => (Kind::Member, network.member.id),
            };
            let mut sessions = Vec::new();
            for session in network
                .sessions
                .iter()
                .filter(|session| session.router == router.text("name"))
            {
                let Some(address) = session.address else {
                    continue;
                };
                let is_server = session.session.text("type") == "route-server";
                let own = session
                    .session
                    .values
                    .get("password")
                    .is_some_and(|p| !p.is_null());
                let holder = match (own, is_server) {
                    (true, _) => Some((Kind::Session, session.session.id)),
                    (false, true) => Some(inherited),
                    (false, false) => None,
                };
                let password = match holder {
                    Some((kind, id)) => room
                        .secret(&mut connection, kind, id, "password")
                        .await?
                        .map(|secret| {
                            if secrets {
                                secret
                            } else {
                                "********".to_owned()
                            }
                        }),
                    None => None,
                };
                sessions.push(Peering {
                    asn: session.asn,
                    address,
                    name: session.far.clone(),
                    is_server,
                    role: session.session.text("role") != "none",
                    bfd: session.session.values.get("bfd") == Some(&serde_json::Value::Bool(true)),
                    password,
                });
            }
            plans.push(RouterPlan {
                asn: network.asn(),
                name: router.text("name").to_owned(),
                site: network.label(router, "site").to_owned(),
                exchange: exchange.clone(),
                links: ports.len().max(1),
                speed_mbps: ports
                    .first()
                    .and_then(|port| port.number("speed_mbps"))
                    .unwrap_or(10_000),
                mtu: lan.and_then(|lan| lan.number("mtu")).unwrap_or(1_500),
                addresses,
                sessions,
                flowspec: network.member.values.get("flowspec")
                    == Some(&serde_json::Value::Bool(true)),
            });
        }
        Ok(plans)
    }
}
