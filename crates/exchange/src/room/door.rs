//! The model's part of the console: entries, pages, API, texts, permissions, alerts,
//! search.

use std::sync::Arc;

use async_trait::async_trait;
use web::ui::Icon;
use web::{
    Alert, Alerts, Lang, Level, Locales, NavEntry, NavGroup, PolicyText, Principal, Room, Search,
    SearchHit, Streams, Thing,
};

use super::config::RoomConfig;
use super::keep::Wanted;
use super::shell::Desk;
use super::states::{self, SeenState};
use super::{Exchange, Kind, api, pages};

/// This part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "exchange",
    schema: include_str!("../../policy/exchange.cedarschema"),
    policies: "",
};

/// The texts.
pub const LOCALES: Locales = Locales {
    room: "exchange",
    zh_tw: include_str!("../../locales/room.zh-TW.ftl"),
    en: include_str!("../../locales/room.en.ftl"),
};

/// Hits of one kind.
const HITS_MAX: u32 = 5;

impl Exchange {
    /// The room for the console.
    pub fn room(&self, config: &RoomConfig) -> Room {
        let desk = Desk {
            exchange: self.clone(),
            config: config.clone(),
            streams: Streams::default(),
        };
        let mut room = Room::new("exchange");
        room.nav = vec![NavEntry {
            label: "nav-exchange",
            path: "/exchange",
            icon: Icon::Refresh,
            action: "exchange:view",
            group: NavGroup::Operate,
        }];
        room.pages = pages::pages(desk.clone());
        room.api = api::router(desk);
        room.api_permissions = api::permissions();
        room.locales = Some(LOCALES);
        room.policy = Some(POLICY);
        room.alerts = Some(Arc::new(self.clone()));
        room.search = Some(Arc::new(self.clone()));
        room
    }
}

#[async_trait]
impl Alerts for Exchange {
    async fn current(&self, principal: &Principal, lang: Lang) -> Vec<Alert> {
        if !principal.may("exchange:view", Thing::HOUSE) {
            return Vec::new();
        }
        let seen = match states::everywhere(self.db()).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(error = %runtime::error_chain(&error), "States of sessions could not be read");
                return Vec::new();
            }
        };
        let now = self.now();
        let down = seen
            .values()
            .filter(|one| {
                one.seen.state == SeenState::Down && now.since(one.reported_at) < states::STALE
            })
            .count();
        let mut alerts = Vec::new();
        if down > 0 {
            alerts.push(Alert {
                level: Level::Bad,
                text: match lang {
                    Lang::ZhTw => format!("路由伺服器有 {down} 條連線中斷"),
                    Lang::En => format!("{down} sessions of route servers are down"),
                },
                path: "/exchange".into(),
            });
        }
        let notes = self.notes().len();
        if notes > 0 {
            alerts.push(Alert {
                level: Level::Warn,
                text: match lang {
                    Lang::ZhTw => format!("路由伺服器文件有 {notes} 個問題"),
                    Lang::En => format!("The route servers' document has {notes} problems"),
                },
                path: "/exchange/document".into(),
            });
        }
        alerts
    }
}

#[async_trait]
impl Search for Exchange {
    async fn search(&self, principal: &Principal, lang: Lang, query: &str) -> Vec<SearchHit> {
        if !principal.may("exchange:view", Thing::HOUSE) {
            return Vec::new();
        }
        let kinds = [
            (Kind::Member, "成員", "Member"),
            (Kind::Router, "邊界路由器", "Border router"),
            (Kind::Port, "埠", "Port"),
            (Kind::Switch, "交換器", "Switch"),
        ];
        let mut hits = Vec::new();
        for (kind, zh, en) in kinds {
            let wanted = Wanted {
                words: Some(query.to_owned()),
                ..Wanted::default()
            };
            let page = self
                .list(kind, &wanted, &store::PageRequest::first(HITS_MAX))
                .await;
            let Ok(page) = page else { continue };
            for record in page.items {
                let detail = match kind {
                    Kind::Member => format!("AS{} {}", record.values["asn"], record.text("name")),
                    Kind::Router => format!("{} {}", record.text("v4"), record.text("v6")),
                    _ => String::new(),
                };
                hits.push(SearchHit {
                    kind: match lang {
                        Lang::ZhTw => zh.to_owned(),
                        Lang::En => en.to_owned(),
                    },
                    title: record.label.clone(),
                    detail,
                    path: record.path(),
                });
            }
        }
        hits
    }
}
