//! What a site's collector is to read: switches with their credentials, and whose
//! each port, Ethernet address and LAN address is.
//!
//! The control plane compiles it from the model; a node keeps it and goes on with the
//! last one. It holds secrets: it is never logged and never shown.

use std::collections::HashMap;
use std::net::IpAddr;

use base::{MemberId, OrgId, PortId};
use serde::{Deserialize, Serialize};

use super::sflow::packet::Mac;
use super::snmp::client::{Credentials, User};
use super::snmp::usm::AuthProtocol;

/// Seconds between two readings that may be asked for.
pub const INTERVAL_S: std::ops::RangeInclusive<u32> = 5..=600;
/// Switches of one plan.
pub const DEVICES_MAX: usize = 1_000;

/// What to read, and whose it is.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Switches.
    pub devices: Vec<Device>,
    /// Members' border routers.
    pub routers: Vec<PlanRouter>,
}

impl Plan {
    /// Whether there is nothing to read and nobody to know.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.routers.is_empty()
    }

    /// What the collector of one site reads: its own switches; members are known everywhere.
    #[must_use]
    pub fn at(&self, site: &str) -> Self {
        let here = self.devices.iter().filter(|device| device.site == site);
        Self {
            devices: here.cloned().collect(),
            routers: self.routers.clone(),
        }
    }

    /// The same without asking any switch: only samples are taken.
    #[must_use]
    pub fn samples_only(mut self) -> Self {
        for device in &mut self.devices {
            device.access = None;
        }
        self
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("devices", &self.devices.len())
            .field("routers", &self.routers.len())
            .finish()
    }
}

/// A switch.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// The site where it stands, by name.
    pub site: String,
    /// Where it answers, and from where its samples come.
    pub address: IpAddr,
    /// The port where it answers: 161.
    pub port: u16,
    /// How to ask; none: only its samples are taken.
    pub access: Option<Access>,
    /// Seconds between two readings.
    pub interval_s: u32,
    /// Further addresses by which it calls itself in samples.
    pub agents: Vec<IpAddr>,
    /// Its ports, and groups of ports that have a name of their own on the switch.
    pub ports: Vec<PlanPort>,
}

/// How a switch lets itself be asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version", rename_all = "kebab-case")]
pub enum Access {
    /// Version 2c.
    V2c {
        /// The community.
        community: String,
    },
    /// Version 3.
    V3 {
        /// The user.
        user: String,
        /// Authentication.
        auth: Option<(AuthProtocol, String)>,
        /// The password of AES-128 privacy; only with authentication.
        privacy: Option<String>,
    },
}

impl Access {
    /// What the client needs; hashes passwords for some milliseconds.
    pub fn credentials(&self) -> Credentials {
        match self {
            Self::V2c { community } => Credentials::Community(community.as_bytes().to_vec()),
            Self::V3 {
                user,
                auth,
                privacy,
            } => Credentials::User(match auth {
                None => User::open(user),
                Some((protocol, password)) => {
                    User::new(user, *protocol, password, privacy.as_deref())
                }
            }),
        }
    }
}

/// A port, or a group of ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPort {
    /// `ifName` on the switch.
    pub name: String,
    /// The port; none for a group, which is counted by its ports.
    pub port: Option<PortId>,
    /// Whose it is.
    pub member: Option<MemberId>,
    /// The member's organisation.
    pub org: Option<OrgId>,
    /// Whether it leads to another switch: what comes in there was sampled before.
    pub core: bool,
    /// Whether it ought to be up.
    pub wanted_up: bool,
    /// Its speed in bits per second, where the switch does not say.
    pub speed_bps: u64,
}

/// A member's border router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRouter {
    /// Whose it is.
    pub member: MemberId,
    /// Its Ethernet address on the LAN.
    pub mac: Option<Mac>,
    /// Its addresses on the LAN.
    pub addresses: Vec<IpAddr>,
}

/// The plan made ready for questions.
#[derive(Debug, Default)]
pub struct Directory {
    agents: HashMap<IpAddr, usize>,
    ports: Vec<HashMap<String, PlanPort>>,
    /// By switch and `ifIndex`, as the poller has learned.
    indexes: std::sync::RwLock<HashMap<(usize, u32), PlanPort>>,
    macs: HashMap<Mac, MemberId>,
    addresses: HashMap<IpAddr, MemberId>,
}

impl Directory {
    /// The directory of a plan.
    pub fn new(plan: &Plan) -> Self {
        let mut directory = Self::default();
        for (i, device) in plan.devices.iter().take(DEVICES_MAX).enumerate() {
            directory.agents.insert(device.address, i);
            for agent in &device.agents {
                directory.agents.insert(*agent, i);
            }
            let ports = device.ports.iter();
            directory.ports.push(
                ports
                    .map(|port| (port.name.to_lowercase(), port.clone()))
                    .collect(),
            );
        }
        for router in &plan.routers {
            if let Some(mac) = router.mac {
                directory.macs.insert(mac, router.member);
            }
            for address in &router.addresses {
                directory.addresses.insert(*address, router.member);
            }
        }
        directory
    }

    /// Which of the plan's switches an agent is.
    pub fn device(&self, agent: IpAddr) -> Option<usize> {
        self.agents.get(&agent.to_canonical()).copied()
    }

    /// Whether any switch is known.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// The port of that name on a switch.
    pub fn port(&self, device: usize, name: &str) -> Option<&PlanPort> {
        self.ports.get(device)?.get(&name.to_lowercase())
    }

    /// Learns which port an `ifIndex` is.
    pub fn learn<'a>(&self, device: usize, interfaces: impl Iterator<Item = (u32, &'a str)>) {
        let mut indexes = self
            .indexes
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        indexes.retain(|(known, _), _| *known != device);
        for (index, name) in interfaces {
            if let Some(port) = self.port(device, name) {
                indexes.insert((device, index), port.clone());
            }
        }
    }

    /// The port that an `ifIndex` is.
    pub fn port_at(&self, device: usize, index: u32) -> Option<PlanPort> {
        self.indexes
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(&(device, index))
            .cloned()
    }

    /// Whose Ethernet address it is.
    pub fn by_mac(&self, mac: Mac) -> Option<MemberId> {
        self.macs.get(&mac).copied()
    }

    /// Whose address on the LAN it is.
    pub fn by_address(&self, address: IpAddr) -> Option<MemberId> {
        self.addresses.get(&address).copied()
    }
}
