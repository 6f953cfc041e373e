//! Signing in and out: password, then the second factor where one is set up.

use axum::response::Response;
use base::{Timestamp, UserId};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::time::Duration;

use super::{Plain, form};
use crate::accounts::By;
use crate::api::{ApiQuery, PageForm};
use crate::policy::OrgRole;
use crate::problem::{WebError, WebResult};
use crate::room::{Level, Pages};
use crate::ui::{self, Field, Markup};
use crate::visit::{Visit, local_path, page_with};

/// Time between the password and the second factor.
const PENDING_LIFETIME: Duration = Duration::from_secs(300);
const PENDING: &str = "cn_pending";

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/login", "login:use", login)
        .post("/login", "login:use", password)
        .get("/login/second", "login:use", second)
        .post("/login/second", "login:use", second_code)
        .post("/logout", "self:view", logout)
        .get("/invite/{secret}", "login:use", invite)
        .post("/invite/{secret}", "login:use", accept)
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

async fn login(visit: Visit, ApiQuery(query): ApiQuery<Next>) -> WebResult {
    if visit.principal.user().is_some() {
        return Ok(visit.to(local_path(&query.next)));
    }
    login_page(&visit, StatusCode::OK, &query.next, "", None)
}

fn login_page(
    visit: &Visit,
    status: StatusCode,
    next: &str,
    email: &str,
    wrong: Option<String>,
) -> WebResult {
    let frame = visit.frame("login-title").plain();
    let refused = match wrong {
        Some(text) => ui::notice(Level::Bad, text, frame.t("login-wrong-help")),
        None => Markup::default(),
    };
    let fields = vec![
        Markup::new(format!(
            "<input type=\"hidden\" name=\"next\" value=\"{}\">",
            ui::escape(next)
        )),
        Field::input("email", "email", frame.t("login-email"))
            .value(email)
            .required()
            .attribute("autocomplete", "username webauthn")
            .markup(),
        Field::password("password", frame.t("login-password"))
            .required()
            .attribute("autocomplete", "current-password")
            .markup(),
    ];
    let sign_in = form(
        &frame,
        "/login",
        fields,
        ui::button(frame.t("login-button")),
    );
    let passkey = super::passkeys::sign_in_button(&frame, next);
    let provider = super::oidc::button(&frame, next);
    let body = Markup::new(format!(
        "<div class=\"narrow card\">{refused}{sign_in}{passkey}{provider}</div>"
    ));
    page_with(status, &Plain { frame, body })
}

#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

async fn password(
    visit: Visit,
    headers: HeaderMap,
    PageForm(given): PageForm<Credentials>,
) -> WebResult {
    let house = visit.house();
    let email = given.email.trim().to_lowercase();
    let key: String = email.chars().take(254).collect();
    let waited = house
        .limits
        .address
        .attempt(&visit.peer, visit.now)
        .and_then(|()| house.limits.account.attempt(&key, visit.now));
    if let Err(wait) = waited {
        return Err(WebError::too_many(wait.as_secs().saturating_add(1) as u32));
    }
    let (user, second) = match house.accounts.check_login(&email, &given.password).await? {
        Some(found) => found,
        None => {
            tracing::warn!(peer = %visit.peer, "sign-in refused");
            let text = visit.t("login-wrong");
            return login_page(
                &visit,
                StatusCode::UNPROCESSABLE_ENTITY,
                &given.next,
                &given.email,
                Some(text),
            );
        }
    };
    house.limits.account.clear(&key);
    if second {
        return ask_second(&visit, user, &given.next);
    }
    signed_in(&visit, &headers, user, "password", &given.next).await
}

/// Goes on to the second factor of somebody who has given the first.
pub(super) fn ask_second(visit: &Visit, user: UserId, next: &str) -> WebResult {
    let cookies = &visit.house().cookies;
    let payload = format!(
        "{user} {} {}",
        visit.now.plus(PENDING_LIFETIME).micros(),
        local_path(next)
    );
    let value = cookies.sign("pending", payload.as_bytes());
    let mut response = visit.to("/login/second");
    append(
        &mut response,
        &cookies.set(PENDING, &value, Some(PENDING_LIFETIME)),
    )?;
    Ok(response)
}

