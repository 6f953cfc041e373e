//! The keys of the configured OpenID provider, fetched and kept for a while.

use std::time::{Duration, Instant};

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use super::error::TaxiiError;
use super::jwt::{self, Claims, Expected, JwtError};

/// Time that keys are used before they are fetched again.
const KEYS_LIFETIME: Duration = Duration::from_secs(600);
/// Shortest time between two fetches, whatever keys tokens name.
const FETCH_EVERY: Duration = Duration::from_secs(10);
/// Time that the provider has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An OpenID provider whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The issuer's URL; `/.well-known/openid-configuration` is fetched below it.
    pub issuer: String,
    /// This server's name at the provider: what `aud` must hold.
    pub audience: String,
}

impl Check for OidcConfig {
    fn check(&self, at: &mut Checker) {
        let url = url::Url::parse(&self.issuer);
        at.require(
            url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()),
            "issuer",
            "must be an http:// or https:// URL",
        );
        at.require(!self.audience.is_empty(), "audience", "must not be empty");
    }
}

/// The provider.
pub(super) struct Provider {
    config: OidcConfig,
    http: reqwest::Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Value,
    fetched: Option<Instant>,
}

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the provider does not answer")]
    Http(#[from] reqwest::Error),
    #[error("the provider's answer is not understood: {0}")]
    Answer(&'static str),
}

impl Provider {
    pub(super) fn new(config: OidcConfig) -> Result<Self, reqwest::Error> {
        runtime::crypto::install_provider();
        Ok(Self {
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()?,
            known: Mutex::default(),
            config,
        })
    }

    /// Whom `token` speaks for.
    ///
    /// # Errors
    /// 401 when it is not believed; 503 when the provider's keys cannot be had.
    pub(super) async fn check(&self, token: &str, now_s: i64) -> Result<Claims, TaxiiError> {
        let expected = Expected {
            issuer: &self.config.issuer,
            audience: &self.config.audience,
            now_s,
        };
        let mut known = self.known.lock().await;
        let old = known.fetched.is_none_or(|at| at.elapsed() > KEYS_LIFETIME);
        if old {
            self.renew(&mut known).await?;
        }
        let mut checked = jwt::verify(token, &known.keys, &expected);
        let again = known.fetched.is_some_and(|at| at.elapsed() > FETCH_EVERY);
        if checked == Err(JwtError::Key) && again {
            // Its keys may have changed.
            self.renew(&mut known).await?;
            checked = jwt::verify(token, &known.keys, &expected);
        }
        checked.map_err(|error| {
            tracing::debug!(%error, "a token of the provider is not believed");
            TaxiiError::unauthenticated()
        })
    }

    async fn renew(&self, known: &mut Known) -> Result<(), TaxiiError> {
        let keys = self.fetch().await.map_err(|error| {
            tracing::warn!(issuer = self.config.issuer, error = %runtime::error_chain(&error), "the provider's keys could not be fetched");
            TaxiiError::busy("the OpenID provider does not answer")
        })?;
        known.keys = keys;
        known.fetched = Some(Instant::now());
        Ok(())
    }

    async fn fetch(&self) -> Result<Value, FetchError> {
        let issuer = self.config.issuer.trim_end_matches('/');
        let about = self
            .get(&format!("{issuer}/.well-known/openid-configuration"))
            .await?;
        if about["issuer"]
            .as_str()
            .map(|name| name.trim_end_matches('/'))
            != Some(issuer)
        {
            return Err(FetchError::Answer("it names another issuer"));
        }
        let keys = about["jwks_uri"]
            .as_str()
            .ok_or(FetchError::Answer("it names no keys"))?;
        self.get(keys).await
    }

    async fn get(&self, url: &str) -> Result<Value, FetchError> {
        let mut response = self.http.get(url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::Answer("it is too long"));
            }
            body.extend_from_slice(&piece);
        }
        serde_json::from_slice(&body).map_err(|_| FetchError::Answer("it is not JSON"))
    }
}
