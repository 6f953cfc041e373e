//! One's own account: name, password, second factor, sessions, API tokens.

use axum::extract::Path;
use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::{Plain, form, plain, refusal, section};
use crate::accounts::By;
use crate::accounts::tokens::NewToken;
use crate::api::PageForm;
use crate::lang::Lang;
use crate::principal::Via;
use crate::problem::{FieldError, WebError, WebResult};
use crate::room::{Level, Pages};
use crate::ui::{self, Column, Field, Icon, Markup, Table};
use crate::visit::{Frame, Visit, page_with};

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/account", "self:view", account)
        .post("/account/profile", "self:edit", profile)
        .post("/account/password", "self:edit", password)
        .get("/account/second", "self:edit", second)
        .post("/account/second", "self:edit", second_set)
        .post("/account/second/remove", "self:edit", second_remove)
        .post("/account/sessions/{id}/end", "self:edit", session_end)
        .get("/account/tokens", "self:view", tokens)
        .post("/account/tokens", "self:edit", token_create)
        .post("/account/tokens/{id}/revoke", "self:edit", token_revoke)
}

pub(super) fn tabs(frame: &Frame, here: &str) -> Markup {
    let entry = |path: &str, key: &str| (path.to_owned(), frame.t(key), path == here);
    ui::tabs(&[
        entry("/account", "account-title"),
        entry("/account/second", "second-title"),
        entry("/account/passkeys", "passkeys-title"),
        entry("/account/tokens", "tokens-title"),
    ])
}

async fn account(visit: Visit) -> WebResult {
    account_page(&visit, StatusCode::OK, &[]).await
}

async fn account_page(visit: &Visit, status: StatusCode, errors: &[FieldError]) -> WebResult {
    let frame = visit.frame("account-title");
    let accounts = &visit.house().accounts;
    let id = visit.principal.signed_in()?;
    let user = accounts.user(id).await?;
    let langs = vec![
        (String::new(), frame.t("lang-browser")),
        ("zh-TW".to_owned(), "正體中文".to_owned()),
        ("en".to_owned(), "English".to_owned()),
    ];
    let about = section(
        &frame.t("account-about"),
        vec![
            ui::definition_list(vec![(frame.t("login-email"), Markup::code(&user.email))]),
            form(
                &frame,
                "/account/profile",
                vec![
                    Field::text("name", frame.t("field-name"))
                        .value(&user.name)
                        .errors(errors)
                        .required()
                        .attribute("autocomplete", "name")
                        .markup(),
                    Field::select("lang", frame.t("field-lang"), langs)
                        .value(user.lang.clone().unwrap_or_default())
                        .markup(),
                ],
                ui::button(frame.t("save")),
            ),
        ],
    );
    let min = visit.house().config.password.length_min;
    let password = section(
        &frame.t("account-password"),
        vec![form(
            &frame,
            "/account/password",
            vec![
                Field::password("old", frame.t("password-old"))
                    .errors(errors)
                    .attribute("autocomplete", "current-password")
                    .markup(),
                Field::password("new", frame.t("password-new"))
                    .help(frame.t1("password-help", "min", min))
                    .errors(errors)
                    .required()
                    .attribute("autocomplete", "new-password")
                    .markup(),
            ],
            ui::button(frame.t("password-change")),
        )],
    );
    let mut table = Table::new(frame.t("sessions-title"))
        .column(Column::text(frame.t("session-browser")))
        .column(Column::text(frame.t("session-address")))
        .column(Column::text(frame.t("session-since")))
        .column(Column::text(frame.t("session-seen")))
        .column(Column::text(frame.t("actions")));
    let own = match &visit.principal.via {
        Via::Session { id, .. } => Some(*id),
        _ => None,
    };
    for session in accounts.sessions(id).await? {
        let end = if Some(session.id) == own {
            ui::badge(Level::Good, frame.t("session-this"))
        } else {
            inline(
                &frame,
                &format!("/account/sessions/{}/end", session.id),
                &frame.t("session-end"),
            )
        };
        table.push(vec![
            session.agent.as_str().into(),
            Markup::code(&session.address),
            frame.time(&session.created_at),
            frame.ago(&session.seen_at),
            end,
        ]);
    }
    let sessions = section(&frame.t("sessions-title"), vec![table.markup()]);
    let refused = refusal(&frame, errors);
    let parts = vec![tabs(&frame, "/account"), refused, about, password, sessions];
    page_with(
        status,
        &Plain {
            frame,
            body: parts.into_iter().collect(),
        },
    )
}

/// A small form that is only a button.
pub(super) fn inline(frame: &Frame, action: &str, text: &str) -> Markup {
    Markup::new(format!(
        "<form class=\"inline\" method=\"post\" action=\"{}\">{}<button type=\"submit\" class=\"button button-quiet\">{}</button></form>",
        ui::escape(action),
        frame.csrf(),
        ui::escape(text)
    ))
}

#[derive(Deserialize)]
struct Profile {
    #[serde(default)]
    name: String,
    #[serde(default)]
    lang: Option<String>,
}

