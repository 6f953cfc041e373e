//! How each switch is read: credentials, sealed; and the plan that is made of them
//! and of the model for a site's collector.

use std::net::IpAddr;

use base::{MemberId, OrgId, PortId};
use casework::form::Text;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::vault::SealedColumn;
use store::{AuditEntry, Migrations, Step};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Traffic;
use crate::room::{By, Id, Lag, Member, Port, RoomError, Router, Site, Switch, Wanted};
use crate::traffic::plan::{Access, Device, INTERVAL_S, Plan, PlanPort, PlanRouter};
use crate::traffic::sflow::packet::parse_mac;
use crate::traffic::snmp::usm::{AuthProtocol, PASSWORD_CHARS_MIN};

/// Characters of a user, community or password.
const SECRET_CHARS_MAX: usize = 200;
/// Addresses by which one switch calls itself.
const AGENTS_MAX: usize = 8;
/// Seconds between readings, unless said otherwise.
const INTERVAL_S_DEFAULT: i64 = 30;

/// All steps so far.
pub const MIGRATIONS: Migrations = Migrations {
    domain: "exchange-traffic",
    steps: &[Step {
        version: 1,
        name: "how switches are read",
        sql: "
CREATE TABLE exchange_snmp (
    switch TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    port BIGINT NOT NULL,
    interval_s BIGINT NOT NULL,
    user_name TEXT NOT NULL,
    auth_protocol TEXT NOT NULL,
    agents TEXT NOT NULL,
    community {blob},
    auth_password {blob},
    priv_password {blob},
    updated_at BIGINT NOT NULL
);
",
    }],
};

macro_rules! sealed {
    ($column:literal) => {
        SealedColumn {
            table: "exchange_snmp",
            column: $column,
            key: "switch",
            context: |switch| format!(concat!("exchange_snmp.", $column, "/{}"), switch),
        }
    };
}

/// The columns that are sealed.
pub const SEALED: [SealedColumn; 3] = [
    sealed!("community"),
    sealed!("auth_password"),
    sealed!("priv_password"),
];

/// How a switch is to be read, as an operator writes it. An empty secret keeps the one
/// that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Form {
    /// `none` (samples only), `v2c`, `v3`.
    pub version: String,
    /// The port where the switch answers; 161 when absent.
    pub port: Option<i64>,
    /// Seconds between two readings, 5 to 600; 30 when absent.
    pub interval_s: Option<i64>,
    /// Community of version 2c.
    pub community: String,
    /// User of version 3.
    pub user: String,
    /// Authentication of version 3: `none`, `sha1`, `sha256`.
    pub auth_protocol: String,
    /// Its password.
    pub auth_password: String,
    /// Password of AES-128 privacy; empty and none kept: no privacy.
    pub priv_password: String,
    /// Further addresses by which the switch calls itself in samples, with blanks
    /// between.
    pub agents: String,
}

/// How a switch is read, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Watched {
    /// The switch.
    #[schema(value_type = String, format = "uuid")]
    pub switch: Uuid,
    /// Its name.
    pub name: String,
    /// Where it is managed; without an address it cannot be read.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// `none`, `v2c`, `v3`; empty: nobody has said yet.
    pub version: String,
    /// The port where it answers.
    pub port: i64,
    /// Seconds between two readings.
    pub interval_s: i64,
    /// User of version 3.
    pub user: String,
    /// Authentication of version 3.
    pub auth_protocol: String,
    /// Whether version 3 encrypts.
    pub privacy: bool,
    /// Further addresses by which it calls itself in samples.
    pub agents: String,
}

struct Row {
    watched: Watched,
    community: Option<Vec<u8>>,
    auth_password: Option<Vec<u8>>,
    priv_password: Option<Vec<u8>>,
}

const COLUMNS: &str = "switch, version, port, interval_s, user_name, auth_protocol, agents, community, auth_password, priv_password";

fn row_of(row: &AnyRow) -> Result<Row, RoomError> {
    let switch: String = row.try_get("switch")?;
    let priv_password: Option<Vec<u8>> = row.try_get("priv_password")?;
    Ok(Row {
        watched: Watched {
            switch: switch
                .parse()
                .map_err(|_| RoomError::Data(format!("exchange_snmp.switch {switch}")))?,
            name: String::new(),
            address: None,
            version: row.try_get("version")?,
            port: row.try_get("port")?,
            interval_s: row.try_get("interval_s")?,
            user: row.try_get("user_name")?,
            auth_protocol: row.try_get("auth_protocol")?,
            privacy: priv_password.is_some(),
            agents: row.try_get("agents")?,
        },
        community: row.try_get("community")?,
        auth_password: row.try_get("auth_password")?,
        priv_password,
    })
}

