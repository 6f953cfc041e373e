//! Casework's part of the console: what it shows to whom, its counts and alerts.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::Method;
use base::CaseId;
use web::ui::Icon;
use web::{
    Alert, Alerts, Badges, Code, FieldError, Lang, Level, Locales, NavEntry, NavGroup, PolicyText,
    Principal, Room, RoutePermission, Thing, Via, Visit, WebError,
};

use crate::case::CaseError;
use crate::engine::{Casework, Filter, Who};
use crate::form::Text;
use crate::validate::Problem;
use crate::workflow::Refusal;
use crate::{api, pages};

/// Casework's part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "casework",
    schema: include_str!("../policy/casework.cedarschema"),
    policies: "",
};

/// Casework's texts.
pub const LOCALES: Locales = Locales {
    room: "casework",
    zh_tw: include_str!("../locales/zh-TW.ftl"),
    en: include_str!("../locales/en.ftl"),
};

impl Casework {
    /// The room for the console.
    pub fn room(&self) -> Room {
        let mut room = Room::new("casework");
        room.nav = vec![
            NavEntry {
                label: "nav-apply",
                path: "/apply",
                icon: Icon::FilePlus,
                action: "case:apply",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-cases",
                path: "/cases",
                icon: Icon::Clipboard,
                action: "case:apply",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-inbox",
                path: "/inbox",
                icon: Icon::Inbox,
                action: "inbox:view",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-review",
                path: "/review",
                icon: Icon::Check,
                action: "case:review",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-webhooks",
                path: "/webhooks",
                icon: Icon::External,
                action: "webhook:manage",
                group: NavGroup::Govern,
            },
            NavEntry {
                label: "nav-deliveries",
                path: "/deliveries",
                icon: Icon::Bell,
                action: "delivery:manage",
                group: NavGroup::Govern,
            },
        ];
        room.pages = pages::pages(self.clone());
        room.api = api::router(self.clone());
        room.api_permissions = api_permissions();
        room.locales = Some(LOCALES);
        room.policy = Some(POLICY);
        room.alerts = Some(Arc::new(self.clone()));
        room.badges = Some(Arc::new(self.clone()));
        room.home = Some(Arc::new(self.clone()));
        room
    }
}

fn api_permissions() -> Vec<RoutePermission> {
    vec![
        RoutePermission::new(Method::GET, "/api/v1/forms", "case:apply"),
        RoutePermission::new(Method::GET, "/api/v1/forms/{form}", "case:apply"),
        RoutePermission::new(Method::GET, "/api/v1/cases", "case:view"),
        RoutePermission::new(Method::POST, "/api/v1/cases", "case:apply"),
        RoutePermission::new(Method::GET, "/api/v1/cases/{case}", "case:view"),
        RoutePermission::new(Method::PATCH, "/api/v1/cases/{case}", "case:edit"),
        RoutePermission::new(Method::POST, "/api/v1/cases/{case}/steps", "case:view"),
        RoutePermission::new(Method::POST, "/api/v1/cases/{case}/comments", "case:view"),
        RoutePermission::new(Method::GET, "/api/v1/cases/{case}/files", "case:view"),
        RoutePermission::new(Method::POST, "/api/v1/cases/{case}/files", "case:view"),
        RoutePermission::new(
            Method::GET,
            "/api/v1/cases/{case}/files/{file}",
            "case:view",
        ),
        RoutePermission::new(
            Method::DELETE,
            "/api/v1/cases/{case}/files/{file}",
            "case:edit",
        ),
        RoutePermission::new(Method::PUT, "/api/v1/cases/{case}/assignee", "case:review"),
        RoutePermission::new(Method::GET, "/api/v1/inbox", "inbox:view"),
        RoutePermission::new(Method::GET, "/api/v1/webhooks", "webhook:manage"),
        RoutePermission::new(Method::POST, "/api/v1/webhooks", "webhook:manage"),
        RoutePermission::new(
            Method::DELETE,
            "/api/v1/webhooks/{webhook}",
            "webhook:manage",
        ),
    ]
}

/// Who asks, as the engine wants it.
///
/// # Errors
/// 401 for visitors.
pub fn who(visit: &Visit) -> Result<Who, WebError> {
    let principal = &visit.principal;
    let only = match &principal.via {
        Via::Token { org, .. } => *org,
        _ => None,
    };
    Ok(Who {
        user: principal.signed_in()?,
        sees: principal.scope("case:view"),
        applies: principal.scope("case:edit"),
        officer: principal.may("case:review", Thing::HOUSE),
        only,
        request: Some(visit.request_id.clone()),
    })
}

/// A case's identifier in an address.
///
/// # Errors
/// 404 for what is none.
pub fn case_id(text: &str) -> Result<CaseId, WebError> {
    text.parse().map_err(|_| WebError::not_found("case", text))
}

/// A problem of a form as the API tells it.
pub fn field_error(problem: &Problem, lang: Lang) -> FieldError {
    FieldError::new(
        problem.field.clone(),
        problem.rule,
        problem.message.of(lang.tag()),
    )
    .value(&problem.value)
}

/// What a refusal means, in both languages.
pub(crate) fn refusal_text(refusal: &Refusal) -> Text {
    let en = refusal.to_string();
    let zh = match refusal {
        Refusal::NotNow { .. } => "案件目前的狀態不能這樣做".to_owned(),
        Refusal::NotYours { .. } => "這個動作不是由您辦理".to_owned(),
        Refusal::FourEyes { .. } => "四眼原則:須由另一位人員辦理,申請人與初審者不得複核".to_owned(),
        Refusal::CommentMissing { .. } => "請填寫說明".to_owned(),
    };
    Text::new(zh, en)
}

