//! Purge and preload: an order of an owner becomes one or more quick entries for
//! every edge, in one transaction with its history.

use std::collections::BTreeSet;

use base::quick::{Order, Preload, Purge, PurgeWhat};
use base::{Role, SiteId, Timestamp, UserId};
use casework::OrgScope;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::{Page, PageRequest};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::engine::{By, Cdn, Site, SiteState, cut, parse, read_json, write_json};
use crate::error::CdnError;
use crate::seams::OrderProgress;
use crate::sitemap::{self, Sitemap};

/// URLs of one preload.
pub const URLS_MAX: usize = 20_000;
/// Values of one purge.
pub const PURGES_MAX: usize = 100;
/// Bytes of a URL, prefix or tag.
pub const VALUE_BYTES_MAX: usize = 2_048;
/// Files that one site-map index may lead to.
pub const SITEMAP_FILES_MAX: usize = 50;

/// What is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PurgeKind {
    /// URLs, each with all its variants.
    Url,
    /// Paths that begin so.
    Prefix,
    /// Objects with this tag.
    Tag,
    /// The whole site.
    Site,
}

/// What an order asks, as it is kept in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Asked {
    /// `purge` or `preload`.
    pub kind: String,
    /// For a purge: of what.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub what: Option<PurgeKind>,
    /// The first of the values.
    pub values: Vec<String>,
    /// How many values there are.
    pub count: usize,
    /// For a purge: mark stale rather than forget.
    #[serde(default)]
    pub soft: bool,
    /// For a preload: the site map that the URLs came from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sitemap: Option<String>,
}

/// An order in the history of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Names it.
    pub id: Uuid,
    /// What it asks.
    pub asked: Asked,
    /// Why.
    pub reason: String,
    /// Who placed it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// URLs to fetch, for a preload.
    pub total: i64,
}

