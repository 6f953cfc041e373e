//! Integration tests of the exchange, one binary.
