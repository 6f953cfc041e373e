//! A network joins: everything that the form asks for, made in one transaction.

use std::collections::BTreeSet;

use base::{OrgId, UserId};
use casework::Case;
use casework::form::Values;
use serde_json::{Value, json};
use store::Tx;
use uuid::Uuid;

use super::Portal;
use super::grant::{number_of, on, text_of};
use super::provision::{Connection, Families, Place, speed, summary};
use crate::room::error::problem;
use crate::room::value::day;
use crate::room::{By, Kind, RoomError, Wanted};

/// Bytes of a secret that is made for a member.
const SECRET_BYTES: usize = 16;

/// The routers that the form describes.
pub(super) fn connections(values: &Values) -> Result<Vec<Connection>, RoomError> {
    let mut all: Vec<Connection> = Vec::new();
    for n in [1, 2] {
        let field = |name: &str| format!("router{n}_{name}");
        let router = text_of(values, &field("name"));
        if router.is_empty() {
            let other = ["site", "speed", "mac"]
                .into_iter()
                .find(|name| !text_of(values, &field(name)).is_empty());
            if let Some(other) = other {
                return Err(RoomError::invalid(
                    &field("name"),
                    "",
                    "required",
                    "有第二台路由器時請填名稱;沒有時請清空其他欄位",
                    format!("must be given, because {} is", field(other)),
                ));
            }
            continue;
        }
        all.push(connection(values, &router, &field)?);
        if all.len() == 2 && all[0].router == all[1].router {
            return Err(RoomError::invalid(
                &field("name"),
                &router,
                "unique",
                "兩台路由器的名稱必須不同",
                "must differ from the first router's",
            ));
        }
    }
    Ok(all)
}

/// One connection from the fields that `field` names.
pub(super) fn connection(
    values: &Values,
    router: &str,
    field: &impl Fn(&str) -> String,
) -> Result<Connection, RoomError> {
    let required = |name: &str| {
        RoomError::invalid(
            &field(name),
            "",
            "required",
            "必須填寫",
            "must be filled in",
        )
    };
    let site = text_of(values, &field("site"));
    if site.is_empty() {
        return Err(required("site"));
    }
    let speed_mbps = speed(&text_of(values, &field("speed"))).ok_or_else(|| required("speed"))?;
    let links = number_of(values, &field("links")).unwrap_or(1);
    let links = usize::try_from(links)
        .ok()
        .filter(|links| (1..=super::provision::LINKS_MAX).contains(links))
        .ok_or_else(|| required("links"))?;
    let mac = text_of(values, &field("mac"));
    Ok(Connection {
        router: router.to_owned(),
        site,
        speed_mbps,
        links,
        mac: Some(mac).filter(|mac| !mac.is_empty()),
    })
}

impl Portal {
    /// Says whether a network may join as it asks to, and where its routers would go.
    pub(super) async fn plan_join(
        &self,
        tx: &mut Tx,
        values: &Values,
    ) -> Result<Vec<(Connection, Place)>, RoomError> {
        let asn = number_of(values, "asn").unwrap_or(0);
        let room = &self.exchange;
        let same = room
            .select_in(tx, Kind::Member, &Wanted::by("asn", asn))
            .await?;
        if let Some(same) = same.first() {
            return Err(RoomError::Invalid(vec![problem(
                "asn",
                &asn.to_string(),
                "conflict",
                format!("AS{asn} 已是成員({})", same.label),
                format!("AS{asn} is a member already ({})", same.label),
            )]));
        }
        let short = text_of(values, "short_name");
        if room.resolve(tx, Kind::Member, &short).await?.is_some() {
            return Err(RoomError::invalid(
                "short_name",
                &short,
                "conflict",
                "已有成員使用這個簡稱",
                "is taken by another member already",
            ));
        }
        let mut taken = BTreeSet::new();
        let mut plan = Vec::new();
        for wanted in connections(values)? {
            let place = self.place(tx, &wanted, &mut taken).await?;
            plan.push((wanted, place));
        }
        Ok(plan)
    }

    /// Makes the member with all that it asked for; returns its AS number and what was made.
    pub(super) async fn join(
        &self,
        tx: &mut Tx,
        case: &Case,
        org: OrgId,
        values: &Values,
        user: UserId,
    ) -> Result<(i64, Value), RoomError> {
        let by = By::user(user);
        let plan = self.plan_join(tx, values).await?;
        let asn = number_of(values, "asn").unwrap_or(0);
        let optional = |name: &str| {
            let text = text_of(values, name);
            if text.is_empty() {
                Value::Null
            } else {
                text.into()
            }
        };
        let mut member = json!({
            "short_name": text_of(values, "short_name"),
            "name": text_of(values, "name"),
            "asn": asn,
            "org": org.to_string(),
            "type": "full",
            "state": "active",
            "as_set": optional("as_set"),
            "as_set_v6": optional("as_set_v6"),
            "irr_sources": optional("irr_sources"),
            "max_prefix_v4": number_of(values, "max_prefix_v4"),
            "max_prefix_v6": number_of(values, "max_prefix_v6"),
            "peering_policy": text_of(values, "peering_policy"),
            "url": optional("url"),
            "noc_email": optional("noc_email"),
            "noc_phone": optional("noc_phone"),
            "bfd": on(values, "bfd"),
            "require_role": false,
            "flowspec": on(values, "flowspec"),
            "joined_on": day(self.protect.now()),
        });
        if on(values, "md5") {
            member["password"] = secret()?.into();
        }
        let Value::Object(member) = member else {
            return Err(RoomError::Data("a member must be an object".into()));
        };
        let member = self.exchange.create(tx, &by, Kind::Member, &member).await?;
        for role in ["technical", "security"] {
            self.add_contact(tx, &by, member.id, role, |name| {
                text_of(values, &format!("{role}_{name}"))
            })
            .await?;
        }
        let families = Families::from_choice(&text_of(values, "families"));
        let mut routers = Vec::new();
        for (wanted, place) in &plan {
            let router = self
                .connect(
                    tx,
                    &by,
                    member.id,
                    wanted,
                    place,
                    families,
                    on(values, "bfd"),
                )
                .await?;
            routers.push(summary(&router));
        }
        self.accept_rules(tx, &by, org, case).await?;
        Ok((asn, json!({ "member": member.label, "routers": routers })))
    }

    /// Keeps a contact of a member.
    pub(super) async fn add_contact(
        &self,
        tx: &mut Tx,
        by: &By,
        member: Uuid,
        role: &str,
        field: impl Fn(&str) -> String,
    ) -> Result<(), RoomError> {
        let optional = |text: String| match text.is_empty() {
            true => Value::Null,
            false => text.into(),
        };
        let contact = json!({
            "member": member.to_string(),
            "role": role,
            "name": field("name"),
            "email": optional(field("email")),
            "phone": optional(field("phone")),
            "checked_on": day(self.protect.now()),
        });
        let Value::Object(contact) = contact else {
            return Err(RoomError::Data("a contact must be an object".into()));
        };
        self.exchange
            .create(tx, by, Kind::Contact, &contact)
            .await?;
        Ok(())
    }
}

/// A new secret for TCP MD5.
pub(super) fn secret() -> Result<String, RoomError> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0_u8; SECRET_BYTES];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| RoomError::Data("no random numbers".to_owned()))?;
    Ok(hex::encode(bytes))
}
