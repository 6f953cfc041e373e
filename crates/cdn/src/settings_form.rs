//! A site's settings as an HTML form: lists are written one entry a line, so that
//! the page works without scripts. Pure, in both directions.

use base::delivery::{Origin, OriginPool, PathAction, PathRule, SiteSettings};
use casework::form::Text;
use casework::validate::Problem;
use serde::Deserialize;

use crate::settings::SiteConfig;

/// The form's fields as text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SettingsForm {
    /// `url [weight [tier]]` a line.
    pub origins: String,
    /// `Host` sent to the origin.
    pub host_header: String,
    /// Path of the active health check.
    pub health_path: String,
    /// Milliseconds.
    pub connect_timeout_ms: String,
    /// Milliseconds.
    pub first_byte_timeout_ms: String,
    /// Milliseconds.
    pub idle_timeout_ms: String,
    /// `prefix follow|bypass|default SECONDS|force SECONDS` a line.
    pub path_rules: String,
    /// One parameter a line.
    pub ignore_query: String,
    /// Seconds.
    pub stale_while_revalidate_s: String,
    /// Seconds.
    pub stale_if_error_s: String,
    /// Seconds.
    pub negative_ttl_s: String,
    /// Bytes.
    pub object_bytes_max: String,
    /// Whether plain HTTP is redirected.
    pub redirect_to_https: bool,
    /// Seconds.
    pub hsts_s: String,
    /// `Name: value` a line.
    pub set_headers: String,
    /// Requests a second.
    pub client_rps_max: String,
    /// Bytes.
    pub request_bytes_max: String,
}

impl SettingsForm {
    /// The form that shows a document.
    pub fn of(config: &SiteConfig) -> Self {
        let (pool, delivery) = (&config.origins, &config.delivery);
        let lines = |parts: Vec<String>| parts.join("\n");
        Self {
            origins: lines(
                pool.origins
                    .iter()
                    .map(|origin| format!("{} {} {}", origin.url, origin.weight, origin.tier))
                    .collect(),
            ),
            host_header: pool.host_header.clone().unwrap_or_default(),
            health_path: pool.health_path.clone().unwrap_or_default(),
            connect_timeout_ms: pool.connect_timeout_ms.to_string(),
            first_byte_timeout_ms: pool.first_byte_timeout_ms.to_string(),
            idle_timeout_ms: pool.idle_timeout_ms.to_string(),
            path_rules: lines(delivery.path_rules.iter().map(rule_line).collect()),
            ignore_query: lines(delivery.ignore_query.clone()),
            stale_while_revalidate_s: delivery.stale_while_revalidate_s.to_string(),
            stale_if_error_s: delivery.stale_if_error_s.to_string(),
            negative_ttl_s: delivery.negative_ttl_s.to_string(),
            object_bytes_max: delivery.object_bytes_max.to_string(),
            redirect_to_https: delivery.redirect_to_https,
            hsts_s: delivery.hsts_s.to_string(),
            set_headers: lines(
                delivery
                    .set_headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}"))
                    .collect(),
            ),
            client_rps_max: delivery.client_rps_max.to_string(),
            request_bytes_max: delivery.request_bytes_max.to_string(),
        }
    }

    /// The document that the form describes.
    ///
    /// # Errors
    /// What cannot be read, each by the form's field.
    pub fn read(&self) -> Result<SiteConfig, Vec<Problem>> {
        let mut wrong = Vec::new();
        let config = SiteConfig {
            origins: OriginPool {
                origins: each_line(&self.origins, "origins", &mut wrong, origin_of),
                host_header: optional(&self.host_header),
                health_path: optional(&self.health_path),
                connect_timeout_ms: number(
                    &self.connect_timeout_ms,
                    "connect_timeout_ms",
                    &mut wrong,
                ),
                first_byte_timeout_ms: number(
                    &self.first_byte_timeout_ms,
                    "first_byte_timeout_ms",
                    &mut wrong,
                ),
                idle_timeout_ms: number(&self.idle_timeout_ms, "idle_timeout_ms", &mut wrong),
            },
            delivery: SiteSettings {
                path_rules: each_line(&self.path_rules, "path_rules", &mut wrong, rule_of),
                ignore_query: each_line(&self.ignore_query, "ignore_query", &mut wrong, |line| {
                    Ok(line.to_owned())
                }),
                stale_while_revalidate_s: number(
                    &self.stale_while_revalidate_s,
                    "stale_while_revalidate_s",
                    &mut wrong,
                ),
                stale_if_error_s: number(&self.stale_if_error_s, "stale_if_error_s", &mut wrong),
                negative_ttl_s: number(&self.negative_ttl_s, "negative_ttl_s", &mut wrong),
                object_bytes_max: number(&self.object_bytes_max, "object_bytes_max", &mut wrong),
                redirect_to_https: self.redirect_to_https,
                hsts_s: number(&self.hsts_s, "hsts_s", &mut wrong),
                set_headers: each_line(&self.set_headers, "set_headers", &mut wrong, header_of),
                client_rps_max: number(&self.client_rps_max, "client_rps_max", &mut wrong),
                request_bytes_max: number(&self.request_bytes_max, "request_bytes_max", &mut wrong),
            },
        };
        if wrong.is_empty() {
            Ok(config)
        } else {
            Err(wrong)
        }
    }
}

