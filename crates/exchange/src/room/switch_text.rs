//! Switches' configuration text from the model: VLANs, groups, ports, and on members'
//! ports the one MAC address that is let in. Written for two common vendors; compared
//! with what was last handed out, kept, and pushed only when a driver is configured.

mod eos;
mod junos;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use base::Timestamp;
use serde_json::json;
use sqlx::Row as _;
use store::AuditEntry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use super::config::DriverConfig;
use super::keep::Wanted;
use super::{
    By, Exchange, Id, Lag, Lan, Member, Port, RoomError, Router, Site, Stored, Switch, Vlan,
};

/// Bytes of a driver's answer that are kept.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// A VLAN as a switch needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VlanPlan {
    /// IEEE 802.1Q tag.
    pub tag: i64,
    /// Its name.
    pub name: String,
    /// Bytes of a packet.
    pub mtu: i64,
}

/// A port or a group as a switch needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfacePlan {
    /// Its name on the switch; for a group its number.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// `member`, `core`, `service`.
    pub role: String,
    /// Whether it carries traffic.
    pub enabled: bool,
    /// Mbit/s of one link.
    pub speed_mbps: i64,
    /// The group that it belongs to, by number.
    pub group: Option<i64>,
    /// Links that must be up; groups only.
    pub min_links: i64,
    /// Access VLAN; none on core links, which carry all.
    pub vlan: Option<VlanPlan>,
    /// MAC addresses that are let in, with whose they are; empty: any.
    pub macs: Vec<(String, String)>,
}

/// Everything that a switch is configured from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchPlan {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// `eos` or `junos`.
    pub vendor: String,
    /// VLANs, by tag.
    pub vlans: Vec<VlanPlan>,
    /// Groups, by number.
    pub groups: Vec<(i64, InterfacePlan)>,
    /// Ports, by name.
    pub ports: Vec<InterfacePlan>,
}

/// The configuration as text.
pub fn write(plan: &SwitchPlan) -> String {
    match plan.vendor.as_str() {
        "junos" => junos::write(plan),
        _ => eos::write(plan),
    }
}

/// Text that cannot end a quoted string or a line of either vendor.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c,
            ' ' | '-' | '_' | '.' | '/' | ':' | '(' | ')' | ',' => c,
            _ => '_',
        })
        .collect()
}

/// A text that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: String,
    /// The text.
    pub text: String,
    /// When it was pushed.
    pub pushed_at: Option<Timestamp>,
    /// What the driver said.
    pub result: Option<String>,
}

impl Exchange {
    /// What a switch is configured from.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] for no switch.
    pub async fn switch_plan(&self, id: Id<Switch>) -> Result<SwitchPlan, RoomError> {
        let switch = self.get(id).await?;
        let site = self.get::<Site>(switch.value.site).await?;
        let all = Wanted::default();
        let model = Parts {
            lags: self.all(&Wanted::by("switch", id)).await?,
            ports: self.all(&Wanted::by("switch", id)).await?,
            members: by_id(self.all(&all).await?),
            vlans: by_id(self.all(&all).await?),
            lans: self.all(&all).await?,
            routers: self.all(&Wanted::by("site", site.id)).await?,
        };
        Ok(model.plan(&switch, &site))
    }

