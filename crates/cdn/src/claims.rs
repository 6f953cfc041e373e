//! Proof that a tenant controls a host name, before anything is served under it: a
//! TXT record at `_civicnet-challenge.<host>`, or a file at
//! `http://<host>/.well-known/civicnet-challenge/<token>` that holds the token.

use base::{OrgId, Timestamp};
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::Tx;

use crate::engine::{By, Cdn};
use crate::error::CdnError;

/// Names that one tenant may be proving.
pub const CLAIMS_MAX: i64 = 500;
/// Bytes of a proof file.
pub const PROOF_BYTES_MAX: usize = 4_096;
/// Seconds between two checks of one name.
pub const CHECK_PAUSE_S: u64 = 5;

/// A tenant's claim to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The tenant.
    pub org: OrgId,
    /// The name.
    pub host: String,
    /// What the proof must hold.
    pub token: String,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// When it was proven.
    pub proven_at: Option<Timestamp>,
    /// By which way: `dns` or `file`; empty while unproven.
    pub way: String,
    /// Why the last check failed.
    pub error: String,
}

impl Claim {
    /// The name of the TXT record.
    pub fn record(&self) -> String {
        format!("_civicnet-challenge.{}", self.host)
    }

    /// The URL of the proof file.
    pub fn file(&self, port: u16) -> String {
        let port = if port == 80 {
            String::new()
        } else {
            format!(":{port}")
        };
        format!(
            "http://{}{port}/.well-known/civicnet-challenge/{}",
            self.host, self.token
        )
    }
}

impl Cdn {
    /// The claims of a tenant to these names; missing ones are made.
    ///
    /// # Errors
    /// [`CdnError`]: not a host name, too many claims.
    pub async fn claims(&self, org: OrgId, hosts: &[String]) -> Result<Vec<Claim>, CdnError> {
        let mut found = Vec::with_capacity(hosts.len());
        for host in hosts {
            let host = casework::validate::hostname(host).ok_or_else(|| {
                CdnError::field(
                    "host",
                    host,
                    "format",
                    "必須是完整的主機名稱",
                    "must be a full host name",
                )
            })?;
            if let Some(claim) = self.claim(org, &host).await? {
                found.push(claim);
                continue;
            }
            let token = random_token()?;
            let mut tx = self.inner.db.begin().await?;
            let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM cdn_claim WHERE org = $1")
                .bind(org.to_string())
                .fetch_one(&mut *tx)
                .await?;
            if count >= CLAIMS_MAX {
                return Err(CdnError::Limit {
                    what: "names that an organisation is proving",
                    most: CLAIMS_MAX as u64,
                });
            }
            sqlx::query("INSERT INTO cdn_claim (org, host, token, created_at, way, error) VALUES ($1, $2, $3, $4, '', '') ON CONFLICT (org, host) DO NOTHING")
                .bind(org.to_string())
                .bind(&host)
                .bind(token)
                .bind(self.now().micros())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            found.extend(self.claim(org, &host).await?);
        }
        Ok(found)
    }

    /// All claims of a tenant, by name.
    ///
    /// # Errors
    /// [`CdnError::Store`].
    pub async fn all_claims(&self, org: OrgId) -> Result<Vec<Claim>, CdnError> {
        let rows = sqlx::query("SELECT org, host, token, checked_at, proven_at, way, error FROM cdn_claim WHERE org = $1 ORDER BY host LIMIT $2")
            .bind(org.to_string())
            .bind(CLAIMS_MAX)
            .fetch_all(self.inner.db.pool())
            .await?;
        rows.iter().map(claim_of).collect()
    }

    async fn claim(&self, org: OrgId, host: &str) -> Result<Option<Claim>, CdnError> {
        let row = sqlx::query("SELECT org, host, token, checked_at, proven_at, way, error FROM cdn_claim WHERE org = $1 AND host = $2")
            .bind(org.to_string())
            .bind(host)
            .fetch_optional(self.inner.db.pool())
            .await?;
        row.map(|row| claim_of(&row)).transpose()
    }

