//! One site: how it does, its names, its certificates, its state.

use axum::extract::{Path, State};
use casework::body::{Body, hidden, other_errors, show, show_with};
use uuid::Uuid;
use web::ui::{self, Chart, Column, Field, Icon, Markup, Table, Unit};
use web::{FieldError, Level, PageForm, Visit, WebError, WebResult};

use super::{AGAIN, confirm, site_frame, state_badge};
use crate::api::action_for;
use crate::engine::{Site, SiteState};
use crate::room::{Desk, by, tell};
use crate::stats::{Range, share, total};

pub(super) async fn overview(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let (frame, tabs) = site_frame(&visit, &site, "overview");
    let target = desk.cdn.target(&site);
    let status = desk.cdn.cname_status(&site.hosts, &target).await;
    let ready = status.iter().all(|(_, found)| matches!(found, Ok(true)));
    let mut body = Body::new().add(tabs);
    body = match site.state {
        SiteState::Active if ready => body.add(ui::notice(
            Level::Good,
            visit.t("site-live-title"),
            visit.t("site-live-text"),
        )),
        SiteState::Active => body.add(ui::notice(
            Level::Info,
            visit.t("site-cname-title"),
            visit.t("site-cname-text"),
        )),
        SiteState::Suspended => body.add(ui::notice(
            Level::Warn,
            visit.t("site-suspended-title"),
            visit.t("site-suspended-text"),
        )),
        SiteState::Deleted => body.add(ui::notice(
            Level::Bad,
            visit.t("site-deleted-title"),
            visit.ta(
                "site-deleted-text",
                &[("days", &desk.cdn.config().undo_days.to_string())],
            ),
        )),
    };
    body = body.add(figures(&desk, &visit, &site).await);
    body = body.section(visit.t("site-cname"), cname_table(&visit, &status, &target));
    let version = desk
        .cdn
        .version(&scope, site.id, None)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let origins: String = version
        .config
        .origins
        .origins
        .iter()
        .map(|origin| format!("<li><code>{}</code></li>", ui::escape(&origin.url)))
        .collect();
    let mut facts = vec![
        (visit.t("site-state"), state_badge(&visit, site.state)),
        (visit.t("site-org"), Markup::text(frame.org_name(&site.org))),
        (
            visit.t("site-origins"),
            Markup::new(format!("<ul>{origins}</ul>")),
        ),
        (
            visit.t("site-version"),
            Markup::link(
                format!("/sites/{}/versions", site.id),
                site.active.to_string(),
            ),
        ),
        (visit.t("site-created"), ui::time(site.created_at)),
    ];
    if let Some(case) = site.case {
        facts.push((
            visit.t("site-case"),
            Markup::link(format!("/cases/{case}"), visit.t("site-case-open")),
        ));
    }
    body = body.section(
        visit.t("site-facts"),
        Body::new()
            .add(ui::definition_list(facts))
            .group("actions", state_buttons(&visit, &desk, &site)),
    );
    show(frame, body)
}

async fn figures(desk: &Desk, visit: &Visit, site: &Site) -> Markup {
    let day = Range {
        seconds: Some(86_400),
        step: Some(3_600),
        ..Range::default()
    };
    let points = match day.query(Some(site.id), visit.now) {
        Ok(query) => desk.cdn.statistics().series(&query).await,
        Err(_) => Ok(Vec::new()),
    };
    let points = match points {
        Ok(points) => points,
        Err(error) => {
            tracing::warn!(site = %site.id, error = %runtime::error_chain(&error), "Figures of a site could not be read");
            return ui::notice(
                Level::Warn,
                visit.t("stats-away-title"),
                visit.t("stats-away-text"),
            );
        }
    };
    let sum = total(&points);
    let tiles = [
        ui::tile(visit.t("stats-requests"), ui::number(sum.requests), "")
            .path(format!("/sites/{}/stats", site.id))
            .markup(),
        ui::tile(visit.t("stats-bytes"), ui::bytes(sum.bytes), "").markup(),
        ui::tile(
            visit.t("stats-hit-ratio"),
            ui::percent(share(sum.hits, sum.requests)),
            "",
        )
        .markup(),
        ui::tile(
            visit.t("stats-errors"),
            ui::percent(share(sum.errors, sum.requests)),
            "",
        )
        .level(if sum.errors * 100 > sum.requests {
            Level::Bad
        } else {
            Level::Neutral
        })
        .markup(),
    ];
    let chart = Chart::new(
        visit.t("stats-requests"),
        Unit::Count,
        points.iter().map(|point| point.at).collect(),
        visit.t("stats-none"),
    )
    .series(
        visit.t("stats-requests"),
        points
            .iter()
            .map(|point| Some(point.requests as f64))
            .collect(),
    )
    .series(
        visit.t("stats-hits"),
        points.iter().map(|point| Some(point.hits as f64)).collect(),
    )
    .source(visit.t("stats-day"))
    .filled();
    Body::new().group("tiles", tiles).add(chart).markup()
}