/// An error of the engine as the console tells it.
pub fn tell(error: CaseError, lang: Lang) -> WebError {
    let language = lang.tag();
    match error {
        CaseError::NotFound(id) => WebError::not_found("case", id),
        CaseError::NoForm(form) => WebError::not_found("form", form),
        CaseError::NeedsOrg => WebError::invalid(vec![FieldError::new(
            "org",
            "required",
            Text::new(
                "這份表單須以機關名義申請:請選擇您所屬且可編輯的機關",
                "this form needs an organisation that you belong to as an editor",
            )
            .of(language),
        )]),
        CaseError::Changed { .. } => WebError::conflict(
            Text::new("案件已被更新,請重新載入後再試", error.to_string()).of(language),
        ),
        CaseError::KeyReused => WebError::invalid(vec![FieldError::new(
            "idempotency-key",
            "reused",
            Text::new(
                "這個 Idempotency-Key 已用於內容不同的請求:重送須內容相同,新的請求須用新的值",
                "this Idempotency-Key came with a different request before: repeat the same request, or use a new key",
            )
            .of(language),
        )]),
        CaseError::Invalid(problems) => WebError::invalid(
            problems
                .iter()
                .map(|problem| field_error(problem, lang))
                .collect(),
        ),
        CaseError::Refused(refusal) => {
            let text = refusal_text(&refusal).of(language).to_owned();
            match refusal {
                Refusal::CommentMissing { .. } => {
                    WebError::invalid(vec![FieldError::new("comment", "required", text)])
                }
                Refusal::NotYours { .. } | Refusal::FourEyes { .. } => WebError::forbidden(text),
                Refusal::NotNow { .. } => WebError::conflict(text),
            }
        }
        CaseError::GrantRefused(text) => WebError::conflict(text.of(language)),
        CaseError::Limit { what, most } => WebError::invalid(vec![FieldError::new(
            "body",
            "limit",
            format!("{what}: at most {most}"),
        )]),
        CaseError::File { name, rule } => {
            WebError::invalid(vec![FieldError::new("file", "file", rule).value(&name)])
        }
        CaseError::Store(error) => tell_store(error),
        sealed @ CaseError::Sealed { .. } => WebError::internal(runtime::error_chain(&sealed)),
    }
}

/// An error of the database as the console tells it.
pub fn tell_store(error: store::StoreError) -> WebError {
    match error {
        store::StoreError::NotFound { what } => {
            WebError::new(Code::NotFound, format!("{what} does not exist"))
        }
        store::StoreError::Conflict { rule } => {
            WebError::conflict(format!("it exists already ({rule})"))
        }
        store::StoreError::Invalid(text) if text.contains("cursor") => {
            WebError::field("cursor", "cursor", text)
        }
        other if other.is_transient() || matches!(other, store::StoreError::Full(_)) => {
            WebError::unavailable(runtime::error_chain(&other))
        }
        other => WebError::internal(runtime::error_chain(&other)),
    }
}

#[async_trait]
impl Badges for Casework {
    async fn counts(&self, principal: &Principal) -> Vec<(&'static str, u64)> {
        let Some(user) = principal.user() else {
            return Vec::new();
        };
        let mut counts = vec![("/inbox", self.unread(user).await.unwrap_or(0))];
        if principal.may("case:review", Thing::HOUSE) {
            let (waiting, _) = self.waiting().await.unwrap_or((0, 0));
            counts.push(("/review", u64::try_from(waiting).unwrap_or(0)));
        }
        counts
    }
}

#[async_trait]
impl Alerts for Casework {
    async fn current(&self, principal: &Principal, lang: Lang) -> Vec<Alert> {
        let mut alerts = Vec::new();
        if principal.may("case:review", Thing::HOUSE) {
            let (_, overdue) = self.waiting().await.unwrap_or((0, 0));
            if overdue > 0 {
                let text = Text::new(
                    format!("{overdue} 件案件逾期未審"),
                    format!("{overdue} cases are overdue for review"),
                );
                alerts.push(Alert {
                    level: Level::Warn,
                    text: text.of(lang.tag()).to_owned(),
                    path: "/review".into(),
                });
            }
        }
        if principal.may("delivery:manage", Thing::HOUSE) {
            let dead = self.dead_deliveries().await.unwrap_or(0);
            if dead > 0 {
                let text = Text::new(
                    format!("{dead} 則通知無法送達"),
                    format!("{dead} notifications could not be delivered"),
                );
                alerts.push(Alert {
                    level: Level::Warn,
                    text: text.of(lang.tag()).to_owned(),
                    path: "/deliveries".into(),
                });
            }
        }
        alerts
    }
}

impl Casework {
    /// The tasks that casework needs run: a name, seconds between two looks, the look.
    /// Each is idempotent.
    ///
    /// # Errors
    /// What the database says; the next look tries again.
    pub async fn look(&self) -> Result<(), CaseError> {
        let now = self.db().clock().now();
        self.look_at_deadlines(now).await?;
        self.deliver(now).await?;
        Ok(())
    }

    /// The filter of the officers' queue.
    pub(crate) fn queue(state: Option<String>) -> Filter {
        Filter {
            open: state.is_none(),
            state,
            ..Filter::default()
        }
    }
}
