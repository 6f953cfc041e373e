//! No code. `cargo test -p dns -p unify` compiles third-party crates with the features
//! that the whole workspace uses, and so reuses what `make test` has compiled.
