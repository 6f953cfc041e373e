//! What comes from other houses and waits for a person: their alerts, with the answer
//! that travels back, and what this house holds of an indicator (feedback).

use axum::extract::{Path, State};
use axum::http::StatusCode;
use base::Timestamp;
use casework::api::{at_most, page_request};
use casework::body::{Body, show, show_with};
use casework::form::{Form, Values};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{
    ApiJson, ApiPath, ApiQuery, FieldError, Frame, Level, Listing, PageForm, Pages, Paging, Thing,
    Visit, WebError, WebResult,
};

use super::api::tell;
use super::claims::Believed;
use super::pages::tabs;
use super::room::Parts;
use crate::alert::Reply;
use crate::alert::relay::Received;
use crate::cert::error::tell as cert_told;
use crate::cert::shell::{AGAIN, by};
use crate::kinds;
use crate::objects::collections::ROOT;
use crate::objects::{Source, prepare};

/// Characters of a remark or reason.
const TEXT_CHARS_MAX: usize = 500;
/// What somebody may hold of an indicator (STIX 2.1 section 10.21).
const OPINIONS: [&str; 5] = [
    "strongly-disagree",
    "disagree",
    "neutral",
    "agree",
    "strongly-agree",
];

/// The pages' routes.
pub(super) fn pages(parts: Parts) -> Pages<()> {
    Pages::new()
        .get("/sharing/alerts", "share:view", list)
        .get("/sharing/alerts/{object}", "share:view", view)
        .post("/sharing/alerts/{object}", "share:manage", answer)
        .with_state(parts)
}

/// The API's routes.
pub(super) fn router(parts: Parts) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_alerts))
        .routes(routes!(put_answer))
        .routes(routes!(post_verdict))
        .routes(routes!(list_beliefs))
        .with_state(parts)
}

fn state(visit: &Visit, one: &Received) -> Markup {
    let language = visit.lang.tag();
    match (one.revoked, one.reply) {
        (true, _) => ui::badge(Level::Neutral, visit.t("received-revoked")),
        (false, Some(reply)) => ui::badge(Level::Good, reply.name().of(language)),
        (false, None) if one.asks == "none" => Markup::text("–"),
        (false, None) => ui::badge(Level::Warn, visit.t("received-waiting")),
    }
}

async fn list(
    State(parts): State<Parts>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let page = parts
        .cert
        .received(&page_request(&paging)?)
        .await
        .map_err(|e| cert_told(e, visit.lang))?;
    let frame = visit
        .frame("sharing-alerts")
        .crumb("/sharing", visit.t("nav-sharing"));
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("received-name")))
        .column(Column::text(visit.t("received-kind")))
        .column(Column::text(visit.t("received-at")))
        .column(Column::text(visit.t("received-reply")))
        .empty(ui::empty(
            Icon::Bell,
            visit.t("received-empty-title"),
            visit.t("received-empty-text"),
            None,
        ));
    let form = parts.cert.alert_form();
    for one in &page.items {
        table.push(vec![
            Markup::link(format!("/sharing/alerts/{}", one.object), &one.name),
            Markup::text(kind_of(form.as_deref(), &visit, one)),
            ui::ago(&visit, one.at),
            state(&visit, one),
        ]);
    }
    let body = Body::new()
        .add(tabs(&visit, "/sharing/alerts"))
        .text(visit.t("received-intro"))
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    show(frame, body)
}

/// Kind and sub-kind; a sub-kind that this house does not know is shown as it came.
fn kind_of(form: Option<&Form>, visit: &Visit, one: &Received) -> String {
    let kind = one.kind.to_uppercase();
    if one.subkind.is_empty() {
        return kind;
    }
    let name = form
        .and_then(|form| form.question(&kinds::subkind_field(&one.kind)))
        .and_then(|question| question.options.get(&one.subkind))
        .map_or(one.subkind.as_str(), |text| text.of(visit.lang.tag()));
    format!("{kind} {name}")
}

/// What the kind has of its own, as far as this house's form knows it.
fn details(form: Option<&Form>, visit: &Visit, one: &Received) -> Vec<(String, Markup)> {
    let questions = form.into_iter().flat_map(Form::questions);
    questions
        .filter(|question| !question.when.is_empty() && question.when.holds(&one.document))
        .filter_map(|question| {
            let value = one.document.get(&question.name)?;
            let label = question.label.of(visit.lang.tag()).to_owned();
            Some((label, casework::body::value(visit, question, value)))
        })
        .collect()
}