async fn profile(visit: Visit, PageForm(given): PageForm<Profile>) -> WebResult {
    let lang = given.lang.as_deref().and_then(Lang::from_tag);
    let by = By::visit(&visit)?;
    match visit
        .house()
        .accounts
        .set_self(visit.principal.signed_in()?, &given.name, lang, &by)
        .await
    {
        Ok(()) => Ok(visit.done("/account", "saved")),
        Err(error) if !error.fields.is_empty() => {
            account_page(&visit, error.code.status(), &error.fields).await
        }
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct Passwords {
    #[serde(default)]
    old: String,
    #[serde(default)]
    new: String,
}

async fn password(visit: Visit, PageForm(given): PageForm<Passwords>) -> WebResult {
    let user = visit.principal.signed_in()?;
    if let Err(wait) = visit.house().limits.second.attempt(&user, visit.now) {
        return Err(WebError::too_many(wait.as_secs().saturating_add(1) as u32));
    }
    let keep = match &visit.principal.via {
        Via::Session { id, .. } => Some(*id),
        _ => None,
    };
    let by = By::visit(&visit)?;
    match visit
        .house()
        .accounts
        .change_password(user, &given.old, &given.new, keep, &by)
        .await
    {
        Ok(()) => Ok(visit.done("/account", "password-changed")),
        Err(error) if !error.fields.is_empty() => {
            account_page(&visit, error.code.status(), &error.fields).await
        }
        Err(error) => Err(error),
    }
}

async fn second(visit: Visit) -> WebResult {
    second_page(&visit, StatusCode::OK, None, None).await
}

async fn second_page(
    visit: &Visit,
    status: StatusCode,
    secret: Option<&str>,
    wrong: Option<String>,
) -> WebResult {
    let frame = visit.frame("second-title");
    let accounts = &visit.house().accounts;
    let user = accounts.user(visit.principal.signed_in()?).await?;
    let mut parts = vec![tabs(&frame, "/account/second")];
    if user.second_factor {
        parts.push(ui::notice(
            Level::Good,
            frame.t("second-on"),
            frame.t("second-on-text"),
        ));
        parts.push(form(
            &frame,
            "/account/second/remove",
            vec![
                Field::text("code", frame.t("second-code"))
                    .error(wrong)
                    .required()
                    .attribute("autocomplete", "one-time-code")
                    .markup(),
            ],
            ui::danger_button(frame.t("second-remove")),
        ));
    } else {
        let enrolment = match secret {
            Some(secret) => accounts.show_totp(secret, &user.email)?,
            None => accounts.begin_totp(&user.email)?,
        };
        parts.push(Markup::new(format!(
            "<p>{}</p><div class=\"qr\" role=\"img\" aria-label=\"{}\">{}</div><p>{} {}</p>",
            ui::escape(&frame.t("second-scan")),
            ui::escape(&frame.t("second-qr")),
            enrolment.qr_svg,
            ui::escape(&frame.t("second-type")),
            ui::copyable(frame.t("second-secret"), &enrolment.secret)
        )));
        parts.push(form(
            &frame,
            "/account/second",
            vec![
                Markup::new(format!(
                    "<input type=\"hidden\" name=\"secret\" value=\"{}\">",
                    ui::escape(&enrolment.secret)
                )),
                Field::text("code", frame.t("second-code"))
                    .error(wrong)
                    .required()
                    .attribute("autocomplete", "one-time-code")
                    .attribute("inputmode", "numeric")
                    .markup(),
            ],
            ui::button(frame.t("second-set")),
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

#[derive(Deserialize)]
struct SecondCode {
    #[serde(default)]
    secret: String,
    #[serde(default)]
    code: String,
}

async fn second_set(visit: Visit, PageForm(given): PageForm<SecondCode>) -> WebResult {
    let accounts = &visit.house().accounts;
    let user = visit.principal.signed_in()?;
    if accounts.user(user).await?.second_factor {
        return Err(WebError::conflict(
            "a second factor is set up already: remove it first",
        ));
    }
    let by = By::visit(&visit)?;
    match accounts
        .finish_totp(user, &given.secret, given.code.trim(), &by)
        .await
    {
        Ok(codes) => {
            let frame = visit.frame("second-recovery");
            let list: Markup = codes
                .iter()
                .map(|code| Markup::new(format!("<li><code>{}</code></li>", ui::escape(code))))
                .collect();
            let notice = ui::notice(
                Level::Warn,
                frame.t("second-recovery"),
                frame.t("second-recovery-text"),
            );
            let done = ui::button_link("/account", frame.t("second-recovery-done"));
            plain(
                frame,
                [
                    notice,
                    Markup::new(format!("<ul class=\"codes\">{list}</ul>")),
                    done,
                ],
            )
        }
        Err(error) if !error.fields.is_empty() => {
            let text = visit.t("second-wrong");
            second_page(&visit, error.code.status(), Some(&given.secret), Some(text)).await
        }
        // Without the secret that was shown there is nothing to prove: another one is shown.
        Err(error) if error.code == crate::Code::BadRequest => {
            let text = visit.t("second-lost");
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            second_page(&visit, status, None, Some(text)).await
        }
        Err(error) => Err(error),
    }
}

async fn second_remove(visit: Visit, PageForm(given): PageForm<SecondCode>) -> WebResult {
    let house = visit.house();
    let user = visit.principal.signed_in()?;
    if let Err(wait) = house.limits.second.attempt(&user, visit.now) {
        return Err(WebError::too_many(wait.as_secs().saturating_add(1) as u32));
    }
    if !house.accounts.check_second(user, &given.code).await? {
        let text = visit.t("second-wrong");
        return second_page(&visit, StatusCode::UNPROCESSABLE_ENTITY, None, Some(text)).await;
    }
    house
        .accounts
        .remove_totp(user, &By::visit(&visit)?)
        .await?;
    Ok(visit.done("/account/second", "second-removed"))
}

async fn session_end(visit: Visit, Path(id): Path<Uuid>) -> WebResult {
    visit
        .house()
        .accounts
        .end_session(visit.principal.signed_in()?, id, &By::visit(&visit)?)
        .await?;
    Ok(visit.done("/account", "session-ended"))
}

async fn tokens(visit: Visit) -> WebResult {
    tokens_page(
        &visit,
        StatusCode::OK,
        &NewToken {
            days: 90,
            ..NewToken::default()
        },
        &[],
        None,
    )
    .await
}

async fn tokens_page(
    visit: &Visit,
    status: StatusCode,
    given: &NewToken,
    errors: &[FieldError],
    fresh: Option<&str>,
) -> WebResult {
    let frame = visit.frame("tokens-title");
    let accounts = &visit.house().accounts;
    let mut table = Table::new(frame.t("tokens-title"))
        .column(Column::text(frame.t("token-name")))
        .column(Column::text(frame.t("token-scopes")))
        .column(Column::text(frame.t("token-expires")))
        .column(Column::text(frame.t("token-used")))
        .column(Column::text(frame.t("actions")))
        .empty(ui::empty(
            Icon::Key,
            frame.t("tokens-none"),
            frame.t("tokens-none-text"),
            None,
        ));
    for token in accounts.tokens(visit.principal.signed_in()?).await? {
        table.push(vec![
            token.name.as_str().into(),
            Markup::code(token.scopes.join(" ")),
            frame.time(&token.expires_at),
            token
                .used_at
                .map_or_else(|| frame.t("never").into(), |at| frame.ago(&at)),
            inline(
                &frame,
                &format!("/account/tokens/{}/revoke", token.id),
                &frame.t("token-revoke"),
            ),
        ]);
    }
    let house = visit.house();
    let scopes = house
        .policy
        .actions()
        .into_iter()
        .filter(|action| *action != "self:edit" && visit.principal.could(action))
        .map(|action| (action.to_owned(), action.to_owned()))
        .collect();
    let mut parts = vec![tabs(&frame, "/account/tokens")];
    if let Some(secret) = fresh {
        parts.push(ui::notice(
            Level::Warn,
            frame.t("token-once"),
            ui::copyable(frame.t("token-name"), secret),
        ));
    }
    parts.push(table.markup());
    parts.push(section(
        &frame.t("token-new"),
        vec![form(
            &frame,
            "/account/tokens",
            vec![
                Field::text("name", frame.t("token-name"))
                    .value(&given.name)
                    .errors(errors)
                    .required()
                    .attribute("maxlength", "100")
                    .markup(),
                Field::input("number", "days", frame.t("token-days"))
                    .value(given.days.to_string())
                    .errors(errors)
                    .required()
                    .attribute("min", "1")
                    .attribute("max", "366")
                    .markup(),
                Field::checks(
                    "scopes",
                    frame.t("token-scopes"),
                    scopes,
                    given.scopes.clone(),
                )
                .errors(errors)
                .markup(),
            ],
            ui::button(frame.t("token-create")),
        )],
    ));
    page_with(
        status,
        &Plain {
            frame,
            body: parts.into_iter().collect(),
        },
    )
}

#[derive(Deserialize)]
struct TokenForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    days: Option<u32>,
    #[serde(default)]
    scopes: Vec<String>,
}

async fn token_create(visit: Visit, PageForm(given): PageForm<TokenForm>) -> WebResult {
    let new = NewToken {
        name: given.name,
        days: given.days.unwrap_or(0),
        scopes: given.scopes,
        org: visit.principal.org,
    };
    match visit
        .house()
        .accounts
        .create_token(&visit.principal, &new, &By::visit(&visit)?)
        .await
    {
        Ok((_, secret)) => {
            let empty = NewToken {
                days: 90,
                ..NewToken::default()
            };
            tokens_page(&visit, StatusCode::OK, &empty, &[], Some(&secret)).await
        }
        Err(error) if !error.fields.is_empty() => {
            tokens_page(&visit, error.code.status(), &new, &error.fields, None).await
        }
        Err(error) => Err(error),
    }
}

async fn token_revoke(visit: Visit, Path(id): Path<Uuid>) -> WebResult {
    visit
        .house()
        .accounts
        .revoke_token(visit.principal.signed_in()?, id, &By::visit(&visit)?)
        .await?;
    Ok(visit.done("/account/tokens", "token-revoked"))
}
