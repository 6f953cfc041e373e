//! From the model to the members' document, from which route servers are configured.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use serde_json::Value;
use store::Tx;

use super::keep::Wanted;
use super::things::{
    Id, Lan, Maintenance, Member, Profile, RouteServer, Router, Session, Site, Stored, Thing,
};
use super::{Exchange, RoomError};
use crate::document::{
    self, BilateralSession, Document, EngineKind, MaxPrefix, Policy, PreferredSite, Secret,
    SessionTerms,
};

/// A document and what stands in its way.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The document.
    pub document: Document,
    /// Rules of the document that it breaks: its key, and the rule. Empty: it can be
    /// rendered and applied.
    pub problems: Vec<(String, String)>,
    /// When rules of protection end that end by themselves, by their ids.
    pub ends: BTreeMap<String, Timestamp>,
}

/// Everything that the document is made of.
struct Model {
    profile: Stored<Profile>,
    sites: BTreeMap<Id<Site>, Stored<Site>>,
    lans: BTreeMap<Id<Lan>, Stored<Lan>>,
    servers: Vec<Stored<RouteServer>>,
    members: Vec<Stored<Member>>,
    routers: BTreeMap<Id<Router>, Stored<Router>>,
    sessions: Vec<Stored<Session>>,
    windows: Vec<Stored<Maintenance>>,
}

/// The secrets of members, routers and sessions, in the clear.
#[derive(Default)]
struct Secrets(BTreeMap<uuid::Uuid, Secret>);

impl Exchange {
    /// The document as the model says at `now`: maintenance windows that drain a site
    /// are in force between their times.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] before the exchange has a profile; [`RoomError::Vault`]
    /// when a secret cannot be opened.
    pub async fn compile(&self, now: Timestamp) -> Result<Compiled, RoomError> {
        // The writers' turn: nobody changes anything while it is read.
        let mut tx = self.begin().await?;
        let compiled = self.compile_in(&mut tx, now).await;
        tx.rollback().await?;
        compiled
    }

    /// As [`Self::compile`], with what the transaction has changed so far.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub async fn compile_in(&self, tx: &mut Tx, now: Timestamp) -> Result<Compiled, RoomError> {
        let model = self.model(tx).await?;
        let mut secrets = Secrets::default();
        self.secrets(tx, &model.members, |m| m.password.is_some(), &mut secrets)
            .await?;
        let routers: Vec<Stored<Router>> = model.routers.values().cloned().collect();
        self.secrets(tx, &routers, |r| r.password.is_some(), &mut secrets)
            .await?;
        self.secrets(tx, &model.sessions, |s| s.password.is_some(), &mut secrets)
            .await?;
        let mut document = model.document(&secrets, now)?;
        let ends = crate::protect::engine::fill(&mut *tx, &mut document, now).await?;
        let problems = runtime::config::check(&document)
            .into_iter()
            .map(|finding| (finding.key.to_string(), finding.message))
            .collect();
        Ok(Compiled {
            document,
            problems,
            ends,
        })
    }

    async fn model(&self, tx: &mut Tx) -> Result<Model, RoomError> {
        let all = Wanted::default();
        let profile = self
            .all_in::<Profile>(tx, &all)
            .await?
            .pop()
            .ok_or_else(|| RoomError::not_found("profile", "exchange"))?;
        let mut servers: Vec<Stored<RouteServer>> =
            self.all_in(tx, &Wanted::by("state", "active")).await?;
        let mut members: Vec<Stored<Member>> = self.all_in(tx, &all).await?;
        // In the order in which they were made: a new one changes nothing before it.
        servers.sort_by_key(|server| server.id);
        members.retain(|member| matches!(member.value.state.as_str(), "active" | "suspended"));
        members.sort_by_key(|member| member.id);
        Ok(Model {
            profile,
            servers,
            members,
            sites: by_id(self.all_in(tx, &all).await?),
            lans: by_id(self.all_in(tx, &all).await?),
            routers: by_id(self.all_in(tx, &all).await?),
            sessions: self.all_in(tx, &all).await?,
            windows: self.all_in(tx, &Wanted::by("state", "confirmed")).await?,
        })
    }

    async fn secrets<T: Thing>(
        &self,
        tx: &mut Tx,
        things: &[Stored<T>],
        has: impl Fn(&T) -> bool,
        secrets: &mut Secrets,
    ) -> Result<(), RoomError> {
        for thing in things.iter().filter(|thing| has(&thing.value)) {
            if let Some(text) = self.secret(tx, T::KIND, thing.id.0, "password").await? {
                let secret = serde_json::from_value(Value::String(text))
                    .map_err(|_| RoomError::Data("a secret cannot be read".into()))?;
                secrets.0.insert(thing.id.0, secret);
            }
        }
        Ok(())
    }
}

fn by_id<T>(all: Vec<Stored<T>>) -> BTreeMap<Id<T>, Stored<T>> {
    all.into_iter().map(|thing| (thing.id, thing)).collect()
}

impl Secrets {
    fn of<T>(&self, id: Id<T>) -> Option<Secret> {
        self.0.get(&id.0).cloned()
    }
}

impl Model {
    fn document(&self, secrets: &Secrets, now: Timestamp) -> Result<Document, RoomError> {
        let policy: Policy = serde_json::from_str(&self.profile.value.policy)
            .map_err(|e| RoomError::Data(format!("the policy cannot be read: {e}")))?;
        let members: Vec<document::Member> = self
            .members
            .iter()
            .map(|member| self.member(member, secrets))
            .collect();
        let preferred_sites = self.preferred(&members);
        Ok(Document {
            version: 1,
            name: self.profile.value.name.clone(),
            policy,
            sites: self
                .servers
                .iter()
                .map(|server| self.site(server, now))
                .collect::<Result<_, _>>()?,
            members,
            protection: Vec::new(),
            preferred_sites,
        })
    }

