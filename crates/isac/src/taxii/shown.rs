//! Pages as members see them: through a lens, so that what the sharing policy keeps back
//! does not show, and sources stand under pseudonyms.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::error::TaxiiError;
use super::query::Query;
use crate::objects::read::PAGE_ROWS_MAX;
use crate::objects::{Access, Collection, Filter, Objects, Page, Prepared, Reader, Row};
use crate::share::policy::Tier;
use crate::share::veil::{Onlooker, Veil, Word};
use crate::share::{Lens, Seen, Sharing};
use crate::stix::time;

/// Rows looked at for one page.
const LOOKED_AT_MAX: usize = 100_000;
/// Time that one page, or the bearer of a pseudonym, is looked for. A page that is not full by
/// then says where to go on, even if nothing is on it.
const LOOKING_TIME_MAX: Duration = Duration::from_secs(1);
/// Rows read at once.
const ROWS: u32 = 1_000;
/// Ids that are sent, looked up at once.
const IDS_TOGETHER: usize = 200;

/// Somebody who does not run the house, and through what they look.
pub(super) struct Member {
    pub(super) lens: Lens,
    pub(super) who: Onlooker,
}

impl Member {
    /// What the store gives them of a collection.
    fn reader(&self, access: Access) -> Reader {
        Reader {
            clearance: access.clearance,
            own: self.who.own.clone(),
            staff: false,
            // Houses may have sent the alerts that were replied to.
            replies: self.lens.tier != Tier::Member,
        }
    }
}

/// A page of what `query` wants, as the lens shows it.
pub(super) async fn page(
    objects: &Objects,
    sharing: &Sharing,
    member: &mut Member,
    collection: &Collection,
    access: Access,
    query: &Query,
) -> Result<Page, TaxiiError> {
    let reader = member.reader(access);
    let Member { lens, who } = member;
    let mut filter = query.filter.clone();
    let wanted = std::mem::take(&mut filter.ids);
    if !wanted.is_empty() {
        filter.ids = behind(objects, lens, collection, &reader, &wanted).await?;
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
            .page(collection, reader.clone(), &filter, after, rows, true)
            .await?;
        sharing
            .know_authors(lens, page.rows.iter().map(|row| row.json.as_str()))
            .await
            .map_err(TaxiiError::internal)?;
        looked_at += page.rows.len();
        let words: Vec<Word<'_>> = page.rows.iter().map(|row| word(collection, row)).collect();
        let veil = sharing.veil(lens, who, &words).await;
        let veil = veil.map_err(TaxiiError::internal)?;
        let rows_here = page.rows.into_iter();
        let seen = rows_here.filter_map(|row| as_shown(lens, &veil, collection, row));
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
fn as_shown(lens: &Lens, veil: &Veil, collection: &Collection, row: Row) -> Option<Row> {
    let json = match veil.look(lens, &word(collection, &row)) {
        Seen::Withheld { .. } => return None,
        Seen::Whole(Cow::Borrowed(_)) => None,
        Seen::Whole(Cow::Owned(json)) => Some(json),
    };
    let Some(json) = json else { return Some(row) };
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

pub(crate) fn word<'a>(collection: &Collection, row: &'a Row) -> Word<'a> {
    Word {
        collection: collection.number,
        id: &row.id,
        source: row.source,
        fetched: row.via.is_some(),
        json: &row.json,
    }
}

/// Numbers of the rows under the ids of `sent` that somebody is not shown: what they send is
/// answered as if these were not there.
pub(crate) async fn unseen(
    objects: &Objects,
    sharing: &Sharing,
    member: &mut Member,
    collection: &Collection,
    access: Option<Access>,
    sent: &[Prepared],
) -> Result<HashSet<i64>, TaxiiError> {
    let reader = access.map(|access| member.reader(access));
    let ids: Vec<&str> = sent.iter().map(|object| object.id.as_str()).collect();
    let mut unseen = HashSet::new();
    for some in ids.chunks(IDS_TOGETHER) {
        let rows = objects.rows_of(collection, some).await?;
        // What is their own is not looked at: they see it.
        let (within, beyond): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .filter(|(_, row)| !row.source.is_some_and(|org| member.who.own.contains(&org)))
            .partition(|(place, _)| reader.as_ref().is_some_and(|reader| reader.holds(*place)));
        unseen.extend(beyond.into_iter().map(|(_, row)| row.seq));
        let words: Vec<Word<'_>> = within
            .iter()
            .map(|(_, row)| word(collection, row))
            .collect();
        let veil = sharing.veil(&member.lens, &member.who, &words).await;
        let veil = veil.map_err(TaxiiError::internal)?;
        for (word, (_, row)) in words.iter().zip(&within) {
            // Who is shown a pseudonym does not know the name behind it.
            let named = member.lens.id(&row.id, row.source) == row.id;
            if !named || matches!(veil.look(&member.lens, word), Seen::Withheld { .. }) {
                unseen.insert(row.seq);
            }
        }
    }
    Ok(unseen)
}

/// The ids in the store behind those that the audience knows.
async fn behind(
    objects: &Objects,
    lens: &Lens,
    collection: &Collection,
    reader: &Reader,
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
                .page(collection, reader.clone(), &filter, after, ROWS, false)
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