/// Begins a session and goes on to `next`. A session that the browser had before is
/// not continued.
pub(super) async fn signed_in(
    visit: &Visit,
    headers: &HeaderMap,
    user: UserId,
    how: &str,
    next: &str,
) -> WebResult {
    let house = visit.house();
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let by = By::user(user, &visit.request_id);
    let value = house
        .accounts
        .begin_session(user, agent, visit.peer, how, &by)
        .await?;
    let mut response = visit.to(local_path(next));
    append(
        &mut response,
        &house
            .cookies
            .set(house.cookies.session_name(), &value, None),
    )?;
    append(&mut response, &house.cookies.remove(PENDING))?;
    append(
        &mut response,
        &house.cookies.remove(house.cookies.visitor_name()),
    )?;
    Ok(response)
}

fn append(response: &mut Response, cookie: &str) -> Result<(), WebError> {
    let value = HeaderValue::from_str(cookie).map_err(WebError::internal)?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}

/// Who has given the right password a moment ago: person and where they go on to.
fn pending(visit: &Visit, headers: &HeaderMap) -> Option<(UserId, String)> {
    let jar = crate::cookies::Jar::read(headers);
    let bytes = visit.house().cookies.verify("pending", jar.get(PENDING)?)?;
    let text = String::from_utf8(bytes).ok()?;
    let mut parts = text.splitn(3, ' ');
    let user = parts.next()?.parse().ok()?;
    let until = Timestamp(parts.next()?.parse().ok()?);
    let next = parts.next()?.to_owned();
    (visit.now < until).then_some((user, next))
}

async fn second(visit: Visit, headers: HeaderMap) -> WebResult {
    if pending(&visit, &headers).is_none() {
        return Ok(visit.to("/login"));
    }
    second_page(&visit, StatusCode::OK, None)
}

fn second_page(visit: &Visit, status: StatusCode, wrong: Option<String>) -> WebResult {
    let frame = visit.frame("second-title").plain();
    let code = Field::text("code", frame.t("second-code"))
        .help(frame.t("second-help"))
        .error(wrong)
        .required()
        .attribute("autocomplete", "one-time-code")
        .attribute("maxlength", "32");
    let form = form(
        &frame,
        "/login/second",
        vec![code.markup()],
        ui::button(frame.t("login-button")),
    );
    let body = Markup::new(format!("<div class=\"narrow card\">{form}</div>"));
    page_with(status, &Plain { frame, body })
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    code: String,
}

async fn second_code(
    visit: Visit,
    headers: HeaderMap,
    PageForm(given): PageForm<Code>,
) -> WebResult {
    let Some((user, next)) = pending(&visit, &headers) else {
        return Ok(visit.to("/login"));
    };
    let house = visit.house();
    if let Err(wait) = house.limits.second.attempt(&user, visit.now) {
        return Err(WebError::too_many(wait.as_secs().saturating_add(1) as u32));
    }
    if !house.accounts.check_second(user, &given.code).await? {
        let text = visit.t("second-wrong");
        return second_page(&visit, StatusCode::UNPROCESSABLE_ENTITY, Some(text));
    }
    house.limits.second.clear(&user);
    signed_in(&visit, &headers, user, "password and code", &next).await
}

async fn logout(visit: Visit) -> WebResult {
    let house = visit.house();
    if let crate::Via::Session { id, .. } = &visit.principal.via {
        let by = By::visit(&visit)?;
        house
            .accounts
            .end_session(visit.principal.signed_in()?, *id, &by)
            .await?;
    }
    let mut response = visit.done("/", "logout-done");
    append(
        &mut response,
        &house.cookies.remove(house.cookies.session_name()),
    )?;
    Ok(response)
}