    /// The manual switches that can be carried out. A member that has lost its last session at the
    /// site that it prefers has no other way to prefer: its switch rests until the session is back,
    /// and keeps nobody's document from being published.
    fn preferred(&self, members: &[document::Member]) -> Vec<PreferredSite> {
        let mut all = Vec::new();
        for member in &self.members {
            let Some(site) = member.value.preferred_site else {
                continue;
            };
            let (asn, site) = (member.value.asn, self.site_name(site));
            let known = members.iter().find(|known| known.asn == asn);
            if known.is_some_and(|known| known.routers.iter().any(|one| one.site == site)) {
                all.push(PreferredSite { asn, site });
            }
        }
        all
    }

    fn site(
        &self,
        server: &Stored<RouteServer>,
        now: Timestamp,
    ) -> Result<document::Site, RoomError> {
        let value = &server.value;
        let lan = self
            .lans
            .get(&value.lan)
            .ok_or_else(|| RoomError::not_found("lan", value.lan))?;
        let drained = self.windows.iter().any(|window| {
            let window = &window.value;
            window.drain
                && window.site == Some(value.site)
                && window.starts_at <= now
                && now < window.ends_at
        });
        Ok(document::Site {
            name: self.site_name(value.site),
            router_id: value.router_id,
            lan_v4: lan.value.v4,
            lan_v6: lan.value.v6,
            address_v4: value.v4,
            address_v6: value.v6,
            blackhole_v4: value.blackhole_v4,
            blackhole_v6: value.blackhole_v6,
            draining: value.draining || drained,
            engine: (value.engine == "openbgpd").then_some(EngineKind::Openbgpd),
        })
    }

    fn site_name(&self, site: Id<Site>) -> String {
        self.sites
            .get(&site)
            .map(|site| site.value.name.clone())
            .unwrap_or_default()
    }

    fn member(&self, member: &Stored<Member>, secrets: &Secrets) -> document::Member {
        let value = &member.value;
        let mut routers = Vec::new();
        for router in self.routers.values() {
            if router.value.member != member.id {
                continue;
            }
            for server in &self.servers {
                routers.extend(self.router(member, router, server, secrets));
            }
        }
        let sources = value.irr_sources.as_deref().unwrap_or_default();
        document::Member {
            asn: value.asn,
            name: value.name.clone(),
            as_set: value.as_set.clone(),
            as_set_v6: value.as_set_v6.clone(),
            irr_sources: sources.split_whitespace().map(str::to_owned).collect(),
            max_prefix: MaxPrefix {
                v4: value.max_prefix_v4,
                v6: value.max_prefix_v6,
            },
            password: secrets.of(member.id),
            bfd: value.bfd,
            require_role: value.require_role,
            flowspec: value.flowspec,
            intelligence: false,
            routers,
            bilateral: self.bilateral(member.id),
        }
    }

    /// A member's router as the client of a route server; none without a session.
    fn router(
        &self,
        member: &Stored<Member>,
        router: &Stored<Router>,
        server: &Stored<RouteServer>,
        secrets: &Secrets,
    ) -> Option<document::Router> {
        let of = |family: &str| {
            self.sessions.iter().find(|session| {
                session.value.router == router.id
                    && session.value.route_server == Some(server.id)
                    && session.value.family == family
            })
        };
        let (v4, v6) = (of("ipv4"), of("ipv6"));
        if v4.is_none() && v6.is_none() {
            return None;
        }
        let terms = |session: Option<&Stored<Session>>| {
            let session = session?;
            let terms = SessionTerms {
                disabled: session.value.wanted == "down",
                // What its daemon cannot do is not asked of it.
                no_bfd: !session.value.bfd || server.value.engine == "openbgpd",
                no_role: session.value.role == "none",
                max_prefix: session.value.max_prefix,
                password: secrets.of(session.id),
            };
            (terms != SessionTerms::default()).then_some(terms)
        };
        Some(document::Router {
            name: router.value.name.clone(),
            site: self.site_name(server.value.site),
            v4: v4.and(router.value.v4),
            v6: v6.and(router.value.v6),
            password: secrets.of(router.id),
            disabled: router.value.disabled || member.value.state == "suspended",
            session_v4: terms(v4),
            session_v6: terms(v6),
        })
    }

    fn bilateral(&self, member: Id<Member>) -> Vec<BilateralSession> {
        let owner = |router: Id<Router>| self.routers.get(&router).map(|r| r.value.member);
        let mut all = BTreeSet::new();
        for session in &self.sessions {
            let Some(peer) = session.value.peer else {
                continue;
            };
            let (near, far) = (owner(session.value.router), owner(peer));
            let other = match (near, far) {
                (Some(near), Some(far)) if near == member => far,
                (Some(near), Some(far)) if far == member => near,
                _ => continue,
            };
            let asn = self.members.iter().find(|m| m.id == other);
            let site = self.routers.get(&session.value.router);
            if let (Some(other), Some(router)) = (asn, site) {
                all.insert((other.value.asn, self.site_name(router.value.site)));
            }
        }
        all.into_iter()
            .map(|(asn, site)| BilateralSession { asn, site })
            .collect()
    }
}