fn whole(
    form: Option<&Form>,
    visit: &Visit,
    one: &Received,
    typed: &Answer,
    errors: &[FieldError],
) -> (Frame, Body) {
    let frame = visit
        .frame_titled(&one.name)
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb("/sharing/alerts", visit.t("sharing-alerts"));
    let mut body = Body::new()
        .add(ui::definition_list(vec![
            (
                visit.t("received-kind"),
                Markup::text(kind_of(form, visit, one)),
            ),
            (visit.t("received-at"), ui::time(one.at)),
            (visit.t("received-reply"), state(visit, one)),
        ]))
        .written(&one.description);
    let own = details(form, visit, one);
    if !own.is_empty() {
        body = body.add(ui::definition_list(own));
    }
    let answers = Reply::answers(&one.asks);
    if !answers.is_empty() && !one.revoked && visit.principal.may("share:manage", Thing::HOUSE) {
        let options = answers
            .iter()
            .map(|reply| {
                let name = reply.name().of(visit.lang.tag()).to_owned();
                (reply.tag().to_owned(), name)
            })
            .collect();
        let chosen = Reply::from_tag(&typed.reply).or(one.reply);
        let inner = Body::new()
            .add(
                Field::radio("reply", visit.t("received-reply"), options)
                    .value(chosen.map_or("", Reply::tag))
                    .errors(errors)
                    .required(),
            )
            .add(
                Field::area("remark", visit.t("received-remark"), 3)
                    .value(&typed.remark)
                    .errors(errors),
            )
            .add(
                Field::area("found", visit.t("alert-found"), 3)
                    .value(either(&typed.found, &one.found))
                    .optional(visit.t("case-optional"))
                    .errors(errors),
            )
            .add(
                Field::area("done", visit.t("alert-done"), 3)
                    .value(either(&typed.done, &one.done))
                    .optional(visit.t("case-optional"))
                    .errors(errors),
            )
            .group("actions", [ui::button(visit.t("received-send"))]);
        body = body.section(
            visit.t("received-answer"),
            Body::new().form(&frame, &format!("/sharing/alerts/{}", one.object), inner),
        );
    }
    (frame, body)
}

async fn view(State(parts): State<Parts>, visit: Visit, Path(object): Path<String>) -> WebResult {
    let one = parts
        .cert
        .received_one(&object)
        .await
        .map_err(|e| cert_told(e, visit.lang))?;
    let (frame, body) = whole(
        parts.cert.alert_form().as_deref(),
        &visit,
        &one,
        &Answer::default(),
        &[],
    );
    show(frame, body)
}

/// What was typed, or what stands there already.
fn either<'a>(typed: &'a str, kept: &'a str) -> &'a str {
    if typed.is_empty() { kept } else { typed }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    reply: String,
    remark: String,
    found: String,
    done: String,
}

async fn answer(
    State(parts): State<Parts>,
    visit: Visit,
    Path(object): Path<String>,
    PageForm(form): PageForm<Answer>,
) -> WebResult {
    let told = |e| cert_told(e, visit.lang);
    let one = parts.cert.received_one(&object).await.map_err(told)?;
    let done = match Reply::from_tag(&form.reply) {
        Some(reply) => parts
            .cert
            .answer_with(
                &by(&visit)?,
                &parts.objects,
                &one,
                kinds::Said {
                    reply,
                    remark: &form.remark,
                    found: &form.found,
                    done: &form.done,
                },
            )
            .await
            .map_err(told),
        None => Err(WebError::field(
            "reply",
            "required",
            visit.t("received-choose"),
        )),
    };
    match done {
        Ok(()) => Ok(visit.done(&format!("/sharing/alerts/{object}"), "received-sent")),
        Err(error) if error.fields.is_empty() => Err(error),
        Err(error) => {
            let known = parts.cert.alert_form();
            let (frame, body) = whole(known.as_deref(), &visit, &one, &form, &error.fields);
            show_with(AGAIN, frame, body)
        }
    }
}

/// An alert of another house.
#[derive(Debug, Serialize, ToSchema)]
struct ReceivedView {
    /// The report of STIX.
    object: String,
    /// What it is called.
    name: String,
    /// `ana`, `ewa`, `def` or `int`.
    kind: String,
    /// What kind of such, in that house's words; empty where it says none.
    subkind: String,
    /// What it says by the names of the form of alerts, where that house has them too.
    #[schema(value_type = Object)]
    document: Values,
    /// `none`, `acknowledge` or `verdict`.
    asks: String,
    /// When it came, in microseconds since 1970.
    at: i64,
    /// What this house answered.
    reply: Option<String>,
    /// When.
    replied_at: Option<i64>,
    /// Whether it was taken back.
    revoked: bool,
}

impl From<Received> for ReceivedView {
    fn from(one: Received) -> Self {
        Self {
            object: one.object,
            name: one.name,
            kind: one.kind,
            subkind: one.subkind,
            document: one.document,
            asks: one.asks,
            at: one.at.micros(),
            reply: one.reply.map(|reply| reply.tag().to_owned()),
            replied_at: one.replied_at.map(Timestamp::micros),
            revoked: one.revoked,
        }
    }
}

/// The answer to an alert of another house.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAnswer {
    /// `acknowledged`, `false-alarm`, `incident` or `unknown`, as far as it was asked.
    reply: String,
    /// A word with it.
    #[serde(default)]
    #[schema(max_length = 500)]
    remark: String,
    /// What was found.
    #[serde(default)]
    #[schema(max_length = 500)]
    found: String,
    /// What was done.
    #[serde(default)]
    #[schema(max_length = 500)]
    done: String,
}

