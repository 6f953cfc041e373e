//! Questions: what is in force, how often it was met, why something is blocked.

use base::enforcement::{Enforced, RULES_MAX, Rule, Target};
use base::{EnforcementId, Role};

use super::engine::{Decided, EnforceError, Enforcements, OBEY, State, Why, through};
use super::lists::{Effect, Hit};
use super::rows::{COLUMNS, decided_of};
use super::seams::Hits;

impl Enforcements {
    /// The folded state for nodes of `role`: what snapshots carry.
    ///
    /// # Errors
    /// [`EnforceError::Store`].
    pub async fn folded(&self, role: Role) -> Result<Enforced, EnforceError> {
        // The number first: rows may then be newer than it, which nodes mend by the
        // entries that follow.
        let through = self.mark(&through(role)).await?;
        let kinds = OBEY
            .iter()
            .find(|(obeys, _)| *obeys == role)
            .map_or(&[][..], |(_, kinds)| *kinds);
        let kinds: Vec<String> = kinds
            .iter()
            .map(|kind| format!("'{}'", kind.name()))
            .collect();
        // What others obey is left out before the bound is applied: else it would take the
        // place of what this role obeys.
        if kinds.is_empty() {
            return Ok(Enforced {
                through: u64::try_from(through).unwrap_or(0),
                rules: Vec::new(),
            });
        }
        let wanted = format!(
            "kind IN ({}) AND (roles = $3 OR roles LIKE $4)",
            kinds.join(",")
        );
        let name = serde_json::to_string(&role).map_err(|e| EnforceError::Row(e.to_string()))?;
        let rules = self
            .in_force(&wanted, Some(&format!("%{name}%")), RULES_MAX)
            .await?;
        Ok(Enforced {
            through: u64::try_from(through).unwrap_or(0),
            rules,
        })
    }

    /// Rules on addresses and prefixes that are in force for every role that can: what the exchange
    /// announces, too.
    ///
    /// # Errors
    /// [`EnforceError::Store`].
    pub async fn networks_everywhere(&self) -> Result<Vec<Rule>, EnforceError> {
        let wanted = "kind IN ('address', 'prefix') AND roles = $3";
        self.in_force(wanted, None, RULES_MAX).await
    }

    /// Rules that are in force and `wanted`, the oldest first, at most `limit`: `$3` is the
    /// list of no roles, `$4` is `role`.
    async fn in_force(
        &self,
        wanted: &str,
        role: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Rule>, EnforceError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM enforce_rule WHERE state = 'active' AND (until IS NULL OR until > $1) AND {wanted} ORDER BY id LIMIT $2"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.now().micros())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind("[]");
        if let Some(role) = role {
            query = query.bind(role);
        }
        let rows = query.fetch_all(self.inner.db.pool()).await?;
        rows.iter()
            .map(|row| Ok(decided_of(row)?.rule))
            .collect::<Result<_, EnforceError>>()
    }

    /// The last order on enforcements for `role`.
    ///
    /// # Errors
    /// [`EnforceError::Store`].
    pub async fn ordered(&self, role: Role) -> Result<i64, EnforceError> {
        self.mark(&through(role)).await
    }

    /// What of the warning lists `target` hits, the strictest first.
    ///
    /// # Errors
    /// [`EnforceError::Store`].
    pub async fn listed(&self, target: &Target) -> Result<Vec<(Effect, Hit)>, EnforceError> {
        Ok(self.obeyed().await?.1.hits(target))
    }

    /// One decision with its hits.
    ///
    /// # Errors
    /// [`EnforceError::NotFound`].
    pub async fn get(&self, id: EnforcementId) -> Result<(Decided, Hits), EnforceError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM enforce_rule WHERE id = $1"
        )))
        .bind(id.to_string())
        .fetch_optional(self.inner.db.pool())
        .await?
        .ok_or(EnforceError::NotFound(id))?;
        let decided = decided_of(&row)?;
        let hits = self.hits(std::slice::from_ref(&decided)).await?;
        Ok((decided, hits.first().copied().unwrap_or_default()))
    }

    pub(super) async fn hits(&self, decided: &[Decided]) -> Result<Vec<Hits>, EnforceError> {
        if decided.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<EnforcementId> = decided.iter().map(|d| d.rule.id).collect();
        self.inner.past.hits(&ids).await.map_err(EnforceError::Seam)
    }

    /// Why `target` is blocked, or was, or is not: by itself, or by what covers it.
    ///
    /// # Errors
    /// [`EnforceError::Store`] and [`EnforceError::Seam`].
    pub async fn why(&self, target: Target) -> Result<Why, EnforceError> {
        const DECISIONS_MAX: usize = 100;
        let mut found = Vec::new();
        for text in covering(&target) {
            let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
                "SELECT {COLUMNS} FROM enforce_rule WHERE target = $1 ORDER BY id DESC LIMIT $2"
            )))
            .bind(text)
            .bind(DECISIONS_MAX as i64)
            .fetch_all(self.inner.db.pool())
            .await?;
            for row in &rows {
                found.push(decided_of(row)?);
            }
        }
        found.sort_by_key(|d: &Decided| (d.state != State::Active, std::cmp::Reverse(d.rule.id)));
        found.truncate(DECISIONS_MAX);
        let hits = self.hits(&found).await?;
        let (_, policy) = self.policy().await?;
        let own = self.own().await?;
        let names = self.own_names().await?;
        Ok(Why {
            forbidden: policy
                .permits(&target)
                .and_then(|()| own.permits(&target))
                .err(),
            asked: names.asks(&target).or_else(|| own.asks(&target)),
            target,
            decisions: found.into_iter().zip(hits).collect(),
        })
    }
}

/// Texts of all targets that would meet `target`.
pub(crate) fn covering(target: &Target) -> Vec<String> {
    let mut texts = vec![target.to_string()];
    let mut name_and_above = |name: &str| {
        texts.push(name.to_owned());
        let mut rest = name;
        loop {
            texts.push(format!("*.{rest}"));
            match rest.split_once('.') {
                Some((_, above)) if above.contains('.') => rest = above,
                _ => break,
            }
        }
    };
    match target {
        Target::Network(prefix) => {
            for length in (0..prefix.length()).rev() {
                if let Ok(wider) = base::Prefix::new(prefix.address(), length) {
                    texts.push(wider.to_string());
                }
            }
        }
        Target::Domain { name, .. } => name_and_above(name),
        Target::Url(url) => {
            name_and_above(url.split('/').next().unwrap_or_default());
            if let Some((path, _)) = url.split_once('?') {
                texts.push(format!("url:{path}"));
            }
        }
        Target::File { .. } => {}
    }
    texts.sort();
    texts.dedup();
    texts
}
