//! The environment as a value, so that tests need no globals.

use std::collections::BTreeMap;

/// Environment variables.
pub trait Env {
    /// All variables whose names and values are Unicode.
    fn all(&self) -> BTreeMap<String, String>;

    /// One variable.
    fn get(&self, name: &str) -> Option<String> {
        self.all().remove(name)
    }
}

/// The process's own environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn all(&self) -> BTreeMap<String, String> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// No variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEnv;

impl Env for NoEnv {
    fn all(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

impl Env for BTreeMap<String, String> {
    fn all(&self) -> BTreeMap<String, String> {
        self.clone()
    }
}
