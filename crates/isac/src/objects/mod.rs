//! The store of STIX objects: versions by collection, pages by an opaque cursor, a
//! change feed in the order of commit.