    /// Looks for the proof now, by both ways.
    ///
    /// # Errors
    /// [`CdnError::NotFound`] when the tenant does not claim the name; a proof that
    /// is not there is no error, but told in the claim.
    pub async fn prove(&self, by: &By, org: OrgId, host: &str) -> Result<Claim, CdnError> {
        let claim = self
            .claim(org, host)
            .await?
            .ok_or_else(|| CdnError::not_found("claimed name", host))?;
        let now = self.now();
        let soon = claim
            .checked_at
            .is_some_and(|at| now.since(at).as_secs() < CHECK_PAUSE_S && now >= at);
        if claim.proven_at.is_some() || soon {
            return Ok(claim);
        }
        let outcome = self.look_for(&claim).await;
        let (proven, way, error) = match outcome {
            Ok(way) => (Some(now.micros()), way, String::new()),
            Err(error) => (None, "", error),
        };
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("UPDATE cdn_claim SET checked_at = $3, proven_at = $4, way = $5, error = $6 WHERE org = $1 AND host = $2")
            .bind(org.to_string())
            .bind(host)
            .bind(now.micros())
            .bind(proven)
            .bind(way)
            .bind(error.chars().take(500).collect::<String>())
            .execute(&mut *tx)
            .await?;
        if proven.is_some() {
            tx.audit(by.entry(
                Some(org),
                "host.prove",
                format!("host:{host}"),
                json!({"way": way}),
            ))
            .await?;
        }
        tx.commit().await?;
        self.claim(org, host)
            .await?
            .ok_or_else(|| CdnError::not_found("claimed name", host))
    }

    async fn look_for(&self, claim: &Claim) -> Result<&'static str, String> {
        let record = claim.record();
        let dns = match self.inner.lookup.txt(&record).await {
            Ok(texts) if texts.iter().any(|text| text.trim() == claim.token) => return Ok("dns"),
            Ok(texts) if texts.is_empty() => format!("{record} has no TXT record"),
            Ok(texts) => format!(
                "{record} holds {} TXT records, none of which is the token",
                texts.len()
            ),
            Err(error) => format!("{record}: {error}"),
        };
        let url = claim.file(self.inner.config.proof_port);
        let file = match self.inner.fetcher.get(&url, PROOF_BYTES_MAX).await {
            Ok(answer)
                if answer.status == 200 && answer.body.trim_ascii() == claim.token.as_bytes() =>
            {
                return Ok("file");
            }
            Ok(answer) if answer.status == 200 => format!("{url} holds something else"),
            Ok(answer) => format!("{url} answers {}", answer.status),
            Err(error) => error.to_string(),
        };
        Err(format!("{dns}; {file}"))
    }

    /// Whether a tenant has proven a name, as the caller's transaction sees it.
    pub(crate) async fn proven(
        &self,
        tx: &mut Tx,
        org: OrgId,
        host: &str,
    ) -> Result<bool, CdnError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT proven_at FROM cdn_claim WHERE org = $1 AND host = $2 AND proven_at IS NOT NULL")
            .bind(org.to_string())
            .bind(host)
            .fetch_optional(&mut **tx)
            .await?;
        Ok(row.is_some())
    }

    /// Takes a name as proven without looking: the sandbox's own names.
    ///
    /// # Errors
    /// [`CdnError`]: not a host name.
    pub async fn prove_by_house(&self, by: &By, org: OrgId, host: &str) -> Result<(), CdnError> {
        for claim in self.claims(org, &[host.to_owned()]).await? {
            let mut tx = self.inner.db.begin().await?;
            sqlx::query("UPDATE cdn_claim SET proven_at = $3, way = 'house' WHERE org = $1 AND host = $2 AND proven_at IS NULL")
                .bind(org.to_string())
                .bind(&claim.host)
                .bind(self.now().micros())
                .execute(&mut *tx)
                .await?;
            tx.audit(by.entry(
                Some(org),
                "host.prove",
                format!("host:{}", claim.host),
                json!({"way": "house"}),
            ))
            .await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Where the CNAME of each of a site's hosts points at the moment.
    pub async fn cname_status(
        &self,
        hosts: &[String],
        target: &str,
    ) -> Vec<(String, Result<bool, String>)> {
        let mut status = Vec::with_capacity(hosts.len());
        for host in hosts.iter().take(20) {
            let found = self.inner.lookup.cname(host).await;
            let verdict = found.map(|name| {
                name.is_some_and(|name| name.trim_end_matches('.').eq_ignore_ascii_case(target))
            });
            status.push((host.clone(), verdict));
        }
        status
    }
}

pub(crate) fn random_token() -> Result<String, CdnError> {
    let mut bytes = [0_u8; 24];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| {
        CdnError::Sealed {
            what: "no randomness for a token",
            source: "the system's generator fails".into(),
        }
    })?;
    Ok(hex::encode(bytes))
}

fn claim_of(row: &AnyRow) -> Result<Claim, CdnError> {
    Ok(Claim {
        org: crate::engine::parse(&row.try_get::<String, _>("org")?)?,
        host: row.try_get("host")?,
        token: row.try_get("token")?,
        checked_at: row.try_get::<Option<i64>, _>("checked_at")?.map(Timestamp),
        proven_at: row.try_get::<Option<i64>, _>("proven_at")?.map(Timestamp),
        way: row.try_get("way")?,
        error: row.try_get("error")?,
    })
}
