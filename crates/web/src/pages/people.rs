//! People with a login, for operators: list, make, roles, deactivate, and the link
//! by which somebody sets a password.

use base::UserId;
use http::StatusCode;
use serde::Deserialize;

use super::{Plain, confirm, form, plain, refusal, section};
use crate::accounts::{By, User};
use crate::api::{ApiPath, ApiQuery, PageForm, Paging};
use crate::policy::HouseRole;
use crate::problem::{Code, FieldError, WebError, WebResult};
use crate::room::{Level, Pages};
use crate::ui::{self, Column, Field, Icon, Markup, Table};
use crate::visit::{Frame, Visit, page_with};

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/people", "user:view", list)
        .post("/people", "user:manage", create)
        .get("/people/{user}", "user:view", one)
        .post("/people/{user}/roles", "user:manage", roles)
        .get("/people/{user}/active", "user:manage", active_confirm)
        .post("/people/{user}/active", "user:manage", active)
        .post("/people/{user}/link", "user:manage", link)
}

#[derive(Deserialize, Default)]
struct NewPerson {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    roles: Vec<String>,
}

async fn list(visit: Visit, ApiQuery(paging): ApiQuery<Paging>) -> WebResult {
    list_page(
        &visit,
        StatusCode::OK,
        &paging,
        &NewPerson::default(),
        &[],
        None,
    )
    .await
}

fn role_choices(frame: &Frame) -> Vec<(String, String)> {
    HouseRole::ALL
        .into_iter()
        .map(|role| (role.name().to_owned(), frame.t(house_role_key(role))))
        .collect()
}

const fn house_role_key(role: HouseRole) -> &'static str {
    match role {
        HouseRole::Operator => "role-operator",
        HouseRole::Officer => "role-officer",
        HouseRole::Auditor => "role-auditor",
    }
}

fn role_badges(frame: &Frame, user: &User) -> Markup {
    user.roles
        .iter()
        .filter_map(|name| HouseRole::from_name(name))
        .map(|role| ui::badge(Level::Info, frame.t(house_role_key(role))))
        .collect()
}

fn state_badge(frame: &Frame, user: &User) -> Markup {
    match user.active {
        true => ui::badge(Level::Good, frame.t("person-active")),
        false => ui::badge(Level::Neutral, frame.t("person-inactive")),
    }
}

