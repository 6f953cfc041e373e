//! Which organisations' rows a query may return.

use base::OrgId;

/// Which organisations' rows a query may return. Every query over tenants' data
/// takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrgScope {
    /// All of them.
    All,
    /// These only; empty: none.
    Only(Vec<OrgId>),
}

impl OrgScope {
    /// A condition on the text column `column`, with placeholders from `$first` on,
    /// and the values to bind to them in order. `column` is part of the SQL.
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
}
