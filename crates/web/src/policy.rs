//! The permission table: one set of Cedar policies over one schema, joined from
//! every room's files, deny by default.
//!
//! A room declares its actions in `policy/<room>.cedarschema`, each in one or more
//! of the groups of `base.cedarschema`:
//!
//! ```text
//! action "site:purge" in ["group:operator", "group:owner-editor"]
//!   appliesTo { principal: [User], resource: [Thing] };
//! ```
//!
//! `base.cedar` says once who may do what is in a group. A rule that groups cannot
//! say goes into the room's own `policy/<room>.cedar`.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use base::{OrgId, UserId};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};

/// A role held in the whole house.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HouseRole {
    /// Runs the network: every site, edge and person.
    Operator,
    /// Reviews cases.
    Officer,
    /// Reads everything that was done.
    Auditor,
}

impl HouseRole {
    /// All, in the order in which they are listed to people.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Officer, Self::Auditor];

    /// The name in policies, tables and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Officer => "officer",
            Self::Auditor => "auditor",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A role held in one organisation; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OrgRole {
    /// Looks.
    Viewer,
    /// Changes sites, purges, preloads.
    Editor,
    /// Also manages the organisation's people.
    Admin,
}

impl OrgRole {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Admin];

    /// The name in policies, tables and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "owner-viewer",
            Self::Editor => "owner-editor",
            Self::Admin => "owner-admin",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What an action is done to, as far as permission is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Thing {
    /// The organisation that it belongs to.
    pub org: Option<OrgId>,
    /// The person that it belongs to.
    pub owner: Option<UserId>,
}

impl Thing {
    /// A thing of the whole house.
    pub const HOUSE: Self = Self {
        org: None,
        owner: None,
    };

    /// A thing of an organisation.
    pub const fn of(org: OrgId) -> Self {
        Self {
            org: Some(org),
            owner: None,
        }
    }

    /// A thing of a person, in no organisation.
    pub const fn own(owner: UserId) -> Self {
        Self {
            org: None,
            owner: Some(owner),
        }
    }

    /// With the person that it belongs to.
    #[must_use]
    pub const fn owned_by(self, owner: UserId) -> Self {
        Self {
            owner: Some(owner),
            ..self
        }
    }
}

impl From<OrgId> for Thing {
    fn from(org: OrgId) -> Self {
        Self::of(org)
    }
}

/// Who asks, as far as permission is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// None: somebody without a login.
    pub user: Option<UserId>,
    /// Roles in the whole house.
    pub roles: Vec<HouseRole>,
    /// Roles in organisations.
    pub memberships: Vec<(OrgId, OrgRole)>,
}

/// A room's part of the table.
#[derive(Debug, Clone, Copy)]
pub struct PolicyText {
    /// The room, for messages about mistakes.
    pub room: &'static str,
    /// Cedar schema: the room's actions.
    pub schema: &'static str,
    /// Cedar policies beyond what the groups say; mostly empty.
    pub policies: &'static str,
}

/// What every house starts from.
pub const BASE: PolicyText = PolicyText {
    room: "web",
    schema: include_str!("../policy/base.cedarschema"),
    policies: include_str!("../policy/base.cedar"),
};

/// Why the parts do not make a table.
#[derive(Debug, thiserror::Error)]
#[error("permission table: {0}")]
pub struct PolicyError(String);

/// The table, ready to be asked. Cheap to clone.
#[derive(Clone)]
pub struct Policy(Arc<Inner>);

struct Inner {
    authorizer: Authorizer,
    policies: PolicySet,
    /// The action groups, which every question needs.
    actions: Entities,
    names: HashSet<String>,
    user: EntityTypeName,
    visitor: EntityTypeName,
    thing: EntityTypeName,
    action: EntityTypeName,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Policy")
    }
}

