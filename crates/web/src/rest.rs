//! The JSON API of people, organisations, tokens and the audit trail: everything
//! that web's own pages do.

use axum::response::{IntoResponse, Response};
use base::{OrgId, Timestamp, UserId};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::accounts::tokens::NewToken;
use crate::accounts::{By, Invite, Member, Org, TokenRow, User};
use crate::api::{ApiJson, ApiPath, ApiQuery, Listing, Paging};
use crate::pages::audit::{Wanted, trail};
use crate::policy::{HouseRole, OrgRole};
use crate::problem::{WebError, WebResult};
use crate::room::RoutePermission;
use crate::visit::Visit;

pub(crate) fn router() -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(me))
        .routes(routes!(list_orgs, create_org))
        .routes(routes!(get_org, change_org))
        .routes(routes!(list_members))
        .routes(routes!(set_member, remove_member))
        .routes(routes!(list_invites, create_invite))
        .routes(routes!(withdraw_invite))
        .routes(routes!(list_users, create_user))
        .routes(routes!(get_user, change_user))
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
        .routes(routes!(audit))
}

pub(crate) fn permissions() -> Vec<RoutePermission> {
    [
        (Method::GET, "/api/v1/me", "self:view"),
        (Method::GET, "/api/v1/orgs", "org:view"),
        (Method::POST, "/api/v1/orgs", "org:create"),
        (Method::GET, "/api/v1/orgs/{org}", "org:view"),
        (Method::PATCH, "/api/v1/orgs/{org}", "org:deactivate"),
        (Method::GET, "/api/v1/orgs/{org}/members", "org:view"),
        (
            Method::PUT,
            "/api/v1/orgs/{org}/members/{user}",
            "org:manage",
        ),
        (
            Method::DELETE,
            "/api/v1/orgs/{org}/members/{user}",
            "org:manage",
        ),
        (Method::GET, "/api/v1/orgs/{org}/invites", "org:manage"),
        (Method::POST, "/api/v1/orgs/{org}/invites", "org:manage"),
        (
            Method::DELETE,
            "/api/v1/orgs/{org}/invites/{invite}",
            "org:manage",
        ),
        (Method::GET, "/api/v1/users", "user:view"),
        (Method::POST, "/api/v1/users", "user:manage"),
        (Method::GET, "/api/v1/users/{user}", "user:view"),
        (Method::PATCH, "/api/v1/users/{user}", "user:manage"),
        (Method::GET, "/api/v1/tokens", "self:view"),
        (Method::POST, "/api/v1/tokens", "self:edit"),
        (Method::DELETE, "/api/v1/tokens/{token}", "self:edit"),
        (Method::GET, "/api/v1/audit", "audit:view"),
    ]
    .into_iter()
    .map(|(method, path, action)| RoutePermission::new(method, path, action))
    .collect()
}

/// A role in the whole house.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum RoleName {
    Operator,
    Officer,
    Auditor,
}

impl From<RoleName> for HouseRole {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Operator => Self::Operator,
            RoleName::Officer => Self::Officer,
            RoleName::Auditor => Self::Auditor,
        }
    }
}

/// A role in an organisation; each includes those before it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
enum MemberRole {
    #[serde(rename = "owner-viewer")]
    Viewer,
    #[serde(rename = "owner-editor")]
    Editor,
    #[serde(rename = "owner-admin")]
    Admin,
}

impl From<MemberRole> for OrgRole {
    fn from(name: MemberRole) -> Self {
        match name {
            MemberRole::Viewer => Self::Viewer,
            MemberRole::Editor => Self::Editor,
            MemberRole::Admin => Self::Admin,
        }
    }
}

impl From<OrgRole> for MemberRole {
    fn from(role: OrgRole) -> Self {
        match role {
            OrgRole::Viewer => Self::Viewer,
            OrgRole::Editor => Self::Editor,
            OrgRole::Admin => Self::Admin,
        }
    }
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
struct Me {
    /// The account.
    user: User,
    /// Organisations that the person belongs to.
    orgs: Vec<MyOrg>,
    /// The actions that this session or token may do to something.
    actions: Vec<String>,
}

/// An organisation of the person who asks.
#[derive(Debug, Serialize, ToSchema)]
struct MyOrg {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    id: OrgId,
    /// Its name in Chinese.
    name_zh: String,
    /// Its name in English.
    name_en: String,
    /// The person's role in it.
    role: MemberRole,
}

/// The account that asks, its organisations, and what it may do.
#[utoipa::path(get, path = "/api/v1/me", tag = "account", responses((status = 200, body = Me)))]
async fn me(visit: Visit) -> WebResult<ApiJson<Me>> {
    let principal = &visit.principal;
    let house = visit.house();
    let user = house.accounts.user(principal.signed_in()?).await?;
    let orgs = principal
        .orgs
        .iter()
        .map(|badge| MyOrg {
            id: badge.id,
            name_zh: badge.name_zh.clone(),
            name_en: badge.name_en.clone(),
            role: badge.role.into(),
        })
        .collect();
    let actions = house
        .policy
        .actions()
        .into_iter()
        .filter(|action| principal.could(action))
        .map(str::to_owned)
        .collect();
    Ok(ApiJson(Me {
        user,
        orgs,
        actions,
    }))
}

// ---------------------------------------------------------------- organisations

/// What an organisation begins with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOrg {
    /// Its name in Chinese.
    #[schema(min_length = 1, max_length = 100)]
    name_zh: String,
    /// Its name in English.
    #[schema(min_length = 1, max_length = 100)]
    name_en: String,
}