async fn list_page(
    visit: &Visit,
    status: StatusCode,
    paging: &Paging,
    given: &NewPerson,
    errors: &[FieldError],
    fresh: Option<&str>,
) -> WebResult {
    let frame = visit.frame("people-title");
    let page = visit.house().accounts.users(paging).await?;
    let mut table = Table::new(frame.t("people-title"))
        .column(Column::text(frame.t("field-name")))
        .column(Column::text(frame.t("login-email")))
        .column(Column::text(frame.t("person-roles")))
        .column(Column::text(frame.t("second-title")))
        .column(Column::text(frame.t("person-state")))
        .column(Column::text(frame.t("person-since")))
        .empty(ui::empty(
            Icon::Users,
            frame.t("people-none"),
            frame.t("people-none-text"),
            None,
        ));
    for user in &page.items {
        let second = match user.second_factor {
            true => frame.t("yes"),
            false => frame.t("no"),
        };
        table.push(vec![
            Markup::link(format!("/people/{}", user.id), &user.name),
            user.email.as_str().into(),
            role_badges(&frame, user),
            second.into(),
            state_badge(&frame, user),
            frame.time(&user.created_at),
        ]);
    }
    let mut parts = Vec::new();
    if let Some(link) = fresh {
        parts.push(link_notice(&frame, link));
    }
    parts.push(refusal(&frame, errors));
    parts.push(table.markup());
    parts.push(ui::pager(&frame, "", page.next.as_deref()));
    if frame.could("user:manage") {
        parts.push(section(
            &frame.t("person-new"),
            vec![form(
                &frame,
                "/people",
                vec![
                    Field::text("name", frame.t("field-name"))
                        .value(&given.name)
                        .errors(errors)
                        .required()
                        .attribute("maxlength", "100")
                        .markup(),
                    Field::input("email", "email", frame.t("login-email"))
                        .value(&given.email)
                        .errors(errors)
                        .required()
                        .attribute("maxlength", "254")
                        .markup(),
                    Field::checks(
                        "roles",
                        frame.t("person-roles"),
                        role_choices(&frame),
                        given.roles.clone(),
                    )
                    .help(frame.t("person-roles-help"))
                    .errors(errors)
                    .markup(),
                ],
                ui::button(frame.t("person-create")),
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

fn link_notice(frame: &Frame, link: &str) -> Markup {
    ui::notice(
        Level::Warn,
        frame.t("person-link-once"),
        ui::copyable(frame.t("person-link"), link),
    )
}

fn read_roles(names: &[String]) -> Result<Vec<HouseRole>, WebError> {
    names
        .iter()
        .map(|name| {
            HouseRole::from_name(name).ok_or_else(|| {
                WebError::invalid(vec![
                    FieldError::new("roles", "choice", "must be operator, officer or auditor")
                        .value(name),
                ])
            })
        })
        .collect()
}

/// The whole address of a link for setting a password.
async fn welcome_link(visit: &Visit, user: UserId) -> Result<String, WebError> {
    let house = visit.house();
    let secret = house
        .accounts
        .welcome(&house.cookies, user, &By::visit(visit)?)
        .await?;
    Ok(super::absolute(house, &format!("/welcome/{secret}")))
}

async fn create(visit: Visit, PageForm(given): PageForm<NewPerson>) -> WebResult {
    let paging = Paging::default();
    let made = match read_roles(&given.roles) {
        Ok(roles) => {
            let new = crate::NewUser {
                email: given.email.clone(),
                name: given.name.clone(),
                password: None,
                roles,
                lang: None,
            };
            let by = By::visit(&visit)?;
            visit.house().accounts.create_user(new, &by).await
        }
        Err(error) => Err(error),
    };
    match made {
        Ok(user) => {
            let link = welcome_link(&visit, user).await?;
            let empty = NewPerson::default();
            list_page(
                &visit,
                StatusCode::CREATED,
                &paging,
                &empty,
                &[],
                Some(&link),
            )
            .await
        }
        Err(error) if error.code == Code::Invalid => {
            let status = error.code.status();
            list_page(&visit, status, &paging, &given, &error.fields, None).await
        }
        Err(error) if error.code == Code::Conflict => {
            let taken = [FieldError::new(
                "email",
                "taken",
                visit.t("person-email-taken"),
            )];
            list_page(&visit, error.code.status(), &paging, &given, &taken, None).await
        }
        Err(error) => Err(error),
    }
}

async fn one(visit: Visit, ApiPath(user): ApiPath<UserId>) -> WebResult {
    one_page(&visit, user, None).await
}

async fn one_page(visit: &Visit, id: UserId, fresh: Option<&str>) -> WebResult {
    let accounts = &visit.house().accounts;
    let user = accounts.user(id).await?;
    let orgs = accounts.orgs_of(id).await?;
    let frame = visit
        .frame_titled(user.name.clone())
        .crumb("/people", visit.t("people-title"));
    let mut parts = Vec::new();
    if let Some(link) = fresh {
        parts.push(link_notice(&frame, link));
    }
    let second = match user.second_factor {
        true => frame.t("yes"),
        false => frame.t("no"),
    };
    parts.push(section(
        &frame.t("account-about"),
        vec![ui::definition_list(vec![
            (frame.t("login-email"), user.email.as_str().into()),
            (frame.t("person-state"), state_badge(&frame, &user)),
            (frame.t("second-title"), second.into()),
            (frame.t("person-since"), frame.time(&user.created_at)),
            (frame.t("person-id"), Markup::code(user.id.to_string())),
        ])],
    ));
    let mut table = Table::new(frame.t("orgs-title"))
        .column(Column::text(frame.t("org-name")))
        .column(Column::text(frame.t("member-role")))
        .empty(ui::empty(
            Icon::Building,
            frame.t("person-no-orgs"),
            frame.t("person-no-orgs-text"),
            None,
        ));
    for (org, role) in orgs {
        let name = if frame.is_zh() {
            &org.name_zh
        } else {
            &org.name_en
        };
        table.push(vec![
            Markup::link(format!("/organisations/{}", org.id), name),
            frame.t(super::login::role_key(role)).into(),
        ]);
    }
    parts.push(section(&frame.t("orgs-title"), vec![table.markup()]));
    if frame.could("user:manage") {
        parts.push(section(
            &frame.t("person-roles"),
            vec![form(
                &frame,
                &format!("/people/{id}/roles"),
                vec![
                    Field::checks(
                        "roles",
                        frame.t("person-roles"),
                        role_choices(&frame),
                        user.roles.clone(),
                    )
                    .help(frame.t("person-roles-help"))
                    .markup(),
                ],
                ui::button(frame.t("save")),
            )],
        ));
        let mut buttons = Vec::new();
        if user.active {
            buttons.push(super::account::inline(
                &frame,
                &format!("/people/{id}/link"),
                &frame.t("person-link-new"),
            ));
        }
        let label = match user.active {
            true => "person-deactivate",
            false => "person-activate",
        };
        buttons.push(ui::button_link(
            format!("/people/{id}/active"),
            frame.t(label),
        ));
        parts.push(section(&frame.t("person-access"), buttons));
    }
    plain(frame, parts)
}

#[derive(Deserialize)]
struct Roles {
    #[serde(default)]
    roles: Vec<String>,
}

async fn roles(
    visit: Visit,
    ApiPath(id): ApiPath<UserId>,
    PageForm(given): PageForm<Roles>,
) -> WebResult {
    let accounts = &visit.house().accounts;
    let user = accounts.user(id).await?;
    let roles = read_roles(&given.roles)?;
    accounts
        .set_user(id, &roles, user.active, &By::visit(&visit)?)
        .await?;
    Ok(visit.done(&format!("/people/{id}"), "saved"))
}

async fn active_confirm(visit: Visit, ApiPath(id): ApiPath<UserId>) -> WebResult {
    let user = visit.house().accounts.user(id).await?;
    let (title, text) = match user.active {
        true => ("person-deactivate", "person-deactivate-text"),
        false => ("person-activate", "person-activate-text"),
    };
    let frame = visit
        .frame(title)
        .crumb("/people", visit.t("people-title"))
        .crumb(format!("/people/{id}"), user.name.clone());
    let text = frame.t1(text, "name", &user.name);
    let hidden = Markup::new(format!(
        "<input type=\"hidden\" name=\"active\" value=\"{}\">",
        if user.active { "off" } else { "on" }
    ));
    confirm(
        frame,
        &text,
        &format!("/people/{id}/active"),
        hidden,
        title,
        &format!("/people/{id}"),
    )
}

#[derive(Deserialize)]
struct Active {
    active: bool,
}

async fn active(
    visit: Visit,
    ApiPath(id): ApiPath<UserId>,
    PageForm(given): PageForm<Active>,
) -> WebResult {
    let accounts = &visit.house().accounts;
    let user = accounts.user(id).await?;
    let roles: Vec<HouseRole> = user
        .roles
        .iter()
        .filter_map(|name| HouseRole::from_name(name))
        .collect();
    accounts
        .set_user(id, &roles, given.active, &By::visit(&visit)?)
        .await?;
    Ok(visit.done(&format!("/people/{id}"), "saved"))
}

async fn link(visit: Visit, ApiPath(id): ApiPath<UserId>) -> WebResult {
    let link = welcome_link(&visit, id).await?;
    one_page(&visit, id, Some(&link)).await
}