    /// The text that was last handed out for a switch.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn kept_text(&self, id: Id<Switch>) -> Result<Option<Kept>, RoomError> {
        let row = sqlx::query(
            "SELECT at, actor, text, pushed_at, result FROM exchange_switch_text
             WHERE switch = $1 ORDER BY id DESC LIMIT 1",
        )
        .bind(id.to_string())
        .fetch_optional(self.db().pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Kept {
            at: Timestamp(row.try_get("at")?),
            actor: row.try_get("actor")?,
            text: row.try_get("text")?,
            pushed_at: row.try_get::<Option<i64>, _>("pushed_at")?.map(Timestamp),
            result: row.try_get("result")?,
        }))
    }

    /// Keeps a text as the one that was handed out; returns its number.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn keep_text(&self, by: &By, id: Id<Switch>, text: &str) -> Result<Uuid, RoomError> {
        let number = Uuid::now_v7();
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO exchange_switch_text (id, switch, at, actor, text) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(number.to_string())
        .bind(id.to_string())
        .bind(self.now().micros())
        .bind(by.actor.to_string())
        .bind(text)
        .execute(&mut *tx)
        .await?;
        let mut entry = AuditEntry::new(
            by.actor.clone(),
            "exchange.switch.text",
            format!("exchange-switch:{id}"),
        )
        .detail(json!({ "text": number, "lines": text.lines().count() }));
        entry.request_id.clone_from(&by.request);
        tx.audit(entry).await?;
        tx.commit().await?;
        Ok(number)
    }

    /// Gives a text that was kept to the driver; returns whether it took it, and what it
    /// said.
    ///
    /// # Errors
    /// [`RoomError::Store`]; a driver that fails is no error but an answer.
    pub async fn push_text(
        &self,
        by: &By,
        driver: &DriverConfig,
        id: Id<Switch>,
        number: Uuid,
        text: &str,
    ) -> Result<(bool, String), RoomError> {
        let switch = self.get(id).await?.value;
        let address = switch
            .management_address
            .map(|address| address.to_string())
            .unwrap_or_default();
        let command: Vec<String> = driver
            .command
            .iter()
            .map(|part| {
                part.replace("{switch}", &switch.name)
                    .replace("{vendor}", &switch.vendor)
                    .replace("{address}", &address)
            })
            .collect();
        let limit = Duration::from_secs(driver.timeout_s);
        let (good, said) = match tokio::time::timeout(limit, run(&command, text)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => (false, format!("the driver could not be run: {error}")),
            Err(_) => (
                false,
                format!("the driver did not end within {} s", driver.timeout_s),
            ),
        };
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE exchange_switch_text SET pushed_at = $2, result = $3 WHERE id = $1")
            .bind(number.to_string())
            .bind(good.then(|| self.now().micros()))
            .bind(&said)
            .execute(&mut *tx)
            .await?;
        let mut entry = AuditEntry::new(
            by.actor.clone(),
            "exchange.switch.push",
            format!("exchange-switch:{id}"),
        )
        .detail(json!({ "text": number, "good": good }));
        entry.request_id.clone_from(&by.request);
        tx.audit(entry).await?;
        tx.commit().await?;
        Ok((good, said))
    }
}

/// Runs the driver with `text` on its standard input; ends it when dropped.
async fn run(command: &[String], text: &str) -> std::io::Result<(bool, String)> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(std::io::Error::other("no program is configured"));
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut input) = input {
            // A driver may end without reading everything.
            input.write_all(text.as_bytes()).await.ok();
        }
    };
    let read = async {
        let mut said = Vec::new();
        if let Some(output) = output {
            output.take(ANSWER_BYTES_MAX).read_to_end(&mut said).await?;
        }
        Ok::<_, std::io::Error>(said)
    };
    let read_errors = async {
        let mut said = Vec::new();
        if let Some(errors) = errors {
            errors.take(ANSWER_BYTES_MAX).read_to_end(&mut said).await?;
        }
        Ok::<_, std::io::Error>(said)
    };
    let ((), said, complained) = tokio::join!(write, read, read_errors);
    let status = child.wait().await?;
    let mut answer = String::from_utf8_lossy(&said?).into_owned();
    answer.push_str(&String::from_utf8_lossy(&complained?));
    // U+0000 has no place in PostgreSQL's text.
    let answer = answer.replace('\0', "");
    Ok((status.success(), answer))
}

fn by_id<T>(all: Vec<Stored<T>>) -> BTreeMap<Id<T>, Stored<T>> {
    all.into_iter().map(|thing| (thing.id, thing)).collect()
}

