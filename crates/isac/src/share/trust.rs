//! Pages of what the house believes, and of the proofs by which other programs come.

use axum::extract::{Path, State};
use base::{OrgId, Timestamp};
use casework::api::page_request;
use casework::body::{Body, show, show_with};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, Level, PageForm, Pages, Paging, Visit, WebError, WebResult};

use super::api::tell;
use super::pages::tabs;
use super::room::Parts;
use crate::cert::shell::{AGAIN, by, press};
use crate::taxii::proofs::{self, Kind, ProofError};

/// Days that a proof is good for when nothing is said.
const PROOF_DAYS: u32 = 365;

/// The pages' routes.
pub(super) fn pages(parts: Parts) -> Pages<()> {
    Pages::new()
        .get("/sharing/beliefs", "share:view", beliefs)
        .get("/sharing/beliefs/{id}", "share:view", belief)
        .get("/sharing/proofs", "share:proofs", proofs_page)
        .post("/sharing/proofs", "share:proofs", keep_proof)
        .post("/sharing/proofs/{id}/revoke", "share:proofs", revoke_proof)
        .with_state(parts)
}

async fn beliefs(
    State(parts): State<Parts>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let page = parts
        .sharing
        .beliefs(&page_request(&paging)?)
        .await
        .map_err(tell)?;
    let frame = visit
        .frame("sharing-beliefs")
        .crumb("/sharing", visit.t("nav-sharing"));
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("belief-pattern")))
        .column(Column::text(visit.t("belief-confidence")))
        .column(Column::number(visit.t("belief-sources")))
        .column(Column::number(visit.t("belief-disputes")))
        .column(Column::text(visit.t("belief-stands")))
        .column(Column::text(visit.t("belief-changed")))
        .empty(ui::empty(
            Icon::Search,
            visit.t("beliefs-empty-title"),
            visit.t("beliefs-empty-text"),
            None,
        ));
    for one in &page.items {
        let (level, key) = match one.stands {
            true => (Level::Good, "belief-yes"),
            false => (Level::Neutral, "belief-no"),
        };
        let shown: String = one.pattern.chars().take(120).collect();
        table.push(vec![
            Markup::link(format!("/sharing/beliefs/{}", one.id), shown),
            ui::bar(
                f64::from(one.confidence) / 100.0,
                one.confidence.to_string(),
            ),
            Markup::text(one.sources.to_string()),
            Markup::text(one.disputes.to_string()),
            ui::badge(level, visit.t(key)),
            ui::ago(&visit, one.changed_at),
        ]);
    }
    let body = Body::new()
        .add(tabs(&visit, "/sharing/beliefs"))
        .text(visit.t("beliefs-intro"))
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    show(frame, body)
}

