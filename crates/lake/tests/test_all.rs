//! The lake as its users see it, and as a crash finds it.

#[path = "test_all/child.rs"]
mod child;
#[path = "test_all/journal.rs"]
mod journal;
#[path = "test_all/kill.rs"]
mod kill;
#[path = "test_all/lake.rs"]
mod lake;
#[path = "test_all/s3.rs"]
mod s3;
#[path = "test_all/stats.rs"]
mod stats;
