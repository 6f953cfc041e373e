//! The model, its rules, its history and its document, on both databases.

mod house;
mod model;
mod traffic;
