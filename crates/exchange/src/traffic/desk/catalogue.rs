//! Ports, groups, members and sites by name, as far as somebody may see them; and
//! which ports each of them stands for.

use std::collections::HashMap;

use base::{MemberId, OrgId, PortId};
use uuid::Uuid;
use web::OrgScope;

use crate::room::{Exchange, Lag, Member, Port, RoomError, Site, Switch, Wanted};

/// What a graph is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All members' ports.
    Total,
    /// Those at a site.
    Site(Uuid),
    /// Those of a switch.
    Switch(Uuid),
    /// Those of a member.
    Member(Uuid),
    /// Those of a group.
    Lag(Uuid),
    /// One.
    Port(Uuid),
}

impl Subject {
    /// The subject of a kind and identifier in an address.
    pub fn parse(kind: &str, id: &str) -> Option<Self> {
        let id = Uuid::try_parse(id).ok()?;
        Some(match kind {
            "sites" => Self::Site(id),
            "switches" => Self::Switch(id),
            "members" => Self::Member(id),
            "lags" => Self::Lag(id),
            "ports" => Self::Port(id),
            _ => return None,
        })
    }

    /// The kind in addresses and in keys of texts.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Site(_) => "sites",
            Self::Switch(_) => "switches",
            Self::Member(_) => "members",
            Self::Lag(_) => "lags",
            Self::Port(_) => "ports",
        }
    }

    /// Its page.
    pub fn path(self) -> String {
        match self {
            Self::Total => "/exchange/traffic".to_owned(),
            Self::Site(id)
            | Self::Switch(id)
            | Self::Member(id)
            | Self::Lag(id)
            | Self::Port(id) => format!("/exchange/traffic/{}/{id}", self.kind()),
        }
    }
}

/// A port with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PortEntry {
    /// Which.
    pub id: PortId,
    /// Its name on the switch.
    pub name: String,
    /// Switch.
    pub switch: Uuid,
    /// The switch's name.
    pub switch_name: String,
    /// Site.
    pub site: Uuid,
    /// The site's name.
    pub site_name: String,
    /// Group.
    pub lag: Option<Uuid>,
    /// Member.
    pub member: Option<MemberId>,
    /// The member's organisation.
    pub org: Option<OrgId>,
    /// `member`, `core`, `service`.
    pub role: String,
    /// Whether it is in service.
    pub active: bool,
    /// Bits per second.
    pub speed_bps: f64,
}

/// A member as graphs name it.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberEntry {
    /// Which.
    pub id: MemberId,
    /// Short name.
    pub name: String,
    /// AS number.
    pub asn: u32,
    /// Its organisation.
    pub org: Option<OrgId>,
}

/// What somebody may see.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Ports, by switch and name.
    pub ports: Vec<PortEntry>,
    /// Members whose traffic may be seen, by name.
    pub members: Vec<MemberEntry>,
    /// Names of all members: whom one speaks to is no secret at an exchange.
    pub names: HashMap<MemberId, String>,
    /// Names of sites, switches and groups.
    titles: HashMap<Uuid, String>,
    /// Rows of these organisations; none: all.
    pub orgs: Option<Vec<OrgId>>,
}