fn wrong(
    field: &str,
    value: &str,
    rule: &'static str,
    zh: &str,
    en: &str,
) -> casework::validate::Problem {
    casework::validate::Problem {
        field: field.to_owned(),
        value: value.chars().take(60).collect(),
        rule,
        message: Text::new(zh, en),
    }
}

impl Form {
    /// What is wrong with it, given what is kept.
    fn problems(&self, kept: Option<&Row>) -> Vec<casework::validate::Problem> {
        let mut problems = Vec::new();
        let mut say = |field: &str, value: &str, rule, zh: &str, en: &str| {
            problems.push(wrong(field, value, rule, zh, en));
        };
        if !["none", "v2c", "v3"].contains(&self.version.as_str()) {
            say(
                "version",
                &self.version,
                "choice",
                "必須為 none、v2c 或 v3",
                "must be none, v2c or v3",
            );
        }
        if let Some(port) = self.port.filter(|port| !(1..=65_535).contains(port)) {
            say(
                "port",
                &port.to_string(),
                "range",
                "必須為 1 至 65535",
                "must be 1 to 65535",
            );
        }
        let interval = self.interval_s.unwrap_or(INTERVAL_S_DEFAULT);
        let bounds = i64::from(*INTERVAL_S.start())..=i64::from(*INTERVAL_S.end());
        if !bounds.contains(&interval) {
            say(
                "interval_s",
                &interval.to_string(),
                "range",
                "必須為 5 至 600 秒",
                "must be 5 to 600 seconds",
            );
        }
        let texts = [
            ("community", &self.community),
            ("user", &self.user),
            ("auth_password", &self.auth_password),
            ("priv_password", &self.priv_password),
        ];
        for (field, text) in texts {
            if text.chars().count() > SECRET_CHARS_MAX || text.chars().any(char::is_control) {
                say(
                    field,
                    "",
                    "length",
                    "最多 200 個字元,不得含控制字元",
                    "at most 200 characters, no control characters",
                );
            }
        }
        let missing = |text: &str, kept: Option<&Vec<u8>>| text.is_empty() && kept.is_none();
        if self.version == "v2c"
            && missing(&self.community, kept.and_then(|row| row.community.as_ref()))
        {
            say(
                "community",
                "",
                "required",
                "請填寫",
                "must be filled in for version 2c",
            );
        }
        if self.version == "v3" {
            if self.user.is_empty() {
                say("user", "", "required", "請填寫", "must be filled in");
            }
            let open = self.auth_protocol == "none";
            if !open && AuthProtocol::from_name(&self.auth_protocol).is_none() {
                say(
                    "auth_protocol",
                    &self.auth_protocol,
                    "choice",
                    "必須為 none、sha1 或 sha256",
                    "must be none, sha1 or sha256",
                );
            }
            let auth = kept.and_then(|row| row.auth_password.as_ref());
            if !open && missing(&self.auth_password, auth) {
                say(
                    "auth_password",
                    "",
                    "required",
                    "請填寫",
                    "must be filled in",
                );
            }
            if open && !self.priv_password.is_empty() {
                say(
                    "priv_password",
                    "",
                    "needs-auth",
                    "加密必須同時使用認證",
                    "privacy needs authentication",
                );
            }
            for (field, text) in [
                ("auth_password", &self.auth_password),
                ("priv_password", &self.priv_password),
            ] {
                if !text.is_empty() && text.chars().count() < PASSWORD_CHARS_MIN {
                    say(
                        field,
                        "",
                        "length",
                        "至少 8 個字元(RFC 3414)",
                        "at least 8 characters (RFC 3414)",
                    );
                }
            }
        }
        let agents: Vec<&str> = self.agents.split_whitespace().collect();
        let first_wrong = agents.iter().find(|text| text.parse::<IpAddr>().is_err());
        if let Some(text) = first_wrong {
            say(
                "agents",
                text,
                "address",
                "不是 IP 位址",
                "is not an IP address",
            );
        } else if agents.len() > AGENTS_MAX {
            say(
                "agents",
                &agents.len().to_string(),
                "length",
                "最多 8 個位址",
                "at most 8 addresses",
            );
        }
        problems
    }
}

