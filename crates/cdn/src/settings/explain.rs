//! What an edge does with a URL under given settings, in words.

use base::delivery::{PathAction, PathRule, SiteSettings};
use casework::form::Text;
use serde::Serialize;

use super::SiteConfig;

/// What an edge does with a request for a URL, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The host that was judged.
    pub host: String,
    /// The path without its query.
    pub path: String,
    /// Whether plain HTTP is sent to HTTPS first.
    pub redirect: Option<String>,
    /// The rule that matches, if one does.
    pub rule: Option<PathRule>,
    /// The key under which the object is kept; none when it never is.
    pub cache_key: Option<String>,
    /// Origins in the order in which they are tried, with the tier.
    pub origins: Vec<String>,
    /// `Host` sent to the origin.
    pub host_header: String,
    /// The steps, in words.
    pub steps: Vec<Text>,
}

/// Explains what an edge would do with a `GET` for `url` under `config`.
///
/// # Errors
/// A sentence in both languages when `url` is not a URL of one of `hosts`.
pub fn explain(config: &SiteConfig, hosts: &[String], url: &str) -> Result<Explanation, Text> {
    let parsed = url::Url::parse(url.trim()).map_err(|_| {
        Text::new(
            "必須是完整的網址,例如 https://www.agency.example/news/",
            "must be a full URL such as https://www.agency.example/news/",
        )
    })?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(Text::new(
            "必須以 http:// 或 https:// 開頭",
            "must begin with http:// or https://",
        ));
    }
    let host = parsed.host_str().unwrap_or_default().to_ascii_lowercase();
    if !hosts.contains(&host) {
        return Err(Text::new(
            format!("{host} 不是這個網站的主機名稱"),
            format!("{host} is not a host name of this site"),
        ));
    }
    let settings = &config.delivery;
    let path = parsed.path().to_owned();
    let rule = matching(&settings.path_rules, &path).cloned();
    let mut steps = Vec::new();
    let redirect = (settings.redirect_to_https && parsed.scheme() == "http").then(|| {
        let mut secure = parsed.clone();
        secure.set_scheme("https").ok();
        String::from(secure)
    });
    if let Some(to) = &redirect {
        steps.push(Text::new(
            format!("以 308 轉址到 {to},後續步驟說明轉址後的請求"),
            format!("answers 308 to {to}; what follows is about the second request"),
        ));
    }
    if settings.client_rps_max > 0 {
        steps.push(Text::new(
            format!(
                "同一位址每秒超過 {} 個請求時回應 429",
                settings.client_rps_max
            ),
            format!(
                "answers 429 when one address sends more than {} requests a second",
                settings.client_rps_max
            ),
        ));
    }
    let query = kept_query(parsed.query(), &settings.ignore_query);
    if query.as_deref() != parsed.query() {
        steps.push(Text::new(
            "快取鍵略去設定中不計的查詢參數",
            "leaves the ignored query parameters out of the cache key",
        ));
    }
    let bypass = matches!(
        rule,
        Some(PathRule {
            action: PathAction::Bypass,
            ..
        })
    );
    steps.push(rule_step(rule.as_ref()));
    let cache_key = (!bypass).then(|| {
        format!(
            "{host}{path}{}",
            query.map(|q| format!("?{q}")).unwrap_or_default()
        )
    });
    if !bypass {
        staleness(settings, &mut steps);
    }
    let mut origins: Vec<_> = config.origins.origins.iter().collect();
    origins.sort_by_key(|origin| (origin.tier, std::cmp::Reverse(origin.weight)));
    let host_header = config
        .origins
        .host_header
        .clone()
        .unwrap_or_else(|| host.clone());
    steps.push(Text::new(
        format!("沒有可用副本時向來源取回,Host 為 {host_header}"),
        format!("asks the origin when no copy can be used, with Host: {host_header}"),
    ));
    if settings.hsts_s > 0 {
        steps.push(Text::new(
            format!(
                "HTTPS 回應加上 Strict-Transport-Security: max-age={}",
                settings.hsts_s
            ),
            format!(
                "adds Strict-Transport-Security: max-age={} over HTTPS",
                settings.hsts_s
            ),
        ));
    }
    for (name, value) in &settings.set_headers {
        steps.push(Text::new(
            format!("設定回應標頭 {name}: {value}"),
            format!("sets the response header {name}: {value}"),
        ));
    }
    Ok(Explanation {
        host,
        path,
        redirect,
        rule,
        cache_key,
        origins: origins
            .iter()
            .map(|origin| {
                format!(
                    "{} (tier {}, weight {})",
                    origin.url, origin.tier, origin.weight
                )
            })
            .collect(),
        host_header,
        steps,
    })
}

/// The rule for a path: the longest prefix that it begins with.
pub fn matching<'a>(rules: &'a [PathRule], path: &str) -> Option<&'a PathRule> {
    rules
        .iter()
        .filter(|rule| path.starts_with(&rule.prefix))
        .max_by_key(|rule| rule.prefix.len())
}

fn rule_step(rule: Option<&PathRule>) -> Text {
    let Some(rule) = rule else {
        return Text::new(
            "沒有符合的路徑規則:完全依 HTTP(RFC 9111)決定",
            "no path rule matches: follows HTTP (RFC 9111)",
        );
    };
    let prefix = &rule.prefix;
    match rule.action {
        PathAction::Follow => Text::new(
            format!("規則 {prefix}:依 HTTP 決定"),
            format!("rule {prefix}: follows HTTP"),
        ),
        PathAction::Bypass => Text::new(
            format!("規則 {prefix}:一律不快取,每次都問來源"),
            format!("rule {prefix}: never keeps a copy, asks the origin every time"),
        ),
        PathAction::DefaultTtl { seconds } => Text::new(
            format!("規則 {prefix}:來源沒說保存多久時,保存 {seconds} 秒"),
            format!("rule {prefix}: keeps for {seconds} s what the origin gives no freshness for"),
        ),
        PathAction::ForceTtl { seconds } => Text::new(
            format!("規則 {prefix}:可快取的回應一律保存 {seconds} 秒(仍遵守 no-store 與 private)"),
            format!(
                "rule {prefix}: keeps cacheable responses for {seconds} s whatever they say (no-store and private still obeyed)"
            ),
        ),
    }
}

fn staleness(settings: &SiteSettings, steps: &mut Vec<Text>) {
    let seconds = settings.stale_while_revalidate_s;
    if seconds > 0 {
        steps.push(Text::new(format!("過期 {seconds} 秒內先給舊版、同時更新(來源另有指示時從之)"), format!("serves a copy up to {seconds} s stale while it is refreshed, unless the origin says otherwise")));
    }
    let seconds = settings.stale_if_error_s;
    if seconds > 0 {
        steps.push(Text::new(
            format!("來源故障時,過期 {seconds} 秒內仍給舊版"),
            format!("serves a copy up to {seconds} s stale when the origin fails"),
        ));
    }
    let seconds = settings.negative_ttl_s;
    if seconds > 0 {
        steps.push(Text::new(
            format!("來源的錯誤回應保存 {seconds} 秒"),
            format!("keeps errors of the origin for {seconds} s"),
        ));
    }
}

fn kept_query(query: Option<&str>, ignore: &[String]) -> Option<String> {
    let kept: Vec<&str> = query?
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !ignore.iter().any(|ignored| ignored == name)
        })
        .collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}