/// Organisations that the caller may see, by id.
#[utoipa::path(get, path = "/api/v1/orgs", tag = "organisations", params(Paging), responses((status = 200, body = Listing<Org>)))]
async fn list_orgs(
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<Org>>> {
    let scope = visit.principal.scope("org:view");
    Ok(ApiJson(visit.house().accounts.orgs(&scope, &paging).await?))
}

/// Enters an organisation.
#[utoipa::path(post, path = "/api/v1/orgs", tag = "organisations", request_body = NewOrg, responses((status = 201, body = Org)))]
async fn create_org(
    visit: Visit,
    ApiJson(new): ApiJson<NewOrg>,
) -> WebResult<(StatusCode, ApiJson<Org>)> {
    let accounts = &visit.house().accounts;
    let by = By::visit(&visit)?;
    let id = accounts.create_org(&new.name_zh, &new.name_en, &by).await?;
    Ok((StatusCode::CREATED, ApiJson(accounts.org(id).await?)))
}

/// The organisation, for those who may do `action` to it.
async fn org(visit: &Visit, id: OrgId, action: &str) -> Result<Org, WebError> {
    visit
        .principal
        .require_or_hide(action, "org:view", id, "organisation", id)?;
    visit.house().accounts.org(id).await
}

/// An organisation.
#[utoipa::path(get, path = "/api/v1/orgs/{org}", tag = "organisations", params(("org" = String, Path, format = "uuid")), responses((status = 200, body = Org)))]
async fn get_org(visit: Visit, ApiPath(id): ApiPath<OrgId>) -> WebResult<ApiJson<Org>> {
    Ok(ApiJson(org(&visit, id, "org:view").await?))
}

/// What changes in an organisation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrgChange {
    /// Whether its people may act for it; nothing is deleted when not.
    active: bool,
}

/// Takes an organisation out of service, or back into it.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}", tag = "organisations", request_body = OrgChange, params(("org" = String, Path, format = "uuid")), responses((status = 200, body = Org)))]
async fn change_org(
    visit: Visit,
    ApiPath(id): ApiPath<OrgId>,
    ApiJson(change): ApiJson<OrgChange>,
) -> WebResult<ApiJson<Org>> {
    let org = org(&visit, id, "org:deactivate").await?;
    let accounts = &visit.house().accounts;
    let by = By::visit(&visit)?;
    accounts.set_org_active(org.id, change.active, &by).await?;
    Ok(ApiJson(accounts.org(org.id).await?))
}

/// People of an organisation.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/members", tag = "organisations", params(("org" = String, Path, format = "uuid")), responses((status = 200, body = Listing<Member>)))]
async fn list_members(
    visit: Visit,
    ApiPath(id): ApiPath<OrgId>,
) -> WebResult<ApiJson<Listing<Member>>> {
    let org = org(&visit, id, "org:view").await?;
    let items = visit.house().accounts.members(org.id).await?;
    Ok(ApiJson(Listing { items, next: None }))
}

/// A role in an organisation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Membership {
    /// The role.
    role: MemberRole,
}

/// Gives a person a role in an organisation. Administrators of the organisation
/// change its people; only operators add somebody without an invitation.
#[utoipa::path(put, path = "/api/v1/orgs/{org}/members/{user}", tag = "organisations", request_body = Membership, params(("org" = String, Path, format = "uuid"), ("user" = String, Path, format = "uuid")), responses((status = 200, body = Member)))]
async fn set_member(
    visit: Visit,
    ApiPath((id, user)): ApiPath<(OrgId, UserId)>,
    ApiJson(given): ApiJson<Membership>,
) -> WebResult<ApiJson<Member>> {
    let org = org(&visit, id, "org:manage").await?;
    let accounts = &visit.house().accounts;
    let find = async || -> Result<Option<Member>, WebError> {
        let members = accounts.members(org.id).await?;
        Ok(members.into_iter().find(|member| member.user == user))
    };
    if find().await?.is_none() {
        // Whether a stranger has an account is no administrator's business.
        if !visit.principal.could("user:manage") {
            return Err(WebError::not_found("member", user));
        }
        accounts.user(user).await?;
    }
    accounts
        .set_member(org.id, user, Some(given.role.into()), &By::visit(&visit)?)
        .await?;
    let member = find().await?;
    Ok(ApiJson(member.ok_or_else(|| {
        WebError::conflict("the membership has changed meanwhile")
    })?))
}

