//! The part of the console for reports, alerts, lights and the public site.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::Method;
use casework::Casework;
use utoipa_axum::router::OpenApiRouter;
use web::ui::Icon;
use web::{
    Alert, Alerts, Badges, Lang, Level, Locales, NavEntry, NavGroup, Pages, PolicyText, Principal,
    Room, RoutePermission, Streams, Thing,
};

use super::{Cert, Desk};
use crate::cert::error::tell;
use crate::{alert, handover, light, report, site};

/// This part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "cert",
    schema: include_str!("../../policy/cert.cedarschema"),
    policies: "",
};

/// The texts.
pub const LOCALES: Locales = Locales {
    room: "cert",
    zh_tw: include_str!("../../locales/cert.zh-TW.ftl"),
    en: include_str!("../../locales/cert.en.ftl"),
};

impl Cert {
    /// The room for the console; joins casework, on which reports and alerts stand.
    pub fn room(&self, casework: &Casework) -> Room {
        self.join(casework.clone());
        let desk = Desk {
            cert: self.clone(),
            casework: casework.clone(),
            people: casework.people().clone(),
            streams: Streams::default(),
        };
        let mut room = Room::new("cert");
        room.nav = vec![
            NavEntry {
                label: "nav-incidents",
                path: "/incidents",
                icon: Icon::Warn,
                action: "incident:view",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-alerts",
                path: "/alerts",
                icon: Icon::Bell,
                action: "alert:view",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-lights",
                path: "/lights",
                icon: Icon::Bolt,
                action: "light:view",
                group: NavGroup::Work,
            },
            NavEntry {
                label: "nav-articles",
                path: "/articles",
                icon: Icon::Globe,
                action: "article:manage",
                group: NavGroup::Operate,
            },
            NavEntry {
                label: "nav-citizens",
                path: "/citizens",
                icon: Icon::Inbox,
                action: "citizen:answer",
                group: NavGroup::Operate,
            },
            NavEntry {
                label: "nav-handovers",
                path: "/handovers",
                icon: Icon::External,
                action: "handover:manage",
                group: NavGroup::Operate,
            },
            NavEntry {
                label: "nav-members",
                path: "/members",
                icon: Icon::Users,
                action: "member:manage",
                group: NavGroup::Operate,
            },
        ];
        room.pages = Pages::new()
            .merge(report::pages::pages(desk.clone()))
            .merge(super::pages::pages(desk.clone()))
            .merge(handover::pages::pages(desk.clone()))
            .merge(alert::pages::pages(desk.clone()))
            .merge(alert::templates::pages(desk.clone()))
            .merge(light::pages::pages(desk.clone()))
            .merge(site::open::pages(desk.clone()))
            .merge(site::csaf::pages(desk.clone()))
            .merge(site::report::pages(desk.clone()))
            .merge(site::desk::pages(desk.clone()));
        room.api = OpenApiRouter::new()
            .merge(report::api::router(desk.clone()))
            .merge(alert::api::router(desk.clone()))
            .merge(handover::api::router(desk.clone()))
            .merge(light::api::router(desk.clone()));
        room.api_permissions = api_permissions();
        room.locales = Some(LOCALES);
        room.policy = Some(POLICY);
        room.home = Some(Arc::new(desk));
        room.alerts = Some(Arc::new(self.clone()));
        room.badges = Some(Arc::new(self.clone()));
        room
    }
}

fn api_permissions() -> Vec<RoutePermission> {
    let route = RoutePermission::new;
    vec![
        route(Method::GET, "/api/v1/incidents", "incident:view"),
        route(Method::POST, "/api/v1/incidents", "incident:report"),
        route(Method::GET, "/api/v1/incidents/{case}", "incident:view"),
        route(
            Method::POST,
            "/api/v1/incidents/{case}/levels",
            "incident:edit",
        ),
        route(
            Method::PUT,
            "/api/v1/incidents/{case}/levels/{change}",
            "incident:review",
        ),
        route(
            Method::POST,
            "/api/v1/incidents/{case}/log",
            "incident:edit",
        ),
        route(
            Method::POST,
            "/api/v1/incidents/{case}/forward",
            "incident:review",
        ),
        route(Method::GET, "/api/v1/incident-statistics", "incident:view"),
        route(
            Method::POST,
            "/api/v1/incidents/{case}/handover",
            "incident:review",
        ),
        route(Method::GET, "/api/v1/handovers", "handover:manage"),
        route(Method::POST, "/api/v1/handovers", "handover:manage"),
        route(Method::GET, "/api/v1/handover-keys", "handover:manage"),
        route(Method::PUT, "/api/v1/handover-keys", "handover:manage"),
        route(Method::GET, "/api/v1/alerts", "alert:view"),
        route(Method::GET, "/api/v1/alerts/{case}", "alert:view"),
        route(Method::GET, "/api/v1/alerts/{case}/csaf", "alert:view"),
        route(Method::GET, "/api/v1/alerts/{case}/stix", "alert:view"),
        route(Method::POST, "/api/v1/alerts/stix", "alert:manage"),
        route(
            Method::GET,
            "/api/v1/alerts/{case}/recipients",
            "alert:view",
        ),
        route(Method::PUT, "/api/v1/alerts/{case}/reply", "alert:reply"),
        route(Method::GET, "/api/v1/lights", "light:view"),
        route(Method::GET, "/api/v1/lights/{light}", "light:view"),
        route(Method::POST, "/api/v1/lights/what-if", "light:view"),
        route(Method::POST, "/api/v1/lights/observations", "light:observe"),
    ]
}

#[async_trait]
impl Badges for Cert {
    async fn counts(&self, principal: &Principal) -> Vec<(&'static str, u64)> {
        if principal.user().is_none() || !principal.could("incident:view") {
            return Vec::new();
        }
        let scope = principal.scope("incident:view");
        let (open, _) = self.open_incidents(&scope).await.unwrap_or((0, 0));
        let mut counts = vec![("/incidents", u64::try_from(open).unwrap_or(0))];
        let scope = principal.scope("alert:view");
        if matches!(scope, web::OrgScope::Only(_)) {
            let waiting = self.replies_waiting(&scope).await.unwrap_or(0);
            counts.push(("/alerts", u64::try_from(waiting).unwrap_or(0)));
        }
        counts
    }
}

#[async_trait]
impl Alerts for Cert {
    async fn current(&self, principal: &Principal, lang: Lang) -> Vec<Alert> {
        let mut alerts = Vec::new();
        if principal.user().is_none() || !principal.could("incident:view") {
            return alerts;
        }
        let scope = principal.scope("incident:view");
        let late = match self.open_incidents(&scope).await {
            Ok((_, late)) => late,
            Err(error) => {
                tracing::warn!(error = %tell(error, lang), "Incidents could not be counted");
                0
            }
        };
        if late > 0
            && (principal.may("incident:review", Thing::HOUSE) || !principal.orgs.is_empty())
        {
            let text = casework::form::Text::new(
                format!("{late} 件資安事件逾法定期限"),
                format!("{late} incidents are past a statutory deadline"),
            );
            alerts.push(Alert {
                level: Level::Bad,
                text: text.of(lang.tag()).to_owned(),
                path: "/incidents?show=late".into(),
            });
        }
        alerts
    }
}
