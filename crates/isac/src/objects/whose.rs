//! Who may say what of an object that is there already: pure.
//!
//! - Only the house, and whoever sent the present version, adds versions to it (STIX 2.1
//!   section 3.6.2: only the creator makes versions; who first sent it stands for the
//!   creator, whom nobody can prove). Versions by the house do not change whose it is.
//! - An organisation that the present version names as its creator (`created_by_ref` is
//!   `identity--` and the organisation's id) takes over what another relayed.
//! - What came from one peer may be renewed by every peer: none of them is its creator.
//! - What somebody else says of it is refused where objects are pushed, and otherwise kept
//!   beside it as the word of whoever sent it, which others are not shown.
//! - Observables have no creator and no versions: what an organisation writes otherwise
//!   than another did is kept beside it, for itself.
//! - Of an object that an organisation is not shown, it hears nothing: its word is kept
//!   beside the other's, for itself and the house's staff.

use super::writer::Version;
use super::{Prepared, Source, VIA_PREFIX, place};

/// Where an object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Among the versions that all see.
    Main,
    /// Beside them.
    Aside,
    /// Nowhere: this version is there, at this place of the rows.
    There(usize),
    /// Whoever is named as creator by the present version, at this place of the rows, may
    /// add it: then as the first says, otherwise as the second.
    AskCreator(usize, Answer, Answer),
    /// Nowhere: it is another's.
    Refused,
}

/// What follows from asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Among the versions that all see.
    Main,
    /// Beside them.
    Aside,
    /// Nowhere.
    Refused,
}

impl From<Answer> for Side {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Main => Self::Main,
            Answer::Aside => Self::Aside,
            Answer::Refused => Self::Refused,
        }
    }
}

/// Where what `by` sends goes, of which `rows` are there; `column` is its source column.
pub(super) fn side(by: &Source, column: &str, object: &Prepared, rows: &[Version]) -> Side {
    let same = |row: &Version| match object.version {
        Some(version) => row.version == version,
        // What is not versioned is the same when it says the same.
        None => row.digest == object.digest,
    };
    let main = || {
        let all = rows.iter().enumerate();
        all.filter(|(_, row)| !place::is_aside(row.place))
    };
    let there = main().find(|(_, row)| same(row)).map(|(at, _)| at);
    // Whose it is: who sent the latest version but for the house's.
    let latest = main()
        .filter(|(_, row)| !row.source.is_empty())
        .max_by_key(|(_, row)| (row.version, row.seq));
    let owner = latest.map(|(_, row)| row.source.as_str());
    let own = |row: &Version| place::is_aside(row.place) && row.source == column;
    let beside = || {
        let there = rows.iter().position(|row| own(row) && same(row));
        there.map_or(Side::Aside, Side::There)
    };
    if by.org.is_none() {
        let allowed = column.is_empty()
            || object.version.is_none()
            || main().next().is_none()
            || owner.is_some_and(|owner| owner.starts_with(VIA_PREFIX));
        return match (there, allowed) {
            (Some(at), _) => Side::There(at),
            (None, true) => Side::Main,
            (None, false) => beside(),
        };
    }
    let unseen = |row: &Version| by.unseen.contains(&row.seq);
    let blind = main().next().is_some() && main().all(|(_, row)| unseen(row));
    if blind || rows.iter().any(own) {
        return beside();
    }
    if let Some(at) = there.filter(|at| !unseen(&rows[*at])) {
        return Side::There(at);
    }
    // A version that is there, unseen, is not told from one that is not.
    let allowed = if there.is_some() {
        Answer::Aside
    } else {
        Answer::Main
    };
    let otherwise = match object.version {
        Some(_) if by.strict => Answer::Refused,
        _ => Answer::Aside,
    };
    let Some((present, _)) = main().max_by_key(|(_, row)| (row.version, row.seq)) else {
        return Side::Main;
    };
    match owner {
        Some(owner) if owner == column => allowed.into(),
        _ => Side::AskCreator(present, allowed, otherwise),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use base::{OrgId, UserId};

    use super::super::{Via, prepare};
    use super::*;
    use crate::stix::Tlp;

    fn object(day: u32) -> Prepared {
        let text = format!(
            r#"{{"type":"tool","spec_version":"2.1","id":"tool--00000000-0000-4000-8000-000000000001","created":"2026-01-01T00:00:00.000Z","modified":"2026-01-{day:02}T00:00:00.000Z","name":"t"}}"#
        );
        prepare::object(&text).expect("good")
    }

    fn row(of: &Source, day: u32, band: i64) -> Version {
        let object = object(day);
        Version {
            seq: i64::from(day) + if band >= place::ASIDE { 100 } else { 0 },
            version: object.version.expect("versioned"),
            digest: object.digest,
            place: band << 2 | 1,
            source: of.column(),
            new: None,
        }
    }

    #[test]
    fn only_who_sent_it_renews_it() {
        let org = || Source {
            strict: true,
            ..Source::person(UserId::generate(), Some(OrgId::generate()))
        };
        let (power, water, house) = (org(), org(), Source::house("test"));
        let [nation, sister] = ["http://nation/", "http://sister/"]
            .map(|url| Source::fetched("taxii.poll", Via::of(url)));
        let green = Tlp::Green as i64;
        let asked = Side::AskCreator(0, Answer::Main, Answer::Refused);
        for (by, rows, expected) in [
            (&water, vec![], Side::Main),
            (&power, vec![row(&power, 1, green)], Side::Main),
            (&water, vec![row(&power, 1, green)], asked),
            (&house, vec![row(&power, 1, green)], Side::Main),
            (&nation, vec![row(&power, 1, green)], Side::Aside),
            (&nation, vec![row(&house, 1, green)], Side::Aside),
            (&nation, vec![row(&nation, 1, green)], Side::Main),
            (&sister, vec![row(&nation, 1, green)], Side::Main),
            (&water, vec![row(&nation, 1, green)], asked),
            (&water, vec![row(&house, 1, green)], asked),
            // The house's version does not take it away from who sent it.
            (
                &power,
                vec![row(&power, 1, green), row(&house, 2, green)],
                Side::Main,
            ),
            // Who relayed it first has lost it to who renewed it.
            (
                &power,
                vec![row(&power, 1, green), row(&water, 2, green)],
                Side::AskCreator(1, Answer::Main, Answer::Refused),
            ),
            // The same version, and an own word beside another's.
            (&water, vec![row(&power, 3, green)], Side::There(0)),
            (
                &water,
                vec![row(&power, 1, green), row(&water, 2, green + place::ASIDE)],
                Side::Aside,
            ),
        ] {
            assert_eq!(side(by, &by.column(), &object(3), &rows), expected);
        }
        // What is not shown is answered as what is not there.
        let mut blind = water.clone();
        blind.unseen = Arc::new(HashSet::from([1, 3]));
        let rows = [row(&power, 1, green)];
        assert_eq!(
            side(&blind, &blind.column(), &object(3), &rows),
            Side::Aside
        );
        let rows = [row(&power, 2, green), row(&power, 3, green)];
        assert_eq!(
            side(&blind, &blind.column(), &object(3), &rows),
            Side::AskCreator(1, Answer::Aside, Answer::Refused)
        );
    }
}
