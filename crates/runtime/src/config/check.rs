//! Rules that types cannot express, with the key that breaks them.

use super::key::{KeyPath, Step};

/// A section that knows its own rules.
pub trait Check {
    /// Tells `at` what is wrong.
    fn check(&self, at: &mut Checker);
}

impl<T: Check> Check for Option<T> {
    fn check(&self, at: &mut Checker) {
        if let Some(section) = self {
            section.check(at);
        }
    }
}

impl<T: Check> Check for Vec<T> {
    fn check(&self, at: &mut Checker) {
        for (index, element) in self.iter().enumerate() {
            at.index(index, |at| element.check(at));
        }
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key concerned.
    pub key: KeyPath,
    /// The rule, as "must be …".
    pub message: String,
}

/// Gathers broken rules while walking through sections.
#[derive(Debug, Default)]
pub struct Checker {
    at: KeyPath,
    findings: Vec<Finding>,
}

impl Checker {
    /// Walks into the table or value `key`.
    pub fn key(&mut self, key: &str, inside: impl FnOnce(&mut Self)) {
        self.at.push(Step::Key(key.to_owned()));
        inside(self);
        self.at.pop();
    }

    /// Walks into element `index` of an array.
    pub fn index(&mut self, index: usize, inside: impl FnOnce(&mut Self)) {
        self.at.push(Step::Index(index));
        inside(self);
        self.at.pop();
    }

    /// Checks the section under `key`.
    pub fn section(&mut self, key: &str, section: &impl Check) {
        self.key(key, |at| section.check(at));
    }

    /// Reports `key` of the present table.
    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            key: self.at.child(Step::Key(key.to_owned())),
            message: message.into(),
        });
    }

    /// Reports the present value itself, for elements of arrays.
    pub fn problem_here(&mut self, message: impl Into<String>) {
        self.findings.push(Finding {
            key: self.at.clone(),
            message: message.into(),
        });
    }

    /// Reports `key` unless `holds`.
    pub fn require(&mut self, holds: bool, key: &str, message: impl Into<String>) {
        if !holds {
            self.problem(key, message);
        }
    }
}

/// Everything that `section` says is wrong with itself.
pub fn check(section: &impl Check) -> Vec<Finding> {
    let mut checker = Checker::default();
    section.check(&mut checker);
    checker.findings
}
