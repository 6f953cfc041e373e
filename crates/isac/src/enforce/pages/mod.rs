//! The console's pages for enforcement: what is refused, why, by whom it was met, undone
//! with a question, extended, approved by a second person; the policy with its versions
//! and its warning list; a simulation over the last day; "why is this blocked?".

mod acts;
mod list;
mod lists;
mod one;
mod policy;
mod policy_form;
mod simulate;
mod why;

use async_trait::async_trait;
use base::Timestamp;
use base::enforcement::Target;
use casework::body::Body;
use web::ui::{self, Column, Icon, Markup, Table};
use web::{Alert, Alerts, Badges, FieldError, Lang, Level, Pages, Principal, Visit, WebResult};

use super::api::tell;
use super::engine::{Decided, Enforcements, State};
use super::seams::Hits;
use super::{Unfit, unfit};
use crate::objects::pages::Intel;
use crate::stix::simple;

/// Decisions that wait which are counted.
const WAITING_MAX: i64 = 1_000;

/// Values that cannot be blocked which are shown.
const UNFIT_MAX: usize = 10;
/// Characters of each.
const UNFIT_CHARS_MAX: usize = 100;

/// The pages' routes.
pub(crate) fn pages(intel: Intel, simulations: simulate::Simulations) -> Pages<()> {
    let desk = Desk { intel, simulations };
    Pages::new()
        .get("/enforcements", "enforcement:view", list::list)
        .get("/enforcements/why", "enforcement:view", why::why)
        .get("/enforcements/new", "enforcement:edit", acts::ask)
        .post("/enforcements/new", "enforcement:edit", acts::make)
        .get("/enforcements/simulate", "enforcement:view", simulate::ask)
        .post(
            "/enforcements/simulate",
            "enforcement:view",
            simulate::begin,
        )
        .get(
            "/enforcements/simulate/{run}",
            "enforcement:view",
            simulate::show_one,
        )
        .get(
            "/enforcements/simulate/{run}/live",
            "enforcement:view",
            simulate::live,
        )
        .get("/enforcements/policy", "enforcement:view", policy::view)
        .get(
            "/enforcements/policy/edit",
            "enforcement:policy",
            policy::ask,
        )
        .post(
            "/enforcements/policy/edit",
            "enforcement:policy",
            policy::save,
        )
        .get(
            "/enforcements/policy/{version}",
            "enforcement:view",
            policy::version,
        )
        .get("/enforcements/lists", "enforcement:view", lists::view)
        .get("/enforcements/lists/new", "enforcement:policy", lists::ask)
        .upload(
            "/enforcements/lists/new",
            "enforcement:policy",
            lists::UPLOAD_BYTES_MAX,
            lists::make,
        )
        .get("/enforcements/lists/{name}", "enforcement:view", lists::one)
        .post(
            "/enforcements/lists/{name}",
            "enforcement:policy",
            lists::change,
        )
        .get("/enforcements/{id}", "enforcement:view", one::view)
        .get(
            "/enforcements/{id}/undo",
            "enforcement:edit",
            acts::ask_undo,
        )
        .post("/enforcements/{id}/undo", "enforcement:edit", acts::undo)
        .post(
            "/enforcements/{id}/extend",
            "enforcement:edit",
            acts::extend,
        )
        .post(
            "/enforcements/{id}/decide",
            "enforcement:edit",
            acts::decide,
        )
        .with_state(desk)
}

pub(crate) use policy::{effect_body, tell_follow};
pub(crate) use simulate::Simulations;

/// What the pages stand on.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) intel: Intel,
    pub(super) simulations: Simulations,
}

impl Desk {
    pub(super) fn enforcements(&self) -> &Enforcements {
        &self.intel.enforcements
    }
}

/// The views of enforcement.
fn tabs(visit: &Visit, here: &str) -> Markup {
    let entries: Vec<(String, String, bool)> = [
        ("/enforcements", "enforce-tab-list"),
        ("/enforcements?state=proposed", "enforce-tab-queue"),
        ("/enforcements/why", "enforce-tab-why"),
        ("/enforcements/simulate", "enforce-tab-simulate"),
        ("/enforcements/policy", "enforce-tab-policy"),
        ("/enforcements/lists", "enforce-tab-lists"),
    ]
    .into_iter()
    .map(|(path, key)| (path.to_owned(), visit.t(key), path == here))
    .collect();
    ui::tabs(&entries)
}

/// Where a decision stands, in a word.
fn state_badge(visit: &Visit, decided: &Decided) -> Markup {
    let (level, key) = match decided.state {
        State::Active if !decided.rule.is_in_force(visit.now) => (Level::Neutral, "enforce-ended"),
        State::Active if decided.is_doubted() => (Level::Warn, "enforce-doubted"),
        State::Active => (Level::Good, "enforce-active"),
        State::Proposed => (Level::Warn, "enforce-proposed"),
        State::Lifted => (Level::Neutral, "enforce-lifted"),
        State::Rejected => (Level::Neutral, "enforce-rejected"),
    };
    ui::badge(level, visit.t(key))
}

/// A target as people read it: a name in another script beside how it is written.
fn readable(target: &Target) -> String {
    match simple::read_as(target) {
        Some(read) => format!("{read} ({target})"),
        None => target.to_string(),
    }
}

/// What somebody typed as a target; what is none is said in the reader's language.
fn typed(visit: &Visit, field: &'static str, text: &str) -> Result<Target, FieldError> {
    simple::typed(text).map_err(|error| {
        let rule = visit.ta("enforce-target-wrong", &[("text", &error.text)]);
        FieldError::new(field, "target", rule).value(text.trim())
    })
}

