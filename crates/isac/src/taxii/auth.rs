//! Who asks: API tokens of the console, sent as `Bearer`, as `Token` (what
//! `taxii2-client` calls it) or as the password of `Basic`.
//!
//! A `Bearer` that is a token of the configured OpenID provider, and a client certificate
//! where no token is sent, speak for whom a proof says ([`super::proofs`]).
//!
//! Passwords of people are no good here: they would go round the second factor.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::OrgId;
use base64::Engine as _;
use http::{HeaderMap, header};
use web::{Accounts, OrgScope, Principal, Via};

use super::error::TaxiiError;
use super::jwt;
use super::oidc::Provider;
use super::proofs::{self, Kind};
use super::tls::ClientCertificate;

/// How long an answer about a token is believed; a revoked one ends after this.
pub const FRESH: Duration = Duration::from_secs(2);
/// Answers remembered.
const CALLERS_MAX: usize = 10_000;

/// Who asks, and what for they may.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The person.
    pub principal: Principal,
    /// Organisations for which they may read.
    pub read: OrgScope,
    /// Organisations for which they may write.
    pub write: OrgScope,
}

impl Caller {
    /// The organisation that what they send comes from: the token's, or their only
    /// one.
    pub fn org(&self) -> Option<OrgId> {
        if let Via::Token { org: Some(org), .. } = &self.principal.via {
            return Some(*org);
        }
        match self.principal.orgs.as_slice() {
            [one] => Some(one.id),
            _ => None,
        }
    }

    /// A name for limits and statuses.
    pub fn name(&self) -> String {
        self.principal
            .user()
            .map(|user| user.to_string())
            .unwrap_or_default()
    }
}

/// Answers about tokens, remembered for a moment.
#[derive(Default)]
pub struct Callers {
    known: Mutex<HashMap<[u8; 32], (Instant, Caller)>>,
    /// By what the callers of proofs are measured; none: proofs do not count.
    policy: Option<web::policy::Policy>,
    provider: Option<Provider>,
}

/// What a request brings to say who it comes from.
enum Brought {
    Token(String),
    Certificate(ClientCertificate),
}

impl Callers {
    /// Who sent `headers`.
    ///
    /// # Errors
    /// 401 without a token that is good; 503 when the database fails.
    pub async fn of(
        &self,
        accounts: &Accounts,
        db: &store::Db,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Caller, TaxiiError> {
        // A token that is sent and no good is not mended by a certificate.
        let brought = match (token(headers), certificate) {
            (Some(token), _) => Brought::Token(token),
            (None, Some(certificate)) if !headers.contains_key(header::AUTHORIZATION) => {
                Brought::Certificate(certificate.clone())
            }
            _ => return Err(TaxiiError::unauthenticated()),
        };
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        match &brought {
            Brought::Token(token) => digest.update(token.as_bytes()),
            Brought::Certificate(certificate) => {
                digest.update(&[0]);
                digest.update(&certificate.0);
            }
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest.finish().as_ref());
        let now = Instant::now();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, caller)) = known.get(&key)
                && now.duration_since(*at) < FRESH
            {
                return Ok(caller.clone());
            }
        }
        let caller = match &brought {
            Brought::Token(token) if self.provider.is_some() && jwt::looks_like(token) => {
                self.by_provider(accounts, db, token).await?
            }
            Brought::Token(token) => {
                let found = accounts
                    .by_token(token)
                    .await
                    .map_err(|error| TaxiiError::busy(error.to_string()))?
                    .ok_or_else(TaxiiError::unauthenticated)?;
                Caller {
                    read: found.principal.scope("taxii:read"),
                    write: found.principal.scope("taxii:write"),
                    principal: found.principal,
                }
            }
            Brought::Certificate(certificate) => {
                let digest = ring::digest::digest(&ring::digest::SHA256, &certificate.0);
                let name = hex::encode(digest.as_ref());
                self.by_proof(accounts, db, Kind::Certificate, &name)
                    .await?
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CALLERS_MAX {
            known.retain(|_, (at, _)| now.duration_since(*at) < FRESH);
        }
        if known.len() < CALLERS_MAX {
            known.insert(key, (now, caller.clone()));
        }
        Ok(caller)
    }
}

impl Callers {
    /// Callers who may come by proofs as well.
    pub(super) fn new(policy: Option<web::policy::Policy>, provider: Option<Provider>) -> Self {
        Self {
            known: Mutex::default(),
            policy,
            provider,
        }
    }

    async fn by_provider(
        &self,
        accounts: &Accounts,
        db: &store::Db,
        token: &str,
    ) -> Result<Caller, TaxiiError> {
        let Some(provider) = &self.provider else {
            return Err(TaxiiError::unauthenticated());
        };
        let claims = provider.check(token, db.clock().now().seconds()).await?;
        let name = format!("{}|{}", claims.issuer, claims.subject);
        self.by_proof(accounts, db, Kind::Subject, &name).await
    }

    async fn by_proof(
        &self,
        accounts: &Accounts,
        db: &store::Db,
        kind: Kind,
        name: &str,
    ) -> Result<Caller, TaxiiError> {
        let Some(policy) = &self.policy else {
            return Err(TaxiiError::unauthenticated());
        };
        let proof = proofs::find(db, kind, name)
            .await
            .map_err(|error| TaxiiError::busy(runtime::error_chain(&error)))?
            .ok_or_else(TaxiiError::unauthenticated)?;
        proofs::caller(accounts, policy, &proof, db.clock().now()).await
    }
}

/// The token in `Authorization`.
fn token(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let rest = rest.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "token" => Some(rest.to_owned()),
        "basic" => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(rest)
                .ok()?;
            let text = String::from_utf8(bytes).ok()?;
            text.split_once(':')
                .map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn tokens_come_by_three_schemes() {
        for (value, expected) in [
            ("Bearer cnt_1", Some("cnt_1")),
            ("token cnt_1", Some("cnt_1")),
            ("Basic dXNlcjpjbnRfMQ==", Some("cnt_1")),
            ("Basic !", None),
            ("Digest x", None),
            ("Bearer", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(token(&headers).as_deref(), expected, "{value}");
        }
    }
}
