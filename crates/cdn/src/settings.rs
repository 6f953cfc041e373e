//! A site's settings as one document: validation, the difference between two
//! versions, and an explanation of what an edge would do with a URL. Pure.

mod difference;
mod explain;

use base::delivery::{OriginPool, PathAction, SiteSettings, limits};
use casework::form::Text;
use casework::validate::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use difference::{Change, difference};
pub use explain::{Explanation, explain, matching};

/// Bytes of one settings document.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Seconds in the longest time that a setting may name: one year.
pub const SECONDS_MAX: u32 = 31_536_000;
/// Query parameters left out of the cache key.
pub const IGNORE_QUERY_MAX: usize = 100;
/// Bytes of a path prefix, a header name or value.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// What one version of a site's settings holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Where misses go.
    pub origins: OriginPool,
    /// How the site is cached and delivered.
    #[serde(default)]
    pub delivery: SiteSettings,
}

/// Everything that is wrong with a document, each with the path of the setting.
pub fn problems(config: &SiteConfig) -> Vec<Problem> {
    let mut check = Check::default();
    check.origins(&config.origins);
    check.delivery(&config.delivery);
    check.found
}

#[derive(Default)]
struct Check {
    found: Vec<Problem>,
}

impl Check {
    fn wrong(
        &mut self,
        field: impl Into<String>,
        value: impl ToString,
        rule: &'static str,
        zh: impl Into<String>,
        en: impl Into<String>,
    ) {
        let value: String = value.to_string().chars().take(60).collect();
        self.found.push(Problem {
            field: field.into(),
            value,
            rule,
            message: Text::new(zh, en),
        });
    }

    fn at_most(&mut self, field: impl Into<String>, value: u64, least: u64, most: u64) {
        if value < least || value > most {
            self.wrong(
                field,
                value,
                "range",
                format!("必須介於 {least} 與 {most} 之間"),
                format!("must be between {least} and {most}"),
            );
        }
    }

    fn origins(&mut self, pool: &OriginPool) {
        let count = pool.origins.len();
        self.at_most(
            "origins.origins",
            count as u64,
            1,
            limits::ORIGINS_PER_SITE_MAX as u64,
        );
        for (index, origin) in pool
            .origins
            .iter()
            .enumerate()
            .take(limits::ORIGINS_PER_SITE_MAX)
        {
            let at = format!("origins.origins[{index}]");
            if !is_origin(&origin.url) {
                self.wrong(
                    format!("{at}.url"),
                    &origin.url,
                    "origin",
                    "必須是 http:// 或 https:// 加主機名稱(可加埠號),不含路徑",
                    "must be http:// or https:// and a host, perhaps a port, without a path",
                );
            }
            self.at_most(format!("{at}.weight"), origin.weight.into(), 1, 1_000);
            if pool.origins[..index]
                .iter()
                .any(|other| other.url == origin.url)
            {
                self.wrong(
                    format!("{at}.url"),
                    &origin.url,
                    "unique",
                    "來源重複了",
                    "this origin is given twice",
                );
            }
        }
        if let Some(host) = &pool.host_header
            && !is_authority(host)
        {
            self.wrong(
                "origins.host_header",
                host,
                "host",
                "必須是主機名稱(可加埠號)",
                "must be a host name, perhaps with a port",
            );
        }
        if let Some(path) = &pool.health_path
            && !is_path(path)
        {
            self.wrong(
                "origins.health_path",
                path,
                "path",
                "必須以 / 開頭,且不含空白",
                "must begin with / and hold no space",
            );
        }
        self.at_most(
            "origins.connect_timeout_ms",
            pool.connect_timeout_ms.into(),
            50,
            60_000,
        );
        self.at_most(
            "origins.first_byte_timeout_ms",
            pool.first_byte_timeout_ms.into(),
            50,
            600_000,
        );
        self.at_most(
            "origins.idle_timeout_ms",
            pool.idle_timeout_ms.into(),
            50,
            600_000,
        );
    }

