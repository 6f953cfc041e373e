//! An incident's view: the picture of the exchange with what a case is about framed, what of it is broken,
//! and what was found out.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Response;
use base::{CaseId, Timestamp};
use casework::Case;
use casework::body::{Body, hidden, show};
use casework::room::{case_id, who};
use serde::Deserialize;
use uuid::Uuid;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{Frame, Level, PageForm, Pages, Visit, WebError, WebResult};

use super::{Desk, checks, keep};
use crate::room::pages::overview::{Model, View, follow};
use crate::room::shell::by;
use crate::room::{Kind, Record, Wanted};

/// The element that holds the picture.
const PICTURE: &str = "incident-picture";
/// Checks shown beside a case.
const CHECKS_SHOWN: i64 = 20;
/// Kinds that a case can be about, in the order of the choice.
const KINDS: [Kind; 5] = [
    Kind::Site,
    Kind::Switch,
    Kind::RouteServer,
    Kind::Member,
    Kind::Router,
];
/// Things that the choice offers.
const CHOICES_MAX: usize = 2_000;

/// The pages' routes.
pub(super) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/exchange/incidents/{case}", "exchange:view", view)
        .get("/exchange/incidents/{case}/live", "exchange:view", live)
        .post(
            "/exchange/incidents/{case}/affected",
            "exchange:incident",
            mark,
        )
        .with_state(desk)
}

/// What a case is about.
struct Subject {
    case: Case,
    /// The members of the case's organisation.
    own: Vec<Record>,
    /// What somebody marked.
    marked: Vec<(keep::Affected, Record)>,
}

impl Subject {
    async fn read(desk: &Desk, visit: &Visit, case: &str) -> WebResult<Self> {
        let id = case_id(case)?;
        let opened = desk
            .casework
            .open(&who(visit)?, id)
            .await
            .map_err(|error| casework::room::tell(error, visit.lang))?;
        let tell = desk.room.tell(visit);
        let room = &desk.room.exchange;
        let own = match opened.case.org {
            Some(org) => room
                .all_of(Kind::Member, &Wanted::by("org", org))
                .await
                .map_err(&tell)?,
            None => Vec::new(),
        };
        let mut marked = Vec::new();
        for one in keep::affected(room, id).await.map_err(&tell)? {
            // What was deleted since is not told any more.
            if let Some(record) = find(desk, visit, one.thing).await? {
                marked.push((one, record));
            }
        }
        Ok(Self {
            case: opened.case,
            own,
            marked,
        })
    }

    fn ids(&self) -> BTreeSet<Uuid> {
        let marked = self.marked.iter().map(|(_, record)| record.id);
        self.own.iter().map(|one| one.id).chain(marked).collect()
    }

    fn path(&self) -> String {
        format!("/exchange/incidents/{}", self.case.id)
    }
}

/// The thing of that id, of one of the kinds.
async fn find(desk: &Desk, visit: &Visit, id: Uuid) -> WebResult<Option<Record>> {
    for kind in KINDS {
        match desk.room.exchange.read(kind, id, false).await {
            Ok(record) => return Ok(Some(record)),
            Err(crate::room::RoomError::NotFound { .. }) => {}
            Err(error) => return Err(desk.room.tell(visit)(error)),
        }
    }
    Ok(None)
}

async fn view(State(desk): State<Desk>, visit: Visit, Path(case): Path<String>) -> WebResult {
    let subject = Subject::read(&desk, &visit, &case).await?;
    let title = visit.ta(
        "op-incident-title",
        &[
            ("number", &subject.case.number.to_string()),
            ("subject", &subject.case.subject),
        ],
    );
    let frame = visit
        .frame_titled(title)
        .crumb("/exchange", visit.t("nav-exchange"));
    let model = Model::read(&desk.room, &visit).await?;
    let ids = subject.ids();
    let inner = Markup::new(format!(
        "<div id=\"{PICTURE}\">{}</div>",
        model.markup(&visit, &View::Incident(ids.clone()))
    ));
    let broken = model.wrong_of(&visit, &ids);
    let mut body = Body::new()
        .group(
            "actions",
            [
                ui::button_link(format!("/cases/{}", subject.case.id), visit.t("op-to-case")),
                ui::button_link("/exchange", visit.t("op-to-exchange")),
            ],
        )
        .text(visit.t("op-incident-text"))
        .add(ui::live(format!("{}/live", subject.path()), inner))
        .section(
            visit.t("op-affected"),
            affected(&desk, &visit, &frame, &subject).await?,
        );
    body = body.section(
        visit.t("op-broken"),
        match broken {
            Some(table) => Body::new().add(table),
            None => Body::new().text(visit.t("op-broken-none")),
        },
    );
    let kept = keep::checks(&desk.room.exchange, Some(subject.case.id), CHECKS_SHOWN)
        .await
        .map_err(desk.room.tell(&visit))?;
    let mut found = Body::new().add(checks::list(&desk, &visit, &kept).await);
    if visit.principal.could("exchange:check") {
        let form = checks::form(&desk, &visit, &frame, Some(subject.case.id)).await?;
        found = found.add(form.markup());
    }
    show(frame, body.section(visit.t("op-checks"), found))
}