async fn invite(
    visit: Visit,
    axum::extract::Path(secret): axum::extract::Path<String>,
) -> WebResult {
    let (org, role) = visit.house().accounts.open_invite(&secret).await?;
    invite_page(
        &visit,
        StatusCode::OK,
        &secret,
        &org,
        role,
        &Joining::default(),
        &[],
    )
}

#[derive(Deserialize, Default)]
struct Joining {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
}

fn invite_page(
    visit: &Visit,
    status: StatusCode,
    secret: &str,
    org: &crate::accounts::Org,
    role: OrgRole,
    given: &Joining,
    errors: &[crate::FieldError],
) -> WebResult {
    let frame = visit.frame("invite-title").plain();
    let name = if frame.is_zh() {
        &org.name_zh
    } else {
        &org.name_en
    };
    let intro = Markup::new(format!(
        "<p>{}</p>",
        ui::escape(&frame.t2("invite-text", "org", name, "role", frame.t(role_key(role))))
    ));
    let mut parts = vec![intro];
    if visit.principal.user().is_none() {
        parts.push(
            Field::text("name", frame.t("field-name"))
                .value(&given.name)
                .errors(errors)
                .required()
                .attribute("autocomplete", "name")
                .markup(),
        );
        parts.push(
            Field::input("email", "email", frame.t("login-email"))
                .value(&given.email)
                .errors(errors)
                .required()
                .attribute("autocomplete", "username")
                .markup(),
        );
        let min = visit.house().config.password.length_min;
        parts.push(
            Field::password("password", frame.t("login-password"))
                .help(frame.t1("password-help", "min", min))
                .errors(errors)
                .required()
                .attribute("autocomplete", "new-password")
                .markup(),
        );
        let next: String = url::form_urlencoded::byte_serialize(visit.path.as_bytes()).collect();
        parts.push(Markup::new(format!(
            "<p>{}</p>",
            Markup::link(
                format!("/login?next={next}"),
                frame.t("invite-have-account")
            )
        )));
    }
    let form = form(
        &frame,
        &format!("/invite/{secret}"),
        parts,
        ui::button(frame.t("invite-accept")),
    );
    let body = Markup::new(format!("<div class=\"narrow card\">{form}</div>"));
    page_with(status, &Plain { frame, body })
}

pub(super) fn role_key(role: OrgRole) -> &'static str {
    match role {
        OrgRole::Viewer => "role-owner-viewer",
        OrgRole::Editor => "role-owner-editor",
        OrgRole::Admin => "role-owner-admin",
    }
}

async fn accept(
    visit: Visit,
    axum::extract::Path(secret): axum::extract::Path<String>,
    headers: HeaderMap,
    PageForm(given): PageForm<Joining>,
) -> WebResult {
    let accounts = &visit.house().accounts;
    let (org, role) = accounts.open_invite(&secret).await?;
    if let Some(user) = visit.principal.user() {
        accounts
            .accept_invite(&secret, user, &By::visit(&visit)?)
            .await?;
        return Ok(visit.done("/", "invite-done"));
    }
    let new = crate::NewUser {
        email: given.email.clone(),
        name: given.name.clone(),
        password: Some(given.password.clone()),
        roles: Vec::new(),
        lang: Some(visit.lang),
    };
    let by = By {
        request_id: Some(visit.request_id.clone()),
        ..By::system("invitation")
    };
    match accounts.create_user(new, &by).await {
        Ok(user) => {
            accounts
                .accept_invite(&secret, user, &By::user(user, &visit.request_id))
                .await?;
            signed_in(&visit, &headers, user, "invitation", "/").await
        }
        Err(error) if matches!(error.code, crate::Code::Invalid | crate::Code::Conflict) => {
            let mut fields = error.fields.clone();
            if fields.is_empty() {
                fields.push(crate::FieldError::new(
                    "email",
                    "taken",
                    visit.t("invite-taken"),
                ));
            }
            invite_page(
                &visit,
                StatusCode::UNPROCESSABLE_ENTITY,
                &secret,
                &org,
                role,
                &given,
                &fields,
            )
        }
        Err(error) => Err(error),
    }
}
