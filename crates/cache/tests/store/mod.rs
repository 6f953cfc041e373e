//! Tests of the store, by what they break.

mod basics;
mod crash;
mod disk;
mod eviction;
mod model;
mod mutation;
mod purge;
mod support;
