//! Who a request comes from, and the questions that handlers put to the permission
//! table on their behalf.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use base::{OrgId, Timestamp, UserId};
use uuid::Uuid;

use crate::policy::{HouseRole, OrgRole, Policy, Subject, Thing};
use crate::problem::WebError;

/// How the person proved who they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Via {
    /// They did not.
    #[default]
    Nothing,
    /// A browser session.
    Session {
        /// The session's row.
        id: Uuid,
        /// When the person last proved it (password, passkey or provider).
        proven_at: Timestamp,
    },
    /// An API token.
    Token {
        /// The token's row.
        id: Uuid,
        /// The actions that it is good for; always a subset of the person's own.
        scopes: BTreeSet<String>,
        /// The organisation that it is bound to.
        org: Option<OrgId>,
    },
}

/// Who a request comes from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Principal {
    /// What the permission table sees.
    pub subject: Arc<Subject>,
    /// The name shown to people; empty for visitors.
    pub name: String,
    /// The organisations that the person belongs to, with their names.
    pub orgs: Arc<Vec<OrgBadge>>,
    /// How they proved who they are.
    pub via: Via,
    /// The organisation chosen in the frame; always one that they belong to.
    pub org: Option<OrgId>,
    policy: Policy,
    answers: Arc<Mutex<HashMap<(String, Thing), bool>>>,
}

/// An organisation as the frame shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgBadge {
    /// The organisation.
    pub id: OrgId,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English.
    pub name_en: String,
    /// The person's role in it.
    pub role: OrgRole,
}

/// Which organisations' rows a query may return. Every query over tenants' data
/// takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrgScope {
    /// All of them: the action is allowed in the whole house.
    All,
    /// These only; empty: none.
    Only(Vec<OrgId>),
}

impl OrgScope {
    /// Whether rows of `org` are inside.
    pub fn contains(&self, org: OrgId) -> bool {
        match self {
            Self::All => true,
            Self::Only(orgs) => orgs.contains(&org),
        }
    }

    /// A condition on the text column `column`, with placeholders from `$first` on,
    /// and the values to bind to them in order: `("site.org IN ($3,$4)", [..])`.
    ///
    /// `column` is part of the SQL: never anything that came from outside.
    pub fn sql(&self, column: &'static str, first: usize) -> (String, Vec<String>) {
        match self {
            Self::All => ("1=1".to_owned(), Vec::new()),
            Self::Only(orgs) if orgs.is_empty() => ("1=0".to_owned(), Vec::new()),
            Self::Only(orgs) => {
                let marks: Vec<String> = (first..first + orgs.len())
                    .map(|n| format!("${n}"))
                    .collect();
                (
                    format!("{column} IN ({})", marks.join(",")),
                    orgs.iter().map(ToString::to_string).collect(),
                )
            }
        }
    }

    /// Only the organisation `org`, as far as it is inside.
    #[must_use]
    pub fn narrow(&self, org: Option<OrgId>) -> Self {
        match org {
            None => self.clone(),
            Some(org) if self.contains(org) => Self::Only(vec![org]),
            Some(_) => Self::Only(Vec::new()),
        }
    }
}

impl Principal {
    /// A principal from its parts.
    pub fn new(
        policy: Policy,
        subject: Subject,
        name: String,
        orgs: Vec<OrgBadge>,
        via: Via,
    ) -> Self {
        Self {
            subject: Arc::new(subject),
            name,
            orgs: Arc::new(orgs),
            via,
            org: None,
            policy,
            answers: Arc::default(),
        }
    }

    /// Somebody without a login.
    pub fn visitor(policy: Policy) -> Self {
        Self::new(
            policy,
            Subject::default(),
            String::new(),
            Vec::new(),
            Via::Nothing,
        )
    }

    /// The person; none for visitors.
    pub fn user(&self) -> Option<UserId> {
        self.subject.user
    }

    /// The person, or 401.
    ///
    /// # Errors
    /// [`crate::Code::Unauthenticated`] for visitors.
    pub fn signed_in(&self) -> Result<UserId, WebError> {
        self.user().ok_or_else(WebError::unauthenticated)
    }

    /// Whether the person holds a role in the whole house.
    pub fn has_role(&self, role: HouseRole) -> bool {
        self.subject.roles.contains(&role)
    }

    /// Whether this principal may do `action` to `thing`.
    pub fn may(&self, action: &str, thing: impl Into<Thing>) -> bool {
        let thing = thing.into();
        if let Via::Token { scopes, org, .. } = &self.via {
            // What visitors may do needs no scope.
            let open = self
                .policy
                .allows(&Subject::default(), action, Thing::HOUSE);
            if open {
                return true;
            }
            if !scopes.contains(action) {
                return false;
            }
            // A token bound to an organisation sees nothing else of any tenant.
            if org.is_some() && thing.org != *org {
                return false;
            }
        }
        let key = (action.to_owned(), thing);
        {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(answer) = answers.get(&key) {
                return *answer;
            }
        }
        let answer = self.policy.allows(&self.subject, action, thing);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() < Self::ANSWERS_MAX {
            answers.insert(key, answer);
        }
        answer
    }

    /// Answers remembered for one request.
    const ANSWERS_MAX: usize = 1024;

