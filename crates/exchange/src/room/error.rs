//! What can go wrong with the exchange's model, by what the caller can do about it, and
//! how people are told.

use casework::form::Text;
use casework::validate::Problem;
use casework::{CaseError, refuse};
use store::StoreError;
use store::vault::VaultError;
use web::{Lang, WebError};

/// An error of the exchange's model.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// No such thing, or none that may be seen.
    #[error("no {kind} {name:?}")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Which.
        name: String,
    },
    /// Values break rules.
    #[error("{}", told(.0))]
    Invalid(Vec<Problem>),
    /// Not as things stand.
    #[error("refused: {}", .0.en)]
    Refused(Text),
    /// The database.
    #[error("the database could not be used")]
    Store(#[from] StoreError),
    /// The vault.
    #[error("a sealed field could not be used")]
    Vault(#[from] VaultError),
    /// What is kept cannot be read.
    #[error("{0}")]
    Data(String),
}

fn told(problems: &[Problem]) -> String {
    let all: Vec<String> = problems
        .iter()
        .take(20)
        .map(|p| format!("{} ({:?}): {}", p.field, p.value, p.message.en))
        .collect();
    all.join("; ")
}

impl From<sqlx::Error> for RoomError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<RoomError> for CaseError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Store(error) => Self::Store(error),
            RoomError::Refused(text) => Self::GrantRefused(text),
            RoomError::Invalid(problems) => Self::Invalid(problems),
            other => refuse(format!("無法辦理:{other}"), other.to_string()),
        }
    }
}

impl RoomError {
    /// No such thing; the name is shortened.
    pub fn not_found(kind: &'static str, name: impl std::fmt::Display) -> Self {
        Self::NotFound {
            kind,
            name: name.to_string().chars().take(80).collect(),
        }
    }

    /// A refusal in both languages.
    pub fn refused(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self::Refused(Text::new(zh, en))
    }

    /// One value that breaks a rule.
    pub fn invalid(
        field: &str,
        value: &str,
        rule: &'static str,
        zh: impl Into<String>,
        en: impl Into<String>,
    ) -> Self {
        Self::Invalid(vec![problem(field, value, rule, zh, en)])
    }
}

/// One thing wrong with one field.
pub fn problem(
    field: &str,
    value: &str,
    rule: &'static str,
    zh: impl Into<String>,
    en: impl Into<String>,
) -> Problem {
    Problem {
        field: field.to_owned(),
        value: value.chars().take(60).collect(),
        rule,
        message: Text::new(zh, en),
    }
}

/// An error as the console tells it.
pub fn tell(error: RoomError, lang: Lang) -> WebError {
    match error {
        RoomError::NotFound { kind, name } => WebError::not_found(kind, name),
        RoomError::Invalid(problems) => WebError::invalid(
            problems
                .iter()
                .map(|problem| casework::room::field_error(problem, lang))
                .collect(),
        ),
        RoomError::Refused(text) => WebError::conflict(text.of(lang.tag())),
        RoomError::Store(error) => casework::room::tell_store(error),
        RoomError::Vault(error) => WebError::internal(runtime::error_chain(&error)),
        RoomError::Data(text) => WebError::internal(text),
    }
}
