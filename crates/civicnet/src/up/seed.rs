//! What exists when the country first starts: people, organisations, two sites behind
//! the CDN, the dispatch map, and a token for each node that has no identity yet.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context;
use base::delivery::{AllDown, OriginPool, SiteSettings};
use base::{NodeName, OrgId, Role, UserId};
use cdn::dispatch_map::{DispatchMap, Edge, Health, Region};
use cdn::settings::SiteConfig;
use cdn::{Cdn, NewSite};
use exchange::room::demo::NETWORKS;
use sandbox::country::{ISAC_SITE, POPULATIONS, PUBLIC_SITES, PublicSite, SITES, TOUR_SITE};
use serde::{Deserialize, Serialize};
use store::Actor;
use web::{Accounts, By, HouseRole, Lang, NewUser, OrgRole, OrgScope};

use super::files;
use super::ports::Ports;
use super::taxii::{self, TaxiiDoor};
use crate::run::{Assembly, assemble};

/// Who may sign in, by what they are.
pub(super) type Logins = BTreeMap<String, Login>;

/// A demonstration account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) email: String,
    pub(super) password: String,
}

/// Makes what is missing, and gives the demonstration accounts.
pub(super) async fn seed(
    dir: &Path,
    control: &Path,
    ports: &Ports,
) -> anyhow::Result<(Logins, TaxiiDoor)> {
    let assembly = assemble(crate::load(control)?).await?;
    let accounts = assembly.web.house().accounts.clone();
    let file = dir.join("logins.json");
    let logins = match std::fs::read_to_string(&file) {
        Ok(text) => {
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?
        }
        Err(_) => people(&accounts, &assembly.cdn, ports, &file).await?,
    };
    let operator = logins
        .get("operator")
        .context("logins.json names no operator")?;
    let operator = accounts
        .user_by_email(&operator.email)
        .await?
        .context("the operator's account is gone")?;
    map(&assembly.cdn, operator, ports).await?;
    exchange(&assembly, &logins, operator).await?;
    nodes(dir, &assembly, ports).await?;
    super::exchange::seed(dir, &assembly.exchange, ports).await?;
    let door = taxii::seed(dir, &assembly, operator).await?;
    assembly
        .portal
        .begin_documents(&exchange::room::By::system("sandbox"))
        .await?;
    let authority = assembly.cdn.authority().await?;
    std::fs::write(dir.join("sandbox-ca.pem"), authority.root_pem.as_bytes())?;
    let Assembly { lake, memory, .. } = assembly;
    tokio::task::spawn_blocking(move || lake.close()).await?;
    memory.db.close().await;
    Ok((logins, door))
}

/// Utilities that report incidents and receive alerts: name in logins, Chinese, English.
const UTILITIES: [(&str, &str, &str); 2] = [
    ("water", "北區自來水事業", "Northern water works"),
    ("power", "南區電力公司", "Southern power company"),
];

/// A password that nobody can guess and anybody can type.
fn password() -> anyhow::Result<String> {
    let mut bytes = [0; 9];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| anyhow::anyhow!("no random numbers"))?;
    let digits: Vec<String> = bytes
        .chunks(3)
        .map(|part| part.iter().map(|b| format!("{b:02x}")).collect())
        .collect();
    Ok(digits.join("-"))
}

