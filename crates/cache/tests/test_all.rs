//! The store as a whole, through its public doors.

mod store;
