//! Pages of the sharing policy: its rules in words, its versions, a new one tried before
//! it is saved, and the preview of what would go to whom.

use axum::extract::State;
use casework::body::{Body, show, show_with};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{
    ApiQuery, FieldError, Frame, Level, PageForm, Paging, Thing, Visit, WebError, WebResult,
};

use super::api::{PreviewQuery, previewed, tell};
use super::pages::{tabs, tier, version_row, versions_table};
use super::policy::{Action, Consent, Names, Policy, Rule, Tier};
use super::preview::Preview;
use super::room::Parts;
use crate::cert::shell::{AGAIN, by};
use crate::objects::collections::ROOT;

/// Characters of a policy in the form.
const POLICY_CHARS_MAX: usize = 200_000;

pub(super) async fn policy(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let (version, policy) = parts.sharing.policy().await.map_err(tell)?;
    let frame = visit
        .frame("sharing-policy")
        .crumb("/sharing", visit.t("nav-sharing"));
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
    body = body.section(
        visit.t("sharing-names"),
        Body::new().add(ui::definition_list(names)),
    );
    if visit.principal.may("share:manage", Thing::HOUSE) {
        body = body.group(
            "actions",
            [ui::button_link(
                "/sharing/policy/edit",
                visit.t("sharing-edit"),
            )],
        );
    }
    let rules = Column::number(visit.t("sharing-rules"));
    let mut table = versions_table(&visit, rules, "sharing-versions-empty-text");
    for one in parts.sharing.versions().await.map_err(tell)? {
        let made = (one.version, one.made_at, one.made_by.as_str());
        let rules = Markup::text(one.policy.rules.len().to_string());
        table.push(version_row(&parts, &visit, made, rules).await);
    }
    show(
        frame,
        body.section(visit.t("sharing-versions"), Body::new().add(table)),
    )
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
        words.push(visit.ta(
            "sharing-fits-sectors",
            &[("sectors", &rule.sectors.join(", "))],
        ));
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

pub(super) async fn edit(State(parts): State<Parts>, visit: Visit) -> WebResult {
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
pub(super) fn named_button(value: &str, text: String) -> Markup {
    let class = if value == "save" {
        "button button-primary"
    } else {
        "button"
    };
    Markup::new(format!(
        "<button class=\"{class}\" name=\"what\" value=\"{value}\">{}</button>",
        ui::escape(&text)
    ))
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Save {
    document: String,
    to: String,
    what: String,
}

pub(super) async fn save(
    State(parts): State<Parts>,
    visit: Visit,
    PageForm(save): PageForm<Save>,
) -> WebResult {
    let frame = edit_frame(&visit);
    let again = |errors: &[FieldError]| {
        let body = edit_body(&parts, &visit, &frame, &save.document, &save.to, errors);
        show_with(AGAIN, frame.clone(), body)
    };
    let wrong =
        |path: &str, rule: String| FieldError::new("document", "rule", format!("{path}: {rule}"));
    if save.document.chars().count() > POLICY_CHARS_MAX {
        let rule = format!("must have at most {POLICY_CHARS_MAX} characters");
        return again(&[wrong("document", rule)]);
    }
    let policy: Policy = match serde_json::from_str(&save.document) {
        Ok(policy) => policy,
        Err(error) => {
            return again(&[FieldError::new("document", "json", error.to_string())]);
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

pub(super) async fn preview(
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
        .map(|peer| {
            (
                peer.name.clone(),
                format!("{} ({})", peer.name, tier(&visit, peer.tier)),
            )
        })
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
        let name = if frame.is_zh() {
            org.name_zh
        } else {
            org.name_en
        };
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
