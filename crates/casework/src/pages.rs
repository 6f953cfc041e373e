//! The pages of casework. They work without scripts: each form is one thing at a
//! time, keeps what was typed, and says what is wrong beside the field.

mod apply;
mod home;
mod inbox;
mod view;
mod webhooks;

use axum::extract::State;
use base::UserId;
use store::PageRequest;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, Frame, Level, Pages, Paging, Visit, WebResult};

use crate::api::page_request;
use crate::body::{Body, show};
use crate::case::Case;
use crate::engine::{Casework, Filter};
use crate::number::{CaseNumber, NumberError};
use crate::room::{tell, who};

/// Bytes of an upload's whole body: the file and its envelope.
const UPLOAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The pages' routes.
pub(crate) fn pages(casework: Casework) -> Pages<()> {
    Pages::new()
        .get("/apply", "case:apply", apply::choose)
        .get("/apply/{form}", "case:apply", apply::intro)
        .post("/apply/{form}", "case:apply", apply::begin)
        .get("/cases", "case:apply", my_cases)
        .get("/review", "case:review", review)
        .get("/cases/{case}", "case:apply", view::view)
        .get("/cases/{case}/edit/{step}", "case:apply", apply::edit)
        .post("/cases/{case}/edit/{step}", "case:apply", apply::save)
        .get("/cases/{case}/do/{action}", "case:apply", view::confirm)
        .post("/cases/{case}/do/{action}", "case:apply", view::act)
        .post("/cases/{case}/comments", "case:apply", view::comment)
        .post("/cases/{case}/assign", "case:review", view::assign)
        .upload(
            "/cases/{case}/files",
            "case:apply",
            UPLOAD_BYTES_MAX,
            view::attach,
        )
        .get("/cases/{case}/files/{file}", "case:apply", view::download)
        .post(
            "/cases/{case}/files/{file}/remove",
            "case:apply",
            view::remove,
        )
        .get("/inbox", "inbox:view", inbox::inbox)
        .post("/inbox/read", "inbox:view", inbox::read)
        .get("/deliveries", "delivery:manage", inbox::deliveries)
        .post(
            "/deliveries/{delivery}/retry",
            "delivery:manage",
            inbox::retry,
        )
        .get("/webhooks", "webhook:manage", webhooks::list)
        .post("/webhooks", "webhook:manage", webhooks::create)
        .get(
            "/webhooks/{org}/{webhook}/remove",
            "webhook:manage",
            webhooks::confirm_remove,
        )
        .post(
            "/webhooks/{org}/{webhook}/remove",
            "webhook:manage",
            webhooks::remove,
        )
        .with_state(casework)
}

/// Parameters of the officers' queue.
#[derive(Debug, Default, serde::Deserialize)]
struct QueueQuery {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    number: String,
}

