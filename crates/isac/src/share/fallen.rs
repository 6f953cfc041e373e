//! Tells enforcement what the house does not believe: of an indicator that comes, and of
//! patterns that fell since.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::Timestamp;

use super::belief::{Belief as Weight, Claim, Decay};
use super::claims::{
    CLAIMS_MAX, ClaimRow, HOUSE, SELECT_CLAIMS, claim_of, hash_of, is_unknown, kind_of,
    own_word_on, said_by, voices_against,
};
use super::{ShareError, Sharing};
use crate::enforce::seams::{Belief, Beliefs, Fallen, Said, SeamError, Uttered};
use crate::objects::senders::senders;
use crate::objects::{Origin, Via};

/// Patterns that are asked about by one statement.
const TOGETHER: usize = 500;

/// What is kept of a pattern.
#[derive(Debug, Clone, Copy)]
struct Kept {
    id: i64,
    stands: bool,
    fell_at: i64,
}

/// Why a pattern is not believed, for people who read either language.
fn why(rules: &Decay, pattern: &str, confidence: u8, sources: i64, disputes: i64) -> String {
    if sources == 0 {
        return "已無來源如此指稱；no source says so any more".to_owned();
    }
    let kind = kind_of(pattern);
    let floor = rules.ageing(kind).floor;
    format!(
        "不再採信：信心值 {confidence} 低於 {kind} 的下限 {floor}（{sources} 個來源、{disputes} 個組織回報誤判）；\
         no longer believed: confidence {confidence} is below the floor {floor} of {kind} (sources: {sources}, organisations that call it a false positive: {disputes})"
    )
}