/// What this house holds of an indicator.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewVerdict {
    /// The indicator.
    #[schema(max_length = 100)]
    indicator: String,
    /// Alias or id of the collection that it stands in.
    #[schema(max_length = 100)]
    collection: String,
    /// `strongly-disagree` (a false positive) to `strongly-agree`.
    opinion: String,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 500)]
    why: String,
}

/// What is believed of a pattern.
#[derive(Debug, Serialize, ToSchema)]
struct BeliefView {
    /// Names it.
    id: String,
    /// The pattern.
    pattern: String,
    /// 0 to 100.
    confidence: u8,
    /// Sources that count.
    sources: i64,
    /// Organisations that call it a false positive.
    disputes: i64,
    /// Whether it is believed.
    stands: bool,
    /// When it last changed, in microseconds since 1970.
    changed_at: i64,
}

impl From<Believed> for BeliefView {
    fn from(one: Believed) -> Self {
        Self {
            id: one.id.to_string(),
            pattern: one.pattern,
            confidence: one.confidence,
            sources: one.sources,
            disputes: one.disputes,
            stands: one.stands,
            changed_at: one.changed_at.micros(),
        }
    }
}

/// Alerts of other houses, the newest first.
#[utoipa::path(get, path = "/api/v1/sharing/alerts", tag = "sharing", params(Paging), responses((status = 200, body = Listing<ReceivedView>)))]
async fn list_alerts(
    State(parts): State<Parts>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<ReceivedView>>> {
    let page = parts
        .cert
        .received(&page_request(&paging)?)
        .await
        .map_err(|e| cert_told(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(ReceivedView::from).collect(),
        next: page.next,
    }))
}

/// Answers an alert of another house; the answer travels back by TAXII.
#[utoipa::path(put, path = "/api/v1/sharing/alerts/{object}", tag = "sharing", request_body = NewAnswer, params(("object" = String, Path)), responses((status = 204)))]
async fn put_answer(
    State(parts): State<Parts>,
    visit: Visit,
    ApiPath(object): ApiPath<String>,
    ApiJson(new): ApiJson<NewAnswer>,
) -> WebResult<StatusCode> {
    for (field, text) in [
        ("remark", &new.remark),
        ("found", &new.found),
        ("done", &new.done),
    ] {
        at_most(field, text, TEXT_CHARS_MAX)?;
    }
    let told = |e| cert_told(e, visit.lang);
    let reply = Reply::from_tag(&new.reply)
        .ok_or_else(|| WebError::field("reply", "enum", "must be an answer to what was asked"))?;
    let one = parts.cert.received_one(&object).await.map_err(told)?;
    parts
        .cert
        .answer_with(
            &by(&visit)?,
            &parts.objects,
            &one,
            kinds::Said {
                reply,
                remark: &new.remark,
                found: &new.found,
                done: &new.done,
            },
        )
        .await
        .map_err(told)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says what this house holds of an indicator: an opinion that travels to whoever shares the collection.
#[utoipa::path(post, path = "/api/v1/sharing/verdicts", tag = "sharing", request_body = NewVerdict, responses((status = 204)))]
async fn post_verdict(
    State(parts): State<Parts>,
    visit: Visit,
    ApiJson(new): ApiJson<NewVerdict>,
) -> WebResult<StatusCode> {
    at_most("why", &new.why, TEXT_CHARS_MAX)?;
    at_most("indicator", &new.indicator, 100)?;
    if !OPINIONS.contains(&new.opinion.as_str()) {
        let rule = format!("must be one of {}", OPINIONS.join(", "));
        return Err(WebError::field("opinion", "enum", rule));
    }
    let failed = |e: crate::objects::ObjectsError| tell(e.into());
    let collection = parts
        .objects
        .collection(ROOT, &new.collection)
        .await
        .map_err(failed)?;
    let there = parts
        .objects
        .has(&collection, crate::stix::Tlp::Red, &new.indicator)
        .await
        .map_err(failed)?;
    if !there || !new.indicator.starts_with("indicator--") {
        return Err(WebError::not_found("indicator", &new.indicator));
    }
    let now = Timestamp(visit.now.micros() / 1_000 * 1_000);
    let house = parts.cert.name();
    let made: Result<Vec<_>, _> =
        kinds::verdict(&new.indicator, &new.opinion, new.why.trim(), house, now)
            .iter()
            .map(|object| prepare::object(&object.to_string()))
            .collect();
    let source = Source::person(visit.principal.signed_in()?, None);
    parts
        .objects
        .put(&collection, source, made.map_err(WebError::internal)?, None)
        .await
        .map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is believed of patterns that several sources name or somebody disputes.
#[utoipa::path(get, path = "/api/v1/sharing/beliefs", tag = "sharing", params(Paging), responses((status = 200, body = Listing<BeliefView>)))]
async fn list_beliefs(
    State(parts): State<Parts>,
    _: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<BeliefView>>> {
    let page = parts
        .sharing
        .beliefs(&page_request(&paging)?)
        .await
        .map_err(tell)?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(BeliefView::from).collect(),
        next: page.next,
    }))
}