impl Traffic {
    async fn kept(&self) -> Result<Vec<Row>, RoomError> {
        let sql = format!("SELECT {COLUMNS} FROM exchange_snmp");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(self.inner.exchange.db().pool())
            .await?;
        rows.iter().map(row_of).collect()
    }

    /// Every switch, and how it is read; by name.
    ///
    /// # Errors
    /// [`RoomError::Store`].
    pub async fn watched(&self) -> Result<Vec<Watched>, RoomError> {
        let mut kept = self.kept().await?;
        let switches = self
            .inner
            .exchange
            .all::<Switch>(&Wanted::default())
            .await?;
        let mut all: Vec<Watched> = switches
            .into_iter()
            .map(|switch| {
                let place = kept
                    .iter()
                    .position(|row| row.watched.switch == switch.id.0);
                let known = place.map(|place| kept.swap_remove(place).watched);
                let watched = known.unwrap_or(Watched {
                    switch: switch.id.0,
                    name: String::new(),
                    address: None,
                    version: String::new(),
                    port: 161,
                    interval_s: INTERVAL_S_DEFAULT,
                    user: String::new(),
                    auth_protocol: String::new(),
                    privacy: false,
                    agents: String::new(),
                });
                Watched {
                    name: switch.value.name,
                    address: switch.value.management_address,
                    ..watched
                }
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Says how a switch is to be read.
    ///
    /// # Errors
    /// [`RoomError`]: no such switch, or what is wrong with the form.
    pub async fn watch(&self, by: &By, switch: Uuid, form: &Form) -> Result<(), RoomError> {
        let named = self.inner.exchange.get::<Switch>(Id::new(switch)).await?;
        let kept = self.kept().await?;
        let kept = kept.iter().find(|row| row.watched.switch == switch);
        let problems = form.problems(kept);
        if !problems.is_empty() {
            return Err(RoomError::Invalid(problems));
        }
        let v2c = form.version == "v2c";
        let auth = form.version == "v3" && form.auth_protocol != "none";
        let sealed = |column: &str, wanted: bool, text: &str, kept: Option<&Vec<u8>>| {
            if !wanted {
                return Ok(None);
            }
            if text.is_empty() {
                return Ok(kept.cloned());
            }
            let context = format!("exchange_snmp.{column}/{switch}");
            self.inner.vault.seal_text(&context, text).map(Some)
        };
        let community = sealed(
            "community",
            v2c,
            &form.community,
            kept.and_then(|row| row.community.as_ref()),
        )?;
        let auth_password = sealed(
            "auth_password",
            auth,
            &form.auth_password,
            kept.and_then(|row| row.auth_password.as_ref()),
        )?;
        let priv_password = sealed(
            "priv_password",
            auth,
            &form.priv_password,
            kept.and_then(|row| row.priv_password.as_ref()),
        )?;
        let mut tx = self.inner.exchange.begin().await?;
        let privacy = priv_password.is_some();
        let agents: Vec<&str> = form.agents.split_whitespace().collect();
        sqlx::query(
            "INSERT INTO exchange_snmp (switch, version, port, interval_s, user_name, auth_protocol, agents, community, auth_password, priv_password, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (switch) DO UPDATE SET version = excluded.version, port = excluded.port, interval_s = excluded.interval_s, \
             user_name = excluded.user_name, auth_protocol = excluded.auth_protocol, agents = excluded.agents, community = excluded.community, \
             auth_password = excluded.auth_password, priv_password = excluded.priv_password, updated_at = excluded.updated_at",
        )
        .bind(switch.to_string())
        .bind(form.version.clone())
        .bind(form.port.unwrap_or(161))
        .bind(form.interval_s.unwrap_or(INTERVAL_S_DEFAULT))
        .bind(if form.version == "v3" { form.user.clone() } else { String::new() })
        .bind(if form.version == "v3" { form.auth_protocol.clone() } else { String::new() })
        .bind(agents.join(" "))
        .bind(community)
        .bind(auth_password)
        .bind(priv_password)
        .bind(self.inner.exchange.db().clock().now().micros())
        .execute(&mut *tx)
        .await?;
        let mut entry = AuditEntry::new(
            by.actor.clone(),
            "exchange.watch",
            format!("exchange-switch:{switch}"),
        );
        entry.detail = json!({
            "switch": named.value.name,
            "version": form.version,
            "port": form.port.unwrap_or(161),
            "interval_s": form.interval_s.unwrap_or(INTERVAL_S_DEFAULT),
            "user": form.user,
            "authentication": form.auth_protocol,
            "privacy": privacy,
        });
        entry.request_id.clone_from(&by.request);
        tx.audit(entry).await?;
        tx.commit().await?;
        Ok(())
    }

    fn access(&self, row: &Row) -> Result<Option<Access>, RoomError> {
        let open = |column: &str, sealed: &Option<Vec<u8>>| {
            let context = format!("exchange_snmp.{column}/{}", row.watched.switch);
            sealed
                .as_ref()
                .map(|sealed| self.inner.vault.open_text(&context, sealed))
                .transpose()
        };
        Ok(match row.watched.version.as_str() {
            "v2c" => open("community", &row.community)?.map(|community| Access::V2c { community }),
            "v3" => {
                let protocol = AuthProtocol::from_name(&row.watched.auth_protocol);
                let password = open("auth_password", &row.auth_password)?;
                let auth = protocol.zip(password);
                Some(Access::V3 {
                    user: row.watched.user.clone(),
                    privacy: match auth {
                        Some(_) => open("priv_password", &row.priv_password)?,
                        None => None,
                    },
                    auth,
                })
            }
            _ => None,
        })
    }

    /// What a collector is to read: at one site, or everywhere. Holds secrets.
    ///
    /// # Errors
    /// [`RoomError`]: the database, or a secret that does not open.
    pub async fn plan(&self, site: Option<&str>) -> Result<Plan, RoomError> {
        let exchange = &self.inner.exchange;
        let all = Wanted::default();
        let sites = exchange.all::<Site>(&all).await?;
        let name_of = |id: Id<Site>| {
            let found = sites.iter().find(|site| site.id == id);
            found
                .map(|site| site.value.name.clone())
                .unwrap_or_default()
        };
        let members = exchange.all::<Member>(&all).await?;
        let org_of = |member: Option<Id<Member>>| -> Option<OrgId> {
            let member = member?;
            members
                .iter()
                .find(|known| known.id == member)
                .and_then(|member| member.value.org)
        };
        let ports = exchange.all::<Port>(&all).await?;
        let lags = exchange.all::<Lag>(&all).await?;
        let kept = self.kept().await?;
        let mut plan = Plan::default();
        for switch in exchange.all::<Switch>(&all).await? {
            let here = name_of(switch.value.site);
            let row = kept.iter().find(|row| row.watched.switch == switch.id.0);
            let (Some(row), Some(address)) = (row, switch.value.management_address) else {
                continue;
            };
            if site.is_some_and(|site| site != here) || switch.value.state == "retired" {
                continue;
            }
            let own = ports.iter().filter(|port| port.value.switch == switch.id);
            let mut listed: Vec<PlanPort> = own
                .map(|port| PlanPort {
                    name: port.value.name.clone(),
                    port: Some(PortId(port.id.0)),
                    member: port.value.member.map(|id| MemberId(id.0)),
                    org: org_of(port.value.member),
                    core: port.value.role == "core",
                    wanted_up: port.value.state == "active",
                    speed_bps: u64::try_from(port.value.speed_mbps).unwrap_or(0) * 1_000_000,
                })
                .collect();
            for lag in lags.iter().filter(|lag| lag.value.switch == switch.id) {
                let core = ports
                    .iter()
                    .any(|port| port.value.lag == Some(lag.id) && port.value.role == "core");
                let name = match switch.value.vendor.as_str() {
                    "junos" => format!("ae{}", lag.value.number),
                    _ => format!("Port-Channel{}", lag.value.number),
                };
                listed.push(PlanPort {
                    name,
                    port: None,
                    member: lag.value.member.map(|id| MemberId(id.0)),
                    org: org_of(lag.value.member),
                    core,
                    wanted_up: false,
                    speed_bps: 0,
                });
            }
            plan.devices.push(Device {
                name: switch.value.name,
                site: here,
                address,
                port: u16::try_from(row.watched.port).unwrap_or(161),
                access: self.access(row)?,
                interval_s: u32::try_from(row.watched.interval_s).unwrap_or(30),
                agents: row
                    .watched
                    .agents
                    .split_whitespace()
                    .filter_map(|text| text.parse().ok())
                    .collect(),
                ports: listed,
            });
        }
        for router in exchange.all::<Router>(&all).await? {
            let value = router.value;
            let v4 = value.v4.map(IpAddr::V4);
            let v6 = value.v6.map(IpAddr::V6);
            plan.routers.push(PlanRouter {
                member: MemberId(value.member.0),
                mac: value.mac.as_deref().and_then(parse_mac),
                addresses: v4.into_iter().chain(v6).collect(),
            });
        }
        Ok(plan)
    }
}
