//! To the OpenID Connect provider and back.

use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use std::time::Duration;

use axum::response::{IntoResponse as _, Redirect};

use super::login;
use crate::api::ApiQuery;
use crate::cookies::Jar;
use crate::oidc::{CALLBACK, Pending, Provider};
use crate::problem::{WebError, WebResult};
use crate::room::Pages;
use crate::ui::{self, Markup};
use crate::visit::{Frame, Visit, local_path};

/// Time that a person has at the provider.
const LIFETIME: Duration = Duration::from_secs(600);
const COOKIE: &str = "cn_oidc";

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/login/oidc", "login:use", leave)
        .get(CALLBACK, "login:use", back)
}

/// The button on the sign-in page, where a provider is configured.
pub(super) fn button(frame: &Frame, next: &str) -> Markup {
    let Some(provider) = &frame.visit.house().oidc else {
        return Markup::default();
    };
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let text = frame.t1("login-oidc", "name", provider.name(frame.is_zh()));
    Markup::new(format!(
        "<p class=\"actions\"><a class=\"button\" href=\"/login/oidc?next={next}\">{}</a></p>",
        ui::escape(&text)
    ))
}

fn provider(visit: &Visit) -> Result<&Provider, WebError> {
    visit
        .house()
        .oidc
        .as_ref()
        .ok_or_else(|| WebError::not_found("page", &visit.path))
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

async fn leave(visit: Visit, ApiQuery(query): ApiQuery<Next>) -> WebResult {
    let provider = provider(&visit)?;
    if let Err(wait) = visit.house().limits.address.attempt(&visit.peer, visit.now) {
        return Err(WebError::too_many(wait.as_secs().saturating_add(1) as u32));
    }
    let next = local_path(&query.next);
    let (url, pending) = provider.begin(visit.now, LIFETIME, next).await?;
    let payload = serde_json::to_vec(&pending).map_err(WebError::internal)?;
    let cookies = &visit.house().cookies;
    let cookie = cookies.set(COOKIE, &cookies.sign("oidc", &payload), Some(LIFETIME));
    let mut response = Redirect::to(&url).into_response();
    let value = HeaderValue::from_str(&cookie).map_err(WebError::internal)?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(response)
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    state: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    error: Option<String>,
}

async fn back(visit: Visit, headers: HeaderMap, ApiQuery(answer): ApiQuery<Answer>) -> WebResult {
    let provider = provider(&visit)?;
    let house = visit.house();
    let jar = Jar::read(&headers);
    let pending: Option<Pending> = jar
        .get(COOKIE)
        .and_then(|value| house.cookies.verify("oidc", value))
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let again =
        || WebError::forbidden("this sign-in was not begun here, or too long ago: try again");
    let pending = pending.ok_or_else(again)?;
    // The state proves that the answer belongs to what this browser began.
    if pending.state != answer.state || visit.now.micros() >= pending.until {
        return Err(again());
    }
    if let Some(error) = answer.error {
        let error: String = error.chars().take(100).collect();
        return Err(WebError::forbidden(format!(
            "the provider did not sign you in: {error:?}"
        )));
    }
    let next = pending.next.clone();
    let vouched = provider.finish(visit.now, answer.code, pending).await?;
    let user = house
        .accounts
        .by_provider(
            &vouched.issuer,
            &vouched.subject,
            vouched.email.as_deref(),
            &visit.request_id,
        )
        .await?;
    let Some(user) = user else {
        return Err(WebError::forbidden(
            "nobody here has an account with the address that the provider has verified",
        ));
    };
    let mut response = match house.accounts.user(user).await?.second_factor {
        true => login::ask_second(&visit, user, &next)?,
        false => login::signed_in(&visit, &headers, user, "provider", &next).await?,
    };
    let gone = HeaderValue::from_str(&house.cookies.remove(COOKIE)).map_err(WebError::internal)?;
    response.headers_mut().append(header::SET_COOKIE, gone);
    Ok(response)
}