fn cname_table(visit: &Visit, status: &[(String, Result<bool, String>)], target: &str) -> Body {
    let mut table = Table::new(visit.t("site-cname"))
        .column(Column::text(visit.t("host-name")))
        .column(Column::text(visit.t("host-record")))
        .column(Column::text(visit.t("host-status")));
    for (host, found) in status {
        let badge = match found {
            Ok(true) => ui::badge(Level::Good, visit.t("cname-set")),
            Ok(false) => ui::badge(Level::Warn, visit.t("cname-unset")),
            Err(_) => ui::badge(Level::Neutral, visit.t("cname-unknown")),
        };
        table.push(vec![
            Markup::text(host),
            ui::copyable(
                visit.t("host-record"),
                format!("{host}. 300 IN CNAME {target}."),
            ),
            badge,
        ]);
    }
    Body::new().text(visit.t("site-cname-how")).add(table)
}

fn state_buttons(visit: &Visit, desk: &Desk, site: &Site) -> Vec<Markup> {
    let mut buttons = Vec::new();
    for to in [SiteState::Active, SiteState::Suspended, SiteState::Deleted] {
        let possible = to != site.state
            && !(site.state == SiteState::Deleted
                && (to == SiteState::Suspended || desk.cdn.undo_over(site)));
        if possible
            && visit.principal.may("site:edit", site.org)
            && visit.principal.may(action_for(site.state, to), site.org)
        {
            buttons.push(ui::button_link(
                format!("/sites/{}/state/{}", site.id, to.name()),
                visit.t(&format!("site-to-{}", to.name())),
            ));
        }
    }
    buttons
}

fn state_named(name: &str) -> WebResult<SiteState> {
    SiteState::from_name(name).ok_or_else(|| WebError::not_found("state", name))
}

pub(super) async fn confirm_state(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, to)): Path<(String, String)>,
) -> WebResult {
    let (site, _) = desk.site(&visit, &site, "site:edit").await?;
    let to = state_named(&to)?;
    visit
        .principal
        .require(action_for(site.state, to), site.org)?;
    let (frame, _) = site_frame(&visit, &site, "state");
    let fields = Body::new()
        .add(Field::text("reason", visit.t("order-reason")).attribute("maxlength", "100"));
    let name = to.name();
    let path = format!("/sites/{}", site.id);
    confirm(
        &visit,
        frame,
        &visit.ta(&format!("site-to-{name}-text"), &[("site", &site.slug)]),
        &format!("{path}/state/{name}"),
        &path,
        &visit.t(&format!("site-to-{name}")),
        fields,
    )
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Reason {
    #[serde(default)]
    reason: String,
}

pub(super) async fn set_state(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, to)): Path<(String, String)>,
    PageForm(form): PageForm<Reason>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    let to = state_named(&to)?;
    visit
        .principal
        .require(action_for(site.state, to), site.org)?;
    desk.cdn
        .set_state(&scope, &by(&visit)?, site.id, to, &form.reason)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done(
        &format!("/sites/{}", site.id),
        &format!("site-is-{}", to.name()),
    ))
}

// ------------------------------------------------------------- hosts

pub(super) async fn hosts(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
) -> WebResult {
    let (site, _) = desk.site(&visit, &site, "site:view").await?;
    let (frame, body) = hosts_body(&desk, &visit, &site, "", &[]).await?;
    show(frame, body)
}

