//! Pages as members see them: through a lens, so that what the sharing policy keeps back
//! does not show, and sources stand under pseudonyms.

use std::collections::HashMap;

use super::error::TaxiiError;
use super::query::Query;
use crate::objects::{Access, Collection, Filter, Objects, Page, Row};
use crate::share::{Lens, Seen, Sharing};

/// Pages looked at for one that shows something.
const LOOKS_MAX: usize = 20;
/// Identities among which the bearer of a pseudonym is looked for.
const IDENTITIES_MAX: usize = 20_000;
/// Rows read at once.
const ROWS: u32 = 1_000;

/// A page of what `query` wants, as the lens shows it.
pub(super) async fn page(
    objects: &Objects,
    sharing: &Sharing,
    lens: &mut Lens,
    collection: &Collection,
    access: Access,
    query: &Query,
) -> Result<Page, TaxiiError> {
    let mut filter = query.filter.clone();
    let wanted = std::mem::take(&mut filter.ids);
    if !wanted.is_empty() {
        filter.ids = behind(objects, lens, collection, access, &wanted).await?;
        if filter.ids.is_empty() {
            return Ok(Page::default());
        }
    }
    let mut after = query.after;
    let mut shown = Page::default();
    for _ in 0..LOOKS_MAX {
        let page = objects
            .page(
                collection,
                access.clearance,
                &filter,
                after,
                query.limit,
                true,
            )
            .await?;
        sharing
            .know_authors(lens, page.rows.iter().map(|row| row.json.as_str()))
            .await
            .map_err(TaxiiError::internal)?;
        shown.next = page.next;
        shown.rows = page
            .rows
            .into_iter()
            .filter_map(|row| {
                let Seen::Whole(text) = lens.look(&row.json, row.source) else {
                    return None;
                };
                let (json, id) = (text.into_owned(), lens.id(&row.id, row.source).into_owned());
                Some(Row { json, id, ..row })
            })
            .filter(|row| wanted.is_empty() || wanted.contains(&row.id))
            .collect();
        match shown.next {
            Some(next) if shown.rows.is_empty() => after = next,
            _ => break,
        }
    }
    Ok(shown)
}

/// The ids in the store behind those that the audience knows.
async fn behind(
    objects: &Objects,
    lens: &Lens,
    collection: &Collection,
    access: Access,
    wanted: &[String],
) -> Result<Vec<String>, TaxiiError> {
    let (names, mut ids): (Vec<&String>, Vec<&String>) =
        wanted.iter().partition(|id| id.starts_with("identity--"));
    let mut known: HashMap<String, String> = HashMap::new();
    if !names.is_empty() {
        let filter = Filter {
            kinds: vec!["identity".to_owned()],
            ..Filter::default()
        };
        let (mut after, mut looked_at) = (i64::MIN, 0);
        while looked_at < IDENTITIES_MAX {
            let page = objects
                .page(collection, access.clearance, &filter, after, ROWS, false)
                .await?;
            looked_at += page.rows.len();
            for row in page.rows {
                let shown = lens.id(&row.id, row.source).into_owned();
                if names.iter().any(|name| **name == shown) {
                    known.insert(shown, row.id);
                }
            }
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
    }
    let real: Vec<String> = known.into_values().collect();
    ids.extend(&real);
    Ok(ids.into_iter().cloned().collect())
}
