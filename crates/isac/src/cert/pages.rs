//! Members: their sector and what they run.

use axum::extract::{Path, State};
use base::OrgId;
use casework::body::{Body, other_errors, show, show_with};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, FieldError, PageForm, Pages, Paging, Visit, WebError, WebResult};

use super::Desk;
use super::Sector;
use super::error::tell;
use super::shell::{AGAIN, by, sector_name, sector_options};

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/members", "member:manage", list)
        .get("/members/{org}", "member:manage", edit)
        .post("/members/{org}", "member:manage", save)
        .with_state(desk)
}

async fn list(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let orgs = visit
        .house()
        .accounts
        .orgs(&visit.principal.scope("member:manage"), &paging)
        .await?;
    let frame = visit.frame("nav-members");
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("member-org")))
        .column(Column::text(visit.t("member-sector")))
        .column(Column::number(visit.t("member-assets")))
        .empty(ui::empty(
            Icon::Users,
            visit.t("members-empty-title"),
            visit.t("members-empty-text"),
            None,
        ));
    for org in &orgs.items {
        let member = desk
            .cert
            .member(org.id)
            .await
            .map_err(|e| tell(e, visit.lang))?;
        let name = if frame.is_zh() {
            &org.name_zh
        } else {
            &org.name_en
        };
        let (sector, assets) = match member {
            Some(member) => (
                Markup::text(sector_name(&visit, member.sector)),
                member.assets.len().to_string(),
            ),
            None => (
                ui::badge(web::Level::Neutral, visit.t("member-none")),
                "–".into(),
            ),
        };
        table.push(vec![
            Markup::link(format!("/members/{}", org.id), name),
            sector,
            Markup::text(assets),
        ]);
    }
    let body = Body::new()
        .text(visit.t("members-intro"))
        .add(table)
        .add(ui::pager(&frame, "", orgs.next.as_deref()));
    show(frame, body)
}

fn org_of(text: &str) -> WebResult<OrgId> {
    text.parse()
        .map_err(|_| WebError::not_found("organisation", text))
}

async fn edit(State(desk): State<Desk>, visit: Visit, Path(org): Path<String>) -> WebResult {
    let id = org_of(&org)?;
    visit.house().accounts.org(id).await?;
    let member = desk
        .cert
        .member(id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let (sector, assets) = member.map_or_else(
        || (Sector::Other.tag().to_owned(), String::new()),
        |member| (member.sector.tag().to_owned(), member.assets.join("\n")),
    );
    let name = desk.org(&visit, id).await;
    let frame = visit
        .frame_titled(name)
        .crumb("/members", visit.t("nav-members"));
    show(frame, form(&visit, id, &sector, &assets, &[]))
}

fn form(visit: &Visit, org: OrgId, sector: &str, assets: &str, errors: &[FieldError]) -> Body {
    let inner = Body::new()
        .add(
            Field::select("sector", visit.t("member-sector"), sector_options(visit))
                .value(sector)
                .errors(errors)
                .required(),
        )
        .add(
            Field::area("assets", visit.t("member-assets"), 8)
                .value(assets)
                .help(visit.t("member-assets-help"))
                .optional(visit.t("case-optional"))
                .errors(errors),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("act-save-member")),
                ui::button_link("/members", visit.t("act-cancel")),
            ],
        );
    Body::new()
        .add_some(other_errors(visit, errors, &["sector", "assets"]))
        .form(&visit.frame_titled(""), &format!("/members/{org}"), inner)
}

#[derive(Debug, serde::Deserialize)]
struct Save {
    sector: String,
    #[serde(default)]
    assets: String,
}

async fn save(
    State(desk): State<Desk>,
    visit: Visit,
    Path(org): Path<String>,
    PageForm(save): PageForm<Save>,
) -> WebResult {
    let id = org_of(&org)?;
    visit.house().accounts.org(id).await?;
    let assets: Vec<String> = save.assets.lines().map(str::to_owned).collect();
    let kept = match Sector::from_tag(&save.sector) {
        Some(sector) => desk
            .cert
            .set_member(&by(&visit)?, id, sector, &assets)
            .await
            .map_err(|error| tell(error, visit.lang)),
        None => Err(WebError::field(
            "sector",
            "enum",
            visit.t("member-sector-wrong"),
        )),
    };
    match kept {
        Ok(()) => Ok(visit.done("/members", "member-saved")),
        Err(told) => {
            if told.fields.is_empty() {
                return Err(told);
            }
            let name = desk.org(&visit, id).await;
            let frame = visit
                .frame_titled(name)
                .crumb("/members", visit.t("nav-members"));
            show_with(
                AGAIN,
                frame,
                form(&visit, id, &save.sector, &save.assets, &told.fields),
            )
        }
    }
}
