//! Organisations: operators list and enter them; an organisation's administrators
//! manage its people.

use base::{OrgId, UserId};
use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::login::role_key;
use super::{Plain, confirm, form, refusal, section};
use crate::accounts::{By, Org};
use crate::api::{ApiPath, ApiQuery, PageForm, Paging};
use crate::policy::OrgRole;
use crate::problem::{Code, FieldError, WebError, WebResult};
use crate::room::{Level, Pages};
use crate::ui::{self, Column, Field, Icon, Markup, Table};
use crate::visit::{Frame, Visit, page_with};

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/organisations", "org:view", list)
        .post("/organisations", "org:create", create)
        .get("/organisations/{org}", "org:view", one)
        .get(
            "/organisations/{org}/active",
            "org:deactivate",
            active_confirm,
        )
        .post("/organisations/{org}/active", "org:deactivate", set_active)
        .post("/organisations/{org}/invites", "org:manage", invite)
        .post(
            "/organisations/{org}/invites/{invite}/withdraw",
            "org:manage",
            withdraw,
        )
        .post("/organisations/{org}/members/{user}", "org:manage", set)
        .get(
            "/organisations/{org}/members/{user}/remove",
            "org:manage",
            remove_confirm,
        )
        .post(
            "/organisations/{org}/members/{user}/remove",
            "org:manage",
            remove,
        )
}

fn name<'a>(frame: &Frame, org: &'a Org) -> &'a str {
    match frame.is_zh() {
        true => &org.name_zh,
        false => &org.name_en,
    }
}

#[derive(Deserialize, Default)]
struct NewOrg {
    #[serde(default)]
    name_zh: String,
    #[serde(default)]
    name_en: String,
}

async fn list(visit: Visit, ApiQuery(paging): ApiQuery<Paging>) -> WebResult {
    list_page(&visit, StatusCode::OK, &paging, &NewOrg::default(), &[]).await
}

async fn list_page(
    visit: &Visit,
    status: StatusCode,
    paging: &Paging,
    given: &NewOrg,
    errors: &[FieldError],
) -> WebResult {
    let frame = visit.frame("orgs-title");
    let scope = visit.principal.scope("org:view");
    let page = visit.house().accounts.orgs(&scope, paging).await?;
    let mut table = Table::new(frame.t("orgs-title"))
        .column(Column::text(frame.t("org-name")))
        .column(Column::text(frame.t("org-other-name")))
        .column(Column::text(frame.t("person-since")))
        .empty(ui::empty(
            Icon::Building,
            frame.t("orgs-none"),
            frame.t("orgs-none-text"),
            None,
        ));
    for org in &page.items {
        let other = match frame.is_zh() {
            true => &org.name_en,
            false => &org.name_zh,
        };
        let mut link = Markup::link(format!("/organisations/{}", org.id), name(&frame, org));
        if !org.active {
            link = link.and(&ui::badge(Level::Warn, frame.t("org-inactive")));
        }
        table.push(vec![
            link,
            other.as_str().into(),
            frame.time(&org.created_at),
        ]);
    }
    let mut parts = vec![
        refusal(&frame, errors),
        table.markup(),
        ui::pager(&frame, "", page.next.as_deref()),
    ];
    if frame.could("org:create") {
        let field = |field: &'static str, label: &str, value: &str| {
            Field::text(field, frame.t(label))
                .value(value)
                .errors(errors)
                .required()
                .attribute("maxlength", "100")
                .markup()
        };
        parts.push(section(
            &frame.t("org-new"),
            vec![form(
                &frame,
                "/organisations",
                vec![
                    field("name_zh", "org-name-zh", &given.name_zh),
                    field("name_en", "org-name-en", &given.name_en),
                ],
                ui::button(frame.t("org-create")),
            )],
        ));
    }
    page_with(
        status,
        &Plain {
            frame,
            body: parts.into_iter().collect(),
        },
    )
}

async fn create(visit: Visit, PageForm(given): PageForm<NewOrg>) -> WebResult {
    let by = By::visit(&visit)?;
    let made = visit
        .house()
        .accounts
        .create_org(&given.name_zh, &given.name_en, &by)
        .await;
    match made {
        Ok(org) => Ok(visit.done(&format!("/organisations/{org}"), "org-created")),
        Err(error) if error.code == Code::Invalid => {
            let status = error.code.status();
            list_page(&visit, status, &Paging::default(), &given, &error.fields).await
        }
        Err(error) => Err(error),
    }
}

/// The organisation, for those who may do `action` to it; for those who may not
/// even look at it, it is not there.
async fn found(visit: &Visit, org: OrgId, action: &str) -> Result<Org, WebError> {
    visit
        .principal
        .require_or_hide(action, "org:view", org, "organisation", org)?;
    visit.house().accounts.org(org).await
}

async fn one(visit: Visit, ApiPath(org): ApiPath<OrgId>) -> WebResult {
    let org = found(&visit, org, "org:view").await?;
    one_page(&visit, &org, StatusCode::OK, None).await
}

