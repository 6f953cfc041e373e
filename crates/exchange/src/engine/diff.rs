//! What differs between two configurations, for the operator's eyes: secrets are not shown.

use std::collections::HashMap;

/// Lines shown of a difference.
pub const LINES_SHOWN_MAX: usize = 2_000;

/// Lines across which a bracket or a blank line may lead.
const NEAR: usize = 8;

/// The difference of two texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Lines only in the new text.
    pub added: usize,
    /// Lines only in the old text.
    pub removed: usize,
    /// `+ line` and `- line` in their order, at most [`LINES_SHOWN_MAX`].
    pub shown: Vec<String>,
}

impl Diff {
    /// Whether the texts are the same.
    pub fn is_empty(&self) -> bool {
        self.added == 0 && self.removed == 0
    }
}

/// Compares line by line. Lines that occur as often in both texts and in the same order are common;
/// the search for a common line is bounded by an index, so that a million lines take a moment.
pub fn diff(old: &str, new: &str) -> Diff {
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    let mut later: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in new.iter().enumerate().rev() {
        later.entry(line).or_default().push(index);
    }
    let mut found = Diff::default();
    let (mut at, mut i) = (0, 0);
    while i < old.len() {
        let line = old[i];
        if new.get(at) == Some(&line) {
            at += 1;
            i += 1;
            continue;
        }
        let next = later.get_mut(line).and_then(|places| {
            while places.last().is_some_and(|place| *place < at) {
                places.pop();
            }
            places.last().copied()
        });
        // A line that is common further on is taken only when the text there goes on alike, and
        // blank lines and brackets, which are everywhere, lead nowhere far.
        let goes_on = next.filter(|place| {
            let is_telling = line.trim().len() > 3 || place - at <= NEAR;
            is_telling && old.get(i + 1) == new.get(place + 1)
        });
        match goes_on {
            Some(place) => {
                for line in &new[at..place] {
                    found.note('+', line);
                }
                at = place + 1;
            }
            None => found.note('-', line),
        }
        i += 1;
    }
    for line in &new[at..] {
        found.note('+', line);
    }
    found
}

impl Diff {
    fn note(&mut self, sign: char, line: &str) {
        if sign == '+' {
            self.added += 1;
        } else {
            self.removed += 1;
        }
        if self.shown.len() < LINES_SHOWN_MAX {
            let secrets = ["password ", "tcp md5sig "];
            let hidden = secrets
                .iter()
                .any(|word| line.trim_start().starts_with(word));
            self.shown.push(format!(
                "{sign} {}",
                if hidden {
                    "  password (not shown)"
                } else {
                    line
                }
            ));
        }
    }
}