async fn people(
    accounts: &Accounts,
    cdn: &Cdn,
    ports: &Ports,
    file: &Path,
) -> anyhow::Result<Logins> {
    let by = By::system("sandbox");
    let mut logins = Logins::new();
    let mut operator = None;
    let house = [
        ("operator", "維運值班 Operator", vec![HouseRole::Operator]),
        ("officer-1", "承辦人甲 Officer A", vec![HouseRole::Officer]),
        ("officer-2", "承辦人乙 Officer B", vec![HouseRole::Officer]),
        ("auditor", "稽核 Auditor", vec![HouseRole::Auditor]),
    ];
    for (role, name, roles) in house {
        let (login, id) =
            account(accounts, &by, &format!("{role}@civicnet.test"), name, roles).await?;
        if role == "operator" {
            operator = Some(id);
        }
        logins.insert(role.to_owned(), login);
    }
    let operator = operator.context("no operator was made")?;
    for site in PUBLIC_SITES.iter().chain([&TOUR_SITE]) {
        let org = accounts.create_org(site.name_zh, site.name_en, &by).await?;
        for (suffix, role) in [
            ("owner", OrgRole::Admin),
            ("editor", OrgRole::Editor),
            ("viewer", OrgRole::Viewer),
        ] {
            let name = format!("{} {suffix}", site.name_zh);
            let email = format!("{suffix}@{}.gov.test", site.slug);
            let (login, id) = account(accounts, &by, &email, &name, Vec::new()).await?;
            accounts.set_member(org, id, Some(role), &by).await?;
            logins.insert(format!("{}-{suffix}", site.slug), login);
        }
        if site.slug != TOUR_SITE.slug {
            public_site(cdn, operator, org, site, ports).await?;
        }
    }
    let org = accounts
        .create_org(ISAC_SITE.name_zh, ISAC_SITE.name_en, &by)
        .await?;
    public_site(cdn, operator, org, &ISAC_SITE, ports).await?;
    for (slug, name_zh, name_en) in UTILITIES {
        let org = accounts.create_org(name_zh, name_en, &by).await?;
        let email = format!("owner@{slug}.test");
        let (login, id) = account(accounts, &by, &email, name_zh, Vec::new()).await?;
        accounts
            .set_member(org, id, Some(OrgRole::Admin), &by)
            .await?;
        logins.insert(format!("{slug}-owner"), login);
    }
    for network in NETWORKS {
        let slug = network.short.to_lowercase();
        let org = accounts
            .create_org(network.name_zh, network.name_en, &by)
            .await?;
        for (suffix, role) in [("owner", OrgRole::Admin), ("viewer", OrgRole::Viewer)] {
            let name = format!("{} {suffix}", network.short);
            let email = format!("{suffix}@{slug}.test");
            let (login, id) = account(accounts, &by, &email, &name, Vec::new()).await?;
            accounts.set_member(org, id, Some(role), &by).await?;
            logins.insert(format!("{slug}-{suffix}"), login);
        }
    }
    // Written last: without it the next start would begin again and say what is in its way.
    let text = serde_json::to_string_pretty(&logins)?;
    let mut options = std::fs::OpenOptions::new();
    let mut out = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    std::io::Write::write_all(&mut out, text.as_bytes())?;
    Ok(logins)
}

async fn account(
    accounts: &Accounts,
    by: &By,
    email: &str,
    name: &str,
    roles: Vec<HouseRole>,
) -> anyhow::Result<(Login, UserId)> {
    let password = password()?;
    let new = NewUser {
        email: email.to_owned(),
        name: name.to_owned(),
        password: Some(password.clone()),
        roles,
        lang: None::<Lang>,
    };
    let id = match accounts.user_by_email(email).await? {
        Some(_) => anyhow::bail!(
            "{email} has an account already, but logins.json is gone: remove the data directory to begin again"
        ),
        None => accounts
            .create_user(new, by)
            .await
            .with_context(|| format!("could not make the account of {email}"))?,
    };
    Ok((
        Login {
            email: email.to_owned(),
            password,
        },
        id,
    ))
}

async fn public_site(
    cdn: &Cdn,
    operator: UserId,
    org: OrgId,
    site: &PublicSite,
    ports: &Ports,
) -> anyhow::Result<()> {
    let by = cdn::By {
        user: operator,
        request: None,
    };
    cdn.prove_by_house(&by, org, site.host).await?;
    let origin = match site.origin {
        0 => ports.console(),
        number => ports.origin(number),
    };
    let new = NewSite {
        org,
        name_zh: site.name_zh.to_owned(),
        name_en: site.name_en.to_owned(),
        hosts: vec![site.host.to_owned()],
        config: SiteConfig {
            origins: OriginPool::single(format!("http://{origin}")),
            delivery: SiteSettings::default(),
        },
        case: None,
    };
    let mut tx = cdn.db().begin().await?;
    let made = cdn
        .create(&mut tx, &by, &new)
        .await
        .with_context(|| format!("could not make the site {}", site.host))?;
    tx.commit().await?;
    cdn.issue_certificate(&OrgScope::All, &by, made.id)
        .await
        .with_context(|| format!("could not issue a certificate for {}", site.host))?;
    Ok(())
}

