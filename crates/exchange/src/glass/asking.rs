//! Questions that the tables cannot answer, put to the running daemon: what it announces to a neighbour
//! and what it keeps from it. The export filter is run for each answer, so answers are cut out of the
//! daemon's list and never kept.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use base::Prefix;

use super::feed::{self, FeedError, Reader, SILENCE_MAX};
use super::index::{Builder, Index};
use crate::document::EngineKind;
use crate::engine::EngineError;
use crate::engine::birdc::Client;
use crate::engine::moment::Zone;
use crate::engine::openbgpd::{self, OpenBgpd};

/// Routes read for one answer, those before the page included.
pub const READ_MAX: usize = 250_000;

/// Which of a session's two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// Announced to the neighbour.
    Exported,
    /// Kept from it by the export filter.
    Withheld,
}

/// Which daemon is asked, and what is known of its tables.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Which one.
    pub kind: EngineKind,
    /// Its control socket.
    pub socket: &'a Path,
    /// Its tables as last read.
    pub now: &'a Index,
}

/// A part of such a list.
#[derive(Debug)]
pub struct Part {
    /// The routes, as an index of their own.
    pub index: Arc<Index>,
    /// How many were read, the page's included; the list may go on when `is_cut`.
    pub read: usize,
    /// Whether the reading stopped before the end.
    pub is_cut: bool,
}

impl Part {
    /// Nothing.
    pub(super) fn empty(now_s: u64) -> Self {
        Self {
            index: Arc::new(Builder::default().build(now_s)),
            read: 0,
            is_cut: false,
        }
    }
}

/// Routes `from..from + limit` of what goes or does not go to session `name`, of `prefix` alone if given.
/// `name` must be one of the daemon's sessions.
///
/// # Errors
/// [`FeedError`]
pub fn towards(
    daemon: &Asked<'_>,
    name: &str,
    list: Towards,
    prefix: Option<Prefix>,
    from: usize,
    limit: usize,
    now_s: u64,
) -> Result<Part, FeedError> {
    if daemon.kind == EngineKind::Openbgpd {
        let running = Path::new(openbgpd::CONFIG);
        let engine = OpenBgpd::new(daemon.socket, running);
        return super::bgpd::towards(&engine, daemon.now, name, list, prefix, from, limit, now_s);
    }
    let mut client = Client::connect(daemon.socket, SILENCE_MAX)?;
    let zone = Zone::of(&client.status()?.now, now_s);
    let states = client.sessions()?;
    let mut builder = Builder::default();
    let mut reader = Reader::new(zone);
    for session in feed::sessions(&states, zone) {
        reader.session(builder.session(session)?, &builder);
    }
    let what = match (prefix, list) {
        (Some(prefix), Towards::Exported) => format!("{prefix} export {name}"),
        (Some(prefix), Towards::Withheld) => format!("{prefix} noexport {name}"),
        (None, Towards::Exported) => format!("export {name}"),
        (None, Towards::Withheld) => format!("noexport {name}"),
    };
    let end = from.saturating_add(limit).min(READ_MAX);
    let (mut read, mut is_cut, mut failed) = (0, false, None);
    let asked = client.routes_until(&what, &mut |route| {
        if read >= end {
            is_cut = true;
            return ControlFlow::Break(());
        }
        if read >= from {
            failed = reader.take(&mut builder, route).err();
        }
        read += 1;
        match failed.is_some() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match asked {
        Ok(()) => {}
        Err(EngineError::Refused { said, .. }) if said.contains("not found") => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(Part {
        index: Arc::new(builder.build(now_s)),
        read,
        is_cut,
    })
}