async fn affected(desk: &Desk, visit: &Visit, frame: &Frame, subject: &Subject) -> WebResult<Body> {
    let may = visit.principal.could("exchange:incident");
    let mut table = Table::new(visit.t("op-affected"))
        .column(Column::text(visit.t("op-thing")))
        .column(Column::text(visit.t("op-kind")))
        .column(Column::text(visit.t("op-why")))
        .empty(ui::empty(
            Icon::Map,
            visit.t("op-affected-none"),
            visit.t("op-affected-none-text"),
            None,
        ));
    if may {
        table = table.column(Column::text(visit.t("op-unmark")));
    }
    let kind = |record: &Record| Markup::text(visit.t(&format!("xk-{}", record.kind.name())));
    for record in &subject.own {
        let mut row = vec![
            Markup::link(record.path(), &record.label),
            kind(record),
            Markup::text(visit.t("op-why-org")),
        ];
        if may {
            row.push(Markup::text("–"));
        }
        table.push(row);
    }
    for (mark, record) in &subject.marked {
        let who = desk.room.actor(visit, &mark.by).await;
        let mut row = vec![
            Markup::link(record.path(), &record.label),
            kind(record),
            Markup::text(visit.ta("op-why-marked", &[("who", &who)])).and(&ui::time(mark.at)),
        ];
        if may {
            let inner = Body::new()
                .add(hidden("thing", record.id.to_string()))
                .add(hidden("off", "on"))
                .add(ui::button(
                    visit.ta("op-unmark-one", &[("thing", &record.label)]),
                ));
            let path = format!("{}/affected", subject.path());
            row.push(Body::new().form(frame, &path, inner).markup());
        }
        table.push(row);
    }
    let mut body = Body::new().add(table);
    if may {
        let mut choices = Vec::new();
        for kind in KINDS {
            let all = desk
                .room
                .exchange
                .all_of(kind, &Wanted::default())
                .await
                .map_err(desk.room.tell(visit))?;
            let name = visit.t(&format!("xk-{}", kind.name()));
            choices.extend(
                all.into_iter()
                    .map(|one| (one.id.to_string(), format!("{name}: {}", one.label))),
            );
        }
        choices.truncate(CHOICES_MAX);
        if !choices.is_empty() {
            let inner = Body::new()
                .add(
                    Field::select("thing", visit.t("op-mark-thing"), choices)
                        .help(visit.t("op-mark-help"))
                        .required()
                        .markup(),
                )
                .add(ui::button(visit.t("op-mark")));
            body = body.form(frame, &format!("{}/affected", subject.path()), inner);
        }
    }
    Ok(body)
}

#[derive(Debug, Deserialize)]
struct Mark {
    #[serde(default)]
    thing: String,
    #[serde(default)]
    off: String,
}

async fn mark(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
    PageForm(asked): PageForm<Mark>,
) -> WebResult {
    let subject = Subject::read(&desk, &visit, &case).await?;
    let wrong = || WebError::field("thing", "reference", "must be a thing of the exchange");
    let id: Uuid = asked.thing.parse().map_err(|_| wrong())?;
    let thing = find(&desk, &visit, id).await?.ok_or_else(wrong)?;
    let is_affected = asked.off.is_empty();
    let room = &desk.room.exchange;
    keep::mark(room, &by(&visit)?, subject.case.id, &thing, is_affected)
        .await
        .map_err(desk.room.tell(&visit))?;
    let key = if is_affected {
        "op-marked"
    } else {
        "op-unmarked"
    };
    Ok(visit.done(&subject.path(), key))
}

/// The picture again, whenever the state of a session is another.
async fn live(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
) -> WebResult<Response> {
    let subject = Subject::read(&desk, &visit, &case).await?;
    follow(desk.room, visit, View::Incident(subject.ids()), PICTURE)
}

/// A case by its number, where a list tells of it.
pub(super) fn case_cell(visit: &Visit, case: Option<CaseId>, at: Timestamp) -> Markup {
    match case {
        Some(case) => Markup::link(
            format!("/exchange/incidents/{case}"),
            visit.t("op-incident"),
        )
        .and(&ui::time(at)),
        None => ui::time(at),
    }
}

/// The badge of a verdict.
pub(super) fn verdict(visit: &Visit, verdict: crate::health::Verdict) -> Markup {
    let level = match verdict {
        crate::health::Verdict::Good => Level::Good,
        crate::health::Verdict::Degraded => Level::Warn,
        crate::health::Verdict::Down => Level::Bad,
    };
    ui::badge(level, visit.t(&format!("op-verdict-{}", verdict.key())))
}