    fn delivery(&mut self, settings: &SiteSettings) {
        self.at_most(
            "delivery.path_rules",
            settings.path_rules.len() as u64,
            0,
            limits::PATH_RULES_MAX as u64,
        );
        for (index, rule) in settings
            .path_rules
            .iter()
            .enumerate()
            .take(limits::PATH_RULES_MAX)
        {
            let at = format!("delivery.path_rules[{index}]");
            if !is_path(&rule.prefix) || rule.prefix.contains(['?', '#']) {
                self.wrong(
                    format!("{at}.prefix"),
                    &rule.prefix,
                    "path",
                    "必須以 / 開頭,且不含空白、? 與 #",
                    "must begin with / and hold no space, ? or #",
                );
            }
            if settings.path_rules[..index]
                .iter()
                .any(|other| other.prefix == rule.prefix)
            {
                self.wrong(
                    format!("{at}.prefix"),
                    &rule.prefix,
                    "unique",
                    "這個路徑已有規則",
                    "this prefix has a rule already",
                );
            }
            if let PathAction::DefaultTtl { seconds } | PathAction::ForceTtl { seconds } =
                rule.action
            {
                self.at_most(
                    format!("{at}.action.seconds"),
                    seconds.into(),
                    1,
                    SECONDS_MAX.into(),
                );
            }
        }
        self.at_most(
            "delivery.ignore_query",
            settings.ignore_query.len() as u64,
            0,
            IGNORE_QUERY_MAX as u64,
        );
        for (index, name) in settings
            .ignore_query
            .iter()
            .enumerate()
            .take(IGNORE_QUERY_MAX)
        {
            if name.is_empty()
                || name.len() > 100
                || name
                    .bytes()
                    .any(|b| !b.is_ascii_graphic() || b"&=#?".contains(&b))
            {
                self.wrong(
                    format!("delivery.ignore_query[{index}]"),
                    name,
                    "query-parameter",
                    "必須是 1 到 100 個可見的 ASCII 字元,且不含 & = # ?",
                    "must be 1 to 100 visible ASCII characters without & = # ?",
                );
            }
        }
        for (name, value) in [
            (
                "stale_while_revalidate_s",
                settings.stale_while_revalidate_s,
            ),
            ("stale_if_error_s", settings.stale_if_error_s),
            ("negative_ttl_s", settings.negative_ttl_s),
        ] {
            self.at_most(
                format!("delivery.{name}"),
                value.into(),
                0,
                SECONDS_MAX.into(),
            );
        }
        self.at_most(
            "delivery.hsts_s",
            settings.hsts_s.into(),
            0,
            u64::from(SECONDS_MAX) * 2,
        );
        self.at_most(
            "delivery.object_bytes_max",
            settings.object_bytes_max,
            1,
            1 << 40,
        );
        self.at_most(
            "delivery.request_bytes_max",
            settings.request_bytes_max,
            0,
            1 << 36,
        );
        self.at_most(
            "delivery.client_rps_max",
            settings.client_rps_max.into(),
            0,
            1_000_000,
        );
        self.headers(&settings.set_headers);
    }

    fn headers(&mut self, headers: &[(String, String)]) {
        self.at_most(
            "delivery.set_headers",
            headers.len() as u64,
            0,
            limits::HEADERS_MAX as u64,
        );
        for (index, (name, value)) in headers.iter().enumerate().take(limits::HEADERS_MAX) {
            let at = format!("delivery.set_headers[{index}]");
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || name.len() > 100 || !name.bytes().all(token) {
                self.wrong(
                    format!("{at}[0]"),
                    name,
                    "header-name",
                    "不是標頭名稱(RFC 9110 第 5.1 節)",
                    "is not a header name (RFC 9110 section 5.1)",
                );
            } else if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                self.wrong(
                    format!("{at}[0]"),
                    name,
                    "header-reserved",
                    "這個標頭由節點自己管理",
                    "this header belongs to the edge itself",
                );
            }
            if value.len() > TEXT_BYTES_MAX
                || value
                    .bytes()
                    .any(|b| b != b'\t' && !(b' '..=b'~').contains(&b))
            {
                self.wrong(
                    format!("{at}[1]"),
                    value,
                    "header-value",
                    "必須是可見的 ASCII 字元,最多 1,024 位元組",
                    "must be visible ASCII, at most 1,024 bytes",
                );
            }
        }
    }
}

/// Headers that say how a message is framed or cached: never set by a site.
const RESERVED_HEADERS: [&str; 14] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "date",
    "age",
    "content-range",
    "content-encoding",
    "cache-status",
    "proxy-authenticate",
    "via",
];

pub(crate) fn is_origin(text: &str) -> bool {
    text.len() <= 300
        && !text.ends_with('/')
        && url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        })
}

