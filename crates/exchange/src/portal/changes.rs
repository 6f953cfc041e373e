//! Changes that a member asks for: ports, sessions, contacts, leaving.

use std::collections::BTreeSet;

use base::{OrgId, UserId};
use casework::form::Values;
use serde_json::{Value, json};
use store::Tx;
use uuid::Uuid;

use super::Portal;
use super::grant::{number_of, on, text_of};
use super::join::{connection, secret};
use super::provision::{Connection, Families, Place, summary};
use crate::protect::State;
use crate::room::value::day;
use crate::room::{By, Kind, Record, RoomError, Wanted};

/// Why leaving lifts rules.
const LEFT: &str = "the member left";

/// What a change of ports comes to.
enum Ports {
    New(Connection, Place),
    Change(Record, Connection, Place),
    End(Record),
}

/// What a change of sessions comes to.
enum Sessions {
    /// With the route servers of the router's LAN.
    Servers(Record),
    /// With the other member's router.
    Peer(Record, Record),
    /// These.
    Those(Vec<Record>),
}

fn plain(name: &str) -> String {
    name.to_owned()
}

impl Portal {
    /// A member of `org`, by the form's AS number.
    async fn own_member(
        &self,
        tx: &mut Tx,
        org: OrgId,
        values: &Values,
    ) -> Result<Record, RoomError> {
        let asn = number_of(values, "asn").unwrap_or(0);
        let wanted = Wanted {
            fields: vec![("asn", asn.to_string()), ("org", org.to_string())],
            ..Wanted::default()
        };
        let found = self.exchange.select_in(tx, Kind::Member, &wanted).await?;
        found
            .into_iter()
            .find(|member| member.text("state") != "left")
            .ok_or_else(|| {
                RoomError::invalid(
                    "asn",
                    &asn.to_string(),
                    "own",
                    format!("AS{asn} 不是您機關的成員"),
                    format!("AS{asn} is no member of your organisation"),
                )
            })
    }

    async fn router_of(
        &self,
        tx: &mut Tx,
        member: &Record,
        name: &str,
    ) -> Result<Option<Record>, RoomError> {
        let routers = self
            .exchange
            .select_in(tx, Kind::Router, &Wanted::by("member", member.id))
            .await?;
        Ok(routers
            .into_iter()
            .find(|router| router.text("name") == name))
    }

    async fn own_router(
        &self,
        tx: &mut Tx,
        member: &Record,
        name: &str,
    ) -> Result<Record, RoomError> {
        self.router_of(tx, member, name).await?.ok_or_else(|| {
            RoomError::invalid(
                "router",
                name,
                "own",
                format!("{} 沒有這台路由器", member.label),
                format!("{} has no such router", member.label),
            )
        })
    }