impl Sharing {
    async fn kept(&self, ids: &[i64]) -> Result<Vec<Kept>, ShareError> {
        let mut kept = Vec::new();
        for some in ids.chunks(TOGETHER) {
            let list: Vec<String> = some.iter().map(ToString::to_string).collect();
            let rows: Vec<(i64, i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
                "SELECT id, stands, fell_at FROM share_belief WHERE id IN ({})",
                list.join(",")
            )))
            .fetch_all(self.db().pool())
            .await?;
            kept.extend(rows.into_iter().map(|(id, stands, fell_at)| Kept {
                id,
                stands: stands == 1,
                fell_at,
            }));
        }
        Ok(kept)
    }

    async fn claims_on(&self, id: i64) -> Result<(Vec<Claim>, i64), ShareError> {
        let rows: Vec<ClaimRow> = sqlx::query_as(SELECT_CLAIMS)
            .bind(id)
            .bind(CLAIMS_MAX)
            .fetch_all(self.db().pool())
            .await?;
        let mut db = self.db().pool().acquire().await?;
        let disputes = voices_against(&mut db, id, self.now()).await?;
        Ok((rows.into_iter().map(claim_of).collect(), disputes))
    }

    async fn weigh_one(
        &self,
        rules: &Decay,
        said: &Said,
        kept: Option<Kept>,
        now: Timestamp,
    ) -> Result<Belief, ShareError> {
        let own = self.owns(&said.object, &said.pattern);
        let (mut claims, disputes) = match kept {
            Some(kept) if kept.stands && !(own && kept.fell_at > 0) => return Ok(Belief::Stands),
            Some(kept) => self.claims_on(kept.id).await?,
            None => (Vec::new(), 0),
        };
        if let (true, Some(kept)) = (own && kept.is_some_and(|kept| kept.stands), kept) {
            let anew = claims
                .iter()
                .any(|claim| claim.said_at > kept.fell_at && claim.said_at <= now.micros());
            return Ok(match anew {
                true => Belief::Stands,
                false => Belief::Again(
                    "先前曾不再採信，之後無人重新指稱；it fell before, and nobody has said so anew"
                        .to_owned(),
                ),
            });
        }
        if !own {
            // It may not have been weighed yet.
            let sender = said.sender.as_deref().unwrap_or(HOUSE);
            claims.retain(|claim| claim.object != said.object || claim.sender != sender);
            for claim in &mut claims {
                // The house's own word replaces what others said of the object before.
                let older = claim.object == said.object && claim.said_at < said.at;
                claim.revoked |= sender == HOUSE && older;
            }
            claims.push(Claim {
                source: said_by(said.author.as_deref(), said.sender.as_deref()),
                sender: sender.to_owned(),
                object: said.object.clone(),
                confidence: said.confidence,
                said_at: said.at,
                seen_at: 0,
                until: said.until,
                revoked: false,
            });
        }
        let count = usize::try_from(disputes).unwrap_or_default();
        let weight: Weight = rules.belief(kind_of(&said.pattern), &claims, count, now);
        Ok(match weight.stands {
            true => Belief::Stands,
            false => Belief::Fell(why(
                rules,
                &said.pattern,
                weight.confidence,
                i64::try_from(weight.sources).unwrap_or(i64::MAX),
                disputes,
            )),
        })
    }

    async fn weigh_all(&self, said: &[Said]) -> Result<Vec<Belief>, ShareError> {
        let (_, rules) = self.decay().await?;
        let now = self.now();
        let ids: Vec<i64> = said.iter().map(|one| hash_of(&one.pattern)).collect();
        let kept = self.kept(&ids).await?;
        let mut beliefs = Vec::with_capacity(said.len());
        for (one, id) in said.iter().zip(ids) {
            let kept = kept.iter().find(|kept| kept.id == id).copied();
            beliefs.push(self.weigh_one(&rules, one, kept, now).await?);
        }
        Ok(beliefs)
    }

    async fn fell(&self, limit: u32) -> Result<Vec<Fallen>, ShareError> {
        let (_, rules) = self.decay().await?;
        let rows: Vec<(i64, String, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT id, pattern, confidence, sources, disputes, fell FROM share_belief WHERE fell > 0 ORDER BY fell, id LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(self.db().pool())
        .await?;
        let mut fallen = Vec::with_capacity(rows.len());
        for (id, pattern, confidence, sources, disputes, fall) in rows {
            let rows: Vec<(String, String, i64)> = sqlx::query_as(
                "SELECT object, sender, said_at FROM share_claim WHERE pattern_hash = $1 ORDER BY object, sender LIMIT $2",
            )
            .bind(id)
            .bind(CLAIMS_MAX)
            .fetch_all(self.db().pool())
            .await?;
            let own = (own_word_on(&pattern), HOUSE.to_owned(), fall);
            let said = rows.into_iter().chain([own]);
            let said = said.map(|(object, sender, at)| Uttered {
                object,
                sender: (!is_unknown(&sender)).then_some(sender),
                at,
            });
            let confidence = u8::try_from(confidence).unwrap_or_default();
            fallen.push(Fallen {
                id,
                fall,
                why: why(&rules, &pattern, confidence, sources, disputes),
                disputes,
                said: said.collect(),
            });
        }
        Ok(fallen)
    }

    async fn heed_fall(&self, fallen: &[Fallen]) -> Result<(), ShareError> {
        let mut tx = self.db().begin().await?;
        for one in fallen {
            sqlx::query("UPDATE share_belief SET fell = 0 WHERE id = $1 AND fell = $2")
                .bind(one.id)
                .bind(one.fall)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

#[async_trait]
impl Beliefs for Sharing {
    async fn weighed(&self, said: &[Said]) -> Result<Vec<Belief>, SeamError> {
        Ok(self.weigh_all(said).await?)
    }

    fn owns(&self, object: &str, pattern: &str) -> bool {
        own_word_on(pattern) == object
    }

    async fn fallen(&self, limit: u32) -> Result<Vec<Fallen>, SeamError> {
        Ok(self.fell(limit).await?)
    }

    async fn peers(&self) -> Result<BTreeMap<Via, u8>, SeamError> {
        Ok(self.peers_trusted().await?)
    }

    async fn voices(&self, pattern: &str) -> Result<Vec<Origin>, SeamError> {
        let (claims, _) = self.claims_on(hash_of(pattern)).await?;
        let now = self.now().micros();
        let counts = |claim: &Claim| {
            let over = claim
                .until
                .is_some_and(|until| until <= now && claim.seen_at <= until);
            !claim.revoked && !over
        };
        let mut voices = Vec::new();
        for claim in claims.iter().filter(|claim| counts(claim)) {
            // Nobody is asked twice, and of few only it is not known yet.
            let origins = match is_unknown(&claim.sender) {
                false => vec![Origin::from_text(&claim.sender)],
                true => {
                    let ids = std::slice::from_ref(&claim.object);
                    let sent = senders(self.db(), ids).await.map_err(ShareError::from)?;
                    sent.of(&claim.object).iter().map(|sent| sent.0).collect()
                }
            };
            for origin in origins {
                if !voices.contains(&origin) {
                    voices.push(origin);
                }
            }
        }
        Ok(voices)
    }

    async fn heeded(&self, fallen: &[Fallen]) -> Result<(), SeamError> {
        Ok(self.heed_fall(fallen).await?)
    }
}
