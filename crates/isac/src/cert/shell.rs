//! What pages and the API stand on, and the small things that all of them need.

use std::sync::Arc;

use axum::http::StatusCode;
use base::{CaseId, OrgId, UserId};
use casework::body::{Body, hidden};
use casework::{Casework, People};
use web::ui::{self, Markup};
use web::{Level, OrgScope, Streams, Visit, WebError, WebResult};

use super::error::tell;
use super::{By, Cert, Sector};
use crate::report::Incident;

/// The status of a form that is shown again with its errors.
pub(crate) const AGAIN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

/// What the pages and the API stand on.
#[derive(Clone)]
pub struct Desk {
    pub(crate) cert: Cert,
    pub(crate) casework: Casework,
    pub(crate) people: Arc<dyn People>,
    pub(crate) streams: Streams,
}

impl Desk {
    /// A person's name.
    pub(crate) async fn person(&self, visit: &Visit, user: Option<UserId>) -> String {
        let Some(user) = user else {
            return visit.t("person-house");
        };
        if visit.principal.user() == Some(user) {
            return visit.t("person-you");
        }
        match self.people.contact(user).await {
            Some(contact) => contact.name,
            None => visit.t("person-unknown"),
        }
    }

    /// An organisation's name.
    pub(crate) async fn org(&self, visit: &Visit, org: OrgId) -> String {
        self.cert.org_name(visit.lang.tag(), org).await
    }

    /// Who publishes alerts, as CSAF wants to know it.
    pub(crate) fn publisher(&self) -> crate::alert::csaf::Publisher {
        crate::alert::csaf::Publisher {
            name: self.cert.name().to_owned(),
            namespace: self.casework.config().console_url.clone(),
        }
    }

    /// An incident that the reader may see.
    pub(crate) async fn incident(&self, visit: &Visit, case: &str) -> WebResult<Incident> {
        let id: CaseId = case
            .parse()
            .map_err(|_| WebError::not_found("incident", case))?;
        let scope = visit.principal.scope("incident:view");
        self.cert
            .incident(&scope, id)
            .await
            .map_err(|e| tell(e, visit.lang))
    }
}

/// Who changes something.
///
/// # Errors
/// 401 for visitors.
pub(crate) fn by(visit: &Visit) -> Result<By, WebError> {
    Ok(By {
        user: visit.principal.signed_in()?,
        request: Some(visit.request_id.clone()),
    })
}

/// The tenants whose rows the reader may see for an action, narrowed to the chosen one.
pub(crate) fn scope(visit: &Visit, action: &str) -> OrgScope {
    visit.principal.chosen_scope(action)
}

/// Sectors for a select.
pub(crate) fn sector_options(visit: &Visit) -> Vec<(String, String)> {
    super::SECTORS
        .into_iter()
        .map(|sector| (sector.tag().to_owned(), sector_name(visit, sector)))
        .collect()
}

/// A sector's name in the reader's language.
pub(crate) fn sector_name(visit: &Visit, sector: Sector) -> String {
    sector.name().of(visit.lang.tag()).to_owned()
}

/// A form of one button that carries `fields`.
pub(crate) fn press(visit: &Visit, path: &str, fields: &[(&str, &str)], button: Markup) -> Markup {
    let mut inner = Body::new();
    for (name, value) in fields {
        inner = inner.add(hidden(name, value));
    }
    Body::new()
        .form(&visit.frame_titled(""), path, inner.add(button))
        .markup()
}

/// Which part of the rail and which badge a level of an incident wears.
pub(crate) fn level_badge(visit: &Visit, level: crate::report::Level) -> Markup {
    let tone = match level.number() {
        1 => Level::Info,
        2 => Level::Warn,
        _ => Level::Bad,
    };
    ui::badge(
        tone,
        visit.ta("incident-level", &[("level", &level.number().to_string())]),
    )
}