async fn belief(State(parts): State<Parts>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let missing = || WebError::not_found("belief", &id);
    let number: i64 = id.parse().map_err(|_| missing())?;
    let found = parts.sharing.believed(number).await.map_err(tell)?;
    let (one, claims, disputes) = found.ok_or_else(missing)?;
    let (version, _) = parts.sharing.decay().await.map_err(tell)?;
    let frame = visit
        .frame("belief-one")
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb("/sharing/beliefs", visit.t("sharing-beliefs"));
    let mut body = Body::new()
        .add(Markup::code(&one.pattern))
        .add(ui::definition_list(vec![
            (
                visit.t("belief-confidence"),
                ui::bar(
                    f64::from(one.confidence) / 100.0,
                    one.confidence.to_string(),
                ),
            ),
            (
                visit.t("belief-stands"),
                Markup::text(visit.t(if one.stands {
                    "belief-yes"
                } else {
                    "belief-no"
                })),
            ),
            (
                visit.t("belief-tlp"),
                Markup::text(one.tlp.name().to_uppercase()),
            ),
            (visit.t("belief-changed"), ui::time(one.changed_at)),
        ]))
        .text(visit.ta("belief-rule", &[("version", &version.to_string())]));
    let mut table = Table::new(visit.t("belief-claims"))
        .column(Column::text(visit.t("belief-source")))
        .column(Column::text(visit.t("belief-object")))
        .column(Column::number(visit.t("belief-confidence")))
        .column(Column::text(visit.t("belief-said")))
        .column(Column::text(visit.t("belief-seen")))
        .empty(ui::empty(
            Icon::Info,
            visit.t("belief-unclaimed-title"),
            visit.t("belief-unclaimed-text"),
            None,
        ));
    for claim in &claims {
        let seen = match claim.seen_at {
            0 => Markup::text("–"),
            at => ui::time(Timestamp(at)),
        };
        let confidence = match (claim.revoked, claim.confidence) {
            (true, _) => visit.t("belief-revoked"),
            (false, Some(value)) => value.to_string(),
            (false, None) => visit.t("belief-unstated"),
        };
        table.push(vec![
            Markup::text(source(&parts, &visit, &claim.source).await),
            Markup::code(&claim.object),
            Markup::text(confidence),
            ui::time(Timestamp(claim.said_at)),
            seen,
        ]);
    }
    body = body.section(visit.t("belief-claims"), Body::new().add(table));
    let mut table = Table::new(visit.t("belief-disputes"))
        .column(Column::text(visit.t("belief-source")))
        .column(Column::text(visit.t("belief-opinion")))
        .column(Column::text(visit.t("belief-said")))
        .empty(ui::empty(
            Icon::Check,
            visit.t("belief-undisputed-title"),
            visit.t("belief-undisputed-text"),
            None,
        ));
    for dispute in &disputes {
        table.push(vec![
            Markup::text(source(&parts, &visit, &dispute.source).await),
            Markup::text(visit.t(&format!("belief-opinion-{}", dispute.opinion))),
            ui::time(Timestamp(dispute.at)),
        ]);
    }
    show(
        frame,
        body.section(visit.t("belief-disputes"), Body::new().add(table)),
    )
}

/// A source by name where it has one here.
async fn source(parts: &Parts, visit: &Visit, source: &str) -> String {
    if source == "house" {
        return visit.t("person-house");
    }
    match source.parse::<OrgId>() {
        Ok(org) => parts.people.org_name(org).await.map_or_else(
            || source.to_owned(),
            |name| name.of(visit.lang.tag()).to_owned(),
        ),
        Err(_) => source.to_owned(),
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct NewProof {
    kind: String,
    name: String,
    email: String,
    org: String,
    write: Option<String>,
    days: String,
}

async fn proofs_page(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let typed = NewProof {
        days: PROOF_DAYS.to_string(),
        ..NewProof::default()
    };
    let (frame, body) = proofs_body(&parts, &visit, &typed, &[]).await?;
    show(frame, body)
}

async fn proofs_body(
    parts: &Parts,
    visit: &Visit,
    typed: &NewProof,
    errors: &[FieldError],
) -> WebResult<(web::Frame, Body)> {
    let frame = visit
        .frame("sharing-proofs")
        .crumb("/sharing", visit.t("nav-sharing"));
    let all = proofs::all(parts.sharing.db()).await.map_err(told)?;
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("proof-kind")))
        .column(Column::text(visit.t("proof-name")))
        .column(Column::text(visit.t("proof-user")))
        .column(Column::text(visit.t("proof-org")))
        .column(Column::text(visit.t("proof-may")))
        .column(Column::text(visit.t("proof-until")))
        .column(Column::text(visit.t("proof-act")))
        .empty(ui::empty(
            Icon::Key,
            visit.t("proofs-empty-title"),
            visit.t("proofs-empty-text"),
            None,
        ));
    for one in &all {
        let person = parts.people.contact(one.user).await;
        let org = match one.org {
            Some(org) => source(parts, visit, &org.to_string()).await,
            None => "–".to_owned(),
        };
        let may = if one.write {
            "proof-may-write"
        } else {
            "proof-may-read"
        };
        let until = match one.until < visit.now {
            true => ui::badge(Level::Warn, visit.t("proof-over")),
            false => ui::time(one.until),
        };
        let button = ui::danger_button(visit.t("proof-revoke"));
        table.push(vec![
            Markup::text(visit.t(&format!("proof-kind-{}", one.kind.name()))),
            Markup::code(&one.name),
            Markup::text(person.map_or_else(|| visit.t("person-unknown"), |found| found.name)),
            Markup::text(org),
            Markup::text(visit.t(may)),
            until,
            press(
                visit,
                &format!("/sharing/proofs/{}/revoke", one.id),
                &[],
                button,
            ),
        ]);
    }
    let paging = Paging {
        limit: Some(Paging::LIMIT_MAX),
        cursor: None,
    };
    let orgs = visit
        .house()
        .accounts
        .orgs(&web::OrgScope::All, &paging)
        .await?;
    let mut options = vec![(String::new(), visit.t("proof-no-org"))];
    for org in orgs.items {
        let name = if frame.is_zh() {
            org.name_zh
        } else {
            org.name_en
        };
        options.push((org.id.to_string(), name));
    }
    let kinds = [Kind::Certificate, Kind::Subject]
        .map(|kind| {
            let label = visit.t(&format!("proof-kind-{}", kind.name()));
            (kind.name().to_owned(), label)
        })
        .to_vec();
    let inner = Body::new()
        .add(Field::select("kind", visit.t("proof-kind"), kinds).value(&typed.kind))
        .add(
            Field::text("name", visit.t("proof-name"))
                .value(&typed.name)
                .help(visit.t("proof-name-help"))
                .errors(errors)
                .required(),
        )
        .add(
            Field::input("email", "email", visit.t("proof-user"))
                .value(&typed.email)
                .help(visit.t("proof-user-help"))
                .errors(errors)
                .required(),
        )
        .add(
            Field::select("org", visit.t("proof-org"), options)
                .value(&typed.org)
                .errors(errors),
        )
        .add(Field::check(
            "write",
            visit.t("proof-may-write"),
            typed.write.is_some(),
        ))
        .add(
            Field::input("number", "days", visit.t("proof-days"))
                .value(&typed.days)
                .errors(errors)
                .required(),
        )
        .group("actions", [ui::button(visit.t("proof-keep"))]);
    let body = Body::new()
        .add(tabs(visit, "/sharing/proofs"))
        .text(visit.t("proofs-intro"))
        .add(table)
        .section(
            visit.t("proof-new"),
            Body::new().form(&frame, "/sharing/proofs", inner),
        );
    Ok((frame, body))
}

