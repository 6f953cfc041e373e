//! Listens while the engine works: counts what it does, and remembers which objects a publication point
//! lists and which of them came through.
//!
//! The payloads themselves are left to the engine's own report, which this wraps.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use routinator::Failed;
use routinator::engine::{CaCert, ProcessPubPoint, ProcessRun};
use routinator::payload::ValidationReport;
use rpki::repository::aspa::AsProviderAttestation;
use rpki::repository::cert::{Cert, ResourceCert};
use rpki::repository::roa::RouteOriginAttestation;
use rpki::repository::tal::{Tal, TalUri};
use rpki::repository::x509::{Time, Validity};
use rpki::uri;

use super::{Progress, lock};

/// A publication point that did not come through whole.
#[derive(Debug)]
pub(super) struct Watched {
    /// Its authority.
    pub(super) authority: CaCert,
    /// Objects that did not come through; empty when the point was rejected as a whole.
    pub(super) missing: BTreeSet<String>,
}

type Inner<'a> = <&'a ValidationReport as ProcessRun>::PubPoint;

/// One run.
pub(super) struct Watch<'a> {
    report: &'a ValidationReport,
    progress: &'a Progress,
    watched: Mutex<Vec<Watched>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(report: &'a ValidationReport, progress: &'a Progress) -> Self {
        Self {
            report,
            progress,
            watched: Mutex::default(),
        }
    }

    /// The publication points with something amiss.
    pub(super) fn into_watched(self) -> Vec<Watched> {
        self.watched
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<'a> ProcessRun for &'a Watch<'a> {
    type PubPoint = Point<'a>;

    fn process_ta(
        &self,
        tal: &Tal,
        uri: &TalUri,
        authority: &CaCert,
        tal_index: usize,
    ) -> Result<Option<Self::PubPoint>, Failed> {
        let inner = self.report.process_ta(tal, uri, authority, tal_index)?;
        Ok(inner.map(|inner| Point::new(self, inner, authority)))
    }
}

/// One publication point.
pub(super) struct Point<'a> {
    watch: &'a Watch<'a>,
    inner: Inner<'a>,
    authority: CaCert,
    open: Mutex<BTreeSet<String>>,
}

impl<'a> Point<'a> {
    fn new(watch: &'a Watch<'a>, inner: Inner<'a>, authority: &CaCert) -> Self {
        Self {
            watch,
            inner,
            authority: authority.clone(),
            open: Mutex::default(),
        }
    }

    fn came_through(&self, uri: &uri::Rsync) {
        lock(&self.open).remove(uri.as_str());
    }
}

impl ProcessPubPoint for Point<'_> {
    fn repository_index(&mut self, index: usize) {
        self.inner.repository_index(index);
    }

    fn point_validity(&mut self, manifest: Validity, stale: Time) {
        self.inner.point_validity(manifest, stale);
    }

    fn want(&self, uri: &uri::Rsync) -> Result<bool, Failed> {
        if self.watch.progress.stopped() {
            return Err(Failed);
        }
        self.watch.progress.objects.fetch_add(1, Ordering::Relaxed);
        if [".roa", ".cer", ".asa", ".gbr"]
            .iter()
            .any(|end| uri.ends_with(end))
        {
            lock(&self.open).insert(uri.to_string());
        }
        self.inner.want(uri)
    }

    fn process_ca(&mut self, uri: &uri::Rsync, cert: &CaCert) -> Result<Option<Self>, Failed> {
        self.came_through(uri);
        let inner = self.inner.process_ca(uri, cert)?;
        Ok(inner.map(|inner| Point::new(self.watch, inner, cert)))
    }

    fn process_router_cert(
        &mut self,
        uri: &uri::Rsync,
        cert: Cert,
        authority: &CaCert,
    ) -> Result<(), Failed> {
        self.came_through(uri);
        self.inner.process_router_cert(uri, cert, authority)
    }

    fn process_roa(
        &mut self,
        uri: &uri::Rsync,
        cert: ResourceCert,
        route: RouteOriginAttestation,
    ) -> Result<(), Failed> {
        self.came_through(uri);
        self.inner.process_roa(uri, cert, route)
    }

    fn process_aspa(
        &mut self,
        uri: &uri::Rsync,
        cert: ResourceCert,
        aspa: AsProviderAttestation,
    ) -> Result<(), Failed> {
        self.came_through(uri);
        self.inner.process_aspa(uri, cert, aspa)
    }

    fn process_gbr(
        &mut self,
        uri: &uri::Rsync,
        cert: ResourceCert,
        content: Bytes,
    ) -> Result<(), Failed> {
        self.came_through(uri);
        self.inner.process_gbr(uri, cert, content)
    }

    fn restart(&mut self) -> Result<(), Failed> {
        lock(&self.open).clear();
        self.inner.restart()
    }

    fn commit(self) {
        self.watch.progress.points.fetch_add(1, Ordering::Relaxed);
        let missing = self
            .open
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !missing.is_empty() {
            lock(&self.watch.watched).push(Watched {
                authority: self.authority,
                missing,
            });
        }
        self.inner.commit();
    }

    fn cancel(self, cert: &CaCert) {
        self.watch.progress.points.fetch_add(1, Ordering::Relaxed);
        lock(&self.watch.watched).push(Watched {
            authority: self.authority,
            missing: BTreeSet::new(),
        });
        self.inner.cancel(cert);
    }
}
