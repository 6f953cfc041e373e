//! The keeper on a real disk: restarts, damage, snapshots.

mod keeper;