fn told(error: ProofError) -> WebError {
    match error {
        ProofError::Invalid { field, rule } => WebError::field(field, "rule", rule),
        ProofError::Store(error) => casework::room::tell_store(error),
    }
}

async fn keep_proof(
    State(parts): State<Parts>,
    visit: Visit,
    PageForm(form): PageForm<NewProof>,
) -> WebResult {
    match kept(&parts, &visit, &form).await {
        Ok(()) => Ok(visit.done("/sharing/proofs", "proof-kept")),
        Err(error) if error.fields.is_empty() => Err(error),
        Err(error) => {
            let (frame, body) = proofs_body(&parts, &visit, &form, &error.fields).await?;
            show_with(AGAIN, frame, body)
        }
    }
}

async fn kept(parts: &Parts, visit: &Visit, form: &NewProof) -> WebResult<()> {
    let kind = Kind::from_name(&form.kind)
        .ok_or_else(|| WebError::field("kind", "choice", "must be certificate or subject"))?;
    let accounts = &visit.house().accounts;
    let user = accounts
        .user_by_email(form.email.trim())
        .await?
        .ok_or_else(|| WebError::field("email", "unknown", visit.t("proof-no-user")))?;
    let org: Option<OrgId> = match form.org.as_str() {
        "" => None,
        org => Some(
            org.parse()
                .map_err(|_| WebError::not_found("organisation", org))?,
        ),
    };
    if let Some(org) = org {
        let members = accounts.members(org).await?;
        if !members.iter().any(|member| member.user == user) {
            return Err(WebError::field(
                "org",
                "member",
                visit.t("proof-not-member"),
            ));
        }
    }
    let days: u32 = form
        .days
        .trim()
        .parse()
        .map_err(|_| WebError::field("days", "range", "must be 1 to 1096"))?;
    proofs::keep(
        parts.sharing.db(),
        &by(visit)?,
        kind,
        &form.name,
        user,
        org,
        form.write.is_some(),
        days,
    )
    .await
    .map_err(told)?;
    Ok(())
}

async fn revoke_proof(
    State(parts): State<Parts>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let gone = proofs::revoke(parts.sharing.db(), &by(&visit)?, &id)
        .await
        .map_err(told)?;
    match gone {
        true => Ok(visit.done("/sharing/proofs", "proof-revoked")),
        false => Err(WebError::not_found("proof", id)),
    }
}
