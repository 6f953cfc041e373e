//! What pages and the API stand on, and the small things that all of them need.

use axum::http::StatusCode;
use base::OrgId;
use casework::form::Text;
use uuid::Uuid;
use web::{Streams, Thing, Visit, WebError, WebResult};

use super::config::RoomConfig;
use super::error::tell;
use super::keep::Wanted;
use super::{By, Exchange, Kind, Record, RoomError};

/// The status of a form that is shown again with its errors.
pub(crate) const AGAIN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

/// What the pages and the API stand on.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) exchange: Exchange,
    pub(crate) config: RoomConfig,
    pub(crate) streams: Streams,
}

/// Who changes something.
///
/// # Errors
/// 401 for visitors.
pub(crate) fn by(visit: &Visit) -> Result<By, WebError> {
    Ok(By {
        actor: store::Actor::User(visit.principal.signed_in()?),
        request: Some(visit.request_id.clone()),
    })
}

/// Whether the reader may see personal data of contacts.
pub(crate) fn sees_personal(visit: &Visit) -> bool {
    visit.principal.may("exchange:contact", Thing::HOUSE)
}

/// The kind of that name in a path.
///
/// # Errors
/// 404 for no kind.
pub(crate) fn kind_of(path: &str) -> WebResult<Kind> {
    Kind::from_path(path).ok_or_else(|| WebError::not_found("list of the exchange", path))
}

/// The identifier in a path.
///
/// # Errors
/// 404 for no identifier.
pub(crate) fn id_of(kind: Kind, text: &str) -> WebResult<Uuid> {
    text.parse()
        .map_err(|_| WebError::not_found(kind.name(), text))
}

/// What a list is asked for: `q`, `deleted`, and fields with their values.
///
/// # Errors
/// 422 for a parameter that is no field.
pub(crate) fn wanted_of(
    visit: &Visit,
    kind: Kind,
    pairs: &[(String, String)],
) -> WebResult<Wanted> {
    let mut wanted = Wanted {
        personal: sees_personal(visit),
        ..Wanted::default()
    };
    for (name, value) in pairs {
        match name.as_str() {
            "q" if value.chars().count() > 100 => {
                return Err(WebError::field(
                    "q",
                    "max-length",
                    "must have at most 100 characters",
                ));
            }
            "q" => wanted.words = Some(value.clone()),
            "deleted" => wanted.deleted = matches!(value.as_str(), "true" | "on" | "1"),
            "limit" | "cursor" => {}
            name => match kind.field(name).filter(|field| !field.ty.is_sealed()) {
                Some(_) if value.is_empty() => {}
                Some(field) => wanted.fields.push((field.name, value.clone())),
                None => return Err(WebError::field(name, "unknown", "is no field of this list")),
            },
        }
    }
    Ok(wanted)
}

impl Desk {
    /// An error as the console tells it.
    pub(crate) fn tell(&self, visit: &Visit) -> impl Fn(RoomError) -> WebError + use<> {
        let lang = visit.lang;
        move |error| tell(error, lang)
    }

    /// A thing that the path names.
    pub(crate) async fn thing(&self, visit: &Visit, kind: &str, id: &str) -> WebResult<Record> {
        let kind = kind_of(kind)?;
        let id = id_of(kind, id)?;
        self.exchange
            .read(kind, id, sees_personal(visit))
            .await
            .map_err(self.tell(visit))
    }

    /// An organisation's name in the reader's language.
    pub(crate) async fn org_name(&self, visit: &Visit, org: OrgId) -> String {
        match self.exchange.people().org_name(org).await {
            Some(name) => Text::of(&name, visit.lang.tag()).to_owned(),
            None => org.to_string(),
        }
    }

    /// Who did something, from the history's text.
    pub(crate) async fn actor(&self, visit: &Visit, actor: &str) -> String {
        let Some(user) = actor.strip_prefix("user:").and_then(|id| id.parse().ok()) else {
            return actor.to_owned();
        };
        if visit.principal.user() == Some(user) {
            return visit.t("person-you");
        }
        match self.exchange.people().contact(user).await {
            Some(contact) => contact.name,
            None => visit.t("person-unknown"),
        }
    }
}