/// Makes the country's exchange; its members are the organisations of their owners.
async fn exchange(assembly: &Assembly, logins: &Logins, operator: UserId) -> anyhow::Result<()> {
    let accounts = &assembly.web.house().accounts;
    let mut orgs: BTreeMap<u32, OrgId> = BTreeMap::new();
    for network in NETWORKS {
        let name = format!("{}-owner", network.short.to_lowercase());
        let Some(login) = logins.get(&name) else {
            continue;
        };
        if let Some(user) = accounts.user_by_email(&login.email).await? {
            let of = accounts.orgs_of(user).await?;
            orgs.extend(of.first().map(|(org, _)| (network.asn, org.id)));
        }
    }
    assembly
        .exchange
        .seed_demo(&exchange::room::By::user(operator), |asn| {
            orgs.get(&asn).copied()
        })
        .await
        .context("could not make the exchange")?;
    Ok(())
}

/// Puts the country's dispatch map in force, if what is in force has other addresses.
async fn map(cdn: &Cdn, operator: UserId, ports: &Ports) -> anyhow::Result<()> {
    let present = cdn.dispatch_map(None).await?;
    let edges: Vec<Edge> = SITES
        .iter()
        .map(|site| {
            Ok(Edge {
                node: files::edge_name(site).parse()?,
                label: site.name_zh.to_owned(),
                label_en: site.name_en.to_owned(),
                addresses: vec![site.edge.into()],
                at: site.at,
                weight: 1,
                capacity_rps: 20_000,
                health_address: ports.edge_http(site),
            })
        })
        .collect::<Result<_, base::id::InvalidId>>()?;
    if present
        .map
        .edges
        .iter()
        .map(|edge| edge.health_address)
        .eq(edges.iter().map(|edge| edge.health_address))
    {
        return Ok(());
    }
    let regions = POPULATIONS
        .iter()
        .map(|users| Region {
            name: users.name.to_owned(),
            prefixes: vec![users.prefix()],
            at: users.at,
            prefer: Vec::new(),
        })
        .collect();
    let health = Health {
        report_to: vec![ports.reports()],
        ..Health::default()
    };
    let map = DispatchMap {
        edges,
        regions,
        health,
        ttl_s: 5,
        answers_max: 1,
        all_down: AllDown::AsIfHealthy,
    };
    let by = cdn::By {
        user: operator,
        request: None,
    };
    cdn.save_dispatch_map(&by, present.version, &map, "the sandbox country")
        .await
        .context("could not save the dispatch map")?;
    Ok(())
}

/// Writes each node's configuration, and a token for those without an identity.
async fn nodes(dir: &Path, assembly: &Assembly, ports: &Ports) -> anyhow::Result<()> {
    let mut wanted: Vec<(NodeName, Vec<Role>)> = vec![("dispatch".parse()?, vec![Role::Dispatch])];
    for site in &SITES {
        // Edges follow the dispatch snapshot too: they observe each other.
        wanted.push((
            files::edge_name(site).parse()?,
            vec![Role::Edge, Role::Dispatch],
        ));
        wanted.push((
            super::exchange::agent_name(site).parse()?,
            vec![Role::Exchange],
        ));
    }
    for (name, roles) in wanted {
        let node_dir = dir.join("nodes").join(name.as_str());
        std::fs::create_dir_all(&node_dir)?;
        let enrolled = fabric::node::Node::open(&node_dir.join("identity"))
            .with_context(|| format!("could not open node {name}"))?
            .is_some();
        if !enrolled {
            let token = assembly
                .control
                .create_token(Actor::System("sandbox"), &name, &roles)
                .await?;
            let mut options = std::fs::OpenOptions::new();
            let mut out = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(node_dir.join("token"))?;
            std::io::Write::write_all(&mut out, token.token.to_string().as_bytes())?;
        }
    }
    files::dispatch_config(dir, ports)?;
    for site in &SITES {
        files::edge_config(dir, site, ports)?;
    }
    Ok(())
}
