//! The edge as clients and origins meet it: raw sockets on both sides.

mod caching;
mod hostile;
mod support;
