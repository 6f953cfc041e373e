//! Integration tests of the exchange, one binary.

mod it {
    pub(crate) mod agent;
    pub(crate) mod authority;
    pub(crate) mod glass;
    pub(crate) mod glass_console;
    pub(crate) mod openbgpd;
    pub(crate) mod rpki_room;
    pub(crate) mod rtr;
    pub(crate) mod snmp;
    pub(crate) mod validator;
}
mod portal;
mod rendering;
mod room;