/// That a person decides, and why.
fn asked(visit: &Visit, why: &str) -> Markup {
    ui::notice(
        Level::Warn,
        visit.t("enforce-asked"),
        Markup::new(format!(
            "<p>{}</p><p class=\"soft\"><small lang=\"en\">{}</small></p>",
            ui::escape(&visit.t("enforce-asked-text")),
            ui::escape(why)
        )),
    )
}

/// Where a decision comes from, with a link to the indicator.
fn source(visit: &Visit, decided: &Decided) -> Markup {
    match indicator_of(&decided.source) {
        Some(id) if visit.principal.could("intel:view") => Markup::link(
            crate::objects::pages::path_of(id),
            visit.t("enforce-from-indicator"),
        ),
        Some(_) => Markup::text(visit.t("enforce-from-indicator")),
        None => Markup::text(visit.t("enforce-from-person")),
    }
}

/// The indicator in a source (`stix:indicator--…@organisation`).
fn indicator_of(source: &str) -> Option<&str> {
    source.strip_prefix("stix:")?.split('@').next()
}

/// When it ends.
fn until(visit: &Visit, until: Option<Timestamp>) -> Markup {
    match until {
        Some(until) => ui::ago(visit, until),
        None => Markup::text(visit.t("enforce-no-end")),
    }
}

fn path_of(decided: &Decided) -> String {
    format!("/enforcements/{}", decided.rule.id)
}

/// A table of decisions.
fn table(visit: &Visit, rows: &[(Decided, Hits)], empty: Markup) -> Table {
    let mut table = Table::new(visit.t("nav-enforcements"))
        .column(Column::text(visit.t("enforce-target")))
        .column(Column::text(visit.t("enforce-kind")))
        .column(Column::text(visit.t("enforce-state")))
        .column(Column::text(visit.t("enforce-why")))
        .column(Column::text(visit.t("enforce-source")))
        .column(Column::text(visit.t("intel-tlp")))
        .column(Column::number(visit.t("enforce-hits")))
        .column(Column::text(visit.t("enforce-until")))
        .empty(empty);
    for (decided, hits) in rows {
        table.push(vec![
            Markup::link(path_of(decided), readable(&decided.rule.target)),
            Markup::text(visit.t(&format!("target-{}", decided.rule.target.kind().name()))),
            state_badge(visit, decided),
            Markup::text(&decided.reason),
            source(visit, decided),
            decided
                .tlp
                .map_or_else(|| Markup::text("–"), crate::objects::pages::tlp_badge),
            Markup::text(ui::number(hits.count)),
            until(visit, decided.rule.until),
        ]);
    }
    table
}

/// What was made from an indicator, for the indicator's page.
pub(crate) async fn made_from(
    enforcements: &Enforcements,
    visit: &Visit,
    id: &str,
    json: &serde_json::Value,
) -> WebResult<Body> {
    let made = enforcements.of_indicator(id).await.map_err(tell)?;
    let empty = ui::empty(
        Icon::Shield,
        visit.t("enforce-none-title"),
        visit.t("enforce-none-from"),
        None,
    );
    let body = match untold(visit, json) {
        Some(text) => Body::new().text(text),
        None => Body::new(),
    };
    Ok(body.add(table(visit, &made, empty)))
}

/// What of an indicator cannot be blocked, in words.
fn untold(visit: &Visit, json: &serde_json::Value) -> Option<String> {
    let text = |name: &str| json[name].as_str().unwrap_or_default();
    let said = match unfit(text("pattern"), text("pattern_type"))? {
        Unfit::Language(language) => visit.ta("enforce-unfit-language", &[("language", &language)]),
        Unfit::NotSimple => visit.t("enforce-unfit-none"),
        Unfit::Texts(texts) => {
            let some: Vec<String> = texts
                .iter()
                .take(UNFIT_MAX)
                .map(|text| text.chars().take(UNFIT_CHARS_MAX).collect())
                .collect();
            let count = texts.len().to_string();
            let values = some.join(" · ");
            visit.ta(
                "enforce-unfit-texts",
                &[("count", &count), ("values", &values)],
            )
        }
    };
    Some(said)
}

/// Who did something, in words: a person's name, the policy.
async fn actor(visit: &Visit, actor: &str) -> String {
    let Some(user) = actor.strip_prefix("user:").and_then(|id| id.parse().ok()) else {
        return visit.t("enforce-by-policy");
    };
    if visit.principal.user() == Some(user) {
        return visit.t("person-you");
    }
    match visit.house().accounts.user(user).await {
        Ok(found) => found.name,
        Err(_) => visit.t("person-unknown"),
    }
}

#[async_trait]
impl Badges for Enforcements {
    async fn counts(&self, principal: &Principal) -> Vec<(&'static str, u64)> {
        if principal.user().is_none() || !principal.could("enforcement:edit") {
            return Vec::new();
        }
        let waiting = self.waiting(WAITING_MAX).await.unwrap_or(0);
        vec![("/enforcements", u64::try_from(waiting).unwrap_or(0))]
    }
}

#[async_trait]
impl Alerts for Enforcements {
    async fn current(&self, principal: &Principal, lang: Lang) -> Vec<Alert> {
        if principal.user().is_none() || !principal.could("enforcement:edit") {
            return Vec::new();
        }
        let waiting = self.waiting(WAITING_MAX).await.unwrap_or(0);
        if waiting == 0 {
            return Vec::new();
        }
        let text = match lang {
            Lang::ZhTw => format!("{waiting} 項阻擋等待決定"),
            Lang::En => format!("{waiting} enforcements wait for a decision"),
        };
        vec![Alert {
            level: Level::Warn,
            text,
            path: "/enforcements?state=proposed".into(),
        }]
    }
}
