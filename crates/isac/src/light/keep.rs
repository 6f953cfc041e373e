//! Lights as they are kept: facts are read from incidents, alerts and observations,
//! lights are computed for every member, sector and the whole, and each change of a
//! colour is recorded with its explanation.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{OrgId, Timestamp};
use casework::CaseNumber;
use casework::form::Text;
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::PageRequest;
use web::OrgScope;

use super::model::{Colour, Fact, Light, group, light};
use super::rules::Face;
use crate::cert::{By, Cert, CertError, Member, SECTORS, Sector, parse, read_json, write_json};
use crate::report::Level;
use crate::report::incidents::checked;

/// Days after which a fact no longer counts at all.
const FACT_DAYS: u64 = 60;
/// Points by which a score must move before it is written again.
const SCORE_STEP: f64 = 0.5;
/// Changes of a light that are shown.
const CHANGES_SHOWN: i64 = 50;
/// Observations read at once.
const FACTS_MAX: i64 = 100_000;

/// Whose light it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Everybody's.
    Whole,
    /// A sector's.
    Sector(Sector),
    /// A member's.
    Member(OrgId),
}

impl Whose {
    /// The name in tables and addresses.
    pub fn tag(self) -> String {
        match self {
            Self::Whole => "whole".into(),
            Self::Sector(sector) => format!("sector-{}", sector.tag()),
            Self::Member(org) => org.to_string(),
        }
    }

    /// Whose light a name means.
    pub fn from_tag(tag: &str) -> Option<Self> {
        if tag == "whole" {
            return Some(Self::Whole);
        }
        if let Some(sector) = tag.strip_prefix("sector-") {
            return Sector::from_tag(sector).map(Self::Sector);
        }
        tag.parse().ok().map(Self::Member)
    }

    /// Whether somebody with this scope may see it: groups would tell one member
    /// about another.
    pub fn within(self, scope: &OrgScope) -> bool {
        match self {
            Self::Member(org) => scope.contains(org),
            _ => *scope == OrgScope::All,
        }
    }
}

/// A light as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Whose.
    pub whose: Whose,
    /// Its colour.
    pub colour: Colour,
    /// Since when.
    pub since: Timestamp,
    /// When it was computed.
    pub at: Timestamp,
    /// The version of the rules.
    pub rules: i64,
    /// The score and where it comes from.
    pub light: Light,
}

/// A change of colour.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The colour before.
    pub from: Colour,
    /// The colour after.
    pub to: Colour,
    /// Why.
    pub light: Light,
}

fn standing_of(row: &AnyRow) -> Result<Standing, CertError> {
    let whose: String = row.try_get("scope")?;
    Ok(Standing {
        whose: Whose::from_tag(&whose)
            .ok_or_else(|| CertError::Data(format!("a light is called {whose:?}")))?,
        colour: colour(row.try_get("colour")?)?,
        since: Timestamp(row.try_get("since")?),
        at: Timestamp(row.try_get("at")?),
        rules: row.try_get("rules")?,
        light: read_json(&row.try_get::<String, _>("light")?)?,
    })
}

fn colour(tag: String) -> Result<Colour, CertError> {
    Colour::from_tag(&tag).ok_or_else(|| CertError::Data(format!("a light is {tag:?}")))
}

