//! What operators do: drain an edge and bring it back, edit the dispatch map.

use base::{NodeName, Timestamp, UserId};
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::{Page, PageRequest};

use crate::dispatch_map::{self, DispatchMap};
use crate::engine::{By, Cdn, cut, parse, read_json, write_json};
use crate::error::CdnError;

/// Versions of the dispatch map that are kept.
pub const MAPS_MAX: i64 = 10_000;

/// An edge that is being taken out of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
}

/// One version of the dispatch map.
#[derive(Debug, Clone, PartialEq)]
pub struct MapVersion {
    /// 1, 2, 3 …; 0: none was made yet.
    pub version: i64,
    /// The document.
    pub map: DispatchMap,
    /// Why it was made.
    pub note: String,
    /// Who made it.
    pub by: Option<UserId>,
    /// When.
    pub at: Timestamp,
}

impl Cdn {
    /// Edges that are being drained.
    ///
    /// # Errors
    /// [`CdnError::Store`].
    pub async fn drains(&self) -> Result<Vec<Drain>, CdnError> {
        let rows =
            sqlx::query("SELECT node, reason, made_by, made_at FROM cdn_drain ORDER BY node")
                .fetch_all(self.inner.db.pool())
                .await?;
        rows.iter().map(drain_of).collect()
    }

    /// Takes an edge out of service: dispatch gives it to nobody new, and it closes
    /// connections when they fall idle. The last edge in service stays.
    ///
    /// # Errors
    /// [`CdnError`]: no such edge on the map, or it is the last.
    pub async fn drain(&self, by: &By, node: &NodeName, reason: &str) -> Result<(), CdnError> {
        let map = self.dispatch_map(None).await?;
        if !map.map.edges.iter().any(|edge| edge.node == *node) {
            return Err(CdnError::not_found("edge on the dispatch map", node));
        }
        let mut tx = self.inner.db.begin().await?;
        let drained: Vec<(String,)> = sqlx::query_as("SELECT node FROM cdn_drain")
            .fetch_all(&mut *tx)
            .await?;
        let left = map
            .map
            .edges
            .iter()
            .filter(|edge| {
                edge.node != *node && !drained.iter().any(|(name,)| name == edge.node.as_str())
            })
            .count();
        if left == 0 {
            return Err(CdnError::Conflict(format!(
                "{node} is the last edge in service: bring another one back first"
            )));
        }
        sqlx::query("INSERT INTO cdn_drain (node, reason, made_by, made_at) VALUES ($1, $2, $3, $4) ON CONFLICT (node) DO NOTHING")
            .bind(node.as_str())
            .bind(cut(reason))
            .bind(by.user.to_string())
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry(
            None,
            "node.drain",
            format!("node:{node}"),
            json!({"reason": cut(reason)}),
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    /// Brings a drained edge back.
    ///
    /// # Errors
    /// [`CdnError::NotFound`] when it is not being drained.
    pub async fn undrain(&self, by: &By, node: &NodeName) -> Result<(), CdnError> {
        let mut tx = self.inner.db.begin().await?;
        let gone = sqlx::query("DELETE FROM cdn_drain WHERE node = $1")
            .bind(node.as_str())
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(CdnError::not_found("drained edge", node));
        }
        tx.audit(by.entry(None, "node.undrain", format!("node:{node}"), json!({})))
            .await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    /// One version of the dispatch map; none: the newest, which is the one in force.
    ///
    /// # Errors
    /// [`CdnError::NotFound`] for a version that was never made.
    pub async fn dispatch_map(&self, version: Option<i64>) -> Result<MapVersion, CdnError> {
        let row = sqlx::query("SELECT version, document, note, made_by, made_at FROM cdn_dispatch_map WHERE ($1 = 0 OR version = $1) ORDER BY version DESC LIMIT 1")
            .bind(version.unwrap_or(0))
            .fetch_optional(self.inner.db.pool())
            .await?;
        match (row, version) {
            (Some(row), _) => map_of(&row),
            (None, None | Some(0)) => Ok(MapVersion {
                version: 0,
                map: DispatchMap::default(),
                note: String::new(),
                by: None,
                at: Timestamp(0),
            }),
            (None, Some(version)) => {
                Err(CdnError::not_found("version of the dispatch map", version))
            }
        }
    }

    /// A page of the dispatch map's versions, newest first.
    ///
    /// # Errors
    /// [`CdnError::Store`], also for a wrong cursor.
    pub async fn dispatch_maps(&self, request: &PageRequest) -> Result<Page<MapVersion>, CdnError> {
        const LIST: &str = "dispatch-maps";
        let before: i64 = request.after(LIST)?.unwrap_or(i64::MAX);
        let rows = sqlx::query("SELECT version, document, note, made_by, made_at FROM cdn_dispatch_map WHERE version < $1 ORDER BY version DESC LIMIT $2")
            .bind(before)
            .bind(request.fetch())
            .fetch_all(self.inner.db.pool())
            .await?;
        let maps: Vec<MapVersion> = rows.iter().map(map_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, maps, |map| map.version)?)
    }

    /// Puts a new dispatch map in force. `base` is the version that it was made from.
    ///
    /// # Errors
    /// [`CdnError`]: wrong values, changed meanwhile, too many versions.
    pub async fn save_dispatch_map(
        &self,
        by: &By,
        base: i64,
        map: &DispatchMap,
        note: &str,
    ) -> Result<i64, CdnError> {
        let problems = dispatch_map::problems(map);
        if !problems.is_empty() {
            return Err(CdnError::Invalid(problems));
        }
        let document = write_json(map)?;
        if document.len() > dispatch_map::DOCUMENT_BYTES_MAX {
            return Err(CdnError::Limit {
                what: "bytes of the dispatch map",
                most: dispatch_map::DOCUMENT_BYTES_MAX as u64,
            });
        }
        let mut tx = self.inner.db.begin().await?;
        let (newest,): (i64,) =
            sqlx::query_as("SELECT coalesce(max(version), 0) FROM cdn_dispatch_map")
                .fetch_one(&mut *tx)
                .await?;
        if newest != base {
            return Err(CdnError::Conflict(format!(
                "the dispatch map has changed meanwhile: it is at version {newest}, not {base}"
            )));
        }
        if newest >= MAPS_MAX {
            return Err(CdnError::Limit {
                what: "versions of the dispatch map",
                most: MAPS_MAX as u64,
            });
        }
        sqlx::query("INSERT INTO cdn_dispatch_map (version, document, note, made_by, made_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(newest + 1)
            .bind(document)
            .bind(cut(note))
            .bind(by.user.to_string())
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry(
            None,
            "dispatch.save",
            format!("dispatch-map:{}", newest + 1),
            json!({"edges": map.edges.len(), "regions": map.regions.len(), "note": cut(note)}),
        ))
        .await?;
        tx.commit().await?;
        self.wake();
        Ok(newest + 1)
    }
}

fn drain_of(row: &AnyRow) -> Result<Drain, CdnError> {
    Ok(Drain {
        node: parse(&row.try_get::<String, _>("node")?)?,
        reason: row.try_get("reason")?,
        by: parse(&row.try_get::<String, _>("made_by")?)?,
        at: Timestamp(row.try_get("made_at")?),
    })
}

fn map_of(row: &AnyRow) -> Result<MapVersion, CdnError> {
    Ok(MapVersion {
        version: row.try_get("version")?,
        map: read_json(&row.try_get::<String, _>("document")?)?,
        note: row.try_get("note")?,
        by: Some(parse(&row.try_get::<String, _>("made_by")?)?),
        at: Timestamp(row.try_get("made_at")?),
    })
}
