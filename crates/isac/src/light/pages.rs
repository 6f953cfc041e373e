//! The pages of lights: all that may be seen, one with its reasons, and the wall.

use axum::extract::{Path, State};
use axum::response::Response;
use base::OrgId;
use casework::body::{Body, hidden, show, show_with};
use futures::StreamExt as _;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{
    ApiQuery, FieldError, Frame, OrgScope, PageForm, Pages, Update, Visit, WebError, WebResult,
};

use super::keep::{Standing, Whose};
use super::model::{Colour, Light};
use super::rules::Face;
use crate::cert::error::tell;
use crate::cert::shell::{AGAIN, by};
use crate::cert::{CertError, Desk};

/// The worst score.
const SCORE_MAX: f64 = 100.0;

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/lights", "light:view", list)
        .get("/lights/wall", "light:view", wall)
        .get("/lights/live", "light:view", live)
        .get("/lights/{light}", "light:view", view)
        .post("/lights/{light}/observations", "light:observe", observe)
        .with_state(desk)
}

fn badge(visit: &Visit, colour: Colour) -> Markup {
    let level = match colour {
        Colour::Green => web::Level::Good,
        Colour::Yellow => web::Level::Info,
        Colour::Orange => web::Level::Warn,
        Colour::Red => web::Level::Bad,
    };
    ui::badge(level, visit.t(&format!("light-{}", colour.tag())))
}

async fn name(desk: &Desk, visit: &Visit, whose: Whose) -> String {
    match whose {
        Whose::Whole => visit.t("light-whole"),
        Whose::Sector(sector) => sector.name().of(visit.lang.tag()).to_owned(),
        Whose::Member(org) => desk.org(visit, org).await,
    }
}

async fn table(desk: &Desk, visit: &Visit, lights: &[Standing]) -> Table {
    let mut table = Table::new(visit.t("nav-lights"))
        .column(Column::text(visit.t("light-whose")))
        .column(Column::text(visit.t("light-colour")))
        .column(Column::number(visit.t("light-score")))
        .column(Column::text(visit.t("light-why")))
        .column(Column::text(visit.t("light-since")))
        .empty(ui::empty(
            Icon::Bolt,
            visit.t("lights-empty-title"),
            visit.t("lights-empty-text"),
            None,
        ));
    for standing in lights {
        table.push(vec![
            Markup::link(
                format!("/lights/{}", standing.whose.tag()),
                name(desk, visit, standing.whose).await,
            ),
            badge(visit, standing.colour),
            Markup::text(format!("{:.1}", standing.light.score)),
            Markup::text(why(visit, standing)),
            ui::ago(visit, standing.since),
        ]);
    }
    table
}

/// What weighs most in a light.
fn why(visit: &Visit, standing: &Standing) -> String {
    standing.light.parts.first().map_or_else(
        || visit.t("light-nothing"),
        |(what, _)| what.of(visit.lang.tag()).to_owned(),
    )
}

fn scope(visit: &Visit) -> OrgScope {
    visit.principal.chosen_scope("light:view")
}

async fn list(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let lights = desk
        .cert
        .lights(&scope(&visit))
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let body = Body::new()
        .text(visit.t("lights-intro"))
        .group(
            "actions",
            [ui::button_link("/lights/wall", visit.t("light-wall"))],
        )
        .add(table(&desk, &visit, &lights).await);
    show(visit.frame("nav-lights"), body)
}

/// The wall: large, without the rail, renewing itself.
async fn wall(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let tiles = live_tiles(&desk, &visit, &scope(&visit)).await?;
    let inner = Markup::new(format!(
        "<div class=\"tiles lamps\" id=\"lights\">{tiles}</div>"
    ));
    let body = Body::new().add(ui::live("/lights/live", inner));
    show(visit.frame("light-wall").plain(), body)
}

async fn live_tiles(desk: &Desk, visit: &Visit, scope: &OrgScope) -> WebResult<Markup> {
    let tiles = tiles(desk, visit, scope, usize::MAX).await;
    Ok(tiles.map_err(|e| tell(e, visit.lang))?.unwrap_or_default())
}

