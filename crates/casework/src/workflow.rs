//! What becomes of a case, as data: states with deadlines, transitions with the
//! side that may take them, and the rule of four eyes. Pure: [`Workflow::decide`]
//! looks at a case's state and history and says yes or why not.

use std::collections::{BTreeMap, BTreeSet};

use base::{Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// States of one workflow.
pub const STATES_MAX: usize = 32;
/// Transitions of one workflow.
pub const TRANSITIONS_MAX: usize = 64;

/// A state machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// Where a new case begins.
    pub initial: String,
    /// The states.
    pub states: BTreeMap<String, State>,
    /// Entering this state calls the owning domain's [`crate::Grant`].
    pub grants: String,
    /// What leads from one state to another.
    pub transitions: Vec<Transition>,
}

/// One state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Hours, by the calendar, after which a case in this state is overdue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_hours: Option<u32>,
    /// Hours before the deadline at which those concerned are reminded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remind_hours: Option<u32>,
    /// Nothing leads out of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
}

/// One way from some states to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// Its name: `submit`, `approve`, …
    pub action: String,
    /// The states in which it can be taken.
    pub from: Vec<String>,
    /// The state to which it leads.
    pub to: String,
    /// Who may take it.
    pub by: Side,
    /// Whether a word of explanation is required.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_comment: bool,
    /// Whether the submission must be complete and valid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_valid: bool,
    /// Four eyes: nobody takes it who has taken one of these actions in the present
    /// round (`submit` counts in every round, and the applicant counts as its taker).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_after: Vec<String>,
    /// What a notification says of the case after it: `was reviewed`. Steps that every form
    /// has need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<crate::form::Text>,
}

/// On which side of the counter somebody stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Those who apply.
    Applicant,
    /// Those who review.
    Officer,
}

/// Why a document's workflow is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WorkflowError {
    /// A name that is no state.
    #[error("{0:?} is not a state")]
    NoState(String),
    /// A name that is no action.
    #[error("{0:?} is not an action")]
    NoAction(String),
    /// One action with two outcomes.
    #[error("action {action:?} is given twice for state {state:?}")]
    Ambiguous {
        /// The action.
        action: String,
        /// The state.
        state: String,
    },
    /// A state that cannot be left, and is not an end, or the other way round.
    #[error("state {0:?} must be an end exactly when nothing leads out of it")]
    DeadEnd(String),
    /// A state that cannot be reached.
    #[error("state {0:?} cannot be reached")]
    Unreachable(String),
    /// A grant that one person could reach alone.
    #[error("action {0:?} grants, so it must be an officer's and exclude the one who submits")]
    OnePerson(String),
    /// Too many of something.
    #[error("more than {STATES_MAX} states or {TRANSITIONS_MAX} transitions")]
    TooLarge,
}

/// Why a step is refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// No such action in this state.
    #[error("a case that is {state} does not allow {action:?}")]
    NotNow {
        /// The case's state.
        state: String,
        /// What was asked.
        action: String,
    },
    /// The wrong side of the counter.
    #[error("{action:?} is not for this person")]
    NotYours {
        /// What was asked.
        action: String,
    },
    /// The rule of four eyes.
    #[error("{action:?} needs a second pair of eyes: this person has already done {earlier:?}")]
    FourEyes {
        /// What was asked.
        action: String,
        /// What the same person did before.
        earlier: String,
    },
    /// A word of explanation is missing.
    #[error("{action:?} needs a comment")]
    CommentMissing {
        /// What was asked.
        action: String,
    },
}

/// A step that somebody took in a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Who.
    pub actor: UserId,
    /// What.
    pub action: String,
}

/// Who asks for a step, and from which sides of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// Who.
    pub actor: UserId,
    /// Whether the person may act for the applicant of this case.
    pub applicant: bool,
    /// Whether the person may review.
    pub officer: bool,
}

impl Asking {
    fn stands(&self, side: Side) -> bool {
        match side {
            Side::Applicant => self.applicant,
            Side::Officer => self.officer,
        }
    }
}

/// The action that begins a round of review.
pub const SUBMIT: &str = "submit";

