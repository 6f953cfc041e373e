//! The first form of casework: "put my site behind the CDN". Every name must be
//! proven before the form is submitted; the grant makes the site.

use async_trait::async_trait;
use base::UserId;
use base::delivery::{Origin, OriginPool, SiteSettings};
use casework::form::{Text, Values};
use casework::{Case, CaseError, Grant, Granted, refuse};
use serde_json::Value;
use store::Tx;

use crate::engine::{By, Cdn, NewSite};
use crate::error::CdnError;
use crate::settings::SiteConfig;

/// The forms of the CDN, all versions, for casework to register.
pub const FORMS: [&str; 1] = [include_str!("../forms/cdn-site.v1.json")];
/// The form's name.
pub const FORM: &str = "cdn-site";

/// Makes a site when its case is granted.
#[derive(Clone)]
pub struct SiteGrant(pub Cdn);

/// What the form asks for.
pub(crate) fn site_of(case: &Case, values: &Values) -> Result<NewSite, CaseError> {
    let text = |name: &str| {
        values
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let list = |name: &str| -> Vec<String> {
        let items = values.get(name).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let org = case.org.ok_or(CaseError::NeedsOrg)?;
    let hosts = list("hosts")
        .iter()
        .filter_map(|host| casework::validate::hostname(host))
        .collect();
    let origins = list("origins")
        .into_iter()
        .map(|url| Origin {
            url,
            weight: 1,
            tier: 0,
        })
        .collect();
    let host_header = Some(text("host_header")).filter(|host| !host.is_empty());
    let pool = OriginPool {
        origins,
        host_header,
        ..OriginPool::single("")
    };
    let config = SiteConfig {
        origins: pool,
        delivery: SiteSettings::default(),
    };
    Ok(NewSite {
        org,
        name_zh: text("name_zh"),
        name_en: text("name_en"),
        hosts,
        config,
        case: Some(case.id),
    })
}

#[async_trait]
impl Grant for SiteGrant {
    async fn check(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        action: &str,
    ) -> Result<(), CaseError> {
        if !matches!(action, "submit" | "approve" | "grant") {
            return Ok(());
        }
        let wanted = site_of(case, values)?;
        for host in &wanted.hosts {
            if !self.0.proven(tx, wanted.org, host).await.map_err(of_cdn)? {
                return Err(refuse(
                    format!(
                        "尚未證明您管理 {host}:請依本頁說明設定 DNS TXT 紀錄或檔案,再按「檢查」"
                    ),
                    format!(
                        "control of {host} is not proven yet: set the DNS TXT record or the file as this page explains, then check"
                    ),
                ));
            }
            let taken: Option<(String,)> =
                sqlx::query_as("SELECT site FROM cdn_host WHERE host = $1")
                    .bind(host)
                    .fetch_optional(&mut **tx)
                    .await?;
            if taken.is_some() {
                return Err(refuse(
                    format!("{host} 已在 CDN 服務中"),
                    format!("{host} is behind the CDN already"),
                ));
            }
        }
        Ok(())
    }

    async fn grant(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        by: UserId,
    ) -> Result<Granted, CaseError> {
        let wanted = site_of(case, values)?;
        let site = self
            .0
            .create(
                tx,
                &By {
                    user: by,
                    request: None,
                },
                &wanted,
            )
            .await
            .map_err(of_cdn)?;
        Ok(Granted {
            subject: site.slug,
            path: format!("/sites/{}", site.id),
        })
    }

    async fn granted(&self) {
        self.0.wake();
    }

    async fn panel(&self, case: &Case, values: &Values, editable: bool) -> Vec<casework::Proof> {
        let Ok(wanted) = site_of(case, values) else {
            return Vec::new();
        };
        if case.ended || case.result.is_some() {
            return Vec::new();
        }
        let claims = match self.0.claims(wanted.org, &wanted.hosts).await {
            Ok(claims) => claims,
            Err(error) => {
                tracing::warn!(case = %case.id, error = %runtime::error_chain(&error), "The proofs of a case could not be read");
                return Vec::new();
            }
        };
        let port = self.0.config().proof_port;
        claims
            .into_iter()
            .map(|claim| casework::Proof {
                subject: claim.host.clone(),
                done: claim.proven_at.is_some(),
                detail: claim.error.clone(),
                ways: vec![
                    (
                        Text::new("DNS TXT 紀錄", "DNS TXT record"),
                        format!("{}. 300 IN TXT \"{}\"", claim.record(), claim.token),
                    ),
                    (
                        Text::new(
                            format!("或檔案 {},內容為", claim.file(port)),
                            format!("or a file at {} that holds", claim.file(port)),
                        ),
                        claim.token.clone(),
                    ),
                ],
                check: editable
                    .then(|| (format!("/sites/proofs?next=/cases/{}", case.id), claim.host)),
            })
            .collect()
    }
}

fn of_cdn(error: CdnError) -> CaseError {
    match error {
        CdnError::Store(error) => CaseError::Store(error),
        CdnError::Invalid(problems) => match problems.into_iter().next() {
            Some(problem) => refuse(
                format!("{}:{}", problem.field, problem.message.zh),
                format!("{}: {}", problem.field, problem.message.en),
            ),
            None => refuse("內容不符規定", "the values break a rule"),
        },
        other => {
            let text = runtime::error_chain(&other);
            refuse(
                format!("無法建立網站:{text}"),
                format!("the site cannot be made: {text}"),
            )
        }
    }
}