async fn my_cases(
    State(casework): State<Casework>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let asker = who(&visit)?;
    let filter = Filter {
        mine: true,
        ..Filter::default()
    };
    let page = casework
        .list(&asker, &filter, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit.frame("nav-cases");
    let empty = ui::empty(
        Icon::Clipboard,
        visit.t("cases-empty-title"),
        visit.t("cases-empty-text"),
        Some(("/apply", &visit.t("nav-apply"))),
    );
    let table = case_table(&casework, &visit, &frame, &page.items)
        .await
        .empty(empty);
    let body = Body::new()
        .text(visit.t("cases-intro"))
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    show(frame, body)
}

async fn review(
    State(casework): State<Casework>,
    visit: Visit,
    ApiQuery(query): ApiQuery<QueueQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let asker = who(&visit)?;
    let state = query
        .state
        .filter(|state| QUEUE_STATES.contains(&state.as_str()));
    let asked = query.number.trim();
    let number = (!asked.is_empty()).then(|| asked.parse::<CaseNumber>());
    let filter = match &number {
        // Whoever calls names a case in whatever state it is; a number that cannot be is
        // told beside the field, and finds nothing.
        Some(number) => Filter {
            number: Some(number.clone().unwrap_or(CaseNumber::new(0))),
            ..Filter::default()
        },
        None => Casework::queue(state.clone()),
    };
    let request: PageRequest = page_request(&paging)?;
    let page = casework
        .list(&asker, &filter, &request)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let (waiting, overdue) = casework.waiting().await.map_err(|e| tell(e, visit.lang))?;
    let frame = visit.frame("nav-review");
    let mut tabs = vec![("/review".to_owned(), visit.t("review-all"), state.is_none())];
    for name in QUEUE_STATES {
        tabs.push((
            format!("/review?state={name}"),
            state_text(&visit, name),
            state.as_deref() == Some(name),
        ));
    }
    let answer = visit.ta(
        "review-answer",
        &[
            ("waiting", &waiting.to_string()),
            ("overdue", &overdue.to_string()),
        ],
    );
    let empty = match number {
        None => ui::empty(
            Icon::Check,
            visit.t("review-empty-title"),
            visit.t("review-empty-text"),
            None,
        ),
        Some(_) => ui::empty(
            Icon::Search,
            visit.t("review-none-title"),
            visit.t("review-none-text"),
            Some(("/review", &visit.t("review-all"))),
        ),
    };
    let table = case_table(&casework, &visit, &frame, &page.items)
        .await
        .empty(empty);
    let wrong = match &number {
        Some(Err(NumberError::Shape(_))) => Some(visit.t("review-number-shape")),
        Some(Err(NumberError::Digit(_))) => Some(visit.t("review-number-digit")),
        _ => None,
    };
    let search = Body::new()
        .add(
            Field::input("search", "number", visit.t("review-number"))
                .value(asked)
                .help(visit.t("review-number-help"))
                .error(wrong)
                .attribute("inputmode", "numeric"),
        )
        .add(ui::button(visit.t("review-find")));
    let kept = state
        .map(|state| format!("state={state}"))
        .unwrap_or_default();
    let body = Body::new()
        .text(answer)
        .search("/review", search)
        .add(ui::tabs(&tabs))
        .add(table)
        .add(ui::pager(&frame, &kept, page.next.as_deref()));
    show(frame, body)
}

const QUEUE_STATES: [&str; 4] = ["submitted", "in-review", "approved", "returned"];

async fn case_table(casework: &Casework, visit: &Visit, frame: &Frame, cases: &[Case]) -> Table {
    let mut table = Table::new(&frame.title)
        .column(Column::number(visit.t("case-number")))
        .column(Column::text(visit.t("case-subject")))
        .column(Column::text(visit.t("case-form")))
        .column(Column::text(visit.t("case-state")))
        .column(Column::text(visit.t("case-due")))
        .column(Column::text(visit.t("case-assignee")))
        .column(Column::text(visit.t("case-updated")));
    for case in cases {
        let path = format!("/cases/{}", case.id);
        let subject = if case.subject.is_empty() {
            visit.t("case-untitled")
        } else {
            case.subject.clone()
        };
        let form = casework
            .forms()
            .get(&case.form, case.form_version)
            .map_or_else(
                || case.form.clone(),
                |form| form.title.of(visit.lang.tag()).to_owned(),
            );
        table.push(vec![
            Markup::text(format!("#{}", case.number)),
            Markup::link(&path, subject),
            Markup::text(form),
            state_badge(visit, case),
            due(visit, case),
            Markup::text(person(casework, visit, case.assignee).await),
            ui::ago(visit, case.updated_at),
        ]);
    }
    table
}

/// A state's name in the reader's language.
fn state_text(visit: &Visit, state: &str) -> String {
    match state {
        "draft" | "submitted" | "in-review" | "approved" | "returned" | "rejected" | "granted"
        | "closed" | "withdrawn" => visit.t(&format!("case-state-{state}")),
        // The room that brought the form brought the text.
        other => named(visit, &format!("case-state-{other}"), other),
    }
}

/// The text of `key`, where some room has it.
fn named(visit: &Visit, key: &str, otherwise: &str) -> String {
    if visit.house().catalog.has(key) {
        visit.t(key)
    } else {
        otherwise.to_owned()
    }
}

fn state_badge(visit: &Visit, case: &Case) -> Markup {
    let level = match case.state.as_str() {
        "granted" | "closed" => Level::Good,
        "returned" => Level::Warn,
        "rejected" => Level::Bad,
        "submitted" | "in-review" | "approved" => Level::Info,
        _ => Level::Neutral,
    };
    let badge = ui::badge(level, state_text(visit, &case.state));
    if case.overdue {
        badge.and(&ui::badge(Level::Bad, visit.t("case-overdue")))
    } else {
        badge
    }
}

fn due(visit: &Visit, case: &Case) -> Markup {
    match case.due_at {
        Some(at) if !case.ended => ui::ago(visit, at),
        _ => Markup::text("–"),
    }
}

/// A person's name, or a dash.
async fn person(casework: &Casework, visit: &Visit, user: Option<UserId>) -> String {
    let Some(user) = user else {
        return "–".to_owned();
    };
    if visit.principal.user() == Some(user) {
        return visit.t("person-you");
    }
    match casework.people().contact(user).await {
        Some(contact) => contact.name,
        None => visit.t("person-unknown"),
    }
}
