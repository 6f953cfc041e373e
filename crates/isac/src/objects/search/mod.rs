//! Search over millions of objects, in Chinese and English, on either database.
//!
//! An inverted index of our own: [`terms`] says by which words, values, references and
//! facets an object is found; [`postings`] keeps, for each term of a collection that many
//! rows have, their numbers in blocks, and `rare` those of all other terms together; `index`
//! follows the change feed and fills them; [`find`] walks the lists of several terms together,
//! newest first.
//!
//! What a search may see is decided once more where rows are read: the lists only
//! propose. Lists are kept apart by collection, so that what others keep neither shows
//! nor costs time.

pub mod find;
mod index;
pub mod postings;
mod rare;
mod reindex;
pub mod terms;

pub use find::{Found, Glass, Hit, Query, See};
pub use reindex::Again;
