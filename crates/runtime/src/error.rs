//! How errors are shown: each layer says its own part, one formatter joins them.

use std::error::Error;

/// Any error that may cross a task's border.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Causes followed at most; a longer chain is a loop or a mistake.
const CAUSES_MAX: usize = 32;

/// `error` and its causes in one line, outermost first, joined by `: `. A cause
/// whose text the layer above already ends with is not repeated.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(error) = cause else { break };
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open {0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn the_chain_names_every_layer_once() {
        let error = Outer("a.db", std::io::Error::other("disk on fire"));
        assert_eq!(error_chain(&error), "cannot open a.db: disk on fire");
    }
}
