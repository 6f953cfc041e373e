//! Pages of sharing: peers and how they do, the policy and its preview, consent.

use axum::extract::{Path, State};
use base::{OrgId, Timestamp};
use casework::api::page_request;
use casework::body::{Body, hidden, show, show_with};
use web::ui::{Chart, Unit};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{
    ApiQuery, FieldError, Frame, Level, PageForm, Pages, Paging, Thing, Visit, WebError, WebResult,
};

use super::api::{PeerView, PreviewQuery, peer_of, previewed, standing, tell};
use super::lens::Consents;
use super::policy::{Action, Consent, Names, Policy, Rule, Tier};
use super::preview::Preview;
use super::room::Parts;
use super::{draw, visits::DAYS};
use crate::cert::shell::{AGAIN, by, press};
use crate::objects::collections::ROOT;

/// Hours that the chart of a peer shows.
const CHART_HOURS: i64 = 48;
/// Characters of a policy in the form.
const POLICY_CHARS_MAX: usize = 200_000;

/// The pages' routes.
pub(super) fn pages(parts: Parts) -> Pages<()> {
    Pages::new()
        .get("/sharing", "share:view", overview)
        .get("/sharing/peers/{peer}", "share:view", peer)
        .get("/sharing/peers/{peer}/again", "share:manage", ask_again)
        .post("/sharing/peers/{peer}/again", "share:manage", again)
        .get("/sharing/policy", "share:view", policy)
        .get("/sharing/policy/edit", "share:manage", edit)
        .post("/sharing/policy", "share:manage", save)
        .get("/sharing/preview", "share:view", preview)
        .get("/sharing/consent", "share:consent", consent)
        .post("/sharing/consent", "share:consent", set_consent)
        .with_state(parts)
}

fn tabs(visit: &Visit, here: &str) -> Markup {
    let may = |action: &str| visit.principal.may(action, Thing::HOUSE);
    let all = [
        ("/sharing", "sharing-peers", may("share:view")),
        ("/sharing/policy", "sharing-policy", may("share:view")),
        ("/sharing/preview", "sharing-preview", may("share:view")),
        ("/sharing/alerts", "sharing-alerts", may("share:view")),
        ("/sharing/beliefs", "sharing-beliefs", may("share:view")),
        ("/sharing/consent", "sharing-consent", true),
        ("/sharing/proofs", "sharing-proofs", may("share:proofs")),
    ];
    let shown: Vec<(String, String, bool)> = all
        .into_iter()
        .filter(|(_, _, may)| *may)
        .map(|(path, key, _)| (path.to_owned(), visit.t(key), path == here))
        .collect();
    ui::tabs(&shown)
}

/// How a peer does, in one word.
pub(super) fn state(visit: &Visit, peer: &PeerView) -> (Level, String) {
    if peer.failures > 0 {
        let count = peer.failures.to_string();
        return (
            Level::Bad,
            visit.ta("sharing-failing", &[("count", &count)]),
        );
    }
    if peer.visited_at == 0 {
        return (Level::Neutral, visit.t("sharing-never"));
    }
    match peer.lag_s {
        Some(lag) if lag > 600 => (Level::Warn, visit.t("sharing-behind")),
        _ => (Level::Good, visit.t("sharing-good")),
    }
}

async fn overview(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let mut peers = Vec::new();
    for peer in parts.peers.iter() {
        peers.push(standing(&parts, &visit, peer).await?);
    }
    let frame = visit.frame("nav-sharing");
    let mut table = Table::new(visit.t("sharing-peers"))
        .column(Column::text(visit.t("sharing-peer")))
        .column(Column::text(visit.t("sharing-tier")))
        .column(Column::text(visit.t("sharing-direction")))
        .column(Column::text(visit.t("sharing-state")))
        .column(Column::text(visit.t("sharing-visited")))
        .column(Column::number(visit.t("sharing-moved")))
        .column(Column::number(visit.t("sharing-withheld")))
        .column(Column::text(visit.t("sharing-lag")))
        .empty(ui::empty(
            Icon::Refresh,
            visit.t("sharing-empty-title"),
            visit.t("sharing-empty-text"),
            None,
        ));
    for peer in &peers {
        let (level, word) = state(&visit, peer);
        table.push(vec![
            Markup::link(format!("/sharing/peers/{}", segment(&peer.name)), &peer.name),
            Markup::text(tier(&visit, peer.tier)),
            Markup::text(visit.t(&format!("sharing-{}", peer.direction))),
            ui::badge(level, word),
            when(&visit, peer.visited_at),
            Markup::text(ui::number(u64::try_from(peer.moved).unwrap_or_default())),
            Markup::text(ui::number(u64::try_from(peer.withheld).unwrap_or_default())),
            lag(&visit, peer.lag_s),
        ]);
    }
    let mut body = Body::new()
        .add(tabs(&visit, "/sharing"))
        .text(visit.t("sharing-intro"));
    if !peers.is_empty() {
        body = body.add(draw::tiers(&visit, &peers));
    }
    show(frame, body.add(table))
}