impl Cert {
    /// Records what was seen on a face that people tell by hand.
    ///
    /// # Errors
    /// [`CertError`]: a face that follows from reports, a score out of range, no text.
    pub async fn observe(
        &self,
        by: &By,
        org: OrgId,
        face: Face,
        score: u8,
        text: &str,
    ) -> Result<(), CertError> {
        let text = checked("text", text, 500)?;
        if !face.by_hand() {
            return Err(CertError::invalid(
                "face",
                face.tag(),
                "enum",
                "必須是實體或人員面向",
                "must be physical or personnel",
            ));
        }
        if score > 100 {
            return Err(CertError::invalid(
                "score",
                &score.to_string(),
                "maximum",
                "必須是 0 到 100",
                "must be 0 to 100",
            ));
        }
        let mut tx = self.db().begin().await?;
        sqlx::query("INSERT INTO isac_observation (id, org, face, score, text, at, made_by) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(org.to_string())
            .bind(face.tag())
            .bind(i64::from(score))
            .bind(&text)
            .bind(self.now().micros())
            .bind(by.user.to_string())
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry(
            Some(org),
            "light.observe",
            format!("org:{org}"),
            json!({"face": face.tag(), "score": score}),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Everything that counts, by member.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn facts(&self, now: Timestamp) -> Result<BTreeMap<OrgId, Vec<Fact>>, CertError> {
        let rules = &self.inner.light;
        let from = now.minus(Duration::from_secs(FACT_DAYS * 86_400)).micros();
        let mut facts: BTreeMap<OrgId, Vec<Fact>> = BTreeMap::new();
        let incidents: Vec<(String, i64, i64, String, Option<i64>)> = sqlx::query_as(
            "SELECT org, number, level, subject, closed_at FROM isac_incident WHERE drill = 0 AND state <> 'dismissed' AND (closed_at IS NULL OR closed_at >= $1) LIMIT $2",
        )
        .bind(from)
        .bind(FACTS_MAX)
        .fetch_all(self.db().pool())
        .await?;
        for (org, number, level, subject, closed) in incidents {
            let (number, Some(level)) = (CaseNumber::new(number), Level::new(level)) else {
                continue;
            };
            facts.entry(parse(&org)?).or_default().push(Fact {
                face: Face::Incidents,
                score: rules.incident_levels[level.index()],
                // An open incident does not fade.
                since: closed.map(Timestamp),
                what: Text::new(
                    format!("第 {} 級事件 #{number}「{subject}」", level.number()),
                    format!("Incident #{number} of level {}: {subject}", level.number()),
                ),
            });
        }
        let alerts: Vec<(String, i64, String, String, i64, Option<String>)> = sqlx::query_as(
            "SELECT r.org, a.number, a.subject, a.severity, a.published_at, r.reply FROM isac_recipient r JOIN isac_alert a ON a.case_id = r.alert WHERE a.retracted_at IS NULL AND a.published_at >= $1 LIMIT $2",
        )
        .bind(from)
        .bind(FACTS_MAX)
        .fetch_all(self.db().pool())
        .await?;
        for (org, number, subject, severity, at, reply) in alerts {
            let number = CaseNumber::new(number);
            let base = rules.severities.get(&severity).copied().unwrap_or(0.0);
            let factor = reply.and_then(|reply| rules.replies.get(&reply).copied());
            facts.entry(parse(&org)?).or_default().push(Fact {
                face: Face::Cyber,
                score: (base * factor.unwrap_or(1.0)).min(100.0),
                since: Some(Timestamp(at)),
                what: Text::new(
                    format!("警訊 #{number}「{subject}」"),
                    format!("Alert #{number}: {subject}"),
                ),
            });
        }
        let seen: Vec<(String, String, i64, String, i64)> = sqlx::query_as(
            "SELECT org, face, score, text, at FROM isac_observation WHERE at >= $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(from)
        .bind(FACTS_MAX)
        .fetch_all(self.db().pool())
        .await?;
        for (org, face, score, text, at) in seen {
            let Some(face) = Face::from_tag(&face) else {
                continue;
            };
            facts.entry(parse(&org)?).or_default().push(Fact {
                face,
                score: score as f64,
                since: Some(Timestamp(at)),
                what: Text::new(text.clone(), text),
            });
        }
        Ok(facts)
    }

    /// Computes every light anew and writes those that moved; returns how many colours
    /// changed.
    ///
    /// # Errors
    /// [`CertError`]; the next look computes all of them again.
    pub async fn look_at_lights(&self, now: Timestamp) -> Result<usize, CertError> {
        let rules = &self.inner.light;
        let mut facts = self.facts(now).await?;
        let mut members: Vec<Member> = Vec::new();
        let mut request = PageRequest::first(500);
        loop {
            let page = self.members(&request).await?;
            members.extend(page.items);
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => break,
            }
        }
        let mut computed: Vec<(Whose, Light)> = Vec::new();
        let mut by_sector: BTreeMap<Sector, Vec<(Text, f64)>> = BTreeMap::new();
        for member in &members {
            let own = facts.remove(&member.org).unwrap_or_default();
            let found = light(&own, now, rules);
            let name = self.org_names(member.org).await;
            by_sector
                .entry(member.sector)
                .or_default()
                .push((name, found.score));
            computed.push((Whose::Member(member.org), found));
        }
        let mut sectors = Vec::new();
        for sector in SECTORS {
            if let Some(scores) = by_sector.get(&sector) {
                let found = group(scores, rules);
                sectors.push((sector.name(), found.score));
                computed.push((Whose::Sector(sector), found));
            }
        }
        computed.push((Whose::Whole, group(&sectors, rules)));
        let before: BTreeMap<Whose, Standing> = self
            .all_lights()
            .await?
            .into_iter()
            .map(|standing| (standing.whose, standing))
            .collect();
        let mut changed = 0;
        let mut moved = Vec::new();
        for (whose, light) in computed {
            let old = before.get(&whose);
            let colour = Colour::of(light.score, old.map(|old| old.colour), rules);
            let same = old.is_some_and(|old| {
                old.colour == colour
                    && (old.light.score - light.score).abs() < SCORE_STEP
                    && old.light.parts.len() == light.parts.len()
            });
            if !same {
                moved.push((whose, light, colour, old));
            }
        }
        if moved.is_empty() {
            return Ok(0);
        }
        let mut tx = self.db().begin().await?;
        for (whose, light, colour, old) in moved {
            let (tag, text) = (whose.tag(), write_json(&light)?);
            let from = old.map_or(Colour::Green, |old| old.colour);
            let since = match old {
                Some(old) if old.colour == colour => old.since,
                _ => now,
            };
            sqlx::query("INSERT INTO isac_light (scope, colour, since, at, rules, light) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (scope) DO UPDATE SET colour = excluded.colour, since = excluded.since, at = excluded.at, rules = excluded.rules, light = excluded.light")
                .bind(&tag)
                .bind(colour.tag())
                .bind(since.micros())
                .bind(now.micros())
                .bind(i64::from(rules.version))
                .bind(&text)
                .execute(&mut *tx)
                .await?;
            if from != colour {
                changed += 1;
                sqlx::query("INSERT INTO isac_light_change (id, scope, at, from_colour, to_colour, light) VALUES ($1, $2, $3, $4, $5, $6)")
                    .bind(uuid::Uuid::now_v7().to_string())
                    .bind(&tag)
                    .bind(now.micros())
                    .bind(from.tag())
                    .bind(colour.tag())
                    .bind(&text)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        self.inner.lights_moved.send_modify(|count| *count += 1);
        Ok(changed)
    }

    async fn all_lights(&self) -> Result<Vec<Standing>, CertError> {
        let rows = sqlx::query(
            "SELECT scope, colour, since, at, rules, light FROM isac_light ORDER BY scope",
        )
        .fetch_all(self.db().pool())
        .await?;
        rows.iter().map(standing_of).collect()
    }

    /// The lights within a scope: the whole first, then sectors, then members.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn lights(&self, scope: &OrgScope) -> Result<Vec<Standing>, CertError> {
        let mut all = self.all_lights().await?;
        all.retain(|standing| standing.whose.within(scope));
        all.sort_by_key(|standing| standing.whose);
        Ok(all)
    }

    /// One light within a scope.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn light(&self, scope: &OrgScope, whose: Whose) -> Result<Standing, CertError> {
        let missing = || CertError::not_found("light", whose.tag());
        if !whose.within(scope) {
            return Err(missing());
        }
        let row = sqlx::query(
            "SELECT scope, colour, since, at, rules, light FROM isac_light WHERE scope = $1",
        )
        .bind(whose.tag())
        .fetch_optional(self.db().pool())
        .await?;
        standing_of(&row.ok_or_else(missing)?)
    }

    /// The changes of a light's colour, newest first.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn light_changes(&self, whose: Whose) -> Result<Vec<Change>, CertError> {
        let rows = sqlx::query("SELECT at, from_colour, to_colour, light FROM isac_light_change WHERE scope = $1 ORDER BY id DESC LIMIT $2")
            .bind(whose.tag())
            .bind(CHANGES_SHOWN)
            .fetch_all(self.db().pool())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Change {
                    at: Timestamp(row.try_get("at")?),
                    from: colour(row.try_get("from_colour")?)?,
                    to: colour(row.try_get("to_colour")?)?,
                    light: read_json(&row.try_get::<String, _>("light")?)?,
                })
            })
            .collect()
    }

    /// What a member's light would be if something more happened; nothing is kept.
    ///
    /// # Errors
    /// [`CertError`]: not within the scope, or no such light.
    pub async fn what_if(
        &self,
        scope: &OrgScope,
        org: OrgId,
        face: Face,
        score: f64,
    ) -> Result<(Colour, Light), CertError> {
        let now = self.now();
        let standing = self.light(scope, Whose::Member(org)).await?;
        let mut facts = self.facts(now).await?.remove(&org).unwrap_or_default();
        facts.push(Fact {
            face,
            score,
            since: None,
            what: Text::new("假設", "Supposed"),
        });
        let rules = &self.inner.light;
        let found = light(&facts, now, rules);
        Ok((Colour::of(found.score, Some(standing.colour), rules), found))
    }
}
