//! Sign-in by an OpenID Connect provider: authorization code flow (OpenID Connect
//! Core section 3.1) with PKCE (RFC 7636), nonce and state.

use std::pin::Pin;
use std::time::Duration;

use base::Timestamp;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims,
};
use openidconnect::{
    AccessTokenHash, AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    HttpRequest, HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, TokenResponse as _,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::OidcConfig;
use crate::problem::WebError;

/// Bytes of an answer of the provider.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Time that the provider has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time that its metadata and keys are used before they are fetched again.
const METADATA_LIFETIME: Duration = Duration::from_secs(600);
/// Path of the console that the provider sends people back to.
pub(crate) const CALLBACK: &str = "/login/oidc/callback";

/// The configured provider.
pub(crate) struct Provider {
    config: OidcConfig,
    redirect: RedirectUrl,
    http: Http,
    known: Mutex<Option<(Timestamp, CoreProviderMetadata)>>,
}

/// What the browser keeps, signed, between leaving for the provider and coming back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
    pub(crate) next: String,
    pub(crate) until: i64,
}

/// Whom the provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vouched {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// Only an address that the provider calls verified.
    pub(crate) email: Option<String>,
}

/// Why an answer of the provider did not come.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the request to the provider failed")]
    Http(#[from] reqwest::Error),
    #[error("the provider's answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the provider's answer could not be put together")]
    Odd(#[from] http::Error),
}

impl Provider {
    /// The provider of the configuration; `public_url` is where it sends people back.
    ///
    /// # Errors
    /// When the configured addresses are none.
    pub(crate) fn new(config: &OidcConfig, public_url: &str) -> Result<Self, WebError> {
        runtime::crypto::install_provider();
        let back = format!("{}{CALLBACK}", public_url.trim_end_matches('/'));
        let wrong = |error: &(dyn std::error::Error + 'static)| {
            WebError::internal(format!("web.oidc: {}", runtime::error_chain(error)))
        };
        IssuerUrl::new(config.issuer.clone()).map_err(|error| wrong(&error))?;
        Ok(Self {
            redirect: RedirectUrl::new(back).map_err(|error| wrong(&error))?,
            // The provider is asked where it said to be, nowhere else.
            http: Http(
                reqwest::Client::builder()
                    .redirect(reqwest::redirect::Policy::none())
                    .timeout(PATIENCE)
                    .build()
                    .map_err(|error| wrong(&error))?,
            ),
            config: config.clone(),
            known: Mutex::new(None),
        })
    }

    /// Its name on the sign-in page.
    pub(crate) fn name(&self, zh: bool) -> &str {
        match zh {
            true => &self.config.name_zh,
            false => &self.config.name_en,
        }
    }

    async fn metadata(&self, now: Timestamp) -> Result<CoreProviderMetadata, WebError> {
        let mut known = self.known.lock().await;
        if let Some((at, metadata)) = &*known
            && now.since(*at) < METADATA_LIFETIME
        {
            return Ok(metadata.clone());
        }
        let issuer = IssuerUrl::new(self.config.issuer.clone()).map_err(WebError::internal)?;
        let metadata = CoreProviderMetadata::discover_async(issuer, &self.http)
            .await
            .map_err(|error| unavailable(&error))?;
        *known = Some((now, metadata.clone()));
        Ok(metadata)
    }

    /// Where to send the browser, and what it keeps meanwhile.
    ///
    /// # Errors
    /// 503 when the provider's metadata cannot be fetched.
    pub(crate) async fn begin(
        &self,
        now: Timestamp,
        lifetime: Duration,
        next: &str,
    ) -> Result<(String, Pending), WebError> {
        let client = CoreClient::from_provider_metadata(
            self.metadata(now).await?,
            ClientId::new(self.config.client_id.clone()),
            self.config.client_secret.clone().map(ClientSecret::new),
        )
        .set_redirect_uri(self.redirect.clone());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scope(Scope::new("email".to_owned()))
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let pending = Pending {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            next: next.to_owned(),
            until: now.plus(lifetime).micros(),
        };
        Ok((url.into(), pending))
    }

    /// Exchanges the code for whom the provider vouches for; every claim is checked
    /// against the provider's keys, our name and the nonce.
    ///
    /// # Errors
    /// 403 when the provider's answer does not hold, 503 when it does not answer.
    pub(crate) async fn finish(
        &self,
        now: Timestamp,
        code: String,
        pending: Pending,
    ) -> Result<Vouched, WebError> {
        let client = CoreClient::from_provider_metadata(
            self.metadata(now).await?,
            ClientId::new(self.config.client_id.clone()),
            self.config.client_secret.clone().map(ClientSecret::new),
        )
        .set_redirect_uri(self.redirect.clone());
        let token = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| refused(&error))?
            .set_pkce_verifier(PkceCodeVerifier::new(pending.verifier))
            .request_async(&self.http)
            .await
            .map_err(|error| match error {
                openidconnect::RequestTokenError::Request(_) => unavailable(&error),
                _ => refused(&error),
            })?;
        let id_token = token
            .id_token()
            .ok_or_else(|| WebError::forbidden("the provider sent no ID token"))?;
        let verifier = client.id_token_verifier();
        let claims = match id_token.claims(&verifier, &Nonce::new(pending.nonce)) {
            Ok(claims) => claims,
            Err(error) => {
                // Its keys may have changed: the next attempt fetches them anew.
                *self.known.lock().await = None;
                return Err(refused(&error));
            }
        };
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = id_token.signing_alg().map_err(|error| refused(&error))?;
            let key = id_token
                .signing_key(&verifier)
                .map_err(|error| refused(&error))?;
            let actual = AccessTokenHash::from_token(token.access_token(), algorithm, key)
                .map_err(|error| refused(&error))?;
            if actual != *expected {
                return Err(WebError::forbidden(
                    "the provider's tokens do not belong together",
                ));
            }
        }
        let mut email = verified(claims.email(), claims.email_verified());
        if email.is_none()
            && let Ok(request) =
                client.user_info(token.access_token().clone(), Some(claims.subject().clone()))
        {
            let info: CoreUserInfoClaims = request
                .request_async(&self.http)
                .await
                .map_err(|error| unavailable(&error))?;
            email = verified(info.email(), info.email_verified());
        }
        Ok(Vouched {
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
            email,
        })
    }
}

fn verified(email: Option<&openidconnect::EndUserEmail>, verified: Option<bool>) -> Option<String> {
    match verified {
        Some(true) => email.map(|email| email.to_string()),
        _ => None,
    }
}

fn refused(error: &(dyn std::error::Error + 'static)) -> WebError {
    WebError::forbidden("the provider's answer does not hold: sign in again")
        .with_inside(runtime::error_chain(error))
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> WebError {
    WebError::unavailable(format!("OpenID provider: {}", runtime::error_chain(error)))
}

/// The HTTP client as the protocol's library asks for it.
struct Http(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(fetch(self.0.clone(), request))
    }
}

async fn fetch(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let mut response = http.execute(reqwest::Request::try_from(request)?).await?;
    let mut builder = http::Response::builder().status(response.status());
    for (name, value) in response.headers() {
        builder = builder.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(builder.body(body)?)
}