impl Catalogue {
    /// What is in `scope`.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn of(exchange: &Exchange, scope: &OrgScope, zh: bool) -> Result<Self, RoomError> {
        let all = Wanted::default();
        let orgs = match scope {
            OrgScope::All => None,
            OrgScope::Only(orgs) => Some(orgs.clone()),
        };
        let mut catalogue = Self {
            orgs,
            ..Self::default()
        };
        let visible = |org: Option<OrgId>| match scope {
            OrgScope::All => true,
            OrgScope::Only(orgs) => org.is_some_and(|org| orgs.contains(&org)),
        };
        let mut owners = HashMap::new();
        for member in exchange.all::<Member>(&all).await? {
            let id = MemberId(member.id.0);
            let value = member.value;
            catalogue.names.insert(id, value.short_name.clone());
            owners.insert(id, value.org);
            if visible(value.org) {
                catalogue.members.push(MemberEntry {
                    id,
                    name: value.short_name,
                    asn: value.asn,
                    org: value.org,
                });
            }
        }
        catalogue.members.sort_by(|a, b| a.name.cmp(&b.name));
        let mut sites = HashMap::new();
        for site in exchange.all::<Site>(&all).await? {
            let title = if zh {
                site.value.title_zh
            } else {
                site.value.title_en
            };
            sites.insert(site.id.0, title);
        }
        let mut switches = HashMap::new();
        for switch in exchange.all::<Switch>(&all).await? {
            switches.insert(switch.id.0, (switch.value.name, switch.value.site.0));
        }
        let mut lags = HashMap::new();
        for lag in exchange.all::<Lag>(&all).await? {
            lags.insert(lag.id.0, lag.label);
        }
        for port in exchange.all::<Port>(&all).await? {
            let value = port.value;
            let member = value.member.map(|id| MemberId(id.0));
            let org = member.and_then(|id| owners.get(&id).copied().flatten());
            if !visible(org) {
                continue;
            }
            let Some((switch_name, site)) = switches.get(&value.switch.0) else {
                continue;
            };
            let site_name = sites.get(site).cloned().unwrap_or_default();
            let lag = value.lag.map(|id| id.0);
            catalogue.titles.insert(value.switch.0, switch_name.clone());
            catalogue.titles.insert(*site, site_name.clone());
            if let Some(lag) = lag {
                let title = lags.get(&lag).cloned().unwrap_or_default();
                catalogue.titles.insert(lag, title);
            }
            catalogue.ports.push(PortEntry {
                id: PortId(port.id.0),
                name: value.name,
                switch: value.switch.0,
                switch_name: switch_name.clone(),
                site: *site,
                site_name,
                lag,
                member,
                org,
                role: value.role,
                active: value.state == "active",
                speed_bps: value.speed_mbps.max(0) as f64 * 1e6,
            });
        }
        catalogue
            .ports
            .sort_by(|a, b| (&a.switch_name, &a.name).cmp(&(&b.switch_name, &b.name)));
        Ok(catalogue)
    }

    /// The ports that a subject stands for; none when it cannot be seen. A total
    /// counts members' ports: what goes between switches would count twice.
    pub fn ports_of(&self, subject: Subject) -> Option<Vec<&PortEntry>> {
        let of = |wanted: &dyn Fn(&PortEntry) -> bool| {
            self.ports
                .iter()
                .filter(|port| wanted(port))
                .collect::<Vec<_>>()
        };
        let ports = match subject {
            Subject::Total => return Some(of(&|port| port.member.is_some())),
            Subject::Member(id) => {
                self.members.iter().find(|member| member.id.0 == id)?;
                return Some(of(&|port| port.member.map(|m| m.0) == Some(id)));
            }
            Subject::Site(id) => of(&|port| port.site == id && port.member.is_some()),
            Subject::Switch(id) => of(&|port| port.switch == id && port.member.is_some()),
            Subject::Lag(id) => of(&|port| port.lag == Some(id)),
            Subject::Port(id) => of(&|port| port.id.0 == id),
        };
        let known = !ports.is_empty() || self.titles.contains_key(&self.uuid_of(subject)?);
        known.then_some(ports)
    }

    const fn uuid_of(&self, subject: Subject) -> Option<Uuid> {
        match subject {
            Subject::Total => None,
            Subject::Site(id)
            | Subject::Switch(id)
            | Subject::Member(id)
            | Subject::Lag(id)
            | Subject::Port(id) => Some(id),
        }
    }

    /// What people call a subject; empty for the total.
    pub fn title(&self, subject: Subject) -> String {
        match subject {
            Subject::Total => String::new(),
            Subject::Member(id) => self.names.get(&MemberId(id)).cloned().unwrap_or_default(),
            Subject::Port(id) => self
                .ports
                .iter()
                .find(|port| port.id.0 == id)
                .map(|port| format!("{} {}", port.switch_name, port.name))
                .unwrap_or_default(),
            Subject::Site(id) | Subject::Switch(id) | Subject::Lag(id) => {
                self.titles.get(&id).cloned().unwrap_or_default()
            }
        }
    }

    /// Sites and groups that can be seen, with their titles.
    pub fn listed(&self, of: impl Fn(&PortEntry) -> Option<Uuid>) -> Vec<(Uuid, String)> {
        let mut found: Vec<(Uuid, String)> = Vec::new();
        for port in &self.ports {
            let Some(id) = of(port) else { continue };
            if !found.iter().any(|(known, _)| *known == id) {
                found.push((id, self.titles.get(&id).cloned().unwrap_or_default()));
            }
        }
        found.sort_by(|a, b| a.1.cmp(&b.1));
        found
    }
}