impl Workflow {
    /// Checks that the machine is whole: every name known, every state reachable
    /// and left, no grant by one person.
    ///
    /// # Errors
    /// The first [`WorkflowError`] found.
    pub fn check(&self) -> Result<(), WorkflowError> {
        if self.states.len() > STATES_MAX || self.transitions.len() > TRANSITIONS_MAX {
            return Err(WorkflowError::TooLarge);
        }
        let known = |name: &String| {
            self.states
                .contains_key(name)
                .then_some(())
                .ok_or_else(|| WorkflowError::NoState(name.clone()))
        };
        known(&self.initial)?;
        known(&self.grants)?;
        let mut seen = BTreeSet::new();
        for transition in &self.transitions {
            known(&transition.to)?;
            for from in &transition.from {
                known(from)?;
                if !seen.insert((from, &transition.action)) {
                    return Err(WorkflowError::Ambiguous {
                        action: transition.action.clone(),
                        state: from.clone(),
                    });
                }
            }
            for earlier in &transition.not_after {
                if !self.transitions.iter().any(|t| &t.action == earlier) {
                    return Err(WorkflowError::NoAction(earlier.clone()));
                }
            }
            let grants = transition.to == self.grants;
            let excludes = transition.not_after.iter().any(|a| a == SUBMIT);
            if grants && (transition.by != Side::Officer || !excludes) {
                return Err(WorkflowError::OnePerson(transition.action.clone()));
            }
        }
        let reached = self.reachable();
        for (name, state) in &self.states {
            let left = self.transitions.iter().any(|t| t.from.contains(name));
            if state.ends == left {
                return Err(WorkflowError::DeadEnd(name.clone()));
            }
            if !reached.contains(name.as_str()) {
                return Err(WorkflowError::Unreachable(name.clone()));
            }
        }
        Ok(())
    }

    fn reachable(&self) -> BTreeSet<&str> {
        let mut reached = BTreeSet::from([self.initial.as_str()]);
        loop {
            let before = reached.len();
            for transition in &self.transitions {
                if transition
                    .from
                    .iter()
                    .any(|from| reached.contains(from.as_str()))
                {
                    reached.insert(&transition.to);
                }
            }
            if reached.len() == before {
                return reached;
            }
        }
    }

    /// Says whether a step may be taken now, or why not.
    ///
    /// `history` holds every step of the case so far, oldest first.
    ///
    /// # Errors
    /// A [`Refusal`] that names the action and the reason.
    pub fn decide(
        &self,
        state: &str,
        applicant: UserId,
        history: &[Taken],
        asking: &Asking,
        action: &str,
        comment: &str,
    ) -> Result<&Transition, Refusal> {
        let transition = self.ready(state, applicant, history, asking, action)?;
        if transition.needs_comment && comment.trim().is_empty() {
            return Err(Refusal::CommentMissing {
                action: action.to_owned(),
            });
        }
        Ok(transition)
    }

    /// The actions that a person could take now, in the document's order.
    pub fn offered(
        &self,
        state: &str,
        applicant: UserId,
        history: &[Taken],
        asking: &Asking,
    ) -> Vec<&Transition> {
        self.transitions
            .iter()
            .filter(|t| {
                self.ready(state, applicant, history, asking, &t.action)
                    .is_ok_and(|ready| ready == *t)
            })
            .collect()
    }

    fn ready(
        &self,
        state: &str,
        applicant: UserId,
        history: &[Taken],
        asking: &Asking,
        action: &str,
    ) -> Result<&Transition, Refusal> {
        let transition = self
            .transitions
            .iter()
            .find(|t| t.action == action && t.from.iter().any(|from| from == state))
            .ok_or_else(|| Refusal::NotNow {
                state: state.to_owned(),
                action: action.chars().take(40).collect(),
            })?;
        if !asking.stands(transition.by) {
            return Err(Refusal::NotYours {
                action: action.to_owned(),
            });
        }
        let round = history
            .iter()
            .rposition(|taken| taken.action == SUBMIT)
            .unwrap_or(0);
        for earlier in &transition.not_after {
            let relevant = if earlier == SUBMIT {
                history
            } else {
                &history[round..]
            };
            let did = relevant
                .iter()
                .any(|taken| taken.actor == asking.actor && &taken.action == earlier);
            if did || (earlier == SUBMIT && asking.actor == applicant) {
                return Err(Refusal::FourEyes {
                    action: action.to_owned(),
                    earlier: earlier.clone(),
                });
            }
        }
        Ok(transition)
    }

    /// When a case that enters `state` at `now` is due, and when its people are reminded.
    pub fn due(&self, state: &str, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let state = self.states.get(state)?;
        let deadline = state.deadline_hours?;
        let hours = |n: u32| std::time::Duration::from_secs(u64::from(n) * 3600);
        let due = now.plus(hours(deadline));
        Some((
            due,
            due.minus(hours(state.remind_hours.unwrap_or(0).min(deadline))),
        ))
    }