impl Policy {
    /// Joins [`BASE`] and the rooms' parts, and checks every policy against the
    /// schema in strict mode.
    ///
    /// # Errors
    /// When a text cannot be read, an action is declared twice or belongs to a group
    /// that does not exist, or a policy is against the schema.
    pub fn new(rooms: &[PolicyText]) -> Result<Self, PolicyError> {
        let parts = || std::iter::once(&BASE).chain(rooms);
        let schema_text: Vec<&str> = parts().map(|part| part.schema).collect();
        let (schema, _) = Schema::from_cedarschema_str(&schema_text.join("\n"))
            .map_err(|error| PolicyError(with_sources(&error)))?;
        let policy_text: Vec<&str> = parts().map(|part| part.policies).collect();
        let policies = PolicySet::from_str(&policy_text.join("\n"))
            .map_err(|error| PolicyError(with_sources(&error)))?;
        let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        if !result.validation_passed() {
            return Err(PolicyError(result.to_string()));
        }
        let actions = schema
            .action_entities()
            .map_err(|error| PolicyError(with_sources(&error)))?;
        let names = actions
            .iter()
            .map(|entity| entity.uid().id().unescaped().to_owned())
            .filter(|name| !name.starts_with("group:"))
            .collect();
        let name = |text: &str| {
            EntityTypeName::from_str(text).map_err(|error| PolicyError(with_sources(&error)))
        };
        Ok(Self(Arc::new(Inner {
            authorizer: Authorizer::new(),
            policies,
            actions,
            names,
            user: name("User")?,
            visitor: name("Visitor")?,
            thing: name("Thing")?,
            action: name("Action")?,
        })))
    }

    /// Whether the schema declares an action of this name.
    pub fn knows(&self, action: &str) -> bool {
        self.0.names.contains(action)
    }