/// Takes a person out of an organisation.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/members/{user}", tag = "organisations", params(("org" = String, Path, format = "uuid"), ("user" = String, Path, format = "uuid")), responses((status = 204)))]
async fn remove_member(
    visit: Visit,
    ApiPath((id, user)): ApiPath<(OrgId, UserId)>,
) -> WebResult<StatusCode> {
    let org = org(&visit, id, "org:manage").await?;
    visit
        .house()
        .accounts
        .set_member(org.id, user, None, &By::visit(&visit)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An invitation with its link, which is shown only once.
#[derive(Debug, Serialize, ToSchema)]
struct FreshInvite {
    /// Where the invited person joins.
    link: String,
}

/// Open invitations of an organisation.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/invites", tag = "organisations", params(("org" = String, Path, format = "uuid")), responses((status = 200, body = Listing<Invite>)))]
async fn list_invites(
    visit: Visit,
    ApiPath(id): ApiPath<OrgId>,
) -> WebResult<ApiJson<Listing<Invite>>> {
    let org = org(&visit, id, "org:manage").await?;
    let items = visit.house().accounts.invites(org.id).await?;
    Ok(ApiJson(Listing { items, next: None }))
}

/// Makes an invitation.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/invites", tag = "organisations", request_body = Membership, params(("org" = String, Path, format = "uuid")), responses((status = 201, body = FreshInvite)))]
async fn create_invite(
    visit: Visit,
    ApiPath(id): ApiPath<OrgId>,
    ApiJson(given): ApiJson<Membership>,
) -> WebResult<(StatusCode, ApiJson<FreshInvite>)> {
    let org = org(&visit, id, "org:manage").await?;
    let house = visit.house();
    let secret = house
        .accounts
        .invite(org.id, given.role.into(), &By::visit(&visit)?)
        .await?;
    let link = crate::pages::absolute(house, &format!("/invite/{secret}"));
    Ok((StatusCode::CREATED, ApiJson(FreshInvite { link })))
}

/// Takes an open invitation back.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/invites/{invite}", tag = "organisations", params(("org" = String, Path, format = "uuid"), ("invite" = String, Path, format = "uuid")), responses((status = 204)))]
async fn withdraw_invite(
    visit: Visit,
    ApiPath((id, invite)): ApiPath<(OrgId, Uuid)>,
) -> WebResult<StatusCode> {
    let org = org(&visit, id, "org:manage").await?;
    visit
        .house()
        .accounts
        .withdraw_invite(org.id, invite, &By::visit(&visit)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

// ----------------------------------------------------------------------- people

/// What an account begins with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPerson {
    /// The address to sign in with.
    #[schema(min_length = 3, max_length = 254, format = "email")]
    email: String,
    /// The name shown to others.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Roles in the whole house.
    #[serde(default)]
    roles: Vec<RoleName>,
}

/// A fresh account and the link by which its person sets a password.
#[derive(Debug, Serialize, ToSchema)]
struct FreshUser {
    /// The account.
    user: User,
    /// Good once, for a week; shown only now.
    link: String,
}

/// What changes in an account; absent parts stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    /// Roles in the whole house.
    #[serde(default)]
    roles: Option<Vec<RoleName>>,
    /// Whether the person may sign in; deactivating ends their sessions.
    #[serde(default)]
    active: Option<bool>,
}

/// Everybody, by id.
#[utoipa::path(get, path = "/api/v1/users", tag = "people", params(Paging), responses((status = 200, body = Listing<User>)))]
async fn list_users(
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<User>>> {
    Ok(ApiJson(visit.house().accounts.users(&paging).await?))
}

/// Makes an account.
#[utoipa::path(post, path = "/api/v1/users", tag = "people", request_body = NewPerson, responses((status = 201, body = FreshUser)))]
async fn create_user(
    visit: Visit,
    ApiJson(new): ApiJson<NewPerson>,
) -> WebResult<(StatusCode, ApiJson<FreshUser>)> {
    let house = visit.house();
    let by = By::visit(&visit)?;
    let new = crate::NewUser {
        email: new.email,
        name: new.name,
        password: None,
        roles: roles(&new.roles),
        lang: None,
    };
    let id = house.accounts.create_user(new, &by).await?;
    let secret = house.accounts.welcome(&house.cookies, id, &by).await?;
    let fresh = FreshUser {
        user: house.accounts.user(id).await?,
        link: crate::pages::absolute(house, &format!("/welcome/{secret}")),
    };
    Ok((StatusCode::CREATED, ApiJson(fresh)))
}

/// Each role once.
fn roles(names: &[RoleName]) -> Vec<HouseRole> {
    let asked: Vec<HouseRole> = names.iter().map(|name| (*name).into()).collect();
    HouseRole::ALL
        .into_iter()
        .filter(|role| asked.contains(role))
        .collect()
}

/// A person.
#[utoipa::path(get, path = "/api/v1/users/{user}", tag = "people", params(("user" = String, Path, format = "uuid")), responses((status = 200, body = User)))]
async fn get_user(visit: Visit, ApiPath(id): ApiPath<UserId>) -> WebResult<ApiJson<User>> {
    Ok(ApiJson(visit.house().accounts.user(id).await?))
}

/// Changes a person's roles, or whether they may sign in.
#[utoipa::path(patch, path = "/api/v1/users/{user}", tag = "people", request_body = UserChange, params(("user" = String, Path, format = "uuid")), responses((status = 200, body = User)))]
async fn change_user(
    visit: Visit,
    ApiPath(id): ApiPath<UserId>,
    ApiJson(change): ApiJson<UserChange>,
) -> WebResult<ApiJson<User>> {
    let accounts = &visit.house().accounts;
    let user = accounts.user(id).await?;
    let roles = match &change.roles {
        Some(names) => roles(names),
        None => user
            .roles
            .iter()
            .filter_map(|name| HouseRole::from_name(name))
            .collect(),
    };
    let active = change.active.unwrap_or(user.active);
    accounts
        .set_user(id, &roles, active, &By::visit(&visit)?)
        .await?;
    Ok(ApiJson(accounts.user(id).await?))
}

// ----------------------------------------------------------------------- tokens

/// A fresh token with its secret, which is shown only once.
#[derive(Debug, Serialize, ToSchema)]
struct FreshToken {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    /// What to send as `Authorization: Bearer`.
    secret: String,
}

/// The caller's own tokens, newest first.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "account", responses((status = 200, body = Listing<TokenRow>)))]
async fn list_tokens(visit: Visit) -> WebResult<ApiJson<Listing<TokenRow>>> {
    let user = visit.principal.signed_in()?;
    let items = visit.house().accounts.tokens(user).await?;
    Ok(ApiJson(Listing { items, next: None }))
}

/// Makes a token. Only a session may: a token makes no tokens.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "account", request_body = NewToken, responses((status = 201, body = FreshToken)))]
async fn create_token(visit: Visit, ApiJson(new): ApiJson<NewToken>) -> WebResult<Response> {
    let by = By::visit(&visit)?;
    let accounts = &visit.house().accounts;
    let (id, secret) = accounts.create_token(&visit.principal, &new, &by).await?;
    Ok((StatusCode::CREATED, ApiJson(FreshToken { id, secret })).into_response())
}

/// Revokes one of the caller's tokens.
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", tag = "account", params(("token" = String, Path, format = "uuid")), responses((status = 204)))]
async fn revoke_token(visit: Visit, ApiPath(id): ApiPath<Uuid>) -> WebResult<StatusCode> {
    let user = visit.principal.signed_in()?;
    let by = By::visit(&visit)?;
    visit.house().accounts.revoke_token(user, id, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

// ------------------------------------------------------------------------ audit

/// An entry of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
struct AuditView {
    /// 1, 2, 3 … without gaps.
    seq: u64,
    /// When it was written, in microseconds since the epoch.
    #[schema(value_type = i64)]
    at: Timestamp,
    /// `user:…`, `node:…` or `system:…`.
    actor: String,
    /// The organisation concerned.
    org: Option<String>,
    /// What was done.
    action: String,
    /// To what.
    subject: String,
    /// More about it; null when there is no more.
    #[schema(value_type = Option<Object>)]
    detail: serde_json::Value,
    /// The request that caused it.
    request_id: Option<String>,
    /// Hash of this entry and of all before it.
    hash: String,
}

/// The audit trail, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(Wanted, Paging), responses((status = 200, body = Listing<AuditView>)))]
async fn audit(
    visit: Visit,
    ApiQuery(wanted): ApiQuery<Wanted>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<AuditView>>> {
    let page = trail(&visit, &wanted, &paging).await?;
    let items = page
        .items
        .into_iter()
        .map(|record| AuditView {
            detail: serde_json::from_str(&record.detail).unwrap_or_default(),
            seq: record.seq,
            at: record.at,
            actor: record.actor,
            org: record.org,
            action: record.action,
            subject: record.subject,
            request_id: record.request_id,
            hash: record.hash,
        })
        .collect();
    Ok(ApiJson(Listing {
        items,
        next: page.next,
    }))
}
