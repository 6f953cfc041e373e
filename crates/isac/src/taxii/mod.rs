//! TAXII 2.1 (OASIS): the server that offers collections, the client that fills them.