    /// Whether nothing leads out of a state.
    pub fn ends(&self, state: &str) -> bool {
        self.states.get(state).is_some_and(|state| state.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::Form;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn workflow() -> Workflow {
        Form::parse(include_str!("../tests/data/form.json"))
            .expect("right")
            .workflow
    }

    fn person(n: u8) -> UserId {
        UserId(Uuid::from_bytes([n; 16]))
    }

    fn asking(n: u8, officer: bool) -> Asking {
        Asking {
            actor: person(n),
            applicant: n == 1,
            officer,
        }
    }

    /// Takes steps and returns the state reached and the history.
    fn walk(steps: &[(u8, &str)]) -> Result<(String, Vec<Taken>), Refusal> {
        let machine = workflow();
        let mut state = machine.initial.clone();
        let mut history = Vec::new();
        for (who, action) in steps {
            let next = machine.decide(
                &state,
                person(1),
                &history,
                &asking(*who, true),
                action,
                "because",
            )?;
            state = next.to.clone();
            history.push(Taken {
                actor: person(*who),
                action: (*action).to_owned(),
            });
        }
        Ok((state, history))
    }

    #[test]
    fn two_officers_grant() {
        let (state, _) = walk(&[
            (1, "submit"),
            (2, "start-review"),
            (2, "approve"),
            (3, "grant"),
            (2, "close"),
        ])
        .expect("the main path");
        assert_eq!(state, "closed");
    }

    #[test]
    fn nobody_reviews_an_own_case_nor_approves_twice() {
        assert!(matches!(
            walk(&[(1, "submit"), (1, "start-review")]),
            Err(Refusal::FourEyes { .. })
        ));
        assert_eq!(
            walk(&[
                (1, "submit"),
                (2, "start-review"),
                (2, "approve"),
                (2, "grant")
            ]),
            Err(Refusal::FourEyes {
                action: "grant".into(),
                earlier: "approve".into()
            })
        );
    }

    #[test]
    fn a_new_round_lets_the_earlier_approver_be_the_second() {
        let path = [
            (1, "submit"),
            (2, "start-review"),
            (2, "approve"),
            (3, "return"),
            (1, "submit"),
            (3, "start-review"),
            (3, "approve"),
            (2, "grant"),
        ];
        assert_eq!(walk(&path).expect("two people in each round").0, "granted");
    }

    #[test]
    fn a_return_needs_a_word() {
        let machine = workflow();
        let history = vec![Taken {
            actor: person(1),
            action: "submit".into(),
        }];
        let refused = machine.decide(
            "in-review",
            person(1),
            &history,
            &asking(2, true),
            "return",
            "  ",
        );
        assert_eq!(
            refused,
            Err(Refusal::CommentMissing {
                action: "return".into()
            })
        );
    }

    #[test]
    fn a_machine_in_which_one_person_grants_is_refused() {
        let mut machine = workflow();
        for transition in &mut machine.transitions {
            transition.not_after.clear();
        }
        assert_eq!(
            machine.check(),
            Err(WorkflowError::OnePerson("grant".into()))
        );
        let mut machine = workflow();
        machine.transitions.retain(|t| t.action != "close");
        assert!(matches!(
            machine.check(),
            Err(WorkflowError::Unreachable(_) | WorkflowError::DeadEnd(_))
        ));
    }

    #[test]
    fn deadlines_count_calendar_hours() {
        let now = Timestamp::from_seconds(1_000);
        let (due, remind) = workflow().due("submitted", now).expect("has one");
        assert_eq!(due.seconds(), 1_000 + 72 * 3600);
        assert_eq!(remind.seconds(), 1_000 + 48 * 3600);
        assert!(workflow().due("granted", now).is_none());
    }

    proptest! {
        /// Whatever five people try, in whatever order: a granted case has an
        /// approver and a granter who differ from each other and from the applicant.
        #[test]
        fn no_path_grants_without_two_other_people(tries in prop::collection::vec((1u8..6, 0usize..9), 0..60)) {
            let machine = workflow();
            let actions: Vec<&str> = machine.transitions.iter().map(|t| t.action.as_str()).collect();
            let mut state = machine.initial.clone();
            let mut history: Vec<Taken> = Vec::new();
            for (who, pick) in tries {
                let action = actions[pick % actions.len()];
                if let Ok(next) = machine.decide(&state, person(1), &history, &asking(who, who != 1 || pick % 2 == 0), action, "x") {
                    state = next.to.clone();
                    history.push(Taken { actor: person(who), action: action.to_owned() });
                    if state == "granted" {
                        let by = |name: &str| history.iter().rev().find(|t| t.action == name).map(|t| t.actor);
                        let approver = by("approve").expect("approved before");
                        let granter = by("grant").expect("just now");
                        prop_assert_ne!(approver, granter);
                        prop_assert_ne!(approver, person(1));
                        prop_assert_ne!(granter, person(1));
                    }
                }
            }
        }
    }
}
