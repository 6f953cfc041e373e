//! The signed-in home: what is wrong now first, then how much is served, then what
//! waits for the reader. Rooms bring its panels; nothing here is asked for on the
//! data plane's way.

use std::time::Duration;

use async_trait::async_trait;
use axum::response::Response;
use futures::stream;

use crate::live::Update;
use crate::problem::WebError;
use crate::room::{Alert, Level};
use crate::ui::{self, Icon, Markup, escape};
use crate::visit::Visit;

/// Time between two live answers.
pub const LIVE_EVERY: Duration = Duration::from_secs(5);
/// Id of the element that says what is wrong.
const WRONG: &str = "wrong-now";
/// Name of the live value that says when that was looked at.
const CHECKED: &str = "home-checked";

/// Where a panel stands on the home, from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// How much is served.
    Served,
    /// What waits for the reader.
    Waiting,
    /// The nodes and what they run.
    Nodes,
    /// The reader's things.
    Things,
    /// What was done lately.
    Changes,
}

/// A part of the home.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Where it stands.
    pub place: Place,
    /// Its heading, in the reader's language.
    pub title: String,
    /// Where there is more: path and text.
    pub more: Option<(String, String)>,
    /// Its content.
    pub body: Markup,
    /// Whether it takes the whole width.
    pub wide: bool,
}

impl Panel {
    /// A panel of half the width.
    pub fn new(place: Place, title: impl Into<String>, body: Markup) -> Self {
        Self {
            place,
            title: title.into(),
            more: None,
            body,
            wide: false,
        }
    }

    /// Over the whole width.
    #[must_use]
    pub fn wide(mut self) -> Self {
        self.wide = true;
        self
    }

    /// With a way to more of it.
    #[must_use]
    pub fn more(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.more = Some((path.into(), text.into()));
        self
    }

    fn markup(&self) -> String {
        let wide = if self.wide { " home-wide" } else { "" };
        let more = match &self.more {
            Some((path, text)) => Markup::link(path, text).to_string(),
            None => String::new(),
        };
        format!(
            "<section class=\"panel{wide}\"><div class=\"panel-head\"><h2>{}</h2>{more}</div>{}</section>",
            escape(&self.title),
            self.body
        )
    }
}

/// What a room puts on the home.
#[async_trait]
pub trait Home: Send + Sync {
    /// Panels for the reader; none when the room has nothing to say to them. A part
    /// of the house that does not answer is said so in the panel: the home is there
    /// when everything else is broken.
    async fn bring(&self, visit: &Visit) -> Brought;

    /// What has changed in the room's panels since the page was made; asked every
    /// [`LIVE_EVERY`] for each open home. `visit.query` is the live part's query.
    async fn updates(&self, visit: &Visit) -> Vec<Update> {
        // By default nothing of the room's is live.
        let _ = visit;
        Vec::new()
    }
}

/// What a room puts on the home.
#[derive(Debug, Default)]
pub struct Brought {
    /// Its panels.
    pub panels: Vec<Panel>,
    /// What it wants back in the query of the live part, beginning without `&`: the
    /// order of lines in its charts.
    pub live_query: Option<String>,
}

/// The content of the home.
pub(crate) async fn content(visit: &Visit) -> Markup {
    let house = visit.house();
    let (mut panels, mut query) = (Vec::new(), Vec::new());
    for room in &house.homes {
        let brought = room.bring(visit).await;
        panels.extend(brought.panels);
        query.extend(brought.live_query);
    }
    if let Some(changes) = crate::pages::audit::changes(visit).await {
        panels.push(changes);
    }
    panels.sort_by_key(|panel| panel.place);
    let mut html = format!(
        "<p class=\"home-checked\">{}</p><div id=\"{WRONG}\" role=\"status\">{}</div><div class=\"home\">",
        ui::live_value(CHECKED, checked(visit)),
        wrong_now(visit, &visit.alerts)
    );
    for panel in &panels {
        html.push_str(&panel.markup());
    }
    html.push_str("</div>");
    ui::live(format!("/home/live?{}", query.join("&")), Markup::new(html))
}

/// What is wrong now, in one glance.
fn wrong_now(visit: &Visit, alerts: &[Alert]) -> Markup {
    let worst = alerts.iter().map(|alert| alert.level).max();
    let (level, picture, title) = match worst {
        None => (Level::Good, Icon::Check, visit.t("home-all-well")),
        Some(worst) => {
            let count = alerts.len().to_string();
            let text = visit.ta("home-wrong", &[("count", &count)]);
            (worst.max(Level::Warn), Icon::Warn, text)
        }
    };
    let mut list = String::new();
    for alert in alerts {
        list.push_str(&format!(
            "<li>{} {}</li>",
            ui::badge(
                alert.level,
                visit.t(&format!("level-{}", alert.level.class()))
            ),
            Markup::link(&alert.path, &alert.text)
        ));
    }
    let list = match list.is_empty() {
        true => format!("<p>{}</p>", escape(&visit.t("home-all-well-text"))),
        false => format!("<ul>{list}</ul>"),
    };
    Markup::new(format!(
        "<section class=\"standing standing-{}\"><span class=\"standing-sign\">{}</span><div><h2>{}</h2>{list}</div></section>",
        level.class(),
        ui::icon(picture),
        escape(&title)
    ))
}

/// When the home was last looked at.
fn checked(visit: &Visit) -> String {
    visit.ta("home-checked", &[("time", &visit.now.taipei())])
}

/// The home's live part: what is wrong, and the rooms' updates.
///
/// # Errors
/// 401 for visitors, 503 when too many streams are open.
pub(crate) async fn live(visit: Visit) -> Result<Response, WebError> {
    visit.principal.signed_in()?;
    let house = visit.house().clone();
    let updates = stream::unfold(visit, |mut visit| async move {
        tokio::time::sleep(LIVE_EVERY).await;
        let house = visit.house().clone();
        visit.now = house.clock.now();
        let alerts = house.alerts(&visit.principal, visit.lang).await;
        let mut updates = vec![Update::Fragment {
            target: WRONG.to_owned(),
            html: wrong_now(&visit, &alerts),
        }];
        let time = (CHECKED.to_owned(), checked(&visit));
        updates.push(Update::Values(vec![time]));
        for room in &house.homes {
            updates.extend(room.updates(&visit).await);
        }
        Some((stream::iter(updates), visit))
    });
    house
        .streams
        .open(futures::StreamExt::flatten(updates), std::future::pending())
}
