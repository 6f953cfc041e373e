//! Pages as members see them: through a lens, so that what the sharing policy keeps back
//! does not show, and sources stand under pseudonyms.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::error::TaxiiError;
use super::query::Query;
use crate::objects::read::PAGE_ROWS_MAX;
use crate::objects::{Access, Collection, Filter, Objects, Page, Row};
use crate::share::{Lens, Seen, Sharing};
use crate::stix::time;

/// Rows looked at for one page.
const LOOKED_AT_MAX: usize = 100_000;
/// Time that one page, or the bearer of a pseudonym, is looked for. A page that is not full by
/// then says where to go on, even if nothing is on it.
const LOOKING_TIME_MAX: Duration = Duration::from_secs(1);
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
    // One more than a page, to know whether another follows. What is kept back must tell
    // neither by pages that are short nor by a `more` that leads nowhere.
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX) as usize;
    let (mut after, mut rows) = (query.after, query.limit.saturating_add(1));
    let (mut more, mut looked_at) = (1_u32, 0);
    let mut shown = Page::default();
    let began = Instant::now();
    while looked_at < LOOKED_AT_MAX && began.elapsed() < LOOKING_TIME_MAX {
        let page = objects
            .page(collection, access.clearance, &filter, after, rows, true)
            .await?;
        sharing
            .know_authors(lens, page.rows.iter().map(|row| row.json.as_str()))
            .await
            .map_err(TaxiiError::internal)?;
        looked_at += page.rows.len();
        let seen = page.rows.into_iter().filter_map(|row| as_shown(lens, row));
        for row in seen.filter(|row| wanted.is_empty() || wanted.contains(&row.id)) {
            let twice = |one: &Row| one.id == row.id && one.version == row.version;
            if row.id.starts_with("identity--") && shown.rows.iter().any(twice) {
                continue;
            }
            if shown.rows.len() == limit {
                shown.next = shown.rows.last().map(|row| row.seq);
                return Ok(shown);
            }
            shown.rows.push(row);
        }
        let Some(next) = page.next else {
            return Ok(shown);
        };
        after = next;
        more = more.saturating_mul(4).min(PAGE_ROWS_MAX);
        let wanting = u32::try_from(limit + 1 - shown.rows.len()).unwrap_or(PAGE_ROWS_MAX);
        rows = wanting.saturating_mul(more).min(PAGE_ROWS_MAX);
    }
    // Nobody waits for more than this: the reader goes on from here.
    shown.next = Some(after);
    Ok(shown)
}

/// A row as the lens shows it. A pseudonym has no versions of its own: when its bearer
/// changed is not told.
fn as_shown(lens: &Lens, row: Row) -> Option<Row> {
    let json = match lens.look(&row.json, row.source) {
        Seen::Withheld { .. } => return None,
        Seen::Whole(Cow::Borrowed(_)) => return Some(row),
        Seen::Whole(Cow::Owned(json)) => json,
    };
    let id = lens.id(&row.id, row.source).into_owned();
    let version = match id == row.id {
        true => row.version,
        false => {
            let object: serde_json::Value = serde_json::from_str(&json).ok()?;
            time::parse(object["modified"].as_str()?)?
        }
    };
    Some(Row {
        json,
        id,
        version,
        ..row
    })
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
        let (mut after, began) = (i64::MIN, Instant::now());
        loop {
            // That it is not there may be said only of what was looked through.
            if began.elapsed() >= LOOKING_TIME_MAX {
                return Err(TaxiiError::busy(
                    "too many identities to find these by their ids; page through match[type]=identity",
                ));
            }
            let page = objects
                .page(collection, access.clearance, &filter, after, ROWS, false)
                .await?;
            for row in page.rows {
                let shown = lens.id(&row.id, row.source).into_owned();
                if names.iter().any(|name| **name == shown) {
                    known.insert(shown, row.id);
                }
            }
            match page.next {
                Some(next) if known.len() < names.len() => after = next,
                _ => break,
            }
        }
    }
    let real: Vec<String> = known.into_values().collect();
    ids.extend(&real);
    Ok(ids.into_iter().cloned().collect())
}
