//! What people call a thing: unique among its kind, made of its own name and of the
//! names of what it belongs to.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;
use sqlx::AssertSqlSafe;
use store::Tx;
use uuid::Uuid;

use super::keep::Wanted;
use super::things::Values;
use super::{Exchange, Kind, RoomError};

/// The field that is told when a label is taken.
pub(super) const fn naming_field(kind: Kind) -> &'static str {
    match kind {
        Kind::Lag => "number",
        Kind::Range => "first",
        Kind::Member => "short_name",
        Kind::Contact => "name",
        Kind::Session => "router",
        Kind::Maintenance => "title_en",
        _ => "name",
    }
}

/// The kinds whose labels are made of this one's.
fn children(kind: Kind) -> &'static [(Kind, &'static str)] {
    match kind {
        Kind::Switch => &[(Kind::Port, "switch"), (Kind::Lag, "switch")],
        Kind::Lan => &[(Kind::Range, "lan")],
        Kind::Member => &[(Kind::Router, "member"), (Kind::Contact, "member")],
        Kind::Router => &[(Kind::Session, "router"), (Kind::Session, "peer")],
        Kind::RouteServer => &[(Kind::Session, "route_server")],
        _ => &[],
    }
}

/// The label of a thing with these values.
///
/// # Errors
/// When what it refers to cannot be read.
pub(super) async fn of(
    exchange: &Exchange,
    tx: &mut Tx,
    kind: Kind,
    id: Uuid,
    values: &Values,
) -> Result<String, RoomError> {
    let text = |name: &str| match values.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let label = match kind {
        Kind::Profile => "exchange".to_owned(),
        Kind::Member => text("short_name"),
        Kind::Lag => {
            let switch = other(exchange, tx, Kind::Switch, &text("switch")).await?;
            format!("{switch}/lag{}", text("number"))
        }
        Kind::Port => {
            let switch = other(exchange, tx, Kind::Switch, &text("switch")).await?;
            format!("{switch}/{}", text("name"))
        }
        Kind::Range => {
            let lan = other(exchange, tx, Kind::Lan, &text("lan")).await?;
            format!("{lan}/{}", text("first"))
        }
        Kind::Contact => {
            let member = other(exchange, tx, Kind::Member, &text("member")).await?;
            let short: String = id.simple().to_string().chars().skip(20).collect();
            format!("{member}/{}-{short}", text("role"))
        }
        Kind::Router => {
            let member = other(exchange, tx, Kind::Member, &text("member")).await?;
            format!("{member}/{}", text("name"))
        }
        Kind::Session => {
            let router = other(exchange, tx, Kind::Router, &text("router")).await?;
            let far = match text("type").as_str() {
                "bilateral" => other(exchange, tx, Kind::Router, &text("peer")).await?,
                _ => other(exchange, tx, Kind::RouteServer, &text("route_server")).await?,
            };
            format!("{router}-{far}-{}", text("family"))
        }
        Kind::Maintenance => {
            let at = values.get("starts_at").and_then(Value::as_i64).unwrap_or(0);
            let day: String = base::Timestamp(at).taipei().chars().take(16).collect();
            format!("{day} {}", text("title_en"))
        }
        Kind::Site | Kind::Switch | Kind::Vlan | Kind::Lan | Kind::RouteServer => text("name"),
    };
    Ok(label)
}

async fn other(
    exchange: &Exchange,
    tx: &mut Tx,
    kind: Kind,
    id: &str,
) -> Result<String, RoomError> {
    let id: Uuid = id
        .parse()
        .map_err(|_| RoomError::not_found(kind.name(), id))?;
    Ok(exchange.read_in(tx, kind, id, false).await?.label)
}

/// Renames what is called after a thing that got another name.
pub(super) fn refresh<'a>(
    exchange: &'a Exchange,
    tx: &'a mut Tx,
    kind: Kind,
    id: Uuid,
) -> Pin<Box<dyn Future<Output = Result<(), RoomError>> + Send + 'a>> {
    Box::pin(async move {
        for (child, field) in children(kind) {
            let wanted = Wanted::by(field, id);
            let records = exchange.select_in(tx, *child, &wanted).await?;
            for record in records {
                let label = of(exchange, tx, *child, record.id, &record.values).await?;
                let sql = format!("UPDATE {} SET label = $2 WHERE id = $1", child.table());
                sqlx::query(AssertSqlSafe(sql))
                    .bind(record.id.to_string())
                    .bind(label)
                    .execute(&mut **tx)
                    .await?;
                refresh(exchange, tx, *child, record.id).await?;
            }
        }
        Ok(())
    })
}
