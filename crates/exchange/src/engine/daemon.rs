//! Which daemon a route server is and where it is reached: what agents and commands need to know to drive
//! either engine.

use std::path::{Path, PathBuf};

use super::Operate;
use super::bird::Bird;
use super::openbgpd::{self, OpenBgpd};
use crate::document::{Document, EngineKind};
use crate::irr::AllowedByMember;
use crate::render::{self, RenderError};

/// Debian's control socket of BIRD.
pub const BIRD_SOCKET: &str = "/run/bird/bird.ctl";
/// Debian's configuration file of BIRD.
pub const BIRD_CONFIG: &str = "/etc/bird/bird.conf";

/// One route server's daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Which one.
    pub kind: EngineKind,
    /// Its control socket.
    pub socket: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
}

impl Daemon {
    /// As Debian installs it.
    pub fn debian(kind: EngineKind) -> Self {
        let (socket, config) = match kind {
            EngineKind::Bird => (BIRD_SOCKET, BIRD_CONFIG),
            EngineKind::Openbgpd => (openbgpd::SOCKET, openbgpd::CONFIG),
        };
        Self {
            kind,
            socket: socket.into(),
            config: config.into(),
        }
    }

    /// The engine that drives it.
    pub fn engine(&self) -> Box<dyn Operate> {
        match self.kind {
            EngineKind::Bird => Box::new(Bird::new(&self.socket)),
            EngineKind::Openbgpd => Box::new(OpenBgpd::new(&self.socket, &self.config)),
        }
    }

    /// The configuration that it is to run at `site`.
    ///
    /// # Errors
    /// As [`render::bird`] and [`render::openbgpd`].
    pub fn render(
        &self,
        document: &Document,
        site: &str,
        allowed: &AllowedByMember,
    ) -> Result<String, RenderError> {
        match self.kind {
            EngineKind::Bird => render::bird(document, site, allowed),
            EngineKind::Openbgpd => render::openbgpd(document, site, allowed, &self.socket),
        }
    }
}

/// Where the daemons of one machine are, whichever of them the document says runs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemons {
    /// Control socket and configuration file of BIRD.
    pub bird: (PathBuf, PathBuf),
    /// Control socket and configuration file of OpenBGPD.
    pub openbgpd: (PathBuf, PathBuf),
}

impl Daemons {
    /// The daemon of that kind.
    pub fn of(&self, kind: EngineKind) -> Daemon {
        let (socket, config) = match kind {
            EngineKind::Bird => &self.bird,
            EngineKind::Openbgpd => &self.openbgpd,
        };
        Daemon {
            kind,
            socket: socket.clone(),
            config: config.clone(),
        }
    }

    /// The daemon that the document says runs at `site`.
    pub fn at(&self, document: &Document, site: &str) -> Daemon {
        self.of(document.engine_at(site))
    }
}

/// A file beside the daemon's: `bgpd.conf.next`.
pub(crate) fn beside(file: &Path, what: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(what);
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::SMALL;

    #[test]
    fn the_document_says_which_daemon_runs_at_a_site() {
        let daemons = Daemons {
            bird: ("/run/b.ctl".into(), "/etc/b.conf".into()),
            openbgpd: ("/run/o.sock".into(), "/etc/o.conf".into()),
        };
        let mut document = Document::parse("lab.toml", SMALL).expect("valid");
        let at = |document: &Document| daemons.at(document, "hsinchu");
        assert_eq!(at(&document), daemons.of(EngineKind::Bird));
        document.sites[0].engine = Some(EngineKind::Openbgpd);
        let daemon = at(&document);
        assert_eq!(
            (daemon.kind, daemon.config),
            (EngineKind::Openbgpd, "/etc/o.conf".into())
        );
        assert_eq!(
            beside(Path::new("/etc/o.conf"), "next"),
            Path::new("/etc/o.conf.next")
        );
        let debian = Daemon::debian(EngineKind::Openbgpd);
        assert_eq!(debian.socket, Path::new(openbgpd::SOCKET));
    }
}
