//! Filters in the query (sections 3.4 and 5.3).

use store::{Cursor, StoreError};
use uuid::Uuid;

use super::error::TaxiiError;
use crate::objects::read::{FILTER_VALUES_MAX, PAGE_ROWS_MAX};
use crate::objects::{Collection, Filter, VersionMatch};
use crate::stix::time;

/// Rows of a page when the client names no limit.
pub const PAGE_ROWS_DEFAULT: u32 = 100;
/// Names the cursors.
const LIST: &str = "taxii";
/// Parameters of one query.
const PARAMETERS_MAX: usize = 100;

/// What a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which objects.
    pub filter: Filter,
    /// Rows of a page.
    pub limit: u32,
    /// Read on after this number.
    pub after: i64,
}

/// Which filters a resource takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filters {
    /// `added_after`, `limit`, `next` and every `match`.
    All,
    /// Those but for `match[id]` and `match[type]`: the object is named.
    OfObject,
    /// Those but for every `match` other than of `spec_version`: versions of an object.
    OfVersions,
    /// `match[version]` and `match[spec_version]`: what to delete.
    OfDelete,
}

/// Reads the query of a request for `collection`.
///
/// # Errors
/// 400 naming the parameter, its value and the rule.
pub fn read(query: &str, collection: &Collection, takes: Filters) -> Result<Query, TaxiiError> {
    let mut out = Query {
        filter: Filter::default(),
        limit: PAGE_ROWS_DEFAULT,
        after: i64::MIN,
    };
    for (count, (name, value)) in url::form_urlencoded::parse(query.as_bytes()).enumerate() {
        let wrong = |rule: &str| {
            let shown: String = value.chars().take(80).collect();
            let name: String = name.chars().take(80).collect();
            TaxiiError::bad_request(format!("{name} {shown:?}: {rule}"))
        };
        if count >= PARAMETERS_MAX {
            return Err(wrong("must not follow a hundred other parameters"));
        }
        let values = || value.split(',').filter(|value| !value.is_empty());
        let many = |len: usize| match len {
            0 => Err(wrong("must name at least one value")),
            len if len > FILTER_VALUES_MAX => Err(wrong("must name at most 50 values")),
            _ => Ok(()),
        };
        let pages = takes != Filters::OfDelete;
        match name.as_ref() {
            "added_after" if pages => {
                let at = time::parse(&value);
                let at = at.ok_or_else(|| wrong("must be a time like 2026-01-05T08:00:00.000Z"))?;
                out.filter.added_after = Some(at);
            }
            "limit" if pages => {
                let limit: u64 = value
                    .parse()
                    .map_err(|_| wrong("must be a whole number above 0"))?;
                if limit == 0 {
                    return Err(wrong("must be a whole number above 0"));
                }
                // A server may give less than it is asked for (section 3.4).
                out.limit = u32::try_from(limit)
                    .unwrap_or(PAGE_ROWS_MAX)
                    .min(PAGE_ROWS_MAX);
            }
            "next" if pages => {
                let (of, after) = Cursor::decode::<(Uuid, i64)>(LIST, &value)
                    .or_else(|_| {
                        // Cursors from before name the collection by its number.
                        let (number, after) = Cursor::decode::<(i64, i64)>(LIST, &value)?;
                        let known = number == collection.number;
                        Ok((if known { collection.id } else { Uuid::nil() }, after))
                    })
                    .map_err(|_: StoreError| wrong("must be the next of a page before"))?;
                if of != collection.id {
                    return Err(wrong("must be the next of a page of this collection"));
                }
                out.after = after;
            }
            "match[id]" if takes == Filters::All => {
                out.filter.ids.extend(values().map(str::to_owned));
                many(out.filter.ids.len())?;
            }
            "match[type]" if takes == Filters::All => {
                out.filter.kinds.extend(values().map(str::to_owned));
                many(out.filter.kinds.len())?;
            }
            "match[version]" if takes != Filters::OfVersions => {
                for value in values() {
                    out.filter.versions.push(match value {
                        "last" => VersionMatch::Last,
                        "first" => VersionMatch::First,
                        "all" => VersionMatch::All,
                        text => VersionMatch::At(
                            time::parse(text)
                                .ok_or_else(|| wrong("must be last, first, all or times"))?,
                        ),
                    });
                }
                many(out.filter.versions.len())?;
            }
            "match[spec_version]" => {
                let known = ["1.0", "1.1", "1.2", "2.0", "2.1"];
                if values().any(|value| !known.contains(&value)) {
                    return Err(wrong("must be versions of STIX"));
                }
                many(values().count())?;
                // Everything here is of 2.1; what comes as 2.0 is brought to it.
                out.filter.nothing = values().all(|value| value != "2.1");
            }
            other if other.starts_with("match") => {
                return Err(wrong("is no filter of this resource"));
            }
            // What the standard does not name is for others.
            _ => {}
        }
    }
    Ok(out)
}

/// The cursor of `collection` that stands after `seq`.
///
/// # Errors
/// When it cannot be written; it always can.
pub fn next(collection: &Collection, seq: i64) -> Result<String, TaxiiError> {
    // By its id, which the reader knows: a number would tell how many collections there are.
    Cursor::encode(LIST, &(collection.id, seq)).map_err(TaxiiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection() -> Collection {
        Collection {
            number: 7,
            id: Uuid::from_u128(7),
            alias: None,
            title: String::new(),
            description: String::new(),
            rights: Vec::new(),
        }
    }

    #[test]
    fn filters_are_read_and_refused() {
        let here = collection();
        let next = next(&here, 42).expect("a cursor");
        let all = format!(
            "added_after=2026-01-01T00:00:00Z&limit=5&next={next}&match[type]=indicator,malware&match%5Bversion%5D=all&match[id]=a--b&x=1"
        );
        let query = read(&all, &here, Filters::All).expect("good");
        assert_eq!((query.limit, query.after), (5, 42));
        let before = Cursor::encode(LIST, &(7, 41)).expect("short");
        let old = read(&format!("next={before}"), &here, Filters::All).expect("good");
        assert_eq!(old.after, 41, "a cursor from before");
        assert_eq!(query.filter.kinds, ["indicator", "malware"]);
        assert_eq!(query.filter.versions, [VersionMatch::All]);
        assert!(
            read("match[spec_version]=2.0", &here, Filters::All)
                .expect("good")
                .filter
                .nothing
        );
        let many = vec!["x"; 51].join(",");
        for bad in [
            "added_after=yesterday",
            "limit=0",
            "limit=-1",
            "limit=x",
            "limit=",
            "next=zzz",
            "match[version]=newest",
            "match[spec_version]=3",
            "match[colour]=red",
            "match[id]=",
            &format!("match[id]={many}"),
        ] {
            let error = read(bad, &here, Filters::All).expect_err(bad);
            assert_eq!(error.status, http::StatusCode::BAD_REQUEST, "{bad}");
        }
        let other = Collection {
            number: 8,
            id: Uuid::from_u128(8),
            ..collection()
        };
        assert!(read(&format!("next={next}"), &other, Filters::All).is_err());
        assert!(read("match[type]=x", &here, Filters::OfObject).is_err());
        assert_eq!(
            read("limit=99999999999", &here, Filters::All)
                .expect("good")
                .limit,
            PAGE_ROWS_MAX
        );
    }
}