    /// Says whether what is asked can be done as things stand.
    pub(super) async fn plan_change(
        &self,
        tx: &mut Tx,
        org: OrgId,
        form: &str,
        values: &Values,
    ) -> Result<(), RoomError> {
        let member = self.own_member(tx, org, values).await?;
        match form {
            "ix-port" => self.plan_ports(tx, &member, values).await.map(drop),
            "ix-session" => self.plan_sessions(tx, &member, values).await.map(drop),
            "ix-contact" => self.plan_contact(tx, &member, values).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Does what was asked; returns the member's AS number and what was done.
    pub(super) async fn change(
        &self,
        tx: &mut Tx,
        org: OrgId,
        form: &str,
        values: &Values,
        user: UserId,
    ) -> Result<(i64, Value), RoomError> {
        let by = By::user(user);
        let member = self.own_member(tx, org, values).await?;
        let asn = member.number("asn").unwrap_or(0);
        let done = match form {
            "ix-port" => self.change_ports(tx, &by, &member, values).await?,
            "ix-session" => self.change_sessions(tx, &by, &member, values).await?,
            "ix-contact" => self.change_contact(tx, &by, &member, values).await?,
            _ => self.leave(tx, &by, &member).await?,
        };
        Ok((asn, done))
    }

    // -------------------------------------------------------------------- ports

    async fn plan_ports(
        &self,
        tx: &mut Tx,
        member: &Record,
        values: &Values,
    ) -> Result<Ports, RoomError> {
        let name = text_of(values, "router");
        if text_of(values, "change") == "new" {
            if self.router_of(tx, member, &name).await?.is_some() {
                return Err(RoomError::invalid(
                    "router",
                    &name,
                    "conflict",
                    "這個路由器名稱已使用:新增請用新名稱",
                    "is there already: a new connection needs a new name",
                ));
            }
            let wanted = connection(values, &name, &plain)?;
            let place = self.place(tx, &wanted, &mut BTreeSet::new()).await?;
            return Ok(Ports::New(wanted, place));
        }
        let router = self.own_router(tx, member, &name).await?;
        if text_of(values, "change") == "end" {
            return Ok(Ports::End(router));
        }
        let wanted = connection(values, &name, &plain)?;
        let place = self.place(tx, &wanted, &mut BTreeSet::new()).await?;
        if router.reference("site") != Some(place.site) {
            return Err(RoomError::invalid(
                "site",
                &wanted.site,
                "site",
                "變更時不可換站點:請在新站點新增,再終止舊的",
                "a change stays at its site: connect a new router there, then end this one",
            ));
        }
        Ok(Ports::Change(router, wanted, place))
    }

    async fn change_ports(
        &self,
        tx: &mut Tx,
        by: &By,
        member: &Record,
        values: &Values,
    ) -> Result<Value, RoomError> {
        match self.plan_ports(tx, member, values).await? {
            Ports::New(wanted, place) => {
                let families = Families { v4: true, v6: true };
                let bfd = member.values.get("bfd") == Some(&Value::Bool(true));
                let router = self
                    .connect(tx, by, member.id, &wanted, &place, families, bfd)
                    .await?;
                Ok(json!({ "made": summary(&router) }))
            }
            Ports::Change(router, wanted, place) => {
                let router = self
                    .reconnect(tx, by, &router, &place, wanted.mac.as_deref())
                    .await?;
                Ok(json!({ "changed": summary(&router) }))
            }
            Ports::End(router) => {
                self.disconnect(tx, by, &router).await?;
                Ok(json!({ "ended": summary(&router) }))
            }
        }
    }

    // ----------------------------------------------------------------- sessions

    async fn plan_sessions(
        &self,
        tx: &mut Tx,
        member: &Record,
        values: &Values,
    ) -> Result<Sessions, RoomError> {
        let router = self
            .own_router(tx, member, &text_of(values, "router"))
            .await?;
        let with_servers = text_of(values, "with") == "route-server";
        let peer = if with_servers {
            None
        } else {
            Some(self.peer_router(tx, member, &router, values).await?)
        };
        if text_of(values, "change") == "new" {
            return Ok(match peer {
                None => Sessions::Servers(router),
                Some(peer) => Sessions::Peer(router, peer),
            });
        }
        let families = Families::from_choice(&text_of(values, "families"));
        let there: Vec<Record> = self
            .sessions_of(tx, router.id)
            .await?
            .into_iter()
            .filter(|session| {
                families
                    .each()
                    .any(|(name, _)| name == session.text("family"))
            })
            .filter(|session| match &peer {
                None => session.reference("route_server").is_some(),
                Some(peer) => {
                    session.reference("peer") == Some(peer.id)
                        || session.reference("router") == Some(peer.id)
                }
            })
            .collect();
        if there.is_empty() {
            return Err(RoomError::invalid(
                "router",
                router.text("name"),
                "session",
                "沒有這樣的連線",
                "has no such session",
            ));
        }
        Ok(Sessions::Those(there))
    }

    async fn peer_router(
        &self,
        tx: &mut Tx,
        member: &Record,
        router: &Record,
        values: &Values,
    ) -> Result<Record, RoomError> {
        let asn = number_of(values, "peer_asn").unwrap_or(0);
        let none =
            |zh: &str, en: &str| RoomError::invalid("peer_asn", &asn.to_string(), "member", zh, en);
        let peers = self
            .exchange
            .select_in(tx, Kind::Member, &Wanted::by("asn", asn))
            .await?;
        let peer = peers
            .first()
            .filter(|peer| peer.id != member.id && peer.text("state") == "active")
            .ok_or_else(|| none("不是其他成員的 AS 號碼", "is not another member"))?;
        let routers = self
            .exchange
            .select_in(tx, Kind::Router, &Wanted::by("member", peer.id))
            .await?;
        routers
            .into_iter()
            .find(|other| other.text("lan") == router.text("lan"))
            .ok_or_else(|| {
                none(
                    "對方在這台路由器的網段上沒有路由器",
                    "has no router on the LAN of this one",
                )
            })
    }

    async fn change_sessions(
        &self,
        tx: &mut Tx,
        by: &By,
        member: &Record,
        values: &Values,
    ) -> Result<Value, RoomError> {
        let families = Families::from_choice(&text_of(values, "families"));
        let max_prefix = number_of(values, "max_prefix");
        let bfd = on(values, "bfd");
        let password = match text_of(values, "md5").as_str() {
            "new" => Some(Value::from(secret()?)),
            "none" => Some(Value::Null),
            _ => None,
        };
        let set = |values: &mut Vec<(&'static str, Value)>| {
            if let Some(password) = &password {
                values.push(("password", password.clone()));
            }
        };
        match self.plan_sessions(tx, member, values).await? {
            Sessions::Servers(router) => {
                let made = self
                    .server_sessions(tx, by, &router, families, bfd, max_prefix)
                    .await?;
                // One secret for all sessions of a router: the route server's configuration has no other.
                let mut fields = Vec::new();
                set(&mut fields);
                if !fields.is_empty() {
                    self.exchange
                        .change(tx, by, Kind::Router, router.id, &fields)
                        .await?;
                }
                if made == 0 {
                    return Err(RoomError::refused(
                        "這些連線都已存在",
                        "these sessions are there already",
                    ));
                }
                Ok(json!({ "router": router.label, "sessions": made }))
            }
            Sessions::Peer(router, peer) => {
                let mut made = 0;
                for (family, field) in families.each() {
                    if router.text(field).is_empty() || peer.text(field).is_empty() {
                        continue;
                    }
                    let mut session = json!({
                        "router": router.id.to_string(),
                        "type": "bilateral",
                        "family": family,
                        "peer": peer.id.to_string(),
                        "wanted": "up",
                        "bfd": bfd,
                        "max_prefix": max_prefix,
                        "role": "peer",
                    });
                    if let Some(password) = &password {
                        session["password"] = password.clone();
                    }
                    if let Value::Object(session) = session {
                        self.exchange
                            .create(tx, by, Kind::Session, &session)
                            .await?;
                        made += 1;
                    }
                }
                Ok(json!({ "router": router.label, "peer": peer.label, "sessions": made }))
            }
            Sessions::Those(sessions) if text_of(values, "change") == "end" => {
                for session in &sessions {
                    self.exchange
                        .delete(tx, by, Kind::Session, session.id, None)
                        .await?;
                }
                Ok(json!({ "ended": sessions.len() }))
            }
            Sessions::Those(sessions) => {
                for session in &sessions {
                    let mut fields = vec![("bfd", Value::from(bfd))];
                    if let Some(max_prefix) = max_prefix {
                        fields.push(("max_prefix", max_prefix.into()));
                    }
                    set(&mut fields);
                    self.exchange
                        .change(tx, by, Kind::Session, session.id, &fields)
                        .await?;
                }
                Ok(json!({ "changed": sessions.len() }))
            }
        }
    }

    // ----------------------------------------------------------------- contacts

    async fn plan_contact(
        &self,
        tx: &mut Tx,
        member: &Record,
        values: &Values,
    ) -> Result<Vec<Uuid>, RoomError> {
        let role = text_of(values, "role");
        let wanted = Wanted {
            fields: vec![("member", member.id.to_string()), ("role", role.clone())],
            ..Wanted::default()
        };
        let there: Vec<Uuid> = self
            .exchange
            .select_in(tx, Kind::Contact, &wanted)
            .await?
            .iter()
            .map(|contact| contact.id)
            .collect();
        if text_of(values, "change") == "end" {
            if there.is_empty() {
                return Err(RoomError::invalid(
                    "role",
                    &role,
                    "contact",
                    "這個職務沒有聯絡人",
                    "has no contact",
                ));
            }
            if role == "technical" {
                return Err(RoomError::invalid(
                    "role",
                    &role,
                    "required",
                    "技術聯絡人不可移除,請改用設定",
                    "the technical contact cannot be removed: set another one",
                ));
            }
            return Ok(there);
        }
        for field in ["contact_name", "contact_email"] {
            if text_of(values, field).is_empty() {
                return Err(RoomError::invalid(
                    field,
                    "",
                    "required",
                    "必須填寫",
                    "must be filled in",
                ));
            }
        }
        Ok(there)
    }

    async fn change_contact(
        &self,
        tx: &mut Tx,
        by: &By,
        member: &Record,
        values: &Values,
    ) -> Result<Value, RoomError> {
        let role = text_of(values, "role");
        let there = self.plan_contact(tx, member, values).await?;
        for contact in &there {
            self.exchange
                .delete(tx, by, Kind::Contact, *contact, None)
                .await?;
        }
        let is_set = text_of(values, "change") == "set";
        if is_set {
            self.add_contact(tx, by, member.id, &role, |name| {
                text_of(values, &format!("contact_{name}"))
            })
            .await?;
        }
        Ok(json!({ "role": role, "removed": there.len(), "set": is_set }))
    }

    // ------------------------------------------------------------------ leaving

    async fn leave(&self, tx: &mut Tx, by: &By, member: &Record) -> Result<Value, RoomError> {
        let room = &self.exchange;
        let routers = room
            .select_in(tx, Kind::Router, &Wanted::by("member", member.id))
            .await?;
        for router in &routers {
            self.disconnect(tx, by, router).await?;
        }
        // Ports and groups without a router.
        for port in room
            .select_in(tx, Kind::Port, &Wanted::by("member", member.id))
            .await?
        {
            let free = [
                ("lag", Value::Null),
                ("member", Value::Null),
                ("state", "free".into()),
            ];
            room.change(tx, by, Kind::Port, port.id, &free).await?;
        }
        for lag in room
            .select_in(tx, Kind::Lag, &Wanted::by("member", member.id))
            .await?
        {
            room.delete(tx, by, Kind::Lag, lag.id, None).await?;
        }
        for contact in room
            .select_in(tx, Kind::Contact, &Wanted::by("member", member.id))
            .await?
        {
            room.delete(tx, by, Kind::Contact, contact.id, None).await?;
        }
        let asn = member.number("asn").and_then(|asn| u32::try_from(asn).ok());
        let lifted = match asn {
            Some(asn) => {
                self.protect
                    .end_all(tx, by, asn, State::Lifted, LEFT)
                    .await?
            }
            None => 0,
        };
        let mut fields = vec![
            ("state", Value::from("left")),
            ("left_on", day(self.protect.now()).into()),
        ];
        if member.text("joined_on") > day(self.protect.now()).as_str() {
            fields.push(("joined_on", Value::Null));
        }
        room.change(tx, by, Kind::Member, member.id, &fields)
            .await?;
        Ok(json!({ "member": member.label, "routers": routers.len(), "rules": lifted }))
    }
}
