//! Small parts that the pages share: texts of fields and values, badges, tabs.

use std::collections::BTreeMap;

use base::Timestamp;
use serde_json::Value;
use web::ui::{self, Markup};
use web::{Level, Visit};

use crate::room::kind::{Field, Ty};
use crate::room::states::{SeenAt, SeenState};
use crate::room::{Kind, value};

/// The name of a field for people.
pub(super) fn field_name(visit: &Visit, field: &str) -> String {
    visit.t(&format!("xf-{}", field.replace('_', "-")))
}

/// The name of a kind's list for people.
pub(super) fn kind_names(visit: &Visit, kind: Kind) -> String {
    visit.t(&format!("xks-{}", kind.name()))
}

/// The name of one of a kind for people.
pub(super) fn kind_name(visit: &Visit, kind: Kind) -> String {
    visit.t(&format!("xk-{}", kind.name()))
}

/// The word for a value of a choice.
pub(super) fn choice(visit: &Visit, value: &str) -> String {
    visit.t(&format!("xv-{value}"))
}

/// A speed for people.
pub(super) fn speed(mbps: i64) -> String {
    match mbps {
        mbps if mbps % 1_000 == 0 => format!("{} Gbit/s", mbps / 1_000),
        mbps => format!("{mbps} Mbit/s"),
    }
}

/// How good or bad a word of state is; none: it is not about good or bad.
fn level(value: &str) -> Option<Level> {
    Some(match value {
        "active" | "up" | "confirmed" => Level::Good,
        "maintenance" | "reserved" | "suspended" | "applied" | "reduced" => Level::Warn,
        "faulty" | "outage" => Level::Bad,
        "free" | "planned" | "done" | "cancelled" | "retired" | "closed" | "left" | "disabled"
        | "down" => Level::Neutral,
        _ => return None,
    })
}

/// Fields of choices that are a state.
fn is_state(field: &Field) -> bool {
    matches!(field.name, "state" | "wanted" | "impact")
}

/// A value of a field as people read it. `labels` names what is referred to.
pub(super) fn shown(
    visit: &Visit,
    field: &Field,
    value: &Value,
    labels: &BTreeMap<String, String>,
) -> Markup {
    let text = match value {
        Value::Null => return Markup::text("–"),
        Value::String(text) => text.as_str(),
        _ => "",
    };
    match field.ty {
        Ty::Bool => Markup::text(visit.t(match value.as_bool() {
            Some(true) => "x-yes",
            _ => "x-no",
        })),
        Ty::Secret => Markup::text(visit.t("x-sealed")),
        Ty::Personal(_) => match value {
            Value::String(text) => Markup::text(text),
            _ => Markup::text(visit.t("x-personal")),
        },
        Ty::Choice(_) => match level(text).filter(|_| is_state(field)) {
            Some(level) => ui::badge(level, choice(visit, text)),
            None => Markup::text(choice(visit, text)),
        },
        Ty::Ref(kind) => match labels.get(text) {
            Some(label) => Markup::link(format!("/exchange/{}/{text}", kind.path()), label),
            None => Markup::link(format!("/exchange/{}/{text}", kind.path()), text),
        },
        Ty::Speed => Markup::text(speed(value.as_i64().unwrap_or(0))),
        Ty::Asn => Markup::text(format!("AS{value}")),
        Ty::Moment => ui::time(Timestamp(value.as_i64().unwrap_or(0))),
        Ty::V4 | Ty::V6 | Ty::Ip | Ty::Net4 | Ty::Net6 | Ty::Mac | Ty::AsSet => Markup::code(text),
        Ty::Url => Markup::new(format!(
            "<a href=\"{0}\" rel=\"noopener noreferrer\">{0}</a>",
            ui::escape(text)
        )),
        Ty::Policy => Markup::new(format!(
            "<pre tabindex=\"0\">{}</pre>",
            ui::escape(&value::text(field, value))
        )),
        Ty::Int(..) => Markup::text(ui::number(
            value
                .as_i64()
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0),
        )),
        _ => Markup::text(value::text(field, value)),
    }
}

/// The state of a session as it is seen, beside what is wanted.
pub(super) fn seen(visit: &Visit, wanted: &str, seen: Option<&SeenAt>) -> Markup {
    let Some(seen) = seen else {
        return ui::badge(Level::Neutral, visit.t("x-seen-unknown"));
    };
    let key = match seen.seen.state {
        SeenState::Up => "x-seen-up",
        SeenState::Down => "x-seen-down",
        SeenState::Disabled => "x-seen-disabled",
    };
    let good = (wanted == "up") == (seen.seen.state == SeenState::Up);
    let level = match (good, seen.seen.state) {
        (true, SeenState::Up) => Level::Good,
        (true, _) => Level::Neutral,
        (false, SeenState::Up) => Level::Warn,
        (false, _) => Level::Bad,
    };
    ui::badge(level, visit.t(key))
}

/// The lists, in the order of daily work.
const TABS: [Kind; 13] = [
    Kind::Member,
    Kind::Session,
    Kind::Router,
    Kind::Port,
    Kind::Lag,
    Kind::Switch,
    Kind::Site,
    Kind::RouteServer,
    Kind::Lan,
    Kind::Range,
    Kind::Vlan,
    Kind::Contact,
    Kind::Maintenance,
];

/// Links to every list of the room; `here` is the present path.
pub(super) fn tabs(visit: &Visit, here: &str) -> Markup {
    let mut entries = vec![(
        "/exchange".to_owned(),
        visit.t("x-overview"),
        here == "/exchange",
    )];
    for kind in TABS {
        let path = format!("/exchange/{}", kind.path());
        let is_here = here == path;
        entries.push((path, kind_names(visit, kind), is_here));
    }
    for (path, key) in [
        ("/exchange/checks", "x-checks"),
        ("/exchange/drills", "x-drills"),
        ("/exchange/history", "x-history"),
        ("/exchange/document", "x-document"),
    ] {
        entries.push((path.to_owned(), visit.t(key), here == path));
    }
    if visit.principal.could("exchange:edit") {
        let path = "/exchange/import";
        entries.push((path.to_owned(), visit.t("x-import"), here == path));
    }
    ui::tabs(&entries)
}