fn is_authority(text: &str) -> bool {
    !text.contains(['/', '?', '#', '@']) && is_origin(&format!("http://{text}"))
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= TEXT_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use base::delivery::PathRule;

    use super::*;

    fn config() -> SiteConfig {
        SiteConfig {
            origins: OriginPool::single("https://origin.example"),
            delivery: SiteSettings::default(),
        }
    }

    #[test]
    fn the_plain_config_is_right() {
        assert_eq!(problems(&config()), []);
    }

    #[test]
    fn each_wrong_setting_is_named_with_its_path_value_and_rule() {
        type Case = (&'static str, &'static str, Box<dyn Fn(&mut SiteConfig)>);
        let cases: Vec<Case> = vec![
            (
                "origins.origins",
                "range",
                Box::new(|c| c.origins.origins.clear()),
            ),
            (
                "origins.origins[0].url",
                "origin",
                Box::new(|c| c.origins.origins[0].url = "https://a.example/x".into()),
            ),
            (
                "origins.origins[0].url",
                "origin",
                Box::new(|c| c.origins.origins[0].url = "file:///etc/passwd".into()),
            ),
            (
                "origins.origins[0].weight",
                "range",
                Box::new(|c| c.origins.origins[0].weight = 0),
            ),
            (
                "origins.host_header",
                "host",
                Box::new(|c| c.origins.host_header = Some("a b\r\nX: y".into())),
            ),
            (
                "origins.health_path",
                "path",
                Box::new(|c| c.origins.health_path = Some("health".into())),
            ),
            (
                "origins.connect_timeout_ms",
                "range",
                Box::new(|c| c.origins.connect_timeout_ms = 0),
            ),
            (
                "delivery.path_rules[0].prefix",
                "path",
                Box::new(|c| {
                    c.delivery.path_rules.push(PathRule {
                        prefix: "x".into(),
                        action: PathAction::Follow,
                    })
                }),
            ),
            (
                "delivery.path_rules[0].action.seconds",
                "range",
                Box::new(|c| {
                    c.delivery.path_rules.push(PathRule {
                        prefix: "/x".into(),
                        action: PathAction::ForceTtl { seconds: 0 },
                    })
                }),
            ),
            (
                "delivery.ignore_query[0]",
                "query-parameter",
                Box::new(|c| c.delivery.ignore_query.push("a=b".into())),
            ),
            (
                "delivery.set_headers[0][0]",
                "header-reserved",
                Box::new(|c| {
                    c.delivery
                        .set_headers
                        .push(("Content-Length".into(), "1".into()))
                }),
            ),
            (
                "delivery.set_headers[0][0]",
                "header-name",
                Box::new(|c| c.delivery.set_headers.push(("X Y".into(), "1".into()))),
            ),
            (
                "delivery.set_headers[0][1]",
                "header-value",
                Box::new(|c| {
                    c.delivery
                        .set_headers
                        .push(("X".into(), "a\r\nSet-Cookie: b".into()))
                }),
            ),
            (
                "delivery.stale_if_error_s",
                "range",
                Box::new(|c| c.delivery.stale_if_error_s = u32::MAX),
            ),
            (
                "delivery.object_bytes_max",
                "range",
                Box::new(|c| c.delivery.object_bytes_max = 0),
            ),
        ];
        for (path, rule, change) in cases {
            let mut config = config();
            change(&mut config);
            let found = problems(&config);
            assert_eq!(found.len(), 1, "{path}: {found:?}");
            assert_eq!((found[0].field.as_str(), found[0].rule), (path, rule));
        }
    }

    #[test]
    fn a_difference_names_paths_and_both_values() {
        let before = config();
        let mut after = before.clone();
        after.delivery.stale_if_error_s = 60;
        after.origins.host_header = Some("www.agency.example".into());
        let changes = difference(&before, &after);
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0].path, "delivery.stale_if_error_s");
        assert_eq!(
            (changes[0].before.clone(), changes[0].after.clone()),
            (Some(0.into()), Some(60.into()))
        );
        assert_eq!(changes[1].before, None);
        assert_eq!(difference(&after, &after), []);
    }

    #[test]
    fn an_explanation_follows_the_longest_rule() {
        let mut config = config();
        config.delivery.redirect_to_https = true;
        config.delivery.ignore_query = vec!["utm_source".into()];
        config.delivery.path_rules = vec![
            PathRule {
                prefix: "/".into(),
                action: PathAction::DefaultTtl { seconds: 60 },
            },
            PathRule {
                prefix: "/api/".into(),
                action: PathAction::Bypass,
            },
        ];
        let hosts = vec!["www.agency.example".to_owned()];
        let news = explain(
            &config,
            &hosts,
            "http://www.agency.example/news?utm_source=x&page=2",
        )
        .expect("ours");
        assert_eq!(
            news.cache_key.as_deref(),
            Some("www.agency.example/news?page=2")
        );
        assert_eq!(
            news.redirect.as_deref(),
            Some("https://www.agency.example/news?utm_source=x&page=2")
        );
        assert_eq!(news.rule.expect("one").prefix, "/");
        let api = explain(&config, &hosts, "https://www.agency.example/api/v1").expect("ours");
        assert_eq!((api.cache_key, api.redirect), (None, None));
        assert!(explain(&config, &hosts, "https://other.example/").is_err());
        assert!(explain(&config, &hosts, "not a url").is_err());
    }
}