/// A lamp for each light that may be seen, or for the `most` worst when there are more; `None`:
/// there is none yet.
pub(crate) async fn tiles(
    desk: &Desk,
    visit: &Visit,
    scope: &OrgScope,
    most: usize,
) -> Result<Option<Markup>, CertError> {
    let mut lights = desk.cert.lights(scope).await?;
    if lights.is_empty() {
        return Ok(None);
    }
    if lights.len() > most {
        // A stable order: the whole stays before its sectors, and these before members.
        lights.sort_by(|a, b| b.light.score.total_cmp(&a.light.score));
        lights.truncate(most);
    }
    let mut all = String::new();
    for standing in &lights {
        let level = match standing.colour {
            Colour::Green => web::Level::Good,
            Colour::Yellow => web::Level::Info,
            Colour::Orange => web::Level::Warn,
            Colour::Red => web::Level::Bad,
        };
        let tile = ui::tile(
            name(desk, visit, standing.whose).await,
            visit.t(&format!("light-{}", standing.colour.tag())),
            format!("{:.1}", standing.light.score),
        )
        .detail(why(visit, standing))
        .level(level)
        .path(format!("/lights/{}", standing.whose.tag()));
        all.push_str(tile.markup().as_str());
    }
    Ok(Some(Markup::new(all)))
}

async fn live(State(desk): State<Desk>, visit: Visit) -> WebResult<Response> {
    let scope = scope(&visit);
    // The present state first, then each time that lights moved.
    let moved = futures::stream::unfold(
        (desk.cert.lights_moved(), true),
        |(mut moved, first)| async move {
            if !first {
                moved.changed().await.ok()?;
            }
            moved.borrow_and_update();
            Some(((), (moved, false)))
        },
    );
    let stop = std::future::pending();
    let streams = desk.streams.clone();
    let updates = moved
        .then(move |_| {
            let (desk, visit, scope) = (desk.clone(), visit.clone(), scope.clone());
            async move { live_tiles(&desk, &visit, &scope).await }
        })
        .filter_map(async |html| match html {
            Ok(html) => Some(Update::Fragment {
                target: "lights".into(),
                html,
            }),
            Err(error) => {
                tracing::warn!(%error, "The wall of lights could not be renewed");
                None
            }
        });
    streams.open(updates.boxed(), stop)
}

#[derive(Debug, Default, serde::Deserialize)]
struct Suppose {
    #[serde(default)]
    face: String,
    #[serde(default)]
    score: String,
}

async fn view(
    State(desk): State<Desk>,
    visit: Visit,
    Path(tag): Path<String>,
    ApiQuery(suppose): ApiQuery<Suppose>,
) -> WebResult {
    let (frame, body) = whole(&desk, &visit, &tag, &suppose, &Observed::default(), &[]).await?;
    show(frame, body)
}

/// What was typed as a score; none: it is not one.
fn score_of(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|score| (0.0..=SCORE_MAX).contains(score))
}

async fn whole(
    desk: &Desk,
    visit: &Visit,
    tag: &str,
    suppose: &Suppose,
    typed: &Observed,
    errors: &[FieldError],
) -> WebResult<(Frame, Body)> {
    let whose = Whose::from_tag(tag).ok_or_else(|| WebError::not_found("light", tag))?;
    let told = |e| tell(e, visit.lang);
    let scope = visit.principal.scope("light:view");
    let standing = desk.cert.light(&scope, whose).await.map_err(told)?;
    let frame = visit
        .frame_titled(name(desk, visit, whose).await)
        .crumb("/lights", visit.t("nav-lights"));
    let mut body = Body::new()
        .add(badge(visit, standing.colour))
        .text(visit.ta(
            "light-answer",
            &[
                ("score", &format!("{:.1}", standing.light.score)),
                ("since", &standing.since.taipei()),
            ],
        ))
        .section(visit.t("light-why"), reasons(visit, &standing.light));
    if let Whose::Member(org) = whose {
        let face = Face::from_tag(&suppose.face);
        let score = score_of(&suppose.score);
        let asked = !suppose.face.is_empty() || !suppose.score.is_empty();
        let wrong = (asked && score.is_none()).then(|| visit.t("light-score-wrong"));
        let mut inner = Body::new().text(visit.t("light-suppose-text"));
        if let (Some(face), Some(score)) = (face, score) {
            let (colour, light) = desk
                .cert
                .what_if(&scope, org, face, score)
                .await
                .map_err(told)?;
            inner = inner.add(badge(visit, colour)).text(visit.ta(
                "light-supposed",
                &[("score", &format!("{:.1}", light.score))],
            ));
        }
        inner = inner.search(
            &format!("/lights/{tag}"),
            Body::new()
                .add(face_field(visit, &Face::ALL).value(face.map_or("", Face::tag)))
                .add(score_field(visit).value(&suppose.score).error(wrong))
                .add(ui::button(visit.t("light-suppose"))),
        );
        body = body.section(visit.t("light-suppose-title"), inner);
        if visit.principal.may("light:observe", org) {
            let form = Body::new()
                .add(hidden("org", org))
                .add(
                    face_field(visit, &[Face::Physical, Face::Personnel])
                        .value(&typed.face)
                        .errors(errors),
                )
                .add(
                    score_field(visit)
                        .value(&typed.score)
                        .errors(errors)
                        .required(),
                )
                .add(
                    Field::text("text", visit.t("light-seen"))
                        .value(&typed.text)
                        .errors(errors)
                        .required(),
                )
                .group("actions", [ui::button(visit.t("light-observe"))]);
            body = body.section(
                visit.t("light-observe-title"),
                Body::new().form(&frame, &format!("/lights/{tag}/observations"), form),
            );
        }
    }
    let mut changes = Table::new(visit.t("light-history"))
        .column(Column::text(visit.t("log-at")))
        .column(Column::text(visit.t("light-change")))
        .column(Column::text(visit.t("light-why")))
        .empty(ui::empty(
            Icon::Clock,
            visit.t("light-history-empty"),
            "",
            None,
        ));
    for change in desk.cert.light_changes(whose).await.map_err(told)? {
        let why = change.light.parts.first().map_or_else(
            || visit.t("light-nothing"),
            |(what, _)| what.of(visit.lang.tag()).to_owned(),
        );
        changes.push(vec![
            ui::time(change.at),
            badge(visit, change.from)
                .and(&Markup::text("→"))
                .and(&badge(visit, change.to)),
            Markup::text(why),
        ]);
    }
    body = body.section(visit.t("light-history"), Body::new().add(changes));
    Ok((frame, body))
}

