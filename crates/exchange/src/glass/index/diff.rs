//! What differs between two moments of the tables.

use std::cmp::Ordering;

use base::Prefix;

use super::{Index, Route, Row};

/// What differs between two moments.
#[derive(Debug, Default)]
pub struct Changed<'a> {
    /// In the earlier one only.
    pub gone: Vec<Route<'a>>,
    /// How many of those in all.
    pub gone_total: usize,
    /// In the later one only.
    pub come: Vec<Route<'a>>,
    /// How many of those in all.
    pub come_total: usize,
    /// In both with other attributes or another fate.
    pub changed: Vec<(Route<'a>, Route<'a>)>,
    /// How many of those in all.
    pub changed_total: usize,
}

/// One route of a walk, not unpacked.
#[derive(Clone, Copy)]
struct Item<'a> {
    prefix: Prefix,
    session: &'a str,
    row: &'a Row,
}

impl Item<'_> {
    fn key(&self) -> (Prefix, &str, u32) {
        (self.prefix, self.session, self.row.path_id)
    }
}

impl Index {
    /// What differs between this moment and `later`: routes gone, come, and changed in attributes or fate;
    /// at most `limit` of each. Sessions are the same when their names are.
    pub fn changes_to<'a>(&'a self, later: &'a Self, limit: usize) -> Changed<'a> {
        let mut changed = Changed::default();
        if self.has_tables_of(later) {
            return changed;
        }
        let mut old = Walk::new(self);
        let mut new = Walk::new(later);
        loop {
            let order = match (&old.head, &new.head) {
                (None, None) => return changed,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.key().cmp(&b.key()),
            };
            match (order, old.head, new.head) {
                (Ordering::Less, Some(item), _) => {
                    changed.gone_total += 1;
                    if changed.gone.len() < limit {
                        changed.gone.extend(self.route(item.row));
                    }
                    old.advance();
                }
                (Ordering::Greater, _, Some(item)) => {
                    changed.come_total += 1;
                    if changed.come.len() < limit {
                        changed.come.extend(later.route(item.row));
                    }
                    new.advance();
                }
                (_, Some(before), Some(after)) => {
                    let differs = before.row.fate != after.row.fate
                        || self.tables.packed(before.row.attributes)
                            != later.tables.packed(after.row.attributes);
                    if differs {
                        changed.changed_total += 1;
                        if changed.changed.len() < limit {
                            let pair = self.route(before.row).zip(later.route(after.row));
                            changed.changed.extend(pair);
                        }
                    }
                    old.advance();
                    new.advance();
                }
                _ => return changed,
            }
        }
    }
}

/// Walks an index in the order of prefix, name of the session, path id.
struct Walk<'a> {
    index: &'a Index,
    next_prefix: usize,
    waiting: Vec<Item<'a>>,
    head: Option<Item<'a>>,
}

impl<'a> Walk<'a> {
    fn new(index: &'a Index) -> Self {
        let mut walk = Self {
            index,
            next_prefix: 0,
            waiting: Vec::new(),
            head: None,
        };
        walk.advance();
        walk
    }

    fn advance(&mut self) {
        self.head = self.waiting.pop();
        while self.head.is_none() {
            let Some(prefix) = self.index.tables.table.get(self.next_prefix) else {
                return;
            };
            let rows = self.index.rows_of(self.next_prefix..self.next_prefix + 1);
            self.next_prefix += 1;
            let items = self.index.tables.rows[rows].iter().filter_map(|row| {
                let session = self.index.sessions.get(usize::from(row.peer))?;
                Some(Item {
                    prefix,
                    session: &session.name,
                    row,
                })
            });
            self.waiting.extend(items);
            self.waiting.sort_by(|a, b| b.key().cmp(&a.key()));
            self.head = self.waiting.pop();
        }
    }
}
