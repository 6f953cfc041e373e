//! [`People`] on the house's accounts. The accounts are made with the console, which
//! needs the rooms first: so they are joined after it is built.

use std::sync::OnceLock;

use async_trait::async_trait;
use base::{OrgId, UserId};
use web::{Accounts, HouseRole, Paging};

use crate::engine::{Contact, People};
use crate::form::Text;

/// Pages of accounts that are looked through for officers.
const PAGES_MAX: usize = 100;

/// People as the house's accounts know them.
#[derive(Default)]
pub struct AccountPeople(OnceLock<Accounts>);

impl AccountPeople {
    /// Joins the accounts; the first time counts.
    pub fn join(&self, accounts: Accounts) {
        self.0.get_or_init(|| accounts);
    }
}

#[async_trait]
impl People for AccountPeople {
    async fn contact(&self, user: UserId) -> Option<Contact> {
        let found = self
            .0
            .get()?
            .user(user)
            .await
            .ok()
            .filter(|found| found.active)?;
        let language = found
            .lang
            .unwrap_or_else(|| web::Lang::default().tag().to_owned());
        Some(Contact {
            name: found.name,
            email: Some(found.email),
            language,
        })
    }

    async fn members(&self, org: OrgId) -> Vec<UserId> {
        let Some(accounts) = self.0.get() else {
            return Vec::new();
        };
        match accounts.members(org).await {
            Ok(members) => members.into_iter().map(|member| member.user).collect(),
            Err(error) => {
                tracing::warn!(%org, %error, "Members could not be listed");
                Vec::new()
            }
        }
    }

    async fn org_name(&self, org: OrgId) -> Option<Text> {
        let found = self.0.get()?.org(org).await.ok()?;
        Some(Text::new(found.name_zh, found.name_en))
    }

    async fn officers(&self) -> Vec<UserId> {
        let Some(accounts) = self.0.get() else {
            return Vec::new();
        };
        let mut officers = Vec::new();
        let mut paging = Paging {
            limit: Some(Paging::LIMIT_MAX),
            cursor: None,
        };
        for _ in 0..PAGES_MAX {
            let page = match accounts.users(&paging).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "Officers could not be listed");
                    break;
                }
            };
            officers.extend(
                page.items
                    .iter()
                    .filter(|user| {
                        user.active
                            && user
                                .roles
                                .iter()
                                .any(|role| role == HouseRole::Officer.name())
                    })
                    .map(|user| user.id),
            );
            if page.next.is_none() {
                break;
            }
            paging.cursor = page.next;
        }
        officers
    }
}