fn face_field(visit: &Visit, faces: &[Face]) -> Field {
    let options = faces
        .iter()
        .map(|face| {
            (
                face.tag().to_owned(),
                visit.t(&format!("face-{}", face.tag())),
            )
        })
        .collect();
    Field::select("face", visit.t("light-face"), options)
}

fn score_field(visit: &Visit) -> Field {
    Field::input("number", "score", visit.t("light-score"))
        .attribute("min", "0")
        .attribute("max", "100")
}

/// The score of each face, and what contributes most.
fn reasons(visit: &Visit, light: &Light) -> Body {
    let language = visit.lang.tag();
    let mut body = Body::new();
    if !light.faces.is_empty() {
        let facts = light
            .faces
            .iter()
            .map(|(face, score)| {
                (
                    visit.t(&format!("face-{}", face.tag())),
                    ui::bar(score / 100.0, format!("{score:.1}")),
                )
            })
            .collect();
        body = body.add(ui::definition_list(facts));
    }
    let mut table = Table::new(visit.t("light-why"))
        .column(Column::text(visit.t("light-part")))
        .column(Column::number(visit.t("light-score")))
        .empty(Markup::text(visit.t("light-nothing")));
    for (what, score) in &light.parts {
        table.push(vec![
            Markup::text(what.of(language)),
            Markup::text(format!("{score:.1}")),
        ]);
    }
    body.add(table)
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Observed {
    org: String,
    face: String,
    score: String,
    text: String,
}

async fn observe(
    State(desk): State<Desk>,
    visit: Visit,
    Path(tag): Path<String>,
    PageForm(seen): PageForm<Observed>,
) -> WebResult {
    let org: OrgId = seen
        .org
        .parse()
        .map_err(|_| WebError::not_found("organisation", &seen.org))?;
    visit.principal.require("light:observe", org)?;
    let done = match (Face::from_tag(&seen.face), seen.score.trim().parse()) {
        (Some(face), Ok(score)) => desk
            .cert
            .observe(&by(&visit)?, org, face, score, &seen.text)
            .await
            .map_err(|error| tell(error, visit.lang)),
        (None, _) => Err(WebError::field("face", "enum", visit.t("light-face-wrong"))),
        (_, Err(_)) => Err(WebError::field(
            "score",
            "range",
            visit.t("light-score-wrong"),
        )),
    };
    match done {
        Ok(()) => Ok(visit.done(&format!("/lights/{tag}"), "light-observed")),
        Err(told) if told.fields.is_empty() => Err(told),
        Err(told) => {
            let nothing = Suppose::default();
            let (frame, body) = whole(&desk, &visit, &tag, &nothing, &seen, &told.fields).await?;
            show_with(AGAIN, frame, body)
        }
    }
}