struct Parts {
    lags: Vec<Stored<Lag>>,
    ports: Vec<Stored<Port>>,
    members: BTreeMap<Id<Member>, Stored<Member>>,
    vlans: BTreeMap<Id<Vlan>, Stored<Vlan>>,
    lans: Vec<Stored<Lan>>,
    routers: Vec<Stored<Router>>,
}

impl Parts {
    fn plan(&self, switch: &Stored<Switch>, site: &Stored<Site>) -> SwitchPlan {
        let mut vlans: Vec<VlanPlan> = self
            .vlans
            .values()
            .filter(|vlan| vlan.value.site.is_none_or(|at| at == site.id))
            .map(|vlan| self.vlan(vlan))
            .collect();
        vlans.sort();
        let mut groups: Vec<(i64, InterfacePlan)> = self
            .lags
            .iter()
            .map(|lag| (lag.value.number, self.group(lag)))
            .collect();
        groups.sort_by_key(|(number, _)| *number);
        let mut ports: Vec<InterfacePlan> = self.ports.iter().map(|port| self.port(port)).collect();
        ports.sort_by(|a, b| a.name.len().cmp(&b.name.len()).then(a.name.cmp(&b.name)));
        SwitchPlan {
            name: switch.value.name.clone(),
            site: site.value.name.clone(),
            vendor: switch.value.vendor.clone(),
            vlans,
            groups,
            ports,
        }
    }

    fn vlan(&self, vlan: &Stored<Vlan>) -> VlanPlan {
        let mtu = self
            .lans
            .iter()
            .find(|lan| lan.value.vlan == vlan.id)
            .map_or(1_500, |lan| lan.value.mtu);
        VlanPlan {
            tag: vlan.value.tag,
            name: vlan.value.name.clone(),
            mtu,
        }
    }

    fn owner(&self, member: Option<Id<Member>>) -> Option<String> {
        let member = &self.members.get(&member?)?.value;
        Some(format!("{} AS{}", member.short_name, member.asn))
    }

    /// The VLAN of the first router that is connected, if none is said.
    fn access(&self, said: Option<Id<Vlan>>, routers: &[&Stored<Router>]) -> Option<VlanPlan> {
        let vlan = said.or_else(|| {
            let lan = routers.first()?.value.lan;
            self.lans
                .iter()
                .find(|other| other.id == lan)
                .map(|lan| lan.value.vlan)
        })?;
        self.vlans.get(&vlan).map(|vlan| self.vlan(vlan))
    }

    fn macs(routers: &[&Stored<Router>]) -> Vec<(String, String)> {
        routers
            .iter()
            .filter_map(|router| Some((router.value.mac.clone()?, router.label.clone())))
            .collect()
    }

    fn group(&self, lag: &Stored<Lag>) -> InterfacePlan {
        let routers: Vec<&Stored<Router>> = self
            .routers
            .iter()
            .filter(|router| router.value.lag == Some(lag.id))
            .collect();
        let links: Vec<&Stored<Port>> = self
            .ports
            .iter()
            .filter(|port| port.value.lag == Some(lag.id))
            .collect();
        let first = links.first();
        let role = first.map_or("member", |port| port.value.role.as_str());
        let vlan = self.access(first.and_then(|port| port.value.vlan), &routers);
        InterfacePlan {
            name: lag.value.number.to_string(),
            description: self.describe(lag.value.member, role, lag.value.description.as_deref()),
            role: role.to_owned(),
            enabled: links.iter().any(|port| port.value.state == "active"),
            speed_mbps: first.map_or(0, |port| port.value.speed_mbps),
            group: None,
            min_links: lag.value.min_links,
            vlan: vlan.filter(|_| role != "core"),
            macs: Self::macs(&routers),
        }
    }