async fn hosts_body(
    desk: &Desk,
    visit: &Visit,
    site: &Site,
    typed: &str,
    errors: &[FieldError],
) -> WebResult<(web::Frame, Body)> {
    let (frame, tabs) = site_frame(visit, site, "hosts");
    let edits = visit.principal.may("site:edit", site.org);
    let mut table = Table::new(visit.t("site-hosts"))
        .column(Column::text(visit.t("host-name")))
        .column(Column::text(visit.t("host-actions")));
    for host in &site.hosts {
        let remove = if edits && site.hosts.len() > 1 {
            ui::button_link(
                format!("/sites/{}/hosts/{host}/remove", site.id),
                visit.t("host-remove"),
            )
        } else {
            Markup::text("–")
        };
        table.push(vec![Markup::code(host), remove]);
    }
    let mut body = Body::new().add(tabs).text(visit.t("hosts-text")).add(table);
    if !edits || !visit.principal.may("claim:manage", site.org) {
        return Ok((frame, body));
    }
    let field = Field::text("host", visit.t("host-new"))
        .value(typed)
        .help(visit.t("host-new-help"))
        .errors(errors)
        .required();
    body = body.section(
        visit.t("host-add"),
        Body::new()
            .add_some(other_errors(visit, errors, &["host"]))
            .form(
                &frame,
                &format!("/sites/{}/hosts", site.id),
                Body::new().add(field).add(ui::button(visit.t("host-add"))),
            ),
    );
    let waiting: Vec<_> = desk
        .cdn
        .all_claims(site.org)
        .await
        .map_err(|e| tell(e, visit.lang))?
        .into_iter()
        .filter(|claim| claim.proven_at.is_none())
        .collect();
    if !waiting.is_empty() {
        let mut inner = Body::new().text(visit.t("proofs-text"));
        for claim in waiting.iter().take(20) {
            let form = Body::new()
                .add(hidden("host", &claim.host))
                .add(hidden("org", site.org))
                .add(hidden("next", format!("/sites/{}/hosts", site.id)))
                .add(ui::button(
                    visit.ta("proof-check", &[("name", &claim.host)]),
                ));
            let record = format!("{}. 300 IN TXT \"{}\"", claim.record(), claim.token);
            inner = inner
                .add(Markup::new(format!("<h3>{}</h3>", ui::escape(&claim.host))))
                .add(ui::copyable(claim.record(), record))
                .text(visit.ta(
                    "proof-file",
                    &[("url", &claim.file(desk.cdn.config().proof_port))],
                ))
                .add(ui::copyable(visit.t("proof-content"), &claim.token));
            if !claim.error.is_empty() {
                inner = inner.add(ui::notice(
                    Level::Warn,
                    visit.t("proof-not-found"),
                    claim.error.as_str(),
                ));
            }
            inner = inner.form(&frame, "/sites/proofs", form);
        }
        body = body.section(visit.t("proofs"), inner);
    }
    Ok((frame, body))
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Host {
    host: String,
}

/// Adds a proven name at once; an unproven one is claimed, and its proof asked for.
pub(super) async fn add_host(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    PageForm(form): PageForm<Host>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    visit.principal.require("claim:manage", site.org)?;
    let back = format!("/sites/{}/hosts", site.id);
    let claimed = desk
        .cdn
        .claims(site.org, std::slice::from_ref(&form.host))
        .await;
    let outcome = match claimed {
        Ok(claims) if claims.iter().any(|claim| claim.proven_at.is_none()) => {
            return Ok(visit.to_with(&back, Level::Info, &visit.t("host-claimed")));
        }
        Ok(_) => {
            desk.cdn
                .add_host(&scope, &by(&visit)?, site.id, &form.host)
                .await
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Ok(visit.done(&back, "host-added")),
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.fields.is_empty() {
                return Ok(visit.to_with(&back, Level::Bad, &told.detail));
            }
            let (frame, body) = hosts_body(&desk, &visit, &site, &form.host, &told.fields).await?;
            show_with(AGAIN, frame, body)
        }
    }
}

pub(super) async fn confirm_remove_host(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, host)): Path<(String, String)>,
) -> WebResult {
    let (site, _) = desk.site(&visit, &site, "site:edit").await?;
    let (frame, _) = site_frame(&visit, &site, "hosts");
    let path = format!("/sites/{}/hosts", site.id);
    confirm(
        &visit,
        frame,
        &visit.ta("host-remove-text", &[("name", &host)]),
        &format!("{path}/{host}/remove"),
        &path,
        &visit.t("host-remove"),
        Body::new(),
    )
}

pub(super) async fn remove_host(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, host)): Path<(String, String)>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    desk.cdn
        .remove_host(&scope, &by(&visit)?, site.id, &host)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done(&format!("/sites/{}/hosts", site.id), "host-removed"))
}

// ------------------------------------------------------------- certificates

pub(super) async fn certificates(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:view").await?;
    let (frame, body) = certificates_body(&desk, &visit, &site, &scope, "", &[]).await?;
    show(frame, body)
}