fn role_choices(frame: &Frame) -> Vec<(String, String)> {
    OrgRole::ALL
        .into_iter()
        .map(|role| (role.name().to_owned(), frame.t(role_key(role))))
        .collect()
}

async fn one_page(visit: &Visit, org: &Org, status: StatusCode, fresh: Option<&str>) -> WebResult {
    let title = name(&visit.frame("orgs-title"), org).to_owned();
    let frame = visit
        .frame_titled(title)
        .crumb("/organisations", visit.t("orgs-title"));
    let accounts = &visit.house().accounts;
    let manages = frame.may("org:manage", &org.id);
    let mut parts = Vec::new();
    if let Some(link) = fresh {
        parts.push(ui::notice(
            Level::Warn,
            frame.t("invite-once"),
            ui::copyable(frame.t("invite-link"), link),
        ));
    }
    parts.push(ui::definition_list(vec![
        (frame.t("org-name-zh"), org.name_zh.as_str().into()),
        (frame.t("org-name-en"), org.name_en.as_str().into()),
        (frame.t("person-since"), frame.time(&org.created_at)),
        (frame.t("person-id"), Markup::code(org.id.to_string())),
    ]));
    if !org.active {
        parts.push(ui::notice(
            Level::Warn,
            frame.t("org-inactive"),
            frame.t("org-inactive-text"),
        ));
    }
    if frame.may("org:deactivate", &org.id) {
        let key = match org.active {
            true => "org-deactivate",
            false => "org-activate",
        };
        let button = ui::button_link(format!("/organisations/{}/active", org.id), frame.t(key));
        parts.push(Markup::new(format!("<p class=\"actions\">{button}</p>")));
    }
    let mut table = Table::new(frame.t("members-title"))
        .column(Column::text(frame.t("field-name")))
        .column(Column::text(frame.t("member-role")))
        .column(Column::text(frame.t("member-since")))
        .empty(ui::empty(
            Icon::Users,
            frame.t("members-none"),
            frame.t("members-none-text"),
            None,
        ));
    if manages {
        table = table.column(Column::text(frame.t("actions")));
    }
    for member in accounts.members(org.id).await? {
        let path = format!("/organisations/{}/members/{}", org.id, member.user);
        let role = OrgRole::from_name(&member.role).unwrap_or(OrgRole::Viewer);
        let mut cells = vec![
            member.name.as_str().into(),
            frame.t(role_key(role)).into(),
            frame.time(&member.since),
        ];
        if manages {
            let mut options = String::new();
            for (value, text) in role_choices(&frame) {
                let chosen = if value == member.role {
                    " selected"
                } else {
                    ""
                };
                options.push_str(&format!(
                    "<option value=\"{}\"{chosen}>{}</option>",
                    ui::escape(&value),
                    ui::escape(&text)
                ));
            }
            let label = frame.t1("member-role-of", "name", &member.name);
            cells.push(Markup::new(format!(
                "<form class=\"inline\" method=\"post\" action=\"{}\">{}<select name=\"role\" aria-label=\"{}\">{options}</select> <button type=\"submit\" class=\"button button-quiet\">{}</button></form> {}",
                ui::escape(&path),
                frame.csrf(),
                ui::escape(&label),
                ui::escape(&frame.t("save")),
                Markup::link(format!("{path}/remove"), frame.t("member-remove")),
            )));
        }
        table.push(cells);
    }
    parts.push(section(&frame.t("members-title"), vec![table.markup()]));
    if manages {
        parts.push(invites_section(visit, &frame, org.id).await?);
    }
    page_with(
        status,
        &Plain {
            frame,
            body: parts.into_iter().collect(),
        },
    )
}

async fn invites_section(visit: &Visit, frame: &Frame, org: OrgId) -> Result<Markup, WebError> {
    let mut table = Table::new(frame.t("invites-title"))
        .column(Column::text(frame.t("member-role")))
        .column(Column::text(frame.t("token-expires")))
        .column(Column::text(frame.t("actions")));
    for invite in visit.house().accounts.invites(org).await? {
        let role = OrgRole::from_name(&invite.role).unwrap_or(OrgRole::Viewer);
        table.push(vec![
            frame.t(role_key(role)).into(),
            frame.time(&invite.expires_at),
            super::account::inline(
                frame,
                &format!("/organisations/{org}/invites/{}/withdraw", invite.id),
                &frame.t("invite-withdraw"),
            ),
        ]);
    }
    let mut parts = Vec::new();
    if !table.is_empty() {
        parts.push(table.markup());
    }
    parts.push(form(
        frame,
        &format!("/organisations/{org}/invites"),
        vec![
            Field::select("role", frame.t("member-role"), role_choices(frame))
                .value(OrgRole::Viewer.name())
                .help(frame.t("invite-help"))
                .markup(),
        ],
        ui::button(frame.t("invite-make")),
    ));
    Ok(section(&frame.t("invites-title"), parts))
}

#[derive(Deserialize)]
struct Role {
    #[serde(default)]
    role: String,
}