    fn port(&self, port: &Stored<Port>) -> InterfacePlan {
        let value = &port.value;
        let routers: Vec<&Stored<Router>> = self
            .routers
            .iter()
            .filter(|router| router.value.port == Some(port.id))
            .collect();
        let vlan = self.access(value.vlan, &routers);
        InterfacePlan {
            name: value.name.clone(),
            description: self.describe(value.member, &value.role, value.description.as_deref()),
            role: value.role.clone(),
            enabled: value.state == "active",
            speed_mbps: value.speed_mbps,
            group: value
                .lag
                .and_then(|lag| self.lags.iter().find(|other| other.id == lag))
                .map(|lag| lag.value.number),
            min_links: 1,
            vlan: vlan.filter(|_| value.role != "core"),
            macs: Self::macs(&routers),
        }
    }

    fn describe(&self, member: Option<Id<Member>>, role: &str, remark: Option<&str>) -> String {
        let owner = self.owner(member).unwrap_or_else(|| role.to_owned());
        match remark {
            Some(remark) => plain(&format!("{owner}: {remark}")),
            None => plain(&owner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(vendor: &str) -> SwitchPlan {
        let vlan = VlanPlan {
            tag: 100,
            name: "peering".into(),
            mtu: 9_000,
        };
        let port = InterfacePlan {
            name: "Ethernet1".into(),
            description: plain("TWAREN AS7539: \"x\"\nshutdown"),
            role: "member".into(),
            enabled: true,
            speed_mbps: 100_000,
            group: Some(10),
            min_links: 1,
            vlan: Some(vlan.clone()),
            macs: Vec::new(),
        };
        SwitchPlan {
            name: "hs-sw1".into(),
            site: "hsinchu".into(),
            vendor: vendor.into(),
            vlans: vec![vlan],
            groups: vec![(
                10,
                InterfacePlan {
                    name: "10".into(),
                    group: None,
                    macs: vec![("00:1c:73:00:00:01".into(), "TWAREN/b1".into())],
                    ..port.clone()
                },
            )],
            ports: vec![
                port.clone(),
                InterfacePlan {
                    name: "Ethernet2".into(),
                    enabled: false,
                    group: None,
                    vlan: None,
                    ..port
                },
            ],
        }
    }

    #[test]
    fn eos_lets_one_address_in_and_shuts_what_is_free() {
        let text = write(&plan("eos"));
        for line in [
            "hostname hs-sw1",
            "vlan 100\n   name peering",
            "interface Port-Channel10",
            "   mac access-group member-po10 in",
            "   permit 00:1c:73:00:00:01 00:00:00:00:00:00 any",
            "   channel-group 10 mode active",
            "interface Ethernet2",
            "   shutdown",
        ] {
            assert!(text.contains(line), "{line} in:\n{text}");
        }
        // A description cannot add a line.
        assert!(text.contains("TWAREN AS7539: _x__shutdown"), "{text}");
    }

    #[test]
    fn junos_says_the_same() {
        let text = write(&plan("junos"));
        for line in [
            "set system host-name hs-sw1",
            "set vlans peering vlan-id 100",
            "set interfaces ae10 aggregated-ether-options lacp active",
            "set interfaces Ethernet1 ether-options 802.3ad ae10",
            "set interfaces Ethernet2 disable",
            "from source-mac-address 00:1c:73:00:00:01/48",
        ] {
            assert!(text.contains(line), "{line} in:\n{text}");
        }
        assert!(
            text.lines()
                .all(|line| line.starts_with("set ") || line.starts_with('#'))
        );
    }

    #[tokio::test]
    async fn a_driver_gets_the_text_and_its_answer_is_kept() {
        let command = |parts: &[&str]| -> Vec<String> {
            parts.iter().map(|part| (*part).to_owned()).collect()
        };
        let (good, said) = run(&command(&["/bin/cat"]), "hello").await.expect("runs");
        assert!(good);
        assert_eq!(said, "hello");
        let (good, _) = run(&command(&["/bin/false"]), "hello").await.expect("runs");
        assert!(!good);
        assert!(run(&command(&["/nowhere/driver"]), "").await.is_err());
    }
}
