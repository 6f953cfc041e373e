//! What can go wrong, by what the caller can do about it, and how people are told.

use casework::form::Text;
use casework::validate::Problem;
use casework::{CaseError, refuse};
use store::StoreError;
use web::{Lang, WebError};

/// An error of reports, alerts, lights and the public site.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// No such thing, or none that may be seen.
    #[error("no {kind} {name:?}")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Which.
        name: String,
    },
    /// Values break rules.
    #[error("{} values break a rule", .0.len())]
    Invalid(Vec<Problem>),
    /// Not now, or not by this person.
    #[error("refused: {}", .0.en)]
    Refused(Text),
    /// Casework says no.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// The database.
    #[error("the database could not be used")]
    Store(#[from] StoreError),
    /// What is kept or built in cannot be read.
    #[error("{0}")]
    Data(String),
}

impl From<sqlx::Error> for CertError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<CertError> for CaseError {
    fn from(error: CertError) -> Self {
        match error {
            CertError::Case(error) => error,
            CertError::Store(error) => Self::Store(error),
            CertError::Refused(text) => Self::GrantRefused(text),
            CertError::Invalid(problems) => Self::Invalid(problems),
            other => refuse(format!("無法辦理:{other}"), other.to_string()),
        }
    }
}

impl CertError {
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
pub(crate) fn problem(
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
pub(crate) fn tell(error: CertError, lang: Lang) -> WebError {
    match error {
        CertError::NotFound { kind, name } => WebError::not_found(kind, name),
        CertError::Invalid(problems) => WebError::invalid(
            problems
                .iter()
                .map(|problem| casework::room::field_error(problem, lang))
                .collect(),
        ),
        CertError::Refused(text) => WebError::conflict(text.of(lang.tag())),
        CertError::Case(error) => casework::room::tell(error, lang),
        CertError::Store(error) => casework::room::tell_store(error),
        CertError::Data(text) => WebError::internal(text),
    }
}
