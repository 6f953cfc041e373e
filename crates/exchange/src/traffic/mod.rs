//! Traffic of the exchange: what every port carries, who sends to whom, what is
//! wrong with a port, and when it will be full.
//!
//! [`poller`] reads the switches' counters by [`snmp`], [`sflow`] takes their samples;
//! both follow one [`plan`] and offer events to the node's journal, by which they come
//! to the lake. [`counters`] and [`watchman`] decide what two readings mean.
//! [`percentile`] and [`forecast`] are the figures that people plan with; [`desk`] shows
//! them in the console, [`collect`] joins the collecting at a site.

pub mod collect;
pub mod counters;
pub mod desk;
pub mod forecast;
pub mod percentile;
pub mod plan;
pub mod poller;
pub mod sflow;
pub mod snmp;
pub mod watchman;
