//! Requests to addresses that people give us: web hooks, proofs of control, site
//! maps. A guard against server-side request forgery (CWE-918): every address that
//! a name resolves to is judged, the connection goes to exactly the addresses that
//! were judged, redirects are followed by hand and judged again, and the answer is
//! bounded in bytes and time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::Prefix;
use futures::StreamExt;

/// Redirects followed.
pub const REDIRECTS_MAX: usize = 3;
/// Addresses of one name that are considered.
pub const ADDRESSES_MAX: usize = 8;
/// Time for the whole of one request.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Turns a host name into addresses. The binary may join a resolver of its own.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// The addresses of `host`.
    ///
    /// # Errors
    /// A sentence that says why there are none.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolve;

#[async_trait]
impl Resolve for SystemResolve {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let found = tokio::net::lookup_host((host, 0))
            .await
            .map_err(|e| e.to_string())?;
        Ok(found
            .map(|address| address.ip())
            .take(ADDRESSES_MAX)
            .collect())
    }
}

/// Why a request was not made or came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Not a URL that we fetch.
    #[error("{url:?} is not fetched: {rule}")]
    Url {
        /// What was given.
        url: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The name has no address.
    #[error("{host:?} cannot be resolved: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// An address that outsiders must not reach through us.
    #[error("{host:?} leads to {address}, which is {what}: not fetched")]
    Forbidden {
        /// The name or literal.
        host: String,
        /// Its address.
        address: IpAddr,
        /// What kind of address that is.
        what: &'static str,
    },
    /// The answer is longer than allowed.
    #[error("the answer of {url:?} is over {limit} bytes")]
    TooLarge {
        /// What was fetched.
        url: String,
        /// Bytes allowed.
        limit: usize,
    },
    /// Too many redirects.
    #[error("{0:?} redirects more than {REDIRECTS_MAX} times")]
    Redirects(String),
    /// The request failed.
    #[error("{url:?} could not be fetched")]
    Http {
        /// What was fetched.
        url: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Says what is special about an address, or nothing when it is an ordinary public
/// one (IANA special-purpose registries, RFC 6890 and its successors).
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            match (a, b, c) {
                (0, ..) => Some("this network"),
                (127, ..) => Some("loopback"),
                (10, ..) | (192, 168, _) => Some("private"),
                (172, 16..=31, _) => Some("private"),
                (169, 254, _) => Some("link-local"),
                (100, 64..=127, _) => Some("shared address space"),
                (192, 0, 0) => Some("protocol assignments"),
                (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("documentation"),
                (192, 88, 99) => Some("deprecated 6to4 relay"),
                (198, 18..=19, _) => Some("benchmarking"),
                (224..=239, ..) => Some("multicast"),
                (240..=255, ..) => Some("reserved"),
                _ => None,
            }
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            match segments {
                [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
                [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
                // An IPv4 address inside is reached through it, so it is judged too.
                [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, ..] => Some("an embedded IPv4 address"),
                [0x100, 0, 0, 0, ..] => Some("discard-only"),
                [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("documentation"),
                [0x2001, 0..=0x01ff, ..] => Some("protocol assignments"),
                [0x2002, ..] => Some("6to4"),
                [first, ..] if first & 0xfe00 == 0xfc00 => Some("unique local"),
                [first, ..] if first & 0xffc0 == 0xfe80 => Some("link-local"),
                [first, ..] if first & 0xffc0 == 0xfec0 => Some("site-local"),
                [first, ..] if first & 0xff00 == 0xff00 => Some("multicast"),
                [first, ..] if first & 0xe000 != 0x2000 => Some("outside global unicast"),
                _ => None,
            }
        }
    }
}

/// Makes guarded requests.
#[derive(Clone)]
pub struct Fetcher {
    resolve: Arc<dyn Resolve>,
    allow: Arc<[Prefix]>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A fetcher that reaches public addresses and, besides, those in `allow`.
    pub fn new(resolve: Arc<dyn Resolve>, allow: &[Prefix]) -> Self {
        Self {
            resolve,
            allow: allow.into(),
        }
    }

    /// The resolver in use.
    pub fn resolver(&self) -> &Arc<dyn Resolve> {
        &self.resolve
    }

    /// Judges one address.
    ///
    /// # Errors
    /// [`GuardError::Forbidden`] when it is special and not allowed by configuration.
    pub fn judge(&self, host: &str, address: IpAddr) -> Result<(), GuardError> {
        let canonical = address.to_canonical();
        if self.allow.iter().any(|prefix| prefix.contains(canonical)) {
            return Ok(());
        }
        match special(address) {
            None => Ok(()),
            Some(what) => Err(GuardError::Forbidden {
                host: shorten(host),
                address,
                what,
            }),
        }
    }

    /// `GET`, following redirects; at most `limit` bytes of body.
    ///
    /// # Errors
    /// [`GuardError`] for whatever stands in the way; a status of 400 and more is no error here.
    pub async fn get(&self, url: &str, limit: usize) -> Result<Fetched, GuardError> {
        let mut next = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let (target, client) = self.prepare(&next).await?;
            let response = client
                .get(target.clone())
                .send()
                .await
                .map_err(|source| http(&next, source))?;
            if response.status().is_redirection()
                && let Some(location) = response
                    .headers()
                    .get("location")
                    .and_then(|v| v.to_str().ok())
                && let Ok(joined) = target.join(location)
            {
                next = joined.into();
                continue;
            }
            return read(&next, response, limit).await;
        }
        Err(GuardError::Redirects(shorten(url)))
    }

    /// `POST` of a JSON body with headers; redirects are not followed.
    ///
    /// # Errors
    /// [`GuardError`] for whatever stands in the way; a status of 400 and more is no error here.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Fetched, GuardError> {
        let (target, client) = self.prepare(url).await?;
        let mut request = client
            .post(target)
            .header("content-type", "application/json")
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.map_err(|source| http(url, source))?;
        read(url, response, limit).await
    }

    /// Judges every address of a URL and pins a client to them.
    async fn prepare(&self, text: &str) -> Result<(url::Url, reqwest::Client), GuardError> {
        let refuse = |rule| GuardError::Url {
            url: shorten(text),
            rule,
        };
        let target = url::Url::parse(text).map_err(|_| refuse("must be an absolute URL"))?;
        if !matches!(target.scheme(), "http" | "https") {
            return Err(refuse("must begin with http:// or https://"));
        }
        if !target.username().is_empty() || target.password().is_some() {
            return Err(refuse("must not carry a user name"));
        }
        let port = target.port_or_known_default().unwrap_or(80);
        let (host, addresses) =
            match target.host() {
                Some(url::Host::Ipv4(v4)) => (v4.to_string(), vec![IpAddr::V4(v4)]),
                Some(url::Host::Ipv6(v6)) => (v6.to_string(), vec![IpAddr::V6(v6)]),
                Some(url::Host::Domain(name)) => {
                    let found = self.resolve.addresses(name).await.map_err(|reason| {
                        GuardError::Resolve {
                            host: shorten(name),
                            reason,
                        }
                    })?;
                    (name.to_owned(), found)
                }
                None => return Err(refuse("must name a host")),
            };
        if addresses.is_empty() {
            return Err(GuardError::Resolve {
                host: shorten(&host),
                reason: "it has no address".into(),
            });
        }
        for address in &addresses {
            self.judge(&host, *address)?;
        }
        let pinned: Vec<SocketAddr> = addresses
            .iter()
            .take(ADDRESSES_MAX)
            .map(|ip| SocketAddr::new(*ip, port))
            .collect();
        let client = reqwest::Client::builder()
            .user_agent(concat!("civicnet/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .resolve_to_addrs(&host, &pinned)
            .build()
            .map_err(|source| http(text, source))?;
        Ok((target, client))
    }
}

async fn read(url: &str, response: reqwest::Response, limit: usize) -> Result<Fetched, GuardError> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|source| http(url, source))?;
        if body.len() + chunk.len() > limit {
            return Err(GuardError::TooLarge {
                url: shorten(url),
                limit,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched { status, body })
}

fn http(url: &str, source: reqwest::Error) -> GuardError {
    GuardError::Http {
        url: shorten(url),
        source: source.without_url(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_told_from_public_ones() {
        for (address, expected) in [
            ("8.8.8.8", None),
            ("140.112.1.1", None),
            ("172.32.0.1", None),
            ("2001:4860::8888", None),
            ("2400:cb00::1", None),
            ("0.0.0.0", Some("this network")),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.254", Some("loopback")),
            ("10.0.0.1", Some("private")),
            ("172.16.0.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("192.168.1.1", Some("private")),
            ("169.254.169.254", Some("link-local")),
            ("100.64.0.1", Some("shared address space")),
            ("192.0.2.1", Some("documentation")),
            ("198.18.0.1", Some("benchmarking")),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:10.0.0.1", Some("private")),
            ("::127.0.0.1", Some("an embedded IPv4 address")),
            ("64:ff9b::7f00:1", Some("an embedded IPv4 address")),
            ("2002:7f00:1::", Some("6to4")),
            ("fc00::1", Some("unique local")),
            ("fe80::1", Some("link-local")),
            ("ff02::1", Some("multicast")),
            ("2001:db8::1", Some("documentation")),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(special(address), expected, "{address}");
        }
    }

    struct Always(Vec<IpAddr>);
    #[async_trait]
    impl Resolve for Always {
        async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, String> {
            Ok(self.0.clone())
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn names_and_literals_that_lead_inside_are_refused() {
        let public_and_inside =
            Fetcher::new(Arc::new(Always(vec![ip("8.8.8.8"), ip("127.0.0.1")])), &[]);
        for url in [
            "http://rebinding.example/",
            "http://127.0.0.1/",
            "http://[::1]:8080/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://169.254.169.254/latest/meta-data",
            "https://[::ffff:10.0.0.1]/",
        ] {
            let error = public_and_inside.get(url, 10).await.expect_err(url);
            assert!(
                matches!(error, GuardError::Forbidden { .. }),
                "{url}: {error}"
            );
        }
        for url in [
            "file:///etc/passwd",
            "gopher://a.example/",
            "http://user:pw@a.example/",
            "/relative",
            "http://",
        ] {
            let error = public_and_inside.get(url, 10).await.expect_err(url);
            assert!(matches!(error, GuardError::Url { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn configuration_can_allow_a_prefix_and_no_more() {
        let fetcher = Fetcher::new(
            Arc::new(SystemResolve),
            &["127.16.0.0/12".parse().expect("a prefix")],
        );
        assert!(fetcher.judge("x", ip("127.17.0.1")).is_ok());
        assert!(fetcher.judge("x", ip("::ffff:127.17.0.1")).is_ok());
        assert!(fetcher.judge("x", ip("127.0.0.1")).is_err());
    }
}
