//! Paging by key: a page says where the next one begins.
//!
//! A cursor is opaque to callers but not secret: it holds the sort key of the last
//! row, and a forged one shows nothing that a page would not. It is checked for
//! shape and for the list it belongs to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Rows of one page, at most.
pub const PAGE_ROWS_MAX: u32 = 500;
/// Rows of one page, unless asked otherwise.
pub const PAGE_ROWS_DEFAULT: u32 = 50;
/// Characters of a cursor.
pub const CURSOR_CHARS_MAX: usize = 1_024;

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Asks for the rows that follow; absent on the last page.
    pub next: Option<String>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct PageRequest {
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Rows wanted: 1 to [`PAGE_ROWS_MAX`]; [`PAGE_ROWS_DEFAULT`] if absent.
    pub limit: Option<u32>,
}

/// Codes sort keys as text.
#[derive(Debug, Clone, Copy)]
pub struct Cursor;

impl Cursor {
    /// The cursor of list `list` that stands after `key`.
    ///
    /// # Errors
    /// When the key does not serialise or is too long.
    pub fn encode<K: Serialize>(list: &str, key: &K) -> Result<String, StoreError> {
        let bytes = serde_json::to_vec(&(list, key))
            .map_err(|error| StoreError::Invalid(format!("cursor of {list}: {error}")))?;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        if text.len() > CURSOR_CHARS_MAX {
            return Err(StoreError::Invalid(format!(
                "cursor of {list} has {} characters: must be at most {CURSOR_CHARS_MAX}",
                text.len()
            )));
        }
        Ok(text)
    }

    /// The key in a cursor of list `list`.
    ///
    /// # Errors
    /// When the text is no cursor of this list.
    pub fn decode<K: DeserializeOwned>(list: &str, text: &str) -> Result<K, StoreError> {
        let wrong = || {
            let shown: String = text.chars().take(40).collect();
            StoreError::Invalid(format!("{shown:?} is no cursor of {list}"))
        };
        if text.len() > CURSOR_CHARS_MAX {
            return Err(wrong());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let (found, key): (String, K) = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if found == list { Ok(key) } else { Err(wrong()) }
    }
}

impl PageRequest {
    /// The first page of `limit` rows.
    pub fn first(limit: u32) -> Self {
        Self {
            cursor: None,
            limit: Some(limit),
        }
    }

    /// Rows to show, within bounds.
    pub fn rows(&self) -> u32 {
        self.limit
            .unwrap_or(PAGE_ROWS_DEFAULT)
            .clamp(1, PAGE_ROWS_MAX)
    }

    /// Rows to ask the database for: one more than to show, which tells whether
    /// another page follows.
    pub fn fetch(&self) -> i64 {
        i64::from(self.rows()) + 1
    }

    /// The key to begin after, if this is not the first page of `list`.
    ///
    /// # Errors
    /// When the cursor is none of this list.
    pub fn after<K: DeserializeOwned>(&self, list: &str) -> Result<Option<K>, StoreError> {
        self.cursor
            .as_deref()
            .map(|text| Cursor::decode(list, text))
            .transpose()
    }

    /// Makes the page from up to [`PageRequest::fetch`] rows of `list`.
    ///
    /// # Errors
    /// When a key cannot be put into a cursor.
    pub fn page<T, K: Serialize>(
        &self,
        list: &str,
        mut rows: Vec<T>,
        key: impl Fn(&T) -> K,
    ) -> Result<Page<T>, StoreError> {
        let shown = usize::try_from(self.rows()).unwrap_or(usize::MAX);
        let more = rows.len() > shown;
        rows.truncate(shown);
        let next = match rows.last() {
            Some(last) if more => Some(Cursor::encode(list, &key(last))?),
            _ => None,
        };
        Ok(Page { items: rows, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_list_and_its_type() {
        let text = Cursor::encode("cases", &(7_i64, "a")).expect("short");
        let key: (i64, String) = Cursor::decode("cases", &text).expect("its own");
        assert_eq!(key, (7, "a".to_owned()));
        assert!(Cursor::decode::<(i64, String)>("sites", &text).is_err());
        assert!(Cursor::decode::<i64>("cases", &text).is_err());
        for bad in ["", "!", "e30", &"A".repeat(5_000)] {
            assert!(Cursor::decode::<i64>("cases", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_extra_row_tells_of_the_next_page() {
        let request = PageRequest::first(2);
        let page = request.page("n", vec![1, 2, 3], |n| *n).expect("a page");
        assert_eq!(page.items, [1, 2]);
        let after: Option<i32> = PageRequest {
            cursor: page.next,
            limit: None,
        }
        .after("n")
        .expect("its own");
        assert_eq!(after, Some(2));
        assert_eq!(
            request.page("n", vec![1, 2], |n| *n).expect("a page").next,
            None
        );
        assert_eq!(PageRequest::first(0).rows(), 1);
        assert_eq!(PageRequest::first(u32::MAX).rows(), PAGE_ROWS_MAX);
    }
}
