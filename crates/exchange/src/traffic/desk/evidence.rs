//! What a rule of protection would have met in the last hour, as far as the matrix can say.

use std::collections::HashMap;

use async_trait::async_trait;
use base::{MemberId, Timestamp};

use super::Traffic;
use super::seams::SeamError;
use crate::document::Protection;
use crate::protect::{Evidence, Matched};
use crate::room::{Id, Member, Wanted};

/// Seconds that are looked back.
const LOOK_BACK_S: i64 = 3_600;
/// Networks that are named.
const SOURCES_MAX: usize = 5;

#[async_trait]
impl Evidence for Traffic {
    async fn matched(&self, rule: &Protection) -> Option<Matched> {
        match self.met(rule).await {
            Ok(matched) => matched,
            // A rule must be possible without the lake.
            Err(error) => {
                tracing::warn!(
                    rule = rule.id,
                    error = %error,
                    "What a rule would have met cannot be said"
                );
                None
            }
        }
    }
}

impl Traffic {
    async fn met(&self, rule: &Protection) -> Result<Option<Matched>, SeamError> {
        let exchange = &self.inner.exchange;
        let members = exchange.all::<Member>(&Wanted::default()).await?;
        let own: Option<MemberId> = match rule.asn {
            None => None,
            Some(asn) => match members.iter().find(|member| member.value.asn == asn) {
                Some(member) => Some(MemberId(member.id.0)),
                None => return Ok(None),
            },
        };
        let to = self.now();
        let from = Timestamp::from_seconds(to.seconds() - LOOK_BACK_S);
        let wanted = own.map(|own| vec![own]);
        let pairs = self
            .inner
            .figures
            .matrix(wanted.as_deref(), from, to)
            .await?;
        // Nothing at all, in neither direction: nobody takes samples here.
        if pairs.is_empty() {
            return Ok(None);
        }
        let mut matched = Matched {
            seconds: LOOK_BACK_S.unsigned_abs(),
            ..Matched::default()
        };
        let mut sources: HashMap<Option<MemberId>, u64> = HashMap::new();
        for pair in pairs.iter().filter(|pair| own.is_none() || pair.to == own) {
            let octets = match rule.is_v6() {
                true => pair.octets_v6,
                false => pair.octets - pair.octets_v6,
            };
            let octets = u64::try_from(octets).unwrap_or(0);
            if octets == 0 {
                continue;
            }
            matched.bytes_max = matched.bytes_max.saturating_add(octets);
            let samples = u64::try_from(pair.samples).unwrap_or(0);
            matched.samples = matched.samples.saturating_add(samples);
            let sum = sources.entry(pair.from).or_default();
            *sum = sum.saturating_add(octets);
        }
        let name = |id: Option<MemberId>| -> String {
            let member = id.and_then(|id| {
                let id: Id<Member> = Id::new(id.0);
                members.iter().find(|member| member.id == id)
            });
            member.map_or_else(
                || "?".to_owned(),
                |member| format!("AS{} {}", member.value.asn, member.value.short_name),
            )
        };
        matched.sources = sources
            .into_iter()
            .map(|(from, octets)| (name(from), octets))
            .collect();
        matched
            .sources
            .sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        matched.sources.truncate(SOURCES_MAX);
        Ok(Some(matched))
    }
}
