//! The section `web` of the configuration.

use base::Prefix;
use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names of [`WebConfig::open_hosts`].
const OPEN_HOSTS_MAX: usize = 100;

/// Console and API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Address of the console as browsers see it: `https://console.example.tw`,
    /// without a path. Cookies are `Secure` when it begins with `https`.
    pub public_url: String,
    /// Seconds without a request after which a session ends.
    pub session_idle_s: u32,
    /// Seconds after which a session ends in any case.
    pub session_max_s: u32,
    /// Proxies whose `X-Forwarded-For` is believed, as prefixes.
    pub trusted_proxies: Vec<Prefix>,
    /// Host names under which the public pages alone are served, such as by a CDN; `/` leads to them.
    pub open_hosts: Vec<String>,
    /// How passwords are hashed.
    pub password: PasswordConfig,
    /// Single sign-on by an OpenID Connect provider; absent: none.
    pub oidc: Option<OidcConfig>,
    /// Sign-in attempts for one account before it has to wait; they come back one
    /// a minute.
    pub login_burst: u32,
    /// API requests of one caller at once; they come back at twice a tenth of this
    /// number a second.
    pub api_burst: u32,
}

/// Argon2id (RFC 9106).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordConfig {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// Characters that a password has at least.
    pub length_min: u32,
}

/// An OpenID Connect provider, by authorization code with PKCE.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The issuer's URL; `/.well-known/openid-configuration` is fetched below it.
    pub issuer: String,
    /// The client's name at the provider.
    pub client_id: String,
    /// The client's secret, if it has one.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// Name of the provider on the sign-in page in Chinese.
    pub name_zh: String,
    /// Name of the provider on the sign-in page in English.
    pub name_en: String,
}

impl std::fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcConfig")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:8400".to_owned(),
            session_idle_s: 2 * 3600,
            session_max_s: 12 * 3600,
            trusted_proxies: Vec::new(),
            open_hosts: Vec::new(),
            password: PasswordConfig::default(),
            oidc: None,
            login_burst: 10,
            api_burst: 600,
        }
    }
}

impl Default for PasswordConfig {
    fn default() -> Self {
        // OWASP's recommended minimum for Argon2id.
        Self {
            memory_kib: 19_456,
            passes: 2,
            lanes: 1,
            length_min: 12,
        }
    }
}

impl WebConfig {
    /// Whether the console is reached by HTTPS.
    pub fn secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

impl Check for WebConfig {
    fn check(&self, at: &mut Checker) {
        let url = url::Url::parse(&self.public_url);
        at.require(
            url.is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.path() == "/"
                    && url.query().is_none()
            }),
            "public_url",
            "must be http:// or https:// and a host, without a path",
        );
        at.require(
            self.open_hosts.len() <= OPEN_HOSTS_MAX
                && self
                    .open_hosts
                    .iter()
                    .all(|host| url::Host::parse(host).is_ok()),
            "open_hosts",
            format!("must be at most {OPEN_HOSTS_MAX} host names, without ports"),
        );
        at.require(
            (60..=86_400).contains(&self.session_idle_s),
            "session_idle_s",
            "must be 60 to 86400",
        );
        at.require(
            self.session_max_s >= self.session_idle_s && self.session_max_s <= 30 * 86_400,
            "session_max_s",
            "must be at least session_idle_s and at most 2592000",
        );
        at.require(
            (3..=1_000).contains(&self.login_burst),
            "login_burst",
            "must be 3 to 1000",
        );
        at.require(
            (10..=1_000_000).contains(&self.api_burst),
            "api_burst",
            "must be 10 to 1000000",
        );
        at.section("password", &self.password);
    }
}

impl Check for PasswordConfig {
    fn check(&self, at: &mut Checker) {
        at.require(
            (8..=4_194_304).contains(&self.memory_kib),
            "memory_kib",
            "must be 8 to 4194304",
        );
        at.require(
            (1..=100).contains(&self.passes),
            "passes",
            "must be 1 to 100",
        );
        at.require((1..=16).contains(&self.lanes), "lanes", "must be 1 to 16");
        at.require(
            (8..=64).contains(&self.length_min),
            "length_min",
            "must be 8 to 64",
        );
    }
}