impl Role {
    fn read(&self) -> Result<OrgRole, WebError> {
        OrgRole::from_name(&self.role).ok_or_else(|| {
            WebError::invalid(vec![
                FieldError::new(
                    "role",
                    "choice",
                    "must be owner-viewer, owner-editor or owner-admin",
                )
                .value(&self.role),
            ])
        })
    }
}

async fn invite(
    visit: Visit,
    ApiPath(org): ApiPath<OrgId>,
    PageForm(given): PageForm<Role>,
) -> WebResult {
    let org = found(&visit, org, "org:manage").await?;
    let role = given.read()?;
    let house = visit.house();
    let secret = house
        .accounts
        .invite(org.id, role, &By::visit(&visit)?)
        .await?;
    let link = super::absolute(house, &format!("/invite/{secret}"));
    one_page(&visit, &org, StatusCode::CREATED, Some(&link)).await
}

/// Asks before an organisation's people lose, or get back, what they may do.
async fn active_confirm(visit: Visit, ApiPath(org): ApiPath<OrgId>) -> WebResult {
    let org = found(&visit, org, "org:deactivate").await?;
    let back = format!("/organisations/{}", org.id);
    let (title, text, value) = match org.active {
        true => ("org-deactivate", "org-deactivate-text", "off"),
        false => ("org-activate", "org-activate-text", "on"),
    };
    let frame = visit.frame(title);
    let org_name = name(&frame, &org).to_owned();
    let frame = frame
        .crumb("/organisations", visit.t("orgs-title"))
        .crumb(back.clone(), org_name.clone());
    let text = frame.t1(text, "org", org_name);
    let hidden = Markup::new(format!(
        "<input type=\"hidden\" name=\"active\" value=\"{value}\">"
    ));
    confirm(
        frame,
        &text,
        &format!("{back}/active"),
        hidden,
        title,
        &back,
    )
}

#[derive(Deserialize)]
struct Active {
    #[serde(default)]
    active: String,
}

async fn set_active(
    visit: Visit,
    ApiPath(org): ApiPath<OrgId>,
    PageForm(given): PageForm<Active>,
) -> WebResult {
    let org = found(&visit, org, "org:deactivate").await?;
    let (active, said) = match given.active.as_str() {
        "on" => (true, "org-activated"),
        "off" => (false, "org-deactivated"),
        other => {
            let error = FieldError::new("active", "choice", "must be on or off").value(other);
            return Err(WebError::invalid(vec![error]));
        }
    };
    let by = By::visit(&visit)?;
    let accounts = &visit.house().accounts;
    accounts.set_org_active(org.id, active, &by).await?;
    Ok(visit.done(&format!("/organisations/{}", org.id), said))
}

async fn withdraw(visit: Visit, ApiPath((org, invite)): ApiPath<(OrgId, Uuid)>) -> WebResult {
    let org = found(&visit, org, "org:manage").await?;
    visit
        .house()
        .accounts
        .withdraw_invite(org.id, invite, &By::visit(&visit)?)
        .await?;
    Ok(visit.done(&format!("/organisations/{}", org.id), "invite-withdrawn"))
}

/// A member's name, or 404.
async fn member(visit: &Visit, org: OrgId, user: UserId) -> Result<String, WebError> {
    let members = visit.house().accounts.members(org).await?;
    members
        .into_iter()
        .find(|member| member.user == user)
        .map(|member| member.name)
        .ok_or_else(|| WebError::not_found("member", user))
}

async fn set(
    visit: Visit,
    ApiPath((org, user)): ApiPath<(OrgId, UserId)>,
    PageForm(given): PageForm<Role>,
) -> WebResult {
    let org = found(&visit, org, "org:manage").await?;
    let role = given.read()?;
    member(&visit, org.id, user).await?;
    visit
        .house()
        .accounts
        .set_member(org.id, user, Some(role), &By::visit(&visit)?)
        .await?;
    Ok(visit.done(&format!("/organisations/{}", org.id), "saved"))
}

async fn remove_confirm(visit: Visit, ApiPath((org, user)): ApiPath<(OrgId, UserId)>) -> WebResult {
    let org = found(&visit, org, "org:manage").await?;
    let who = member(&visit, org.id, user).await?;
    let back = format!("/organisations/{}", org.id);
    let frame = visit.frame("member-remove");
    let org_name = name(&frame, &org).to_owned();
    let frame = frame
        .crumb("/organisations", visit.t("orgs-title"))
        .crumb(back.clone(), org_name.clone());
    let text = frame.t2("member-remove-text", "name", who, "org", org_name);
    confirm(
        frame,
        &text,
        &format!("{back}/members/{user}/remove"),
        Markup::default(),
        "member-remove",
        &back,
    )
}

async fn remove(visit: Visit, ApiPath((org, user)): ApiPath<(OrgId, UserId)>) -> WebResult {
    let org = found(&visit, org, "org:manage").await?;
    visit
        .house()
        .accounts
        .set_member(org.id, user, None, &By::visit(&visit)?)
        .await?;
    Ok(visit.done(&format!("/organisations/{}", org.id), "member-removed"))
}