    /// Every action, sorted.
    pub fn actions(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Whether `subject` may do `action` to `thing`. Anything that goes wrong on the
    /// way is a no.
    pub fn allows(&self, subject: &Subject, action: &str, thing: Thing) -> bool {
        self.ask(subject, action, thing).unwrap_or_else(|error| {
            tracing::error!(action, error = %error, "permission could not be decided, so it is refused");
            false
        })
    }

    fn ask(&self, subject: &Subject, action: &str, thing: Thing) -> Result<bool, PolicyError> {
        let inner = &*self.0;
        let uid = |kind: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
        };
        let said = |error: &dyn std::error::Error| PolicyError(with_sources(error));
        let text = |value: String| RestrictedExpression::new_string(value);
        let mut entities = Vec::with_capacity(2);
        let principal = match subject.user {
            Some(user) => {
                let principal = uid(&inner.user, &user.to_string());
                let roles = subject
                    .roles
                    .iter()
                    .map(|role| text(role.name().to_owned()));
                let mut memberships = Vec::with_capacity(subject.memberships.len());
                // A membership elsewhere cannot matter to this thing.
                for (org, role) in subject
                    .memberships
                    .iter()
                    .filter(|(org, _)| Some(*org) == thing.org)
                {
                    let record = RestrictedExpression::new_record([
                        ("org".to_owned(), text(org.to_string())),
                        ("role".to_owned(), text(role.name().to_owned())),
                    ])
                    .map_err(|error| said(&error))?;
                    memberships.push(record);
                }
                let attributes = HashMap::from([
                    ("id".to_owned(), text(user.to_string())),
                    ("roles".to_owned(), RestrictedExpression::new_set(roles)),
                    (
                        "memberships".to_owned(),
                        RestrictedExpression::new_set(memberships),
                    ),
                ]);
                entities.push(
                    Entity::new(principal.clone(), attributes, HashSet::new())
                        .map_err(|error| said(&error))?,
                );
                principal
            }
            None => uid(&inner.visitor, "visitor"),
        };
        let resource = uid(&inner.thing, "thing");
        let attributes = HashMap::from([
            (
                "org".to_owned(),
                text(thing.org.map(|org| org.to_string()).unwrap_or_default()),
            ),
            (
                "owner".to_owned(),
                text(thing.owner.map(|user| user.to_string()).unwrap_or_default()),
            ),
        ]);
        entities.push(
            Entity::new(resource.clone(), attributes, HashSet::new())
                .map_err(|error| said(&error))?,
        );
        let entities = inner
            .actions
            .clone()
            .add_entities(entities, None)
            .map_err(|error| said(&error))?;
        let request = Request::new(
            principal,
            uid(&inner.action, action),
            resource,
            Context::empty(),
            None,
        )
        .map_err(|error| said(&error))?;
        let response = inner
            .authorizer
            .is_authorized(&request, &inner.policies, &entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(said(error));
        }
        Ok(response.decision() == Decision::Allow)
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(roles: &[HouseRole], memberships: &[(OrgId, OrgRole)]) -> Subject {
        Subject {
            user: Some(UserId::generate()),
            roles: roles.to_vec(),
            memberships: memberships.to_vec(),
        }
    }

    const ROOM: PolicyText = PolicyText {
        room: "test",
        schema: r#"
            action "site:view" in ["group:operator", "group:owner-viewer"]
              appliesTo { principal: [User], resource: [Thing] };
            action "case:edit" in ["group:own"]
              appliesTo { principal: [User], resource: [Thing] };
        "#,
        policies: "",
    };

    #[test]
    fn nothing_is_allowed_by_default() {
        let policy = Policy::new(&[ROOM]).expect("a table");
        assert!(!policy.allows(&Subject::default(), "site:view", Thing::HOUSE));
        assert!(!policy.allows(&subject(&[], &[]), "site:view", Thing::HOUSE));
        assert!(!policy.allows(&subject(&HouseRole::ALL, &[]), "no:such", Thing::HOUSE));
        assert!(policy.allows(&Subject::default(), "public:view", Thing::HOUSE));
        assert!(!policy.allows(&Subject::default(), "self:view", Thing::HOUSE));
    }

    #[test]
    fn a_role_in_one_organisation_says_nothing_in_another() {
        let policy = Policy::new(&[ROOM]).expect("a table");
        let (mine, theirs) = (OrgId::generate(), OrgId::generate());
        let viewer = subject(&[], &[(mine, OrgRole::Viewer)]);
        assert!(policy.allows(&viewer, "site:view", Thing::of(mine)));
        assert!(!policy.allows(&viewer, "site:view", Thing::of(theirs)));
        assert!(!policy.allows(&viewer, "site:view", Thing::HOUSE));
        assert!(!policy.allows(&viewer, "org:manage", Thing::of(mine)));
        let admin = subject(&[], &[(mine, OrgRole::Admin), (theirs, OrgRole::Viewer)]);
        assert!(policy.allows(&admin, "org:manage", Thing::of(mine)));
        assert!(!policy.allows(&admin, "org:manage", Thing::of(theirs)));
        assert!(policy.allows(
            &subject(&[HouseRole::Operator], &[]),
            "site:view",
            Thing::of(theirs)
        ));
    }

    #[test]
    fn ones_own_things_are_ones_own() {
        let policy = Policy::new(&[ROOM]).expect("a table");
        let me = subject(&[], &[]);
        let mine = Thing::own(me.user.expect("a user"));
        assert!(policy.allows(&me, "case:edit", mine));
        assert!(!policy.allows(&subject(&HouseRole::ALL, &[]), "case:edit", mine));
        assert!(!policy.allows(&me, "case:edit", Thing::HOUSE));
    }

    #[test]
    fn a_table_with_a_mistake_is_refused() {
        for (schema, policies) in [
            (
                "action \"a\" in [\"group:nobody\"] appliesTo { principal: [User], resource: [Thing] };",
                "",
            ),
            ("action", ""),
            (
                "",
                "permit(principal, action, resource) when { principal.age > 3 };",
            ),
            ("", "permit("),
            (
                "action \"org:view\" appliesTo { principal: [User], resource: [Thing] };",
                "",
            ),
        ] {
            let room = PolicyText {
                room: "bad",
                schema,
                policies,
            };
            assert!(Policy::new(&[room]).is_err(), "{schema} {policies}");
        }
    }
}