async fn certificates_body(
    desk: &Desk,
    visit: &Visit,
    site: &Site,
    scope: &web::OrgScope,
    chain: &str,
    errors: &[FieldError],
) -> WebResult<(web::Frame, Body)> {
    let (frame, tabs) = site_frame(visit, site, "certificates");
    let edits = visit.principal.may("site:edit", site.org);
    let base = format!("/sites/{}/certificates", site.id);
    let all = desk
        .cdn
        .certificates(scope, site.id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let mut table = Table::new(visit.t("site-tab-certificates"))
        .column(Column::text(visit.t("certificate-names")))
        .column(Column::text(visit.t("certificate-issuer")))
        .column(Column::text(visit.t("certificate-until")))
        .column(Column::text(visit.t("certificate-source")))
        .column(Column::text(visit.t("host-actions")))
        .empty(ui::empty(
            Icon::Lock,
            visit.t("certificates-empty-title"),
            visit.t("certificates-empty-text"),
            None,
        ));
    for certificate in &all {
        let left = certificate.described.not_after.since(visit.now).as_secs() / 86_400;
        let level = if left == 0 {
            Level::Bad
        } else if left < 21 {
            Level::Warn
        } else {
            Level::Good
        };
        let until = ui::time(certificate.described.not_after).and(&ui::badge(
            level,
            visit.ta("certificate-days", &[("days", &left.to_string())]),
        ));
        let remove = if edits {
            ui::button_link(
                format!("{base}/{}/remove", certificate.id),
                visit.t("host-remove"),
            )
        } else {
            Markup::text("–")
        };
        table.push(vec![
            Markup::text(certificate.described.names.join(", ")),
            Markup::text(&certificate.described.issuer),
            until,
            Markup::text(visit.t(if certificate.source == "sandbox" {
                "certificate-sandbox"
            } else {
                "certificate-upload"
            })),
            remove,
        ]);
    }
    let mut body = Body::new().add(tabs).add(table);
    if !edits {
        return Ok((frame, body));
    }
    if desk.cdn.config().sandbox_ca {
        let form = Body::new().form(
            &frame,
            &format!("{base}/sandbox"),
            Body::new().add(ui::button(visit.t("certificate-issue"))),
        );
        body = body.section(
            visit.t("certificate-sandbox"),
            Body::new()
                .text(visit.t("certificate-sandbox-text"))
                .add(form.markup()),
        );
    }
    let inner = Body::new()
        .add(
            Field::area("chain_pem", visit.t("certificate-chain"), 6)
                .value(chain)
                .help(visit.t("certificate-chain-help"))
                .errors(errors)
                .required()
                .attribute("autocomplete", "off")
                .attribute("spellcheck", "false"),
        )
        .add(
            Field::area("key_pem", visit.t("certificate-key"), 6)
                .help(visit.t("certificate-key-help"))
                .errors(errors)
                .required()
                .attribute("autocomplete", "off")
                .attribute("spellcheck", "false"),
        )
        .add(ui::button(visit.t("certificate-send")));
    body = body.section(
        visit.t("certificate-upload"),
        Body::new()
            .add_some(other_errors(visit, errors, &["chain_pem", "key_pem"]))
            .form(&frame, &base, inner),
    );
    Ok((frame, body))
}

#[derive(serde::Deserialize)]
pub(super) struct Upload {
    chain_pem: String,
    key_pem: String,
}

pub(super) async fn upload(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    PageForm(form): PageForm<Upload>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    match desk
        .cdn
        .upload_certificate(
            &scope,
            &by(&visit)?,
            site.id,
            &form.chain_pem,
            &form.key_pem,
        )
        .await
    {
        Ok(_) => Ok(visit.done(
            &format!("/sites/{}/certificates", site.id),
            "certificate-kept",
        )),
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.fields.is_empty() {
                return Err(told);
            }
            // The key is a secret: it is not shown again.
            let (frame, body) =
                certificates_body(&desk, &visit, &site, &scope, &form.chain_pem, &told.fields)
                    .await?;
            show_with(AGAIN, frame, body)
        }
    }
}

pub(super) async fn issue(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    desk.cdn
        .issue_certificate(&scope, &by(&visit)?, site.id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done(
        &format!("/sites/{}/certificates", site.id),
        "certificate-kept",
    ))
}

pub(super) async fn confirm_remove_certificate(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, certificate)): Path<(String, String)>,
) -> WebResult {
    let (site, _) = desk.site(&visit, &site, "site:edit").await?;
    let (frame, _) = site_frame(&visit, &site, "certificates");
    let path = format!("/sites/{}/certificates", site.id);
    confirm(
        &visit,
        frame,
        &visit.t("certificate-remove-text"),
        &format!("{path}/{certificate}/remove"),
        &path,
        &visit.t("host-remove"),
        Body::new(),
    )
}

pub(super) async fn remove_certificate(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, certificate)): Path<(String, String)>,
) -> WebResult {
    let (site, scope) = desk.site(&visit, &site, "site:edit").await?;
    let id = Uuid::try_parse(&certificate)
        .map_err(|_| WebError::not_found("certificate", &certificate))?;
    desk.cdn
        .remove_certificate(&scope, &by(&visit)?, site.id, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done(
        &format!("/sites/{}/certificates", site.id),
        "certificate-removed",
    ))
}
