//! From the document and the registries' data to the configuration of one site's route server.
//!
//! The same input gives the same bytes: nothing here reads a clock, and everything is sorted by AS
//! number and address. The order in which a route is tested is the order in which reasons win:
//!
//! 1. special-purpose prefix, own LAN, too long, too short;
//! 2. empty path, first AS, path length, private AS, network never reached by route server;
//! 3. number of communities, next hop;
//! 4. origin AS in the member's set (a member without registered data is refused everything);
//! 5. RPKI: invalid is refused, valid is accepted;
//! 6. prefix registered.
//!
//! A blackhole (RFC 7999) skips lengths and RPKI, and must be a host inside registered space.
//!
//! BIRD and OpenBGPD are given the same tests in the same order; what only one of them can do is said in
//! its module, and refused for the other.
//!
//! What members asked to be discarded or limited ([`crate::document::Protection`]) becomes static routes
//! and flow rules that the route server announces as if the member had: only for members with a router
//! at the site, and only inside what the registries say is theirs.

mod bird;
mod bogons;
pub(crate) mod openbgpd;
mod protection;
mod session;

use std::path::{Path, PathBuf};

use crate::document::{Document, EngineKind, Member, Router, Site};
use crate::irr::AllowedByMember;

pub use openbgpd::REFUSED_RIB;
pub use protection::flow_text;

/// Name of BIRD's file below the directory of output.
pub const BIRD_FILE: &str = "bird.conf";
/// Name of OpenBGPD's file below the directory of output.
pub const OPENBGPD_FILE: &str = "bgpd.conf";

/// Why no configuration can be rendered or written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The document has no such site.
    #[error("{name:?} is no site: must be one of {known}")]
    Site {
        /// What was asked for.
        name: String,
        /// The document's sites.
        known: String,
    },
    /// A member's registered data was not given.
    #[error(
        "nothing is known of the prefixes of AS{0}: the registries' data is needed unless policy.irr.enabled is false"
    )]
    Irr(u32),
    /// The document says that another engine runs there.
    #[error("site {site:?} runs {runs}: its configuration cannot be one for {asked}")]
    Engine {
        /// The site.
        site: String,
        /// What the document says.
        runs: EngineKind,
        /// What was asked for.
        asked: EngineKind,
    },
    /// The engine cannot do what the document asks for.
    #[error("OpenBGPD cannot do what the document asks for at {site}: {}", problems.join("; "))]
    Unsupported {
        /// The site.
        site: String,
        /// Each thing, with what can be done about it.
        problems: Vec<String>,
    },
    /// The path of a control socket cannot be written into a configuration.
    #[error(
        "{path:?} cannot be a control socket: must be absolute, at most {bytes_max} bytes, without quotes and backslashes"
    )]
    Socket {
        /// The path.
        path: PathBuf,
        /// Bytes it may have.
        bytes_max: usize,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Renders the BIRD 2 configuration of `site`.
///
/// # Errors
/// When the site is unknown or runs another engine, or data of a member is missing.
pub fn bird(
    document: &Document,
    site: &str,
    allowed: &AllowedByMember,
) -> Result<String, RenderError> {
    let site = find(document, site, EngineKind::Bird)?;
    bird::render(document, site, allowed)
}

/// Renders the OpenBGPD configuration of `site`, whose daemon is to be controlled by `socket`.
///
/// # Errors
/// As [`bird`], and when the document asks for what OpenBGPD cannot do.
pub fn openbgpd(
    document: &Document,
    site: &str,
    allowed: &AllowedByMember,
    socket: &Path,
) -> Result<String, RenderError> {
    let site = find(document, site, EngineKind::Openbgpd)?;
    openbgpd::render(document, site, allowed, socket)
}

/// The name of a session in the configuration of `site`: `as1659_b1_v4`; with the router's site when
/// that is another one on the same LAN: `as1659_tainan_b1_v4`.
pub fn session_name(site: &Site, member: &Member, router: &Router, v6: bool) -> String {
    let place = if router.site == site.name {
        String::new()
    } else {
        format!("{}_", router.site.replace('-', "_"))
    };
    let name = router.name.replace('-', "_");
    format!("as{}_{place}{name}_{}", member.asn, family(v6))
}

fn family(v6: bool) -> &'static str {
    if v6 { "v6" } else { "v4" }
}

fn find<'a>(
    document: &'a Document,
    name: &str,
    asked: EngineKind,
) -> Result<&'a Site, RenderError> {
    let site = document.site(name).ok_or_else(|| RenderError::Site {
        name: name.to_owned(),
        known: document
            .sites
            .iter()
            .map(|site| site.name.as_str())
            .take(20)
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    match site.engine {
        Some(runs) if runs != asked => Err(RenderError::Engine {
            site: name.to_owned(),
            runs,
            asked,
        }),
        _ => Ok(site),
    }
}

/// Writes `text` to `file`, whole or not at all, readable by the owner and the group only: it holds
/// the sessions' secrets. Gives whether anything changed.
///
/// # Errors
/// When it cannot be written; what was there stays.
pub fn write(file: &Path, text: &str) -> Result<bool, RenderError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| RenderError::Write {
        path: file.to_owned(),
        source,
    };
    if std::fs::read(file).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(false);
    }
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let partial = file.with_extension("partial");
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&partial)
        .map_err(failed)?;
    out.write_all(text.as_bytes()).map_err(failed)?;
    out.sync_all().map_err(failed)?;
    std::fs::rename(&partial, file).map_err(failed)?;
    Ok(true)
}
