//! Passkeys: registering and removing one's own, and signing in with one. The
//! ceremonies are JSON between `passkeys.js` and these routes.

use axum::response::{IntoResponse as _, Response};
use base::UserId;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::{account, login, plain, section};
use crate::accounts::By;
use crate::accounts::passkeys::{CEREMONY_LIFETIME, Ceremony, Passkeys};
use crate::api::{ApiJson, ApiPath};
use crate::cookies::Jar;
use crate::problem::{WebError, WebResult};
use crate::room::{Level, Pages};
use crate::ui::{self, Column, Field, Icon, Markup, Table};
use crate::visit::{Frame, Visit};

/// Names the ceremony under way in this browser.
const COOKIE: &str = "cn_ceremony";

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/account/passkeys", "self:view", list)
        .post("/account/passkeys/begin", "self:edit", register_begin)
        .post("/account/passkeys/finish", "self:edit", register_finish)
        .post("/account/passkeys/{id}/remove", "self:edit", remove)
        .post("/login/passkey/begin", "login:use", sign_in_begin)
        .post("/login/passkey/finish", "login:use", sign_in_finish)
}

fn passkeys(visit: &Visit) -> Result<&Passkeys, WebError> {
    visit.house().passkeys.as_ref().ok_or_else(|| {
        WebError::conflict("browsers allow passkeys only where the console has a host name")
    })
}

/// A button for `passkeys.js`, which shows it where the browser can.
fn button(frame: &Frame, path: &str, kind: &str, text: &str, next: &str) -> Markup {
    Markup::new(format!(
        "<p class=\"actions\"><button type=\"button\" class=\"button\" hidden data-passkey=\"{}\" data-passkey-kind=\"{kind}\" data-passkey-status=\"passkey-status\" data-passkey-name=\"f-passkey-name\" data-passkey-next=\"{}\" data-passkey-csrf=\"{}\" data-passkey-failed=\"{}\">{}</button></p><p id=\"passkey-status\" class=\"error-live\" role=\"status\"></p>",
        ui::escape(path),
        ui::escape(next),
        ui::escape(frame.csrf_token()),
        ui::escape(&frame.t("passkey-failed")),
        ui::escape(text),
    ))
}

/// The button on the sign-in page.
pub(super) fn sign_in_button(frame: &Frame, next: &str) -> Markup {
    match frame.visit.house().passkeys {
        Some(_) => button(
            frame,
            "/login/passkey",
            "get",
            &frame.t("passkey-sign-in"),
            next,
        ),
        None => Markup::default(),
    }
}

async fn list(visit: Visit) -> WebResult {
    let frame = visit.frame("passkeys-title");
    let user = visit.principal.signed_in()?;
    let mut table = Table::new(frame.t("passkeys-title"))
        .column(Column::text(frame.t("passkey-name")))
        .column(Column::text(frame.t("passkey-since")))
        .column(Column::text(frame.t("token-used")))
        .column(Column::text(frame.t("actions")))
        .empty(ui::empty(
            Icon::Key,
            frame.t("passkeys-none"),
            frame.t("passkeys-none-text"),
            None,
        ));
    for passkey in visit.house().accounts.passkeys(user).await? {
        table.push(vec![
            passkey.name.as_str().into(),
            frame.time(&passkey.created_at),
            passkey
                .used_at
                .map_or_else(|| frame.t("never").into(), |at| frame.ago(&at)),
            account::inline(
                &frame,
                &format!("/account/passkeys/{}/remove", passkey.id),
                &frame.t("passkey-remove"),
            ),
        ]);
    }
    let add = match visit.house().passkeys {
        Some(_) => section(
            &frame.t("passkey-add"),
            vec![
                Field::text("passkey-name", frame.t("passkey-name"))
                    .help(frame.t("passkey-name-help"))
                    .attribute("maxlength", "100")
                    .markup(),
                button(
                    &frame,
                    "/account/passkeys",
                    "create",
                    &frame.t("passkey-add"),
                    "",
                ),
                Markup::new(format!(
                    "<noscript><p>{}</p></noscript>",
                    ui::escape(&frame.t("passkey-script"))
                )),
            ],
        ),
        None => ui::notice(
            Level::Info,
            frame.t("passkey-nowhere"),
            frame.t("passkey-nowhere-text"),
        ),
    };
    let parts = [
        account::tabs(&frame, "/account/passkeys"),
        table.markup(),
        add,
    ];
    plain(frame, parts)
}

/// The challenge as JSON, and the cookie that names its ceremony.
fn challenge(visit: &Visit, options: Value, ceremony: Ceremony) -> WebResult {
    let name = passkeys(visit)?.keep(visit.now, ceremony)?;
    let cookie = visit
        .house()
        .cookies
        .set(COOKIE, &name, Some(CEREMONY_LIFETIME));
    let mut response = axum::Json(options).into_response();
    let value = HeaderValue::from_str(&cookie).map_err(WebError::internal)?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(response)
}

