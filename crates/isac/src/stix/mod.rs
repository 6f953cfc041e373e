//! STIX 2.1: objects read, checked, compared, their patterns parsed and matched.
//! Pure: bytes in, decisions out.