/// The form's field that shows the setting at `path`: `delivery.path_rules[3].prefix` → `path_rules`.
pub fn field_of(path: &str) -> &str {
    let rest = path
        .strip_prefix("origins.")
        .or_else(|| path.strip_prefix("delivery."))
        .unwrap_or(path);
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    &rest[..end]
}

fn rule_line(rule: &PathRule) -> String {
    let prefix = &rule.prefix;
    match rule.action {
        PathAction::Follow => format!("{prefix} follow"),
        PathAction::Bypass => format!("{prefix} bypass"),
        PathAction::DefaultTtl { seconds } => format!("{prefix} default {seconds}"),
        PathAction::ForceTtl { seconds } => format!("{prefix} force {seconds}"),
    }
}

fn rule_of(line: &str) -> Result<PathRule, Text> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let seconds = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| Text::new("秒數必須是整數", "seconds must be a whole number"))
    };
    let action = match words.as_slice() {
        [_, "follow"] => PathAction::Follow,
        [_, "bypass"] => PathAction::Bypass,
        [_, "default", text] => PathAction::DefaultTtl {
            seconds: seconds(text)?,
        },
        [_, "force", text] => PathAction::ForceTtl {
            seconds: seconds(text)?,
        },
        _ => {
            return Err(Text::new(
                "每行寫成:路徑 follow、路徑 bypass、路徑 default 秒數,或 路徑 force 秒數",
                "write each line as: PREFIX follow, PREFIX bypass, PREFIX default SECONDS or PREFIX force SECONDS",
            ));
        }
    };
    Ok(PathRule {
        prefix: words[0].to_owned(),
        action,
    })
}

fn origin_of(line: &str) -> Result<Origin, Text> {
    let wrong = || {
        Text::new(
            "每行寫成:網址 權重 層級",
            "write each line as: URL WEIGHT TIER",
        )
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let (url, weight, tier) = match words.as_slice() {
        [url] => (*url, 1, 0),
        [url, weight] => (*url, weight.parse().map_err(|_| wrong())?, 0),
        [url, weight, tier] => (
            *url,
            weight.parse().map_err(|_| wrong())?,
            tier.parse().map_err(|_| wrong())?,
        ),
        _ => return Err(wrong()),
    };
    Ok(Origin {
        url: url.to_owned(),
        weight,
        tier,
    })
}

fn header_of(line: &str) -> Result<(String, String), Text> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| Text::new("每行寫成:名稱: 值", "write each line as: Name: value"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn each_line<T>(
    text: &str,
    field: &str,
    wrong: &mut Vec<Problem>,
    read: impl Fn(&str) -> Result<T, Text>,
) -> Vec<T> {
    let mut all = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match read(line) {
            Ok(one) => all.push(one),
            Err(message) => wrong.push(problem(field, line, "line", message)),
        }
    }
    all
}

fn number<T: std::str::FromStr + Default>(text: &str, field: &str, wrong: &mut Vec<Problem>) -> T {
    text.trim().parse().unwrap_or_else(|_| {
        wrong.push(problem(
            field,
            text,
            "number",
            Text::new(
                "必須是不小於零的整數",
                "must be a whole number, not negative",
            ),
        ));
        T::default()
    })
}

fn optional(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn problem(field: &str, value: &str, rule: &'static str, message: Text) -> Problem {
    Problem {
        field: field.to_owned(),
        value: value.chars().take(60).collect(),
        rule,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_survives_the_form() {
        let mut config = SiteConfig {
            origins: OriginPool::single("https://o.example"),
            delivery: SiteSettings::default(),
        };
        config.origins.origins.push(Origin {
            url: "http://b.example:81".into(),
            weight: 9,
            tier: 1,
        });
        config.origins.health_path = Some("/up".into());
        config.delivery.path_rules = vec![
            PathRule {
                prefix: "/a".into(),
                action: PathAction::Follow,
            },
            PathRule {
                prefix: "/b".into(),
                action: PathAction::Bypass,
            },
            PathRule {
                prefix: "/c".into(),
                action: PathAction::DefaultTtl { seconds: 7 },
            },
            PathRule {
                prefix: "/d".into(),
                action: PathAction::ForceTtl { seconds: 8 },
            },
        ];
        config.delivery.set_headers = vec![("X-A".into(), "b: c".into())];
        config.delivery.redirect_to_https = true;
        assert_eq!(SettingsForm::of(&config).read(), Ok(config));
    }

    #[test]
    fn what_cannot_be_read_is_named_by_field_and_line() {
        let config = SiteConfig {
            origins: OriginPool::single("https://o.example"),
            delivery: SiteSettings::default(),
        };
        let mut form = SettingsForm::of(&config);
        form.path_rules = "/a follow\n/b sometimes".into();
        form.hsts_s = "-1".into();
        let wrong = form.read().expect_err("two mistakes");
        let named: Vec<(&str, &str)> = wrong
            .iter()
            .map(|p| (p.field.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(named, [("path_rules", "/b sometimes"), ("hsts_s", "-1")]);
        assert_eq!(field_of("delivery.path_rules[3].prefix"), "path_rules");
        assert_eq!(field_of("origins.origins[0].url"), "origins");
    }
}
