//! Setting a password by a link from an operator.

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{Plain, form};
use crate::api::{ApiPath, PageForm};
use crate::problem::{FieldError, WebError, WebResult};
use crate::room::Pages;
use crate::ui::{self, Field, Markup};
use crate::visit::{Visit, page_with};

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/welcome/{link}", "login:use", welcome)
        .post("/welcome/{link}", "login:use", set)
}

async fn welcome(visit: Visit, ApiPath(link): ApiPath<String>) -> WebResult {
    let house = visit.house();
    house.accounts.open_welcome(&house.cookies, &link).await?;
    show(&visit, StatusCode::OK, &link, &[])
}

fn show(visit: &Visit, status: StatusCode, link: &str, errors: &[FieldError]) -> WebResult {
    let frame = visit.frame("welcome-title").plain();
    let min = visit.house().config.password.length_min;
    let form = form(
        &frame,
        &format!("/welcome/{link}"),
        vec![
            Field::password("password", frame.t("password-new"))
                .help(frame.t1("password-help", "min", min))
                .errors(errors)
                .required()
                .attribute("autocomplete", "new-password")
                .markup(),
        ],
        ui::button(frame.t("welcome-set")),
    );
    let body = Markup::new(format!("<div class=\"narrow card\">{form}</div>"));
    page_with(status, &Plain { frame, body })
}

#[derive(Deserialize)]
struct Chosen {
    #[serde(default)]
    password: String,
}

async fn set(
    visit: Visit,
    ApiPath(link): ApiPath<String>,
    headers: HeaderMap,
    PageForm(given): PageForm<Chosen>,
) -> WebResult {
    let house = visit.house();
    if let Err(wait) = house.limits.address.attempt(&visit.peer, visit.now) {
        return Err(WebError::too_many(wait.as_secs().saturating_add(1) as u32));
    }
    match house
        .accounts
        .use_welcome(&house.cookies, &link, &given.password, &visit.request_id)
        .await
    {
        // A second factor is not passed by: whoever has one signs in with it.
        Ok(user) if house.accounts.user(user).await?.second_factor => {
            Ok(visit.done("/login", "password-changed"))
        }
        Ok(user) => super::login::signed_in(&visit, &headers, user, "link", "/").await,
        Err(error) if !error.fields.is_empty() => {
            show(&visit, error.code.status(), &link, &error.fields)
        }
        Err(error) => Err(error),
    }
}
