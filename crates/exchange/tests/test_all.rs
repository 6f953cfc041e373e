//! Integration tests of the exchange, one binary.

mod it {
    pub(crate) mod glass;
    pub(crate) mod rtr;
}
mod rendering;
mod room;
