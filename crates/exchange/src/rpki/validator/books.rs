//! The engine writes down why it rejects a publication point only where a logger says that it listens.
//! In a process that has one (every `civicnet`), nothing is done here; elsewhere a logger that listens
//! and keeps quiet is put in place, so that the reasons reach the report.

use log::{Log, Metadata, Record};

struct Listener;

static LISTENER: Listener = Listener;

impl Log for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &Record<'_>) {}

    fn flush(&self) {}
}

/// Sees to it that somebody listens. The maximum level stays as it is, so that other crates' messages cost nothing.
pub(super) fn keep() {
    // Refused where there is a logger already, which is as good.
    log::set_logger(&LISTENER).ok();
}