impl Cdn {
    /// Orders every edge to forget, or mark stale, what it has of a site.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, wrong values, too many.
    #[expect(
        clippy::too_many_arguments,
        reason = "each says one thing of the order"
    )]
    pub async fn purge(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        what: PurgeKind,
        values: &[String],
        soft: bool,
        reason: &str,
    ) -> Result<Placed, CdnError> {
        let found = self.site(scope, site).await?;
        let values: Vec<String> = values
            .iter()
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
            .collect();
        if values.len() > PURGES_MAX {
            return Err(CdnError::Limit {
                what: "values of one purge",
                most: PURGES_MAX as u64,
            });
        }
        let parts = purge_parts(&found, what, &values)?;
        let asked = Asked {
            kind: "purge".into(),
            what: Some(what),
            values: values.iter().take(10).cloned().collect(),
            count: values.len(),
            soft,
            sitemap: None,
        };
        let orders = parts
            .into_iter()
            .map(|what| Order::Purge(Purge { site, what, soft }))
            .collect();
        self.place(by, &found, Uuid::now_v7(), asked, reason, 0, orders)
            .await
    }

    /// Orders every edge to fetch URLs through its own cache.
    ///
    /// # Errors
    /// [`CdnError`]: not seen, wrong URLs, too many.
    pub async fn preload(
        &self,
        scope: &OrgScope,
        by: &By,
        site: SiteId,
        urls: &[String],
        sitemap: Option<&str>,
        reason: &str,
    ) -> Result<Placed, CdnError> {
        let found = self.site(scope, site).await?;
        if found.state != SiteState::Active {
            return Err(CdnError::Conflict(format!(
                "the site is {}",
                found.state.name()
            )));
        }
        let mut wanted: Vec<String> = urls
            .iter()
            .map(|url| url.trim().to_owned())
            .filter(|url| !url.is_empty())
            .collect();
        if let Some(address) = sitemap.map(str::trim).filter(|address| !address.is_empty()) {
            wanted.extend(self.read_sitemap(&found, address).await?);
        }
        let mut unique = BTreeSet::new();
        wanted.retain(|url| unique.insert(url.clone()));
        if wanted.is_empty() {
            return Err(CdnError::field(
                "urls",
                "",
                "required",
                "至少要有一個網址或一份 sitemap",
                "name at least one URL, or a site map that holds some",
            ));
        }
        if wanted.len() > URLS_MAX {
            return Err(CdnError::Limit {
                what: "URLs of one preload",
                most: URLS_MAX as u64,
            });
        }
        for url in &wanted {
            own_url(&found, "urls", url)?;
        }
        let job = Uuid::now_v7();
        let total = wanted.len();
        let asked = Asked {
            kind: "preload".into(),
            what: None,
            values: wanted.iter().take(10).cloned().collect(),
            count: total,
            soft: false,
            sitemap: sitemap.map(str::to_owned),
        };
        let orders = wanted
            .chunks(Preload::URLS_MAX)
            .map(|urls| {
                Order::Preload(Preload {
                    site,
                    job,
                    urls: urls.to_vec(),
                })
            })
            .collect();
        self.place(by, &found, job, asked, reason, total as i64, orders)
            .await
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one row")]
    async fn place(
        &self,
        by: &By,
        site: &Site,
        id: Uuid,
        asked: Asked,
        reason: &str,
        total: i64,
        orders: Vec<Order>,
    ) -> Result<Placed, CdnError> {
        let now = self.now();
        let whole = orders.iter().any(|order| {
            matches!(
                order,
                Order::Purge(Purge {
                    what: PurgeWhat::Site,
                    soft: false,
                    ..
                })
            )
        });
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("INSERT INTO cdn_order (id, site, kind, what, reason, total, made_by, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(id.to_string())
            .bind(site.id.to_string())
            .bind(&asked.kind)
            .bind(write_json(&asked)?)
            .bind(cut(reason))
            .bind(total)
            .bind(by.user.to_string())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        let mut seqs = Vec::with_capacity(orders.len());
        for order in orders {
            let seq = self.inner.orders.order(&mut tx, Role::Edge, order).await?;
            seqs.push(seq);
            sqlx::query("INSERT INTO cdn_order_part (order_id, seq) VALUES ($1, $2)")
                .bind(id.to_string())
                .bind(i64::try_from(seq).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await?;
        }
        if whole {
            // Folded into the snapshot, for edges that miss the entry itself.
            sqlx::query("UPDATE cdn_site SET purged_before = $2 WHERE id = $1")
                .bind(site.id.to_string())
                .bind(now.micros())
                .execute(&mut *tx)
                .await?;
        }
        let detail = json!({"order": id, "asked": asked, "reason": cut(reason), "seqs": [seqs.first(), seqs.last()]});
        tx.audit(by.entry(
            Some(site.org),
            &format!("site.{}", asked.kind),
            format!("site:{}", site.id),
            detail,
        ))
        .await?;
        tx.commit().await?;
        if whole {
            self.wake();
        }
        Ok(Placed {
            id,
            asked,
            reason: cut(reason),
            by: by.user,
            at: now,
            total,
        })
    }

    /// A page of a site's orders, newest first.
    ///
    /// # Errors
    /// [`CdnError::NotFound`] for the site, [`CdnError::Store`].
    pub async fn orders(
        &self,
        scope: &OrgScope,
        site: SiteId,
        request: &PageRequest,
    ) -> Result<Page<Placed>, CdnError> {
        const LIST: &str = "orders";
        self.site(scope, site).await?;
        let before: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let rows = sqlx::query("SELECT id, what, reason, total, made_by, made_at FROM cdn_order WHERE site = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
            .bind(site.to_string())
            .bind(before)
            .bind(request.fetch())
            .fetch_all(self.inner.db.pool())
            .await?;
        let placed: Vec<Placed> = rows.iter().map(placed_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, placed, |order| order.id.to_string())?)
    }

    /// One order of a site, and how far every edge is with it: for each edge, when it
    /// had done the last part, and its counts over all parts.
    ///
    /// # Errors
    /// [`CdnError::NotFound`].
    pub async fn order(
        &self,
        scope: &OrgScope,
        site: SiteId,
        order: Uuid,
    ) -> Result<(Placed, Vec<OrderProgress>), CdnError> {
        self.site(scope, site).await?;
        let row = sqlx::query("SELECT id, what, reason, total, made_by, made_at FROM cdn_order WHERE site = $1 AND id = $2")
            .bind(site.to_string())
            .bind(order.to_string())
            .fetch_optional(self.inner.db.pool())
            .await?;
        let placed = match row {
            Some(row) => placed_of(&row)?,
            None => return Err(CdnError::not_found("order", order)),
        };
        let seqs: Vec<(i64,)> =
            sqlx::query_as("SELECT seq FROM cdn_order_part WHERE order_id = $1 ORDER BY seq")
                .bind(order.to_string())
                .fetch_all(self.inner.db.pool())
                .await?;
        let seqs: Vec<u64> = seqs
            .into_iter()
            .filter_map(|(seq,)| u64::try_from(seq).ok())
            .collect();
        let progress = fold_progress(self.inner.orders.progress(&seqs).await?, seqs.len());
        Ok((placed, progress))
    }

    async fn read_sitemap(&self, site: &Site, address: &str) -> Result<Vec<String>, CdnError> {
        own_url(site, "sitemap", address)?;
        let mut urls = Vec::new();
        let mut files = vec![address.to_owned()];
        let mut read = 0;
        while let Some(file) = files.pop() {
            read += 1;
            if read > SITEMAP_FILES_MAX {
                return Err(CdnError::Limit {
                    what: "files of a site map",
                    most: SITEMAP_FILES_MAX as u64,
                });
            }
            let wrong = |en: String| {
                CdnError::field(
                    "sitemap",
                    &file,
                    "fetch",
                    format!("無法取得 sitemap:{en}"),
                    en,
                )
            };
            let answer = self
                .inner
                .fetcher
                .get(&file, sitemap::BYTES_MAX)
                .await
                .map_err(|error| wrong(runtime::error_chain(&error)))?;
            if answer.status != 200 {
                return Err(wrong(format!("{file} answers {}", answer.status)));
            }
            match sitemap::parse(&answer.body)? {
                Sitemap::Urls(found) => urls.extend(found),
                // One level only: an index names maps, not further indexes.
                Sitemap::Index(found) if read == 1 => {
                    for next in &found {
                        own_url(site, "sitemap", next)?;
                    }
                    files.extend(found);
                }
                Sitemap::Index(_) => {
                    return Err(wrong(format!("{file} is an index inside an index")));
                }
            }
            if urls.len() > URLS_MAX {
                return Err(CdnError::Limit {
                    what: "URLs of one preload",
                    most: URLS_MAX as u64,
                });
            }
        }
        Ok(urls)
    }
}

fn purge_parts(
    site: &Site,
    what: PurgeKind,
    values: &[String],
) -> Result<Vec<PurgeWhat>, CdnError> {
    if what == PurgeKind::Site {
        return Ok(vec![PurgeWhat::Site]);
    }
    if values.is_empty() {
        return Err(CdnError::field(
            "values",
            "",
            "required",
            "至少要有一項",
            "name at least one",
        ));
    }
    values
        .iter()
        .map(|value| purge_part(site, what, value))
        .collect()
}

fn purge_part(site: &Site, what: PurgeKind, value: &str) -> Result<PurgeWhat, CdnError> {
    let wrong = |zh: &str, en: &str| Err(CdnError::field("values", value, "format", zh, en));
    if value.len() > VALUE_BYTES_MAX || value.bytes().any(|b| !b.is_ascii_graphic()) {
        return wrong(
            "最多 2,048 個可見的 ASCII 字元,其他字元請以 %XX 表示",
            "must be at most 2,048 visible ASCII characters; write others as %XX",
        );
    }
    match what {
        PurgeKind::Url if value.starts_with('/') => Ok(PurgeWhat::Url(value.to_owned())),
        PurgeKind::Url => {
            own_url(site, "values", value)?;
            let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
            let rest = rest.split('#').next().unwrap_or(rest);
            let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
            let host = authority
                .split(':')
                .next()
                .unwrap_or(authority)
                .to_ascii_lowercase();
            Ok(PurgeWhat::Url(format!("{host}{path}")))
        }
        PurgeKind::Prefix if value.starts_with('/') => Ok(PurgeWhat::Prefix(value.to_owned())),
        PurgeKind::Prefix => wrong("必須以 / 開頭", "must begin with /"),
        PurgeKind::Tag if value.len() <= 256 && !value.contains(',') => {
            Ok(PurgeWhat::Tag(value.to_owned()))
        }
        PurgeKind::Tag => wrong(
            "標籤最多 256 個字元,且不含逗號",
            "a tag has at most 256 characters and no comma",
        ),
        PurgeKind::Site => Ok(PurgeWhat::Site),
    }
}

/// Only URLs of the site itself: nobody purges or fetches through us elsewhere.
fn own_url(site: &Site, field: &str, text: &str) -> Result<(), CdnError> {
    let parsed = url::Url::parse(text).ok().filter(|url| {
        text.len() <= VALUE_BYTES_MAX
            && matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
    });
    let host = parsed
        .as_ref()
        .and_then(|url| url.host_str())
        .map(str::to_ascii_lowercase);
    if host.is_some_and(|host| site.hosts.contains(&host)) {
        return Ok(());
    }
    Err(CdnError::field(
        field,
        text,
        "own-url",
        "必須是這個網站主機名稱下的完整網址(http:// 或 https://)",
        "must be a full http:// or https:// URL of one of the site's host names",
    ))
}

/// One line for each edge: done when all parts are done.
fn fold_progress(parts: Vec<OrderProgress>, count: usize) -> Vec<OrderProgress> {
    let mut nodes: std::collections::BTreeMap<base::NodeName, (OrderProgress, usize)> =
        std::collections::BTreeMap::new();
    for part in parts {
        let acked = usize::from(part.acked_at.is_some());
        match nodes.get_mut(&part.node) {
            None => {
                nodes.insert(part.node.clone(), (part, acked));
            }
            Some((sum, done)) => {
                sum.acked_at = sum.acked_at.max(part.acked_at);
                sum.done += part.done;
                sum.total += part.total;
                sum.failed += part.failed;
                *done += acked;
            }
        }
    }
    nodes
        .into_values()
        .map(|(mut sum, done)| {
            if done < count {
                sum.acked_at = None;
            }
            sum
        })
        .collect()
}

fn placed_of(row: &AnyRow) -> Result<Placed, CdnError> {
    Ok(Placed {
        id: parse(&row.try_get::<String, _>("id")?)?,
        asked: read_json(&row.try_get::<String, _>("what")?)?,
        reason: row.try_get("reason")?,
        by: parse(&row.try_get::<String, _>("made_by")?)?,
        at: Timestamp(row.try_get("made_at")?),
        total: row.try_get("total")?,
    })
}
