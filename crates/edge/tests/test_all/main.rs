//! The edge as clients and origins meet it: raw sockets on both sides.

mod bounds;
mod caching;
mod hostile;
mod letter;
mod staleness;
mod support;