fn tier(visit: &Visit, tier: Tier) -> String {
    visit.t(&format!("sharing-tier-{}", tier.name()))
}

fn when(visit: &Visit, at: i64) -> Markup {
    match at {
        0 => Markup::text("–"),
        at => ui::ago(visit, Timestamp(at)),
    }
}

fn lag(visit: &Visit, lag: Option<i64>) -> Markup {
    match lag {
        None => Markup::text("–"),
        Some(seconds) => Markup::text(ui::duration(
            visit.lang,
            std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        )),
    }
}

/// A name as a part of a path.
fn segment(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

async fn peer(
    State(parts): State<Parts>,
    visit: Visit,
    Path(name): Path<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let config = peer_of(&parts, &name)?;
    let view = standing(&parts, &visit, config).await?;
    let frame = visit
        .frame_titled(&name)
        .crumb("/sharing", visit.t("nav-sharing"));
    let (level, word) = state(&visit, &view);
    let count = |value: i64| ui::number(u64::try_from(value).unwrap_or_default());
    let days = DAYS.to_string();
    let tiles = [
        ui::tile(visit.t("sharing-state"), word, "").level(level).markup(),
        ui::tile(visit.t("sharing-moved"), count(view.moved), "").markup(),
        ui::tile(visit.t("sharing-withheld"), count(view.withheld), "")
            .detail(visit.ta("sharing-in-days", &[("days", &days)]))
            .markup(),
        ui::tile(visit.t("sharing-refused"), count(view.refused), "").markup(),
    ];
    let mut body = Body::new().group("tiles", tiles);
    if !view.error.is_empty() {
        body = body.add(ui::notice(
            Level::Bad,
            visit.t("sharing-last-error"),
            view.error.as_str(),
        ));
    }
    body = body.add(ui::definition_list(vec![
        (visit.t("sharing-tier"), Markup::text(tier(&visit, view.tier))),
        (
            visit.t("sharing-direction"),
            Markup::text(visit.t(&format!("sharing-{}", view.direction))),
        ),
        (visit.t("sharing-collection"), Markup::text(&view.collection)),
        (visit.t("sharing-visited"), when(&visit, view.visited_at)),
        (visit.t("sharing-lag"), lag(&visit, view.lag_s)),
        (visit.t("sharing-tlp-max"), Markup::text(config.tlp_max.to_uppercase())),
    ]));
    body = body.add(moved_chart(&parts, &visit, &view).await?);
    let page = parts
        .sharing
        .visits(&config.name, &page_request(&paging)?)
        .await
        .map_err(tell)?;
    let mut table = Table::new(visit.t("sharing-visits"))
        .column(Column::text(visit.t("sharing-at")))
        .column(Column::number(visit.t("sharing-moved")))
        .column(Column::number(visit.t("sharing-withheld")))
        .column(Column::number(visit.t("sharing-refused")))
        .column(Column::number(visit.t("sharing-millis")))
        .column(Column::text(visit.t("sharing-error")))
        .empty(ui::empty(
            Icon::Clock,
            visit.t("sharing-visits-empty-title"),
            visit.t("sharing-visits-empty-text"),
            None,
        ));
    for visited in &page.items {
        let error = match visited.error.as_str() {
            "" => Markup::text("–"),
            error => Markup::text(error),
        };
        table.push(vec![
            ui::time(Timestamp(visited.at)),
            Markup::text(count(visited.moved)),
            Markup::text(count(visited.withheld)),
            Markup::text(count(visited.refused)),
            Markup::text(count(visited.millis)),
            error,
        ]);
    }
    let list = Body::new()
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    body = body.section(visit.t("sharing-visits"), list);
    let mut actions = vec![ui::button_link(
        format!("/sharing/preview?to={}", segment(&name)),
        visit.t("sharing-preview-peer"),
    )];
    if visit.principal.may("share:manage", Thing::HOUSE) {
        actions.push(ui::button_link(
            format!("/sharing/peers/{}/again", segment(&name)),
            visit.t("sharing-again"),
        ));
    }
    show(frame, body.group("actions", actions))
}

async fn moved_chart(parts: &Parts, visit: &Visit, view: &PeerView) -> WebResult<Markup> {
    const HOUR: i64 = 3_600_000_000;
    let last = visit.now.micros() / HOUR * HOUR;
    let from = last - (CHART_HOURS - 1) * HOUR;
    let rows = parts
        .sharing
        .moved_by(&view.name, from, HOUR)
        .await
        .map_err(tell)?;
    let mut values = vec![Some(0.0); usize::try_from(CHART_HOURS).unwrap_or_default()];
    for (stretch, moved) in &rows {
        if let Some(value) = usize::try_from(*stretch).ok().and_then(|at| values.get_mut(at)) {
            *value = Some(*moved as f64);
        }
    }
    let times = (0..CHART_HOURS).map(|hour| Timestamp(from + hour * HOUR)).collect();
    let chart = Chart::new(
        visit.t("sharing-chart"),
        Unit::Count,
        times,
        visit.t("sharing-chart-empty"),
    );
    let chart = match rows.is_empty() {
        true => chart,
        false => chart.series(visit.t("sharing-moved"), values),
    };
    Ok(chart.source(visit.t("sharing-chart-source")).filled().markup())
}

async fn ask_again(State(parts): State<Parts>, visit: Visit, Path(name): Path<String>) -> WebResult {
    peer_of(&parts, &name)?;
    let path = format!("/sharing/peers/{}", segment(&name));
    let frame = visit
        .frame("sharing-again")
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb(path.clone(), &name);
    let button = ui::button(visit.t("sharing-again-do"));
    let body = Body::new()
        .text(visit.t("sharing-again-text"))
        .add(press(&visit, &format!("{path}/again"), &[], button))
        .group("actions", [ui::button_link(path, visit.t("act-cancel"))]);
    show(frame, body)
}

async fn again(State(parts): State<Parts>, visit: Visit, Path(name): Path<String>) -> WebResult {
    peer_of(&parts, &name)?;
    parts
        .sharing
        .begin_again(&by(&visit)?, &name)
        .await
        .map_err(tell)?;
    Ok(visit.done(&format!("/sharing/peers/{}", segment(&name)), "sharing-again-done"))
}

async fn policy(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let (version, policy) = parts.sharing.policy().await.map_err(tell)?;
    let frame = visit.frame("sharing-policy").crumb("/sharing", visit.t("nav-sharing"));
    let mut body = Body::new()
        .add(tabs(&visit, "/sharing/policy"))
        .text(match version {
            0 => visit.t("sharing-built-in"),
            version => visit.ta("sharing-version", &[("version", &version.to_string())]),
        })
        .add(rules_table(&visit, &policy));
    let names = Tier::ALL
        .into_iter()
        .map(|one| {
            let key = match policy.names(one) {
                Names::Pseudonym => "sharing-names-pseudonym",
                Names::Drop => "sharing-names-drop",
                Names::Keep => "sharing-names-keep",
            };
            (tier(&visit, one), Markup::text(visit.t(key)))
        })
        .collect();
    body = body.section(visit.t("sharing-names"), Body::new().add(ui::definition_list(names)));
    if visit.principal.may("share:manage", Thing::HOUSE) {
        body = body.group(
            "actions",
            [ui::button_link("/sharing/policy/edit", visit.t("sharing-edit"))],
        );
    }
    let mut table = Table::new(visit.t("sharing-versions"))
        .column(Column::number(visit.t("sharing-version-number")))
        .column(Column::text(visit.t("sharing-made-at")))
        .column(Column::text(visit.t("sharing-made-by")))
        .column(Column::number(visit.t("sharing-rules")))
        .empty(ui::empty(
            Icon::List,
            visit.t("sharing-versions-empty-title"),
            visit.t("sharing-versions-empty-text"),
            None,
        ));
    for one in parts.sharing.versions().await.map_err(tell)? {
        let person = match super::book::user_of(&one.made_by) {
            Some(user) => parts
                .people
                .contact(user)
                .await
                .map_or_else(|| visit.t("person-unknown"), |contact| contact.name),
            None => visit.t("person-house"),
        };
        table.push(vec![
            Markup::text(one.version.to_string()),
            ui::time(one.made_at),
            Markup::text(person),
            Markup::text(one.policy.rules.len().to_string()),
        ]);
    }
    show(frame, body.section(visit.t("sharing-versions"), Body::new().add(table)))
}

fn rules_table(visit: &Visit, policy: &Policy) -> Table {
    let mut table = Table::new(visit.t("sharing-rules"))
        .column(Column::number("#"))
        .column(Column::text(visit.t("sharing-rule")))
        .column(Column::text(visit.t("sharing-fits")))
        .column(Column::text(visit.t("sharing-does")));
    for (index, rule) in policy.rules.iter().enumerate() {
        let (level, key) = match rule.action {
            Action::Pass => (Level::Good, "sharing-passes"),
            Action::Withhold => (Level::Neutral, "sharing-stays"),
        };
        table.push(vec![
            Markup::text((index + 1).to_string()),
            Markup::text(&rule.name),
            Markup::text(in_words(visit, rule)),
            ui::badge(level, visit.t(key)),
        ]);
    }
    table
}

/// What a rule fits, as people say it.
fn in_words(visit: &Visit, rule: &Rule) -> String {
    let mut words = Vec::new();
    if !rule.to.is_empty() {
        let to: Vec<String> = rule
            .to
            .iter()
            .map(|to| Tier::from_name(to).map_or_else(|| to.clone(), |one| tier(visit, one)))
            .collect();
        words.push(visit.ta("sharing-fits-to", &[("to", &to.join(", "))]));
    }
    if !rule.types.is_empty() {
        words.push(visit.ta("sharing-fits-types", &[("types", &rule.types.join(", "))]));
    }
    if let Some(tlp) = &rule.tlp_min {
        words.push(visit.ta("sharing-fits-from", &[("tlp", &tlp.to_uppercase())]));
    }
    if let Some(tlp) = &rule.tlp_max {
        words.push(visit.ta("sharing-fits-until", &[("tlp", &tlp.to_uppercase())]));
    }
    if !rule.sectors.is_empty() {
        words.push(visit.ta("sharing-fits-sectors", &[("sectors", &rule.sectors.join(", "))]));
    }
    match rule.consent {
        Consent::Any => {}
        Consent::Given => words.push(visit.t("sharing-fits-given")),
        Consent::Refused => words.push(visit.t("sharing-fits-refused")),
    }
    match words.is_empty() {
        true => visit.t("sharing-fits-all"),
        false => words.join(visit.t("sharing-and").as_str()),
    }
}

async fn edit(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let (_, policy) = parts.sharing.policy().await.map_err(tell)?;
    let text = serde_json::to_string_pretty(&policy).map_err(WebError::internal)?;
    let frame = edit_frame(&visit);
    let body = edit_body(&parts, &visit, &frame, &text, "", &[]);
    show(frame, body)
}

fn edit_frame(visit: &Visit) -> Frame {
    visit
        .frame("sharing-edit")
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb("/sharing/policy", visit.t("sharing-policy"))
}

fn edit_body(
    parts: &Parts,
    visit: &Visit,
    frame: &Frame,
    text: &str,
    to: &str,
    errors: &[FieldError],
) -> Body {
    let peers = parts
        .peers
        .iter()
        .map(|peer| (peer.name.clone(), peer.name.clone()))
        .collect();
    let mut inner = Body::new()
        .add(
            Field::area("document", visit.t("sharing-document"), 24)
                .value(text)
                .help(visit.t("sharing-document-help"))
                .errors(errors)
                .required(),
        )
        .add(Field::select("to", visit.t("sharing-try-on"), peers).value(to));
    inner = inner.group(
        "actions",
        [
            named_button("try", visit.t("sharing-try")),
            named_button("save", visit.t("sharing-save")),
            ui::button_link("/sharing/policy", visit.t("act-cancel")),
        ],
    );
    Body::new().form(frame, "/sharing/policy", inner)
}

/// A button that says which of a form's buttons was pressed.
fn named_button(value: &str, text: String) -> Markup {
    let class = if value == "save" { "button button-primary" } else { "button" };
    Markup::new(format!(
        "<button class=\"{class}\" name=\"what\" value=\"{value}\">{}</button>",
        ui::escape(&text)
    ))
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Save {
    document: String,
    to: String,
    what: String,
}

async fn save(
    State(parts): State<Parts>,
    visit: Visit,
    PageForm(save): PageForm<Save>,
) -> WebResult {
    let frame = edit_frame(&visit);
    let again = |errors: &[FieldError]| {
        let body = edit_body(&parts, &visit, &frame, &save.document, &save.to, errors);
        show_with(AGAIN, frame.clone(), body)
    };
    let wrong = |path: &str, rule: String| FieldError::new("document", "rule", format!("{path}: {rule}"));
    if save.document.chars().count() > POLICY_CHARS_MAX {
        let rule = format!("must have at most {POLICY_CHARS_MAX} characters");
        return again(&[wrong("document", rule)]);
    }
    let policy: Policy = match serde_json::from_str(&save.document) {
        Ok(policy) => policy,
        Err(error) => {
            let path = format!("line {} column {}", error.line(), error.column());
            return again(&[wrong(&path, error.to_string())]);
        }
    };
    let problems: Vec<FieldError> = policy
        .problems()
        .into_iter()
        .map(|(path, rule)| wrong(&path, rule))
        .collect();
    if !problems.is_empty() {
        return again(&problems);
    }
    if save.what == "try" {
        let query = PreviewQuery {
            to: save.to.clone(),
            collection: String::new(),
        };
        let preview = previewed(&parts, &query, Some(policy)).await?;
        let body = Body::new()
            .section(visit.t("sharing-preview"), preview_body(&visit, &preview))
            .add(edit_body(&parts, &visit, &frame, &save.document, &save.to, &[]).markup());
        return show(frame.clone(), body);
    }
    parts
        .sharing
        .set_policy(&by(&visit)?, &policy)
        .await
        .map_err(tell)?;
    Ok(visit.done("/sharing/policy", "sharing-saved"))
}

async fn preview(
    State(parts): State<Parts>,
    visit: Visit,
    ApiQuery(query): ApiQuery<PreviewQuery>,
) -> WebResult {
    let frame = visit
        .frame("sharing-preview")
        .crumb("/sharing", visit.t("nav-sharing"));
    let mut audiences: Vec<(String, String)> = parts
        .peers
        .iter()
        .map(|peer| (peer.name.clone(), format!("{} ({})", peer.name, tier(&visit, peer.tier))))
        .collect();
    let orgs = visit
        .house()
        .accounts
        .orgs(
            &web::OrgScope::All,
            &Paging {
                limit: Some(Paging::LIMIT_MAX),
                cursor: None,
            },
        )
        .await?;
    for org in orgs.items {
        let name = if frame.is_zh() { org.name_zh } else { org.name_en };
        audiences.push((org.id.to_string(), name));
    }
    let mut collections = vec![(String::new(), visit.t("sharing-peers-own"))];
    for collection in parts
        .objects
        .collections(ROOT)
        .await
        .map_err(|e| tell(e.into()))?
    {
        collections.push((collection.id.to_string(), collection.title));
    }
    let form = Body::new()
        .add(Field::select("to", visit.t("sharing-to"), audiences).value(&query.to))
        .add(
            Field::select("collection", visit.t("sharing-collection"), collections)
                .value(&query.collection),
        )
        .group("actions", [ui::button(visit.t("sharing-look"))]);
    let mut body = Body::new()
        .add(tabs(&visit, "/sharing/preview"))
        .text(visit.t("sharing-preview-intro"))
        .search("/sharing/preview", form);
    if !query.to.is_empty() {
        let is_peer = parts.peers.iter().any(|peer| peer.name == query.to);
        if query.collection.is_empty() && !is_peer {
            body = body.add(ui::notice(
                Level::Info,
                visit.t("sharing-choose"),
                visit.t("sharing-choose-text").as_str(),
            ));
        } else {
            let preview = previewed(&parts, &query, None).await?;
            body = body.add(preview_body(&visit, &preview).markup());
        }
    }
    show(frame, body)
}

fn preview_body(visit: &Visit, preview: &Preview) -> Body {
    let count = |value: usize| ui::number(value as u64);
    let stays = preview.looked_at - preview.passes;
    let tiles = [
        ui::tile(visit.t("sharing-looked-at"), count(preview.looked_at), "").markup(),
        ui::tile(visit.t("sharing-passes"), count(preview.passes), "")
            .level(Level::Good)
            .markup(),
        ui::tile(visit.t("sharing-cleaned"), count(preview.cleaned), "").markup(),
        ui::tile(visit.t("sharing-stays"), count(stays), "").markup(),
    ];
    let mut body = Body::new().group("tiles", tiles);
    let mut why = Table::new(visit.t("sharing-why"))
        .column(Column::text(visit.t("sharing-reason")))
        .column(Column::number(visit.t("sharing-objects")));
    for (reason, objects) in &preview.stays {
        why.push(vec![Markup::text(reason), Markup::text(count(*objects))]);
    }
    if !why.is_empty() {
        body = body.section(visit.t("sharing-why"), Body::new().add(why));
    }
    let mut table = Table::new(visit.t("sharing-examples"))
        .column(Column::text(visit.t("sharing-object")))
        .column(Column::text(visit.t("sharing-fate")))
        .empty(ui::empty(
            Icon::Inbox,
            visit.t("sharing-nothing-title"),
            visit.t("sharing-nothing-text"),
            None,
        ));
    for one in &preview.examples {
        let fate = match (one.why.as_str(), one.cleaned) {
            ("", false) => ui::badge(Level::Good, visit.t("sharing-passes")),
            ("", true) => {
                let shown = Body::new().fold(
                    visit.t("sharing-as-sent"),
                    Body::new().add(Markup::code(&one.after)),
                );
                ui::badge(Level::Info, visit.t("sharing-cleaned")).and(&shown.markup())
            }
            (why, _) => ui::badge(Level::Neutral, visit.t("sharing-stays"))
                .and(&Markup::text(format!(" {why}"))),
        };
        let name = match one.name.as_str() {
            "" => Markup::code(&one.id),
            name => Markup::text(format!("{name} ")).and(&Markup::code(&one.id)),
        };
        table.push(vec![name, fate]);
    }
    body.section(visit.t("sharing-examples"), Body::new().add(table))
}

async fn consent(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let scope = visit.principal.scope("share:consent");
    let orgs = visit
        .house()
        .accounts
        .orgs(
            &scope,
            &Paging {
                limit: Some(Paging::LIMIT_MAX),
                cursor: None,
            },
        )
        .await?;
    let said = parts.sharing.consents().await.map_err(tell)?;
    let (_, policy) = parts.sharing.policy().await.map_err(tell)?;
    let frame = visit.frame("sharing-consent");
    let mut body = Body::new()
        .add(tabs(&visit, "/sharing/consent"))
        .text(visit.t("sharing-consent-intro"));
    if orgs.items.is_empty() {
        body = body.add(ui::empty(
            Icon::Building,
            visit.t("sharing-consent-empty-title"),
            visit.t("sharing-consent-empty-text"),
            None,
        ));
    }
    for org in &orgs.items {
        let known = said.iter().find(|(one, _)| *one == org.id);
        let consents = known.map_or(
            Consents {
                up: policy.consent_unstated,
                down: policy.consent_unstated,
            },
            |(_, consents)| *consents,
        );
        let name = if frame.is_zh() { &org.name_zh } else { &org.name_en };
        let inner = Body::new()
            .add(hidden("org", org.id))
            .add(Field::check("up", visit.t("sharing-consent-up"), consents.up))
            .add(Field::check("down", visit.t("sharing-consent-down"), consents.down))
            .group("actions", [ui::button(visit.t("sharing-consent-save"))]);
        let mut part = Body::new();
        if known.is_none() {
            part = part.text(visit.t("sharing-consent-unstated"));
        }
        body = body.section(name, part.form(&frame, "/sharing/consent", inner));
    }
    show(frame, body)
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Consenting {
    org: String,
    up: Option<String>,
    down: Option<String>,
}

async fn set_consent(
    State(parts): State<Parts>,
    visit: Visit,
    PageForm(form): PageForm<Consenting>,
) -> WebResult {
    let org: OrgId = form
        .org
        .parse()
        .map_err(|_| WebError::not_found("organisation", &form.org))?;
    visit.principal.require("share:consent", org)?;
    let consents = Consents {
        up: form.up.is_some(),
        down: form.down.is_some(),
    };
    parts
        .sharing
        .set_consent(&by(&visit)?, org, consents)
        .await
        .map_err(tell)?;
    Ok(visit.done("/sharing/consent", "sharing-consent-saved"))
}