fn under_way(visit: &Visit, headers: &HeaderMap) -> Result<Ceremony, WebError> {
    let jar = Jar::read(headers);
    let found = match jar.get(COOKIE) {
        Some(name) => passkeys(visit)?.take(visit.now, name),
        None => None,
    };
    found.ok_or_else(|| WebError::conflict("no passkey ceremony is under way: begin again"))
}

fn refused(error: &webauthn_rs::prelude::WebauthnError) -> WebError {
    WebError::forbidden("this passkey was not accepted").with_inside(format!("{error:?}"))
}

async fn register_begin(visit: Visit) -> WebResult {
    let user = visit.principal.signed_in()?;
    let accounts = &visit.house().accounts;
    let person = accounts.user(user).await?;
    let known = accounts.passkey_ids(user).await?;

    let (options, state) = passkeys(&visit)?
        .party
        .start_passkey_registration(user.0, &person.email, &person.name, Some(known))
        .map_err(|error| WebError::internal(format!("{error:?}")))?;
    let mut options = serde_json::to_value(&options).map_err(WebError::internal)?;
    // Signing in asks for no name, so the authenticator must keep the credential.
    let selection = &mut options["publicKey"]["authenticatorSelection"];
    selection["residentKey"] = json!("required");
    selection["requireResidentKey"] = json!(true);
    challenge(&visit, options, Ceremony::Register(user, state))
}

#[derive(Deserialize)]
struct Registered {
    #[serde(default)]
    name: String,
    credential: RegisterPublicKeyCredential,
}

async fn register_finish(
    visit: Visit,
    headers: HeaderMap,
    ApiJson(given): ApiJson<Registered>,
) -> WebResult {
    let user = visit.principal.signed_in()?;
    let Ceremony::Register(person, state) = under_way(&visit, &headers)? else {
        return Err(WebError::conflict("this ceremony signs in: begin again"));
    };
    if person != user {
        return Err(WebError::forbidden("this ceremony is somebody else's"));
    }
    let passkey = passkeys(&visit)?
        .party
        .finish_passkey_registration(&given.credential, &state)
        .map_err(|error| refused(&error))?;
    let name = match given.name.trim() {
        "" => visit.t("passkey-unnamed"),
        name => name.to_owned(),
    };
    visit
        .house()
        .accounts
        .add_passkey(user, &name, &passkey, &By::visit(&visit)?)
        .await?;
    Ok(axum::Json(json!({ "to": "/account/passkeys" })).into_response())
}

async fn remove(visit: Visit, ApiPath(id): ApiPath<Uuid>) -> WebResult {
    let user = visit.principal.signed_in()?;
    let by = By::visit(&visit)?;
    visit.house().accounts.remove_passkey(user, id, &by).await?;
    Ok(visit.done("/account/passkeys", "passkey-removed"))
}

async fn sign_in_begin(visit: Visit) -> WebResult {
    if let Err(wait) = visit.house().limits.address.attempt(&visit.peer, visit.now) {
        return Err(WebError::too_many(wait.as_secs().saturating_add(1) as u32));
    }
    let (options, state) = passkeys(&visit)?
        .party
        .start_discoverable_authentication()
        .map_err(|error| WebError::internal(format!("{error:?}")))?;
    let options = serde_json::to_value(&options).map_err(WebError::internal)?;
    challenge(&visit, options, Ceremony::SignIn(state))
}

#[derive(Deserialize)]
struct Asserted {
    #[serde(default)]
    next: String,
    credential: PublicKeyCredential,
}

async fn sign_in_finish(
    visit: Visit,
    headers: HeaderMap,
    ApiJson(given): ApiJson<Asserted>,
) -> WebResult {
    let Ceremony::SignIn(state) = under_way(&visit, &headers)? else {
        return Err(WebError::conflict("this ceremony registers: begin again"));
    };
    let party = &passkeys(&visit)?.party;
    let (user, credential) = party
        .identify_discoverable_authentication(&given.credential)
        .map_err(|error| refused(&error))?;
    let (user, accounts) = (UserId(user), &visit.house().accounts);
    let (id, mut passkey) = accounts
        .passkey(user, credential)
        .await?
        .ok_or_else(|| WebError::forbidden("this passkey was not accepted"))?;
    // The authenticator has verified its user: that is two factors.
    let result = party
        .finish_discoverable_authentication_v2(&given.credential, state, &passkey)
        .map_err(|error| refused(&error))?;
    passkey.update_credential(&result);
    accounts.passkey_used(id, &passkey).await?;
    let begun = login::signed_in(&visit, &headers, user, "passkey", &given.next).await?;
    let to = begun
        .headers()
        .get(header::LOCATION)
        .and_then(|to| to.to_str().ok())
        .unwrap_or("/");
    let mut response: Response = axum::Json(json!({ "to": to })).into_response();
    for cookie in begun.headers().get_all(header::SET_COOKIE) {
        response
            .headers_mut()
            .append(header::SET_COOKIE, cookie.clone());
    }
    Ok(response)
}