    /// Refuses unless this principal may do `action` to `thing`.
    ///
    /// # Errors
    /// 401 for visitors, 403 for others. Where even the existence of the thing is
    /// nobody's business, use [`Principal::require_or_hide`].
    pub fn require(&self, action: &str, thing: impl Into<Thing>) -> Result<(), WebError> {
        if self.may(action, thing) {
            return Ok(());
        }
        if self.user().is_none() {
            return Err(WebError::unauthenticated());
        }
        Err(WebError::forbidden(format!(
            "{action} is not permitted here"
        )))
    }

    /// As [`Principal::require`], but 404 for those who may not even `view` it, so
    /// that a stranger cannot find out what exists.
    ///
    /// # Errors
    /// 401, 403 or 404.
    pub fn require_or_hide(
        &self,
        action: &str,
        view: &str,
        thing: impl Into<Thing>,
        kind: &str,
        name: impl std::fmt::Display,
    ) -> Result<(), WebError> {
        let thing = thing.into();
        match self.require(action, thing) {
            Err(error) if self.user().is_some() && !self.may(view, thing) => {
                tracing::debug!(%error, "hidden");
                Err(WebError::not_found(kind, name))
            }
            other => other,
        }
    }

    /// Whether there is anything to which this principal might do `action`: the gate
    /// in front of a route. The thing itself is checked by the handler.
    pub fn could(&self, action: &str) -> bool {
        let owner = self.subject.user;
        let mut things = vec![
            Thing {
                org: None,
                owner: None,
            },
            Thing { org: None, owner },
        ];
        let orgs = self.subject.memberships.iter().map(|(org, _)| *org);
        let bound = match &self.via {
            Via::Token { org, .. } => *org,
            _ => None,
        };
        things.extend(orgs.chain(bound).map(|org| Thing {
            org: Some(org),
            owner,
        }));
        things.into_iter().any(|thing| self.may(action, thing))
    }

    /// The organisations in which `action` is allowed.
    pub fn scope(&self, action: &str) -> OrgScope {
        if let Via::Token { org: Some(org), .. } = &self.via {
            return match self.may(action, *org) {
                true => OrgScope::Only(vec![*org]),
                false => OrgScope::Only(Vec::new()),
            };
        }
        // An organisation that nobody belongs to: only a role in the whole house
        // can answer for it.
        if self.may(action, OrgId(Uuid::max())) {
            return OrgScope::All;
        }
        let orgs = self.subject.memberships.iter().map(|(org, _)| *org);
        OrgScope::Only(orgs.filter(|org| self.may(action, *org)).collect())
    }

    /// [`Principal::scope`], narrowed to the organisation chosen in the frame.
    pub fn chosen_scope(&self, action: &str) -> OrgScope {
        self.scope(action).narrow(self.org)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(policy: &Policy, memberships: &[(OrgId, OrgRole)], via: Via) -> Principal {
        let subject = Subject {
            user: Some(UserId::generate()),
            roles: Vec::new(),
            memberships: memberships.to_vec(),
        };
        Principal::new(policy.clone(), subject, "甲".into(), Vec::new(), via)
    }

    #[test]
    fn the_scope_of_a_member_is_their_organisations() {
        let policy = Policy::new(&[]).expect("a table");
        let (a, b) = (OrgId::generate(), OrgId::generate());
        let person = member(
            &policy,
            &[(a, OrgRole::Admin), (b, OrgRole::Viewer)],
            Via::Nothing,
        );
        assert_eq!(person.scope("org:view"), OrgScope::Only(vec![a, b]));
        assert_eq!(person.scope("org:manage"), OrgScope::Only(vec![a]));
        assert_eq!(person.scope("org:create"), OrgScope::Only(vec![]));
        assert!(person.could("org:manage") && !person.could("user:manage"));
    }

    #[test]
    fn a_token_can_do_less_than_its_person_and_never_more() {
        let policy = Policy::new(&[]).expect("a table");
        let (a, b) = (OrgId::generate(), OrgId::generate());
        let via = Via::Token {
            id: Uuid::now_v7(),
            scopes: ["org:view", "user:manage"].map(String::from).into(),
            org: Some(a),
        };
        let person = member(&policy, &[(a, OrgRole::Admin), (b, OrgRole::Admin)], via);
        assert!(person.may("org:view", a));
        assert!(
            !person.may("org:view", b),
            "bound to the other organisation"
        );
        assert!(!person.may("org:manage", a), "not in its scopes");
        assert!(
            !person.may("user:manage", Thing::HOUSE),
            "not the person's own"
        );
        assert_eq!(person.scope("org:view"), OrgScope::Only(vec![a]));
    }

    #[test]
    fn scopes_become_conditions() {
        let a = OrgId::generate();
        assert_eq!(OrgScope::All.sql("org", 1).0, "1=1");
        assert_eq!(OrgScope::Only(vec![]).sql("org", 1).0, "1=0");
        let (text, values) = OrgScope::Only(vec![a, a]).sql("s.org", 3);
        assert_eq!(text, "s.org IN ($3,$4)");
        assert_eq!(values, [a.to_string(), a.to_string()]);
    }

    #[test]
    fn visitors_are_asked_to_sign_in() {
        let visitor = Principal::visitor(Policy::new(&[]).expect("a table"));
        let error = visitor
            .require("self:view", Thing::HOUSE)
            .expect_err("refused");
        assert_eq!(error.code, crate::Code::Unauthenticated);
        assert!(visitor.could("public:view"));
    }
}
